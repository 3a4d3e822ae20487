"""A model of the money core: what every call must answer and what every row must say, in whole nano-dollars.

Written from the design's words alone. Answers are plain values; a refusal is the name of its error.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

CONFLICT, BAD, LOST = "IdempotencyConflictError", "BadInputError", "ClaimLostError"
OPEN = {"RESERVED", "DISPATCHED", "ANSWERED", "UNKNOWN"}
# Nano-dollars per token of input and output, and per request.
RATES = {"openai/gpt-4o-mini": (150, 600, 0), "perplexity/sonar": (1000, 1000, 5_000_000)}
USD = 10**9


@dataclass
class Scope:
    """A workflow, or a month of an organization. ``bound`` is the cap in force at the latest authorization."""

    spent: int = 0
    held: int = 0
    overrun: int = 0
    bound: int | None = None
    is_frozen: bool = False


@dataclass
class Bill:
    """What the provider will have charged for one request, and what it will say about it."""

    amount: int
    prompt_tokens: int
    completion_tokens: int
    says_figure: bool
    is_free: bool = False
    broke_its_bound: bool = False

    @property
    def figure(self) -> int | None:
        return self.amount if self.says_figure else None


@dataclass(eq=False)
class Attempt:
    attempt_id: UUID
    workflow: "Workflow"
    month: Scope
    slot: str
    claim: int
    ask: int
    slot_hash: str
    model: str
    hold: int
    is_due: bool
    refusal: str | None = None
    state: str = "RESERVED"
    was_sent: bool = False
    bill: Bill | None = None
    has_usage: bool = False
    has_body: bool = False
    is_rejected: bool = False
    not_billed_stored: bool = False
    booked: int = 0
    bookings: int = 0
    corrections: int = 0
    overrun: int = 0


@dataclass(eq=False)
class Workflow:
    workflow_id: UUID
    organization: "Organization"
    cap: int
    claim: int
    state: str = "ICP_PROCESSING"
    version: int = 2
    scope: Scope = field(default_factory=lambda: Scope(bound=None))
    claims: list[int] = field(default_factory=list)
    decisions: dict[UUID, int] = field(default_factory=dict)


@dataclass(eq=False)
class Organization:
    organization_id: UUID
    month_cap: int | None
    months_on: int = 0
    months: dict[int, Scope] = field(default_factory=dict)

    def month(self) -> Scope:
        return self.months.setdefault(self.months_on, Scope())


@dataclass(frozen=True)
class Ask:
    attempt_id: UUID
    slot: str
    claim: int
    ask: int
    slot_hash: str
    model: str
    body_bytes: int
    max_tokens: int

    @property
    def hold(self) -> int:
        if self.model not in RATES:
            return 0
        prompt, completion, request = RATES[self.model]
        return (self.body_bytes + 16 + 64) * prompt + self.max_tokens * completion + request


def usage_cost(model: str, prompt_tokens: int, completion_tokens: int) -> int:
    prompt, completion, request = RATES[model]
    return prompt_tokens * prompt + completion_tokens * completion + request


class Ledger:
    """All organizations, workflows and attempts of one game."""

    def __init__(self) -> None:
        self.workflows: list[Workflow] = []
        self.attempts: dict[UUID, Attempt] = {}
        self.reused: dict[UUID, UUID] = {}

    # authorize ------------------------------------------------------------------------------------------------

    def authorize(self, workflow: Workflow, asks: list[Ask], is_due: bool) -> Any:
        before = (
            deepcopy(workflow.scope),
            deepcopy(workflow.organization.months),
            set(self.attempts),
            set(self.reused),
        )
        answers = []
        for ask in asks:
            answer = self._known(ask) or self._decided(workflow, ask, is_due)
            if answer == LOST:
                self._undo(workflow, *before)
                return LOST
            answers.append(answer)
        return answers

    def _undo(
        self, workflow: Workflow, scope: Scope, months: dict[int, Scope], attempts: set[UUID], reused: set[UUID]
    ) -> None:
        vars(workflow.scope).update(vars(scope))
        for number, month in months.items():
            vars(workflow.organization.months[number]).update(vars(month))
        for number in set(workflow.organization.months) - set(months):
            del workflow.organization.months[number]
        self.attempts = {key: value for key, value in self.attempts.items() if key in attempts}
        self.reused = {key: value for key, value in self.reused.items() if key in reused}

    def _known(self, ask: Ask) -> Any:
        if ask.attempt_id in self.reused:
            return ("REUSED", self.reused[ask.attempt_id], 0, None)
        known = self.attempts.get(ask.attempt_id)
        if known is None:
            return None
        kind = "REFUSED" if known.refusal else "AUTHORIZED"
        return (kind, ask.attempt_id, known.hold, known.refusal)

    def _decided(self, workflow: Workflow, ask: Ask, is_due: bool) -> Any:
        if workflow.state != "ICP_PROCESSING" or workflow.version != ask.claim:
            return LOST
        reusable = self._reusable(workflow, ask)
        if reusable:
            self.reused[ask.attempt_id] = reusable.attempt_id
            workflow.organization.month()
            return self._known(ask)
        month = workflow.organization.month()
        attempt = Attempt(
            ask.attempt_id, workflow, month, ask.slot, ask.claim, ask.ask, ask.slot_hash, ask.model, ask.hold, is_due
        )
        attempt.refusal = self._refusal(workflow, month, ask)
        self.attempts[ask.attempt_id] = attempt
        if attempt.refusal:
            attempt.state = "REFUSED"
        else:
            workflow.scope.held += ask.hold
            month.held += ask.hold
            workflow.scope.bound, month.bound = workflow.cap, workflow.organization.month_cap
        return self._known(ask)

    def _reusable(self, workflow: Workflow, ask: Ask) -> Attempt | None:
        fits = [
            one
            for one in self.attempts.values()
            if one.workflow is workflow
            and (one.slot, one.slot_hash, one.state) == (ask.slot, ask.slot_hash, "SETTLED")
            and one.claim < ask.claim
            and one.has_body
            and not one.is_rejected
        ]
        return max(fits, key=lambda one: (one.claim, one.ask), default=None)

    def _refusal(self, workflow: Workflow, month: Scope, ask: Ask) -> str | None:
        cap = workflow.organization.month_cap
        if ask.model not in RATES:
            return "price"
        if workflow.scope.is_frozen or month.is_frozen:
            return "frozen"
        if workflow.scope.spent + workflow.scope.held + ask.hold > workflow.cap:
            return "workflow"
        if not cap or month.spent + month.held + ask.hold > cap:
            return "month"
        return None

    # the call -------------------------------------------------------------------------------------------------

    def dispatch(self, attempt_id: UUID, bill: Bill) -> Any:
        attempt = self.attempts.get(attempt_id)
        if attempt is None:
            return BAD
        if attempt.state == "DISPATCHED":
            attempt.state = "UNKNOWN"
        if attempt.state != "RESERVED":
            return False
        workflow = attempt.workflow
        if (workflow.state, workflow.version) != ("ICP_PROCESSING", attempt.claim):
            self._release(attempt, "VOIDED")
            return False
        if attempt.is_due:
            self._release(attempt, "EXPIRED")
            return False
        attempt.state, attempt.was_sent, attempt.bill = "DISPATCHED", True, bill
        return True

    def _release(self, attempt: Attempt, state: str) -> None:
        attempt.state = state
        attempt.workflow.scope.held -= attempt.hold
        attempt.month.held -= attempt.hold

    def store_answer(self, attempt_id: UUID, is_the_bill: bool = True) -> Any:
        attempt = self.attempts.get(attempt_id)
        if attempt is None:
            return BAD
        if not attempt.was_sent or attempt.state in ("NOT_BILLED", "VOIDED"):
            return CONFLICT
        if attempt.state in ("ANSWERED", "SETTLED"):
            if not (attempt.has_usage and is_the_bill):
                return CONFLICT
            attempt.has_body = True
            return attempt.state
        attempt.has_usage = attempt.has_body = True
        if attempt.state == "DISPATCHED":
            attempt.state = "ANSWERED"
        else:
            self._settle(attempt)
        return attempt.state

    def store_not_billed(self, attempt_id: UUID) -> Any:
        attempt = self.attempts.get(attempt_id)
        if attempt is None:
            return BAD
        if not attempt.was_sent:
            return CONFLICT
        closed = {"DISPATCHED": "NOT_BILLED", "UNKNOWN": "VOIDED", "WRITTEN_OFF": "SETTLED"}.get(attempt.state)
        if closed is None:
            return attempt.state if attempt.not_billed_stored else CONFLICT
        self._book(attempt, 0, closed)
        attempt.not_billed_stored = True
        return closed

    def store_unknown(self, attempt_id: UUID, has_body: bool) -> Any:
        attempt = self.attempts.get(attempt_id)
        if attempt is None:
            return BAD
        if not attempt.was_sent:
            return CONFLICT
        if attempt.state in ("DISPATCHED", "UNKNOWN"):
            attempt.state = "UNKNOWN"
            attempt.has_body = attempt.has_body or has_body
        return attempt.state

    # booking --------------------------------------------------------------------------------------------------

    def settle(self, attempt_ids: list[UUID]) -> Any:
        attempts = [self.attempts.get(attempt_id) for attempt_id in attempt_ids]
        if any(attempt is None for attempt in attempts):
            return BAD
        if any(one and one.state not in ("ANSWERED", "SETTLED", "NOT_BILLED", "WRITTEN_OFF") for one in attempts):
            return CONFLICT
        return [self._settled(attempt) for attempt in attempts if attempt]

    def settle_answered(self, workflow: Workflow) -> Any:
        mine = [one for one in self.attempts.values() if one.workflow is workflow and one.state == "ANSWERED"]
        return [self._settled(attempt) for attempt in sorted(mine, key=lambda one: one.attempt_id)]

    def _settled(self, attempt: Attempt) -> Any:
        if attempt.state == "ANSWERED":
            self._settle(attempt)
        return (attempt.attempt_id, attempt.booked, attempt.overrun)

    def record_usage(self, attempt_id: UUID) -> Any:
        """The same figure by the function that people of the original system know."""
        attempt = self.attempts.get(attempt_id)
        if attempt is None:
            return BAD
        if attempt.state in ("UNKNOWN", "WRITTEN_OFF"):
            attempt.has_usage = True
            self._settle(attempt)
        elif attempt.state == "ANSWERED":
            self._settle(attempt)
        elif not (attempt.state == "SETTLED" and attempt.has_usage):
            return CONFLICT
        return attempt.booked

    def _settle(self, attempt: Attempt) -> None:
        assert attempt.bill is not None
        self._book(attempt, attempt.bill.amount, "SETTLED")

    def _book(self, attempt: Attempt, cost: int, closed: str) -> None:
        is_correction = attempt.state == "WRITTEN_OFF"
        for scope in (attempt.workflow.scope, attempt.month):
            scope.held -= 0 if is_correction else attempt.hold
            scope.spent += cost - attempt.booked
            scope.overrun += max(cost - attempt.hold, 0)
            scope.is_frozen = scope.is_frozen or cost > attempt.hold
        attempt.corrections += is_correction
        attempt.bookings += not is_correction
        attempt.booked, attempt.overrun, attempt.state = cost, max(cost - attempt.hold, 0), closed

    def write_off(self, attempt_id: UUID) -> Any:
        attempt = self.attempts.get(attempt_id)
        if attempt is None:
            return BAD
        if attempt.state == "UNKNOWN":
            self._book(attempt, attempt.hold, "WRITTEN_OFF")
        elif attempt.state not in ("WRITTEN_OFF", "SETTLED"):
            return CONFLICT
        return attempt.booked

    def reject(self, attempt_id: UUID) -> Any:
        attempt = self.attempts.get(attempt_id)
        if attempt is None:
            return BAD
        if attempt.state not in ("ANSWERED", "SETTLED"):
            return CONFLICT
        attempt.is_rejected = True
        return None

    def expire(self, organization: Organization) -> Any:
        due = [
            one
            for one in self.attempts.values()
            if one.workflow.organization is organization and one.state == "RESERVED" and one.is_due
        ]
        for attempt in due:
            self._release(attempt, "EXPIRED")
        return len(due)

    # scopes and states ----------------------------------------------------------------------------------------

    def raise_cap(self, workflow: Workflow, cap: int, decision_id: UUID) -> Any:
        if decision_id in workflow.decisions:
            return workflow.cap if workflow.decisions[decision_id] == cap else CONFLICT
        if workflow.state in ("CANCELLED", "COMPLETED") or cap < workflow.cap:
            return BAD
        if cap > workflow.cap:
            workflow.decisions[decision_id] = cap
            workflow.cap = cap
        return workflow.cap

    def thaw(self, workflow: Workflow) -> None:
        workflow.scope.is_frozen = False
        for month in workflow.organization.months.values():
            month.is_frozen = False

    def move(self, workflow: Workflow, states: list[str]) -> None:
        """The workflow takes legal edges; leaving PROCESSING ends what its claim reserved."""
        for state in states:
            if workflow.state == "ICP_PROCESSING":
                for attempt in self.attempts.values():
                    if (attempt.workflow, attempt.claim, attempt.state) == (workflow, workflow.version, "RESERVED"):
                        self._release(attempt, "VOIDED")
            workflow.state, workflow.version = state, workflow.version + 1
            if state == "ICP_PROCESSING":
                workflow.claims.append(workflow.version)
