"""Cells of the fault bench through real worker processes: every run ends, and the books, the audit and the pages agree.

The schedule is drawn from ``INFIN8_CHAOS_SEED`` (7 unless set): other seeds and other moments give the same zeroes.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from domain.states import State
from sandbox.postgres import socket_dsn
from tests.chaos.holds import Holder, install_holds
from tests.chaos.mending import finish, look_at_all
from tests.chaos.postgres_proxy import PostgresProxy, postgres_proxy
from tests.chaos.stack import Crew, Stack, begin, create, crew_of, running_stack, seeded, set_faults, start
from tests.e2e.conftest import eventually, fired
from tests.workflows.conftest import Pipeline, Run

SEED = int(os.environ.get("INFIN8_CHAOS_SEED", "7"))
FINISH_SECONDS = 150.0
CRASH_POINTS = (
    "before authorize commits",
    "after authorize commits",
    "before its storing",
    "before settle commits",
    "before the transition commits",
    "after the transition commits",
)
PUBLISHING = ("before the intent to publish", "page written, not noted", "site written, not completed")

pytestmark = pytest.mark.timeout(400)


@pytest_asyncio.fixture(scope="module")
async def stack() -> AsyncIterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    async with running_stack(folder) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture
async def pipeline(stack: Stack) -> AsyncIterator[Pipeline]:
    async with stack.pipeline() as made:
        await made.no_faults()
        yield made


@pytest_asyncio.fixture
async def crew(stack: Stack, pipeline: Pipeline) -> AsyncIterator[Crew]:
    async with crew_of(pipeline, stack.folder / pipeline.database.name) as made:
        yield made


async def started(pipeline: Pipeline, count: int, **changes: Any) -> list[Run]:
    return [await begin(pipeline, number, **changes) for number in range(count)]


async def all_sound(stack: Stack, pipeline: Pipeline, runs: Sequence[Run]) -> list[str]:
    """Every run ends (the actions that this took come back), and nothing is wrong with anything."""
    actions = await asyncio.gather(*(finish(run, FINISH_SECONDS) for run in runs))
    findings, _ = await look_at_all(pipeline, stack.strangers)
    assert findings.violations == []
    assert findings.unknown_open == 0
    return [action for taken in actions for action in taken]


def at_random(*names: object, low: float, high: float) -> float:
    return seeded(SEED, *names).uniform(low, high)


# Crash points -------------------------------------------------------------------------------------------------------


async def test_sigkill_at_every_crash_point_first_try_and_retry(stack: Stack, pipeline: Pipeline, crew: Crew) -> None:
    """Fourteen cells: six runs stand at their moments, a seventh's request is with the provider; two kills hit all."""
    await install_holds(pipeline.database.admin)
    await set_faults(
        stack.sandbox.url, {"kind": "slow", "schema": "competitor_labels", "seconds": 6, "count": 2}, seed=SEED
    )
    async with Holder(pipeline.database.admin) as holder:
        in_flight = await begin(pipeline, 7)
        runs = []
        for number, moment in enumerate(seeded(SEED, "crash points").sample(CRASH_POINTS, len(CRASH_POINTS))):
            run = await create(pipeline, number)
            await holder.hold(moment, run.ref.workflow_id)
            runs.append(run)
        for run in runs:
            await start(run)
        for kill in (1, 2):
            child = crew.start()

            async def requested(times: int = kill) -> bool:
                return await fired(pipeline) >= times

            await eventually(requested, "a request with the provider")
            await holder.all_reached()
            await asyncio.sleep(at_random("kill", kill, low=0, high=0.3))
            await child.kill()
            await holder.cut_waiting()
        await holder.release()
        crew.start()
        await all_sound(stack, pipeline, [in_flight, *runs])
    sent_again = await in_flight.rows("SELECT ask FROM spend_attempts WHERE workflow_id = $1 AND slot LIKE '%labels'")
    assert len(sent_again) == 3  # two were torn away, each next ask is an attempt of its own


async def test_killed_around_publishing(stack: Stack, pipeline: Pipeline, crew: Crew) -> None:
    """Three cells: the target took the page and nobody noted it; one page, not two."""
    await install_holds(pipeline.database.admin)
    async with Holder(pipeline.database.admin) as holder:
        runs = []
        for number, moment in enumerate(PUBLISHING):
            run = await create(pipeline, number)
            await holder.hold(moment, run.ref.workflow_id)
            await start(run)
            runs.append(run)
        child = crew.start()
        await holder.all_reached()
        await child.kill()
        await holder.cut_waiting()
        await holder.release()
        crew.start()
        assert await all_sound(stack, pipeline, runs) == []


# Kills and zombies --------------------------------------------------------------------------------------------------


async def test_killed_every_one_to_three_seconds(stack: Stack, pipeline: Pipeline, crew: Crew) -> None:
    runs = await started(pipeline, 5)
    draws = seeded(SEED, "repeated kills")
    await crew.start().is_up()
    for _ in range(5):
        fresh = crew.start()
        await asyncio.sleep(draws.uniform(1, 3))
        victim = next(child for child in crew.alive if child is not fresh)
        await victim.kill()
    await all_sound(stack, pipeline, runs)


async def test_zombie_with_a_request_in_flight(stack: Stack, pipeline: Pipeline, crew: Crew) -> None:
    """Its late answer is booked on the attempt it was for; the run has gone on with another."""
    await set_faults(stack.sandbox.url, {"kind": "slow", "schema": "icp", "seconds": 1.5, "count": 1}, seed=SEED)
    run = await begin(pipeline, 0)
    zombie = crew.start()

    async def requested() -> bool:
        return await fired(pipeline) > 0

    await eventually(requested, "a request with the provider")
    zombie.signal(signal.SIGSTOP)
    crew.start()

    async def taken_over() -> bool:
        return bool(await run.rows("SELECT 1 FROM spend_attempts WHERE workflow_id = $1 AND state = 'UNKNOWN'"))

    await eventually(taken_over, "another worker to take over")
    await asyncio.sleep(at_random("zombie", low=0.5, high=2))
    zombie.signal(signal.SIGCONT)
    assert await all_sound(stack, pipeline, [run]) == []
    first = await run.rows("SELECT state FROM spend_attempts WHERE workflow_id = $1 AND slot = 'icp' AND ask = 1")
    assert [row["state"] for row in first] == ["SETTLED"]


async def test_zombie_in_the_middle_of_a_transition(stack: Stack, pipeline: Pipeline, crew: Crew) -> None:
    await install_holds(pipeline.database.admin)
    async with Holder(pipeline.database.admin) as holder:
        run = await create(pipeline, 1)
        await holder.hold("before the transition commits", run.ref.workflow_id)
        await start(run)
        zombie = crew.start()
        await holder.all_reached()
        zombie.signal(signal.SIGSTOP)
        crew.start()
        await asyncio.sleep(at_random("zombie transition", low=2.5, high=4))
        await holder.release()
        await asyncio.sleep(at_random("zombie wakes", low=0.5, high=2))
        zombie.signal(signal.SIGCONT)
        assert await all_sound(stack, pipeline, [run]) == []


async def test_cancelled_while_its_worker_dies(stack: Stack, pipeline: Pipeline, crew: Crew) -> None:
    await set_faults(stack.sandbox.url, {"kind": "slow", "schema": "icp", "seconds": 2, "count": 1}, seed=SEED)
    run = await begin(pipeline, 3)
    child = crew.start()

    async def requested() -> bool:
        return await fired(pipeline) > 0

    await eventually(requested, "a request with the provider")
    await run.handle.cancel()
    await child.kill()
    crew.start()
    assert await all_sound(stack, pipeline, [run]) == []
    assert (await run.progress()).state is State.CANCELLED


# Servers ------------------------------------------------------------------------------------------------------------


async def test_postgres_stopped_immediately(stack: Stack, pipeline: Pipeline, crew: Crew) -> None:
    """Two cells: in the middle of anything, and with requests in flight."""
    runs = await started(pipeline, 4)
    await crew.start().is_up()
    draws = seeded(SEED, "postgres")
    await asyncio.sleep(draws.uniform(0.5, 2))
    await stack.restart_postgres(down_seconds=draws.uniform(0, 1))
    slow = {"kind": "slow", "schema": "article_section", "seconds": 1.5, "count": 3}
    await set_faults(stack.sandbox.url, slow, seed=SEED)

    async def requested() -> bool:
        return await fired(pipeline) > 0

    await eventually(requested, "a request with the provider")
    await stack.restart_postgres(down_seconds=draws.uniform(1, 2))
    await all_sound(stack, pipeline, runs)


async def test_storm_of_terminated_sessions(stack: Stack, pipeline: Pipeline, crew: Crew) -> None:
    runs = await started(pipeline, 4)
    await crew.start().is_up()
    draws = seeded(SEED, "storm")
    for _ in range(20):
        await pipeline.database.admin.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND usename = 'infin8_app'
            """
        )
        await asyncio.sleep(draws.uniform(0.05, 0.5))
    await all_sound(stack, pipeline, runs)


async def test_all_connections_taken(stack: Stack, pipeline: Pipeline, crew: Crew) -> None:
    runs = await started(pipeline, 3)
    await crew.start().is_up()
    await asyncio.sleep(at_random("connections", low=0, high=1))
    async with taken_connections(pipeline) as taken:
        await pipeline.database.admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'infin8'"
        )
        await asyncio.sleep(0.3)
        await taken()
        await asyncio.sleep(3)
    await all_sound(stack, pipeline, runs)


@asynccontextmanager
async def taken_connections(pipeline: Pipeline) -> AsyncIterator[Any]:
    """Every slot that the application's role may have; called again it takes those that came free."""
    held: list[asyncpg.Connection[asyncpg.Record]] = []

    async def take() -> None:
        try:
            while True:
                held.append(await asyncpg.connect(pipeline.database.app_dsn))
        except (asyncpg.TooManyConnectionsError, asyncpg.PostgresError):
            return

    try:
        await take()
        yield take
    finally:
        for connection in held:
            connection.terminate()


async def test_temporal_killed_and_started_on_its_file(stack: Stack, pipeline: Pipeline, crew: Crew) -> None:
    """Two cells: at once, and after a while."""
    runs = await started(pipeline, 4)
    await crew.start().is_up()
    draws = seeded(SEED, "temporal")
    for down_seconds in (0, draws.uniform(1, 3)):
        await asyncio.sleep(draws.uniform(0.5, 2))
        await stack.restart_temporal(down_seconds)
    await all_sound(stack, pipeline, runs)


# The network --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["delays", "half-opens", "cuts", "loses the reply of COMMIT"])
async def test_network_between_worker_and_postgres(trouble: str, stack: Stack, pipeline: Pipeline, crew: Crew) -> None:
    async with AsyncExitStack() as exits:
        folder = stack.folder / f"p{len(trouble)}"
        proxy = await exits.enter_async_context(postgres_proxy(folder, stack.postgres.socket_dir))
        exits.push_async_callback(crew.end_all)
        runs = await started(pipeline, 2)
        dsn = socket_dsn(folder, "infin8_app", pipeline.database.name)
        await crew.start(INFIN8_POSTGRES_DSN=dsn).is_up()
        await make_trouble(proxy, trouble)
        await all_sound(stack, pipeline, runs)


async def make_trouble(proxy: PostgresProxy, trouble: str) -> None:
    draws = seeded(SEED, trouble)
    match trouble:
        case "delays":
            proxy.delay_seconds = draws.uniform(0.002, 0.008)
        case "half-opens":
            for _ in range(2):
                await asyncio.sleep(draws.uniform(0.5, 1.5))
                proxy.swallows = True
                await asyncio.sleep(draws.uniform(1, 4))
                proxy.swallows = False
        case "cuts":
            for _ in range(10):
                await asyncio.sleep(draws.uniform(0.1, 0.8))
                proxy.cut_all()
        case _:
            for _ in range(8):
                proxy.lost_replies_left = 1
                await asyncio.sleep(draws.uniform(0.2, 0.8))
            assert proxy.lost_replies >= 4


# Parked -------------------------------------------------------------------------------------------------------------


async def test_parked_runs_finish_by_what_their_card_says(stack: Stack, pipeline: Pipeline, crew: Crew) -> None:
    """Two cells: the provider is down for every model, and a cap that the worker's death leaves too small."""
    down = {"kind": "http_status", "status": 503, "schema": "icp", "count": 4}
    await set_faults(stack.sandbox.url, down, seed=SEED)
    without_provider = await begin(pipeline, 0)
    child = crew.start()

    async def parked() -> bool:
        return (await without_provider.progress()).state is State.ICP_FAILED

    await eventually(parked, "the run to park")
    without_money = await begin(pipeline, 1, cap_usd="0.03")
    await asyncio.sleep(at_random("parked", low=0.5, high=3))
    await child.kill()
    crew.start()
    actions = await all_sound(stack, pipeline, [without_provider, without_money])
    assert any("ICP_FAILED: starter.py retry" in action for action in actions)
    assert any("raise-cap" in action for action in actions)
