-- Settlement: the only writer of the ledger. A ledger row's key is the attempt's UUID, so an attempt is booked once;
-- a correction is a row of its own that names the row it corrects.

-- It was sent, and its cost is still to be learnt or was resolved without an answer (written off, corrected by a person,
-- called free by the provider): an answer that comes now is booked at once.
CREATE OR REPLACE FUNCTION lacks_answer(p_attempt spend_attempts) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp AS $$
    SELECT p_attempt.dispatched_at IS NOT NULL AND (p_attempt.state IN ('UNKNOWN', 'WRITTEN_OFF')
        OR p_attempt.state IN ('SETTLED', 'VOIDED') AND p_attempt.usage IS NULL)
$$;

CREATE OR REPLACE FUNCTION booked_cost(p_attempt_id uuid) RETURNS numeric
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT coalesce(sum(cost), 0) FROM ai_usage_ledger WHERE attempt_id = p_attempt_id
$$;

-- Writes a ledger row, moves the counters with it and closes the attempt. The first row of an attempt resolves its
-- hold; a correction adds to, or takes from, what was booked before. Where that was no write-off, money was freed and
-- may be spent by now: what passes the scopes is an overrun as in correct_ledger.
CREATE OR REPLACE FUNCTION book_attempt(
    p_attempt spend_attempts, p_closed_as text, p_entry text, p_usage jsonb, p_cost numeric,
    p_model text, p_price_id uuid, p_computed numeric
) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_is_resolved CONSTANT boolean := p_attempt.state IN ('SETTLED', 'VOIDED');
    v_is_correction CONSTANT boolean := v_is_resolved OR p_attempt.state = 'WRITTEN_OFF';
    v_provider CONSTANT numeric := (p_usage ->> 'cost_usd')::numeric;
    v_amount CONSTANT numeric := p_cost - booked_cost(p_attempt.attempt_id);
    v_overrun CONSTANT numeric := CASE WHEN v_is_resolved THEN correction_overrun(p_attempt, v_amount, p_cost)
        ELSE greatest(p_cost - p_attempt.hold_usd, 0) END;
BEGIN
    INSERT INTO ai_usage_ledger (idempotency_key, attempt_id, workflow_id, organization_id, month, entry, corrects,
        step, slot, model, prompt_tokens, cached_tokens, completion_tokens, searches, cost, computed_cost_usd,
        provider_cost_usd, drift_usd, price_id)
    VALUES (
        CASE WHEN p_attempt.state = 'WRITTEN_OFF' THEN md5(p_attempt.attempt_id || '/correction')::uuid
            WHEN v_is_resolved THEN md5(p_attempt.attempt_id || '/late ' || p_entry)::uuid
            ELSE p_attempt.attempt_id END,
        p_attempt.attempt_id, p_attempt.workflow_id, p_attempt.organization_id, p_attempt.month,
        CASE WHEN v_is_correction THEN 'correction' ELSE p_entry END,
        CASE WHEN v_is_correction THEN p_attempt.attempt_id END,
        p_attempt.step, p_attempt.slot, p_model,
        coalesce((p_usage ->> 'prompt_tokens')::bigint, 0), coalesce((p_usage ->> 'cached_tokens')::bigint, 0),
        coalesce((p_usage ->> 'completion_tokens')::bigint, 0), coalesce((p_usage ->> 'searches')::bigint, 0),
        v_amount, p_computed, v_provider, v_provider - p_computed, p_price_id);
    IF v_is_resolved AND v_overrun > 0 THEN
        PERFORM freeze_for_overrun(p_attempt, format('the late answer of attempt %s passed what was allowed by $%s',
            p_attempt.attempt_id, usd_text(v_overrun)));
    END IF;
    PERFORM move_money(p_attempt, CASE WHEN v_is_correction THEN 0 ELSE -p_attempt.hold_usd END, v_amount, v_overrun);
    UPDATE spend_attempts
    SET state = p_closed_as, provider_cost_usd = v_provider, computed_cost_usd = p_computed,
        overrun_usd = overrun_usd + v_overrun, settled_at = clock_timestamp()
    WHERE attempt_id = p_attempt.attempt_id;
END
$$;

-- Books an attempt (ANSWERED, or resolved without an answer that came late) at what its stored usage says. The
-- provider's own figure comes first. An answer of another model than was asked costs the provider's figure or, where
-- that is missing or 0, at least the hold: what it really costs nobody knows.
CREATE OR REPLACE FUNCTION settle_attempt(p_attempt spend_attempts) RETURNS numeric
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_model CONSTANT text := canonical_model(coalesce(nullif(p_attempt.answered_model, ''), p_attempt.model));
    v_provider CONSTANT numeric := (p_attempt.usage ->> 'cost_usd')::numeric;
    v_price model_prices;
    v_computed numeric;
    v_cost numeric;
BEGIN
    IF v_model = p_attempt.model THEN
        SELECT * INTO v_price FROM model_prices WHERE price_id = p_attempt.price_id;
        v_computed := usage_cost(v_price, p_attempt.usage);
        v_cost := coalesce(v_provider, v_computed);
    ELSE
        v_price := price_at(v_model, p_attempt.authorized_at);
        v_computed := usage_cost(v_price, p_attempt.usage);
        v_cost := CASE WHEN v_provider > 0 THEN v_provider ELSE greatest(p_attempt.hold_usd, v_computed) END;
    END IF;
    PERFORM book_attempt(p_attempt, 'SETTLED', 'usage', p_attempt.usage, v_cost, v_model, v_price.price_id, v_computed);
    RETURN v_cost;
END
$$;

-- Settles one attempt and returns what it is booked at. The same facts again: the first result; others: IN002.
-- p_cost is the provider's own figure, NULL where it gives none (then the computed one is booked). Cached tokens and
-- searches are compared where they are given.
CREATE OR REPLACE FUNCTION record_usage_and_increment(
    p_attempt_id uuid,
    p_organization_id uuid,
    p_model text,
    p_prompt_tokens bigint,
    p_completion_tokens bigint,
    p_cost numeric,
    p_cached_tokens bigint DEFAULT NULL,
    p_searches bigint DEFAULT NULL
) RETURNS numeric
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_attempt spend_attempts;
    v_facts jsonb;
    v_known jsonb;
    v_booked numeric;
BEGIN
    v_attempt := lock_attempt(p_attempt_id, p_organization_id);
    v_facts := usage_facts(p_prompt_tokens, p_completion_tokens, p_cached_tokens, p_searches, p_cost);
    IF lacks_answer(v_attempt) THEN
        UPDATE spend_attempts
        SET state = CASE state WHEN 'UNKNOWN' THEN 'ANSWERED' ELSE state END,
            usage = v_facts, answered_model = p_model, answered_at = coalesce(answered_at, clock_timestamp())
        WHERE attempt_id = p_attempt_id
        RETURNING * INTO v_attempt;
        RETURN settle_attempt(v_attempt);
    END IF;
    IF v_attempt.state NOT IN ('ANSWERED', 'SETTLED') THEN
        RAISE EXCEPTION 'attempt % is % and has no usage to settle', p_attempt_id, v_attempt.state
            USING ERRCODE = 'IN002';
    END IF;
    v_booked := CASE v_attempt.state
        WHEN 'ANSWERED' THEN settle_attempt(v_attempt)
        ELSE booked_cost(p_attempt_id) END;
    v_known := usage_facts(
        (v_attempt.usage ->> 'prompt_tokens')::bigint, (v_attempt.usage ->> 'completion_tokens')::bigint,
        CASE WHEN p_cached_tokens IS NOT NULL THEN (v_attempt.usage ->> 'cached_tokens')::bigint END,
        CASE WHEN p_searches IS NOT NULL THEN (v_attempt.usage ->> 'searches')::bigint END, NULL);
    IF canonical_model(p_model) IS DISTINCT FROM canonical_model(v_attempt.answered_model)
        OR v_facts - 'cost_usd' <> v_known - 'cost_usd'
        OR round_up_usd(p_cost) <> coalesce(round_up_usd((v_attempt.usage ->> 'cost_usd')::numeric), v_booked) THEN
        RAISE EXCEPTION 'attempt % was answered with other facts: model %, usage %, booked at $%; now came model %, usage %',
            p_attempt_id, v_attempt.answered_model, v_attempt.usage, usd_text(v_booked), p_model, v_facts
            USING ERRCODE = 'IN002';
    END IF;
    RETURN v_booked;
END
$$;

-- Settles attempts whose outcome is stored, in the order given: one transaction, one order of locks.
CREATE OR REPLACE FUNCTION settle_attempts(p_organization_id uuid, p_attempt_ids uuid[])
RETURNS TABLE (settled_attempt_id uuid, cost_usd numeric, overrun_usd numeric)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_attempt spend_attempts;
    v_id uuid;
BEGIN
    PERFORM lock_attempts(p_organization_id, p_attempt_ids);
    FOREACH v_id IN ARRAY p_attempt_ids LOOP
        SELECT * INTO STRICT v_attempt FROM spend_attempts WHERE attempt_id = v_id;
        IF v_attempt.state = 'ANSWERED' THEN
            PERFORM record_usage_and_increment(v_id, p_organization_id, v_attempt.answered_model,
                (v_attempt.usage ->> 'prompt_tokens')::bigint, (v_attempt.usage ->> 'completion_tokens')::bigint, NULL);
        ELSIF v_attempt.state NOT IN ('SETTLED', 'NOT_BILLED', 'WRITTEN_OFF') THEN
            RAISE EXCEPTION 'attempt % is % and can''t be settled', v_id, v_attempt.state USING ERRCODE = 'IN002';
        END IF;
        RETURN QUERY SELECT v_id, booked_cost(v_id), attempt.overrun_usd
            FROM spend_attempts AS attempt WHERE attempt.attempt_id = v_id;
    END LOOP;
END
$$;

-- Settles whatever of a workflow is answered and not settled yet (a cancellation, a run that died). Locks what is
-- reserved as well: who ends the claim in the same transaction voids that, and its month may be an earlier one.
CREATE OR REPLACE FUNCTION settle_answered(p_workflow_id uuid, p_organization_id uuid)
RETURNS TABLE (settled_attempt_id uuid, cost_usd numeric, overrun_usd numeric)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM lock_workflow(p_workflow_id, p_organization_id);
    PERFORM lock_attempts(p_organization_id, ARRAY(
        SELECT attempt_id FROM spend_attempts
        WHERE workflow_id = p_workflow_id AND organization_id = p_organization_id AND state IN ('ANSWERED', 'RESERVED')
    ));
    RETURN QUERY SELECT * FROM settle_attempts(p_organization_id, ARRAY(
        SELECT attempt_id FROM spend_attempts
        WHERE workflow_id = p_workflow_id AND organization_id = p_organization_id AND state = 'ANSWERED'
        ORDER BY attempt_id
    ));
END
$$;

-- Gives up on learning what an UNKNOWN attempt cost: booked at its hold, the most it can have been. Returns what it
-- is booked at, also when it was resolved before.
CREATE OR REPLACE FUNCTION write_off_attempt(p_attempt_id uuid, p_organization_id uuid) RETURNS numeric
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_attempt spend_attempts;
BEGIN
    v_attempt := lock_attempt(p_attempt_id, p_organization_id);
    IF v_attempt.state = 'UNKNOWN' THEN
        PERFORM book_attempt(v_attempt, 'WRITTEN_OFF', 'write_off', NULL, v_attempt.hold_usd, v_attempt.model,
            v_attempt.price_id, NULL);
    ELSIF v_attempt.state NOT IN ('WRITTEN_OFF', 'SETTLED') THEN
        RAISE EXCEPTION 'attempt % is %: only an UNKNOWN one is written off', p_attempt_id, v_attempt.state
            USING ERRCODE = 'IN002';
    END IF;
    RETURN booked_cost(p_attempt_id);
END
$$;

GRANT EXECUTE ON FUNCTION record_usage_and_increment, settle_attempts, settle_answered TO infin8_app, infin8_operator;
GRANT EXECUTE ON FUNCTION write_off_attempt TO infin8_operator;
