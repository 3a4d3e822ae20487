"""The whole pipeline in one process: real Postgres and Temporal, the sandbox over HTTP, workers on their own queues."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr
from temporalio.client import Client, WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

import worker
from activities.case import load_case, progress_of
from config import Settings
from db.workflows import NewWorkflow, create_workflow
from domain.brief import Brief, brief_from_mapping, brief_hash, normalized
from domain.identifiers import bare_domain, organization_id_of, temporal_workflow_id, workflow_id_of
from domain.progress import Progress, WorkflowRef
from domain.settings import ActivityTimeouts, StepSettings, ValidationSettings
from domain.states import State, Status, is_terminal, status_of
from sandbox.server import RunningSandbox, start_sandbox_server
from sandbox.temporal import RunningTemporal, start_temporal
from tests.conftest import TenantDatabase
from workflows.intent import SEARCH_ATTRIBUTES, IntentInput, IntentWorkflow

FAST = ActivityTimeouts(
    database_seconds=5,
    call_seconds=60,
    web_seconds=30,
    heartbeat_seconds=2,
    heartbeat_every_seconds=0.3,
    retry_first_seconds=0.05,
    retry_longest_seconds=1,
)
BRIEF: dict[str, Any] = {
    "organization": {
        "name": "Harborline",
        "url": "https://harborline.example",
        "description": (
            "Harborline sells accounts payable automation to mid-size distributors whose finance teams receive many "
            "supplier invoices and want to approve, match and pay them on time without manual work."
        ),
    },
    "competitors": ["https://ledgerpilot.example", "https://payloom.example", "https://approvio.example"],
    "articles": {"max": 2, "min": 1, "words": 600},
    "publish": {"approval": "auto"},
    "cap_usd": "1.00",
}


@pytest_asyncio.fixture(scope="session")
async def temporal() -> AsyncIterator[RunningTemporal]:
    folder = Path(tempfile.mkdtemp(prefix="infin8-temporal-"))
    server = await start_temporal(
        folder, database_file=folder / "temporal.db", search_attributes=SEARCH_ATTRIBUTES, ui=False
    )
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    """The paid providers of one test, with a bill and faults of their own."""
    server = await start_sandbox_server(tmp_path / "sandbox")
    yield server
    await server.stop()


@dataclass
class Run:
    """One workflow of a test: its row, its Temporal run, and what people do to it."""

    pipeline: "Pipeline"
    ref: WorkflowRef
    brief: Brief

    @property
    def temporal_id(self) -> str:
        return temporal_workflow_id(self.ref.organization_id, self.ref.workflow_id)

    @property
    def handle(self) -> WorkflowHandle[IntentWorkflow, Progress]:
        return self.pipeline.client.get_workflow_handle_for(IntentWorkflow.run, self.temporal_id)

    async def progress(self) -> Progress:
        async with self.pipeline.database.app.transaction(self.ref.organization_id) as connection:
            return await progress_of(connection, await load_case(connection, self.ref.workflow_id))

    async def reaches(self, *states: State, seconds: float = 40) -> Progress:
        """The row's progress once it is in one of these states; fails with where it stands instead."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            progress = await self.progress()
            if progress.state in states:
                return progress
            stuck = is_terminal(progress.state) or status_of(progress.state) is Status.FAILED
            if stuck or asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"wanted {states}, is in {progress.state}: {progress.failure}")
            await asyncio.sleep(0.05)

    async def update(self, name: str, decision: Any, *, update_id: str | None = None) -> Progress:
        start = WithStartWorkflowOperation(
            IntentWorkflow.run,
            self.start_input,
            id=self.temporal_id,
            task_queue=self.pipeline.settings.task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        result = await self.pipeline.client.execute_update_with_start_workflow(
            name,
            decision,
            start_workflow_operation=start,
            id=update_id or str(decision.decision_id),
            result_type=Progress,
        )
        return Progress.model_validate(result)

    async def decision(self, **facts: Any) -> dict[str, Any]:
        """What every decision carries: who, and the state and version that were shown."""
        progress = await self.progress()
        return {
            "decision_id": uuid4(),
            "actor": "reviewer@tests",
            "expected_state": progress.state,
            "expected_version": progress.version,
            **facts,
        }

    @property
    def start_input(self) -> IntentInput:
        return IntentInput(
            ref=self.ref,
            queue=self.pipeline.settings.task_queue,
            own_url=self.brief.organization.url,
            organization_name=self.brief.organization.name,
            timeouts=FAST,
        )

    async def start(self) -> WorkflowHandle[IntentWorkflow, Progress]:
        return await self.pipeline.client.start_workflow(
            IntentWorkflow.run,
            self.start_input,
            id=self.temporal_id,
            task_queue=self.pipeline.settings.task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )

    async def rows(self, query: str) -> list[Mapping[str, Any]]:
        """Rows of this workflow, read by the superuser; ``$1`` is its id."""
        return [dict(row) for row in await self.pipeline.database.admin.fetch(query, self.ref.workflow_id)]


@dataclass
class Pipeline:
    database: TenantDatabase
    client: Client
    settings: Settings
    sandbox: RunningSandbox
    output_dir: Path
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def begin(self, *, auto_approve: bool = True, steps: Any = None, **changes: Any) -> Run:
        """A workflow started from the test's brief with these changes."""
        run = await self.create(auto_approve=auto_approve, steps=steps, **changes)
        await run.start()
        return run

    async def create(self, *, auto_approve: bool = True, steps: Any = None, **changes: Any) -> Run:
        brief = brief_from_mapping({**BRIEF, **changes})
        organization_id = organization_id_of(brief.organization.url)
        name = f"run-{uuid4()}"
        stored = (steps or self.settings.step_settings(auto_approve_seeds=auto_approve)).model_dump(mode="json")
        new = NewWorkflow(
            workflow_id=workflow_id_of(organization_id, name),
            organization_id=organization_id,
            domain=bare_domain(brief.organization.url),
            organization_name=brief.organization.name,
            name=name,
            brief=normalized(brief),
            brief_hash=brief_hash(brief),
            settings=stored,
            started_by="tests",
            cap_usd=brief.cap_usd,
        )
        async with self.database.app.transaction(organization_id) as connection:
            await create_workflow(connection, new)
        return Run(self, WorkflowRef(workflow_id=new.workflow_id, organization_id=organization_id), brief)

    async def faults(self, *rules: Mapping[str, Any], seed: int = 7) -> None:
        async with httpx2.AsyncClient() as http:
            answer = await http.post(f"{self.sandbox.url}/faults", json={"seed": seed, "rules": list(rules)})
            answer.raise_for_status()

    async def no_faults(self) -> None:
        async with httpx2.AsyncClient() as http:
            (await http.delete(f"{self.sandbox.url}/faults")).raise_for_status()

    async def bill(self) -> dict[UUID, Decimal]:
        """What the provider charged, by attempt."""
        async with httpx2.AsyncClient() as http:
            lines = (await http.get(f"{self.sandbox.url}/bill")).json()
        charged: dict[UUID, Decimal] = {}
        for line in lines:
            attempt_id = UUID(line["client_request_id"])
            assert attempt_id not in charged, f"{attempt_id} was sent twice"
            charged[attempt_id] = Decimal(line["cost_usd"])
        return charged


async def assert_books_balance(run: Run) -> None:
    """The ledger is checked against the provider's own bill, never against itself."""
    bill = await run.pipeline.bill()
    attempts = await run.rows("SELECT attempt_id, state, hold_usd FROM spend_attempts WHERE workflow_id = $1")
    ledger = {
        row["attempt_id"]: row["cost"]
        for row in await run.rows(
            "SELECT attempt_id, sum(cost) AS cost FROM ai_usage_ledger WHERE workflow_id = $1 GROUP BY attempt_id"
        )
    }
    states = {row["attempt_id"]: row["state"] for row in attempts}
    assert set(bill) <= set(states), "a bill line belongs to no attempt"
    for row in attempts:
        charged = bill.get(row["attempt_id"], Decimal(0))
        match row["state"]:
            case "SETTLED" | "NOT_BILLED":
                assert ledger[row["attempt_id"]] == charged
            case "UNKNOWN":
                assert row["hold_usd"] >= charged
            case "REFUSED" | "VOIDED" | "EXPIRED":
                assert charged == 0
            case other:
                raise AssertionError(f"{row['attempt_id']} is left {other}")
    (counters,) = await run.rows("SELECT spent_usd, held_usd, cap_usd FROM intent_workflows WHERE id = $1")
    open_holds = sum((row["hold_usd"] for row in attempts if row["state"] == "UNKNOWN"), Decimal(0))
    assert counters["spent_usd"] == sum(ledger.values(), Decimal(0))
    assert counters["held_usd"] == open_holds
    assert counters["spent_usd"] + counters["held_usd"] <= counters["cap_usd"]


StartWorkers = Callable[..., Awaitable[None]]


@asynccontextmanager
async def running_workers(pipeline: Pipeline, roles: Collection[worker.Role] = worker.ALL_ROLES) -> AsyncIterator[None]:
    """Workers until the block ends; they drain then."""
    stop = asyncio.Event()
    process = worker.WorkerProcess(pipeline.settings, pipeline.client, pipeline.database.app)
    async with process.workers(list(roles)) as workers:
        running = asyncio.create_task(worker.run_until_stopped(workers, stop))
        try:
            yield
        finally:
            stop.set()
            await running


@pytest_asyncio.fixture
async def idle_pipeline(
    database: TenantDatabase, temporal: RunningTemporal, sandbox: RunningSandbox, tmp_path: Path
) -> Pipeline:
    """Everything but workers."""
    settings = Settings(
        _env_file=None,
        state_dir=tmp_path / "state",
        output_dir=tmp_path / "published",
        postgres_dsn=SecretStr(database.app_dsn),
        TEMPORAL_ADDRESS=temporal.address,
        sandbox_url=sandbox.url,
        task_queue=f"tests-{uuid4()}",
        timeouts=FAST,
        drain_seconds=20,
        steps=StepSettings(validation=ValidationSettings(compares_workflows=False)),
        llm_api_key=None,
        OPENROUTER_API_KEY=None,
        OPENAI_API_KEY=None,
    )
    client = await worker.connect_temporal(settings)
    return Pipeline(database, client, settings, sandbox, tmp_path / "published")


@pytest_asyncio.fixture
async def pipeline(idle_pipeline: Pipeline) -> AsyncIterator[Pipeline]:
    async with running_workers(idle_pipeline):
        yield idle_pipeline


@pytest.fixture
def books_balance() -> Callable[[Run], Awaitable[None]]:
    return assert_books_balance
