-- Prices and aliases are added by people from now on: who added, ended or replaced which, and when.

CREATE TABLE price_changes (
    change_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    price_id uuid NOT NULL,
    model text NOT NULL,
    action text NOT NULL,
    effective_from timestamptz NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT price_change_known CHECK (action IN ('added', 'ended', 'replaced')),
    CONSTRAINT price_change_has_an_actor CHECK (actor <> '')
);
COMMENT ON TABLE price_changes IS 'who changed the prices of models; append-only. A replaced price was never in force';
COMMENT ON COLUMN price_changes.effective_from IS 'from when on the change holds';
CREATE TRIGGER price_changes_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON price_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

ALTER TABLE model_aliases
    ADD COLUMN added_by text NOT NULL DEFAULT 'shipped' CONSTRAINT alias_has_an_author CHECK (added_by <> ''),
    ADD COLUMN added_at timestamptz NOT NULL DEFAULT clock_timestamp();

-- Whether a price was used, and the foreign keys that keep a used one, look here.
CREATE INDEX spend_attempts_by_price ON spend_attempts (price_id);
CREATE INDEX ledger_by_price ON ai_usage_ledger (price_id);

-- The ledger's names of models come from the map: an entry that changed would rename what is booked.
CREATE TRIGGER aliases_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON model_aliases
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
