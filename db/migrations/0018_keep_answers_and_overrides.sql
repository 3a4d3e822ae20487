-- What a web address answered, kept per organization: a retry and the next workflow don't fetch what has not changed.
-- Which pages were left out of a site, and why. And which clusters a person let go on against the verdict.

CREATE TABLE kept_answers (
    answer_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    url text NOT NULL,
    status integer NOT NULL,
    location text,
    content_type text NOT NULL,
    charset text,
    body bytea NOT NULL,
    etag text,
    last_modified text,
    fresh_seconds double precision NOT NULL,
    fetched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (answer_id, organization_id),
    CONSTRAINT kept_answer_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT kept_answer_is_fresh_for_a_while CHECK (fresh_seconds >= 0)
);
COMMENT ON COLUMN kept_answers.workflow_id IS 'the one that fetched it last';
COMMENT ON COLUMN kept_answers.body IS 'zlib';
CREATE INDEX kept_answers_by_age ON kept_answers (organization_id, fetched_at);
SELECT protect_tenant_table('kept_answers');
GRANT INSERT, UPDATE, DELETE ON kept_answers TO infin8_app;

ALTER TABLE site_reads ADD COLUMN skipped jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN site_reads.skipped IS '[{"url", "reason"}] of pages that were tried and left out';

CREATE TABLE cluster_overrides (
    decision_id uuid NOT NULL,
    cluster_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    hub text NOT NULL,
    overridden jsonb NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (decision_id, cluster_id, organization_id),
    CONSTRAINT override_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT override_has_an_actor CHECK (actor <> ''),
    CONSTRAINT override_has_a_reason CHECK (btrim(reason) <> '')
);
COMMENT ON TABLE cluster_overrides IS 'who let a fallen cluster go on, and why; append-only';
COMMENT ON COLUMN cluster_overrides.overridden IS 'the reasons that were shown: only these are set aside';
CREATE INDEX cluster_overrides_by_workflow ON cluster_overrides (workflow_id, organization_id);
SELECT protect_tenant_table('cluster_overrides');
GRANT INSERT ON cluster_overrides TO infin8_app;
CREATE TRIGGER cluster_overrides_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cluster_overrides
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

-- The other workflows of an organization are looked at by their articles' keywords.
CREATE INDEX articles_by_organization ON articles (organization_id, workflow_id);
