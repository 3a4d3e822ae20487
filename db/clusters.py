"""Clusters of approved keywords, one set per claim of the clustering step; what people overrode; and what the
organization's other workflows are about."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from db.pool import Connection
from domain.money import Frozen
from domain.progress import ClaimRef, WorkflowRef
from domain.states import State
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


# Overrides


class OverrideRow(Frozen):
    """``overridden`` are the reasons that were shown to the person."""

    cluster_id: UUID
    hub: str
    overridden: tuple[Reason, ...]
    actor: str
    reason: str
    at: datetime


async def store_override(
    connection: Connection, ref: WorkflowRef, cluster: ClusterRow, *, decision_id: UUID, actor: str, reason: str
) -> None:
    """Who let a cluster go on, and why; idempotent per decision. What stands there is never changed."""
    await connection.execute(
        """
        INSERT INTO cluster_overrides
            (decision_id, cluster_id, workflow_id, organization_id, hub, overridden, actor, reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (decision_id, cluster_id, organization_id) DO NOTHING
        """,
        decision_id,
        cluster.cluster_id,
        ref.workflow_id,
        ref.organization_id,
        cluster.hub,
        [reason.model_dump(mode="json") for reason in cluster.reasons],
        actor,
        reason,
    )


async def load_overrides(connection: Connection, workflow_id: UUID) -> list[OverrideRow]:
    """Oldest first, those of clusters that were drawn anew since included."""
    rows = await connection.fetch(
        """
        SELECT cluster_id, hub, overridden, actor, reason, at FROM cluster_overrides
        WHERE workflow_id = $1 ORDER BY at, hub
        """,
        workflow_id,
    )
    return [OverrideRow.model_validate(dict(row)) for row in rows]


# The organization's other workflows


class OtherArticle(Frozen):
    """``is_written`` is whether a version of it passed its gates."""

    keyword: str
    intent: str
    is_written: bool


class OtherCluster(Frozen):
    """A valid cluster of a workflow whose articles are not planned yet."""

    cluster_id: UUID
    hub: str
    spokes: tuple[str, ...]
    intent: str


NOT_RESEARCH = ("cap_usd", "articles", "voice", "publish")  # of a brief: what changes no keyword


class OtherWorkflow(Frozen):
    """``is_same_brief``: it asks for the same research, whatever its cap, articles, voice and target."""

    workflow_id: UUID
    is_same_brief: bool = False
    name: str
    state: State
    articles_max: int
    articles: tuple[OtherArticle, ...] = ()
    clusters: tuple[OtherCluster, ...] = ()


async def lock_other_workflows(connection: Connection, ref: WorkflowRef) -> list[OtherWorkflow]:
    """The organization's other workflows of the same kind (demo or not) that are compared at all, oldest first, in
    whatever state, with their articles and valid clusters.

    Until the transaction ends no other one of the organization gets past this: of two workflows that want the same hub
    at once the second sees what the first decided. It has to be the first lock a transaction takes.
    """
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('hubs of ' || $1::uuid::text, 0))", ref.organization_id
    )
    rows = await connection.fetch(
        """
        SELECT other.id AS workflow_id, other.name, other.state,
            coalesce(other.brief - $3::text[] = (SELECT own.brief - $3::text[] FROM intent_workflows AS own
                WHERE own.id = $1 AND own.organization_id = $2), false) AS is_same_brief,
            coalesce((other.brief #>> '{articles,max}')::integer, 0) AS articles_max,
            coalesce((
                SELECT jsonb_agg(jsonb_build_object('keyword', article.keyword, 'intent', cluster.intent,
                    'is_written', article.accepted_revision IS NOT NULL) ORDER BY article.position)
                FROM articles AS article
                JOIN keyword_clusters AS cluster USING (cluster_id, organization_id)
                WHERE article.workflow_id = other.id AND article.organization_id = other.organization_id
            ), '[]') AS articles,
            coalesce((
                SELECT jsonb_agg(jsonb_build_object('cluster_id', cluster.cluster_id, 'hub', cluster.hub,
                    'spokes', (SELECT coalesce(jsonb_agg(spoke ->> 'text'), '[]')
                               FROM jsonb_array_elements(cluster.spokes) AS spoke),
                    'intent', cluster.intent) ORDER BY cluster.position)
                FROM keyword_clusters AS cluster
                WHERE cluster.workflow_id = other.id AND cluster.organization_id = other.organization_id
                    AND cluster.is_valid
                    AND cluster.claim = (SELECT max(claim) FROM keyword_clusters WHERE workflow_id = other.id)
            ), '[]') AS clusters
        FROM intent_workflows AS other
        WHERE other.organization_id = $2 AND other.id <> $1
            AND coalesce((other.settings #>> '{validation,compares_workflows}')::boolean, true)
            AND coalesce((other.settings ->> 'is_demo_text')::boolean, false) = coalesce((
                SELECT (own.settings ->> 'is_demo_text')::boolean FROM intent_workflows AS own
                WHERE own.id = $1 AND own.organization_id = $2), false)
        ORDER BY other.created_at, other.id
        """,
        ref.workflow_id,
        ref.organization_id,
        list(NOT_RESEARCH),
    )
    return [OtherWorkflow.model_validate(dict(row)) for row in rows]
