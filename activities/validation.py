"""Step 5: only clusters that hold go on; the verdict decides the transition."""

from temporalio import activity

from activities.case import load_case
from activities.judging import block_with, judged
from activities.state import complete_step
from db import clusters, outputs
from db.pool import Connection, Database
from domain import validation
from domain.clustering import Clustering
from domain.errors import InvalidModelOutputError
from domain.progress import ClaimRef, Judged, JudgedKind
from domain.states import Step
from domain.validation import JudgedCluster
from domain.verdict import Blocked, Completed


class ValidationActivities:
    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="validate_clusters")
    async def validate_clusters(self, claim: ClaimRef) -> Judged:
        """Stores every cluster's verdict with its reasons, also when none is valid."""
        async with self._database.transaction(claim.organization_id) as connection:
            case = await load_case(connection, claim.workflow_id)
            clustering = await _clustering(connection, claim)
            end = validation.validate(
                clustering,
                case.brief.existing_pages,
                settings=case.settings.validation,
                clustering_settings=case.settings.clustering,
            )
            match end:
                case Completed(output=found, verdict=verdict):
                    if await complete_step(connection, claim, found.model_dump(mode="json"), verdict):
                        await _store(connection, claim, found.clusters)
                    return await judged(connection, claim, JudgedKind.ACCEPTED)
                case Blocked() as blocked:
                    await block_with(connection, claim, blocked)
                    await _store_blocked(connection, claim, blocked)
                    return await judged(connection, claim, JudgedKind.BLOCKED)


async def _clustering(connection: Connection, claim: ClaimRef) -> Clustering:
    stored = await outputs.latest_output(connection, claim.workflow_id, Step.CLUSTERING)
    if stored is None:
        raise InvalidModelOutputError(f"workflow {claim.workflow_id} has no clusters to validate")
    return Clustering.model_validate(stored.output)


async def _store(connection: Connection, claim: ClaimRef, judged_clusters: tuple[JudgedCluster, ...]) -> None:
    ids = {row.hub: row.cluster_id for row in await clusters.load_clusters(connection, claim.workflow_id)}
    for cluster in judged_clusters:
        await clusters.judge_cluster(connection, ids[cluster.hub], is_valid=cluster.is_valid, reasons=cluster.reasons)


async def _store_blocked(connection: Connection, claim: ClaimRef, blocked: Blocked) -> None:
    judged_clusters = (blocked.output or {}).get("clusters", [])
    await _store(connection, claim, tuple(JudgedCluster.model_validate(item) for item in judged_clusters))
