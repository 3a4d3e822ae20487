"""The one way a step asks a paid provider: authorize, call, settle, judge; again where that is allowed.

Every ask is a new attempt with a UUID and a hold of its own. ``ask_all`` serves one slot or many: what is decided or
booked at one moment is one activity over many attempts.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from temporalio import workflow

from workflows.failures import all_of, stop_if_cancelled
from workflows.policies import at_provider, in_database

with workflow.unsafe.imports_passed_through():
    from activities.spend import AuthorizeCalls, PaidCall, PaidCallActivities, SettleCalls, SpendActivities
    from domain.errors import CapReachedError, InvalidModelOutputError, ProviderUnavailableError
    from domain.language import Route
    from domain.progress import CAP_REACHED, CallSpec, ClaimRef, Failure, Judged, JudgedKind, Slot
    from domain.settings import StepSettings
    from domain.spend import CallOutcome, Decision, DecisionKind, OutcomeKind
    from domain.verdict import Reason

RETRY_AFTER_SECONDS_MAX = 120.0
BACKOFF_SECONDS_MAX = 20.0


@dataclass(frozen=True)
class Answered:
    """An answer that is booked and waits for its judge."""

    slot: Slot
    attempt_id: UUID
    repairs_left: int


Judge = Callable[[Sequence[Answered]], Awaitable[Sequence[Judged]]]


@dataclass(frozen=True)
class SlotEnd:
    """Accepted, or the failure that ended the slot; ``judged`` is None where no answer was judged."""

    slot: Slot
    judged: Judged | None = None
    failure: Failure | None = None

    @property
    def is_accepted(self) -> bool:
        return self.failure is None


@dataclass
class _Asking:
    slot: Slot
    route: Route
    repairs_left: int
    ask: int = 1
    model_index: int = 0
    feedback: str | None = None
    wait_seconds: float = 0.0
    troubles: list[str] = field(default_factory=list)

    def spec(self) -> CallSpec:
        model = self.route.models[self.model_index % len(self.route.models)]
        return CallSpec(slot=self.slot, ask=self.ask, model=model, feedback=self.feedback)


@dataclass(frozen=True)
class CallContext:
    """Where paid calls are made for: the claim, the settings stored with the workflow, the queue, words for the UI."""

    claim: ClaimRef
    settings: StepSettings
    queue: str
    summary: str


async def ask_all(context: CallContext, slots: Sequence[Slot], route: Route, judge: Judge) -> dict[str, SlotEnd]:
    """Ask every slot until its answer is accepted or it has to end; ends by slot name."""
    repairs_max = context.settings.spend.repairs_max
    asking = {slot.name: _Asking(slot, route, repairs_max) for slot in slots}
    ends: dict[str, SlotEnd] = {}
    while asking:
        answered = await _round(context, list(asking.values()), ends)
        stop_if_cancelled()
        if answered:
            for answer, judged in zip(answered, await judge(answered), strict=True):
                _take_judgement(asking[answer.slot.name], judged, ends)
        for name in ends:
            asking.pop(name, None)
        _end_exhausted(context, asking, ends)
        await _pause(asking)
    return ends


async def ask_one(context: CallContext, slot: Slot, route: Route, judge: Judge) -> SlotEnd:
    return (await ask_all(context, [slot], route, judge))[slot.name]


async def _round(context: CallContext, asking: Sequence[_Asking], ends: dict[str, SlotEnd]) -> list[Answered]:
    """One ask of every open slot; what was answered is booked before it is returned."""
    decisions = await _authorize(context, asking)
    stop_if_cancelled()
    authorized = [
        (one, decision) for one, decision in zip(asking, decisions, strict=True) if _is_open(one, decision, ends)
    ]
    outcomes = await all_of(_outcome(context, one, decision) for one, decision in authorized)
    answered = []
    for (one, decision), outcome in zip(authorized, outcomes, strict=True):
        if outcome.kind is OutcomeKind.ANSWERED:
            answered.append(Answered(one.slot, decision.attempt_id, one.repairs_left))
        else:
            _take_trouble(one, outcome, ends)
    await _settle(context, answered)
    return answered


async def _authorize(context: CallContext, asking: Sequence[_Asking]) -> list[Decision]:
    return await in_database(
        SpendActivities.authorize,
        AuthorizeCalls(claim=context.claim, calls=tuple(one.spec() for one in asking)),
        context.settings.timeouts,
        f"{context.summary}: may it spend?",
    )


def _is_open(one: _Asking, decision: Decision, ends: dict[str, SlotEnd]) -> bool:
    if decision.kind is not DecisionKind.REFUSED:
        return True
    message = decision.refusal.message if decision.refusal else "the cap is reached"
    reason = Reason(code=CAP_REACHED, message=message, subject=one.slot.name)
    failure = Failure(type=CapReachedError.__name__, message=message, reasons=(reason,))
    ends[one.slot.name] = SlotEnd(one.slot, failure=failure)
    return False


async def _outcome(context: CallContext, one: _Asking, decision: Decision) -> CallOutcome:
    if decision.kind is DecisionKind.REUSED:
        return CallOutcome(kind=OutcomeKind.ANSWERED)
    return await at_provider(
        PaidCallActivities.call_provider,
        PaidCall(claim=context.claim, attempt_id=decision.attempt_id),
        context.settings.timeouts,
        f"{context.summary}: {decision.model or one.spec().model}, ask {one.ask}, at most ${decision.hold_usd:f}",
        queue=context.queue,
    )


async def _settle(context: CallContext, answered: Sequence[Answered]) -> None:
    if answered:
        await in_database(
            SpendActivities.settle,
            SettleCalls(ref=context.claim.workflow, attempt_ids=tuple(answer.attempt_id for answer in answered)),
            context.settings.timeouts,
            f"{context.summary}: book the cost",
        )


def _take_trouble(one: _Asking, outcome: CallOutcome, ends: dict[str, SlotEnd]) -> None:
    """No answer: which model next, after what wait, or the end of the slot."""
    one.troubles.append(f"{one.spec().model}: {outcome.reason or outcome.kind}")
    one.ask += 1
    one.wait_seconds = 0.0
    if outcome.kind is OutcomeKind.NOT_BILLED and not outcome.permanent:
        one.wait_seconds = _wait_seconds(one, outcome)
    if outcome.kind in (OutcomeKind.NOT_BILLED, OutcomeKind.UNKNOWN):
        one.model_index += 1
    if outcome.permanent and one.model_index >= len(one.route.models):
        ends[one.slot.name] = SlotEnd(one.slot, failure=_unavailable(one, "the provider refused"))


def _wait_seconds(one: _Asking, outcome: CallOutcome) -> float:
    if outcome.retry_after_seconds is not None:
        base = min(max(outcome.retry_after_seconds, 0.0), RETRY_AFTER_SECONDS_MAX)
    else:
        base = min(2.0 ** (one.ask - 2), BACKOFF_SECONDS_MAX)
    return base + workflow.random().uniform(0, base / 4)


def _take_judgement(one: _Asking, judged: Judged, ends: dict[str, SlotEnd]) -> None:
    match judged.kind:
        case JudgedKind.ACCEPTED:
            ends[one.slot.name] = SlotEnd(one.slot, judged=judged)
        case JudgedKind.BLOCKED:
            ends[one.slot.name] = SlotEnd(one.slot, judged=judged, failure=_invalid(one, judged.message))
        case JudgedKind.ASK_AGAIN:
            one.ask += 1
            one.repairs_left -= 1
            one.wait_seconds = 0.0
            one.feedback = judged.message
            one.troubles.append(judged.message)
            if one.repairs_left == 0:
                one.model_index += 1


def _end_exhausted(context: CallContext, asking: dict[str, _Asking], ends: dict[str, SlotEnd]) -> None:
    asks_max = context.settings.spend.asks_max
    for name in [name for name, one in asking.items() if one.ask > asks_max]:
        one = asking.pop(name)
        ends[name] = SlotEnd(one.slot, failure=_unavailable(one, f"no usable answer in {asks_max} asks"))


async def _pause(asking: dict[str, _Asking]) -> None:
    seconds = max((one.wait_seconds for one in asking.values()), default=0.0)
    if seconds > 0:
        await workflow.sleep(timedelta(seconds=seconds), summary="the provider asked to wait")


def _unavailable(one: _Asking, what: str) -> Failure:
    message = f"{one.slot.name}: {what} ({'; '.join(one.troubles[-3:])}); retry when the provider is back"
    reason = Reason(code="provider_unavailable", message=message, subject=one.slot.name)
    return Failure(type=ProviderUnavailableError.__name__, message=message, reasons=(reason,))


def _invalid(one: _Asking, message: str) -> Failure:
    text = message or f"{one.slot.name}: the model's answers stayed invalid"
    reason = Reason(code="invalid_model_output", message=text, subject=one.slot.name)
    return Failure(type=InvalidModelOutputError.__name__, message=text, reasons=(reason,))
