-- Roles belong to the cluster, not to the history of one database: they are ensured before the numbered migrations,
-- each time, and by several databases at once. Run by the admin role: a superuser, or the owner of the database
-- with CREATEROLE.

DO $$
DECLARE
    v_wanted record;
BEGIN
    FOR v_wanted IN VALUES ('infin8_owner', 'NOLOGIN'), ('infin8_app', 'LOGIN'), ('infin8_operator', 'LOGIN') LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = v_wanted.column1);
        BEGIN
            EXECUTE format('CREATE ROLE %I %s NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION',
                v_wanted.column1, v_wanted.column2);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- another database's migration was faster
        END;
    END LOOP;
END
$$;

-- Everything is created as the owner, never as the admin, whom row-level security might not bind.
DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'infin8_owner', 'SET') THEN
        GRANT infin8_owner TO CURRENT_USER WITH SET TRUE, INHERIT FALSE;
    END IF;
END
$$;

DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO infin8_owner, infin8_app, infin8_operator', current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO infin8_owner;
GRANT USAGE ON SCHEMA public TO infin8_app, infin8_operator;
