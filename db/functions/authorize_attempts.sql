-- Decides a batch of asks in the order given, each UUID on its own, and answers the same UUID the same way for ever.
-- p_asks: JSON objects with attempt_id, step, slot, claim, ask, slot_hash, model, path, request_body, message_count,
-- max_tokens and searches, and optionally its endpoint (chat) and its route (see routed_ask). The hold is computed here, from the request that
-- is stored and the price row in force.
CREATE OR REPLACE FUNCTION authorize_attempts(
    p_workflow_id uuid,
    p_organization_id uuid,
    p_asks jsonb,
    p_expires_after_seconds double precision,
    p_call_deadline_seconds double precision
) RETURNS SETOF spend_decision
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_state text;
    v_version bigint;
    v_month date;
    v_now timestamptz;
    v_asked jsonb;
    v_ask spend_attempts;
    v_decision spend_decision;
BEGIN
    SELECT locked.state, locked.version INTO v_state, v_version
    FROM lock_workflow(p_workflow_id, p_organization_id) AS locked;
    IF v_state IS NULL THEN
        RAISE EXCEPTION 'workflow % does not exist for this organization', p_workflow_id
            USING ERRCODE = 'IN004', DETAIL = '{"field": "workflow_id"}';
    END IF;
    v_month := lock_current_month(p_organization_id);
    v_now := clock_timestamp();

    FOR v_asked IN
        SELECT item.value FROM jsonb_array_elements(p_asks) WITH ORDINALITY AS item (value, position)
        ORDER BY item.position
    LOOP
        v_ask := jsonb_populate_record(NULL::spend_attempts, v_asked);
        v_ask.workflow_id := p_workflow_id;
        v_ask.organization_id := p_organization_id;
        v_ask.month := v_month;
        v_ask.model := canonical_model(v_ask.model);
        v_ask.endpoint := coalesce(v_ask.endpoint, 'chat');
        v_ask.max_tokens := greatest(v_ask.max_tokens, tokens_asked(v_ask.endpoint, v_ask.request_body));
        v_ask.searches := greatest(v_ask.searches, rows_asked(v_ask.endpoint, v_ask.request_body));
        v_ask.authorized_at := v_now;
        v_ask.expires_at := v_now + make_interval(secs => p_expires_after_seconds);
        v_ask.call_deadline_seconds := p_call_deadline_seconds;

        v_decision := earlier_decision(v_ask);
        IF v_decision.attempt_id IS NULL THEN
            IF v_state <> upper(v_ask.step) || '_PROCESSING' OR v_version <> v_ask.claim THEN
                RAISE EXCEPTION 'claim % on step % of workflow % is lost: the workflow is in % at version %',
                    v_ask.claim, v_ask.step, p_workflow_id, v_state, v_version USING ERRCODE = 'IN003';
            END IF;
            v_decision := decide_anew(v_ask, v_asked -> 'route');
        END IF;
        RETURN NEXT v_decision;
    END LOOP;
END
$$;

-- The first decision about this UUID, or no row's worth of NULLs. Compared are workflow, step, slot, claim and ask.
CREATE OR REPLACE FUNCTION earlier_decision(p_ask spend_attempts) RETURNS spend_decision
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_known record;
BEGIN
    SELECT * INTO v_known FROM (
        SELECT attempt_id, workflow_id, step, slot, claim, ask, hold_usd, refusal, model, attempt_id AS goes_on_with,
            CASE state WHEN 'REFUSED' THEN 'REFUSED' ELSE 'AUTHORIZED' END AS kind
        FROM spend_attempts
        UNION ALL
        SELECT attempt_id, workflow_id, step, slot, claim, ask, 0, NULL, NULL, reused_attempt_id, 'REUSED'
        FROM spend_reuses
    ) AS decided
    WHERE decided.attempt_id = p_ask.attempt_id
        OR (decided.workflow_id, decided.step, decided.slot, decided.claim, decided.ask)
            = (p_ask.workflow_id, p_ask.step, p_ask.slot, p_ask.claim, p_ask.ask);
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF (v_known.attempt_id, v_known.workflow_id, v_known.step, v_known.slot, v_known.claim, v_known.ask)
        IS DISTINCT FROM (p_ask.attempt_id, p_ask.workflow_id, p_ask.step, p_ask.slot, p_ask.claim, p_ask.ask) THEN
        RAISE EXCEPTION 'attempt % was decided for step %, slot %, claim %, ask % before',
            v_known.attempt_id, v_known.step, v_known.slot, v_known.claim, v_known.ask USING ERRCODE = 'IN002';
    END IF;
    RETURN (v_known.attempt_id, v_known.kind, v_known.goes_on_with, v_known.hold_usd, v_known.refusal,
        v_known.model)::spend_decision;
END
$$;

CREATE OR REPLACE FUNCTION decide_anew(p_ask spend_attempts, p_route jsonb) RETURNS spend_decision
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_plan CONSTANT plans := plan_of(p_ask.organization_id);
    v_reused uuid;
    v_price model_prices;
BEGIN
    v_reused := reusable_answer(p_ask);
    IF v_reused IS NOT NULL THEN
        INSERT INTO spend_reuses (attempt_id, workflow_id, organization_id, step, slot, claim, ask, reused_attempt_id)
        VALUES (p_ask.attempt_id, p_ask.workflow_id, p_ask.organization_id, p_ask.step, p_ask.slot, p_ask.claim,
            p_ask.ask, v_reused);
        RETURN (p_ask.attempt_id, 'REUSED', v_reused, 0, NULL, NULL)::spend_decision;
    END IF;

    p_ask := routed_ask(p_ask, p_route, v_plan);
    v_price := price_at(p_ask.model, p_ask.authorized_at);
    p_ask.price_id := v_price.price_id;
    p_ask.hold_usd := coalesce(request_hold(
        v_price, p_ask.request_body, p_ask.message_count, p_ask.max_tokens, p_ask.searches), 0);
    p_ask.refusal := refusal_of(p_ask, v_plan);
    p_ask.state := CASE WHEN p_ask.refusal IS NULL THEN 'RESERVED' ELSE 'REFUSED' END;
    INSERT INTO spend_attempts (attempt_id, workflow_id, organization_id, step, slot, claim, ask, month, state,
        slot_hash, endpoint, model, downgraded_from, path, request_body, message_count, max_tokens, searches, price_id, hold_usd,
        refusal, authorized_at, expires_at, call_deadline_seconds)
    VALUES (p_ask.attempt_id, p_ask.workflow_id, p_ask.organization_id, p_ask.step, p_ask.slot, p_ask.claim,
        p_ask.ask, p_ask.month, p_ask.state, p_ask.slot_hash, p_ask.endpoint, p_ask.model, p_ask.downgraded_from,
        p_ask.path, p_ask.request_body, p_ask.message_count, p_ask.max_tokens, p_ask.searches, p_ask.price_id, p_ask.hold_usd, p_ask.refusal,
        p_ask.authorized_at, p_ask.expires_at, p_ask.call_deadline_seconds);
    IF p_ask.refusal IS NOT NULL THEN
        PERFORM note_alerts(p_ask, v_plan);
        RETURN (p_ask.attempt_id, 'REFUSED', p_ask.attempt_id, p_ask.hold_usd, p_ask.refusal,
            p_ask.model)::spend_decision;
    END IF;

    UPDATE intent_workflows SET held_usd = held_usd + p_ask.hold_usd, authorized_cap_usd = cap_usd
    WHERE id = p_ask.workflow_id AND organization_id = p_ask.organization_id;
    UPDATE organization_months SET held_usd = held_usd + p_ask.hold_usd, cap_usd = v_plan.month_cap_usd
    WHERE organization_id = p_ask.organization_id AND month = p_ask.month;
    PERFORM note_alerts(p_ask, v_plan);
    RETURN (p_ask.attempt_id, 'AUTHORIZED', p_ask.attempt_id, p_ask.hold_usd, NULL, p_ask.model)::spend_decision;
END
$$;

-- The most tokens that a chat request can be answered with, read from the body that is sent. 0 for other requests.
CREATE OR REPLACE FUNCTION tokens_asked(p_endpoint text, p_request_body text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    v_body jsonb;
BEGIN
    IF p_endpoint <> 'chat' THEN
        RETURN 0;
    END IF;
    v_body := p_request_body::jsonb;
    RETURN coalesce((v_body ->> 'n')::integer, 1) * greatest(
        (v_body ->> 'max_tokens')::integer, (v_body ->> 'max_completion_tokens')::integer, 0);
END
$$;

-- The most rows that a keyword data request can return, read from the body that is sent: each is billed. A task that
-- states no bound returns at most a thousand. 0 for other requests.
CREATE OR REPLACE FUNCTION rows_asked(p_endpoint text, p_request_body text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    IF p_endpoint <> 'keyword_data' THEN
        RETURN 0;
    END IF;
    RETURN (
        SELECT sum(coalesce((task ->> 'limit')::integer, jsonb_array_length(task -> 'keywords'), 1000))
        FROM jsonb_array_elements(p_request_body::jsonb) AS task
    );
END
$$;

-- The ask as it is sent. p_route: JSON with downgrade_share and requests, the same request for every model of the route
-- in the route's order (model, request_body). Past that share of the workflow's cap (spent + held) the route is taken in
-- the order of what its requests can cost, so the ask that names its first model goes to the cheapest. A slot whose
-- route was turned that way stays turned, so that a fallback goes to a model that was not asked yet.
CREATE OR REPLACE FUNCTION routed_ask(p_ask spend_attempts, p_route jsonb, p_plan plans) RETURNS spend_attempts
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    v_is_turned CONSTANT boolean := EXISTS (
        SELECT FROM spend_attempts
        WHERE workflow_id = p_ask.workflow_id AND step = p_ask.step AND slot = p_ask.slot AND claim = p_ask.claim
            AND downgraded_from IS NOT NULL
    );
    v_chosen record;
BEGIN
    IF p_route IS NULL OR NOT (v_is_turned OR EXISTS (
        SELECT FROM intent_workflows AS workflow
        WHERE workflow.id = p_ask.workflow_id AND workflow.organization_id = p_ask.organization_id
            AND workflow.spent_usd + workflow.held_usd
                >= (p_route ->> 'downgrade_share')::numeric * workflow_cap(workflow, p_plan)
    )) THEN
        RETURN p_ask;
    END IF;
    WITH named AS (
        SELECT canonical_model(item.value ->> 'model') AS model, item.value ->> 'request_body' AS body, item.position
        FROM jsonb_array_elements(p_route -> 'requests') WITH ORDINALITY AS item (value, position)
    ), priced AS (
        SELECT named.*, request_hold(price_at(model, p_ask.authorized_at), body, p_ask.message_count,
            p_ask.max_tokens, p_ask.searches) AS hold_usd
        FROM named
    ), placed AS (
        SELECT priced.*, row_number() OVER (ORDER BY position) AS place, row_number() OVER (ORDER BY hold_usd, position)
            AS cheap_place
        FROM priced WHERE hold_usd IS NOT NULL
    )
    SELECT chosen.model, chosen.body, chosen.hold_usd < asked.hold_usd AS is_cheaper INTO v_chosen
    FROM placed AS asked JOIN placed AS chosen ON chosen.cheap_place = asked.place
    WHERE asked.model = p_ask.model AND chosen.model <> asked.model;
    IF FOUND AND (v_is_turned OR v_chosen.is_cheaper) THEN
        p_ask.downgraded_from := CASE WHEN v_chosen.is_cheaper THEN p_ask.model END;
        p_ask.model := v_chosen.model;
        p_ask.request_body := v_chosen.body;
    END IF;
    RETURN p_ask;
END
$$;

-- A paid answer of an earlier claim to the same question that nobody rejected. Without usage what is kept is a part.
CREATE OR REPLACE FUNCTION reusable_answer(p_ask spend_attempts) RETURNS uuid
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT attempt_id FROM spend_attempts
    WHERE workflow_id = p_ask.workflow_id AND step = p_ask.step AND slot = p_ask.slot
        AND slot_hash = p_ask.slot_hash AND claim < p_ask.claim
        AND state = 'SETTLED' AND usage IS NOT NULL AND answer_body IS NOT NULL AND rejected_reason IS NULL
    ORDER BY claim DESC, ask DESC
    LIMIT 1
$$;

CREATE OR REPLACE FUNCTION plan_of(p_organization_id uuid) RETURNS plans
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT plan FROM organizations JOIN plans AS plan USING (plan_key) WHERE organization_id = p_organization_id
$$;

-- The cap that binds the workflow: its own, unless its plan allows nothing (0) or says nothing (NULL).
CREATE OR REPLACE FUNCTION workflow_cap(p_workflow intent_workflows, p_plan plans) RETURNS numeric
LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp AS $$
    SELECT CASE WHEN p_plan.workflow_cap_usd > 0 THEN p_workflow.cap_usd ELSE p_plan.workflow_cap_usd END
$$;

-- NULL when the hold of the ask fits; else the figures of the scope that refuses. Whatever is unknown refuses.
CREATE OR REPLACE FUNCTION refusal_of(p_ask spend_attempts, p_plan plans) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    v_workflow intent_workflows;
    v_month organization_months;
    v_cap numeric;
BEGIN
    SELECT * INTO v_workflow FROM intent_workflows
    WHERE id = p_ask.workflow_id AND organization_id = p_ask.organization_id;
    SELECT * INTO v_month FROM organization_months
    WHERE organization_id = p_ask.organization_id AND month = p_ask.month;
    v_cap := workflow_cap(v_workflow, p_plan);

    IF p_ask.price_id IS NULL THEN
        RETURN refusal_figures('price', v_cap, v_workflow.spent_usd, v_workflow.held_usd, p_ask.hold_usd,
            format('no price is known for the model %s; add one: starter.py prices add FILE', p_ask.model));
    END IF;
    IF v_workflow.frozen_reason IS NOT NULL THEN
        RETURN refusal_figures('frozen', v_cap, v_workflow.spent_usd, v_workflow.held_usd, p_ask.hold_usd,
            format('the workflow is frozen (%s); when that is looked into: starter.py thaw %s --reason TEXT',
                v_workflow.frozen_reason, p_ask.workflow_id));
    END IF;
    IF v_month.frozen_reason IS NOT NULL THEN
        RETURN refusal_figures('frozen', p_plan.month_cap_usd, v_month.spent_usd, v_month.held_usd, p_ask.hold_usd,
            format('the organization''s month is frozen (%s); when that is looked into: starter.py thaw %s --reason TEXT',
                v_month.frozen_reason, p_ask.workflow_id));
    END IF;
    IF (v_cap > 0 AND v_workflow.spent_usd + v_workflow.held_usd + p_ask.hold_usd <= v_cap) IS NOT TRUE THEN
        RETURN refusal_figures(CASE WHEN v_cap > 0 THEN 'workflow' ELSE 'plan' END, v_cap, v_workflow.spent_usd,
            v_workflow.held_usd, p_ask.hold_usd, CASE WHEN v_cap > 0
                THEN cap_message('', v_cap, v_workflow.spent_usd, v_workflow.held_usd, p_ask.hold_usd)
                    || format('; raise it: starter.py raise-cap %s USD', p_ask.workflow_id)
                ELSE plan_message('workflow', v_cap, p_plan) END);
    END IF;
    v_cap := p_plan.month_cap_usd;
    IF (v_cap > 0 AND v_month.spent_usd + v_month.held_usd + p_ask.hold_usd <= v_cap) IS NOT TRUE THEN
        RETURN refusal_figures('month', v_cap, v_month.spent_usd, v_month.held_usd, p_ask.hold_usd,
            CASE WHEN v_cap > 0
                THEN cap_message(format(' for the organization''s month %s', to_char(p_ask.month, 'YYYY-MM')),
                    v_cap, v_month.spent_usd, v_month.held_usd, p_ask.hold_usd)
                    || format('; wait for the next month or raise it: starter.py plans set %s --month-cap USD',
                        p_plan.plan_key)
                ELSE plan_message('month', v_cap, p_plan) END);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION cap_message(
    p_of text, p_cap_usd numeric, p_spent_usd numeric, p_held_usd numeric, p_hold_usd numeric
) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp AS $$
    SELECT format('the cap of $%s%s is reached (spent $%s, held $%s, the next call needs up to $%s)',
        usd_text(p_cap_usd), p_of, usd_text(p_spent_usd), usd_text(p_held_usd), usd_text(p_hold_usd))
$$;

CREATE OR REPLACE FUNCTION plan_message(p_scope text, p_cap_usd numeric, p_plan plans) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp AS $$
    SELECT CASE WHEN p_cap_usd IS NULL
        THEN format('the plan %s has no cap for a %s, so nothing may be spent', p_plan.plan_key, p_scope)
        ELSE format('the plan %s allows a %s nothing (its cap is $%s)', p_plan.plan_key, p_scope, usd_text(p_cap_usd))
        END || format('; give it one: starter.py plans set %s --%s-cap USD', p_plan.plan_key, p_scope)
$$;

CREATE OR REPLACE FUNCTION refusal_figures(
    p_scope text, p_cap_usd numeric, p_spent_usd numeric, p_held_usd numeric, p_hold_usd numeric, p_message text
) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp AS $$
    SELECT jsonb_build_object('scope', p_scope, 'cap_usd', usd_text(p_cap_usd), 'spent_usd', usd_text(p_spent_usd),
        'held_usd', usd_text(p_held_usd), 'hold_usd', usd_text(p_hold_usd), 'message', p_message)
$$;

GRANT EXECUTE ON FUNCTION authorize_attempts TO infin8_app, infin8_operator;
