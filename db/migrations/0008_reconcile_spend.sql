-- What the reconciler and an operator leave behind: when a cost was last looked up, who corrected a booking and why,
-- who froze or thawed a scope.

ALTER TABLE spend_attempts
    ADD COLUMN looked_up_at timestamptz,
    ADD COLUMN look_ups integer NOT NULL DEFAULT 0
        CONSTRAINT attempt_look_ups_not_negative CHECK (look_ups >= 0);
COMMENT ON COLUMN spend_attempts.looked_up_at IS 'when the provider was last asked for the cost, after the call itself';

CREATE INDEX spend_attempts_open ON spend_attempts (call_deadline_at)
    WHERE state IN ('RESERVED', 'DISPATCHED', 'ANSWERED', 'UNKNOWN');
CREATE INDEX spend_attempts_written_off ON spend_attempts (call_deadline_at) WHERE state = 'WRITTEN_OFF';

ALTER TABLE ai_usage_ledger
    ADD COLUMN reason text,
    ADD COLUMN actor text,
    ADD CONSTRAINT ledger_reason_has_an_actor CHECK ((reason IS NULL) = (actor IS NULL)),
    ADD CONSTRAINT ledger_reason_is_of_a_correction CHECK (reason IS NULL OR entry = 'correction');
COMMENT ON COLUMN ai_usage_ledger.reason IS 'why an operator corrected; null where a late answer did';

CREATE INDEX ledger_with_drift ON ai_usage_ledger (created_at) WHERE drift_usd <> 0;

-- What became of one attempt that the reconciler looked at; kind is null when nothing was due.
CREATE TYPE spend_resolution AS (
    attempt_id uuid,
    workflow_id uuid,
    organization_id uuid,
    kind text,
    hold_usd numeric(20, 9),
    booked_usd numeric(20, 9)
);

CREATE TABLE scope_freezes (
    decision_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    workflow_id uuid,
    month date,
    action text NOT NULL,
    frozen_reason text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (decision_id, organization_id),
    CONSTRAINT freeze_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT freeze_belongs_to_month FOREIGN KEY (organization_id, month)
        REFERENCES organization_months (organization_id, month),
    CONSTRAINT freeze_names_one_scope CHECK (num_nonnulls(workflow_id, month) = 1),
    CONSTRAINT freeze_action_known CHECK (action IN ('freeze', 'thaw')),
    CONSTRAINT freeze_has_an_actor CHECK (actor <> ''),
    CONSTRAINT freeze_has_a_reason CHECK (reason <> '')
);
COMMENT ON TABLE scope_freezes IS 'who froze or thawed which scope, and why; append-only. An overrun freezes by itself';
COMMENT ON COLUMN scope_freezes.frozen_reason IS 'why the scope is frozen from now on, or was until now';
SELECT protect_tenant_table('scope_freezes');
CREATE TRIGGER scope_freezes_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON scope_freezes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
