"""Money as activities: authorize, call, settle; each idempotent, keyed by the attempt's UUID."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from temporalio import activity

from activities.case import Case, load_case
from db import spend, workflows
from db.pool import Connection, Database
from domain.errors import ConfigurationError, DatabaseUnavailableError
from domain.identifiers import attempt_id_of
from domain.money import Frozen, Usd
from domain.progress import CallKind, CallSpec, ClaimRef, WorkflowRef
from domain.settings import StepSettings
from domain.spend import (
    AskRoute,
    CallOutcome,
    Decision,
    Endpoint,
    NewAttempt,
    NotBilled,
    OutcomeKind,
    ProviderAnswer,
    ProviderRequest,
    StoredAttempt,
    UnknownOutcome,
    ask_route,
)

if TYPE_CHECKING:
    from providers.keyword_data import KeywordData
    from providers.language_model import LanguageModel

STORE_RETRY_SECONDS = 0.5
NO_KEYWORD_DATA = (
    "this worker has no account of a keyword data provider: set INFIN8_KEYWORD_DATA_LOGIN and "
    "INFIN8_KEYWORD_DATA_PASSWORD for it"
)


class PreparedRequest(Frozen):
    """A request as it will be sent, and the hash of what makes its slot the same."""

    request: ProviderRequest
    slot_hash: str


RequestBuilder = Callable[[Connection, Case, CallSpec], Awaitable[PreparedRequest]]


class AuthorizeCalls(Frozen):
    claim: ClaimRef
    calls: tuple[CallSpec, ...]


class PaidCall(Frozen):
    claim: ClaimRef
    attempt_id: UUID


class SettleCalls(Frozen):
    ref: WorkflowRef
    attempt_ids: tuple[UUID, ...]


class Spent(Frozen):
    """The workflow's counters after a settlement."""

    spent_usd: Usd
    held_usd: Usd


class SpendActivities:
    """Decides and books. ``builders`` make the request of each kind of call from what the database holds."""

    def __init__(self, database: Database, builders: Mapping[CallKind, RequestBuilder]) -> None:
        self._database = database
        self._builders = builders

    @activity.defn(name="authorize")
    async def authorize(self, request: AuthorizeCalls) -> list[Decision]:
        """One decision per call, in order; asked again, the first decision, without building anything anew."""
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            ids = [_attempt_id(claim, call) for call in request.calls]
            known = await spend.decisions(connection, ids)
            missing = [call for call, id_ in zip(request.calls, ids, strict=True) if id_ not in known]
            if missing:
                decided = await self._decide(connection, claim, missing)
                known |= dict(zip([_attempt_id(claim, call) for call in missing], decided, strict=True))
            return [known[id_] for id_ in ids]

    async def _decide(self, connection: Connection, claim: ClaimRef, calls: list[CallSpec]) -> list[Decision]:
        case = await load_case(connection, claim.workflow_id)
        attempts = [await self._attempt(connection, case, claim, call) for call in calls]
        return await spend.authorize(
            connection,
            claim.workflow_id,
            claim.organization_id,
            attempts,
            expires_after_seconds=case.settings.spend.expires_after_seconds,
            call_deadline_seconds=case.settings.spend.call_timeout_seconds,
        )

    async def _attempt(self, connection: Connection, case: Case, claim: ClaimRef, call: CallSpec) -> NewAttempt:
        prepared = await self._builders[call.slot.kind](connection, case, call)
        return NewAttempt(
            attempt_id=_attempt_id(claim, call),
            step=claim.step,
            slot=call.slot.name,
            claim=claim.claim,
            ask=call.ask,
            slot_hash=prepared.slot_hash,
            request=prepared.request,
            route=_route(case.settings, call, prepared.request),
        )

    @activity.defn(name="settle")
    async def settle(self, request: SettleCalls) -> Spent:
        """Books every answered attempt once; an attempt that is already booked changes nothing."""
        async with self._database.transaction(request.ref.organization_id) as connection:
            await spend.settle(connection, request.ref.organization_id, list(request.attempt_ids))
            case = await load_case(connection, request.ref.workflow_id)
            return Spent(spent_usd=case.record.spent_usd, held_usd=case.record.held_usd)


def _attempt_id(claim: ClaimRef, call: CallSpec) -> UUID:
    return attempt_id_of(claim.workflow_id, claim.step, call.slot.name, claim.claim, call.ask)


class PaidCallActivities:
    """Sends what was authorized, at most once, and stores what came back before anybody reads it.

    ``keyword_data`` is None for a worker without an account of that kind.
    """

    def __init__(
        self,
        database: Database,
        language_model: "LanguageModel",
        heartbeat_every_seconds: float,
        *,
        is_sandbox: bool,
        keyword_data: "KeywordData | None" = None,
    ) -> None:
        self._database = database
        self._language_model = language_model
        self._keyword_data = keyword_data
        self._heartbeat_every_seconds = heartbeat_every_seconds
        self._is_sandbox = is_sandbox

    @activity.defn(name="call_provider")
    async def call_provider(self, call: PaidCall) -> CallOutcome:
        """Never raises for a provider's answer. Run again with the UUID: the stored outcome, or UNKNOWN."""
        async with heartbeating(self._heartbeat_every_seconds):
            return await finish_despite_cancellation(self._dispatch_and_send(call))

    async def _dispatch_and_send(self, call: PaidCall) -> CallOutcome:
        claim = call.claim
        async with self._database.transaction(claim.organization_id) as connection:
            is_demo = await workflows.is_demo(connection, claim.workflow_id)
            if is_demo is not self._is_sandbox:
                return CallOutcome(kind=OutcomeKind.NOT_BILLED, permanent=True, reason=_other_provider(is_demo))
            send_now, attempt = await spend.dispatch(
                connection, claim.workflow_id, claim.organization_id, call.attempt_id
            )
        return await self._send(claim.organization_id, attempt) if send_now else spend.outcome_of(attempt)

    async def _send(self, organization_id: UUID, attempt: StoredAttempt) -> CallOutcome:
        """By the adapter of the attempt's endpoint."""
        match attempt.endpoint:
            case Endpoint.CHAT | Endpoint.EMBEDDINGS:
                result = await self._ask_model(organization_id, attempt)
            case Endpoint.KEYWORD_DATA:
                result = await self._ask_keyword_data(attempt)
        return await self._store(organization_id, attempt.attempt_id, result)

    async def _ask_keyword_data(self, attempt: StoredAttempt) -> ProviderAnswer | NotBilled | UnknownOutcome:
        if self._keyword_data is None:
            return NotBilled(reason=NO_KEYWORD_DATA, http_status=None, permanent=True)
        return await self._keyword_data.call(
            attempt_id=attempt.attempt_id, path=attempt.path, body=attempt.request_body, model=attempt.model
        )

    async def _ask_model(
        self, organization_id: UUID, attempt: StoredAttempt
    ) -> ProviderAnswer | NotBilled | UnknownOutcome:
        async def on_generation_id(generation_id: str) -> None:
            async with self._database.transaction(organization_id) as connection:
                await spend.record_generation_id(connection, organization_id, attempt.attempt_id, generation_id)

        return await self._language_model.call(
            attempt_id=attempt.attempt_id,
            path=attempt.path,
            body=attempt.request_body,
            on_generation_id=on_generation_id,
        )

    async def _store(
        self, organization_id: UUID, attempt_id: UUID, result: ProviderAnswer | NotBilled | UnknownOutcome
    ) -> CallOutcome:
        """Tried until the database takes it: an answer that was paid for must not be lost to an outage."""
        while True:
            try:
                async with self._database.transaction(organization_id) as connection:
                    stored = await _store_result(connection, organization_id, attempt_id, result)
                return spend.outcome_of(stored)
            except (DatabaseUnavailableError, ConfigurationError) as error:
                activity.logger.warning("answer not stored yet: %s", error)
                await asyncio.sleep(STORE_RETRY_SECONDS)


def _other_provider(is_demo: bool) -> str:
    """The sandbox never answers where an account was meant, and a run of the sandbox never spends money."""
    if is_demo:
        return "the run was started with the sandbox and this worker has an account: start the brief anew"
    return "the run was started with an account and this worker has the sandbox: start a worker with the key"


def _route(settings: StepSettings, call: CallSpec, request: ProviderRequest) -> AskRoute | None:
    """The request for each model of its route: which one is sent is decided where the money is."""
    match call.slot.kind:
        case CallKind.ICP:
            route = settings.icp.route
        case CallKind.COMPETITOR_DISCOVERY | CallKind.COMPETITOR_LABELS:
            route = settings.competitor.route
        case CallKind.ARTICLE_OUTLINE:
            route = settings.article.outline_route
        case CallKind.ARTICLE_SECTION | CallKind.ARTICLE_REPAIR:
            route = settings.article.section_route
        case CallKind.KEYWORD_DATA | CallKind.EMBEDDINGS:
            return None  # one model each: another one's answer would mean something else
    return ask_route(request, route.models, settings.spend.downgrade_share)


async def _store_result(
    connection: Connection,
    organization_id: UUID,
    attempt_id: UUID,
    result: ProviderAnswer | NotBilled | UnknownOutcome,
) -> StoredAttempt:
    match result:
        case ProviderAnswer():
            return await spend.store_answer(connection, organization_id, attempt_id, result)
        case NotBilled():
            return await spend.store_not_billed(connection, organization_id, attempt_id, result)
        case UnknownOutcome():
            return await spend.store_unknown(connection, organization_id, attempt_id, result)


@asynccontextmanager
async def heartbeating(every_seconds: float) -> AsyncIterator[None]:
    """Tells Temporal that this worker lives while the block runs."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(every_seconds)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()


async def finish_despite_cancellation(work: Awaitable[CallOutcome]) -> CallOutcome:
    """A request in flight costs money whether or not anyone waits for it: a cancellation waits for its answer.

    From the commit of DISPATCHED to that of the answer nothing may tear the call away.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
    return task.result()
