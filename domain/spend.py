"""The life of one paid call: authorize, call, settle. See docs of each state in ARCHITECTURE.md, "Money"."""

from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from domain.money import Frozen, Usage, Usd


class AttemptState(StrEnum):
    REFUSED = "REFUSED"
    RESERVED = "RESERVED"
    DISPATCHED = "DISPATCHED"
    VOIDED = "VOIDED"
    EXPIRED = "EXPIRED"
    ANSWERED = "ANSWERED"
    NOT_BILLED = "NOT_BILLED"
    UNKNOWN = "UNKNOWN"
    SETTLED = "SETTLED"
    WRITTEN_OFF = "WRITTEN_OFF"


class ProviderRequest(Frozen):
    """A request as it will be sent: ``body`` is the exact JSON text, ``path`` is relative to the base URL."""

    model: str
    path: str
    body: str
    messages: int
    max_tokens: int
    searches: int = 0

    @property
    def body_bytes(self) -> int:
        return len(self.body.encode())


class NewAttempt(Frozen):
    """What ``authorize`` decides about. ``slot_hash`` is the hash of step, slot, prompt version, input and schema."""

    attempt_id: UUID
    step: str
    slot: str
    claim: int
    ask: int
    slot_hash: str
    request: ProviderRequest


class DecisionKind(StrEnum):
    AUTHORIZED = "AUTHORIZED"
    REFUSED = "REFUSED"
    REUSED = "REUSED"


class Refusal(Frozen):
    """The figures of the scope that refused: ``scope`` is ``workflow``, ``month``, ``frozen`` or ``price``."""

    scope: str
    cap_usd: Usd | None
    spent_usd: Usd
    held_usd: Usd
    hold_usd: Usd
    message: str


class Decision(Frozen):
    """``attempt_id`` is the attempt to go on with: for REUSED that of the settled answer handed out again."""

    kind: DecisionKind
    attempt_id: UUID
    hold_usd: Usd = Decimal(0)
    refusal: Refusal | None = None


class OutcomeKind(StrEnum):
    ANSWERED = "ANSWERED"
    NOT_BILLED = "NOT_BILLED"
    UNKNOWN = "UNKNOWN"
    EXPIRED = "EXPIRED"
    VOIDED = "VOIDED"


class CallOutcome(Frozen):
    """What became of one request; the workflow's helper decides what follows."""

    kind: OutcomeKind
    reason: str = ""
    permanent: bool = False
    retry_after_seconds: float | None = None


class ProviderAnswer(Frozen):
    """A provider's answer before any parsing of its content. ``body`` is the raw text (JSON, assembled from the
    stream), ``usage`` None where the provider gave none."""

    http_status: int
    body: str
    model: str
    generation_id: str | None
    usage: Usage | None
    finish_reason: str | None = None


class NotBilled(Frozen):
    """Evidence that nothing was charged: refused before sending, 401, 402, 403, 404, 429, 5xx without usage."""

    reason: str
    http_status: int | None
    permanent: bool
    retry_after_seconds: float | None = None


class UnknownOutcome(Frozen):
    """Sent, and no telling whether it was charged."""

    reason: str
    http_status: int | None = None
    body: str | None = None


class StoredAttempt(Frozen):
    """A row of ``spend_attempts`` as the call and the judges read it."""

    attempt_id: UUID
    workflow_id: UUID
    organization_id: UUID
    step: str
    slot: str
    claim: int
    ask: int
    state: AttemptState
    model: str
    path: str
    request_body: str
    hold_usd: Usd
    price_id: UUID
    generation_id: str | None = None
    http_status: int | None = None
    answer_body: str | None = None
    usage: Usage | None = None
    outcome: dict[str, Any] | None = None
    rejected_reason: str | None = None


class Settlement(Frozen):
    """What one attempt was booked at."""

    attempt_id: UUID
    cost_usd: Usd
    overrun_usd: Usd = Decimal(0)
