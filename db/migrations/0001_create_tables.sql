-- The whole house of rows. Every tenant's table carries organization_id and refers to its workflow by the pair
-- (workflow_id, organization_id), so that no row can point into another organization.
-- Constraints are named after the rule they state: the code maps violations by that name.

CREATE TABLE plans (
    plan_key text PRIMARY KEY,
    workflow_cap_usd numeric(20, 9),
    month_cap_usd numeric(20, 9),
    CONSTRAINT plan_caps_not_negative CHECK (workflow_cap_usd >= 0 AND month_cap_usd >= 0)
);
COMMENT ON COLUMN plans.month_cap_usd IS '0 refuses every authorization; so does NULL (fail closed)';

CREATE TABLE organizations (
    organization_id uuid PRIMARY KEY,
    domain text NOT NULL,
    name text NOT NULL,
    plan_key text NOT NULL DEFAULT 'default' REFERENCES plans,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT organization_domain_unique UNIQUE (domain)
);

CREATE TABLE intent_workflows (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations,
    name text NOT NULL,
    brief jsonb NOT NULL,
    brief_hash text NOT NULL,
    settings jsonb NOT NULL,
    started_by text NOT NULL,
    state text NOT NULL DEFAULT 'CREATED',
    version bigint NOT NULL DEFAULT 0,
    failure jsonb,
    cap_usd numeric(20, 9) NOT NULL,
    spent_usd numeric(20, 9) NOT NULL DEFAULT 0,
    held_usd numeric(20, 9) NOT NULL DEFAULT 0,
    overrun_usd numeric(20, 9) NOT NULL DEFAULT 0,
    frozen_reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT workflow_identity_unique UNIQUE (id, organization_id),
    CONSTRAINT workflow_name_unique UNIQUE (organization_id, name),
    CONSTRAINT workflow_cap_positive CHECK (cap_usd > 0),
    CONSTRAINT workflow_spent_not_negative CHECK (spent_usd >= 0),
    CONSTRAINT workflow_held_not_negative CHECK (held_usd >= 0),
    CONSTRAINT workflow_failure_only_when_failed CHECK (failure IS NULL OR state LIKE '%\_FAILED')
);
COMMENT ON COLUMN intent_workflows.failure IS '{"type", "message", "reasons": [...]} of the last X_FAILED, null otherwise';

CREATE TABLE legal_transitions (
    from_state text NOT NULL,
    to_state text NOT NULL,
    PRIMARY KEY (from_state, to_state)
);

CREATE TABLE workflow_transitions (
    transition_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    seq bigint NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    expected_version bigint NOT NULL,
    actor text NOT NULL,
    reason text,
    run_id text,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- With the organization in the key, using another tenant's id tells nothing about whether that tenant used it.
    PRIMARY KEY (transition_id, organization_id),
    CONSTRAINT transition_seq_unique UNIQUE (workflow_id, seq),
    CONSTRAINT transition_seq_follows_version CHECK (seq = expected_version + 1),
    CONSTRAINT transition_has_an_actor CHECK (actor <> ''),
    CONSTRAINT transition_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT transition_is_legal FOREIGN KEY (from_state, to_state) REFERENCES legal_transitions
);

CREATE TABLE cap_changes (
    decision_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    from_usd numeric(20, 9) NOT NULL,
    to_usd numeric(20, 9) NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (decision_id, organization_id),
    CONSTRAINT cap_change_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT cap_change_raises CHECK (to_usd > from_usd),
    CONSTRAINT cap_change_has_an_actor CHECK (actor <> '')
);
COMMENT ON TABLE cap_changes IS 'who raised a workflow''s cap, from what to what; append-only';

-- Money -------------------------------------------------------------------------------------------------------

CREATE TABLE model_prices (
    price_id uuid PRIMARY KEY,
    model text NOT NULL,
    input_usd_per_million numeric(20, 9) NOT NULL,
    cached_input_usd_per_million numeric(20, 9) NOT NULL,
    output_usd_per_million numeric(20, 9) NOT NULL,
    usd_per_request numeric(20, 9) NOT NULL DEFAULT 0,
    usd_per_search numeric(20, 9) NOT NULL DEFAULT 0,
    effective_from timestamptz NOT NULL,
    effective_until timestamptz,
    CONSTRAINT price_not_negative CHECK (input_usd_per_million >= 0 AND cached_input_usd_per_million >= 0
        AND output_usd_per_million >= 0 AND usd_per_request >= 0 AND usd_per_search >= 0),
    CONSTRAINT price_period_not_empty CHECK (effective_until IS NULL OR effective_until > effective_from)
);

CREATE TABLE model_aliases (
    alias text PRIMARY KEY,
    model text NOT NULL
);

CREATE TABLE organization_months (
    organization_id uuid NOT NULL REFERENCES organizations,
    month date NOT NULL,
    cap_usd numeric(20, 9),
    spent_usd numeric(20, 9) NOT NULL DEFAULT 0,
    held_usd numeric(20, 9) NOT NULL DEFAULT 0,
    overrun_usd numeric(20, 9) NOT NULL DEFAULT 0,
    frozen_reason text,
    PRIMARY KEY (organization_id, month),
    CONSTRAINT month_is_first_day CHECK (month = date_trunc('month', month)::date),
    CONSTRAINT month_spent_not_negative CHECK (spent_usd >= 0),
    CONSTRAINT month_held_not_negative CHECK (held_usd >= 0)
);
COMMENT ON COLUMN organization_months.cap_usd IS 'the cap in force at the latest authorization of the month';

CREATE TABLE spend_attempts (
    attempt_id uuid PRIMARY KEY,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    step text NOT NULL,
    slot text NOT NULL,
    claim bigint NOT NULL,
    ask integer NOT NULL,
    month date NOT NULL,
    state text NOT NULL,
    slot_hash text NOT NULL,
    model text NOT NULL,
    path text NOT NULL,
    request_body text NOT NULL,
    price_id uuid NOT NULL REFERENCES model_prices,
    hold_usd numeric(20, 9) NOT NULL,
    refusal jsonb,
    rejected_reason text,
    generation_id text,
    http_status integer,
    answer_body text,
    usage jsonb,
    provider_cost_usd numeric(20, 9),
    computed_cost_usd numeric(20, 9),
    outcome jsonb,
    overrun_usd numeric(20, 9) NOT NULL DEFAULT 0,
    authorized_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    call_deadline_at timestamptz,
    dispatched_at timestamptz,
    answered_at timestamptz,
    settled_at timestamptz,
    CONSTRAINT attempt_identity_unique UNIQUE (attempt_id, organization_id),
    CONSTRAINT attempt_ask_unique UNIQUE (workflow_id, step, slot, claim, ask),
    CONSTRAINT attempt_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT attempt_state_known CHECK (state IN ('REFUSED', 'RESERVED', 'DISPATCHED', 'VOIDED', 'EXPIRED',
        'ANSWERED', 'NOT_BILLED', 'UNKNOWN', 'SETTLED', 'WRITTEN_OFF')),
    CONSTRAINT attempt_hold_not_negative CHECK (hold_usd >= 0)
);
CREATE INDEX spend_attempts_by_workflow ON spend_attempts (workflow_id, claim, state);
CREATE INDEX spend_attempts_by_slot_hash ON spend_attempts (workflow_id, slot_hash) WHERE state = 'SETTLED';

CREATE TABLE ai_usage_ledger (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    idempotency_key uuid NOT NULL,
    attempt_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    month date NOT NULL,
    entry text NOT NULL DEFAULT 'usage',
    corrects uuid,
    step text NOT NULL,
    slot text NOT NULL,
    model text NOT NULL,
    prompt_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL DEFAULT 0,
    completion_tokens bigint NOT NULL,
    cost numeric(20, 9) NOT NULL,
    computed_cost_usd numeric(20, 9),
    provider_cost_usd numeric(20, 9),
    drift_usd numeric(20, 9),
    price_id uuid REFERENCES model_prices,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT ledger_settles_once UNIQUE (idempotency_key),
    CONSTRAINT ledger_belongs_to_attempt FOREIGN KEY (attempt_id, organization_id)
        REFERENCES spend_attempts (attempt_id, organization_id),
    CONSTRAINT ledger_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT ledger_entry_known CHECK (entry IN ('usage', 'not_billed', 'write_off', 'correction')),
    CONSTRAINT ledger_correction_names_its_row CHECK ((entry = 'correction') = (corrects IS NOT NULL)),
    CONSTRAINT ledger_cost_not_negative CHECK (cost >= 0 OR entry = 'correction')
);
CREATE INDEX ledger_by_workflow ON ai_usage_ledger (workflow_id);
CREATE INDEX ledger_by_organization_month ON ai_usage_ledger (organization_id, month);
COMMENT ON COLUMN ai_usage_ledger.cost IS 'what is booked: the provider''s own figure where it gives one';

-- What the steps produce --------------------------------------------------------------------------------------

CREATE TABLE step_outputs (
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    step text NOT NULL,
    claim bigint NOT NULL,
    output jsonb NOT NULL,
    verdict jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow_id, step, claim),
    CONSTRAINT step_output_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id)
);
COMMENT ON TABLE step_outputs IS 'one row per claim of a step: its typed output and the verdict that drove the transition';

CREATE TABLE web_pages (
    page_id uuid PRIMARY KEY,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    site text NOT NULL,
    url text NOT NULL,
    is_own_site boolean NOT NULL,
    title text NOT NULL,
    headings jsonb NOT NULL,
    passages jsonb NOT NULL,
    content_text text NOT NULL,
    fetched_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT page_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT page_url_unique UNIQUE (workflow_id, url)
);

CREATE TABLE site_reads (
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    site text NOT NULL,
    claim bigint NOT NULL,
    pages_read integer NOT NULL,
    failure text,
    read_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow_id, site, claim),
    CONSTRAINT site_read_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id)
);

CREATE TABLE keywords (
    keyword_id uuid PRIMARY KEY,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    position integer NOT NULL,
    text text NOT NULL,
    score double precision NOT NULL,
    volume integer,
    difficulty integer,
    cpc_usd numeric(20, 9),
    intent text NOT NULL,
    sources jsonb NOT NULL,
    added_by text,
    decision text,
    decided_by text,
    decided_at timestamptz,
    CONSTRAINT keyword_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT keyword_text_unique UNIQUE (workflow_id, text),
    CONSTRAINT keyword_has_a_source CHECK (jsonb_array_length(sources) > 0 OR added_by IS NOT NULL),
    CONSTRAINT keyword_decision_known CHECK (decision IN ('approved', 'dropped'))
);

CREATE TABLE keyword_clusters (
    cluster_id uuid PRIMARY KEY,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    claim bigint NOT NULL,
    position integer NOT NULL,
    hub text NOT NULL,
    intent text NOT NULL,
    spokes jsonb NOT NULL,
    is_valid boolean,
    reasons jsonb NOT NULL DEFAULT '[]',
    CONSTRAINT cluster_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT cluster_hub_unique UNIQUE (workflow_id, claim, hub)
);

CREATE TABLE articles (
    article_id uuid PRIMARY KEY,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    cluster_id uuid NOT NULL,
    position integer NOT NULL,
    keyword text NOT NULL,
    role text NOT NULL,
    state text NOT NULL,
    revision integer NOT NULL DEFAULT 1,
    accepted_revision integer,
    redo_note text,
    reasons jsonb NOT NULL DEFAULT '[]',
    title text,
    slug text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT article_identity_unique UNIQUE (article_id, organization_id),
    CONSTRAINT article_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT article_keyword_unique UNIQUE (workflow_id, keyword),
    CONSTRAINT article_slug_unique UNIQUE (workflow_id, slug),
    CONSTRAINT article_role_known CHECK (role IN ('hub', 'spoke')),
    CONSTRAINT article_state_known CHECK (state IN ('PLANNED', 'WRITING', 'PASSED', 'FAILED', 'NOT_BEGUN'))
);

CREATE TABLE article_revisions (
    article_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    revision integer NOT NULL,
    claim bigint NOT NULL,
    outline jsonb NOT NULL,
    document jsonb,
    content_hash text,
    quality jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (article_id, revision),
    CONSTRAINT revision_belongs_to_article FOREIGN KEY (article_id, organization_id)
        REFERENCES articles (article_id, organization_id)
);

CREATE TABLE article_sections (
    article_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    revision integer NOT NULL,
    section integer NOT NULL,
    claim bigint NOT NULL,
    attempt_id uuid NOT NULL,
    content jsonb NOT NULL,
    PRIMARY KEY (article_id, revision, section),
    CONSTRAINT section_belongs_to_article FOREIGN KEY (article_id, organization_id)
        REFERENCES articles (article_id, organization_id)
);

CREATE TABLE article_approvals (
    article_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    content_hash text NOT NULL,
    approved_by text NOT NULL,
    approved_at timestamptz NOT NULL DEFAULT now(),
    transition_id uuid NOT NULL,
    PRIMARY KEY (article_id, transition_id),
    CONSTRAINT approval_belongs_to_article FOREIGN KEY (article_id, organization_id)
        REFERENCES articles (article_id, organization_id)
);

CREATE TABLE publications (
    publication_id uuid PRIMARY KEY,
    article_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    target text NOT NULL,
    mode text NOT NULL,
    slug text NOT NULL,
    content_hash text NOT NULL,
    state text NOT NULL,
    external_id text,
    published_url text,
    reason text,
    claim bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT publication_once_per_target UNIQUE (article_id, target),
    CONSTRAINT publication_belongs_to_article FOREIGN KEY (article_id, organization_id)
        REFERENCES articles (article_id, organization_id),
    CONSTRAINT publication_state_known CHECK (state IN ('PENDING', 'PUBLISHED', 'UNCHANGED', 'FAILED'))
);
