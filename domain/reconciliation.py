"""What the reconciler is told to do, what it did, and what it leaves open."""

import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import Field

from domain.embedding_requests import has_every_embedding, texts_of
from domain.money import Frozen, Usage, Usd, format_usd
from domain.spend import AttemptState
from domain.states import State

NAMED_MAX = 50  # of each list in a report: it travels through Temporal, and people read it


class ReconcileSettings(Frozen):
    """Deadlines by the database's clock, in seconds.

    ``call_grace_seconds`` counts from the deadline of a call (what its worker may need beyond the HTTP timeout),
    ``settle_grace_seconds`` from the answer, ``write_off_after_seconds`` from the deadline of the call. A cost is
    looked up every ``look_up_every_seconds``, after each vain look-up half as often, down to
    ``look_up_every_seconds_max``, and of a written-off attempt for ``late_look_up_seconds``.
    """

    every_seconds: float = Field(default=60, gt=0)
    schedule_id: str = "maintenance/reconcile"
    call_grace_seconds: float = Field(default=60, ge=0)
    settle_grace_seconds: float = Field(default=60, ge=0)
    write_off_after_seconds: float = Field(default=3_600, ge=0)
    look_up_every_seconds: float = Field(default=30, ge=0)
    look_up_every_seconds_max: float = Field(default=3_600, ge=0)
    late_look_up_seconds: float = Field(default=7 * 86_400, ge=0)
    attempts_max: int = Field(default=200, ge=1)
    look_ups_max: int = Field(default=50, ge=1)
    drift_tolerance_share: Decimal = Field(default=Decimal("0.01"), ge=0)
    report_window_seconds: float = Field(default=86_400, gt=0)
    run_grace_seconds: float = Field(default=30, ge=0)
    starts_max: int = Field(default=100, ge=1)


# Money -----------------------------------------------------------------------------------------------------------


class ResolutionKind(StrEnum):
    """EXPIRED: reserved and never sent. UNKNOWN: no outcome by the call's deadline. SETTLED: answered, and its run did
    not book it. LATE: its cost was learnt by looking it up. NOT_BILLED: the provider says it charged nothing.
    WRITTEN_OFF: booked at the hold. CORRECTED: written off before, and its cost was learnt."""

    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"
    SETTLED = "SETTLED"
    LATE = "LATE"
    NOT_BILLED = "NOT_BILLED"
    WRITTEN_OFF = "WRITTEN_OFF"
    CORRECTED = "CORRECTED"


class AttemptRef(Frozen):
    attempt_id: UUID
    organization_id: UUID


class DueAttempt(AttemptRef):
    """An attempt and what is due for it, as of a moment ago: its row decides under the lock."""

    kind: ResolutionKind


class LookUp(AttemptRef):
    """A cost to ask the provider for."""

    generation_id: str


class LookedUp(AttemptRef):
    """What the provider said; None: no figure."""

    usage: Usage | None


class Resolution(AttemptRef):
    """What was done about one attempt. ``booked_usd`` is the change of its cost in the ledger."""

    workflow_id: UUID
    kind: ResolutionKind
    hold_usd: Usd
    booked_usd: Usd


class ResolutionSum(Frozen):
    kind: ResolutionKind
    attempts: int
    hold_usd: Usd
    booked_usd: Usd


class OpenAttempt(AttemptRef):
    """An attempt whose hold is not resolved, why, and when it will be at the latest."""

    workflow_id: UUID
    state: AttemptState
    hold_usd: Usd
    why: str
    due_at: datetime
    is_overdue: bool


class OpenSum(Frozen):
    state: AttemptState
    attempts: int
    overdue: int
    hold_usd: Usd


class Drift(Frozen):
    """Ledger rows whose provider's figure differs from the computed one by more than the tolerance."""

    rows: int = 0
    provider_usd: Usd = Decimal(0)
    computed_usd: Usd = Decimal(0)


class FrozenScope(Frozen):
    """A workflow or a month that takes no new authorizations; ``workflow_id`` is None for a month."""

    organization_id: UUID
    workflow_id: UUID | None = None
    month: date | None = None
    reason: str


class Imbalance(Frozen):
    """A scope whose counters are not the sums of its rows: a defect, never mended silently."""

    organization_id: UUID
    scope: str
    spent_usd: Usd
    spent_in_rows_usd: Usd
    held_usd: Usd
    held_in_rows_usd: Usd


class BooksState(Frozen):
    """What a pass leaves behind."""

    open_sums: tuple[OpenSum, ...] = ()
    open_attempts: tuple[OpenAttempt, ...] = ()
    drift: Drift = Drift()
    frozen: tuple[FrozenScope, ...] = ()
    imbalances: tuple[Imbalance, ...] = ()


class MoneyReport(BooksState):
    """``resolutions`` are the first of those that ``sums`` counts, ``failures`` what could not be resolved, which is a
    defect; ``trouble`` says why costs were not looked up."""

    sums: tuple[ResolutionSum, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    failures: tuple[str, ...] = ()
    looked_up: int = 0
    has_more: bool = False
    trouble: str = ""

    def after(self, later: "MoneyReport") -> "MoneyReport":
        """Both passes as one: what was done adds up, what is left is what the later one found."""
        return later.model_copy(
            update={
                "sums": _added(self.sums, later.sums),
                "resolutions": (*self.resolutions, *later.resolutions)[:NAMED_MAX],
                "failures": later.failures,
                "looked_up": self.looked_up + later.looked_up,
            }
        )


def _added(one: Sequence[ResolutionSum], other: Sequence[ResolutionSum]) -> tuple[ResolutionSum, ...]:
    return tuple(
        ResolutionSum(
            kind=kind,
            attempts=sum(part.attempts for part in parts),
            hold_usd=sum((part.hold_usd for part in parts), Decimal(0)),
            booked_usd=sum((part.booked_usd for part in parts), Decimal(0)),
        )
        for kind in ResolutionKind
        if (parts := [part for part in (*one, *other) if part.kind is kind])
    )


def money_report(
    resolutions: Sequence[Resolution],
    state: BooksState,
    *,
    failures: Sequence[str] = (),
    looked_up: int,
    has_more: bool,
    trouble: str = "",
) -> MoneyReport:
    return MoneyReport(
        **{name: getattr(state, name) for name in BooksState.model_fields},
        sums=sums_of(resolutions),
        resolutions=tuple(resolutions[:NAMED_MAX]),
        failures=tuple(failures[:NAMED_MAX]),
        looked_up=looked_up,
        has_more=has_more,
        trouble=trouble,
    )


def sums_of(resolutions: Iterable[Resolution]) -> tuple[ResolutionSum, ...]:
    """In the order of ``ResolutionKind``; a kind that did not occur has no sum."""
    resolved = list(resolutions)
    return tuple(
        ResolutionSum(
            kind=kind,
            attempts=len(of_kind),
            hold_usd=sum((one.hold_usd for one in of_kind), Decimal(0)),
            booked_usd=sum((one.booked_usd for one in of_kind), Decimal(0)),
        )
        for kind in ResolutionKind
        if (of_kind := [one for one in resolved if one.kind is kind])
    )


def open_attempt(facts: dict[str, Any], settings: ReconcileSettings, now: datetime) -> OpenAttempt:
    """``facts`` are the columns of an attempt with an open hold."""
    state = AttemptState(facts["state"])
    due_at = _due_at(state, facts, settings)
    return OpenAttempt(
        attempt_id=facts["attempt_id"],
        workflow_id=facts["workflow_id"],
        organization_id=facts["organization_id"],
        state=state,
        hold_usd=facts["hold_usd"],
        why=_why_open(state, facts),
        due_at=due_at,
        is_overdue=due_at <= now,
    )


def _due_at(state: AttemptState, facts: dict[str, Any], settings: ReconcileSettings) -> datetime:
    since, seconds = {
        AttemptState.RESERVED: ("expires_at", 0.0),
        AttemptState.DISPATCHED: ("call_deadline_at", settings.call_grace_seconds),
        AttemptState.ANSWERED: ("answered_at", settings.settle_grace_seconds),
        AttemptState.UNKNOWN: ("call_deadline_at", settings.write_off_after_seconds),
    }[state]
    begin: datetime = facts[since]
    return begin + timedelta(seconds=seconds)


def _why_open(state: AttemptState, facts: dict[str, Any]) -> str:
    match state:
        case AttemptState.RESERVED:
            return "authorized and not sent yet"
        case AttemptState.DISPATCHED:
            return "sent, and the provider may still answer"
        case AttemptState.ANSWERED:
            return "answered, and its run books it next"
    if facts["generation_id"] is None:
        return "no telling what it cost, and the provider gave no id to ask by"
    times = facts["look_ups"]
    return f"no telling what it cost; the provider was asked {times} time{'s' if times != 1 else ''} and had no figure"


def open_sums(opened: Iterable[OpenAttempt]) -> tuple[OpenSum, ...]:
    attempts = list(opened)
    return tuple(
        OpenSum(
            state=state,
            attempts=len(of_state),
            overdue=sum(one.is_overdue for one in of_state),
            hold_usd=sum((one.hold_usd for one in of_state), Decimal(0)),
        )
        for state in AttemptState
        if (of_state := [one for one in attempts if one.state is state])
    )


def is_whole_answer(body: str, request_body: str | None = None) -> bool:
    """Whether a stored body is an answer that came to its end, so that it may be judged and handed out again: a chat
    completion with a reason why it ended, or embeddings; of as many texts as were asked about where that is known."""
    try:
        answer = json.loads(body)
        if isinstance(answer, dict) and "choices" not in answer:
            return has_every_embedding(answer, None if request_body is None else len(texts_of(request_body)))
        return isinstance(answer, dict) and bool(answer["choices"][0]["finish_reason"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


# A ledger row again ----------------------------------------------------------------------------------------------


class Recomputed(Frozen):
    """A ledger row's cost computed anew from its usage and its price row; both None where nothing was computed (a
    write-off, a row of $0, an operator's correction, a model without a price)."""

    idempotency_key: UUID
    computed_usd: Usd | None
    recomputed_usd: Usd | None

    @property
    def agrees(self) -> bool:
        return self.computed_usd == self.recomputed_usd


# Rows and runs ---------------------------------------------------------------------------------------------------


class DisagreementKind(StrEnum):
    NEVER_STARTED = "never_started"
    RUN_ENDED_EARLY = "run_ended_early"
    RUN_OF_ENDED_ROW = "run_of_ended_row"
    RUN_WITHOUT_ROW = "run_without_row"
    STATE_SHOWN_WRONG = "state_shown_wrong"


class ActionTaken(StrEnum):
    STARTED = "started"
    CANCEL_REQUESTED = "cancel_requested"
    REPORTED = "reported"


class Disagreement(Frozen):
    """A row and Temporal tell different stories. ``row_state`` is None where there is no row; ``run`` is how the run
    stands in Temporal's words, empty where there never was one."""

    kind: DisagreementKind
    temporal_workflow_id: str
    row_state: State | None = None
    run: str = ""
    action: ActionTaken
    detail: str = ""


class RunsReport(Frozen):
    """``rows`` are the rows not at their end, ``runs`` the open runs they were compared with."""

    rows: int
    runs: int
    disagreements: tuple[Disagreement, ...] = ()
    has_more: bool = False


class ReconciliationReport(Frozen):
    """``runs`` is None where Temporal was not asked."""

    money: MoneyReport
    runs: RunsReport | None = None
    runs_trouble: str = ""


def report_lines(report: ReconciliationReport) -> list[str]:
    """The report for people: what was done, what is open, what has to be looked into."""
    money = report.money
    lines = [
        f"{one.kind}: {one.attempts} (held ${format_usd(one.hold_usd)}, booked ${format_usd(one.booked_usd)})"
        for one in money.sums
    ]
    if not lines:
        lines.append("money: nothing was due")
    lines += [f"DEFECT: {failure}" for failure in money.failures]
    lines += [f"costs not looked up: {money.trouble}"] if money.trouble else []
    lines += [
        f"open: {one.attempts} {one.state}, held ${format_usd(one.hold_usd)}"
        + (f", {one.overdue} overdue" if one.overdue else "")
        for one in money.open_sums
    ]
    lines += [_drift_line(money.drift)] if money.drift.rows else []
    lines += [f"frozen: {_scope_words(one)}: {one.reason}" for one in money.frozen]
    lines += [
        f"DEFECT: counters of {one.scope} say spent ${format_usd(one.spent_usd)}, held ${format_usd(one.held_usd)}; "
        f"its rows say ${format_usd(one.spent_in_rows_usd)}, ${format_usd(one.held_in_rows_usd)}"
        for one in money.imbalances
    ]
    return lines + _runs_lines(report)


def _drift_line(drift: Drift) -> str:
    return (
        f"drift: {drift.rows} bookings differ from their computed cost "
        f"(provider ${format_usd(drift.provider_usd)}, computed ${format_usd(drift.computed_usd)})"
    )


def _scope_words(scope: FrozenScope) -> str:
    if scope.workflow_id is not None:
        return f"workflow {scope.workflow_id}"
    return f"month {scope.month:%Y-%m} of organization {scope.organization_id}"


def _runs_lines(report: ReconciliationReport) -> list[str]:
    if report.runs is None:
        return [f"runs: not compared ({report.runs_trouble})"]
    if not report.runs.disagreements:
        return [f"runs: {report.runs.rows} open rows and {report.runs.runs} open runs agree"]
    return [
        f"runs: {one.temporal_workflow_id}: {one.kind} (row {one.row_state or 'missing'}, run {one.run or 'none'}): "
        f"{one.action}" + (f"; {one.detail}" if one.detail else "")
        for one in report.runs.disagreements
    ]
