"""One Postgres per test session, one fresh database per test from a migrated template, and factories of rows."""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from db.migrate import migrate
from db.pool import Connection, Database, register_codecs
from db.transitions import Advance, advance
from db.workflows import NewWorkflow, create_workflow
from domain.identifiers import organization_id_of, run_transition_id, workflow_id_of
from domain.states import LEGAL_TRANSITIONS, State
from sandbox.postgres import RunningPostgres, remove_postgres, start_postgres

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="session")
async def postgres() -> AsyncIterator[RunningPostgres]:
    """A server of this test session alone; it ends with the session."""
    folder = Path(tempfile.mkdtemp(prefix="infin8-tests-"))
    server = await start_postgres(folder, durable=False)
    try:
        yield server
    finally:
        await server.stop(immediate=True)
        remove_postgres(folder)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class AdminSession:
    """Statements outside of any pool, each in its own transaction, with the power of the cluster's superuser."""

    dsn: str

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        connection = await asyncpg.connect(self.dsn)
        try:
            await register_codecs(connection)
            yield connection
        finally:
            await connection.close()

    async def execute(self, statement: str, *arguments: Any) -> str:
        async with self.connection() as connection:
            return str(await connection.execute(statement, *arguments))

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self.connection() as connection:
            return list(await connection.fetch(statement, *arguments))

    async def fetchval(self, statement: str, *arguments: Any) -> Any:
        async with self.connection() as connection:
            return await connection.fetchval(statement, *arguments)


async def create_database(postgres: RunningPostgres, template: str | None = None) -> str:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    source = f' TEMPLATE "{template}"' if template else ""
    await AdminSession(postgres.admin_dsn("postgres")).execute(f'CREATE DATABASE "{name}"{source}')
    return name


async def drop_database(postgres: RunningPostgres, name: str) -> None:
    await AdminSession(postgres.admin_dsn("postgres")).execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest_asyncio.fixture(scope="session")
async def template_database(postgres: RunningPostgres) -> str:
    """Name of a migrated database that nobody connects to."""
    name = await create_database(postgres)
    await migrate(postgres.admin_dsn(name))
    return name


@dataclass(frozen=True)
class TenantDatabase:
    """A migrated database of one test: DSNs of the three roles, pools of two, and the superuser."""

    name: str
    app_dsn: str
    operator_dsn: str
    admin_dsn: str
    app: Database
    operator: Database
    admin: AdminSession


@pytest_asyncio.fixture
async def empty_database(postgres: RunningPostgres) -> AsyncIterator[str]:
    """Name of a database that nothing was migrated in."""
    name = await create_database(postgres)
    yield name
    await drop_database(postgres, name)


@pytest_asyncio.fixture
async def database(postgres: RunningPostgres, template_database: str) -> AsyncIterator[TenantDatabase]:
    name = await create_database(postgres, template_database)
    app_dsn, operator_dsn = postgres.dsn("infin8_app", name), postgres.dsn("infin8_operator", name)
    app = await Database.connect(app_dsn, size_min=0, size_max=40)
    operator = await Database.connect(operator_dsn, size_min=0, size_max=5)
    admin_dsn = postgres.admin_dsn(name)
    yield TenantDatabase(name, app_dsn, operator_dsn, admin_dsn, app, operator, AdminSession(admin_dsn))
    await asyncio.gather(app.close(), operator.close())
    await drop_database(postgres, name)


@dataclass(frozen=True)
class MadeWorkflow:
    workflow_id: UUID
    organization_id: UUID
    state: State = State.CREATED
    version: int = 0
    name: str = field(default="", compare=False)


def legal_path(target: State) -> list[State]:
    """A shortest way from CREATED to a state, without CREATED itself."""
    paths: dict[State, list[State]] = {State.CREATED: []}
    frontier = deque([State.CREATED])
    while target not in paths:
        state = frontier.popleft()
        for origin, following in sorted(LEGAL_TRANSITIONS):
            if origin is state and following not in paths:
                paths[following] = [*paths[state], following]
                frontier.append(following)
    return paths[target]


def new_workflow(
    *, domain: str = "harborline.example", name: str | None = None, cap_usd: Decimal | None = Decimal("1.00")
) -> NewWorkflow:
    organization_id = organization_id_of(domain)
    name = name or f"workflow-{uuid4()}"
    return NewWorkflow(
        workflow_id=workflow_id_of(organization_id, name),
        organization_id=organization_id,
        domain=domain,
        organization_name=domain.partition(".")[0].capitalize(),
        name=name,
        brief={"organization": {"url": f"https://{domain}"}},
        brief_hash=f"hash of {name}",
        settings={"articles": {"max": 3}},
        started_by="tests",
        cap_usd=cap_usd,
    )


async def walk(connection: Connection, workflow: MadeWorkflow, states: list[State]) -> MadeWorkflow:
    """Advance through the states in order; the workflow as it stands then."""
    state, version = workflow.state, workflow.version
    for following in states:
        step = Advance(
            workflow_id=workflow.workflow_id,
            organization_id=workflow.organization_id,
            expected_state=state,
            expected_version=version,
            next_state=following,
            transition_id=run_transition_id(workflow.workflow_id, version, following),
            actor="tests",
        )
        version = (await advance(connection, step)).version
        state = following
    return MadeWorkflow(workflow.workflow_id, workflow.organization_id, state, version, workflow.name)


MakeWorkflow = Callable[..., Awaitable[MadeWorkflow]]


@pytest.fixture
def make_workflow(database: TenantDatabase) -> MakeWorkflow:
    """``await make_workflow(state=…, domain=…, name=…, cap_usd=…)``: a workflow that walked legal edges to a state."""

    async def make(state: State = State.CREATED, **facts: Any) -> MadeWorkflow:
        new = new_workflow(**facts)
        async with database.app.transaction(new.organization_id) as connection:
            await create_workflow(connection, new)
            created = MadeWorkflow(new.workflow_id, new.organization_id, name=new.name)
            return await walk(connection, created, legal_path(state))

    return make
