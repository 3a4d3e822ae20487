"""Embeddings of a workflow's approved keywords by a paid model: asked for in batches, stored as they come.

A verdict must not change its method unsaid: where the provider gives no vectors the step fails and waits, and what was
paid for is not paid for again.
"""

from uuid import UUID

from temporalio import activity

from activities.case import Case, load_case
from activities.clustering import approved_keywords, load_vectors
from activities.judging import reject
from activities.spend import PreparedRequest
from db import keyword_vectors, spend, transitions
from db.pool import Connection, Database
from domain import embedding_requests
from domain.errors import ConfigurationError, InvalidModelOutputError
from domain.language import InvalidAnswerError
from domain.money import Frozen
from domain.progress import CallKind, CallSpec, ClaimRef, Judged, JudgedKind, Slot


class EmbeddingsPlan(Frozen):
    """A call for each batch that lacks a vector; ``model`` is the one that all are asked of."""

    model: str
    slots: tuple[Slot, ...]


class EmbeddingsAnswer(Frozen):
    attempt_id: UUID
    repairs_left: int


class JudgeEmbeddings(Frozen):
    claim: ClaimRef
    answers: tuple[EmbeddingsAnswer, ...]


async def build_embeddings_request(connection: Connection, case: Case, call: CallSpec) -> PreparedRequest:
    """Which texts a batch holds depends on what was approved alone, not on what is stored by now."""
    batches = embedding_requests.batches_of(await _texts(connection, case))
    request = embedding_requests.build_request(_model(case), batches[int(call.slot.subject or 1) - 1])
    return PreparedRequest(request=request, slot_hash=embedding_requests.request_slot_hash(call.slot.name, request))


async def _texts(connection: Connection, case: Case) -> list[str]:
    return [row.text for row in await approved_keywords(connection, case)]


def _model(case: Case) -> str:
    model = case.settings.clustering.embedding_model
    if model is None:
        raise ConfigurationError(f"workflow {case.workflow_id} names no model of embeddings to pay; start it anew")
    return model


class PaidEmbeddingActivities:
    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="plan_embeddings")
    async def plan_embeddings(self, claim: ClaimRef) -> EmbeddingsPlan:
        async with self._database.transaction(claim.organization_id) as connection:
            case = await load_case(connection, claim.workflow_id)
            texts = await _texts(connection, case)
            stored = await load_vectors(connection, case, case.settings.clustering, texts)
        batches = enumerate(embedding_requests.batches_of(texts), start=1)
        missing = [number for number, batch in batches if any(text not in stored for text in batch)]
        slots = tuple(Slot(kind=CallKind.EMBEDDINGS, subject=str(number)) for number in missing)
        return EmbeddingsPlan(model=_model(case), slots=slots)

    @activity.defn(name="judge_embeddings")
    async def judge_embeddings(self, request: JudgeEmbeddings) -> list[Judged]:
        """Stores the vectors of each answer that has one for every text it was asked about."""
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            await transitions.check_claim(connection, claim.workflow_id, claim.organization_id, claim.step, claim.claim)
            model = _model(await load_case(connection, claim.workflow_id))
            return [await self._judge(connection, claim, model, answer) for answer in request.answers]

    async def _judge(self, connection: Connection, claim: ClaimRef, model: str, answer: EmbeddingsAnswer) -> Judged:
        attempt = await spend.load_attempt(connection, answer.attempt_id)
        if attempt is None or attempt.answer_body is None:
            raise InvalidModelOutputError(f"attempt {answer.attempt_id} of step {claim.step} has no stored answer")
        try:
            texts = embedding_requests.texts_of(attempt.request_body)
            vectors = embedding_requests.read_vectors(attempt.answer_body, texts)
        except InvalidAnswerError as error:
            await reject(connection, claim, answer.attempt_id, str(error))
            kind = JudgedKind.ASK_AGAIN if answer.repairs_left > 0 else JudgedKind.BLOCKED
            return Judged(kind=kind, message=str(error))
        await keyword_vectors.store_vectors(connection, claim, model, vectors)
        return Judged(kind=JudgedKind.ACCEPTED)
