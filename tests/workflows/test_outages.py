"""Postgres, Temporal or the provider is gone for a while: a run pauses and heals, and no outage becomes a failure."""

import asyncio
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from temporalio.api.sdk.v1 import WorkflowMetadata

import worker
from domain.decisions import Retry, ReviewSeeds
from domain.seed_review import SeedDecision, SeedDecisionKind
from domain.states import State
from sandbox.processes import spawn_tied
from sandbox.server import RunningSandbox, start_sandbox_server
from sandbox.temporal import Ports, becomes_ready, choose_ports, find_binary, port_options, server_command
from tests.conftest import AdminSession
from tests.workflows.conftest import Pipeline, Run, running_workers
from workflows.intent import SEARCH_ATTRIBUTES

Check = Callable[[Run], Awaitable[None]]
SHORT: dict[str, Any] = {"articles": {"max": 1, "min": 1, "words": 400}}
PATIENCE_SECONDS = 60.0
OUTAGE_SECONDS = 3.0
LOOPBACK = "127.0.0.1"


async def eventually(probe: Callable[[], Awaitable[Any]], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = await probe()
        if found:
            return found
        assert asyncio.get_running_loop().time() < deadline, f"waited {seconds:g} s for {what}"
        await asyncio.sleep(0.03)


async def state_of(run: Run) -> State:
    """Asked by the superuser, who gets in when nobody else does."""
    (row,) = await run.rows("SELECT state FROM intent_workflows WHERE id = $1")
    return State(row["state"])


async def enters(run: Run, *states: State) -> None:
    async def is_there() -> bool:
        return await state_of(run) in states

    await eventually(is_there, f"{run.ref.workflow_id} to be in {', '.join(states)}")


async def attempts_of(run: Run, slot: str) -> list[str]:
    """States of a slot's attempts, in the order they were asked."""
    rows = await run.rows("SELECT slot, state FROM spend_attempts WHERE workflow_id = $1 ORDER BY claim, ask")
    return [row["state"] for row in rows if slot in row["slot"]]


async def assert_never_failed(run: Run) -> None:
    failed = await run.rows(
        r"SELECT seq, to_state, reason FROM workflow_transitions WHERE workflow_id = $1 AND to_state LIKE '%\_FAILED'"
    )
    assert failed == []


# Postgres -----------------------------------------------------------------------------------------------------------


async def test_sessions_are_killed_again_and_again(pipeline: Pipeline, books_balance: Check) -> None:
    """``pg_terminate_backend`` for every session of the application, forty times by seed, while the run works."""
    chance = random.Random(7)
    run = await pipeline.begin()
    killed = 0
    for _ in range(40):
        killed += await terminate_sessions(pipeline)
        if await state_of(run) is State.COMPLETED:
            break
        await asyncio.sleep(chance.uniform(0.05, 0.4))
    assert killed >= 10
    progress = await asyncio.wait_for(run.handle.result(), PATIENCE_SECONDS)
    assert progress.state is State.COMPLETED
    await assert_never_failed(run)
    await books_balance(run)


async def terminate_sessions(pipeline: Pipeline) -> int:
    rows = await pipeline.database.admin.fetch(
        """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND usename = 'infin8_app'
        """
    )
    return len(rows)


REFUSALS = {
    "too many connections": (
        'ALTER DATABASE "{name}" CONNECTION LIMIT 0',
        'ALTER DATABASE "{name}" CONNECTION LIMIT -1',
    ),
    "no connections allowed": (
        'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false',
        'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true',
    ),
    "login revoked": ("ALTER ROLE infin8_app NOLOGIN", "ALTER ROLE infin8_app LOGIN"),
}


@pytest.mark.parametrize("kind", list(REFUSALS))
async def test_every_connection_is_refused_for_a_while(pipeline: Pipeline, books_balance: Check, kind: str) -> None:
    """A paid call is in flight when it begins: its answer is kept until the database takes it."""
    await pipeline.faults({"kind": "slow", "seconds": 1.0, "schema": "icp"})
    run = await pipeline.begin(**SHORT)

    async def is_in_flight() -> bool:
        return await attempts_of(run, "icp") == ["DISPATCHED"]

    await eventually(is_in_flight, "the call to be in flight")
    async with refused_connections(pipeline, kind):

        async def is_billed() -> int:
            return len(await pipeline.bill())

        await eventually(is_billed, "the provider to answer")
        await asyncio.sleep(OUTAGE_SECONDS)  # the length of the outage, nothing is waited for
    progress = await asyncio.wait_for(run.handle.result(), PATIENCE_SECONDS)
    assert progress.state is State.COMPLETED
    assert await attempts_of(run, "icp") == ["SETTLED"]
    await assert_never_failed(run)
    await books_balance(run)


@asynccontextmanager
async def refused_connections(pipeline: Pipeline, kind: str) -> AsyncIterator[None]:
    refuse, allow = (statement.format(name=pipeline.database.name) for statement in REFUSALS[kind])
    server = AdminSession(pipeline.database.admin_dsn.replace(f"/{pipeline.database.name}?", "/postgres?"))
    await server.execute(refuse)
    try:
        await server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = 'infin8_app'",
            pipeline.database.name,
        )
        yield
    finally:
        await server.execute(allow)


async def test_an_outage_shows_what_waits_and_why(pipeline: Pipeline) -> None:
    """An activity that the database refuses is pending in Temporal's UI, with its attempts and its error."""
    run = await pipeline.begin(auto_approve=False, **SHORT)
    await run.reaches(State.SEED_REVIEW_PENDING)
    review = ReviewSeeds(**await run.decision(), seeds=SeedDecision(kind=SeedDecisionKind.APPROVE_ALL))
    async with refused_connections(pipeline, "too many connections"):
        deciding = asyncio.create_task(run.update("review_seeds", review))

        async def is_shown() -> bool:
            pending = (await run.handle.describe()).raw_description.pending_activities
            return any(
                one.activity_type.name == "apply_seed_review"
                and one.attempt >= 3
                and "the database is not available" in one.last_failure.message
                for one in pending
            )

        await eventually(is_shown, "the pending activity to say why", seconds=15)
    assert (await asyncio.wait_for(deciding, PATIENCE_SECONDS)).version > review.expected_version
    await run.reaches(State.COMPLETED)


# Temporal -----------------------------------------------------------------------------------------------------------


@dataclass
class MortalTemporal:
    """A server of this test's own that can be killed and started again on its file and its ports."""

    folder: Path
    ports: Ports
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.ports.frontend}"

    async def start(self) -> None:
        command = server_command(find_binary(), self.folder / "temporal.db", SEARCH_ATTRIBUTES, LOOPBACK)
        self.process = spawn_tied(
            [*command, *port_options(self.ports)],
            log_file=self.folder / "temporal.log",
            parent_death_signal=signal.SIGKILL,
            home=self.folder,
        )
        assert await becomes_ready(self.process, self.ports, SEARCH_ATTRIBUTES, LOOPBACK)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest_asyncio.fixture
async def mortal_temporal() -> AsyncIterator[MortalTemporal]:
    folder = Path(tempfile.mkdtemp(prefix="infin8-temporal-"))
    server = MortalTemporal(folder, choose_ports(LOOPBACK, ui=False, attempt=1))
    try:
        await server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


async def test_temporal_is_killed_and_started_again(
    idle_pipeline: Pipeline, mortal_temporal: MortalTemporal, books_balance: Check
) -> None:
    """A worker stays connected. It was killed while a call was in flight, and again while articles are written."""
    pipeline = idle_pipeline
    pipeline.settings = pipeline.settings.model_copy(update={"temporal_address": mortal_temporal.address})
    pipeline.client = await worker.connect_temporal(pipeline.settings)
    await pipeline.faults({"kind": "slow", "seconds": 1.0, "schema": "icp"})
    async with running_workers(pipeline):
        run = await pipeline.begin(**SHORT)

        async def is_in_flight() -> bool:
            return await attempts_of(run, "icp") == ["DISPATCHED"]

        async def is_answered() -> bool:
            return await attempts_of(run, "icp") == ["ANSWERED"]

        await eventually(is_in_flight, "the call to be in flight")
        mortal_temporal.kill()
        await eventually(is_answered, "the answer to be stored")
        await mortal_temporal.start()
        await enters(run, State.ARTICLE_PROCESSING)
        mortal_temporal.kill()
        await mortal_temporal.start()
        progress = await asyncio.wait_for(run.handle.result(), PATIENCE_SECONDS)
    assert progress.state is State.COMPLETED
    assert await attempts_of(run, "icp") == ["SETTLED"]
    await assert_never_failed(run)
    await books_balance(run)


# The provider -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def sandbox_down(pipeline: Pipeline, folder: Path) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Nobody listens at the provider's address until the yielded function is called; the bill is kept."""
    port = urlsplit(pipeline.sandbox.url).port
    assert port is not None
    await pipeline.sandbox.stop()
    started: list[RunningSandbox] = []

    async def come_back() -> None:
        started.append(await start_sandbox_server(folder / "sandbox", port=port))

    try:
        yield come_back
    finally:
        for server in started:
            await server.stop()


async def test_a_provider_that_is_away_for_seconds_is_asked_again(
    pipeline: Pipeline, books_balance: Check, tmp_path: Path
) -> None:
    """Refused connections are the proof that nothing was billed."""
    run = await pipeline.begin(auto_approve=False, **SHORT)
    await run.reaches(State.SEED_REVIEW_PENDING)
    async with sandbox_down(pipeline, tmp_path) as come_back:
        everything = SeedDecision(kind=SeedDecisionKind.APPROVE_ALL)
        await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=everything))

        async def was_asked_twice() -> bool:
            return await attempts_of(run, ":outline") == ["NOT_BILLED", "NOT_BILLED"]

        await eventually(was_asked_twice, "two refused connections")
        await come_back()
        await run.reaches(State.COMPLETED)
        outlines = await attempts_of(run, ":outline")
        assert set(outlines[:-1]) == {"NOT_BILLED"}
        assert outlines[-1] == "SETTLED"
        await assert_never_failed(run)
        await books_balance(run)


async def test_a_provider_that_stays_away_parks_the_run_until_a_retry(
    pipeline: Pipeline, books_balance: Check, tmp_path: Path
) -> None:
    """The card says what to do, and that finishes it, with the pages of the sites that could not be read before."""
    async with sandbox_down(pipeline, tmp_path) as come_back:
        run = await pipeline.begin(**SHORT)
        await enters(run, State.ICP_FAILED)
        parked = await run.progress()
        assert parked.failure is not None
        assert parked.failure.type == "ProviderUnavailableError"
        assert parked.spent_usd + parked.held_usd == 0
        assert await attempts_of(run, "icp") == ["NOT_BILLED"] * 4

        async def shows_the_command() -> bool:
            metadata = await run.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
            return f"starter.py retry {run.ref.workflow_id}" in metadata.current_details

        await eventually(shows_the_command, "the card to say what helps")
        await come_back()
        await run.update("retry", Retry(**await run.decision()))
        await run.reaches(State.COMPLETED)
        own = await run.rows("SELECT page_id FROM web_pages WHERE workflow_id = $1 AND is_own_site")
        assert own
        await books_balance(run)
