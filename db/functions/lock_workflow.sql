-- Locks a workflow's row to the end of the transaction and tells where it stands; no row: it is not this
-- organization's. Only as strong as an update of the row needs: FOR UPDATE would also wait for, and deadlock with,
-- transactions that have just written rows referring to the workflow.
CREATE OR REPLACE FUNCTION lock_workflow(p_workflow_id uuid, p_organization_id uuid)
RETURNS TABLE (state text, version bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT workflow.state, workflow.version
    FROM intent_workflows AS workflow
    WHERE workflow.id = p_workflow_id AND workflow.organization_id = p_organization_id
        AND p_organization_id = nullif(current_setting('app.organization_id', true), '')::uuid
    FOR NO KEY UPDATE
$$;

GRANT EXECUTE ON FUNCTION lock_workflow TO infin8_app, infin8_operator;
