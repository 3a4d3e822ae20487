-- The database defends the state machine itself, whoever connects: these triggers bind the owner too.
-- Guards refuse with SQLSTATE 23000 and the name of the rule as the constraint's name.

INSERT INTO legal_transitions (from_state, to_state) VALUES
    ('CREATED', 'ICP_PENDING'), ('CREATED', 'CANCELLED'),
    ('ICP_PENDING', 'ICP_PROCESSING'), ('ICP_PENDING', 'CANCELLED'),
    ('ICP_PROCESSING', 'ICP_COMPLETED'), ('ICP_PROCESSING', 'ICP_FAILED'), ('ICP_PROCESSING', 'CANCELLED'),
    ('ICP_COMPLETED', 'COMPETITOR_PENDING'), ('ICP_COMPLETED', 'CANCELLED'),
    ('ICP_FAILED', 'ICP_PROCESSING'), ('ICP_FAILED', 'CANCELLED'),
    ('COMPETITOR_PENDING', 'COMPETITOR_PROCESSING'), ('COMPETITOR_PENDING', 'CANCELLED'),
    ('COMPETITOR_PROCESSING', 'COMPETITOR_COMPLETED'), ('COMPETITOR_PROCESSING', 'COMPETITOR_FAILED'),
    ('COMPETITOR_PROCESSING', 'CANCELLED'),
    ('COMPETITOR_COMPLETED', 'SEED_REVIEW_PENDING'), ('COMPETITOR_COMPLETED', 'CANCELLED'),
    ('COMPETITOR_FAILED', 'COMPETITOR_PROCESSING'), ('COMPETITOR_FAILED', 'CANCELLED'),
    ('SEED_REVIEW_PENDING', 'COMPETITOR_PENDING'), ('SEED_REVIEW_PENDING', 'SEED_REVIEW_COMPLETED'),
    ('SEED_REVIEW_PENDING', 'CANCELLED'),
    ('SEED_REVIEW_COMPLETED', 'CLUSTERING_PENDING'), ('SEED_REVIEW_COMPLETED', 'CANCELLED'),
    ('CLUSTERING_PENDING', 'CLUSTERING_PROCESSING'), ('CLUSTERING_PENDING', 'CANCELLED'),
    ('CLUSTERING_PROCESSING', 'CLUSTERING_COMPLETED'), ('CLUSTERING_PROCESSING', 'CLUSTERING_FAILED'),
    ('CLUSTERING_PROCESSING', 'CANCELLED'),
    ('CLUSTERING_COMPLETED', 'VALIDATION_PENDING'), ('CLUSTERING_COMPLETED', 'CANCELLED'),
    ('CLUSTERING_FAILED', 'SEED_REVIEW_PENDING'), ('CLUSTERING_FAILED', 'CLUSTERING_PROCESSING'),
    ('CLUSTERING_FAILED', 'CANCELLED'),
    ('VALIDATION_PENDING', 'VALIDATION_PROCESSING'), ('VALIDATION_PENDING', 'CANCELLED'),
    ('VALIDATION_PROCESSING', 'VALIDATION_COMPLETED'), ('VALIDATION_PROCESSING', 'VALIDATION_FAILED'),
    ('VALIDATION_PROCESSING', 'CANCELLED'),
    ('VALIDATION_COMPLETED', 'ARTICLE_PENDING'), ('VALIDATION_COMPLETED', 'CANCELLED'),
    ('VALIDATION_FAILED', 'SEED_REVIEW_PENDING'), ('VALIDATION_FAILED', 'VALIDATION_PROCESSING'),
    ('VALIDATION_FAILED', 'CANCELLED'),
    ('ARTICLE_PENDING', 'ARTICLE_PROCESSING'), ('ARTICLE_PENDING', 'CANCELLED'),
    ('ARTICLE_PROCESSING', 'ARTICLE_COMPLETED'), ('ARTICLE_PROCESSING', 'ARTICLE_FAILED'),
    ('ARTICLE_PROCESSING', 'CANCELLED'),
    ('ARTICLE_COMPLETED', 'PUBLISH_PENDING'), ('ARTICLE_COMPLETED', 'CANCELLED'),
    ('ARTICLE_FAILED', 'ARTICLE_PROCESSING'), ('ARTICLE_FAILED', 'CANCELLED'),
    ('PUBLISH_PENDING', 'ARTICLE_PENDING'), ('PUBLISH_PENDING', 'PUBLISH_PROCESSING'),
    ('PUBLISH_PENDING', 'CANCELLED'),
    ('PUBLISH_PROCESSING', 'PUBLISH_COMPLETED'), ('PUBLISH_PROCESSING', 'PUBLISH_FAILED'),
    ('PUBLISH_PROCESSING', 'CANCELLED'),
    ('PUBLISH_COMPLETED', 'COMPLETED'), ('PUBLISH_COMPLETED', 'CANCELLED'),
    ('PUBLISH_FAILED', 'PUBLISH_PROCESSING'), ('PUBLISH_FAILED', 'CANCELLED');

CREATE FUNCTION refuse_unborn_workflow() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF (NEW.state, NEW.version) IS DISTINCT FROM ('CREATED', 0::bigint) OR NEW.failure IS NOT NULL
        OR (NEW.spent_usd, NEW.held_usd, NEW.overrun_usd) IS DISTINCT FROM (0, 0, 0) OR NEW.frozen_reason IS NOT NULL
    THEN
        RAISE EXCEPTION 'workflow % must begin as CREATED at version 0 with nothing spent', NEW.id
            USING ERRCODE = '23000', CONSTRAINT = 'workflow_begins_created';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER workflow_begins_created BEFORE INSERT ON intent_workflows
    FOR EACH ROW EXECUTE FUNCTION refuse_unborn_workflow();

CREATE FUNCTION refuse_illegal_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    -- What is in flight when a workflow ends still settles.
    c_settling CONSTANT text[] := ARRAY['spent_usd', 'held_usd', 'overrun_usd', 'frozen_reason', 'updated_at'];
BEGIN
    IF OLD.state IN ('COMPLETED', 'CANCELLED') AND to_jsonb(NEW) - c_settling <> to_jsonb(OLD) - c_settling THEN
        RAISE EXCEPTION 'workflow % is % for ever', OLD.id, OLD.state
            USING ERRCODE = '23000', CONSTRAINT = 'workflow_terminal_is_final';
    END IF;
    IF (NEW.id, NEW.organization_id, NEW.name, NEW.brief, NEW.brief_hash, NEW.settings, NEW.created_at)
        IS DISTINCT FROM (OLD.id, OLD.organization_id, OLD.name, OLD.brief, OLD.brief_hash, OLD.settings, OLD.created_at)
    THEN
        RAISE EXCEPTION 'workflow % can''t change its identity', OLD.id
            USING ERRCODE = '23000', CONSTRAINT = 'workflow_identity_is_final';
    END IF;
    IF NEW.state <> OLD.state AND NOT EXISTS (
        SELECT FROM legal_transitions WHERE from_state = OLD.state AND to_state = NEW.state
    ) THEN
        RAISE EXCEPTION 'workflow % can''t go from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = '23000', CONSTRAINT = 'workflow_transition_is_legal';
    END IF;
    IF NEW.version <> OLD.version + (NEW.state <> OLD.state)::integer THEN
        RAISE EXCEPTION 'workflow % must count its transitions: version % can''t follow %', OLD.id, NEW.version,
            OLD.version USING ERRCODE = '23000', CONSTRAINT = 'workflow_version_counts_transitions';
    END IF;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER workflow_changes_legally BEFORE UPDATE ON intent_workflows
    FOR EACH ROW EXECUTE FUNCTION refuse_illegal_change();

-- Checked at commit, so that the row may be written before its audit row, but never without it.
CREATE FUNCTION refuse_unaudited_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM workflow_transitions AS audit
        WHERE audit.workflow_id = NEW.id AND audit.organization_id = NEW.organization_id
            AND audit.seq = NEW.version AND audit.from_state = OLD.state AND audit.to_state = NEW.state
    ) THEN
        RAISE EXCEPTION 'workflow % went from % to % without an audit row', NEW.id, OLD.state, NEW.state
            USING ERRCODE = '23000', CONSTRAINT = 'workflow_transition_is_audited';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER workflow_transition_is_audited AFTER UPDATE ON intent_workflows
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.state IS DISTINCT FROM OLD.state OR NEW.version IS DISTINCT FROM OLD.version)
    EXECUTE FUNCTION refuse_unaudited_change();

-- The other way round: an audit row tells of what its workflow has just done.
CREATE FUNCTION refuse_invented_audit() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM intent_workflows AS workflow
        WHERE workflow.id = NEW.workflow_id AND workflow.organization_id = NEW.organization_id
            AND workflow.version = NEW.seq AND workflow.state = NEW.to_state
    ) THEN
        RAISE EXCEPTION 'workflow % is not in % at version %', NEW.workflow_id, NEW.to_state, NEW.seq
            USING ERRCODE = '23000', CONSTRAINT = 'transition_happened';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER transition_happened BEFORE INSERT ON workflow_transitions
    FOR EACH ROW EXECUTE FUNCTION refuse_invented_audit();

CREATE FUNCTION refuse_rewriting() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = '23000', CONSTRAINT = TG_NAME;
END
$$;
CREATE TRIGGER transitions_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON workflow_transitions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ai_usage_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER cap_changes_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cap_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER workflows_stay BEFORE DELETE OR TRUNCATE ON intent_workflows
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
