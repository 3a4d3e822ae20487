-- Row-level security is forced on every tenant's table, for the owner too, and PUBLIC has nothing.
-- A migration that has to touch rows of all tenants must set app.organization_id for each in turn.

ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO infin8_app, infin8_operator;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO infin8_app, infin8_operator;

CREATE FUNCTION protect_tenant_table(p_table regclass) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', p_table);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', p_table);
    EXECUTE format($policy$
        CREATE POLICY tenant_isolation ON %s
            USING (organization_id = nullif(current_setting('app.organization_id', true), '')::uuid)
            WITH CHECK (organization_id = nullif(current_setting('app.organization_id', true), '')::uuid)
        $policy$, p_table);
    EXECUTE format('CREATE POLICY operator_sees_all ON %s FOR SELECT TO infin8_operator USING (true)', p_table);
END
$$;
COMMENT ON FUNCTION protect_tenant_table IS 'for migrations: every new table of a tenant goes through it';

SELECT protect_tenant_table(name::regclass)
FROM unnest(ARRAY[
    'organizations', 'intent_workflows', 'workflow_transitions', 'cap_changes', 'organization_months',
    'spend_attempts', 'ai_usage_ledger', 'step_outputs', 'web_pages', 'site_reads', 'keywords', 'keyword_clusters', 'articles',
    'article_revisions', 'article_sections', 'article_approvals', 'publications'
]) AS name;

-- What a run writes itself: outputs of its steps. State, version, money, audit and ledger change in functions only.
GRANT INSERT, UPDATE ON step_outputs, web_pages, site_reads, keywords, keyword_clusters, articles, article_revisions,
    article_sections, article_approvals, publications TO infin8_app;
GRANT DELETE ON keywords, keyword_clusters, article_sections TO infin8_app;
GRANT INSERT (organization_id, domain, name) ON organizations TO infin8_app;
GRANT INSERT (id, organization_id, name, brief, brief_hash, settings, started_by, cap_usd)
    ON intent_workflows TO infin8_app;
GRANT UPDATE (failure, updated_at) ON intent_workflows TO infin8_app;

INSERT INTO plans (plan_key, workflow_cap_usd, month_cap_usd) VALUES ('default', 1.00, 50.00);
