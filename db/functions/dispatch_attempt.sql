-- True exactly once in the life of an attempt: send the stored request now. False: it must not be sent, its row says
-- why (its claim was lost, it expired, or it was dispatched before and may have been sent).
CREATE OR REPLACE FUNCTION dispatch_attempt(p_workflow_id uuid, p_organization_id uuid, p_attempt_id uuid)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_attempt spend_attempts;
    v_workflow intent_workflows;
    v_now timestamptz;
BEGIN
    v_attempt := lock_attempt(p_attempt_id, p_organization_id);
    IF v_attempt.workflow_id <> p_workflow_id THEN
        RAISE EXCEPTION 'attempt % does not exist for workflow %', p_attempt_id, p_workflow_id
            USING ERRCODE = 'IN004', DETAIL = '{"field": "attempt_id"}';
    END IF;
    IF v_attempt.state = 'DISPATCHED' THEN
        UPDATE spend_attempts
        SET state = 'UNKNOWN', outcome = jsonb_build_object('reason', 'dispatched before, and no outcome was stored')
        WHERE attempt_id = p_attempt_id;
    END IF;
    IF v_attempt.state <> 'RESERVED' THEN
        RETURN false;
    END IF;

    SELECT * INTO STRICT v_workflow FROM intent_workflows WHERE id = p_workflow_id;
    IF v_workflow.state <> upper(v_attempt.step) || '_PROCESSING' OR v_workflow.version <> v_attempt.claim THEN
        PERFORM release_hold(v_attempt, 'VOIDED', jsonb_build_object('reason', format(
            'claim %s is lost: the workflow is in %s at version %s',
            v_attempt.claim, v_workflow.state, v_workflow.version)));
        RETURN false;
    END IF;
    v_now := clock_timestamp();
    IF v_now >= v_attempt.expires_at THEN
        PERFORM release_hold(v_attempt, 'EXPIRED', jsonb_build_object('reason', 'not sent before its expiry'));
        RETURN false;
    END IF;
    UPDATE spend_attempts
    SET state = 'DISPATCHED', dispatched_at = v_now,
        call_deadline_at = v_now + make_interval(secs => call_deadline_seconds)
    WHERE attempt_id = p_attempt_id;
    RETURN true;
END
$$;

-- Releases what a claim reserved and did not send. Called by the transaction that leaves X_PROCESSING.
CREATE OR REPLACE FUNCTION void_reserved_attempts(p_workflow_id uuid, p_organization_id uuid, p_claim bigint)
RETURNS integer
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_reserved CONSTANT uuid[] := ARRAY(
        SELECT attempt_id FROM spend_attempts
        WHERE workflow_id = p_workflow_id AND organization_id = p_organization_id
            AND claim = p_claim AND state = 'RESERVED'
    );
    v_attempt spend_attempts;
BEGIN
    PERFORM lock_attempts(p_organization_id, v_reserved);
    FOR v_attempt IN SELECT * FROM spend_attempts WHERE attempt_id = ANY (v_reserved) AND state = 'RESERVED' LOOP
        PERFORM release_hold(v_attempt, 'VOIDED', jsonb_build_object('reason', format('claim %s ended', p_claim)));
    END LOOP;
    RETURN cardinality(v_reserved);
END
$$;

-- Releases the holds of this organization that were never sent and are past their expiry by the database's clock.
CREATE OR REPLACE FUNCTION expire_attempts(p_organization_id uuid) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_due CONSTANT uuid[] := ARRAY(
        SELECT attempt_id FROM spend_attempts
        WHERE organization_id = p_organization_id AND state = 'RESERVED' AND expires_at <= clock_timestamp()
    );
    v_attempt spend_attempts;
    v_expired integer := 0;
BEGIN
    PERFORM lock_attempts(p_organization_id, v_due);
    FOR v_attempt IN SELECT * FROM spend_attempts WHERE attempt_id = ANY (v_due) AND state = 'RESERVED' LOOP
        PERFORM release_hold(v_attempt, 'EXPIRED', jsonb_build_object('reason', 'not sent before its expiry'));
        v_expired := v_expired + 1;
    END LOOP;
    RETURN v_expired;
END
$$;

GRANT EXECUTE ON FUNCTION dispatch_attempt, expire_attempts TO infin8_app, infin8_operator;
