-- Freezing and thawing by an operator, with an audit row each. A frozen scope authorizes nothing; what is in flight
-- still settles. Thawing lets it authorize again: its cap, its counters and the recorded overrun stay as they are.
-- A scope is a workflow, or with a month instead of a workflow the organization's month.

-- Returns why the scope was frozen, null when it was not; the same decision again: the first result.
CREATE OR REPLACE FUNCTION thaw_scope(
    p_organization_id uuid, p_workflow_id uuid, p_month date, p_decision_id uuid, p_actor text, p_reason text
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_frozen text;
    v_known scope_freezes;
BEGIN
    v_frozen := lock_scope(p_organization_id, p_workflow_id, p_month);
    v_known := known_freeze(p_organization_id, p_workflow_id, p_month, p_decision_id, 'thaw');
    IF v_known.decision_id IS NOT NULL OR v_frozen IS NULL THEN
        RETURN v_known.frozen_reason;
    END IF;
    INSERT INTO scope_freezes (decision_id, organization_id, workflow_id, month, action, frozen_reason, actor, reason)
    VALUES (p_decision_id, p_organization_id, p_workflow_id, p_month, 'thaw', v_frozen, trim(p_actor), trim(p_reason));
    PERFORM set_frozen_reason(p_organization_id, p_workflow_id, p_month, NULL);
    RETURN v_frozen;
END
$$;

-- Returns why the scope is frozen now; one that was frozen before keeps its reason, and nothing is noted.
CREATE OR REPLACE FUNCTION freeze_scope(
    p_organization_id uuid, p_workflow_id uuid, p_month date, p_decision_id uuid, p_actor text, p_reason text
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_frozen text;
    v_known scope_freezes;
BEGIN
    v_frozen := lock_scope(p_organization_id, p_workflow_id, p_month);
    v_known := known_freeze(p_organization_id, p_workflow_id, p_month, p_decision_id, 'freeze');
    IF v_known.decision_id IS NOT NULL OR v_frozen IS NOT NULL THEN
        RETURN coalesce(v_known.frozen_reason, v_frozen);
    END IF;
    v_frozen := format('%s: %s', trim(p_actor), trim(p_reason));
    INSERT INTO scope_freezes (decision_id, organization_id, workflow_id, month, action, frozen_reason, actor, reason)
    VALUES (p_decision_id, p_organization_id, p_workflow_id, p_month, 'freeze', v_frozen, trim(p_actor),
        trim(p_reason));
    PERFORM set_frozen_reason(p_organization_id, p_workflow_id, p_month, v_frozen);
    RETURN v_frozen;
END
$$;

-- Locks the scope's row and returns why it is frozen. The current month is begun where nothing was spent in it yet.
CREATE OR REPLACE FUNCTION lock_scope(p_organization_id uuid, p_workflow_id uuid, p_month date) RETURNS text
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_frozen text;
    v_found boolean := false;
BEGIN
    IF num_nonnulls(p_workflow_id, p_month) <> 1 THEN
        RAISE EXCEPTION 'one scope at a time: a workflow, or a month' USING ERRCODE = 'IN004',
            DETAIL = '{"field": "scope"}';
    END IF;
    IF p_organization_id IS DISTINCT FROM nullif(current_setting('app.organization_id', true), '')::uuid THEN
        NULL; -- as if it did not exist
    ELSIF p_workflow_id IS NOT NULL THEN
        SELECT frozen_reason INTO v_frozen FROM intent_workflows
        WHERE id = p_workflow_id AND organization_id = p_organization_id FOR NO KEY UPDATE;
        v_found := FOUND;
    ELSE
        IF p_month = current_spend_month()
            AND EXISTS (SELECT FROM organizations WHERE organization_id = p_organization_id) THEN
            PERFORM lock_current_month(p_organization_id);
        END IF;
        SELECT frozen_reason INTO v_frozen FROM organization_months
        WHERE organization_id = p_organization_id AND month = p_month FOR NO KEY UPDATE;
        v_found := FOUND;
    END IF;
    IF NOT v_found THEN
        RAISE EXCEPTION '% does not exist for this organization',
            coalesce('workflow ' || p_workflow_id, 'month ' || p_month)
            USING ERRCODE = 'IN004', DETAIL = '{"field": "scope"}';
    END IF;
    RETURN v_frozen;
END
$$;

CREATE OR REPLACE FUNCTION known_freeze(
    p_organization_id uuid, p_workflow_id uuid, p_month date, p_decision_id uuid, p_action text
) RETURNS scope_freezes
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_known scope_freezes;
BEGIN
    SELECT * INTO v_known FROM scope_freezes
    WHERE decision_id = p_decision_id AND organization_id = p_organization_id;
    IF FOUND AND (v_known.action, v_known.workflow_id, v_known.month)
        IS DISTINCT FROM (p_action, p_workflow_id, p_month) THEN
        RAISE EXCEPTION 'decision % was the % of another scope already', p_decision_id, v_known.action
            USING ERRCODE = 'IN002';
    END IF;
    RETURN v_known;
END
$$;

CREATE OR REPLACE FUNCTION set_frozen_reason(
    p_organization_id uuid, p_workflow_id uuid, p_month date, p_frozen_reason text
) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE intent_workflows SET frozen_reason = p_frozen_reason
    WHERE id = p_workflow_id AND organization_id = p_organization_id;
    UPDATE organization_months SET frozen_reason = p_frozen_reason
    WHERE organization_id = p_organization_id AND month = p_month;
END
$$;

GRANT EXECUTE ON FUNCTION thaw_scope, freeze_scope TO infin8_operator;
