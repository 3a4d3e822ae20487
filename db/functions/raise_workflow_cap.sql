-- Raises a workflow's cap and notes who did it; returns the cap now in force. The same decision again, and a figure
-- that is in force already, change nothing.
CREATE OR REPLACE FUNCTION raise_workflow_cap(
    p_workflow_id uuid,
    p_organization_id uuid,
    p_cap_usd numeric,
    p_decision_id uuid,
    p_actor text
) RETURNS numeric
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_state text;
    v_cap_usd numeric(20, 9);
    v_known cap_changes;
BEGIN
    SELECT locked.state INTO v_state FROM lock_workflow(p_workflow_id, p_organization_id) AS locked;
    IF v_state IS NULL THEN
        RAISE EXCEPTION 'workflow % does not exist for this organization', p_workflow_id
            USING ERRCODE = 'IN004', DETAIL = '{"field": "workflow_id"}';
    END IF;
    SELECT cap_usd INTO v_cap_usd FROM intent_workflows
    WHERE id = p_workflow_id AND organization_id = p_organization_id;

    SELECT * INTO v_known FROM cap_changes WHERE decision_id = p_decision_id AND organization_id = p_organization_id;
    IF v_known.decision_id IS NOT NULL THEN
        IF (v_known.workflow_id, v_known.to_usd) IS DISTINCT FROM (p_workflow_id, p_cap_usd) THEN
            RAISE EXCEPTION 'decision % raised the cap of workflow % to % already', p_decision_id,
                v_known.workflow_id, v_known.to_usd USING ERRCODE = 'IN002';
        END IF;
        RETURN v_cap_usd;
    END IF;

    IF v_state IN ('COMPLETED', 'CANCELLED') THEN
        RAISE EXCEPTION 'workflow % is %: its cap is final', p_workflow_id, v_state
            USING ERRCODE = 'IN004', DETAIL = '{"field": "cap_usd"}';
    END IF;
    IF p_cap_usd IS NULL OR p_cap_usd = 'NaN' OR p_cap_usd < v_cap_usd THEN
        RAISE EXCEPTION 'the cap can only be raised: it is % USD now, asked for was %', trim_scale(v_cap_usd), p_cap_usd
            USING ERRCODE = 'IN004', DETAIL = '{"field": "cap_usd"}';
    END IF;
    IF p_cap_usd = v_cap_usd THEN
        RETURN v_cap_usd;
    END IF;

    INSERT INTO cap_changes (decision_id, workflow_id, organization_id, from_usd, to_usd, actor)
    VALUES (p_decision_id, p_workflow_id, p_organization_id, v_cap_usd, p_cap_usd, p_actor);
    UPDATE intent_workflows SET cap_usd = p_cap_usd WHERE id = p_workflow_id AND organization_id = p_organization_id;
    RETURN p_cap_usd;
END
$$;

GRANT EXECUTE ON FUNCTION raise_workflow_cap TO infin8_app, infin8_operator;
