"""Maintenance as activities: resolve what is due, ask the provider, book what it says, compare rows with runs.

Three kinds of access are kept apart: the operator's database (all tenants), the provider (its key lives with the paid
calls) and Temporal. Every change is a transaction of its own that decides under the row's lock, so that any of these
may be run again, by several at once, and be killed anywhere.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from temporalio import activity
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.spend import heartbeating
from db import reconciliation
from db.pool import Database
from db.reconciliation import RowState
from db.workflows import WorkflowRecord, load_workflow
from domain.errors import PermanentError
from domain.identifiers import temporal_workflow_id
from domain.money import Frozen, Usage
from domain.reconciliation import (
    NAMED_MAX,
    ActionTaken,
    AttemptRef,
    Disagreement,
    DisagreementKind,
    LookedUp,
    LookUp,
    MoneyReport,
    ReconcileSettings,
    Resolution,
    ResolutionKind,
    RunsReport,
    money_report,
)
from domain.states import is_terminal

LOOK_UPS_AT_ONCE = 8
BEFORE_LOOK_UPS = (ResolutionKind.EXPIRED, ResolutionKind.UNKNOWN, ResolutionKind.SETTLED)
AFTER_LOOK_UPS = (ResolutionKind.WRITTEN_OFF,)

LookUpCost = Callable[[str], Awaitable[Usage | None]]


# Money -----------------------------------------------------------------------------------------------------------


class Pass(Frozen):
    """One look at everything. ``whole`` compares the counters of every scope, not of those that changed lately."""

    whole: bool = False


class Resolved(Frozen):
    """What was due and is done, and the costs to ask the provider for."""

    resolutions: tuple[Resolution, ...]
    failures: tuple[str, ...] = ()
    look_ups: tuple[LookUp, ...]
    has_more: bool


class CloseBooks(Frozen):
    """What the first part of a pass did and what the provider said, to be booked."""

    this_pass: Pass = Pass()
    resolved: Resolved
    looked_up: tuple[LookedUp, ...] = ()
    trouble: str = ""


class ReconciliationActivities:
    """The money part of a pass. ``operator`` is the database under the operator's role."""

    def __init__(self, operator: Database, settings: ReconcileSettings) -> None:
        self._operator = operator
        self._settings = settings

    @activity.defn(name="resolve_due")
    async def resolve_due(self, _: Pass) -> Resolved:
        """Expires, gives up waiting, settles. What may be looked up is listed, not yet written off."""
        done = _Done()
        due = await self._resolve(BEFORE_LOOK_UPS, done)
        async with self._operator.reading() as connection:
            look_ups = await reconciliation.due_look_ups(connection, self._settings)
        return Resolved(
            resolutions=tuple(done.resolutions),
            failures=tuple(done.failures),
            look_ups=tuple(look_ups),
            has_more=due >= self._settings.attempts_max,
        )

    @activity.defn(name="close_books")
    async def close_books(self, close: CloseBooks) -> MoneyReport:
        """Books what the provider said, writes off what stays unknown past its deadline, reports."""
        done = _Done([*close.resolved.resolutions], [*close.resolved.failures])
        for looked_up in close.looked_up:
            await self._book(looked_up, done)
        due = await self._resolve(AFTER_LOOK_UPS, done)
        async with self._operator.reading() as connection:
            state = await reconciliation.books_state(connection, self._settings, whole=close.this_pass.whole)
        is_full = due >= self._settings.attempts_max or len(close.looked_up) >= self._settings.look_ups_max
        return money_report(
            done.resolutions,
            state,
            failures=done.failures,
            looked_up=len(close.looked_up),
            has_more=close.resolved.has_more or is_full,
            trouble=close.trouble,
        )

    async def _resolve(self, kinds: Sequence[ResolutionKind], done: "_Done") -> int:
        async with self._operator.reading() as connection:
            due = await reconciliation.due_attempts(connection, self._settings, kinds)
        for attempt in due:
            with done.noting_failure_of(attempt):
                async with self._operator.transaction(attempt.organization_id) as connection:
                    resolution = await reconciliation.reconcile(
                        connection, attempt.organization_id, attempt.attempt_id, self._settings
                    )
                done.note(resolution)
        return len(due)

    async def _book(self, looked_up: LookedUp, done: "_Done") -> None:
        with done.noting_failure_of(looked_up):
            async with self._operator.transaction(looked_up.organization_id) as connection:
                resolution = await reconciliation.book_looked_up(connection, looked_up)
            done.note(resolution)


@dataclass
class _Done:
    """One attempt that can't be resolved must not keep the others from it."""

    resolutions: list[Resolution] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def note(self, resolution: Resolution | None) -> None:
        if resolution is not None:
            self.resolutions.append(resolution)

    @contextmanager
    def noting_failure_of(self, attempt: AttemptRef) -> Iterator[None]:
        try:
            yield
        except PermanentError as error:
            self.failures.append(f"attempt {attempt.attempt_id} of organization {attempt.organization_id}: {error}")


class LookUpCosts(Frozen):
    look_ups: tuple[LookUp, ...]


class LookUpActivities:
    """Asks the provider what it booked; where its key is. Nothing is stored here, so nothing is held open either."""

    def __init__(self, look_up_cost: LookUpCost, heartbeat_every_seconds: float) -> None:
        self._look_up_cost = look_up_cost
        self._heartbeat_every_seconds = heartbeat_every_seconds

    @activity.defn(name="look_up_costs")
    async def look_up_costs(self, request: LookUpCosts) -> list[LookedUp]:
        async with heartbeating(self._heartbeat_every_seconds):
            return await look_up_all(self._look_up_cost, request.look_ups)


async def look_up_all(look_up_cost: LookUpCost, look_ups: Sequence[LookUp]) -> list[LookedUp]:
    """In order, a few at once; ``look_up_cost`` gives None for a generation without a figure."""
    few = asyncio.Semaphore(LOOK_UPS_AT_ONCE)

    async def ask(look_up: LookUp) -> LookedUp:
        async with few:
            usage = await look_up_cost(look_up.generation_id)
        return LookedUp(attempt_id=look_up.attempt_id, organization_id=look_up.organization_id, usage=usage)

    return list(await asyncio.gather(*[ask(look_up) for look_up in look_ups]))


async def reconcile_money(
    operator: Database, settings: ReconcileSettings, look_up_cost: LookUpCost | None, *, trouble: str = ""
) -> MoneyReport:
    """One pass without Temporal, over all counters. ``trouble`` is why nobody can be asked where ``look_up_cost`` is
    None; it is told when there was something to ask."""
    activities = ReconciliationActivities(operator, settings)
    this_pass = Pass(whole=True)
    resolved = await activities.resolve_due(this_pass)
    looked_up = await look_up_all(look_up_cost, resolved.look_ups) if look_up_cost else []
    if look_up_cost is not None or not resolved.look_ups:
        trouble = ""
    return await activities.close_books(
        CloseBooks(this_pass=this_pass, resolved=resolved, looked_up=tuple(looked_up), trouble=trouble)
    )


# Rows and runs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IntentRuns:
    """Temporal's side of the comparison: which runs are ours, how their state is shown, how a row's run is started
    (as ``start`` does it; raises WorkflowAlreadyStartedError after a run that completed)."""

    client: Client
    queue: str
    workflow_type: str
    shown_state: SearchAttributeKey[str]
    start: Callable[[WorkflowRecord], Awaitable[str | None]]


class ConsistencyActivities:
    """Compares the rows of all tenants with Temporal's runs, mends what can be mended safely and tells the rest."""

    def __init__(
        self, operator: Database, runs: IntentRuns, settings: ReconcileSettings, heartbeat_every_seconds: float
    ) -> None:
        self._operator = operator
        self._runs = runs
        self._settings = settings
        self._heartbeat_every_seconds = heartbeat_every_seconds

    @activity.defn(name="compare_runs")
    async def compare_runs(self, _: Pass) -> RunsReport:
        async with heartbeating(self._heartbeat_every_seconds):
            return await self.compare()

    async def compare(self) -> RunsReport:
        """Rows and runs change while they are read: what looks wrong is looked at again by itself before it counts,
        and not before it has been so for the grace time."""
        runs = await self._open_runs()
        async with self._operator.reading() as connection:
            rows = await reconciliation.row_states(connection, [id_ for run in runs.values() if (id_ := _row_id(run))])
        by_run = {temporal_workflow_id(row.organization_id, row.workflow_id): row for row in rows}
        open_rows = [row for row in rows if not is_terminal(row.state)]
        without_run = [row for id_, row in by_run.items() if not is_terminal(row.state) and id_ not in runs]
        disagreements, has_more = await self._rows_without_run(without_run)
        found = [await self._run_against_row(run, by_run.get(id_)) for id_, run in runs.items()]
        disagreements += [one for one in found if one is not None]
        return RunsReport(
            rows=len(open_rows),
            runs=len(runs),
            disagreements=tuple(disagreements[:NAMED_MAX]),
            has_more=len(disagreements) > NAMED_MAX or has_more,
        )

    async def _open_runs(self) -> dict[str, WorkflowExecution]:
        """Only those on our own queue: another deployment may share the namespace."""
        query = (
            f"WorkflowType = '{self._runs.workflow_type}' AND TaskQueue = '{self._runs.queue}' "
            "AND ExecutionStatus = 'Running'"
        )
        return {run.id: run async for run in self._runs.client.list_workflows(query)}

    # A row that is not at its end, and no open run that would take it there --------------------------------------

    async def _rows_without_run(self, rows: Sequence[RowState]) -> tuple[list[Disagreement], bool]:
        """And whether some were not looked at, as enough were started. Only starts count: rows that nobody can mend
        must not keep others from it."""
        disagreements: list[Disagreement] = []
        starts = 0
        for row in rows:
            if starts >= self._settings.starts_max:
                return disagreements, True
            one = await self._row_without_run(row)
            if one is not None:
                disagreements.append(one)
                starts += one.action is ActionTaken.STARTED
        return disagreements, False

    async def _row_without_run(self, row: RowState) -> Disagreement | None:
        if row.unchanged_seconds < self._settings.run_grace_seconds:
            return None
        last = await self._describe(temporal_workflow_id(row.organization_id, row.workflow_id))
        if last is not None and (_is_open(last) or self._ended_just_now(last)):
            return None
        record = await self._record(row)
        if record is None or is_terminal(record.state):
            return None
        return await self._mend_row(record, last)

    async def _mend_row(self, record: WorkflowRecord, last: WorkflowExecutionDescription | None) -> Disagreement:
        kind = DisagreementKind.NEVER_STARTED if last is None else DisagreementKind.RUN_ENDED_EARLY
        action, detail = ActionTaken.REPORTED, ""
        if last is not None and last.status is WorkflowExecutionStatus.CANCELED:
            detail = f"somebody cancelled the run: `starter.py cancel {record.workflow_id}` closes the row"
        else:
            try:
                run_id = await self._runs.start(record)
                action, detail = ActionTaken.STARTED, f"run {run_id} goes on from the row"
            except (RPCError, PermanentError, LookupError, ValueError) as error:
                detail = f"not started: {error}"
            except WorkflowAlreadyStartedError:
                detail = f"its run completed all the same: look at it, then `starter.py cancel {record.workflow_id}`"
        return Disagreement(
            kind=kind,
            temporal_workflow_id=temporal_workflow_id(record.organization_id, record.workflow_id),
            row_state=record.state,
            run=_status(last),
            action=action,
            detail=detail,
        )

    def _ended_just_now(self, run: WorkflowExecutionDescription) -> bool:
        return run.close_time is not None and self._is_recent(run.close_time)

    # An open run, and a row that says otherwise ------------------------------------------------------------------

    async def _run_against_row(self, run: WorkflowExecution, row: RowState | None) -> Disagreement | None:
        if row is None:
            return None if self._is_recent(run.start_time) else await self._end_run(run, None)
        if row.unchanged_seconds < self._settings.run_grace_seconds:
            return None
        if is_terminal(row.state):
            return await self._end_run(run, row)
        if run.typed_search_attributes.get(self._runs.shown_state) in (None, row.state):
            return None
        return await self._shown_wrong(run, row)

    async def _end_run(self, run: WorkflowExecution, row: RowState | None) -> Disagreement | None:
        """A cancelled run settles what is in flight and leaves a terminal row as it is."""
        now = await self._describe(run.id)
        if now is None or not _is_open(now):
            return None
        await self._runs.client.get_workflow_handle(run.id, run_id=run.run_id).cancel()
        return Disagreement(
            kind=DisagreementKind.RUN_WITHOUT_ROW if row is None else DisagreementKind.RUN_OF_ENDED_ROW,
            temporal_workflow_id=run.id,
            row_state=None if row is None else row.state,
            run=_status(now),
            action=ActionTaken.CANCEL_REQUESTED,
            detail="no row of this database" if row is None else f"its row has ended in {row.state}",
        )

    async def _shown_wrong(self, run: WorkflowExecution, row: RowState) -> Disagreement | None:
        """The list is behind by moments; the run's own description counts."""
        now = await self._describe(run.id)
        shown = None if now is None else now.typed_search_attributes.get(self._runs.shown_state)
        if now is None or not _is_open(now) or shown in (None, row.state):
            return None
        return Disagreement(
            kind=DisagreementKind.STATE_SHOWN_WRONG,
            temporal_workflow_id=run.id,
            row_state=row.state,
            run=_status(now),
            action=ActionTaken.REPORTED,
            detail=f"Temporal shows {shown}; the row is the truth, and the run loads it with its next step",
        )

    # What both sides share ---------------------------------------------------------------------------------------

    async def _describe(self, temporal_id: str) -> WorkflowExecutionDescription | None:
        """The latest run under an id; None when Temporal knows of none."""
        try:
            return await self._runs.client.get_workflow_handle(temporal_id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def _record(self, row: RowState) -> WorkflowRecord | None:
        async with self._operator.transaction(row.organization_id) as connection:
            return await load_workflow(connection, row.workflow_id)

    def _is_recent(self, moment: datetime) -> bool:
        return (datetime.now(UTC) - moment).total_seconds() < self._settings.run_grace_seconds


def _is_open(run: WorkflowExecution) -> bool:
    return run.status is WorkflowExecutionStatus.RUNNING


def _status(run: WorkflowExecution | None) -> str:
    return "" if run is None or run.status is None else run.status.name.lower()


def _row_id(run: WorkflowExecution) -> UUID | None:
    try:
        return UUID(run.id.rpartition("/")[2])
    except ValueError:
        return None
