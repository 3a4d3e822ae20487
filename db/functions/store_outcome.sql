-- What became of a request that was sent. Storing never asks for the claim: a cost is a cost, whoever brings it. The
-- same outcome again changes nothing; an outcome for an attempt that was never sent is IN002.

CREATE OR REPLACE FUNCTION record_generation_id(p_attempt_id uuid, p_organization_id uuid, p_generation_id text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_attempt spend_attempts;
BEGIN
    v_attempt := lock_attempt(p_attempt_id, p_organization_id, false);
    PERFORM require_sent(v_attempt);
    IF v_attempt.generation_id <> p_generation_id THEN
        RAISE EXCEPTION 'attempt % has the generation id % already, now came %',
            p_attempt_id, v_attempt.generation_id, p_generation_id USING ERRCODE = 'IN002';
    END IF;
    UPDATE spend_attempts SET generation_id = p_generation_id
    WHERE attempt_id = p_attempt_id AND generation_id IS NULL;
END
$$;

CREATE OR REPLACE FUNCTION require_sent(p_attempt spend_attempts) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF p_attempt.dispatched_at IS NULL THEN
        RAISE EXCEPTION 'attempt % is % and was never sent: it can''t have an outcome',
            p_attempt.attempt_id, p_attempt.state USING ERRCODE = 'IN002';
    END IF;
END
$$;

-- An answer with its usage (JSON as in domain.money.Usage). One that comes late, to an attempt that is UNKNOWN or was
-- resolved without it, is stored and booked at once.
CREATE OR REPLACE FUNCTION store_answer(
    p_attempt_id uuid,
    p_organization_id uuid,
    p_http_status integer,
    p_body text,
    p_model text,
    p_generation_id text,
    p_finish_reason text,
    p_usage jsonb
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_attempt spend_attempts;
    v_is_late boolean;
    v_facts CONSTANT jsonb := usage_facts(
        (p_usage ->> 'prompt_tokens')::bigint, (p_usage ->> 'completion_tokens')::bigint,
        (p_usage ->> 'cached_tokens')::bigint, (p_usage ->> 'searches')::bigint, (p_usage ->> 'cost_usd')::numeric);
BEGIN
    v_attempt := lock_attempt(p_attempt_id, p_organization_id);
    PERFORM require_sent(v_attempt);
    v_is_late := lacks_answer(v_attempt);
    IF v_attempt.state IN ('ANSWERED', 'SETTLED') AND NOT v_is_late THEN
        PERFORM require_same_answer(v_attempt, p_body, p_model, v_facts);
        -- Booked by a figure that was looked up; here is the answer itself, and its own figure counts.
        UPDATE spend_attempts
        SET answer_body = p_body, http_status = p_http_status, finish_reason = p_finish_reason
        WHERE attempt_id = p_attempt_id AND answer_body IS NULL;
        IF FOUND AND v_facts ->> 'cost_usd' <> v_attempt.usage ->> 'cost_usd' THEN
            v_attempt.usage := v_facts;
            v_attempt.answered_model := p_model;
            PERFORM settle_attempt(v_attempt);
        END IF;
        RETURN;
    END IF;
    IF v_attempt.state <> 'DISPATCHED' AND NOT v_is_late THEN
        RAISE EXCEPTION 'attempt % is % with the outcome %, and now an answer came for it',
            p_attempt_id, v_attempt.state, v_attempt.outcome USING ERRCODE = 'IN002';
    END IF;
    UPDATE spend_attempts
    SET state = CASE WHEN state IN ('WRITTEN_OFF', 'SETTLED', 'VOIDED') THEN state ELSE 'ANSWERED' END,
        http_status = p_http_status, answer_body = p_body, answered_model = p_model, finish_reason = p_finish_reason,
        generation_id = coalesce(p_generation_id, generation_id), usage = v_facts, answered_at = clock_timestamp()
    WHERE attempt_id = p_attempt_id;
    IF v_is_late THEN
        SELECT * INTO STRICT v_attempt FROM spend_attempts WHERE attempt_id = p_attempt_id;
        PERFORM settle_attempt(v_attempt);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION require_same_answer(p_attempt spend_attempts, p_body text, p_model text, p_facts jsonb)
RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- What was looked up counts tokens, and sometimes cost, in its own way; the answer's own figure was booked last.
    IF p_attempt.look_ups > 0 AND (p_attempt.answer_body IS NULL OR p_body = p_attempt.answer_body
        AND coalesce(round_up_usd((p_facts ->> 'cost_usd')::numeric) = p_attempt.provider_cost_usd, true)) THEN
        RETURN;
    END IF;
    IF p_facts IS DISTINCT FROM p_attempt.usage OR p_body <> p_attempt.answer_body
        OR canonical_model(p_model) <> canonical_model(p_attempt.answered_model) THEN
        RAISE EXCEPTION 'attempt % is % already with another answer (model %, usage %; now model %, usage %)',
            p_attempt.attempt_id, p_attempt.state, p_attempt.answered_model, p_attempt.usage, p_model, p_facts
            USING ERRCODE = 'IN002';
    END IF;
END
$$;

-- Evidence that the request cost nothing: a ledger row of $0, and the hold is free again. An UNKNOWN attempt becomes
-- VOIDED by it; what was written off, or left by a person, is taken back by a correction.
CREATE OR REPLACE FUNCTION store_not_billed(
    p_attempt_id uuid, p_organization_id uuid, p_outcome jsonb, p_http_status integer
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_attempt spend_attempts;
    v_closed_as text;
BEGIN
    v_attempt := lock_attempt(p_attempt_id, p_organization_id);
    PERFORM require_sent(v_attempt);
    IF lacks_answer(v_attempt) AND v_attempt.state IN ('SETTLED', 'VOIDED') AND booked_cost(p_attempt_id) = 0 THEN
        RETURN; -- resolved as free before, by whomever
    END IF;
    v_closed_as := CASE WHEN v_attempt.state = 'DISPATCHED' THEN 'NOT_BILLED' WHEN v_attempt.state = 'UNKNOWN' THEN 'VOIDED'
        WHEN lacks_answer(v_attempt) THEN 'SETTLED' END;
    IF v_closed_as IS NULL THEN
        IF v_attempt.outcome IS DISTINCT FROM p_outcome THEN
            RAISE EXCEPTION 'attempt % is % with the outcome %, and now came %',
                p_attempt_id, v_attempt.state, v_attempt.outcome, p_outcome USING ERRCODE = 'IN002';
        END IF;
        RETURN;
    END IF;
    PERFORM book_attempt(v_attempt, v_closed_as, 'not_billed', NULL, 0, v_attempt.model, v_attempt.price_id, NULL);
    UPDATE spend_attempts SET outcome = p_outcome, http_status = p_http_status WHERE attempt_id = p_attempt_id;
END
$$;

-- Sent, and no telling what it cost: the hold stays held. Adds nothing to an attempt whose cost is known by now.
CREATE OR REPLACE FUNCTION store_unknown(
    p_attempt_id uuid, p_organization_id uuid, p_outcome jsonb, p_http_status integer, p_body text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_attempt spend_attempts;
BEGIN
    v_attempt := lock_attempt(p_attempt_id, p_organization_id, false);
    PERFORM require_sent(v_attempt);
    IF v_attempt.state IN ('DISPATCHED', 'UNKNOWN') THEN
        UPDATE spend_attempts
        SET state = 'UNKNOWN', outcome = p_outcome, http_status = coalesce(p_http_status, http_status),
            answer_body = coalesce(p_body, answer_body)
        WHERE attempt_id = p_attempt_id;
    END IF;
END
$$;

-- A judge found the answer unfit: it is never handed out again. The first reason stays.
CREATE OR REPLACE FUNCTION reject_answer(p_attempt_id uuid, p_organization_id uuid, p_reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_attempt spend_attempts;
BEGIN
    v_attempt := lock_attempt(p_attempt_id, p_organization_id, false);
    IF v_attempt.state NOT IN ('ANSWERED', 'SETTLED') THEN
        RAISE EXCEPTION 'attempt % is % and has no answer to reject', p_attempt_id, v_attempt.state
            USING ERRCODE = 'IN002';
    END IF;
    UPDATE spend_attempts SET rejected_reason = p_reason
    WHERE attempt_id = p_attempt_id AND rejected_reason IS NULL;
END
$$;

GRANT EXECUTE ON FUNCTION record_generation_id, store_answer, store_not_billed, store_unknown, reject_answer
    TO infin8_app, infin8_operator;
