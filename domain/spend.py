"""The life of one paid call: authorize, call, settle. See docs of each state in ARCHITECTURE.md, "Money"."""

import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import Field

from domain.errors import BadInputError
from domain.identifiers import attempt_id_of
from domain.money import Frozen, ModelPrice, Usage, Usd, hold_for, prompt_token_bound


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


ATTEMPT_TRANSITIONS: frozenset[tuple[AttemptState, AttemptState]] = frozenset(
    {
        (AttemptState.RESERVED, AttemptState.DISPATCHED),
        (AttemptState.RESERVED, AttemptState.VOIDED),
        (AttemptState.RESERVED, AttemptState.EXPIRED),
        (AttemptState.DISPATCHED, AttemptState.ANSWERED),
        (AttemptState.DISPATCHED, AttemptState.NOT_BILLED),
        (AttemptState.DISPATCHED, AttemptState.UNKNOWN),
        (AttemptState.ANSWERED, AttemptState.SETTLED),
        (AttemptState.UNKNOWN, AttemptState.ANSWERED),
        (AttemptState.UNKNOWN, AttemptState.WRITTEN_OFF),
        (AttemptState.UNKNOWN, AttemptState.VOIDED),
        (AttemptState.WRITTEN_OFF, AttemptState.SETTLED),
    }
)
OPEN_HOLD_STATES = frozenset(
    {AttemptState.RESERVED, AttemptState.DISPATCHED, AttemptState.ANSWERED, AttemptState.UNKNOWN}
)


class Endpoint(StrEnum):
    """What kind of request is paid for: each bounds its cost in its own way and is sent by its own adapter."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    KEYWORD_DATA = "keyword_data"


class ProviderRequest(Frozen):
    """A request as it will be sent: ``body`` is the exact JSON text, ``path`` is relative to the base URL.

    ``searches`` counts what is billed by the piece: searches that a model may make, rows that a keyword data provider
    may return. ``messages`` of an embeddings request are its texts. ``model`` of a keyword data request names its
    endpoint as the prices do ("dataforseo/keywords_for_site").
    """

    endpoint: Endpoint = Endpoint.CHAT
    model: str
    path: str
    body: str
    messages: int = Field(ge=0)
    max_tokens: int = Field(ge=0)
    searches: int = Field(default=0, ge=0)

    @property
    def body_bytes(self) -> int:
        return len(self.body.encode())


def request_hold(price: ModelPrice, request: ProviderRequest) -> Decimal:
    """The most the provider can bill for the request as it will be sent, in US dollars."""
    bound = prompt_token_bound(request.body_bytes, request.messages)
    return hold_for(price, prompt_tokens=bound, completion_tokens=request.max_tokens, searches=request.searches)


KEYWORD_ROWS_MAX = 1000
# Fields of a task that change which rows come, and never what a row costs.
KEYWORD_TASK_FIELDS = frozenset(
    {"target", "keyword", "keywords", "location_code", "language_code", "limit", "order_by", "filters", "depth"}
)
EMBEDDINGS_FIELDS = frozenset({"model", "input", "encoding_format", "dimensions", "user"})


def check_bounds(request: ProviderRequest) -> None:
    """Raises BadInputError when the body allows more than the request states: its hold would be no bound."""
    try:
        body = json.loads(request.body)
    except ValueError as error:
        raise BadInputError(f"the request's body is not JSON ({error})", "body") from error
    match request.endpoint:
        case Endpoint.CHAT:
            _check_chat(request, body)
        case Endpoint.EMBEDDINGS:
            _check_embeddings(request, body)
        case Endpoint.KEYWORD_DATA:
            _check_keyword_data(request, body)


def _check_embeddings(request: ProviderRequest, body: Any) -> None:
    texts = body.get("input") if isinstance(body, dict) else None
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise BadInputError("an embeddings request's input must be a list of texts, none empty", "body.input")
    if len(texts) != request.messages or request.max_tokens:
        raise BadInputError(f"the request states {request.messages} texts and has {len(texts)}", "body.input")
    if body.get("model") != request.model or not set(body) <= EMBEDDINGS_FIELDS:
        raise BadInputError(f"the request's body must name the model {request.model!r} and no other", "body.model")


def _check_keyword_data(request: ProviderRequest, body: Any) -> None:
    """One task, for one task is billed; rows bounded; nothing in it that doubles the price of a row."""
    if not isinstance(body, list) or len(body) != 1 or not isinstance(body[0], dict):
        raise BadInputError("a keyword data request's body must be a list of exactly one task", "body")
    task = body[0]
    unknown = sorted(set(task) - KEYWORD_TASK_FIELDS)
    if unknown:
        raise BadInputError(f"the task's field {unknown[0]!r} may change what it costs; leave it out", "body")
    keywords = task.get("keywords")
    rows = task.get("limit") if keywords is None else len(keywords) if isinstance(keywords, list) else None
    if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= KEYWORD_ROWS_MAX:
        raise BadInputError(f"the task asks for {rows!r} rows; it must be 1 to {KEYWORD_ROWS_MAX}", "body.limit")
    if rows != request.searches or (keywords is not None and "limit" in task):
        raise BadInputError(f"the task asks for {rows} rows and the request states {request.searches}", "body.limit")
    _, _, endpoint = request.model.partition("/")
    if not endpoint or f"/{endpoint}/" not in request.path:
        raise BadInputError(f"the path {request.path!r} is not that of {request.model}", "path")


def _check_chat(request: ProviderRequest, body: Any) -> None:
    if not isinstance(body, dict):
        raise BadInputError("the request's body must be one JSON object", "body")
    if body.get("model") != request.model or "models" in body:
        raise BadInputError(f"the request's body must name the model {request.model!r} and no other", "body.model")
    if body.get("n", 1) != 1:
        raise BadInputError(f"the request's body asks for {body['n']} answers; one is paid for", "body.n")
    limits = [body[name] for name in ("max_tokens", "max_completion_tokens") if name in body]
    is_chat = request.path.rstrip("/").endswith("completions")
    if (is_chat and not limits) or any(limit != request.max_tokens for limit in limits):
        raise BadInputError(
            f"the request's body limits its answer to {limits or 'nothing'}; it must be {request.max_tokens} tokens",
            "body.max_tokens",
        )


def with_model(request: ProviderRequest, model: str) -> ProviderRequest:
    """The same request to another model."""
    body = {**json.loads(request.body), "model": model}
    return request.model_copy(
        update={"model": model, "body": json.dumps(body, ensure_ascii=False, sort_keys=True)},
    )


class AskRoute(Frozen):
    """One request for every model of its route, in the route's order. Past ``downgrade_share`` of the workflow's cap
    the route is taken in the order of price."""

    requests: tuple[ProviderRequest, ...]
    downgrade_share: Decimal = Field(ge=0)


def ask_route(request: ProviderRequest, models: Sequence[str], downgrade_share: float) -> AskRoute | None:
    """None where there is nothing to choose: a single model, or one that is not of the route."""
    if len(models) < 2 or request.model not in models:
        return None
    requests = tuple(request if model == request.model else with_model(request, model) for model in models)
    return AskRoute(requests=requests, downgrade_share=Decimal(str(downgrade_share)))


class NewAttempt(Frozen):
    """What ``authorize`` decides about. ``slot_hash`` is the hash of step, slot, prompt version, input and schema.
    With a ``route`` it may send the request to a cheaper model of it; without one it sends it as it is."""

    attempt_id: UUID
    step: str
    slot: str
    claim: int
    ask: int
    slot_hash: str
    request: ProviderRequest
    route: AskRoute | None = None


def check_route(attempt: NewAttempt) -> None:
    """Raises BadInputError unless every request of the route is bounded as the one that is asked."""
    request = attempt.request
    for other in attempt.route.requests if attempt.route else ():
        check_bounds(other)
        bounds = (other.path, other.messages, other.max_tokens, other.searches)
        if bounds != (request.path, request.messages, request.max_tokens, request.searches):
            raise BadInputError(f"the request to {other.model} differs from that to {request.model}", "route")


def check_identity(workflow_id: UUID, attempt: NewAttempt) -> None:
    """Raises BadInputError when the UUID is not the one that this ask has on every retry, restart and replay."""
    derived = attempt_id_of(workflow_id, attempt.step, attempt.slot, attempt.claim, attempt.ask)
    if attempt.attempt_id != derived:
        raise BadInputError(
            f"attempt {attempt.attempt_id} is not the UUID of step {attempt.step}, slot {attempt.slot}, claim "
            f"{attempt.claim}, ask {attempt.ask}; that is {derived}",
            "attempt_id",
        )


class DecisionKind(StrEnum):
    AUTHORIZED = "AUTHORIZED"
    REFUSED = "REFUSED"
    REUSED = "REUSED"


class Refusal(Frozen):
    """The figures of the scope that refused: ``scope`` is ``workflow``, ``plan`` (which allows a workflow
    nothing), ``month``, ``frozen`` or ``price``."""

    scope: str
    cap_usd: Usd | None
    spent_usd: Usd
    held_usd: Usd
    hold_usd: Usd
    message: str


class Decision(Frozen):
    """``attempt_id`` is the attempt to go on with: for REUSED that of the settled answer handed out again. ``model`` is
    the one that is asked, None for REUSED."""

    kind: DecisionKind
    attempt_id: UUID
    hold_usd: Usd = Decimal(0)
    refusal: Refusal | None = None
    model: str | None = None


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
    endpoint: Endpoint = Endpoint.CHAT
    model: str
    path: str
    request_body: str
    hold_usd: Usd
    price_id: UUID | None
    generation_id: str | None = None
    http_status: int | None = None
    answer_body: str | None = None
    usage: Usage | None = None
    outcome: dict[str, Any] | None = None
    rejected_reason: str | None = None


def outcome_of(attempt: StoredAttempt) -> CallOutcome:
    """What a stored attempt says became of its request. Raises ValueError while there is no outcome."""
    facts = attempt.outcome or {}
    match attempt.state:
        case AttemptState.ANSWERED | AttemptState.SETTLED if attempt.answer_body is not None:
            kind = OutcomeKind.ANSWERED
        case AttemptState.NOT_BILLED:
            kind = OutcomeKind.NOT_BILLED
        case AttemptState.UNKNOWN | AttemptState.WRITTEN_OFF | AttemptState.ANSWERED | AttemptState.SETTLED:
            kind = OutcomeKind.UNKNOWN  # its cost may be known by now: there is still no answer to judge
        case AttemptState.EXPIRED:
            kind = OutcomeKind.EXPIRED
        case AttemptState.VOIDED:
            # Of an UNKNOWN one the provider said later that it billed nothing.
            kind = OutcomeKind.NOT_BILLED if "permanent" in facts else OutcomeKind.VOIDED
        case _:
            raise ValueError(f"attempt {attempt.attempt_id} is {attempt.state} and has no outcome yet")
    if kind is OutcomeKind.ANSWERED:
        return CallOutcome(kind=kind)
    return CallOutcome(
        kind=kind,
        reason=facts.get("reason", ""),
        permanent=facts.get("permanent", False),
        retry_after_seconds=facts.get("retry_after_seconds"),
    )


class Settlement(Frozen):
    """What one attempt was booked at."""

    attempt_id: UUID
    cost_usd: Usd
    overrun_usd: Usd = Decimal(0)


class LedgerLine(Frozen):
    """A row of ``ai_usage_ledger``. ``entry`` is ``usage``, ``not_billed``, ``write_off`` or ``correction``.

    ``ledger_id`` is the row's number. ``downgraded_from`` is the model that the run asked for where a cheaper one took
    its place; ``reason`` and ``actor`` are those of a person's correction.
    """

    ledger_id: int
    idempotency_key: UUID
    attempt_id: UUID
    workflow_id: UUID
    organization_id: UUID
    month: date
    entry: str
    corrects: UUID | None
    step: str
    slot: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    searches: int
    cost: Usd
    computed_cost_usd: Usd | None
    provider_cost_usd: Usd | None
    drift_usd: Usd | None
    price_id: UUID | None
    downgraded_from: str | None
    reason: str | None
    actor: str | None
    created_at: datetime


class CostKey(StrEnum):
    """What costs can be summed by."""

    MONTH = "month"
    MODEL = "model"
    STEP = "step"
    SLOT = "slot"
    WORKFLOW = "workflow"
    ORGANIZATION = "organization"


class CostSum(Frozen):
    """A sum over ledger rows; of the keys those are set that were asked for. ``month`` is its first day."""

    month: date | None = None
    model: str | None = None
    step: str | None = None
    slot: str | None = None
    workflow_id: UUID | None = None
    organization_id: UUID | None = None
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Usd


class WorkflowSpend(Frozen):
    """The counters of a workflow."""

    workflow_id: UUID
    cap_usd: Usd
    spent_usd: Usd
    held_usd: Usd
    overrun_usd: Usd
    frozen_reason: str | None


class OpenHold(Frozen):
    """An attempt whose hold is not resolved."""

    attempt_id: UUID
    step: str
    slot: str
    claim: int
    ask: int
    state: AttemptState
    model: str
    hold_usd: Usd
    authorized_at: datetime
    expires_at: datetime
    call_deadline_at: datetime | None
