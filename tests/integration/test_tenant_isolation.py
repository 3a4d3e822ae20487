"""One organization sees, writes and infers nothing of another's, through tables and functions alike."""

from uuid import UUID, uuid4

import asyncpg
import pytest

from db.pool import Connection
from db.transitions import Advance, advance, begin_step, check_claim, list_transitions, lock_workflow
from db.workflows import find_organization, list_workflows, load_workflow, raise_cap, set_failure
from domain.errors import (
    BadInputError,
    ClaimLostError,
    ConfigurationError,
    IdempotencyConflictError,
    PipelineError,
    WorkflowTransitionError,
)
from domain.identifiers import organization_id_of
from domain.money import usd
from domain.states import State, Step
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase

# Everybody's, and nobody's in particular. A new table is either named here or protected.
TABLES_WITHOUT_A_TENANT = {
    "plans",
    "plan_changes",
    "legal_transitions",
    "model_prices",
    "model_aliases",
    "price_changes",
    "schema_migrations",
}

# Beside SELECT on everything; the operator has nothing else at all.
WRITABLE_BY_THE_APPLICATION = {
    "step_outputs": {"INSERT", "UPDATE"},
    "web_pages": {"INSERT", "UPDATE"},
    "site_reads": {"INSERT", "UPDATE"},
    "seed_candidates": {"INSERT", "UPDATE"},
    "keywords": {"INSERT", "UPDATE", "DELETE"},
    "seed_reviews": {"INSERT"},
    "keyword_decisions": {"INSERT"},
    "reminders": {"INSERT"},
    "keyword_clusters": {"INSERT", "UPDATE", "DELETE"},
    "keyword_vectors": {"INSERT", "UPDATE"},
    "articles": {"INSERT", "UPDATE"},
    "article_revisions": {"INSERT", "UPDATE"},
    "article_sections": {"INSERT", "UPDATE", "DELETE"},
    "article_approvals": {"INSERT", "UPDATE"},
    "cited_pages": {"INSERT"},
    "publications": {"INSERT", "UPDATE"},
    "publication_events": {"INSERT"},
    "kept_answers": {"INSERT", "UPDATE", "DELETE"},
    "cluster_overrides": {"INSERT"},
}
COLUMNS_OF_THE_APPLICATION = {
    ("organizations", "INSERT"): {"organization_id", "domain", "name"},
    ("intent_workflows", "INSERT"): {
        "id",
        "organization_id",
        "name",
        "brief",
        "brief_hash",
        "settings",
        "started_by",
        "cap_usd",
    },
    ("intent_workflows", "UPDATE"): {"failure", "updated_at"},
}

# One row of each table that the application writes: columns, and values made of a workflow (also the article's id),
# its organization and a new id.
OUTPUTS = {
    "step_outputs": (
        "workflow_id, organization_id, step, claim, output, verdict",
        "workflow, tenant, 'a', 2, '{}', '{}'",
    ),
    "web_pages": (
        "page_id, workflow_id, organization_id, site, url, is_own_site, title, headings, passages, content_text",
        "id, workflow, tenant, 'a', 'a', true, 'a', '[]', '[]', 'a'",
    ),
    "seed_candidates": ("workflow_id, organization_id, claim, keywords", "workflow, tenant, 2, '[]'"),
    "site_reads": ("workflow_id, organization_id, site, claim, pages_read", "workflow, tenant, 'a', 2, 1"),
    "keywords": (
        "keyword_id, workflow_id, organization_id, position, text, score, intent, sources",
        "id, workflow, tenant, 1, 'a', 0.5, 'a', '[1]'",
    ),
    "seed_reviews": (
        "decision_id, workflow_id, organization_id, shown_version, kind, actor",
        "workflow, workflow, tenant, 2, 'select', 'a'",
    ),
    "keyword_decisions": (
        "decision_id, workflow_id, organization_id, position, text, decision, is_own",
        "workflow, workflow, tenant, 1, 'a', 'approved', false",
    ),
    "reminders": (
        "reminder_id, workflow_id, organization_id, state, version, number, waiting_since",
        "id, workflow, tenant, 'ICP_FAILED', 2, 1, now()",
    ),
    "keyword_clusters": (
        "cluster_id, workflow_id, organization_id, claim, position, hub, intent, spokes",
        "id, workflow, tenant, 2, 1, 'a', 'a', '[]'",
    ),
    "keyword_vectors": ("workflow_id, organization_id, model, text, vector", "workflow, tenant, 'a', 'a', '{1}'"),
    "articles": (
        "article_id, workflow_id, organization_id, cluster_id, position, keyword, role, state",
        "workflow, workflow, tenant, id, 1, 'a', 'hub', 'PLANNED'",
    ),
    "article_revisions": ("article_id, organization_id, revision, claim, outline", "workflow, tenant, 1, 2, '{}'"),
    "article_sections": (
        "article_id, organization_id, revision, section, claim, attempt_id, content",
        "workflow, tenant, 1, 1, 2, id, '{}'",
    ),
    "article_approvals": (
        "article_id, organization_id, workflow_id, content_hash, approved_by, transition_id",
        "workflow, tenant, workflow, 'a', 'a', id",
    ),
    "cited_pages": (
        "cited_page_id, organization_id, workflow_id, article_id, attempt_id, position, cited_url, url, title,"
        " passages",
        "id, tenant, workflow, workflow, id, 0, 'a', 'a', 'a', '[1]'",
    ),
    "publications": (
        "publication_id, article_id, workflow_id, organization_id, target, mode, slug, content_hash, state, claim",
        "id, workflow, workflow, tenant, 'files', 'publish', 'a', 'a', 'PENDING', 2",
    ),
    "kept_answers": (
        "answer_id, organization_id, workflow_id, url, status, content_type, body, fresh_seconds",
        "id, tenant, workflow, 'a', 200, 'a', '', 1",
    ),
    "cluster_overrides": (
        "decision_id, cluster_id, workflow_id, organization_id, hub, overridden, actor, reason",
        "id, id, workflow, tenant, 'a', '[]', 'a', 'a'",
    ),
    "publication_events": (
        "event_id, publication_id, workflow_id, organization_id, event, actor",
        "id, (SELECT publication_id FROM publications WHERE publications.workflow_id = workflow), workflow, tenant,"
        " 'UNPUBLISHED', 'a'",
    ),
}


async def insert_output(connection: Connection, table: str, workflow: MadeWorkflow) -> None:
    columns, values = OUTPUTS[table]
    await connection.execute(
        f"WITH given AS (SELECT $1::uuid AS workflow, $2::uuid AS tenant, $3::uuid AS id)"
        f" INSERT INTO {table} ({columns}) SELECT {values} FROM given",
        workflow.workflow_id,
        workflow.organization_id,
        uuid4(),
    )


async def tables_of(database: TenantDatabase) -> set[str]:
    rows = await database.admin.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in rows}


@pytest.fixture
async def tenants(database: TenantDatabase, make_workflow: MakeWorkflow) -> tuple[MadeWorkflow, MadeWorkflow]:
    """Two organizations, each with a workflow in ICP_PROCESSING and a row in every table of outputs."""
    made = []
    for domain in ("harborline.example", "ledgerpilot.example"):
        workflow = await make_workflow(State.ICP_PROCESSING, domain=domain)
        async with database.app.transaction(workflow.organization_id) as connection:
            for table in OUTPUTS:
                await insert_output(connection, table, workflow)
        made.append(workflow)
    return made[0], made[1]


Tenants = tuple[MadeWorkflow, MadeWorkflow]


# Tables -------------------------------------------------------------------------------------------------------


async def test_every_table_has_row_level_security_or_no_tenant(database: TenantDatabase) -> None:
    rows = await database.admin.fetch(
        """
        SELECT relname, relrowsecurity, relforcerowsecurity, attnotnull
        FROM pg_class LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'organization_id'
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
        """
    )
    unprotected = {
        row["relname"]
        for row in rows
        if not (row["relrowsecurity"] and row["relforcerowsecurity"] and row["attnotnull"])
    }
    assert unprotected == TABLES_WITHOUT_A_TENANT
    assert not {row["relname"] for row in rows if row["attnotnull"] is not None} & TABLES_WITHOUT_A_TENANT


async def test_the_policies_are_the_same_everywhere(database: TenantDatabase) -> None:
    own = "(organization_id = (NULLIF(current_setting('app.organization_id'::text, true), ''::text))::uuid)"
    wanted = {
        ("tenant_isolation", "PERMISSIVE", ("public",), "ALL", own, own),
        ("operator_sees_all", "PERMISSIVE", ("infin8_operator",), "SELECT", "true", None),
    }
    rows = await database.admin.fetch("SELECT * FROM pg_policies WHERE schemaname = 'public'")
    found: dict[str, set[object]] = {}
    for row in rows:
        policy = (row["policyname"], row["permissive"], tuple(row["roles"]), row["cmd"], row["qual"], row["with_check"])
        found.setdefault(row["tablename"], set()).add(policy)
    assert found == dict.fromkeys(await tables_of(database) - TABLES_WITHOUT_A_TENANT, wanted)


async def test_the_roles_hold_exactly_these_rights(database: TenantDatabase) -> None:
    rows = await database.admin.fetch(
        """
        SELECT relname, grantee::regrole::text AS role, privilege_type AS right
        FROM pg_class, aclexplode(relacl)
        WHERE relnamespace = 'public'::regnamespace AND relkind <> 'i' AND grantee <> relowner
        """
    )
    held = {(row["role"], row["relname"], row["right"]) for row in rows}
    tables = await tables_of(database)
    wanted = {(role, table, "SELECT") for role in ("infin8_app", "infin8_operator") for table in tables}
    wanted |= {
        ("infin8_app", table, right) for table, rights in WRITABLE_BY_THE_APPLICATION.items() for right in rights
    }
    assert held == wanted


async def test_the_application_writes_exactly_these_columns_of_guarded_tables(database: TenantDatabase) -> None:
    rows = await database.admin.fetch(
        """
        SELECT attrelid::regclass::text AS name, grantee::regrole::text AS role, privilege_type AS right, attname
        FROM pg_attribute, aclexplode(attacl)
        WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
        """
    )
    held: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        assert row["role"] == "infin8_app"
        held.setdefault((row["name"], row["right"]), set()).add(row["attname"])
    assert held == COLUMNS_OF_THE_APPLICATION


async def test_without_an_organization_there_are_no_rows(database: TenantDatabase, tenants: Tenants) -> None:
    """Not for the application, and not for the owner of the tables either."""
    for table in await tables_of(database) - TABLES_WITHOUT_A_TENANT:
        async with database.app.reading() as connection:
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table
        async with database.admin.connection() as connection:
            await connection.execute("SET ROLE infin8_owner")
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table


async def test_an_empty_organization_is_no_organization(database: TenantDatabase, tenants: Tenants) -> None:
    connection = await asyncpg.connect(database.app_dsn)
    await connection.execute("SELECT set_config('app.organization_id', '', false)")
    assert await connection.fetchval("SELECT count(*) FROM intent_workflows") == 0
    await connection.close()


async def test_the_organization_ends_with_its_transaction(database: TenantDatabase, tenants: Tenants) -> None:
    async with database.app.transaction(tenants[0].organization_id) as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
    async with database.app.reading() as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") == pid
        assert await connection.fetchval("SELECT count(*) FROM intent_workflows") == 0


async def test_a_tenant_sees_its_own_rows_only(database: TenantDatabase, tenants: Tenants) -> None:
    filled = {*OUTPUTS, "organizations", "intent_workflows", "workflow_transitions"}
    for workflow in tenants:
        for table in await tables_of(database) - TABLES_WITHOUT_A_TENANT:
            async with database.app.transaction(workflow.organization_id) as connection:
                rows = await connection.fetch(f"SELECT DISTINCT organization_id FROM {table}")
            wanted = [workflow.organization_id] if table in filled else []
            assert [row["organization_id"] for row in rows] == wanted, table


async def test_the_operator_sees_all_and_writes_nothing(database: TenantDatabase, tenants: Tenants) -> None:
    wanted = {workflow.organization_id for workflow in tenants}
    for table in [*OUTPUTS, "organizations", "intent_workflows", "workflow_transitions"]:
        async with database.operator.reading() as connection:
            rows = await connection.fetch(f"SELECT DISTINCT organization_id FROM {table}")
            assert {row["organization_id"] for row in rows} == wanted, table
    for table in OUTPUTS:
        with pytest.raises(ConfigurationError, match=r"\(42501\)"):
            async with database.operator.transaction(tenants[0].organization_id) as connection:
                await connection.execute(f"UPDATE {table} SET organization_id = organization_id")


async def test_a_tenant_writes_no_row_of_another(database: TenantDatabase, tenants: Tenants) -> None:
    """Not under its name, not by moving a row there; and it neither changes nor deletes what is there."""
    mine, theirs = tenants
    for table in OUTPUTS:
        with pytest.raises(ConfigurationError, match="row-level security"):
            async with database.app.transaction(mine.organization_id) as connection:
                await insert_output(connection, table, theirs)
        if "UPDATE" not in WRITABLE_BY_THE_APPLICATION[table]:
            continue
        with pytest.raises(ConfigurationError, match="row-level security"):
            async with database.app.transaction(mine.organization_id) as connection:
                await connection.execute(f"UPDATE {table} SET organization_id = $1", theirs.organization_id)
        async with database.app.transaction(mine.organization_id) as connection:
            touched = f"UPDATE {table} SET organization_id = $1 WHERE organization_id <> $1"
            assert await connection.execute(touched, mine.organization_id) == "UPDATE 0"
            if "DELETE" in WRITABLE_BY_THE_APPLICATION[table]:
                assert await connection.execute(f"DELETE FROM {table}") == "DELETE 1"
    rows = await database.admin.fetch("SELECT organization_id FROM keywords")
    assert [row["organization_id"] for row in rows] == [theirs.organization_id]


async def test_no_row_points_into_another_organization(database: TenantDatabase, tenants: Tenants) -> None:
    mine, theirs = tenants
    for table in OUTPUTS:
        crossed = MadeWorkflow(theirs.workflow_id, mine.organization_id)
        with pytest.raises((BadInputError, IdempotencyConflictError)):
            async with database.app.transaction(mine.organization_id) as connection:
                await insert_output(connection, table, crossed)


# Functions ----------------------------------------------------------------------------------------------------


def cancelling(workflow_id: UUID, organization_id: UUID, transition_id: UUID | None = None) -> Advance:
    return Advance(
        workflow_id=workflow_id,
        organization_id=organization_id,
        expected_state=State.ICP_PROCESSING,
        expected_version=2,
        next_state=State.CANCELLED,
        transition_id=transition_id or uuid4(),
        actor="a stranger",
    )


async def answer_to_each_call(connection: Connection, workflow_id: UUID, organization_id: UUID) -> dict[str, object]:
    """What every call says of a workflow; an error as its class and facts, without the id that was asked for."""
    calls = {
        "lock_workflow": lambda: lock_workflow(connection, workflow_id, organization_id),
        "advance": lambda: advance(connection, cancelling(workflow_id, organization_id)),
        "check_claim": lambda: check_claim(connection, workflow_id, organization_id, Step.ICP, 2),
        "begin_step": lambda: begin_step(connection, workflow_id, organization_id, Step.ICP, actor="a stranger"),
        "raise_cap": lambda: raise_cap(
            connection, workflow_id, organization_id, usd("9"), decision_id=uuid4(), actor="a stranger"
        ),
        "load_workflow": lambda: load_workflow(connection, workflow_id),
        "find_organization": lambda: find_organization(connection, workflow_id),
        "list_transitions": lambda: list_transitions(connection, workflow_id),
        "set_failure": lambda: set_failure(connection, workflow_id, {"type": "x"}),
    }
    answers: dict[str, object] = {}
    for name, call in calls.items():
        try:
            async with connection.transaction():
                answers[name] = await call()
        except PipelineError as error:
            facts = {key: value for key, value in error.facts().items() if key != "workflow_id"}
            answers[name] = (type(error).__name__, str(error).replace(str(workflow_id), "ID"), facts)
    return answers


@pytest.mark.parametrize("claims_to_be", ["itself", "the other"])
async def test_another_organizations_workflow_is_like_none(
    database: TenantDatabase, tenants: Tenants, claims_to_be: str
) -> None:
    mine, theirs = tenants
    organization_id = mine.organization_id if claims_to_be == "itself" else theirs.organization_id
    async with database.app.transaction(mine.organization_id) as connection:
        of_theirs = await answer_to_each_call(connection, theirs.workflow_id, organization_id)
        of_none = await answer_to_each_call(connection, uuid4(), organization_id)
    assert of_theirs == of_none
    assert of_theirs["advance"][0] == "WorkflowTransitionError"  # type: ignore[index]
    assert of_theirs["advance"][2]["reason"] == "not_found"  # type: ignore[index]
    async with database.app.transaction(theirs.organization_id) as connection:
        assert len(await list_transitions(connection, theirs.workflow_id)) == 2


async def test_functions_compare_the_organization_themselves(database: TenantDatabase, tenants: Tenants) -> None:
    """Row-level security is not their only guard: they hold with it switched off."""
    mine, theirs = tenants
    for table in ("intent_workflows", "workflow_transitions", "cap_changes"):
        await database.admin.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    async with database.app.transaction(mine.organization_id) as connection:
        answers = await answer_to_each_call(connection, theirs.workflow_id, theirs.organization_id)
    assert answers["lock_workflow"] is None
    for name, kind in (
        ("advance", "WorkflowTransitionError"),
        ("begin_step", "WorkflowTransitionError"),
        ("check_claim", "ClaimLostError"),
        ("raise_cap", "BadInputError"),
    ):
        assert answers[name][0] == kind  # type: ignore[index]


async def test_without_an_organization_no_function_finds_a_workflow(database: TenantDatabase, tenants: Tenants) -> None:
    workflow = tenants[0]
    for dsn in (database.app_dsn, database.operator_dsn):
        connection = await asyncpg.connect(dsn)
        with pytest.raises(WorkflowTransitionError) as refused:
            await advance(connection, cancelling(workflow.workflow_id, workflow.organization_id))
        assert refused.value.reason == "not_found"
        with pytest.raises(ClaimLostError):
            await check_claim(connection, workflow.workflow_id, workflow.organization_id, Step.ICP, 2)
        with pytest.raises(BadInputError, match="does not exist"):
            await raise_cap(
                connection, workflow.workflow_id, workflow.organization_id, usd("9"), decision_id=uuid4(), actor="x"
            )
        await connection.close()


async def test_the_operator_writes_through_functions_with_the_rows_organization(
    database: TenantDatabase, tenants: Tenants
) -> None:
    mine, theirs = tenants
    async with database.operator.transaction(mine.organization_id) as connection:
        result = await advance(connection, cancelling(mine.workflow_id, mine.organization_id))
    assert result.current_state is State.CANCELLED
    with pytest.raises(WorkflowTransitionError) as refused:
        async with database.operator.transaction(mine.organization_id) as connection:
            await advance(connection, cancelling(theirs.workflow_id, theirs.organization_id))
    assert refused.value.reason == "not_found"


async def test_using_anothers_ids_of_decisions_tells_nothing(database: TenantDatabase, tenants: Tenants) -> None:
    """A transition id or decision id that another tenant used works as if nobody had."""
    mine, theirs = tenants
    shared = uuid4()
    for workflow in (theirs, mine):
        async with database.app.transaction(workflow.organization_id) as connection:
            cap = await raise_cap(
                connection, workflow.workflow_id, workflow.organization_id, usd("3"), decision_id=shared, actor="x"
            )
            result = await advance(connection, cancelling(workflow.workflow_id, workflow.organization_id, shared))
        assert (cap, result.version, result.replayed) == (usd("3"), 3, False)


async def test_an_organization_lists_its_own_workflows(database: TenantDatabase, tenants: Tenants) -> None:
    async with database.app.transaction(tenants[1].organization_id) as connection:
        listed = await list_workflows(connection, 10)
    assert [record.workflow_id for record in listed] == [tenants[1].workflow_id]


async def test_an_organization_is_made_under_its_own_id_only(database: TenantDatabase) -> None:
    with pytest.raises(ConfigurationError, match="row-level security"):
        async with database.app.transaction(organization_id_of("a.example")) as connection:
            await connection.execute(
                "INSERT INTO organizations (organization_id, domain, name) VALUES ($1, 'b.example', 'B')",
                organization_id_of("b.example"),
            )
