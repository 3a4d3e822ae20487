-- Pages that a search model cited for a section, as they were read: only then do they count as sources of the article.
-- One that could not be read is kept with the reason, so that nobody reads it again. ``position`` gives a page's
-- passages numbers that stay the same whatever is cited later.

CREATE TABLE cited_pages (
    cited_page_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    article_id uuid NOT NULL,
    attempt_id uuid NOT NULL,
    position integer NOT NULL,
    cited_url text NOT NULL,
    url text NOT NULL,
    title text NOT NULL,
    passages jsonb NOT NULL,
    failure text,
    read_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cited_page_id, organization_id),
    CONSTRAINT cited_page_belongs_to_workflow FOREIGN KEY (workflow_id, organization_id)
        REFERENCES intent_workflows (id, organization_id),
    CONSTRAINT cited_page_belongs_to_article FOREIGN KEY (article_id, organization_id)
        REFERENCES articles (article_id, organization_id),
    CONSTRAINT cited_page_position_unique UNIQUE (article_id, organization_id, position),
    CONSTRAINT cited_page_has_text_or_a_failure CHECK ((failure IS NULL) = (jsonb_array_length(passages) > 0))
);
COMMENT ON TABLE cited_pages IS 'pages cited by a search model for an article, read before they count as sources';
SELECT protect_tenant_table('cited_pages');
GRANT INSERT ON cited_pages TO infin8_app;
