"""While a run waits for a person it says so: by timer, once per wait and number, and to a webhook if there is one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import SecretStr
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

import worker
from db.reminders import load_waiting, waiting_ids
from domain.decisions import ApproveArticles, Retry, ReviewSeeds
from domain.progress import Progress
from domain.reminders import reminder_id_of
from domain.seed_review import SeedDecision, SeedDecisionKind
from domain.settings import ReminderSettings, StepSettings
from domain.states import State
from tests.workflows.conftest import Pipeline, Run, running_workers
from workflows.intent import IntentWorkflow

APPROVE_ALL = SeedDecision(kind=SeedDecisionKind.APPROVE_ALL)
EAGER = ReminderSettings(first_after_seconds=0.3, every_seconds=0.3, reminders_max=3)
REMINDERS = "SELECT * FROM reminders WHERE workflow_id = $1 ORDER BY version, number"


@dataclass
class Listener:
    """Something at the other end of a webhook; ``status`` is what it answers."""

    url: str = ""
    status: int = 200
    told: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.told.append(await request.json())
        self.keys.append(request.headers["Idempotency-Key"])
        return web.Response(status=self.status)


@pytest_asyncio.fixture
async def listener() -> AsyncIterator[Listener]:
    found, app = Listener(), web.Application()
    app.router.add_post("/hooks/s3cr3t-token", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/s3cr3t-token"
    yield found
    await runner.cleanup()


def eager(pipeline: Pipeline, reminders: ReminderSettings = EAGER, *, auto_approve: bool = False) -> StepSettings:
    steps = pipeline.settings.step_settings(auto_approve_seeds=auto_approve)
    return steps.model_copy(update={"reminders": reminders})


def with_webhook(pipeline: Pipeline, url: str) -> None:
    pipeline.settings = pipeline.settings.model_copy(update={"reminder_webhook_url": SecretStr(url)})


async def reminded(run: Run, times: int, seconds: float = 30) -> Progress:
    """The row's progress once so many reminders of its present wait are recorded."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        progress = await run.progress()
        if progress.waiting is not None and progress.waiting.reminders >= times:
            return progress
        assert asyncio.get_running_loop().time() < deadline, progress.waiting
        await asyncio.sleep(0.05)


async def goes_on(run: Run, seconds: float = 30) -> None:
    """The decision was taken, and the run has begun the next step."""
    await until(lambda: _is_past_review(run), seconds)


async def _is_past_review(run: Run) -> bool:
    return (await run.progress()).state not in (State.SEED_REVIEW_PENDING, State.SEED_REVIEW_COMPLETED)


async def until(condition: Any, seconds: float = 30) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)


async def test_a_waiting_review_is_said_so_often_and_no_more(idle_pipeline: Pipeline, listener: Listener) -> None:
    with_webhook(idle_pipeline, listener.url)
    async with running_workers(idle_pipeline):
        run = await idle_pipeline.begin(auto_approve=False, steps=eager(idle_pipeline))
        await run.reaches(State.SEED_REVIEW_PENDING)
        progress = await reminded(run, 3)
        await until(lambda: _is(len(listener.told) == 3))
        rows = await run.rows(REMINDERS)
        assert [row["number"] for row in rows] == [1, 2, 3]
        assert {row["version"] for row in rows} == {progress.version}
        assert progress.waiting is not None
        assert "reminded 3 times" in progress.waiting.words
        assert [one["number"] for one in listener.told] == [1, 2, 3]
        assert listener.keys == [str(row["reminder_id"]) for row in rows]
        told = listener.told[0]
        assert told["waiting_for"] == "review"
        assert told["workflow_id"] == str(run.ref.workflow_id)
        assert told["next_command"] == f"starter.py review {run.ref.workflow_id}"
        assert "s3cr3t" not in str(listener.told)
        await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=APPROVE_ALL))
        await goes_on(run)
        assert len(await run.rows(REMINDERS)) == 3


async def _is(value: bool) -> bool:
    return value


async def test_approval_and_a_failed_step_remind_too_each_from_one(pipeline: Pipeline) -> None:
    await pipeline.faults({"kind": "schema_violation", "schema": "icp"})
    run = await pipeline.begin(steps=eager(pipeline, auto_approve=True), publish={"approval": "person"})
    await run.reaches(State.ICP_FAILED)
    await reminded(run, 2)
    await pipeline.no_faults()
    await run.update("retry", Retry(**await run.decision()))
    await run.reaches(State.PUBLISH_PENDING)
    progress = await reminded(run, 1)
    states = {row["state"] for row in await run.rows(REMINDERS)}
    assert states == {State.ICP_FAILED, State.PUBLISH_PENDING}
    hashes = await run.rows(
        "SELECT article_id, content_hash FROM articles JOIN article_revisions USING (article_id)"
        " WHERE workflow_id = $1 AND article_revisions.revision = accepted_revision"
    )
    approval = ApproveArticles(
        **await run.decision(), hashes={row["article_id"]: row["content_hash"] for row in hashes}
    )
    await run.update("approve_articles", approval)
    done = await run.reaches(State.COMPLETED)
    assert done.waiting is None
    assert progress.waiting is not None


@pytest.mark.parametrize("status", [500, 302])
async def test_a_broken_webhook_fails_nothing(idle_pipeline: Pipeline, listener: Listener, status: int) -> None:
    listener.status = status
    with_webhook(idle_pipeline, listener.url)
    async with running_workers(idle_pipeline):
        run = await idle_pipeline.begin(
            auto_approve=False, steps=eager(idle_pipeline, ReminderSettings(first_after_seconds=0.1, reminders_max=1))
        )
        await run.reaches(State.SEED_REVIEW_PENDING)
        await reminded(run, 1)
        await until(lambda: _is(len(listener.told) >= 1))
        # The decision does not wait for the webhook's next try.
        await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=APPROVE_ALL))
        await goes_on(run)


async def test_without_a_web_worker_a_decision_is_taken_all_the_same(idle_pipeline: Pipeline) -> None:
    async with running_workers(idle_pipeline):
        run = await idle_pipeline.begin(
            auto_approve=False, steps=eager(idle_pipeline, ReminderSettings(first_after_seconds=4, reminders_max=1))
        )
        await run.reaches(State.SEED_REVIEW_PENDING)
    async with running_workers(idle_pipeline, [worker.Role.WORKFLOWS]):
        await reminded(run, 1)
        await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=APPROVE_ALL))
        await goes_on(run)


async def test_a_new_run_goes_on_where_the_reminders_were(pipeline: Pipeline) -> None:
    slowly = ReminderSettings(first_after_seconds=0.2, every_seconds=3600, reminders_max=3)
    run = await pipeline.begin(auto_approve=False, steps=eager(pipeline, slowly))
    await run.reaches(State.SEED_REVIEW_PENDING)
    before = await reminded(run, 1)
    await run.handle.terminate("tests")
    await run.start()
    await until(lambda: _shows(run, "reminded once"))
    assert (await run.progress()).waiting == before.waiting
    history = await run.handle.fetch_history()
    timers = [event for event in history.events if event.HasField("timer_started_event_attributes")]
    assert len(timers) == 1
    assert timers[0].timer_started_event_attributes.start_to_fire_timeout.ToSeconds() > 3000


async def _shows(run: Run, words: str) -> bool:
    from temporalio.api.sdk.v1 import WorkflowMetadata

    metadata = await run.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return words in metadata.current_details


async def test_a_wait_costs_one_timer_and_replays(pipeline: Pipeline) -> None:
    run = await pipeline.begin(auto_approve=False, steps=eager(pipeline))
    await run.reaches(State.SEED_REVIEW_PENDING)
    await reminded(run, 2)
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=APPROVE_ALL))
    await goes_on(run)
    history: WorkflowHistory = await run.handle.fetch_history()
    started = sum(event.HasField("timer_started_event_attributes") for event in history.events)
    ended = sum(
        event.HasField("timer_fired_event_attributes") or event.HasField("timer_canceled_event_attributes")
        for event in history.events
    )
    reminders = len(await run.rows(REMINDERS))
    assert reminders <= started <= reminders + 1
    assert ended == started
    replayer = Replayer(
        workflows=[IntentWorkflow],
        data_converter=pydantic_data_converter,
        workflow_runner=worker.workflow_runner(),
    )
    await replayer.replay_workflow(history)


async def test_no_reminders_where_none_are_wanted(pipeline: Pipeline) -> None:
    run = await pipeline.begin(auto_approve=False, steps=eager(pipeline, ReminderSettings(reminders_max=0)))
    await run.reaches(State.SEED_REVIEW_PENDING)
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=APPROVE_ALL))
    await goes_on(run)
    history = await run.handle.fetch_history()
    assert not any(event.HasField("timer_started_event_attributes") for event in history.events)


async def test_who_waits_is_listed_longest_first(pipeline: Pipeline) -> None:
    first = await pipeline.begin(auto_approve=False)
    await first.reaches(State.SEED_REVIEW_PENDING)
    second = await pipeline.begin(auto_approve=False)
    await second.reaches(State.SEED_REVIEW_PENDING)
    async with pipeline.database.operator.reading() as connection:
        ids = await waiting_ids(connection, 10)
        found = await load_waiting(connection, [*ids, uuid4()])
    assert ids == [first.ref.workflow_id, second.ref.workflow_id]
    assert [one.workflow_id for one in found] == ids
    assert found[0].waiting.since < found[1].waiting.since


def test_the_same_reminder_has_the_same_id() -> None:
    workflow_id = uuid4()
    assert reminder_id_of(workflow_id, 3, 1) == reminder_id_of(workflow_id, 3, 1)
    assert len({reminder_id_of(workflow_id, version, number) for version in (3, 4) for number in (1, 2)}) == 4
