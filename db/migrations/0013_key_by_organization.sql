-- Every key of a tenant's table holds the organization: who tries another organization's id learns nothing by a
-- violation, and can't stand in its way. Foreign keys go on to refer to the identities (id, organization_id).

-- An organization's id is derived from its domain, so one domain is one organization for whoever derives it.
ALTER TABLE organizations DROP CONSTRAINT organization_domain_unique;

ALTER TABLE intent_workflows
    DROP CONSTRAINT intent_workflows_pkey,
    ADD PRIMARY KEY (organization_id, id);
ALTER TABLE workflow_transitions
    DROP CONSTRAINT transition_seq_unique,
    ADD CONSTRAINT transition_seq_unique UNIQUE (workflow_id, organization_id, seq);
ALTER TABLE spend_attempts
    DROP CONSTRAINT attempt_ask_unique,
    ADD CONSTRAINT attempt_ask_unique UNIQUE (workflow_id, organization_id, step, slot, claim, ask);
ALTER TABLE spend_reuses
    DROP CONSTRAINT reuse_ask_unique,
    ADD CONSTRAINT reuse_ask_unique UNIQUE (workflow_id, organization_id, step, slot, claim, ask);

ALTER TABLE step_outputs
    DROP CONSTRAINT step_outputs_pkey,
    ADD PRIMARY KEY (workflow_id, organization_id, step, claim);
ALTER TABLE web_pages
    DROP CONSTRAINT web_pages_pkey,
    ADD PRIMARY KEY (page_id, organization_id),
    DROP CONSTRAINT page_url_unique,
    ADD CONSTRAINT page_url_unique UNIQUE (workflow_id, organization_id, url);
ALTER TABLE site_reads
    DROP CONSTRAINT site_reads_pkey,
    ADD PRIMARY KEY (workflow_id, organization_id, site, claim);
ALTER TABLE seed_candidates
    DROP CONSTRAINT seed_candidates_pkey,
    ADD PRIMARY KEY (workflow_id, organization_id, claim);
ALTER TABLE keywords
    DROP CONSTRAINT keywords_pkey,
    ADD PRIMARY KEY (keyword_id, organization_id),
    DROP CONSTRAINT keyword_text_unique,
    ADD CONSTRAINT keyword_text_unique UNIQUE (workflow_id, organization_id, text);
ALTER TABLE keyword_clusters
    DROP CONSTRAINT keyword_clusters_pkey,
    ADD PRIMARY KEY (cluster_id, organization_id),
    DROP CONSTRAINT cluster_hub_unique,
    ADD CONSTRAINT cluster_hub_unique UNIQUE (workflow_id, organization_id, claim, hub);

ALTER TABLE articles
    DROP CONSTRAINT articles_pkey,
    ADD PRIMARY KEY (organization_id, article_id),
    DROP CONSTRAINT article_keyword_unique,
    ADD CONSTRAINT article_keyword_unique UNIQUE (workflow_id, organization_id, keyword),
    DROP CONSTRAINT article_slug_unique,
    ADD CONSTRAINT article_slug_unique UNIQUE (workflow_id, organization_id, slug);
ALTER TABLE article_revisions
    DROP CONSTRAINT article_revisions_pkey,
    ADD PRIMARY KEY (article_id, organization_id, revision);
ALTER TABLE article_sections
    DROP CONSTRAINT article_sections_pkey,
    ADD PRIMARY KEY (article_id, organization_id, revision, section);
ALTER TABLE article_approvals
    DROP CONSTRAINT article_approvals_pkey,
    ADD PRIMARY KEY (article_id, organization_id, transition_id),
    ADD CONSTRAINT approval_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id);
ALTER TABLE publications
    DROP CONSTRAINT publications_pkey,
    ADD PRIMARY KEY (publication_id, organization_id),
    DROP CONSTRAINT publication_once_per_target,
    ADD CONSTRAINT publication_once_per_target UNIQUE (article_id, organization_id, target),
    ADD CONSTRAINT publication_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id);
