-- What stands published can be taken back and put out again. Who did it, when and why is kept for ever, and a
-- publisher's memory needs three more facts: how a page last stood as it was meant to (what differs since was done by
-- somebody at the target), which change of what stands took it up last, and which attempt at publishing is the newest:
-- an older one, of a worker that was given up and woke again, may have no further effect.
ALTER TABLE publications
    ADD COLUMN confirmed_mode text,
    ADD COLUMN change_id uuid,
    ADD COLUMN attempt_id uuid,
    DROP CONSTRAINT publication_state_known,
    ADD CONSTRAINT publication_state_known CHECK (
        state IN ('PENDING', 'PUBLISHED', 'UNCHANGED', 'FAILED', 'UNPUBLISHING', 'UNPUBLISHED'));

CREATE TABLE publication_events (
    event_id uuid NOT NULL,
    publication_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    event text NOT NULL,
    actor text NOT NULL,
    reason text,
    run_id text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (event_id, organization_id),
    CONSTRAINT event_belongs_to_publication FOREIGN KEY (publication_id, organization_id)
        REFERENCES publications (publication_id, organization_id),
    CONSTRAINT event_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT event_known CHECK (
        event IN ('UNPUBLISH_ASKED', 'UNPUBLISHED', 'REPUBLISH_ASKED', 'REPUBLISHED', 'CHANGE_FAILED'))
);
CREATE INDEX publication_events_by_workflow ON publication_events (workflow_id, organization_id, created_at);

SELECT protect_tenant_table('publication_events');
-- A history: lines are added and never changed.
GRANT INSERT ON publication_events TO infin8_app;
