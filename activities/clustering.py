"""Step 4: approved keywords to hubs and spokes. Deterministic; what a keyword means is computed once and stored."""

import asyncio
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from temporalio import activity

from activities.case import Case, load_case
from activities.judging import block_with, judged
from activities.spend import heartbeating
from activities.state import complete_step
from db import clusters, keyword_vectors, keywords, transitions
from db.clusters import ClusterRow, cluster_id_of
from db.keywords import KeywordRow
from db.pool import Connection, Database
from domain import clustering
from domain.clustering import Clustering, Keyword
from domain.embeddings import Vector
from domain.keyphrases import Intent
from domain.progress import ClaimRef, Judged, JudgedKind
from domain.settings import ClusteringSettings
from domain.verdict import Blocked, Completed

if TYPE_CHECKING:
    from providers.embeddings import LocalEmbeddings


async def approved_keywords(connection: Connection, case: Case) -> list[KeywordRow]:
    rows = await keywords.load_keywords(connection, case.workflow_id)
    return [row for row in rows if row.decision == "approved"]


async def load_vectors(
    connection: Connection, case: Case, settings: ClusteringSettings, texts: Sequence[str]
) -> dict[str, Vector]:
    """The stored vectors of the settings' model; none where the settings use none."""
    if settings.embedding_model is None:
        return {}
    return await keyword_vectors.load_vectors(connection, case.workflow_id, settings.embedding_model, texts)


class KeywordEmbeddingActivities:
    """The local model: on the web queue, outside of any transaction."""

    def __init__(self, database: Database, embeddings: "LocalEmbeddings", heartbeat_every_seconds: float) -> None:
        self._database = database
        self._embeddings = embeddings
        self._heartbeat_every_seconds = heartbeat_every_seconds

    @activity.defn(name="embed_keywords")
    async def embed_keywords(self, claim: ClaimRef) -> int:
        """How many approved keywords got their vector now; those that have one keep it. Raises ConfigurationError
        where this worker lacks the workflow's model."""
        async with self._database.transaction(claim.organization_id) as connection:
            case = await load_case(connection, claim.workflow_id)
            texts = [row.text for row in await approved_keywords(connection, case)]
            stored = await load_vectors(connection, case, case.settings.clustering, texts)
        missing = [text for text in texts if text not in stored]
        if not missing:
            return 0
        self._embeddings.check(case.settings.clustering.embedding_model)
        vectors = await self._embed(missing)
        async with self._database.transaction(claim.organization_id) as connection:
            await transitions.check_claim(connection, claim.workflow_id, claim.organization_id, claim.step, claim.claim)
            await keyword_vectors.store_vectors(connection, claim, self._embeddings.model or "", vectors)
        return len(vectors)

    async def _embed(self, texts: Sequence[str]) -> dict[str, list[float]]:
        """In a thread; a cancelled activity leaves none behind that goes on computing."""
        is_stopped = threading.Event()
        try:
            async with heartbeating(self._heartbeat_every_seconds):
                return await asyncio.to_thread(self._embeddings.embed, texts, is_stopped)
        finally:
            is_stopped.set()


class ClusteringActivities:
    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="cluster_keywords")
    async def cluster_keywords(self, claim: ClaimRef) -> Judged:
        async with self._database.transaction(claim.organization_id) as connection:
            case = await load_case(connection, claim.workflow_id)
            approved = [_keyword(row) for row in await approved_keywords(connection, case)]
            settings = case.settings.clustering
            vectors = await load_vectors(connection, case, settings, [keyword.text for keyword in approved])
        end = await asyncio.to_thread(clustering.cluster, approved, settings, vectors)
        async with self._database.transaction(claim.organization_id) as connection:
            match end:
                case Completed(output=found, verdict=verdict):
                    if await complete_step(connection, claim, found.model_dump(mode="json"), verdict):
                        await clusters.store_clusters(connection, claim, _rows(claim, found))
                    return await judged(connection, claim, JudgedKind.ACCEPTED)
                case Blocked() as blocked:
                    await block_with(connection, claim, blocked)
                    return await judged(connection, claim, JudgedKind.BLOCKED)


def _keyword(row: KeywordRow) -> Keyword:
    return Keyword(text=row.text, volume=row.volume, score=row.score, intent=Intent(row.intent))


def _rows(claim: ClaimRef, found: Clustering) -> list[ClusterRow]:
    return [
        ClusterRow(
            cluster_id=cluster_id_of(claim, cluster.hub),
            position=position,
            hub=cluster.hub,
            intent=cluster.intent,
            spokes=[spoke.model_dump(mode="json") for spoke in cluster.spokes],
        )
        for position, cluster in enumerate(found.clusters, start=1)
    ]
