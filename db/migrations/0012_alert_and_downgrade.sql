-- An alert is a row written by the transaction in which a scope comes to a share of its cap, once per threshold and
-- round. A round begins when the cap is above the one that the last round's alerts were about.

CREATE TABLE spend_alerts (
    alert_id uuid NOT NULL DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL REFERENCES organizations,
    workflow_id uuid,
    month date,
    threshold_percent integer NOT NULL,
    round integer NOT NULL,
    cap_usd numeric(20, 9) NOT NULL,
    spent_usd numeric(20, 9) NOT NULL,
    held_usd numeric(20, 9) NOT NULL,
    is_refusal boolean NOT NULL,
    attempt_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (alert_id, organization_id),
    CONSTRAINT alert_once_per_threshold
        UNIQUE NULLS NOT DISTINCT (organization_id, workflow_id, month, round, threshold_percent),
    CONSTRAINT alert_names_one_scope CHECK (num_nonnulls(workflow_id, month) = 1),
    CONSTRAINT alert_threshold_known CHECK (threshold_percent IN (50, 80, 100)),
    CONSTRAINT alert_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT alert_belongs_to_month FOREIGN KEY (organization_id, month)
        REFERENCES organization_months (organization_id, month),
    CONSTRAINT alert_names_an_attempt FOREIGN KEY (attempt_id, organization_id)
        REFERENCES spend_attempts (attempt_id, organization_id)
);
COMMENT ON TABLE spend_alerts IS 'a workflow, or an organization''s month, came to 50, 80 or 100 % of its cap; append-only';
COMMENT ON COLUMN spend_alerts.is_refusal IS 'an ask was refused by this cap: 100 % also where spent + held is less';
CREATE INDEX spend_alerts_by_time ON spend_alerts (at);
SELECT protect_tenant_table('spend_alerts');
CREATE TRIGGER spend_alerts_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON spend_alerts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

-- Past a share of the workflow's cap an ask goes to the cheaper model of its route, and its attempt says so.
ALTER TABLE spend_attempts
    ADD COLUMN downgraded_from text,
    ADD CONSTRAINT attempt_downgrade_is_a_change CHECK (downgraded_from <> model);
COMMENT ON COLUMN spend_attempts.downgraded_from IS 'the model that the run asked for, where a cheaper one took its place';
CREATE INDEX spend_attempts_downgraded ON spend_attempts (workflow_id, step, slot, claim)
    WHERE downgraded_from IS NOT NULL;

CREATE FUNCTION guard_downgrade() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'attempt %: what was authorized never changes (the model it was downgraded from)', OLD.attempt_id
        USING ERRCODE = '23000', CONSTRAINT = 'attempt_authorization_is_final';
END
$$;
CREATE TRIGGER attempt_downgrade_is_final BEFORE UPDATE ON spend_attempts FOR EACH ROW
    WHEN (NEW.downgraded_from IS DISTINCT FROM OLD.downgraded_from) EXECUTE FUNCTION guard_downgrade();

-- The model that is asked: for an attempt that was downgraded not the one that the run named.
ALTER TYPE spend_decision ADD ATTRIBUTE model text;
