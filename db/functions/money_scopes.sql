-- Locks and counters of the scopes that have a cap. The order of locks is the same everywhere: workflow rows by id,
-- organization months by month, attempts by id. These functions are called by the money functions only.

CREATE OR REPLACE FUNCTION current_spend_month() RETURNS date
LANGUAGE sql VOLATILE SET search_path = public, pg_temp AS $$
    SELECT spend_month(clock_timestamp())
$$;

-- Locks the organization's current month, beginning it where this is its first authorization.
CREATE OR REPLACE FUNCTION lock_current_month(p_organization_id uuid) RETURNS date
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_month CONSTANT date := current_spend_month();
BEGIN
    INSERT INTO organization_months (organization_id, month) VALUES (p_organization_id, v_month)
    ON CONFLICT DO NOTHING;
    PERFORM FROM organization_months
    WHERE organization_id = p_organization_id AND month = v_month FOR NO KEY UPDATE;
    RETURN v_month;
END
$$;

-- Locks attempts with their scopes; without the months where no money moves, because all of an organization's
-- workflows meet there. Raises IN004 when an attempt is not this organization's.
CREATE OR REPLACE FUNCTION lock_attempts(
    p_organization_id uuid, p_attempt_ids uuid[], p_with_months boolean DEFAULT true
) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_missing uuid;
BEGIN
    SELECT wanted INTO v_missing FROM unnest(p_attempt_ids) AS wanted
    WHERE p_organization_id IS DISTINCT FROM nullif(current_setting('app.organization_id', true), '')::uuid
        OR NOT EXISTS (
            SELECT FROM spend_attempts WHERE attempt_id = wanted AND organization_id = p_organization_id
        )
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'attempt % does not exist for this organization', v_missing
            USING ERRCODE = 'IN004', DETAIL = '{"field": "attempt_id"}';
    END IF;
    PERFORM FROM intent_workflows
    WHERE id IN (SELECT workflow_id FROM spend_attempts WHERE attempt_id = ANY (p_attempt_ids))
    ORDER BY id FOR NO KEY UPDATE;
    IF p_with_months THEN
        PERFORM FROM organization_months
        WHERE organization_id = p_organization_id
            AND month IN (SELECT month FROM spend_attempts WHERE attempt_id = ANY (p_attempt_ids))
        ORDER BY month FOR NO KEY UPDATE;
    END IF;
    PERFORM FROM spend_attempts WHERE attempt_id = ANY (p_attempt_ids) ORDER BY attempt_id FOR NO KEY UPDATE;
END
$$;

-- Locks one attempt with its scopes and returns the row as it is under the lock.
CREATE OR REPLACE FUNCTION lock_attempt(
    p_attempt_id uuid, p_organization_id uuid, p_with_month boolean DEFAULT true
) RETURNS spend_attempts
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_attempt spend_attempts;
BEGIN
    PERFORM lock_attempts(p_organization_id, ARRAY[p_attempt_id], p_with_month);
    SELECT * INTO STRICT v_attempt FROM spend_attempts WHERE attempt_id = p_attempt_id;
    RETURN v_attempt;
END
$$;

-- Changes the counters of both scopes of an attempt. An overrun is money spent beyond what was authorized: the scopes
-- take no new authorizations until an operator thaws them.
CREATE OR REPLACE FUNCTION move_money(
    p_attempt spend_attempts, p_held_change numeric, p_spent_change numeric, p_overrun numeric DEFAULT 0
) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_freeze text;
BEGIN
    IF p_overrun > 0 THEN
        v_freeze := format('attempt %s was billed $%s more than its hold of $%s',
            p_attempt.attempt_id, usd_text(p_overrun), usd_text(p_attempt.hold_usd));
    END IF;
    UPDATE intent_workflows
    SET held_usd = held_usd + p_held_change, spent_usd = spent_usd + p_spent_change,
        overrun_usd = overrun_usd + p_overrun, frozen_reason = coalesce(frozen_reason, v_freeze)
    WHERE id = p_attempt.workflow_id AND organization_id = p_attempt.organization_id;
    UPDATE organization_months
    SET held_usd = held_usd + p_held_change, spent_usd = spent_usd + p_spent_change,
        overrun_usd = overrun_usd + p_overrun, frozen_reason = coalesce(frozen_reason, v_freeze)
    WHERE organization_id = p_attempt.organization_id AND month = p_attempt.month;
    IF p_held_change + p_spent_change > 0 THEN
        PERFORM note_alerts(p_attempt, plan_of(p_attempt.organization_id));
    END IF;
END
$$;

-- Ends a hold of which nothing was spent.
CREATE OR REPLACE FUNCTION release_hold(p_attempt spend_attempts, p_state text, p_outcome jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM move_money(p_attempt, -p_attempt.hold_usd, 0);
    UPDATE spend_attempts SET state = p_state, outcome = p_outcome
    WHERE attempt_id = p_attempt.attempt_id;
END
$$;
