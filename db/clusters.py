"""Clusters of approved keywords, one set per claim of the clustering step."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid5

from db.pool import Connection
from domain.money import Frozen
from domain.progress import ClaimRef
from domain.verdict import Reason


class ClusterRow(Frozen):
    """``is_valid`` is None until validation has judged it. ``spokes`` are {"text", "similarity"}."""

    cluster_id: UUID
    position: int
    hub: str
    intent: str
    spokes: list[dict[str, Any]]
    is_valid: bool | None = None
    reasons: tuple[Reason, ...] = ()


async def store_clusters(connection: Connection, claim: ClaimRef, clusters: Sequence[ClusterRow]) -> None:
    for cluster in clusters:
        await connection.execute(
            """
            INSERT INTO keyword_clusters
                (cluster_id, workflow_id, organization_id, claim, position, hub, intent, spokes)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            """,
            cluster.cluster_id,
            claim.workflow_id,
            claim.organization_id,
            claim.claim,
            cluster.position,
            cluster.hub,
            cluster.intent,
            cluster.spokes,
        )


def cluster_id_of(claim: ClaimRef, hub: str) -> UUID:
    return uuid5(claim.workflow_id, f"cluster:{claim.claim}:{hub}")


async def judge_cluster(connection: Connection, cluster_id: UUID, *, is_valid: bool, reasons: Sequence[Reason]) -> None:
    await connection.execute(
        "UPDATE keyword_clusters SET is_valid = $2, reasons = $3 WHERE cluster_id = $1",
        cluster_id,
        is_valid,
        [reason.model_dump(mode="json") for reason in reasons],
    )


async def load_clusters(connection: Connection, workflow_id: UUID) -> list[ClusterRow]:
    """The newest set, in its order."""
    rows = await connection.fetch(
        """
        SELECT cluster_id, position, hub, intent, spokes, is_valid, reasons FROM keyword_clusters
        WHERE workflow_id = $1
          AND claim = (SELECT max(claim) FROM keyword_clusters WHERE workflow_id = $1)
        ORDER BY position
        """,
        workflow_id,
    )
    return [ClusterRow.model_validate(dict(row)) for row in rows]
