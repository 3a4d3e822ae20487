-- Writes what alerts are due for the scopes of an attempt: at an authorization, and where a booking takes a scope
-- beyond what was held for it. Compared is spent + held, the figure that refuses; an alert that waited for `spent`
-- could come after the refusal it warns of. 100 % is also reached by an ask that the cap refuses. The caller holds
-- the locks of both scopes.
CREATE OR REPLACE FUNCTION note_alerts(p_attempt spend_attempts, p_plan plans) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_workflow intent_workflows;
    v_month organization_months;
BEGIN
    SELECT * INTO v_workflow FROM intent_workflows
    WHERE id = p_attempt.workflow_id AND organization_id = p_attempt.organization_id;
    PERFORM note_scope_alerts(p_attempt, v_workflow.id, NULL, workflow_cap(v_workflow, p_plan), v_workflow.spent_usd,
        v_workflow.held_usd, p_attempt.refusal ->> 'scope' IS NOT DISTINCT FROM 'workflow');
    SELECT * INTO v_month FROM organization_months
    WHERE organization_id = p_attempt.organization_id AND month = p_attempt.month;
    PERFORM note_scope_alerts(p_attempt, NULL, v_month.month, p_plan.month_cap_usd, v_month.spent_usd,
        v_month.held_usd, p_attempt.refusal ->> 'scope' IS NOT DISTINCT FROM 'month');
END
$$;

CREATE OR REPLACE FUNCTION note_scope_alerts(
    p_attempt spend_attempts, p_workflow_id uuid, p_month date, p_cap_usd numeric, p_spent_usd numeric,
    p_held_usd numeric, p_is_refusal boolean
) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    v_used CONSTANT numeric := p_spent_usd + p_held_usd;
    v_round integer;
    v_round_cap numeric;
BEGIN
    -- Nothing has a share of a cap that is 0 or missing: such a scope refuses from the first.
    IF (p_cap_usd > 0 AND (p_is_refusal OR v_used * 2 >= p_cap_usd)) IS NOT TRUE THEN
        RETURN;
    END IF;
    SELECT round, min(cap_usd) INTO v_round, v_round_cap FROM spend_alerts
    WHERE organization_id = p_attempt.organization_id
        AND workflow_id IS NOT DISTINCT FROM p_workflow_id AND month IS NOT DISTINCT FROM p_month
    GROUP BY round ORDER BY round DESC LIMIT 1;
    v_round := coalesce(v_round + (p_cap_usd > v_round_cap)::integer, 1);

    INSERT INTO spend_alerts (organization_id, workflow_id, month, threshold_percent, round, cap_usd, spent_usd,
        held_usd, is_refusal, attempt_id)
    SELECT p_attempt.organization_id, p_workflow_id, p_month, threshold, v_round, p_cap_usd, p_spent_usd, p_held_usd,
        p_is_refusal AND threshold = 100, p_attempt.attempt_id
    FROM unnest(ARRAY[50, 80, 100]) AS threshold
    WHERE v_used * 100 >= threshold * p_cap_usd OR (threshold = 100 AND p_is_refusal)
    ON CONFLICT DO NOTHING;
END
$$;
