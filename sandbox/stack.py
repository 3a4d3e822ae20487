"""Postgres, Temporal and the sandbox together, for one state folder: what `up`, `demo` and the tests run on."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import asyncpg
from pydantic import BaseModel, ConfigDict, ValidationError

from sandbox.postgres import RunningPostgres, instance_id_at, start_postgres
from sandbox.processes import (
    FolderLock,
    Log,
    ProcessState,
    listens_on,
    make_state_folder,
    process_state,
    silent,
    write_atomically,
)
from sandbox.temporal import RunningTemporal, start_temporal

DATABASE = "infin8"
APPLICATION_ROLE = "infin8_app"
OPERATOR_ROLE = "infin8_operator"
ADDRESSES_FILE = "stack.json"


class StackProcesses(BaseModel):
    """Process ids; `stack` is the process that owns the others and serves the sandbox."""

    model_config = ConfigDict(frozen=True)

    stack: int
    postgres: int
    temporal: int


class StackAddresses(BaseModel):
    """Where a running stack is found: the contents of `stack.json`.

    `temporal_ui` and `sandbox_url` are empty when the stack runs without them. `instance_id` is new with
    every start; Postgres shows the same one as `infin8.instance_id`.
    """

    model_config = ConfigDict(frozen=True)

    postgres_dsn: str
    postgres_operator_dsn: str
    postgres_admin_dsn: str
    temporal_address: str
    temporal_namespace: str
    temporal_ui: str
    sandbox_url: str
    pids: StackProcesses
    instance_id: str


@dataclass(frozen=True)
class RunningStack:
    """A stack that is up and prepared."""

    addresses: StackAddresses
    postgres: RunningPostgres
    temporal: RunningTemporal
    startup_seconds: float


class _Stoppable(Protocol):
    async def stop(self) -> None: ...


_Server = TypeVar("_Server", bound=_Stoppable)
Prepare = Callable[[StackAddresses], Awaitable[None]]


@contextlib.asynccontextmanager
async def running_stack(
    state_dir: Path,
    *,
    prepare: Prepare,
    search_attributes: Mapping[str, str],
    serve_sandbox: bool = True,
    sites_dirs: Sequence[Path] = (),
    ui: bool = True,
    durable: bool = True,
    max_connections: int = 200,
    log: Log = silent,
) -> AsyncIterator[RunningStack]:
    """Run the state folder's stack for the body of the `async with`.

    `prepare` (migrations: it makes the roles) runs when all servers are up and the database `infin8` exists,
    before `stack.json` tells others of the stack. `sites_dirs` are folders of further sites for the sandbox to
    serve beside its own. Whatever was started is stopped, also when a later part
    fails. Raises LocalStackError, among others when this folder's stack is up already.
    """
    began = time.monotonic()
    state_dir = make_state_folder(state_dir)
    async with contextlib.AsyncExitStack() as exits:
        _claim_folder(state_dir, exits)
        postgres, temporal = await _start_servers(
            exits,
            lambda: start_postgres(state_dir, log=log, max_connections=max_connections, durable=durable),
            lambda: start_temporal(
                state_dir,
                database_file=state_dir / "temporal.db",
                search_attributes=search_attributes,
                ui=ui,
                log=log,
            ),
        )
        sandbox_url = await _start_sandbox(exits, state_dir, sites_dirs) if serve_sandbox else ""
        await create_database(postgres.admin_dsn(), DATABASE)
        addresses = _addresses(postgres, temporal, sandbox_url)
        await prepare(addresses)
        exits.callback((state_dir / ADDRESSES_FILE).unlink, missing_ok=True)
        write_atomically(state_dir / ADDRESSES_FILE, addresses.model_dump_json(indent=2) + "\n")
        yield RunningStack(addresses, postgres, temporal, time.monotonic() - began)


async def find_stack(state_dir: Path) -> StackAddresses | None:
    """The state folder's stack if it is up and its servers are the ones that `stack.json` speaks of.

    A file left by a killed stack gives None, also when other programs hold its pids and ports by now.
    """
    addresses = _read_addresses(state_dir)
    if addresses is None or process_state(addresses.pids.stack) is not ProcessState.RUNNING:
        return None
    if not listens_on(addresses.pids.temporal, int(addresses.temporal_address.rpartition(":")[2])):
        return None
    sandbox_port = urlsplit(addresses.sandbox_url).port
    if sandbox_port is not None and not listens_on(addresses.pids.stack, sandbox_port):
        return None
    found = await instance_id_at(addresses.postgres_admin_dsn)
    return addresses if found == addresses.instance_id else None


async def create_database(admin_dsn: str, name: str) -> None:
    """Create the database if it is missing; safe when several processes do it at once."""
    connection = await asyncpg.connect(admin_dsn)
    try:
        if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name) is None:
            with contextlib.suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()


def _claim_folder(state_dir: Path, exits: contextlib.AsyncExitStack) -> None:
    """Hold the folder's lock for the stack's life and clear away what a killed stack said of itself."""
    known = _read_addresses(state_dir)
    owner = f" (process {known.pids.stack})" if known else ""
    lock = FolderLock.acquire(
        state_dir / "stack.lock",
        refusal=f"the stack of {state_dir} is already up{owner}; "
        "stop it with Ctrl-C, or choose another folder with INFIN8_STATE_DIR",
    )
    exits.callback(lock.release)
    (state_dir / ADDRESSES_FILE).unlink(missing_ok=True)


async def _start_servers(
    exits: contextlib.AsyncExitStack,
    postgres: Callable[[], Awaitable[RunningPostgres]],
    temporal: Callable[[], Awaitable[RunningTemporal]],
) -> tuple[RunningPostgres, RunningTemporal]:
    """Start both at once; when one fails, the other is ended before the first one's error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            starting_postgres = group.create_task(_kept(exits, postgres))
            starting_temporal = group.create_task(_kept(exits, temporal))
    except ExceptionGroup as problems:
        raise problems.exceptions[0] from None
    return starting_postgres.result(), starting_temporal.result()


async def _kept(exits: contextlib.AsyncExitStack, start: Callable[[], Awaitable[_Server]]) -> _Server:
    server = await start()
    exits.push_async_callback(server.stop)
    return server


async def _start_sandbox(exits: contextlib.AsyncExitStack, state_dir: Path, sites_dirs: Sequence[Path]) -> str:
    from sandbox.server import start_sandbox_server

    sandbox = await _kept(exits, lambda: start_sandbox_server(state_dir, sites_dirs=sites_dirs))
    return str(sandbox.url)


def _addresses(postgres: RunningPostgres, temporal: RunningTemporal, sandbox_url: str) -> StackAddresses:
    return StackAddresses(
        postgres_dsn=postgres.dsn(APPLICATION_ROLE, DATABASE),
        postgres_operator_dsn=postgres.dsn(OPERATOR_ROLE, DATABASE),
        postgres_admin_dsn=postgres.admin_dsn(DATABASE),
        temporal_address=temporal.address,
        temporal_namespace=temporal.namespace,
        temporal_ui=temporal.ui_url,
        sandbox_url=sandbox_url,
        pids=StackProcesses(stack=os.getpid(), postgres=postgres.pid, temporal=temporal.pid),
        instance_id=postgres.instance_id,
    )


def _read_addresses(state_dir: Path) -> StackAddresses | None:
    try:
        return StackAddresses.model_validate_json((state_dir / ADDRESSES_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
