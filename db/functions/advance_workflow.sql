-- The only writer of a workflow's state and version. Returns the version the transition made, for a replay the one
-- that its first try made. Locks in the order workflow, organization month, attempts.
CREATE OR REPLACE FUNCTION advance_workflow(
    p_workflow_id uuid,
    p_organization_id uuid,
    p_expected_state text,
    p_expected_version bigint,
    p_next_state text,
    p_transition_id uuid,
    p_actor text,
    p_reason text,
    p_run_id text DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_state text;
    v_version bigint;
    v_known workflow_transitions;
    v_refusal text;
BEGIN
    SELECT locked.state, locked.version INTO v_state, v_version
    FROM lock_workflow(p_workflow_id, p_organization_id) AS locked;

    IF v_state IS NOT NULL THEN
        -- Looked up under the lock: a first try that is still running has committed or vanished by now.
        SELECT * INTO v_known FROM workflow_transitions
        WHERE transition_id = p_transition_id AND organization_id = p_organization_id;
        IF v_known.transition_id IS NOT NULL THEN
            IF (v_known.workflow_id, v_known.from_state, v_known.to_state, v_known.expected_version)
                IS DISTINCT FROM (p_workflow_id, p_expected_state, p_next_state, p_expected_version)
            THEN
                RAISE EXCEPTION 'transition % was used for another transition (% → % of workflow %, expected version %)',
                    p_transition_id, v_known.from_state, v_known.to_state, v_known.workflow_id,
                    v_known.expected_version USING ERRCODE = 'IN002';
            END IF;
            RETURN v_known.seq;
        END IF;
    END IF;

    v_refusal := CASE
        WHEN v_state IS NULL THEN 'not_found'
        WHEN v_state IN ('COMPLETED', 'CANCELLED') THEN 'terminal'
        WHEN NOT EXISTS (
            SELECT FROM legal_transitions WHERE from_state = p_expected_state AND to_state = p_next_state
        ) THEN 'illegal'
        WHEN (v_state, v_version) IS DISTINCT FROM (p_expected_state, p_expected_version) THEN 'conflict'
    END;
    IF v_refusal IS NOT NULL THEN
        RAISE EXCEPTION 'workflow % can''t go from % to %: %', p_workflow_id, p_expected_state, p_next_state, v_refusal
            USING ERRCODE = 'IN001', DETAIL = jsonb_build_object(
                'workflow_id', p_workflow_id, 'reason', v_refusal,
                'current_state', v_state, 'current_version', v_version,
                'expected_state', p_expected_state, 'expected_version', p_expected_version,
                'attempted_state', p_next_state)::text;
    END IF;

    UPDATE intent_workflows SET state = p_next_state, version = v_version + 1, failure = NULL
    WHERE id = p_workflow_id AND organization_id = p_organization_id;
    INSERT INTO workflow_transitions (transition_id, workflow_id, organization_id, seq, from_state, to_state,
        expected_version, actor, reason, run_id)
    VALUES (p_transition_id, p_workflow_id, p_organization_id, v_version + 1, v_state, p_next_state,
        v_version, p_actor, p_reason, p_run_id);

    IF v_state LIKE '%\_PROCESSING' THEN
        -- The version at which PROCESSING was entered is the claim that ends here.
        PERFORM void_reserved_attempts(p_workflow_id, p_organization_id, v_version);
    END IF;
    RETURN v_version + 1;
END
$$;

GRANT EXECUTE ON FUNCTION advance_workflow TO infin8_app, infin8_operator;
