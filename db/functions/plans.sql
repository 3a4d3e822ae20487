-- Plans change at run time, each change with who made it. What was authorized stays: a change binds from the next
-- authorization on. The operator's role alone may.

-- Makes a plan or changes it; p_change: JSON with any of workflow_cap_usd, month_cap_usd (null: nothing may be spent)
-- and price_usd_per_month. A cap that a new plan is not given is null. The same decision again: the plan as it is.
CREATE OR REPLACE FUNCTION set_plan(p_plan_key text, p_change jsonb, p_decision_id uuid, p_actor text) RETURNS plans
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_known plan_changes;
    v_before plans;
    v_plan plans;
    v_is_new boolean;
BEGIN
    INSERT INTO plans (plan_key) VALUES (p_plan_key) ON CONFLICT DO NOTHING;
    v_is_new := FOUND;
    SELECT * INTO STRICT v_before FROM plans WHERE plan_key = p_plan_key FOR NO KEY UPDATE;
    SELECT * INTO v_known FROM plan_changes WHERE decision_id = p_decision_id;
    IF v_known.plan_key <> p_plan_key THEN
        RAISE EXCEPTION 'decision % changed the plan % already', p_decision_id, v_known.plan_key
            USING ERRCODE = 'IN002';
    END IF;
    v_plan := jsonb_populate_record(v_before, p_change);
    IF v_known.decision_id IS NOT NULL OR (v_plan IS NOT DISTINCT FROM v_before AND NOT v_is_new) THEN
        RETURN v_before;
    END IF;
    UPDATE plans
    SET workflow_cap_usd = v_plan.workflow_cap_usd, month_cap_usd = v_plan.month_cap_usd,
        price_usd_per_month = v_plan.price_usd_per_month
    WHERE plan_key = p_plan_key
    RETURNING * INTO v_plan;
    INSERT INTO plan_changes (decision_id, plan_key, is_new, from_workflow_cap_usd, from_month_cap_usd,
        from_price_usd_per_month, to_workflow_cap_usd, to_month_cap_usd, to_price_usd_per_month, actor)
    VALUES (p_decision_id, p_plan_key, v_is_new, v_before.workflow_cap_usd, v_before.month_cap_usd,
        v_before.price_usd_per_month, v_plan.workflow_cap_usd, v_plan.month_cap_usd, v_plan.price_usd_per_month,
        p_actor);
    RETURN v_plan;
END
$$;

-- Gives an organization another plan and returns the key of the one it had. The same decision again: the first result.
CREATE OR REPLACE FUNCTION assign_plan(p_organization_id uuid, p_plan_key text, p_decision_id uuid, p_actor text)
RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    v_known organization_plan_changes;
    v_before text;
BEGIN
    SELECT plan_key INTO v_before FROM organizations
    WHERE organization_id = p_organization_id
        AND p_organization_id = nullif(current_setting('app.organization_id', true), '')::uuid
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'organization % does not exist', p_organization_id
            USING ERRCODE = 'IN004', DETAIL = '{"field": "organization_id"}';
    END IF;
    IF NOT EXISTS (SELECT FROM plans WHERE plan_key = p_plan_key) THEN
        RAISE EXCEPTION 'there is no plan %; see `starter.py plans`', p_plan_key
            USING ERRCODE = 'IN004', DETAIL = '{"field": "plan"}';
    END IF;
    SELECT * INTO v_known FROM organization_plan_changes
    WHERE decision_id = p_decision_id AND organization_id = p_organization_id;
    IF v_known.to_plan_key <> p_plan_key THEN
        RAISE EXCEPTION 'decision % gave the plan % already', p_decision_id, v_known.to_plan_key
            USING ERRCODE = 'IN002';
    END IF;
    IF v_known.decision_id IS NOT NULL OR v_before = p_plan_key THEN
        RETURN coalesce(v_known.from_plan_key, v_before);
    END IF;
    INSERT INTO organization_plan_changes (decision_id, organization_id, from_plan_key, to_plan_key, actor)
    VALUES (p_decision_id, p_organization_id, v_before, p_plan_key, p_actor);
    UPDATE organizations SET plan_key = p_plan_key WHERE organization_id = p_organization_id;
    RETURN v_before;
END
$$;

-- The plan an organization had at a moment; where its first change is later, what it had before that change.
CREATE OR REPLACE FUNCTION plan_key_at(p_organization_id uuid, p_at timestamptz) RETURNS text
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT coalesce(
        (SELECT to_plan_key FROM organization_plan_changes
         WHERE organization_id = p_organization_id AND at < p_at ORDER BY at DESC LIMIT 1),
        (SELECT from_plan_key FROM organization_plan_changes
         WHERE organization_id = p_organization_id AND at >= p_at ORDER BY at LIMIT 1),
        (SELECT plan_key FROM organizations WHERE organization_id = p_organization_id))
$$;

-- A plan's price at a moment. What a new plan cost before it was made is what it cost at first.
CREATE OR REPLACE FUNCTION plan_price_at(p_plan_key text, p_at timestamptz) RETURNS numeric
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT coalesce(
        (SELECT to_price_usd_per_month FROM plan_changes
         WHERE plan_key = p_plan_key AND at < p_at ORDER BY at DESC LIMIT 1),
        (SELECT CASE WHEN is_new THEN to_price_usd_per_month ELSE from_price_usd_per_month END FROM plan_changes
         WHERE plan_key = p_plan_key AND at >= p_at ORDER BY at LIMIT 1),
        (SELECT price_usd_per_month FROM plans WHERE plan_key = p_plan_key))
$$;

GRANT EXECUTE ON FUNCTION set_plan, assign_plan TO infin8_operator;
GRANT EXECUTE ON FUNCTION plan_key_at, plan_price_at TO infin8_app, infin8_operator;
