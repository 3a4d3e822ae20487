"""Every error of the driver becomes one of ours, and a pool outlives its server."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from asyncpg import exceptions

from db.errors import CONSTRAINTS, DATABASE_ERRORS, translate
from db.migrate import migrate
from db.pool import CLOSE_TIMEOUT_SECONDS, Connection, Database
from domain.errors import (
    BadInputError,
    CapReachedError,
    ClaimLostError,
    ConfigurationError,
    DatabaseUnavailableError,
    IdempotencyConflictError,
    PermanentError,
    PipelineError,
)
from sandbox.postgres import remove_postgres, start_postgres
from tests.conftest import MakeWorkflow, TenantDatabase, new_workflow

TENANT = new_workflow().organization_id

# SQLSTATE classes whose errors pass by themselves. Everything else is a defect, a wrong setting or a wrong value.
PASSING_CLASSES = {"08", "26", "40", "53", "57", "58", "72", "XX"}
PASSING_STATES = {"25006", "25P03", "25P04", "55006", "55P03", "F0001"}


def driver_errors() -> list[type[Exception]]:
    classes = [value for value in vars(exceptions).values() if isinstance(value, type)]
    return [kind for kind in classes if issubclass(kind, Exception) and not issubclass(kind, Warning)]


def expected_kinds(kind: type[Exception]) -> set[type[PipelineError]]:
    sqlstate = getattr(kind, "sqlstate", None)
    if sqlstate is None:
        return {DatabaseUnavailableError, ConfigurationError, BadInputError}
    if sqlstate[:2] in PASSING_CLASSES or sqlstate in PASSING_STATES:
        return {DatabaseUnavailableError}
    if sqlstate[:2] == "23":
        return {IdempotencyConflictError, BadInputError}
    return {BadInputError} if sqlstate[:2] in ("21", "22") else {ConfigurationError}


def test_every_error_class_of_the_driver_is_mapped() -> None:
    kinds = driver_errors()
    assert len(kinds) > 200
    wrong = {}
    for kind in kinds:
        assert issubclass(kind, DATABASE_ERRORS), f"{kind.__name__} would leave untranslated"
        ours = translate(kind("something\nDETAIL: more"))
        if type(ours) not in expected_kinds(kind) or "\n" in str(ours):
            wrong[kind.__name__] = ours
    assert not wrong


@pytest.mark.parametrize(
    ("sqlstate", "ours"),
    [("42XYZ", ConfigurationError), ("57XYZ", DatabaseUnavailableError), ("22XYZ", BadInputError)],
)
def test_an_sqlstate_that_the_driver_does_not_know_falls_back_to_its_class(
    sqlstate: str, ours: type[PipelineError]
) -> None:
    error = asyncpg.UnknownPostgresError("new")
    error.sqlstate = sqlstate
    assert type(translate(error)) is ours


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("refused"),
        ConnectionResetError("reset"),
        FileNotFoundError("no socket"),
        TimeoutError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InterfaceError("pool is closing"),
        asyncpg.InterfaceError("connection has been released back to the pool"),
        asyncpg.InternalClientError("got result for unknown protocol state"),
    ],
)
def test_a_lost_network_or_connection_passes(error: Exception) -> None:
    assert type(translate(error)) is DatabaseUnavailableError


def test_a_misused_connection_does_not_pass() -> None:
    error = asyncpg.InterfaceError("cannot perform operation: another operation is in progress")
    assert type(translate(error)) is ConfigurationError


async def test_constraints_are_told_apart_by_names_that_exist(database: TenantDatabase) -> None:
    rows = await database.admin.fetch("SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace")
    assert set(CONSTRAINTS) <= {row["conname"] for row in rows}


@asynccontextmanager
async def transaction(database: TenantDatabase, role: str = "app") -> AsyncIterator[Connection]:
    async with getattr(database, role).transaction(TENANT) as connection:
        yield connection


async def failing(database: TenantDatabase, statement: str, *arguments: Any) -> PipelineError:
    with pytest.raises(PipelineError) as refused:
        async with transaction(database) as connection:
            await connection.execute(statement, *arguments)
    return refused.value


async def test_errors_of_other_code_pass_as_they_are_and_roll_back(database: TenantDatabase) -> None:
    async def insert_and_fail() -> None:
        async with transaction(database) as connection:
            await connection.execute(
                "INSERT INTO organizations (organization_id, domain, name) VALUES ($1, 'a', 'a')", TENANT
            )
            raise LookupError

    with pytest.raises(LookupError):
        await insert_and_fail()
    async with transaction(database) as connection:
        assert await connection.fetchval("SELECT count(*) FROM organizations") == 0


async def test_refusals_of_our_functions_become_our_errors(database: TenantDatabase) -> None:
    async def refused(sqlstate: str, detail: str) -> PipelineError:
        raising = f"RAISE EXCEPTION 'told' USING ERRCODE = '{sqlstate}', DETAIL = '{detail}'"
        return await failing(database, f"DO $$ BEGIN {raising}; END $$")

    kinds = {"IN002": IdempotencyConflictError, "IN003": ClaimLostError, "IN004": BadInputError}
    for sqlstate, kind in kinds.items():
        error = await refused(sqlstate, "")
        assert (type(error), str(error)) == (kind, "told")
    cap = await refused("IN005", '{"scope": "month"}')
    assert (type(cap), cap.facts()) == (CapReachedError, {"scope": "month"})
    assert (await refused("IN004", '{"field": "cap_usd"}')).facts() == {"field": "cap_usd"}


async def test_a_slow_statement_passes(database: TenantDatabase) -> None:
    hasty = await Database.connect(database.app_dsn, size_min=0, statement_timeout_seconds=0.1)
    with pytest.raises(DatabaseUnavailableError, match="statement timeout"):
        async with hasty.transaction(TENANT) as connection:
            await connection.execute("SELECT pg_sleep(5)")
    await hasty.close()


async def test_a_transaction_left_open_is_ended(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    """A worker that was stopped in the middle gives its locks back."""
    workflow = await make_workflow()
    hasty = await Database.connect(database.app_dsn, size_min=0, statement_timeout_seconds=0.2)

    async def stop_in_the_middle() -> None:
        async with hasty.transaction(workflow.organization_id) as connection:
            await connection.execute(
                "SELECT * FROM lock_workflow($1, $2)", workflow.workflow_id, workflow.organization_id
            )
            await asyncio.sleep(0.5)

    with pytest.raises(DatabaseUnavailableError):
        await stop_in_the_middle()
    async with database.app.transaction(workflow.organization_id) as connection:
        await connection.execute("SELECT * FROM lock_workflow($1, $2)", workflow.workflow_id, workflow.organization_id)
    await hasty.close()


async def test_a_deadlock_passes(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    pair = [await make_workflow(), await make_workflow()]
    both_hold_one = asyncio.Barrier(2)

    async def lock_both(first: int) -> None:
        async with database.app.transaction(pair[0].organization_id) as connection:
            for workflow in (pair[first], pair[1 - first]):
                await connection.execute(
                    "SELECT * FROM lock_workflow($1, $2)", workflow.workflow_id, workflow.organization_id
                )
                if workflow is pair[first]:
                    await both_hold_one.wait()

    results = await asyncio.gather(lock_both(0), lock_both(1), return_exceptions=True)
    failures = [result for result in results if result is not None]
    assert [type(failure) for failure in failures] == [DatabaseUnavailableError]
    assert "deadlock" in str(failures[0])


async def test_a_killed_connection_passes_and_the_next_call_works(database: TenantDatabase) -> None:
    async def be_killed() -> None:
        async with transaction(database) as connection:
            await database.admin.execute(
                "SELECT pg_terminate_backend($1)", await connection.fetchval("SELECT pg_backend_pid()")
            )
            await connection.fetchval("SELECT 1")

    for _ in range(3):
        with pytest.raises(DatabaseUnavailableError):
            await be_killed()
    async with transaction(database) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_no_connection_free_in_time_passes(database: TenantDatabase) -> None:
    narrow = await Database.connect(database.app_dsn, size_min=0, size_max=1, acquire_timeout_seconds=0.1)
    async with narrow.transaction(TENANT):
        with pytest.raises(DatabaseUnavailableError):
            async with narrow.transaction(TENANT):
                pass
    await narrow.close()


async def test_a_server_without_free_connections_passes(database: TenantDatabase) -> None:
    await database.admin.execute("ALTER ROLE infin8_operator CONNECTION LIMIT 0")
    try:
        with pytest.raises(DatabaseUnavailableError, match="too many connections"):
            await Database.connect(database.operator_dsn)
    finally:
        await database.admin.execute("ALTER ROLE infin8_operator CONNECTION LIMIT -1")


async def test_a_pool_outlives_its_server() -> None:
    folder = Path(tempfile.mkdtemp(prefix="infin8-restart-"))
    server = await start_postgres(folder, durable=True)
    try:
        await migrate(server.admin_dsn())
        pool = await Database.connect(server.dsn("infin8_app", "postgres"), size_min=3)
        await server.stop(immediate=True)
        with pytest.raises(DatabaseUnavailableError):
            await one(pool)
        server = await start_postgres(folder, durable=True)
        assert [await one(pool) for _ in range(5)] == [1] * 5
        await pool.close()
    finally:
        await server.stop(immediate=True)
        remove_postgres(folder)
        shutil.rmtree(folder, ignore_errors=True)


async def one(pool: Database) -> int:
    async with pool.transaction(TENANT) as connection:
        result: int = await connection.fetchval("SELECT 1")
        return result


async def test_closing_waits_for_what_runs(database: TenantDatabase) -> None:
    pool = await Database.connect(database.app_dsn, size_min=0)
    started = asyncio.Event()

    async def slow() -> int:
        async with pool.transaction(TENANT) as connection:
            started.set()
            result: int = await connection.fetchval("SELECT 7 FROM pg_sleep(0.2)")
            return result

    running = asyncio.create_task(slow())
    await started.wait()
    await asyncio.wait_for(pool.close(), CLOSE_TIMEOUT_SECONDS)
    assert await running == 7
    with pytest.raises(DatabaseUnavailableError):
        await one(pool)


async def test_wrong_addresses_and_passwords_are_settings(database: TenantDatabase) -> None:
    for dsn in (
        database.app_dsn.replace(database.name, "nowhere"),
        database.app_dsn.replace("infin8_app", "nobody_here"),
    ):
        with pytest.raises(ConfigurationError):
            await Database.connect(dsn)


async def test_reading_does_not_write(database: TenantDatabase) -> None:
    with pytest.raises(PipelineError, match="read-only"):
        async with database.app.reading() as connection:
            await connection.execute("INSERT INTO site_reads SELECT * FROM site_reads")


# Values -------------------------------------------------------------------------------------------------------


async def test_values_go_through_exactly(database: TenantDatabase) -> None:
    amounts = [Decimal("0.000000001"), Decimal("12345678901.987654321"), Decimal("-1E+3"), Decimal(0)]
    document = {"name": "Größe", "list": [1, 2.5, None, True], "nested": {"a": "\u2028"}}
    async with transaction(database) as connection:
        assert await connection.fetchval("SELECT $1::numeric[]", amounts) == amounts
        assert [await connection.fetchval("SELECT $1::numeric", amount) for amount in amounts] == amounts
        assert await connection.fetchval("SELECT $1::numeric", 7) == 7
        assert await connection.fetchval("SELECT $1::jsonb", document) == document
        assert await connection.fetchval("SELECT $1::jsonb[]", [document, {}]) == [document, {}]
        assert await connection.fetchval("SELECT $1::jsonb", "text") == "text"
        assert (await connection.fetchrow("SELECT NULL::jsonb AS a, NULL::numeric AS b")) == (None, None)


@pytest.mark.parametrize("value", [0.1, True, "0.1", Decimal("NaN"), Decimal("Infinity")])
async def test_money_is_no_float_and_no_text(database: TenantDatabase, value: object) -> None:
    assert type(await failing(database, "SELECT $1::numeric", value)) is BadInputError


@pytest.mark.parametrize("value", [{"cost": Decimal("0.1")}, {"score": float("nan")}, {"id": uuid4()}])
async def test_json_takes_no_decimals_and_no_nan(database: TenantDatabase, value: object) -> None:
    assert type(await failing(database, "SELECT $1::jsonb", value)) is BadInputError


async def test_a_wrong_statement_is_a_permanent_error(database: TenantDatabase) -> None:
    for statement in ("SELECT nonsense", "SELEC 1", "SELECT no_such_function()", "SELECT * FROM no_such_table"):
        error = await failing(database, statement)
        assert isinstance(error, PermanentError)
        assert "migrations" in str(error)
