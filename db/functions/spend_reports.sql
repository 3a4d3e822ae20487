-- Whether an estimated cost would fit now. Advisory and read-only: authorize_attempts alone decides, under locks.
-- False when the workflow is not visible, a scope is frozen or a cap is missing.
CREATE OR REPLACE FUNCTION check_workflow_cost_limit(p_workflow_id uuid, p_estimated_cost numeric) RETURNS boolean
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT coalesce((
        SELECT p_estimated_cost >= 0 AND p_estimated_cost < 'NaN'
            AND workflow.frozen_reason IS NULL AND month.frozen_reason IS NULL
            AND plan.workflow_cap_usd > 0 AND plan.month_cap_usd > 0
            AND workflow.spent_usd + workflow.held_usd + p_estimated_cost <= workflow.cap_usd
            AND coalesce(month.spent_usd + month.held_usd, 0) + p_estimated_cost <= plan.month_cap_usd
        FROM intent_workflows AS workflow
        JOIN organizations USING (organization_id)
        JOIN plans AS plan USING (plan_key)
        LEFT JOIN organization_months AS month
            ON month.organization_id = workflow.organization_id
            AND month.month = spend_month(clock_timestamp())
        WHERE workflow.id = p_workflow_id
    ), false)
$$;

-- What the organization spent in the current month (UTC), holds not counted; 0 when it is not visible.
CREATE OR REPLACE FUNCTION get_organization_monthly_ai_cost(p_organization_id uuid) RETURNS numeric
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT coalesce((
        SELECT spent_usd FROM organization_months
        WHERE organization_id = p_organization_id AND month = spend_month(clock_timestamp())
    ), 0)
$$;

GRANT EXECUTE ON FUNCTION check_workflow_cost_limit, get_organization_monthly_ai_cost TO infin8_app, infin8_operator;
