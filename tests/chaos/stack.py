"""A whole stack that outlives its servers: Postgres and Temporal are killed and come back under the same address."""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from pydantic import SecretStr
from temporalio.client import Client

import worker
from commands.runs import run_arguments
from config import Settings
from db.migrate import migrate
from db.pool import Database
from db.workflows import load_workflow
from domain.settings import ActivityTimeouts, SpendSettings, StepSettings, ValidationSettings
from sandbox.postgres import RunningPostgres, remove_postgres, start_postgres
from sandbox.processes import EXEC_TIED, wait_for_exit
from sandbox.server import RunningSandbox
from sandbox.temporal import RunningTemporal, start_temporal
from tests.conftest import AdminSession, TenantDatabase, create_database, drop_database
from tests.e2e.conftest import WorkerChild, environment_of
from tests.workflows.conftest import Pipeline, Run
from workflows.intent import SEARCH_ATTRIBUTES, IntentWorkflow

ROOT = Path(__file__).parents[2]
LOOPBACK = "127.0.0.1"
HEARTBEAT_SECONDS = 1.0
CONNECTIONS_MAX = 90  # of the server; what a cell takes away is counted against it
TIMEOUTS = ActivityTimeouts(
    database_seconds=2,
    call_seconds=20,
    web_seconds=20,
    heartbeat_seconds=HEARTBEAT_SECONDS,
    heartbeat_every_seconds=0.2,
    retry_first_seconds=0.05,
    retry_longest_seconds=1,
    workflow_task_seconds=2,
    sticky_seconds=1,
)
SPEND = SpendSettings(call_timeout_seconds=3)
# Many workflows of one brief: that they want the same hubs is not what this is about.
SAME_BRIEF_AGAIN = ValidationSettings(compares_workflows=False)
FAMILIES = (
    ("harborline", "ledgerpilot", "payloom", "approvio"),
    ("tidewheel", "cogbase", "fleetpedal", "spokeward"),
)
TRADES = (
    "accounts payable automation to mid-size distributors whose finance teams receive many supplier invoices and want "
    "to approve, match and pay them on time without manual work",
    "cargo bikes, their maintenance and fleet software to city couriers and food shops that deliver within a few "
    "kilometres and want to replace their vans without losing a day of deliveries",
)


def small_brief(number: int) -> dict[str, Any]:
    """One short article for one of eight companies, whose competitors are the three others of its trade."""
    family, trade = FAMILIES[number % 2], TRADES[number % 2]
    name = family[number // 2 % 4]
    return {
        "organization": {
            "name": name.capitalize(),
            "url": f"https://{name}.example",
            "description": f"{name.capitalize()} sells {trade}.",
        },
        "competitors": [f"https://{other}.example" for other in family if other != name],
        "articles": {"max": 1, "min": 1, "words": 300},
        "publish": {"approval": "auto"},
        "cap_usd": "1.00",
    }


@dataclass
class Door:
    """A TCP address that stays while what is behind it changes."""

    port: int = 0
    target_port: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind_reader, behind_writer = await asyncio.open_connection(LOOPBACK, self.target_port)
        except OSError:
            writer.close()
            return
        ends = {writer, behind_writer}
        self._writers |= ends
        pipes = {
            asyncio.create_task(_pump(reader, behind_writer)),
            asyncio.create_task(_pump(behind_reader, writer)),
        }
        self._tasks |= pipes
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers -= ends
            self._tasks -= pipes
            for end in ends:
                end.close()
            for pipe in pipes:
                pipe.cancel()

    def cut_all(self) -> None:
        for writer in list(self._writers):
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def open_door() -> AsyncIterator[Door]:
    door = Door()
    server = await asyncio.start_server(door.serve, LOOPBACK, 0)
    door.port = server.sockets[0].getsockname()[1]
    try:
        yield door
    finally:
        server.close()
        door.cut_all()
        for task in list(door._tasks):
            task.cancel()
        await asyncio.gather(*door._tasks, return_exceptions=True)


@dataclass
class Stack:
    """Everything but workers. One at a time works on its servers."""

    folder: Path
    postgres: RunningPostgres
    temporal: RunningTemporal
    door: Door
    sandbox: RunningSandbox
    client: Client
    template: str
    strangers: set[str] = field(default_factory=set)  # attempts on the provider's bill whose database is gone

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.door.port}"

    async def restart_postgres(self, down_seconds: float = 0.0) -> None:
        """Stopped in the way that leaves everything to recovery, and started again on the same folder."""
        await self.postgres.stop(immediate=True)
        await asyncio.sleep(down_seconds)
        self.postgres = await _start_postgres(self.folder)

    async def restart_temporal(self, down_seconds: float = 0.0) -> None:
        """SIGKILL, and started again on its file."""
        self.temporal.kill()
        self.door.cut_all()
        await asyncio.sleep(down_seconds)
        self.temporal = await _start_temporal(self.folder)
        self.door.target_port = int(self.temporal.address.rpartition(":")[2])

    async def settings(self, dsn: str, name: str) -> Settings:
        return Settings(
            _env_file=None,
            state_dir=self.folder / "state",
            output_dir=self.folder / f"published-{name}",
            postgres_dsn=SecretStr(dsn),
            TEMPORAL_ADDRESS=self.address,
            sandbox_url=self.sandbox.url,
            task_queue=f"chaos-{name}",
            timeouts=TIMEOUTS,
            steps=StepSettings(spend=SPEND, validation=SAME_BRIEF_AGAIN),
            postgres_connections_max=16,
            drain_seconds=10,
            llm_api_key=None,
            OPENROUTER_API_KEY=None,
            OPENAI_API_KEY=None,
        )

    @asynccontextmanager
    async def pipeline(self, *, connections: int = 10) -> AsyncIterator[Pipeline]:
        """A database, a queue and a folder of its own."""
        name = await create_database(self.postgres, self.template)
        app_dsn, operator_dsn = self.postgres.dsn("infin8_app", name), self.postgres.dsn("infin8_operator", name)
        app = await Database.connect(app_dsn, size_min=0, size_max=connections)
        operator = await Database.connect(operator_dsn, size_min=0, size_max=3)
        admin_dsn = self.postgres.admin_dsn(name)
        database = TenantDatabase(name, app_dsn, operator_dsn, admin_dsn, app, operator, AdminSession(admin_dsn))
        settings = await self.settings(app_dsn, f"{name}-{uuid4().hex[:6]}")
        try:
            yield Pipeline(database, self.client, settings, self.sandbox, settings.output_dir)
        finally:
            rows = await database.admin.fetch("SELECT attempt_id FROM spend_attempts")
            self.strangers |= {str(row["attempt_id"]) for row in rows}
            await asyncio.gather(app.close(), operator.close())
            await drop_database(self.postgres, name)


async def _start_postgres(folder: Path) -> RunningPostgres:
    return await start_postgres(folder / "postgres", durable=True, max_connections=CONNECTIONS_MAX)


async def _start_temporal(folder: Path) -> RunningTemporal:
    return await start_temporal(
        folder / "temporal",
        database_file=folder / "temporal.db",
        search_attributes=SEARCH_ATTRIBUTES,
        ui=False,
    )


@asynccontextmanager
async def sandbox_process(folder: Path) -> AsyncIterator[RunningSandbox]:
    """In a process of its own: answers must not wait for the bench."""
    tie = [str(os.getpid()), "9", "-1", "-1"]
    serve = [sys.executable, "-m", "sandbox.server", "--state-dir", str(folder)]
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-I", "-S", str(EXEC_TIED), *tie, *serve],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with httpx2.AsyncClient() as http:
            identity = (await http.get(f"{url}/identity")).json()
        yield RunningSandbox(url=url, instance_id=identity["instance_id"], _runner=None)  # type: ignore[arg-type]
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def running_stack(folder: Path) -> AsyncIterator[Stack]:
    """All of it ends with the block."""
    async with AsyncExitStack() as exits:
        (folder / "postgres").mkdir(parents=True)
        postgres = await _start_postgres(folder)
        sandbox = await exits.enter_async_context(sandbox_process(folder / "sandbox"))
        door = await exits.enter_async_context(open_door())
        temporal = await _start_temporal(folder)
        door.target_port = int(temporal.address.rpartition(":")[2])
        template = await create_database(postgres)
        await migrate(postgres.admin_dsn(template))
        client = await worker.connect_temporal(
            Settings(_env_file=None, TEMPORAL_ADDRESS=f"{LOOPBACK}:{door.port}", sandbox_url=sandbox.url)
        )
        stack = Stack(folder, postgres, temporal, door, sandbox, client, template)
        try:
            yield stack
        finally:
            stack.temporal.kill()
            await stack.postgres.stop(immediate=True)
            remove_postgres(folder / "postgres")


@dataclass
class Crew:
    """Worker processes on one queue. They are killed when this process ends, however it ends."""

    environment: Mapping[str, str]
    folder: Path
    children: list[WorkerChild] = field(default_factory=list)

    def start(self, **changes: str) -> WorkerChild:
        log_file = self.folder / f"worker-{len(self.children) + 1}.log"
        tie = [str(os.getpid()), "9", "-1", "-1"]
        with log_file.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(EXEC_TIED), *tie, sys.executable, "-m", "worker"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env={**self.environment, **changes},
                start_new_session=True,
            )
        child = WorkerChild(process, log_file)
        self.children.append(child)
        return child

    @property
    def alive(self) -> list[WorkerChild]:
        return [child for child in self.children if child.process.poll() is None]

    async def end_all(self) -> None:
        for child in self.alive:
            child.process.kill()
        for child in self.children:
            await wait_for_exit(child.process, 10)


@asynccontextmanager
async def crew_of(pipeline: Pipeline, folder: Path) -> AsyncIterator[Crew]:
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  once, before anything runs
    environment = {
        **environment_of(pipeline.settings, None, folder),
        "PYTHONPATH": str(ROOT),
        "INFIN8_POSTGRES_CONNECTIONS_MAX": str(pipeline.settings.postgres_connections_max),
    }
    crew = Crew(environment, folder)
    try:
        yield crew
    finally:
        await crew.end_all()


async def create(pipeline: Pipeline, number: int, **changes: Any) -> Run:
    """A small workflow's row, without a run."""
    steps = pipeline.settings.step_settings(auto_approve_seeds=True)
    return await pipeline.create(steps=steps, **{**small_brief(number), **changes})


async def start(run: Run) -> None:
    """As ``starter.py start`` does it."""
    pipeline = run.pipeline
    async with pipeline.database.app.transaction(run.ref.organization_id) as connection:
        record = await load_workflow(connection, run.ref.workflow_id)
    assert record is not None
    arguments = run_arguments(pipeline.settings, record)
    await pipeline.client.start_workflow(IntentWorkflow.run, **arguments)


async def begin(pipeline: Pipeline, number: int, **changes: Any) -> Run:
    run = await create(pipeline, number, **changes)
    await start(run)
    return run


async def set_faults(sandbox_url: str, *rules: Mapping[str, Any], seed: int) -> None:
    async with httpx2.AsyncClient() as http:
        answer = await http.post(f"{sandbox_url}/faults", json={"seed": seed, "rules": list(rules)})
        answer.raise_for_status()


def seeded(seed: int, *names: object) -> random.Random:
    """A stream of its own for each part of a schedule: one part's draws don't move another's."""
    return random.Random("/".join(map(str, (seed, *names))))
