"""Worker processes as they are run in earnest, what holds a run still in the middle of a step, and the final checks."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx2
import pytest_asyncio
from pydantic import SecretStr
from temporalio.client import WorkflowExecutionStatus

import worker
from commands.runs import run_arguments
from config import Settings
from db.pool import Database
from db.workflows import load_workflow
from domain.settings import ActivityTimeouts, StepSettings, ValidationSettings
from domain.states import LEGAL_TRANSITIONS, State
from sandbox.postgres import RunningPostgres
from sandbox.processes import EXEC_TIED, end_child, wait_for_exit
from sandbox.server import RunningSandbox, start_sandbox_server
from sandbox.temporal import RunningTemporal, start_temporal
from tests.conftest import AdminSession, TenantDatabase
from tests.workflows.conftest import Pipeline, Run
from workflows.intent import SEARCH_ATTRIBUTES, IntentWorkflow

ROOT = Path(worker.__file__).parent
TIMEOUTS = ActivityTimeouts(
    database_seconds=2,
    call_seconds=30,
    web_seconds=20,
    heartbeat_seconds=1,
    heartbeat_every_seconds=0.2,
    retry_first_seconds=0.05,
    retry_longest_seconds=1,
    workflow_task_seconds=2,
    sticky_seconds=1,
)
POLL_SECONDS = 0.03
PATIENCE_SECONDS = 60.0
LOG_CHARACTERS_SHOWN = 3_000

AnyT = TypeVar("AnyT")


async def eventually(probe: Callable[[], Awaitable[AnyT]], what: str, seconds: float = PATIENCE_SECONDS) -> AnyT:
    """What the probe gives once it is true; fails saying what was waited for and what it gave last."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = await probe()
        if found:
            return found
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what}; the last look gave {found!r}")
        await asyncio.sleep(POLL_SECONDS)


# Worker processes ---------------------------------------------------------------------------------------------------


@dataclass
class WorkerChild:
    """A process of ``worker.py``. It is killed when this process ends, however it ends."""

    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def tail(self) -> str:
        return self.log[-LOG_CHARACTERS_SHOWN:]

    async def is_up(self) -> "WorkerChild":
        async def says_so() -> bool:
            assert self.process.poll() is None, f"the worker ended by itself: {self.tail}"
            return "worker up" in self.log

        await eventually(says_so, "a worker to come up")
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL: no instruction of the worker runs after it."""
        self.process.kill()
        assert await wait_for_exit(self.process, PATIENCE_SECONDS)

    async def ends(self) -> int:
        """Its exit code, when it ends by itself."""
        assert await wait_for_exit(self.process, PATIENCE_SECONDS), f"the worker does not end: {self.tail}"
        return int(self.process.returncode)


@dataclass
class Workers:
    """Starts worker processes for one pipeline, with everything in their environment and nothing of ours."""

    environment: Mapping[str, str]
    folder: Path
    children: list[WorkerChild] = field(default_factory=list)

    def start(self, **changes: str) -> WorkerChild:
        log_file = self.folder / f"worker-{len(self.children) + 1}.log"
        tie = [str(os.getpid()), str(signal.SIGKILL.value), "-1", "-1"]
        with log_file.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(EXEC_TIED), *tie, sys.executable, str(ROOT / "worker.py")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env={**self.environment, **changes},
                start_new_session=True,
            )
        child = WorkerChild(process, log_file)
        self.children.append(child)
        return child

    async def end_all(self) -> None:
        for child in self.children:
            child.signal(signal.SIGCONT)
            await end_child(child.process, ())


def environment_of(settings: Settings, admin_dsn: str | None, home: Path) -> dict[str, str]:
    """The variables that a person who deploys a worker would set."""
    assert settings.postgres_dsn is not None
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TEMPORAL_ADDRESS": str(settings.temporal_address),
        "INFIN8_POSTGRES_DSN": settings.postgres_dsn.get_secret_value(),
        "INFIN8_STATE_DIR": str(settings.state_dir),
        "INFIN8_SANDBOX_URL": str(settings.sandbox_url),
        "INFIN8_TASK_QUEUE": settings.task_queue,
        "INFIN8_OUTPUT_DIR": str(settings.output_dir),
        "INFIN8_DRAIN_SECONDS": f"{settings.drain_seconds:g}",
        "INFIN8_EMBEDDINGS": "none",  # the model is loaded for a run that uses it; most of these live for seconds
    }
    if admin_dsn is not None:
        environment["INFIN8_POSTGRES_ADMIN_DSN"] = admin_dsn
    for name, value in settings.timeouts.model_dump().items():
        environment[f"INFIN8_TIMEOUTS__{name.upper()}"] = f"{value:g}"
    return environment


# The stack ----------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="session", name="temporal")
async def temporal_of_session() -> AsyncIterator[RunningTemporal]:
    folder = Path(tempfile.mkdtemp(prefix="infin8-temporal-"))
    server = await start_temporal(
        folder, database_file=folder / "temporal.db", search_attributes=SEARCH_ATTRIBUTES, ui=False
    )
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(name="sandbox")
async def sandbox_of_test(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    server = await start_sandbox_server(tmp_path / "sandbox")
    yield server
    await server.stop()


def settings_for(database_dsn: str, temporal: RunningTemporal, sandbox: RunningSandbox, folder: Path) -> Settings:
    return Settings(
        _env_file=None,
        state_dir=folder / "state",
        output_dir=folder / "published",
        postgres_dsn=SecretStr(database_dsn),
        TEMPORAL_ADDRESS=temporal.address,
        sandbox_url=sandbox.url,
        task_queue=f"e2e-{uuid4()}",
        timeouts=TIMEOUTS,
        drain_seconds=30,
        steps=StepSettings(validation=ValidationSettings(compares_workflows=False)),
        llm_api_key=None,
        OPENROUTER_API_KEY=None,
        OPENAI_API_KEY=None,
    )


@pytest_asyncio.fixture(name="pipeline")
async def pipeline_without_workers(
    database: TenantDatabase, temporal: RunningTemporal, sandbox: RunningSandbox, tmp_path: Path
) -> Pipeline:
    settings = settings_for(database.app_dsn, temporal, sandbox, tmp_path)
    client = await worker.connect_temporal(settings)
    return Pipeline(database, client, settings, sandbox, settings.output_dir)


@asynccontextmanager
async def pipeline_over(
    settings: Settings, postgres: RunningPostgres, name: str, sandbox: RunningSandbox
) -> AsyncIterator[Pipeline]:
    """A pipeline over a database that the workers themselves have migrated."""
    app_dsn, operator_dsn = postgres.dsn("infin8_app", name), postgres.dsn("infin8_operator", name)
    app = await Database.connect(app_dsn, size_min=0, size_max=5)
    operator = await Database.connect(operator_dsn, size_min=0, size_max=2)
    admin_dsn = postgres.admin_dsn(name)
    database = TenantDatabase(name, app_dsn, operator_dsn, admin_dsn, app, operator, AdminSession(admin_dsn))
    try:
        client = await worker.connect_temporal(settings)
        yield Pipeline(database, client, settings, sandbox, settings.output_dir)
    finally:
        await asyncio.gather(app.close(), operator.close())


@pytest_asyncio.fixture
async def workers(pipeline: Pipeline, tmp_path: Path) -> AsyncIterator[Workers]:
    crew = Workers(environment_of(pipeline.settings, None, tmp_path), tmp_path)
    yield crew
    await crew.end_all()


async def start(run: Run) -> None:
    """As ``starter.py start`` does it."""
    pipeline = run.pipeline
    async with pipeline.database.app.transaction(run.ref.organization_id) as connection:
        record = await load_workflow(connection, run.ref.workflow_id)
    assert record is not None
    await pipeline.client.start_workflow(IntentWorkflow.run, **run_arguments(pipeline.settings, record))


async def complete(runs: Sequence[Run]) -> None:
    """Every row is COMPLETED and every run has ended well."""
    for run in runs:
        await run.reaches(State.COMPLETED, seconds=PATIENCE_SECONDS)
        await asyncio.wait_for(run.handle.result(), PATIENCE_SECONDS)


async def begin(pipeline: Pipeline, **changes: Any) -> Run:
    run = await pipeline.create(**changes)
    await start(run)
    return run


# Holding a run still ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeldCall:
    """The first request of a kind is on its way and the provider takes its time."""

    pipeline: Pipeline
    schema: str
    slot: str
    seconds: float = 4.0

    async def arm(self) -> None:
        await self.pipeline.faults({"kind": "slow", "seconds": self.seconds, "schema": self.schema, "count": 1})

    async def reached(self) -> list[UUID]:
        """Attempts of the kind that are in flight, once the provider has the slow one."""

        async def in_flight() -> list[UUID]:
            if await fired(self.pipeline) == 0:
                return []
            rows = await self.pipeline.database.admin.fetch(
                "SELECT attempt_id, slot FROM spend_attempts WHERE state = 'DISPATCHED'"
            )
            return [row["attempt_id"] for row in rows if re.search(self.slot, row["slot"])]

        return await eventually(in_flight, f"a request of {self.schema} in flight")

    async def release(self) -> None:
        """The provider answers by itself, whoever listens."""


@dataclass(frozen=True)
class HeldSite:
    """A page of a competitor is being read and does not come."""

    pipeline: Pipeline
    site: str
    seconds: float = 4.0

    async def arm(self) -> None:
        await self.pipeline.faults({"kind": "slow", "seconds": self.seconds, "path": f"/sites/{self.site}", "count": 1})

    async def reached(self) -> int:
        return await eventually(lambda: fired(self.pipeline), f"a page of {self.site} being read")

    async def release(self) -> None:
        """The page comes by itself."""


HOLDS = {
    "clustering completes": (1, "intent_workflows", "NEW.state = 'CLUSTERING_COMPLETED'"),
    "validation completes": (2, "intent_workflows", "NEW.state = 'VALIDATION_COMPLETED'"),
    "an article is assembled": (3, "article_revisions", "OLD.document IS NULL AND NEW.document IS NOT NULL"),
    "a page is written and not noted": (4, "publications", "OLD.state = 'PENDING' AND NEW.state <> 'PENDING'"),
}


@dataclass
class HeldWrite:
    """A transaction waits in the middle of writing: what it has written so far is not committed."""

    admin: AdminSession
    name: str
    _connection: Any = None
    _exit: Any = None

    @property
    def number(self) -> int:
        return HOLDS[self.name][0]

    async def arm(self) -> None:
        self._exit = self.admin.connection()
        self._connection = await self._exit.__aenter__()
        await self._connection.execute("SELECT pg_advisory_lock($1)", self.number)

    async def reached(self) -> int:
        async def waiting() -> int:
            return int(
                await self._connection.fetchval(
                    """
                    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
                    WHERE locktype = 'advisory' AND objid = $1 AND NOT granted AND datname = current_database()
                    """,
                    self.number,
                )
            )

        return await eventually(waiting, f"the moment when {self.name}")

    async def release(self) -> None:
        if self._connection is not None:
            self._connection = None
            await self._exit.__aexit__(None, None, None)


async def install_holds(admin: AdminSession) -> None:
    """Triggers, in this test's own database, that wait for a lock which nobody holds unless a test does."""
    await admin.execute(
        """
        CREATE FUNCTION hold_here() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(TG_ARGV[0]::bigint);
            RETURN NEW;
        END
        $$
        """
    )
    for number, table, condition in HOLDS.values():
        await admin.execute(
            f"CREATE TRIGGER hold_{number} BEFORE UPDATE ON {table} FOR EACH ROW WHEN ({condition}) "
            f"EXECUTE FUNCTION hold_here({number})"
        )


async def fired(pipeline: Pipeline) -> int:
    """How often the faults in force have fired."""
    async with httpx2.AsyncClient() as http:
        facts = (await http.get(f"{pipeline.sandbox.url}/faults")).json()
    return sum(rule["fired"] for rule in facts["rules"])


# The final checks ---------------------------------------------------------------------------------------------------


async def assert_sound(pipeline: Pipeline, runs: Sequence[Run], *, paid_once: bool = True) -> None:
    """Books, audit, articles and pages of everything that this test's database holds."""
    await assert_books(pipeline)
    for run in runs:
        await assert_audit(run)
        await assert_written_once(run, paid_once=paid_once)
        assert (await run.handle.describe()).status is WorkflowExecutionStatus.COMPLETED
    await assert_published_once(pipeline, runs)


async def assert_books(pipeline: Pipeline) -> None:
    """The ledger against the provider's bill, the counters against the rows."""
    await bill_is_complete(pipeline)
    bill, admin = await pipeline.bill(), pipeline.database.admin
    attempts = {row["attempt_id"]: dict(row) for row in await admin.fetch("SELECT * FROM spend_attempts")}
    ledger = {
        row["attempt_id"]: row["cost"]
        for row in await admin.fetch("SELECT attempt_id, sum(cost) AS cost FROM ai_usage_ledger GROUP BY attempt_id")
    }
    assert set(bill) <= {id_ for id_, row in attempts.items() if row["dispatched_at"] is not None}
    for id_, row in attempts.items():
        charged = bill.get(id_, Decimal(0))
        match row["state"]:
            case "SETTLED" | "NOT_BILLED":
                assert ledger[id_] == charged, f"{row['slot']}: booked {ledger[id_]}, billed {charged}"
            case "UNKNOWN":
                assert row["hold_usd"] >= charged
                assert id_ not in ledger
            case "VOIDED" | "EXPIRED" | "REFUSED":
                assert charged == 0
            case other:
                raise AssertionError(f"{row['slot']} of claim {row['claim']} is left {other}")
    await assert_counters(admin, attempts, ledger)


async def bill_is_complete(pipeline: Pipeline) -> None:
    """A provider goes on with what a killed worker asked for, and charges it when it is done."""

    async def all_charged() -> bool:
        unknown = await pipeline.database.admin.fetch("SELECT attempt_id FROM spend_attempts WHERE state = 'UNKNOWN'")
        return {row["attempt_id"] for row in unknown} <= set(await pipeline.bill())

    await eventually(all_charged, "the provider to charge what was in flight", seconds=10)


async def assert_counters(
    admin: AdminSession, attempts: Mapping[UUID, Mapping[str, Any]], ledger: Mapping[UUID, Decimal]
) -> None:
    for row in await admin.fetch("SELECT id, spent_usd, held_usd, cap_usd FROM intent_workflows"):
        mine = [attempt for attempt in attempts.values() if attempt["workflow_id"] == row["id"]]
        spent = sum((ledger.get(one["attempt_id"], Decimal(0)) for one in mine), Decimal(0))
        held = sum((one["hold_usd"] for one in mine if one["state"] == "UNKNOWN"), Decimal(0))
        assert (row["spent_usd"], row["held_usd"]) == (spent, held)
        assert row["spent_usd"] + row["held_usd"] <= row["cap_usd"]
    months = await admin.fetch("SELECT sum(spent_usd) AS spent, sum(held_usd) AS held FROM organization_months")
    workflows = await admin.fetch("SELECT sum(spent_usd) AS spent, sum(held_usd) AS held FROM intent_workflows")
    assert dict(months[0]) == dict(workflows[0])


async def assert_audit(run: Run) -> None:
    """Gapless, legal, and it folds to the state."""
    audit = await run.rows("SELECT * FROM workflow_transitions WHERE workflow_id = $1 ORDER BY seq")
    (row,) = await run.rows("SELECT state, version FROM intent_workflows WHERE id = $1")
    assert [entry["seq"] for entry in audit] == list(range(1, row["version"] + 1))
    assert all(before["to_state"] == after["from_state"] for before, after in pairwise(audit))
    assert audit[0]["from_state"] == State.CREATED
    assert audit[-1]["to_state"] == row["state"] == State.COMPLETED
    assert {(entry["from_state"], entry["to_state"]) for entry in audit} <= set(LEGAL_TRANSITIONS)


async def assert_written_once(run: Run, *, paid_once: bool) -> None:
    revisions = await run.rows(
        """
        SELECT article_id, articles.state, count(article_revisions) AS revisions
        FROM articles LEFT JOIN article_revisions USING (article_id)
        WHERE workflow_id = $1 GROUP BY article_id, articles.state
        """
    )
    assert revisions
    assert {(row["state"], row["revisions"]) for row in revisions} == {("PASSED", 1)}
    accepted_twice = await run.rows(
        """
        SELECT step, slot, count(*) AS times FROM spend_attempts
        WHERE workflow_id = $1 AND state = 'SETTLED' AND rejected_reason IS NULL
        GROUP BY step, slot HAVING count(*) > 1
        """
    )
    assert accepted_twice == [] or not paid_once


async def assert_published_once(pipeline: Pipeline, runs: Sequence[Run]) -> None:
    """One page per article at its target, and no other."""
    slugs = []
    for run in runs:
        rows = await run.rows(
            """
            SELECT publications.slug, publications.state FROM articles LEFT JOIN publications USING (article_id)
            WHERE articles.workflow_id = $1
            """
        )
        assert {row["state"] for row in rows} <= {"PUBLISHED", "UNCHANGED"}
        slugs += [row["slug"] for row in rows]
    pages = [page.stem for page in pipeline.output_dir.rglob("*.html") if page.name != "index.html"]
    assert sorted(pages) == sorted(slugs)
