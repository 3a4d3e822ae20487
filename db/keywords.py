"""Seed keywords with their sources and who decided what about them."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from db.pool import Connection
from domain.money import Frozen
from domain.progress import ClaimRef, WorkflowRef


class KeywordRow(Frozen):
    """``position`` counts from 1 in the order shown to people."""

    position: int
    text: str
    score: float
    volume: int | None
    difficulty: int | None
    cpc_usd: Decimal | None
    intent: str
    sources: list[dict[str, Any]]
    added_by: str | None = None
    decision: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None


async def replace_keywords(connection: Connection, ref: WorkflowRef, keywords: Sequence[KeywordRow]) -> None:
    """The list a review is about; a later run of the competitor step replaces it whole."""
    await connection.execute("DELETE FROM keywords WHERE workflow_id = $1", ref.workflow_id)
    for keyword in keywords:
        await _insert_keyword(connection, ref, keyword)


async def _insert_keyword(connection: Connection, ref: WorkflowRef, keyword: KeywordRow) -> None:
    await connection.execute(
        """
        INSERT INTO keywords (keyword_id, workflow_id, organization_id, position, text, score, volume, difficulty,
                              cpc_usd, intent, sources, added_by, decision, decided_by, decided_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        """,
        uuid5(ref.workflow_id, f"keyword:{keyword.text}"),
        ref.workflow_id,
        ref.organization_id,
        keyword.position,
        keyword.text,
        keyword.score,
        keyword.volume,
        keyword.difficulty,
        keyword.cpc_usd,
        keyword.intent,
        keyword.sources,
        keyword.added_by,
        keyword.decision,
        keyword.decided_by,
        keyword.decided_at,
    )


async def load_keywords(connection: Connection, workflow_id: UUID) -> list[KeywordRow]:
    rows = await connection.fetch(
        """
        SELECT position, text, score, volume, difficulty, cpc_usd, intent, sources, added_by,
               decision, decided_by, decided_at
        FROM keywords WHERE workflow_id = $1 ORDER BY position, text
        """,
        workflow_id,
    )
    return [KeywordRow.model_validate(dict(row)) for row in rows]


async def decide_keyword(
    connection: Connection, ref: WorkflowRef, text: str, *, decision: str, decided_by: str
) -> None:
    await connection.execute(
        """
        UPDATE keywords SET decision = $3, decided_by = $4, decided_at = now()
        WHERE workflow_id = $1 AND text = $2
        """,
        ref.workflow_id,
        text,
        decision,
        decided_by,
    )


async def add_keyword(
    connection: Connection, ref: WorkflowRef, text: str, *, position: int, intent: str, added_by: str
) -> None:
    """A person's own keyword, approved by being added."""
    await connection.execute(
        """
        INSERT INTO keywords (keyword_id, workflow_id, organization_id, position, text, score, intent, sources,
                              added_by, decision, decided_by, decided_at)
        VALUES ($1, $2, $3, $4, $5, 0, $6, '[]', $7, 'approved', $7, now())
        """,
        uuid5(ref.workflow_id, f"keyword:{text}"),
        ref.workflow_id,
        ref.organization_id,
        position,
        text,
        intent,
        added_by,
    )


async def store_candidates(connection: Connection, claim: ClaimRef, candidates: list[dict[str, Any]]) -> None:
    """Keyphrases as extracted, before labels and verdict; the first of a claim stay."""
    await connection.execute(
        """
        INSERT INTO seed_candidates (workflow_id, organization_id, claim, keywords) VALUES ($1, $2, $3, $4)
        ON CONFLICT (workflow_id, organization_id, claim) DO NOTHING
        """,
        claim.workflow_id,
        claim.organization_id,
        claim.claim,
        candidates,
    )


async def load_candidates(connection: Connection, claim: ClaimRef) -> list[dict[str, Any]] | None:
    """None until they were extracted under this claim."""
    found: list[dict[str, Any]] | None = await connection.fetchval(
        "SELECT keywords FROM seed_candidates WHERE workflow_id = $1 AND claim = $2", claim.workflow_id, claim.claim
    )
    return found
