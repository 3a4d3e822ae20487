-- Who decided what about every keyword, and when. A review is one decision about a whole list as it was shown; its lines
-- stay when the list is searched anew or the review is opened again. And who was reminded of what waits for a person.

CREATE TABLE seed_reviews (
    decision_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    shown_version bigint NOT NULL,
    kind text NOT NULL,
    actor text NOT NULL,
    feedback text,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (decision_id, workflow_id, organization_id),
    CONSTRAINT seed_review_once_per_version UNIQUE (workflow_id, organization_id, shown_version),
    CONSTRAINT seed_review_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT seed_review_kind_known CHECK (kind IN ('approve_all', 'select', 'reject')),
    CONSTRAINT seed_review_has_an_actor CHECK (actor <> ''),
    CONSTRAINT seed_review_rejects_with_feedback CHECK ((kind = 'reject') = (feedback IS NOT NULL))
);
COMMENT ON TABLE seed_reviews IS 'decisions about a list of seed keywords; append-only';
COMMENT ON COLUMN seed_reviews.shown_version IS 'the version of the workflow that the reviewer saw';
SELECT protect_tenant_table('seed_reviews');
GRANT INSERT ON seed_reviews TO infin8_app;
CREATE TRIGGER seed_reviews_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON seed_reviews
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

CREATE TABLE keyword_decisions (
    decision_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    position integer NOT NULL,
    text text NOT NULL,
    decision text NOT NULL,
    is_own boolean NOT NULL,
    note text,
    PRIMARY KEY (decision_id, workflow_id, organization_id, text),
    CONSTRAINT keyword_decision_belongs_to_review FOREIGN KEY (decision_id, workflow_id, organization_id)
        REFERENCES seed_reviews (decision_id, workflow_id, organization_id),
    CONSTRAINT keyword_decision_is_one_of_three CHECK (decision IN ('approved', 'dropped', 'rejected')),
    CONSTRAINT keyword_decision_note_says_something CHECK (note <> '')
);
COMMENT ON TABLE keyword_decisions IS 'what a review made of each keyword that was shown or added; append-only';
COMMENT ON COLUMN keyword_decisions.decision IS 'rejected: sent back with the whole list, dropped: named as wrong or unwanted';
CREATE INDEX keyword_decisions_by_text ON keyword_decisions (workflow_id, text);
SELECT protect_tenant_table('keyword_decisions');
GRANT INSERT ON keyword_decisions TO infin8_app;
CREATE TRIGGER keyword_decisions_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON keyword_decisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

-- The latest of it stands with the keyword itself.
ALTER TABLE keywords
    ADD COLUMN decision_id uuid,
    ADD COLUMN note text,
    ADD COLUMN flag text;
COMMENT ON COLUMN keywords.flag IS 'why a reviewer''s words speak against it, null where they don''t';

CREATE TABLE reminders (
    reminder_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    state text NOT NULL,
    version bigint NOT NULL,
    number integer NOT NULL,
    waiting_since timestamptz NOT NULL,
    reminded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (reminder_id, organization_id),
    CONSTRAINT reminder_once_per_number UNIQUE (workflow_id, organization_id, version, number),
    CONSTRAINT reminder_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT reminder_counts_from_one CHECK (number >= 1)
);
COMMENT ON TABLE reminders IS 'a workflow waited for a person and said so; version is that of the wait; append-only';
SELECT protect_tenant_table('reminders');
GRANT INSERT ON reminders TO infin8_app;
CREATE TRIGGER reminders_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reminders
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();
