"""Maintenance through real Temporal: the Schedule, costs looked up where the key is, rows and runs compared (S7)."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from temporalio import workflow
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import worker
from activities.reconciliation import ConsistencyActivities
from activities.state import cancel_row
from commands import reconciling
from commands.exits import CommandError, ExitCode
from commands.session import Session
from commands.terminal import Terminal
from db.transitions import Advance, advance
from domain.decisions import Retry
from domain.errors import BadInputError
from domain.identifiers import run_transition_id, temporal_workflow_id
from domain.progress import WorkflowRef
from domain.reconciliation import (
    ActionTaken,
    Disagreement,
    DisagreementKind,
    ReconcileSettings,
    ReconciliationReport,
    RunsReport,
)
from domain.states import State
from tests.conftest import TenantDatabase
from tests.workflows.conftest import FAST, Pipeline, Run, running_workers
from workflows.intent import IntentInput, IntentWorkflow
from workflows.maintenance import Maintain, MaintenanceWorkflow
from workflows.schedule import ensure_schedule

Check = Callable[[Run], Awaitable[None]]
ONE_ARTICLE = {"max": 1, "min": 1, "words": 400}


@pytest.fixture
def maintained(idle_pipeline: Pipeline) -> Pipeline:
    """A pipeline whose workers maintain; no workers yet, and everything is due at once."""
    database = idle_pipeline.database
    reconcile = ReconcileSettings(
        every_seconds=1,
        schedule_id=f"maintenance/{uuid4()}",
        call_grace_seconds=0,
        settle_grace_seconds=0,
        look_up_every_seconds=0,
        run_grace_seconds=0,
    )
    update = {"postgres_operator_dsn": SecretStr(database.operator_dsn), "reconcile": reconcile}
    idle_pipeline.settings = idle_pipeline.settings.model_copy(update=update)
    return idle_pipeline


@asynccontextmanager
async def scheduled(pipeline: Pipeline, roles: Sequence[worker.Role] = worker.ALL_ROLES) -> AsyncIterator[None]:
    """Workers with their Schedule, which goes with them."""
    async with running_workers(pipeline, roles):
        try:
            yield
        finally:
            await pipeline.client.get_schedule_handle(pipeline.settings.reconcile.schedule_id).delete()


async def compare(pipeline: Pipeline, **changes: float) -> RunsReport:
    settings = pipeline.settings.reconcile.model_copy(update=changes)
    runs = worker.intent_runs(pipeline.client, pipeline.settings)
    return await ConsistencyActivities(pipeline.database.operator, runs, settings, 1).compare()


async def compare_until(pipeline: Pipeline, found: int = 1) -> tuple[Disagreement, ...]:
    """The list of runs is behind by moments, and for each run by others: what one pass mended the next doesn't tell."""
    told: list[Disagreement] = []
    for _ in range(200):
        told += (await compare(pipeline)).disagreements
        if len(told) >= found:
            return tuple(told)
        await asyncio.sleep(0.05)
    raise AssertionError(f"{found} disagreements were expected, {len(told)} found: {told}")


async def maintain(pipeline: Pipeline, worker_seconds: float = 10) -> ReconciliationReport:
    return await pipeline.client.execute_workflow(
        MaintenanceWorkflow.run,
        Maintain(queue=pipeline.settings.task_queue, timeouts=FAST, worker_seconds=worker_seconds),
        id=f"maintenance-{uuid4()}",
        task_queue=pipeline.settings.task_queue,
    )


async def status(run: Run) -> WorkflowExecutionStatus | None:
    return (await run.handle.describe()).status


# Money -------------------------------------------------------------------------------------------------------


async def test_the_schedule_leaves_nothing_open_and_books_to_the_bill(
    maintained: Pipeline, books_balance: Check
) -> None:
    """An answer is billed and lost, and nobody can say its cost for a while: resolved behind the run's back."""
    await maintained.faults(
        {"kind": "bill_then_drop", "schema": "icp", "nth": 1}, {"kind": "http_status", "path": "generation", "count": 3}
    )
    async with scheduled(maintained):
        run = await maintained.begin(articles=ONE_ARTICLE)
        await run.reaches(State.COMPLETED)
        for _ in range(200):
            if (await run.progress()).held_usd == 0:
                break
            await asyncio.sleep(0.05)
        await books_balance(run)
    rows = await run.rows("SELECT attempt_id, state, look_ups FROM spend_attempts WHERE workflow_id = $1")
    assert {row["state"] for row in rows} == {"SETTLED"}
    assert sum(row["look_ups"] for row in rows) == 1
    booked = await run.rows("SELECT attempt_id, cost FROM ai_usage_ledger WHERE workflow_id = $1")
    assert {row["attempt_id"]: row["cost"] for row in booked} == await maintained.bill()


async def test_without_a_worker_for_paid_calls_the_rest_is_done_and_told(maintained: Pipeline) -> None:
    async with scheduled(maintained):
        await maintained.faults(
            {"kind": "bill_then_drop", "schema": "icp"}, {"kind": "http_status", "path": "generation"}
        )
        run = await maintained.begin()
        for _ in range(200):
            if await run.rows("SELECT FROM spend_attempts WHERE workflow_id = $1 AND state = 'UNKNOWN'"):
                break
            await asyncio.sleep(0.05)
        await run.handle.cancel()
        await run.reaches(State.CANCELLED)
    async with running_workers(maintained, [worker.Role.WORKFLOWS]):
        report = await maintain(maintained, worker_seconds=0.3)
    await maintained.client.get_schedule_handle(maintained.settings.reconcile.schedule_id).delete()
    assert report.money.trouble != ""
    assert {one.state for one in report.money.open_sums} == {"UNKNOWN"}
    assert report.runs is not None


# The Schedule itself -----------------------------------------------------------------------------------------


async def test_many_workers_make_one_schedule_and_its_interval_follows_the_settings(maintained: Pipeline) -> None:
    client, settings = maintained.client, maintained.settings.reconcile
    ours, other = Maintain(queue=maintained.settings.task_queue), Maintain(queue="someone else's")
    assert await asyncio.gather(*(ensure_schedule(client, ours, settings) for _ in range(5))) == [True] * 5
    assert not await ensure_schedule(client, other, settings)
    assert await ensure_schedule(client, ours, settings.model_copy(update={"every_seconds": 77}))
    handle = client.get_schedule_handle(settings.schedule_id)
    schedule = (await handle.describe()).schedule
    assert [interval.every.total_seconds() for interval in schedule.spec.intervals] == [77]
    assert schedule.policy.overlap.name == "SKIP"
    await handle.delete()


async def test_the_schedules_argument_and_policy_follow_the_settings_and_are_written_once(maintained: Pipeline) -> None:
    client, settings = maintained.client, maintained.settings.reconcile
    before = Maintain(queue=maintained.settings.task_queue)
    after = before.model_copy(update={"timeouts": FAST})
    await ensure_schedule(client, before, settings)
    handle = client.get_schedule_handle(settings.schedule_id)
    for _ in range(3):
        assert await ensure_schedule(client, before, settings)
    assert (await handle.describe()).info.last_updated_at is None  # the same settings change nothing
    await handle.pause(note="looked into")

    assert await asyncio.gather(*(ensure_schedule(client, after, settings) for _ in range(5))) == [True] * 5
    changed = await handle.describe()
    assert await _argument(client, changed.schedule) == after
    assert (changed.schedule.state.paused, changed.schedule.state.note) == (True, "looked into")
    for _ in range(3):
        assert await ensure_schedule(client, after, settings)
    assert (await handle.describe()).info.last_updated_at == changed.info.last_updated_at

    def otherwise(known: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = known.description.schedule
        schedule.policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL, catchup_window=timedelta(days=1))
        return ScheduleUpdate(schedule)

    await handle.update(otherwise)
    assert await ensure_schedule(client, after, settings)
    policy = (await handle.describe()).schedule.policy
    assert (policy.overlap, policy.catchup_window) == (ScheduleOverlapPolicy.SKIP, timedelta(minutes=1))
    await handle.delete()


async def test_an_argument_that_another_version_stored_is_replaced(maintained: Pipeline) -> None:
    client, settings = maintained.client, maintained.settings.reconcile
    ours = Maintain(queue=maintained.settings.task_queue)
    for stored in ([{"queue": ours.queue, "colour": "blue"}], ["text"], [], [ours, ours]):
        action = ScheduleActionStartWorkflow(
            "MaintenanceWorkflow", args=stored, id=settings.schedule_id, task_queue=ours.queue
        )
        await client.create_schedule(settings.schedule_id, Schedule(action=action, spec=ScheduleSpec()))
        handle = client.get_schedule_handle(settings.schedule_id)
        assert await ensure_schedule(client, ours, settings)
        assert await _argument(client, (await handle.describe()).schedule) == ours
        await handle.delete()


async def _argument(client: Client, schedule: Schedule) -> Maintain:
    assert isinstance(schedule.action, ScheduleActionStartWorkflow)
    [argument] = await client.data_converter.decode(schedule.action.args, [Maintain])
    assert isinstance(argument, Maintain)
    return argument


async def test_a_worker_without_the_operators_address_works_and_maintains_nothing(pipeline: Pipeline) -> None:
    run = await pipeline.begin(auto_approve=False)
    await run.reaches(State.SEED_REVIEW_PENDING)
    assert not [schedule async for schedule in await pipeline.client.list_schedules()]


# Rows and runs -----------------------------------------------------------------------------------------------


async def test_a_row_whose_start_was_lost_is_started_and_completes(maintained: Pipeline, books_balance: Check) -> None:
    run = await maintained.create(articles=ONE_ARTICLE)
    async with scheduled(maintained):
        await run.reaches(State.COMPLETED)
        await run.handle.result()
    description = await run.handle.describe()
    assert description.typed_search_attributes[worker.INTENT_STATE] == "COMPLETED"
    await books_balance(run)


async def test_a_terminated_run_is_started_again_and_goes_on_from_its_row(
    maintained: Pipeline, books_balance: Check
) -> None:
    async with scheduled(maintained):
        run = await maintained.begin(articles=ONE_ARTICLE)
        await asyncio.sleep(0.8)
        first = (await run.handle.describe()).run_id
        await run.handle.terminate("somebody pulled the plug")
        await run.reaches(State.COMPLETED)
        assert (await run.handle.describe()).run_id != first
    await books_balance(run)
    slots = await run.rows("SELECT slot FROM spend_attempts WHERE workflow_id = $1 AND state = 'SETTLED'")
    assert len(slots) == len({row["slot"] for row in slots})


async def test_what_was_started_again_is_told_once_and_by_its_cause(maintained: Pipeline) -> None:
    lost, terminated = await maintained.create(), await maintained.begin()
    await terminated.handle.terminate("somebody pulled the plug")
    found = {one.temporal_workflow_id: one for one in await compare_until(maintained, 2)}
    assert found[lost.temporal_id].kind is DisagreementKind.NEVER_STARTED
    again = found[terminated.temporal_id]
    assert (again.kind, again.run, again.row_state) == (DisagreementKind.RUN_ENDED_EARLY, "terminated", State.CREATED)
    assert {one.action for one in found.values()} == {ActionTaken.STARTED}
    assert {await status(run) for run in (lost, terminated)} == {WorkflowExecutionStatus.RUNNING}
    assert (await compare(maintained)).disagreements == ()
    for run in (lost, terminated):
        await run.handle.terminate("the test ends")


async def test_two_comparers_at_once_start_one_run(maintained: Pipeline) -> None:
    run = await maintained.create()
    reports = await asyncio.gather(*(compare(maintained) for _ in range(4)))
    details = {one.detail for report in reports for one in report.disagreements}
    assert len(details) == 1
    assert (await run.handle.describe()).run_id in details.pop()
    await run.handle.terminate("the test ends")


async def test_what_has_just_changed_is_left_in_peace(maintained: Pipeline) -> None:
    """A start between its row and its run, and a run between its row's end and its own."""
    await maintained.create()
    ending = await maintained.begin()
    await _cancel_row(maintained, ending)
    for _ in range(3):
        assert (await compare(maintained, run_grace_seconds=60)).disagreements == ()
        await asyncio.sleep(0.1)
    await ending.handle.terminate("the test ends")


async def compare_when_listed(pipeline: Pipeline, runs: int, **changes: float) -> RunsReport:
    """The first comparison to which Temporal lists so many open runs."""
    for _ in range(200):
        report = await compare(pipeline, **changes)
        if report.runs == runs:
            return report
        await asyncio.sleep(0.05)
    raise AssertionError(f"{runs} open runs were expected, {report.runs} are listed")


async def test_a_run_that_ended_just_now_is_not_started_again_yet(maintained: Pipeline) -> None:
    """The row stood still for long; its run may be ending as it should, a moment before its row is read."""
    run = await maintained.begin()
    await compare_when_listed(maintained, 1, run_grace_seconds=60)
    await maintained.database.admin.execute(
        "SET session_replication_role = replica; UPDATE intent_workflows SET updated_at = updated_at - interval '1 h'"
    )
    await run.handle.terminate("somebody pulled the plug")
    assert (await compare_when_listed(maintained, 0, run_grace_seconds=60)).disagreements == ()
    assert await status(run) is WorkflowExecutionStatus.TERMINATED
    assert [one.action for one in (await compare(maintained)).disagreements] == [ActionTaken.STARTED]
    await run.handle.terminate("the test ends")


async def test_a_run_that_began_just_now_may_be_ahead_of_its_row(maintained: Pipeline) -> None:
    ref = WorkflowRef(workflow_id=uuid4(), organization_id=uuid4())
    queue = maintained.settings.task_queue
    handle = await maintained.client.start_workflow(
        IntentWorkflow.run,
        IntentInput(ref=ref, queue=queue, own_url="", organization_name="", timeouts=FAST),
        id=temporal_workflow_id(ref.organization_id, ref.workflow_id),
        task_queue=queue,
    )
    assert (await compare_when_listed(maintained, 1, run_grace_seconds=60)).disagreements == ()
    [found] = (await compare(maintained)).disagreements
    assert found.kind is DisagreementKind.RUN_WITHOUT_ROW
    await handle.terminate("the test ends")


async def test_more_lost_rows_than_a_pass_may_start_are_left_to_the_next_and_told(maintained: Pipeline) -> None:
    runs = [await maintained.create() for _ in range(2)]
    first = await compare(maintained, starts_max=1)
    assert (first.rows, len(first.disagreements), first.has_more) == (2, 1, True)
    second = await compare_when_listed(maintained, 1, starts_max=1)
    assert (len(second.disagreements), second.has_more) == (1, False)
    for run in runs:
        await run.handle.terminate("the test ends")


async def test_an_open_run_of_an_ended_row_is_told_to_end(maintained: Pipeline) -> None:
    run = await maintained.begin()
    await _cancel_row(maintained, run)
    [found] = await compare_until(maintained)
    assert (found.kind, found.action) == (DisagreementKind.RUN_OF_ENDED_ROW, ActionTaken.CANCEL_REQUESTED)
    assert (found.temporal_workflow_id, found.row_state) == (run.temporal_id, State.CANCELLED)
    async with running_workers(_unmaintained(maintained)):
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(run.handle.result(), 20)
    assert await status(run) is WorkflowExecutionStatus.CANCELED


async def test_a_run_without_a_row_is_told_to_end_and_does(maintained: Pipeline) -> None:
    ref = WorkflowRef(workflow_id=uuid4(), organization_id=uuid4())
    stray = Run(maintained, ref, (await maintained.create()).brief)
    await maintained.client.start_workflow(
        IntentWorkflow.run,
        IntentInput(ref=ref, queue=maintained.settings.task_queue, own_url="", organization_name="", timeouts=FAST),
        id=temporal_workflow_id(ref.organization_id, ref.workflow_id),
        task_queue=maintained.settings.task_queue,
    )
    found = next(one for one in await compare_until(maintained, 2) if one.kind is DisagreementKind.RUN_WITHOUT_ROW)
    assert (found.action, found.row_state) == (ActionTaken.CANCEL_REQUESTED, None)
    async with running_workers(_unmaintained(maintained)):
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(stray.handle.result(), 20)


async def test_a_state_that_is_shown_wrong_is_reported_only(maintained: Pipeline) -> None:
    run = await maintained.create()
    await compare(maintained)  # started as `start` does, with its state to be seen
    async with maintained.database.app.transaction(run.ref.organization_id) as connection:
        await advance(
            connection,
            Advance(
                workflow_id=run.ref.workflow_id,
                organization_id=run.ref.organization_id,
                expected_state=State.CREATED,
                expected_version=0,
                next_state=State.ICP_PENDING,
                transition_id=run_transition_id(run.ref.workflow_id, 0, State.ICP_PENDING),
                actor="tests",
            ),
        )
    [found] = await compare_until(maintained)
    assert (found.kind, found.action) == (DisagreementKind.STATE_SHOWN_WRONG, ActionTaken.REPORTED)
    assert "Temporal shows CREATED" in found.detail
    assert await status(run) is WorkflowExecutionStatus.RUNNING
    await run.handle.terminate("the test ends")


async def test_only_runs_on_our_own_queue_are_ours(maintained: Pipeline) -> None:
    """Another deployment in the same namespace has rows in another database."""
    ref = WorkflowRef(workflow_id=uuid4(), organization_id=uuid4())
    start = IntentInput(ref=ref, queue="theirs", own_url="", organization_name="", timeouts=FAST)
    id_ = temporal_workflow_id(ref.organization_id, ref.workflow_id)
    handle = await maintained.client.start_workflow(IntentWorkflow.run, start, id=id_, task_queue="theirs")
    await asyncio.sleep(0.5)
    assert await compare(maintained) == RunsReport(rows=0, runs=0)
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await handle.terminate("the test ends")


@workflow.defn(name="IntentWorkflow")
class EndsWithItsRowOpen:
    """A run as it must not be: it ends, and its row is not at its end."""

    @workflow.run
    async def run(self, _: IntentInput) -> None:
        if workflow.memo_value("cancelled", default=False):
            raise asyncio.CancelledError


@pytest.mark.parametrize("ending", ["canceled", "completed"])
async def test_a_run_that_ended_by_itself_with_its_row_open_is_for_a_person(maintained: Pipeline, ending: str) -> None:
    run = await maintained.create()
    await _end_by_itself(run, ending)
    [found] = await compare_until(maintained)
    assert (found.run, found.action, found.row_state) == (ending, ActionTaken.REPORTED, State.CREATED)
    assert f"starter.py cancel {run.ref.workflow_id}" in found.detail


async def test_rows_that_nobody_but_a_person_can_mend_keep_no_other_waiting(maintained: Pipeline) -> None:
    for_a_person = [await maintained.create() for _ in range(2)]
    for run in for_a_person:
        await _end_by_itself(run, "canceled")
    lost = await maintained.create()
    told: dict[str, ActionTaken] = {}
    for _ in range(200):  # the list of runs is behind by moments
        told |= {
            one.temporal_workflow_id: one.action for one in (await compare(maintained, starts_max=1)).disagreements
        }
        if lost.temporal_id in told:
            break
        await asyncio.sleep(0.05)
    assert told[lost.temporal_id] is ActionTaken.STARTED
    assert await status(lost) is WorkflowExecutionStatus.RUNNING
    await lost.handle.terminate("the test ends")


async def _end_by_itself(run: Run, ending: str) -> None:
    client, queue = run.pipeline.client, run.pipeline.settings.task_queue
    async with Worker(
        client, task_queue=queue, workflows=[EndsWithItsRowOpen], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        handle = await client.start_workflow(
            "IntentWorkflow",
            run.start_input,
            id=run.temporal_id,
            task_queue=queue,
            memo={"cancelled": ending == "canceled"},
        )
        if ending == "canceled":
            await handle.cancel()
        await asyncio.gather(handle.result(), return_exceptions=True)


# The commands ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def session_of(pipeline: Pipeline, **changes: object) -> AsyncIterator[Session]:
    settings = pipeline.settings.model_copy(update=changes)
    async with Session(settings, Terminal(as_json=True), "ada") as session:
        yield session


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one JSON object of a command; log lines of the workers beside it don't count."""
    text = capsys.readouterr().out
    value: dict[str, Any] = json.loads(text[text.index("{") :])
    return value


async def test_the_command_reconciles_money_and_runs(maintained: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    run = await maintained.create()
    async with session_of(maintained) as session:
        assert await reconciling.reconcile(session) is ExitCode.DONE
    report = printed(capsys)
    assert [one["action"] for one in report["runs"]["disagreements"]] == ["started"]
    assert report["money"]["sums"] == []
    assert await status(run) is WorkflowExecutionStatus.RUNNING
    await run.handle.terminate("the test ends")


async def test_the_command_reconciles_money_without_temporal(
    maintained: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    async with session_of(maintained, temporal_address=None) as session:
        assert await reconciling.reconcile(session) is ExitCode.DONE
    report = printed(capsys)
    assert report["runs"] is None
    assert "no Temporal server" in report["runs_trouble"]
    # A server that answers the connection and fails the questions: here, one without the namespace.
    async with session_of(maintained, temporal_namespace="gone") as session:
        assert await reconciling.reconcile(session) is ExitCode.DONE
    report = printed(capsys)
    assert (report["runs"], report["money"]["sums"]) == (None, [])
    assert "Temporal answered with an error: " in report["runs_trouble"]
    async with session_of(maintained, postgres_operator_dsn=None) as session:
        with pytest.raises(CommandError, match="INFIN8_POSTGRES_OPERATOR_DSN"):
            await reconciling.reconcile(session)


async def test_an_overrun_parks_a_run_and_thaw_and_retry_finish_it(
    maintained: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way: billed above the hold, frozen, parked with the command, thawed by it, gone on."""
    async with running_workers(_unmaintained(maintained)):
        await maintained.faults({"kind": "overbill", "schema": "icp", "nth": 1})
        run = await maintained.begin(auto_approve=True, articles=ONE_ARTICLE)
        progress = await _parked(run)
        assert progress.failure is not None
        assert f"starter.py thaw {run.ref.workflow_id} --reason" in progress.failure.message
        async with session_of(maintained) as session:
            await reconciling.thaw(session, str(run.ref.workflow_id), "the provider explained it")
            thawed = printed(capsys)["thawed"]
            await reconciling.thaw(session, str(run.ref.workflow_id), "again")
            assert printed(capsys)["thawed"] == []
            with pytest.raises(BadInputError, match="--reason is empty"):
                await reconciling.thaw(session, str(run.ref.workflow_id), "  ")
        assert len(thawed) == 2
        await run.update("retry", Retry(**await run.decision()))
        await run.reaches(State.COMPLETED)
    audit = await maintained.database.admin.fetch("SELECT action, actor, reason FROM scope_freezes")
    assert [tuple(row) for row in audit] == [("thaw", "ada", "the provider explained it")] * 2


async def test_freezing_and_correcting_by_command(
    maintained: Pipeline, database: TenantDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    run = await maintained.create(auto_approve=False)
    id_ = str(run.ref.workflow_id)
    async with session_of(maintained) as session:
        await reconciling.freeze(session, id_, "look first")
        assert printed(capsys)["reason"] == "ada: look first"
        await reconciling.freeze(session, id_, "all of them", month=True)
        assert printed(capsys)["workflow_id"] is None
        await reconciling.thaw(session, id_, "looked")
        assert len(printed(capsys)["thawed"]) == 2
        async with running_workers(_unmaintained(maintained)):
            await run.start()
            await run.reaches(State.SEED_REVIEW_PENDING)
        row = (await run.rows("SELECT idempotency_key AS key FROM ai_usage_ledger WHERE workflow_id = $1"))[0]["key"]
        key = str(uuid4())
        for _ in range(2):
            await reconciling.correct(session, str(row), "-0.000001", "credit note 7", key)
            assert printed(capsys)["corrects"] == str(row)
        with pytest.raises(CommandError, match="no ledger row"):
            await reconciling.correct(session, str(uuid4()), "-1", "x")
        for amount in ("0", "much", "NaN", "0.0000000001"):
            with pytest.raises(BadInputError, match="the amount is"):
                await reconciling.correct(session, str(row), amount, "x")
    corrections = await run.rows("SELECT cost FROM ai_usage_ledger WHERE workflow_id = $1 AND entry = 'correction'")
    assert [line["cost"] for line in corrections] == [Decimal("-0.000001")]


def _unmaintained(pipeline: Pipeline) -> Pipeline:
    """The same workers without their maintenance, where the test itself compares."""
    settings = pipeline.settings.model_copy(update={"postgres_operator_dsn": None})
    return Pipeline(pipeline.database, pipeline.client, settings, pipeline.sandbox, pipeline.output_dir)


async def _cancel_row(pipeline: Pipeline, run: Run) -> None:
    async with pipeline.database.app.transaction(run.ref.organization_id) as connection:
        await cancel_row(connection, run.ref, actor="tests", reason="behind the run's back")


async def _parked(run: Run) -> Any:
    for _ in range(400):
        progress = await run.progress()
        if progress.failure is not None:
            return progress
        await asyncio.sleep(0.05)
    raise AssertionError(f"it did not park: {progress.state}")
