-- Embeddings of keywords are computed or paid for once and kept: clustering, validation and every later run judge by
-- the same numbers, whichever worker takes them. A vector has length 1, in whole parts of 32,767.

CREATE TABLE keyword_vectors (
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    model text NOT NULL,
    text text NOT NULL,
    vector smallint[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow_id, organization_id, model, text),
    CONSTRAINT keyword_vectors_belong_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT keyword_vector_has_numbers CHECK (cardinality(vector) > 0)
);
SELECT protect_tenant_table('keyword_vectors');
GRANT INSERT, UPDATE ON keyword_vectors TO infin8_app;
