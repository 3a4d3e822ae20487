"""Cancellation at any moment, termination, resets, no cache: nothing is lost, done or paid twice."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.runtime import Runtime, TelemetryConfig

import worker
from domain.states import State
from tests.workflows.conftest import Pipeline, Run, running_workers

Check = Callable[[Run], Awaitable[None]]


async def _cancelled(run: Run) -> None:
    handle = run.handle
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 30)
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
    assert (await run.progress()).state is State.CANCELLED


async def test_cancelled_while_it_waits_for_a_person(pipeline: Pipeline, books_balance: Check) -> None:
    run = await pipeline.begin(auto_approve=False)
    await run.reaches(State.SEED_REVIEW_PENDING)
    await _cancelled(run)
    await books_balance(run)


@pytest.mark.parametrize("schema", ["icp", "competitor_labels", "article_outline", "article_section"])
async def test_cancelled_in_the_middle_of_a_paid_call(pipeline: Pipeline, books_balance: Check, schema: str) -> None:
    """The request in flight is answered, and what it cost is booked before the run is CANCELLED."""
    await pipeline.faults({"kind": "slow", "seconds": 4, "schema": schema})
    run = await pipeline.begin()
    await _dispatched(run, schema)
    await _cancelled(run)
    await books_balance(run)
    states = await run.rows("SELECT state, slot FROM spend_attempts WHERE workflow_id = $1")
    assert {row["state"] for row in states} <= {"SETTLED", "VOIDED"}
    assert any(row["state"] == "SETTLED" for row in states)


@pytest.mark.parametrize("delay_seconds", [0.05, 0.15, 0.3, 0.5, 0.8, 1.2, 1.8, 2.5, 3.2])
async def test_cancelled_at_any_moment(pipeline: Pipeline, books_balance: Check, delay_seconds: float) -> None:
    run = await pipeline.begin(auto_approve=True, publish={"approval": "person"})
    await asyncio.sleep(delay_seconds)
    await _cancelled(run)
    await books_balance(run)
    attempts = await run.rows("SELECT count(*) FROM spend_attempts WHERE workflow_id = $1")
    await asyncio.sleep(0.5)
    assert attempts == await run.rows("SELECT count(*) FROM spend_attempts WHERE workflow_id = $1")


@pytest.mark.parametrize("delay_seconds", [0.3, 0.9, 2.0])
async def test_terminated_and_started_again_it_goes_on_from_its_row(
    pipeline: Pipeline, books_balance: Check, delay_seconds: float
) -> None:
    run = await pipeline.begin()
    await asyncio.sleep(delay_seconds)
    before = await run.progress()
    if before.state is not State.COMPLETED:
        await run.handle.terminate("a test pulled the plug")
        await run.start()
    await run.reaches(State.COMPLETED)
    await books_balance(run)
    await _paid_once(run)


async def test_reset_to_any_completed_task_does_nothing_twice(pipeline: Pipeline, books_balance: Check) -> None:
    run = await pipeline.begin(auto_approve=False, articles={"max": 1, "min": 1, "words": 400})
    await run.reaches(State.SEED_REVIEW_PENDING)
    paid = (await run.progress()).spent_usd
    first_run_id = (await run.handle.describe()).run_id
    tasks = [
        event.event_id
        async for event in run.handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]
    for number, event_id in enumerate(tasks[::3]):
        await _reset(run, first_run_id, event_id, f"reset-{number}")
        await asyncio.sleep(0.4)
        progress = await run.reaches(State.SEED_REVIEW_PENDING)
        assert progress.spent_usd == paid
    await books_balance(run)


async def test_without_a_cache_every_task_replays_the_history(idle_pipeline: Pipeline, books_balance: Check) -> None:
    idle_pipeline.settings = idle_pipeline.settings.model_copy(update={"workflows_cached_max": 0})
    async with running_workers(idle_pipeline):
        run = await idle_pipeline.begin()
        await run.reaches(State.COMPLETED, seconds=60)
        await run.handle.result()
    await books_balance(run)


async def test_several_workers_share_the_work(pipeline: Pipeline, books_balance: Check) -> None:
    other = replace(
        pipeline, client=await worker.connect_temporal(pipeline.settings, runtime=Runtime(telemetry=TelemetryConfig()))
    )
    async with running_workers(other):
        runs = await asyncio.gather(*[pipeline.begin(articles={"max": 1, "min": 1, "words": 400}) for _ in range(4)])
        for run in runs:
            await run.reaches(State.COMPLETED, seconds=60)
    for run in runs:
        rows = await run.rows(
            "SELECT count(*) AS open FROM spend_attempts WHERE workflow_id = $1 AND state <> 'SETTLED'"
        )
        assert rows == [{"open": 0}]


async def _dispatched(run: Run, schema: str) -> None:
    kind = schema.removeprefix("article_")
    for _ in range(400):
        rows = await run.rows("SELECT slot FROM spend_attempts WHERE workflow_id = $1 AND state = 'DISPATCHED'")
        if any(row["slot"] == schema or f":{kind}" in row["slot"] for row in rows):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"no {schema} request was dispatched")


async def _paid_once(run: Run) -> None:
    """No slot was paid for by two accepted answers."""
    rows = await run.rows(
        """
        SELECT slot, count(*) AS times FROM spend_attempts
        WHERE workflow_id = $1 AND state = 'SETTLED' AND rejected_reason IS NULL GROUP BY slot HAVING count(*) > 1
        """
    )
    assert rows == []


async def _reset(run: Run, run_id: str, event_id: int, request_id: str) -> None:
    await run.pipeline.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=run.pipeline.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run.temporal_id, run_id=run_id),
            reason="a test goes back in time",
            workflow_task_finish_event_id=event_id,
            request_id=request_id,
        )
    )


async def test_a_run_of_the_sandbox_never_spends_and_the_other_way_round(pipeline: Pipeline) -> None:
    """Neither provider answers for the other: the run parks and says which worker it needs."""
    settings = pipeline.settings.step_settings(auto_approve_seeds=True).model_copy(update={"is_demo_text": False})
    run = await pipeline.begin(steps=settings)
    parked = await run.reaches(State.ICP_FAILED)
    assert parked.failure is not None
    assert "started with an account" in parked.failure.message
    assert await pipeline.bill() == {}
