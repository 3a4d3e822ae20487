-- The comparison of rows with runs asks for the workflows that are not at their end, once a minute, of all tenants.
CREATE INDEX intent_workflows_open ON intent_workflows (created_at) WHERE state NOT IN ('COMPLETED', 'CANCELLED');
