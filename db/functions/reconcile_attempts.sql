-- Nothing stays open: what is due by the database's clock is resolved, one attempt per transaction, its state read
-- under the lock. So a worker that settles at the same moment and a second reconciler are never in the way.

-- What is due for an attempt, null while nothing is. Each deadline is stated here and nowhere else.
CREATE OR REPLACE FUNCTION due_resolution(
    p_attempt spend_attempts,
    p_now timestamptz,
    p_call_grace_seconds double precision,
    p_settle_grace_seconds double precision,
    p_write_off_after_seconds double precision
) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp AS $$
    SELECT CASE
        WHEN p_attempt.state = 'RESERVED' AND p_attempt.expires_at <= p_now THEN 'EXPIRED'
        WHEN p_attempt.state = 'DISPATCHED'
            AND p_attempt.call_deadline_at + make_interval(secs => p_call_grace_seconds) <= p_now THEN 'UNKNOWN'
        WHEN p_attempt.state = 'ANSWERED'
            AND p_attempt.answered_at + make_interval(secs => p_settle_grace_seconds) <= p_now THEN 'SETTLED'
        WHEN p_attempt.state = 'UNKNOWN'
            AND p_attempt.call_deadline_at + make_interval(secs => p_write_off_after_seconds) <= p_now
            THEN 'WRITTEN_OFF'
    END
$$;

-- Does what is due for one attempt and says what that was.
CREATE OR REPLACE FUNCTION reconcile_attempt(
    p_attempt_id uuid,
    p_organization_id uuid,
    p_call_grace_seconds double precision,
    p_settle_grace_seconds double precision,
    p_write_off_after_seconds double precision
) RETURNS spend_resolution
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_attempt spend_attempts;
    v_kind text;
BEGIN
    v_attempt := lock_attempt(p_attempt_id, p_organization_id);
    v_kind := due_resolution(v_attempt, clock_timestamp(), p_call_grace_seconds, p_settle_grace_seconds,
        p_write_off_after_seconds);
    CASE v_kind
        WHEN 'EXPIRED' THEN
            PERFORM release_hold(v_attempt, 'EXPIRED', jsonb_build_object('reason', 'not sent before its expiry'));
        WHEN 'UNKNOWN' THEN
            PERFORM store_unknown(p_attempt_id, p_organization_id,
                jsonb_build_object('reason', 'no outcome was reported before the deadline of the call'), NULL, NULL);
        WHEN 'SETTLED' THEN
            PERFORM settle_attempt(v_attempt);
        WHEN 'WRITTEN_OFF' THEN
            PERFORM write_off_attempt(p_attempt_id, p_organization_id);
        ELSE
            NULL;
    END CASE;
    RETURN resolution_of(v_attempt, v_kind);
END
$$;

-- Books what the provider says an UNKNOWN or written-off attempt cost: a figure settles it, $0 is its word that nothing
-- was billed, no figure (null) is noted only. An attempt that somebody resolved meanwhile stays as it is.
CREATE OR REPLACE FUNCTION book_looked_up_cost(p_attempt_id uuid, p_organization_id uuid, p_usage jsonb)
RETURNS spend_resolution
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_attempt spend_attempts;
    v_kind text;
BEGIN
    v_attempt := lock_attempt(p_attempt_id, p_organization_id);
    IF v_attempt.state NOT IN ('UNKNOWN', 'WRITTEN_OFF') THEN
        RETURN resolution_of(v_attempt, NULL);
    END IF;
    UPDATE spend_attempts SET looked_up_at = clock_timestamp(), look_ups = look_ups + 1
    WHERE attempt_id = p_attempt_id;
    IF (p_usage ->> 'cost_usd')::numeric = 0 THEN
        PERFORM store_not_billed(p_attempt_id, p_organization_id, jsonb_build_object(
            'reason', 'the provider says that it charged nothing', 'permanent', false, 'retry_after_seconds', NULL),
            v_attempt.http_status);
        v_kind := 'NOT_BILLED';
    ELSIF p_usage IS NOT NULL THEN
        PERFORM record_usage_and_increment(p_attempt_id, p_organization_id, v_attempt.model,
            (p_usage ->> 'prompt_tokens')::bigint, (p_usage ->> 'completion_tokens')::bigint,
            (p_usage ->> 'cost_usd')::numeric, (p_usage ->> 'cached_tokens')::bigint,
            (p_usage ->> 'searches')::bigint);
        v_kind := CASE v_attempt.state WHEN 'UNKNOWN' THEN 'LATE' ELSE 'CORRECTED' END;
    END IF;
    RETURN resolution_of(v_attempt, v_kind);
END
$$;

-- p_attempt as it was before: the difference in what is booked is what was booked now.
CREATE OR REPLACE FUNCTION resolution_of(p_attempt spend_attempts, p_kind text) RETURNS spend_resolution
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT (p_attempt.attempt_id, p_attempt.workflow_id, p_attempt.organization_id, p_kind, p_attempt.hold_usd,
        CASE WHEN p_kind IS NULL THEN 0
            ELSE booked_cost(p_attempt.attempt_id)
                - CASE p_attempt.state WHEN 'WRITTEN_OFF' THEN p_attempt.hold_usd ELSE 0 END END)::spend_resolution
$$;

-- Adds an amount (negative: a refund) to what a ledger row booked, as a row of its own that names it. The same key
-- again: the first result. Returns what the attempt is booked at with it.
--
-- Money that was freed may be spent by now: what a dearer booking takes beyond what the scopes still allow is an
-- overrun like any other, recorded and frozen on. A correction of a write-off is its resolution.
CREATE OR REPLACE FUNCTION correct_ledger(
    p_organization_id uuid,
    p_original uuid,
    p_key uuid,
    p_amount numeric,
    p_reason text,
    p_actor text
) RETURNS numeric
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_original ai_usage_ledger;
    v_known ai_usage_ledger;
    v_attempt spend_attempts;
    v_booked numeric;
    v_overrun numeric;
BEGIN
    SELECT * INTO v_original FROM ai_usage_ledger
    WHERE idempotency_key = p_original AND organization_id = p_organization_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'ledger row % does not exist for this organization', p_original
            USING ERRCODE = 'IN004', DETAIL = '{"field": "original"}';
    END IF;
    PERFORM require_correction(p_amount, p_reason, p_actor);
    v_attempt := lock_attempt(v_original.attempt_id, p_organization_id);
    v_booked := booked_cost(v_attempt.attempt_id);

    SELECT * INTO v_known FROM ai_usage_ledger WHERE idempotency_key = p_key AND organization_id = p_organization_id;
    IF FOUND THEN
        IF (v_known.entry, v_known.corrects, v_known.cost) IS DISTINCT FROM ('correction', p_original, p_amount) THEN
            RAISE EXCEPTION 'key % stands for the % of $% on row % already', p_key, v_known.entry,
                usd_text(v_known.cost), coalesce(v_known.corrects, v_known.idempotency_key) USING ERRCODE = 'IN002';
        END IF;
        RETURN v_booked;
    END IF;
    IF EXISTS (SELECT FROM spend_attempts WHERE attempt_id = p_key AND organization_id = p_organization_id) THEN
        RAISE EXCEPTION 'key % is that of an attempt, whose own booking needs it: choose another', p_key
            USING ERRCODE = 'IN004', DETAIL = '{"field": "key"}';
    END IF;
    IF v_booked + p_amount < 0 THEN
        RAISE EXCEPTION 'attempt % is booked at $%: a correction of $% would take more back than was paid',
            v_attempt.attempt_id, usd_text(v_booked), usd_text(p_amount)
            USING ERRCODE = 'IN004', DETAIL = '{"field": "amount"}';
    END IF;

    v_overrun := correction_overrun(v_attempt, p_amount, v_booked + p_amount);
    INSERT INTO ai_usage_ledger (idempotency_key, attempt_id, workflow_id, organization_id, month, entry, corrects,
        step, slot, model, prompt_tokens, completion_tokens, cost, reason, actor)
    VALUES (p_key, v_attempt.attempt_id, v_attempt.workflow_id, p_organization_id, v_attempt.month, 'correction',
        p_original, v_original.step, v_original.slot, v_original.model, 0, 0, p_amount, p_reason, p_actor);
    IF v_overrun > 0 THEN
        PERFORM freeze_for_overrun(v_attempt, format('a correction of $%s of attempt %s passed what was allowed by $%s',
            usd_text(p_amount), v_attempt.attempt_id, usd_text(v_overrun)));
    END IF;
    PERFORM move_money(v_attempt, 0, p_amount, v_overrun);
    UPDATE spend_attempts
    SET overrun_usd = overrun_usd + v_overrun, settled_at = coalesce(settled_at, clock_timestamp()),
        state = CASE state WHEN 'WRITTEN_OFF' THEN 'SETTLED' ELSE state END
    WHERE attempt_id = v_attempt.attempt_id;
    RETURN v_booked + p_amount;
END
$$;

CREATE OR REPLACE FUNCTION require_correction(p_amount numeric, p_reason text, p_actor text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF p_amount IS NULL OR p_amount = 0 OR abs(p_amount) >= 100000000000 OR p_amount <> round(p_amount, 9) THEN
        RAISE EXCEPTION 'a correction needs an amount other than 0, exact to the nano-dollar; it was %', p_amount
            USING ERRCODE = 'IN004', DETAIL = '{"field": "amount"}';
    END IF;
    IF coalesce(trim(p_reason), '') = '' OR coalesce(trim(p_actor), '') = '' THEN
        RAISE EXCEPTION 'a correction needs a reason and who makes it' USING ERRCODE = 'IN004',
            DETAIL = '{"field": "reason"}';
    END IF;
END
$$;

-- How far a booking passes the attempt's hold or what its scopes still allow, beyond what was recorded before.
CREATE OR REPLACE FUNCTION correction_overrun(p_attempt spend_attempts, p_amount numeric, p_booked numeric)
RETURNS numeric
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT greatest(0,
        p_booked - p_attempt.hold_usd - p_attempt.overrun_usd,
        (SELECT spent_usd + held_usd + p_amount - coalesce(authorized_cap_usd, 0) - overrun_usd
         FROM intent_workflows WHERE id = p_attempt.workflow_id),
        (SELECT spent_usd + held_usd + p_amount - coalesce(cap_usd, 0) - overrun_usd
         FROM organization_months
         WHERE organization_id = p_attempt.organization_id AND month = p_attempt.month))
$$;

-- Before move_money, which keeps the reason that is there.
CREATE OR REPLACE FUNCTION freeze_for_overrun(p_attempt spend_attempts, p_reason text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE intent_workflows SET frozen_reason = p_reason
    WHERE id = p_attempt.workflow_id AND frozen_reason IS NULL;
    UPDATE organization_months SET frozen_reason = p_reason
    WHERE organization_id = p_attempt.organization_id AND month = p_attempt.month AND frozen_reason IS NULL;
END
$$;

GRANT EXECUTE ON FUNCTION due_resolution, reconcile_attempt, book_looked_up_cost, correct_ledger TO infin8_operator;
