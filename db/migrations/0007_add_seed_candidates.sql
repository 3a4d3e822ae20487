-- Keyphrases are extracted from the crawled pages before the model labels them: seconds of computing for large sites,
-- so they are made once per claim, outside of any transaction, and kept here for the request and for the judge.

CREATE TABLE seed_candidates (
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    claim bigint NOT NULL,
    keywords jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow_id, claim),
    CONSTRAINT seed_candidates_belong_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id)
);
SELECT protect_tenant_table('seed_candidates');
GRANT INSERT, UPDATE ON seed_candidates TO infin8_app;
