"""``kill -9`` of worker processes: whatever the moment, the run completes, and money, articles and pages add up."""

import asyncio
import random
import signal
from pathlib import Path

from domain.states import State
from sandbox.postgres import RunningPostgres
from sandbox.server import RunningSandbox
from sandbox.temporal import RunningTemporal
from tests.conftest import AdminSession
from tests.e2e.conftest import (
    HeldCall,
    HeldSite,
    HeldWrite,
    Workers,
    assert_sound,
    begin,
    complete,
    environment_of,
    eventually,
    install_holds,
    pipeline_over,
    settings_for,
)
from tests.workflows.conftest import Pipeline


async def test_killed_in_the_middle_of_every_step(pipeline: Pipeline, workers: Workers) -> None:
    """One run, and a new worker after each kill."""
    admin = pipeline.database.admin
    await install_holds(admin)
    moments: list[HeldSite | HeldCall | HeldWrite] = [
        HeldSite(pipeline, "harborline"),
        HeldCall(pipeline, "icp", r"^icp$"),
        HeldCall(pipeline, "competitor_labels", r"^competitor_labels$"),
        HeldWrite(admin, "clustering completes"),
        HeldWrite(admin, "validation completes"),
        HeldCall(pipeline, "article_outline", r":outline$"),
        HeldCall(pipeline, "article_section", r":section:\d+$"),
        HeldWrite(admin, "an article is assembled"),
        HeldWrite(admin, "a page is written and not noted"),
    ]
    await moments[0].arm()
    run = await begin(pipeline)
    for moment, following in zip(moments, [*moments[1:], None], strict=True):
        child = workers.start()
        await moment.reached()
        if following is not None:
            await following.arm()
        await child.kill()
        await moment.release()
    workers.start()
    await complete([run])
    unknown = await run.rows("SELECT slot FROM spend_attempts WHERE workflow_id = $1 AND state = 'UNKNOWN'")
    assert len(unknown) >= 4  # one call of each kind was torn away
    await assert_sound(pipeline, [run])


async def test_killed_at_random_times_under_load(pipeline: Pipeline, workers: Workers) -> None:
    """Three runs at once, two workers, eight kills by seed; the provider is slow, so that kills hit calls in flight."""
    chance = random.Random(20_260_729)
    await pipeline.faults({"kind": "slow", "seconds": 0.4, "path": "/v1/chat"})
    runs = [await begin(pipeline) for _ in range(3)]
    children = [workers.start(), workers.start()]
    await children[0].is_up()
    while_working = 0
    for _ in range(8):
        await asyncio.sleep(chance.uniform(0.3, 1.6))
        place = chance.randrange(2)
        while_working += any([(await run.progress()).state is not State.COMPLETED for run in runs])
        await children[place].kill()
        children[place] = workers.start()
    await complete(runs)
    assert while_working >= 5
    await assert_sound(pipeline, runs)


async def test_sigterm_finishes_what_is_paid_for(pipeline: Pipeline, workers: Workers) -> None:
    """The call in flight is answered and stored, nothing new is taken, the process ends well."""
    call = HeldCall(pipeline, "icp", r"^icp$", seconds=2.5)
    await call.arm()
    run = await begin(pipeline)
    child = workers.start()
    (attempt_id,) = await call.reached()
    child.signal(signal.SIGTERM)
    assert await child.ends() == 0
    (attempt,) = await run.rows("SELECT attempt_id, state FROM spend_attempts WHERE workflow_id = $1")
    assert attempt["attempt_id"] == attempt_id
    assert attempt["state"] in ("ANSWERED", "SETTLED")
    workers.start()
    await complete([run])
    asks = await run.rows("SELECT ask, state FROM spend_attempts WHERE workflow_id = $1 AND slot = 'icp'")
    assert asks == [{"ask": 1, "state": "SETTLED"}]
    await assert_sound(pipeline, [run])


async def test_a_stopped_worker_is_fenced_off_when_it_wakes(pipeline: Pipeline, workers: Workers) -> None:
    """It was stopped in the middle of one run's paid call and of another's transaction, and a second worker took over.

    The transaction's session is ended by the server's own time limit, so that the row is free for the next. The late
    answer is booked once. Nothing else of the zombie counts.
    """
    await install_holds(pipeline.database.admin)
    write = HeldWrite(pipeline.database.admin, "clustering completes")
    await write.arm()
    writing = await begin(pipeline, articles={"max": 1, "min": 1, "words": 400})
    zombie = workers.start()
    await write.reached()
    call = HeldCall(pipeline, "icp", r"^icp$", seconds=1.0)
    await call.arm()
    calling = await begin(pipeline, articles={"max": 1, "min": 1, "words": 400})
    (attempt_id,) = await call.reached()
    zombie.signal(signal.SIGSTOP)
    workers.start()
    await write.release()

    async def both_moved_on() -> bool:
        states = [(await run.progress()).state for run in (calling, writing)]
        return states[0] is not State.ICP_PROCESSING and states[1] is not State.CLUSTERING_PROCESSING

    await eventually(both_moved_on, "another worker to complete both steps")
    assert await _state_of(pipeline, attempt_id) == "UNKNOWN"
    zombie.signal(signal.SIGCONT)

    async def booked() -> bool:
        return await _state_of(pipeline, attempt_id) == "SETTLED"

    await eventually(booked, "the late answer to be booked")
    zombie.signal(signal.SIGTERM)
    assert await zombie.ends() == 0
    await complete([calling, writing])
    bookings = await calling.rows("SELECT attempt_id, entry FROM ai_usage_ledger WHERE workflow_id = $1")
    assert [row["entry"] for row in bookings if row["attempt_id"] == attempt_id] == ["usage"]
    await assert_sound(pipeline, [calling, writing], paid_once=False)


async def test_three_workers_at_once_on_an_unmigrated_database(
    postgres: RunningPostgres, empty_database: str, temporal: RunningTemporal, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    """All come up, and the migrations ran once. One is killed in a call; the others go on with what it had begun."""
    admin = AdminSession(postgres.admin_dsn(empty_database))
    settings = settings_for(postgres.dsn("infin8_app", empty_database), temporal, sandbox, tmp_path)
    workers = Workers(environment_of(settings, admin.dsn, tmp_path), tmp_path)
    try:
        children = [workers.start() for _ in range(3)]
        for child in children:
            await child.is_up()
        assert sum("migrated" in child.log for child in children) == 1
        async with pipeline_over(settings, postgres, empty_database, sandbox) as pipeline:
            call = HeldCall(pipeline, "article_outline", r":outline$")
            await call.arm()
            runs = [await begin(pipeline, articles={"max": 1, "min": 1, "words": 400}) for _ in range(2)]
            await call.reached()
            await children[0].kill()
            await complete(runs)
            await assert_sound(pipeline, runs)
    finally:
        await workers.end_all()


async def _state_of(pipeline: Pipeline, attempt_id: object) -> str:
    return str(
        await pipeline.database.admin.fetchval("SELECT state FROM spend_attempts WHERE attempt_id = $1", attempt_id)
    )
