"""Step 4: approved keywords to hubs and spokes. Deterministic, no network."""

from temporalio import activity

from activities.case import load_case
from activities.judging import block_with, judged
from activities.state import complete_step
from db import clusters, keywords
from db.clusters import ClusterRow, cluster_id_of
from db.keywords import KeywordRow
from db.pool import Database
from domain import clustering
from domain.clustering import Clustering, Keyword
from domain.keyphrases import Intent
from domain.progress import ClaimRef, Judged, JudgedKind
from domain.verdict import Blocked, Completed


class ClusteringActivities:
    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="cluster_keywords")
    async def cluster_keywords(self, claim: ClaimRef) -> Judged:
        async with self._database.transaction(claim.organization_id) as connection:
            case = await load_case(connection, claim.workflow_id)
            rows = await keywords.load_keywords(connection, claim.workflow_id)
            approved = [_keyword(row) for row in rows if row.decision == "approved"]
            match clustering.cluster(approved, case.settings.clustering):
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
