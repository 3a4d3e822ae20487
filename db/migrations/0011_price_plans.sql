-- A plan has a price, for the margin, and its caps change at run time: who changed what, from what to what.

ALTER TABLE plans
    ADD COLUMN price_usd_per_month numeric(20, 9) NOT NULL DEFAULT 0,
    ADD CONSTRAINT plan_price_not_negative CHECK (price_usd_per_month >= 0 AND price_usd_per_month < 'NaN'),
    ADD CONSTRAINT plan_key_is_a_word CHECK (plan_key ~ '^[a-z0-9][a-z0-9_-]{0,49}$');
COMMENT ON COLUMN plans.workflow_cap_usd IS '0 refuses every authorization; so does NULL (fail closed)';

CREATE TABLE plan_changes (
    decision_id uuid PRIMARY KEY,
    plan_key text NOT NULL REFERENCES plans,
    is_new boolean NOT NULL,
    from_workflow_cap_usd numeric(20, 9),
    from_month_cap_usd numeric(20, 9),
    from_price_usd_per_month numeric(20, 9),
    to_workflow_cap_usd numeric(20, 9),
    to_month_cap_usd numeric(20, 9),
    to_price_usd_per_month numeric(20, 9) NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT plan_change_has_an_actor CHECK (actor <> '')
);
COMMENT ON TABLE plan_changes IS 'who made or changed a plan; append-only. A plan is no organization''s in particular';
CREATE INDEX plan_changes_by_plan ON plan_changes (plan_key, at);

CREATE TABLE organization_plan_changes (
    decision_id uuid NOT NULL,
    organization_id uuid NOT NULL REFERENCES organizations,
    from_plan_key text NOT NULL REFERENCES plans,
    to_plan_key text NOT NULL REFERENCES plans,
    actor text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (decision_id, organization_id),
    CONSTRAINT organization_plan_change_has_an_actor CHECK (actor <> ''),
    CONSTRAINT organization_plan_changes CHECK (from_plan_key <> to_plan_key)
);
COMMENT ON TABLE organization_plan_changes IS 'who gave an organization another plan; append-only';
CREATE INDEX organization_plan_changes_by_time ON organization_plan_changes (organization_id, at);
SELECT protect_tenant_table('organization_plan_changes');

CREATE TRIGGER plan_changes_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON plan_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER organization_plan_changes_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON organization_plan_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

-- Takes the plan it decides by as an argument now: read once, a change can't come between decision and booking.
DROP FUNCTION IF EXISTS refusal_of(spend_attempts);
DROP FUNCTION IF EXISTS decide_anew(spend_attempts);
