"""Seed keywords with their sources and who decided what about them."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from db.pool import Connection
from domain.decisions import ReviewSeeds
from domain.money import Frozen
from domain.progress import ClaimRef, WorkflowRef
from domain.seed_review import KeywordDecision, Rejection, SeedDecisionKind


class KeywordRow(Frozen):
    """``position`` counts from 1 in the order shown to people; ``flag`` says why a reviewer's words speak against it.

    The decision is the latest one; all of them stand in ``ReviewRecord``.
    """

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
    decision_id: UUID | None = None
    note: str | None = None
    flag: str | None = None


class DecidedKeyword(Frozen):
    """One line of a review; ``is_own`` is true for what the reviewer, or one before, brought along."""

    position: int
    text: str
    decision: KeywordDecision
    is_own: bool
    note: str | None = None


class ReviewRecord(Frozen):
    """A decision about a list as it was shown at ``shown_version``; ``feedback`` is that of a reject."""

    decision_id: UUID
    shown_version: int
    kind: SeedDecisionKind
    actor: str
    feedback: str | None
    at: datetime
    keywords: tuple[DecidedKeyword, ...]

    def count(self, decision: KeywordDecision) -> int:
        return sum(1 for keyword in self.keywords if keyword.decision is decision)

    @property
    def rejection(self) -> Rejection:
        """What a reject said, as the next search needs it."""
        dropped = [keyword for keyword in self.keywords if keyword.decision is KeywordDecision.DROPPED]
        return Rejection(
            actor=self.actor,
            at=self.at,
            feedback=self.feedback or "",
            shown=tuple(keyword.text for keyword in self.keywords),
            wrong={keyword.text: keyword.note for keyword in dropped},
        )


async def replace_keywords(connection: Connection, ref: WorkflowRef, keywords: Sequence[KeywordRow]) -> None:
    """The list a review is about; a later run of the competitor step replaces it, but for people's own keywords.

    Those stand after the found ones; an own keyword that is found as well is a found one from now on.
    """
    await connection.execute(
        "DELETE FROM keywords WHERE workflow_id = $1 AND (added_by IS NULL OR text = ANY ($2))",
        ref.workflow_id,
        [keyword.text for keyword in keywords],
    )
    for keyword in keywords:
        await _insert_keyword(connection, ref, keyword)
    await connection.execute(
        """
        UPDATE keywords SET position = $2 + own.number
        FROM (SELECT text, row_number() OVER (ORDER BY position, text) AS number
              FROM keywords WHERE workflow_id = $1 AND added_by IS NOT NULL) AS own
        WHERE keywords.workflow_id = $1 AND keywords.text = own.text
        """,
        ref.workflow_id,
        len(keywords),
    )


async def _insert_keyword(connection: Connection, ref: WorkflowRef, keyword: KeywordRow) -> None:
    await connection.execute(
        """
        INSERT INTO keywords (keyword_id, workflow_id, organization_id, position, text, score, volume, difficulty,
                              cpc_usd, intent, sources, added_by, decision, decided_by, decided_at, decision_id,
                              note, flag)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
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
        keyword.decision_id,
        keyword.note,
        keyword.flag,
    )


async def load_keywords(connection: Connection, workflow_id: UUID) -> list[KeywordRow]:
    rows = await connection.fetch(
        """
        SELECT position, text, score, volume, difficulty, trim_scale(cpc_usd) AS cpc_usd, intent, sources, added_by,
               decision, decided_by, decided_at, decision_id, note, flag
        FROM keywords WHERE workflow_id = $1 ORDER BY position, text
        """,
        workflow_id,
    )
    return [KeywordRow.model_validate(dict(row)) for row in rows]


async def store_review(
    connection: Connection, ref: WorkflowRef, review: ReviewSeeds, reviewed: Sequence[DecidedKeyword]
) -> None:
    """A decision with what it makes of every keyword, for ever, and the latest of it with the keywords themselves."""
    seeds = review.seeds
    await connection.execute(
        """
        INSERT INTO seed_reviews (decision_id, workflow_id, organization_id, shown_version, kind, actor, feedback)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """,
        review.decision_id,
        ref.workflow_id,
        ref.organization_id,
        review.expected_version,
        seeds.kind,
        review.actor,
        seeds.feedback if seeds.kind is SeedDecisionKind.REJECT else None,
    )
    await connection.executemany(
        """
        INSERT INTO keyword_decisions
            (decision_id, workflow_id, organization_id, position, text, decision, is_own, note)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        [(review.decision_id, ref.workflow_id, ref.organization_id, *_line(keyword)) for keyword in reviewed],
    )
    await _note_decisions(connection, ref, review, reviewed)


def _line(keyword: DecidedKeyword) -> tuple[int, str, str, bool, str | None]:
    return keyword.position, keyword.text, keyword.decision, keyword.is_own, keyword.note


async def _note_decisions(
    connection: Connection, ref: WorkflowRef, review: ReviewSeeds, reviewed: Sequence[DecidedKeyword]
) -> None:
    """What was sent back without a word stays as it was: the next search replaces it."""
    decided = [keyword for keyword in reviewed if keyword.decision is not KeywordDecision.REJECTED]
    await connection.execute(
        """
        UPDATE keywords SET decision = given.decision, note = given.note, decision_id = $5, decided_by = $6,
            decided_at = now()
        FROM unnest($2::text[], $3::text[], $4::text[]) AS given (text, decision, note)
        WHERE keywords.workflow_id = $1 AND keywords.text = given.text
        """,
        ref.workflow_id,
        [keyword.text for keyword in decided],
        [keyword.decision for keyword in decided],
        [keyword.note for keyword in decided],
        review.decision_id,
        review.actor,
    )


async def load_reviews(connection: Connection, workflow_id: UUID) -> list[ReviewRecord]:
    """Every decision about this workflow's lists, oldest first."""
    rows = await connection.fetch(
        """
        SELECT decision_id, shown_version, kind, actor, feedback, at,
            coalesce((SELECT jsonb_agg(jsonb_build_object('position', position, 'text', text, 'decision', decision,
                                                          'is_own', is_own, 'note', note) ORDER BY position, text)
                      FROM keyword_decisions AS line
                      WHERE line.decision_id = review.decision_id AND line.workflow_id = review.workflow_id
                     ), '[]') AS keywords
        FROM seed_reviews AS review WHERE workflow_id = $1 ORDER BY shown_version
        """,
        workflow_id,
    )
    return [ReviewRecord.model_validate(dict(row)) for row in rows]


async def load_rejections(connection: Connection, workflow_id: UUID) -> list[Rejection]:
    """What was said of the lists that were sent back, oldest first."""
    reviews = await load_reviews(connection, workflow_id)
    return [review.rejection for review in reviews if review.kind is SeedDecisionKind.REJECT]


async def add_keyword(
    connection: Connection, ref: WorkflowRef, text: str, *, position: int, intent: str, added_by: str
) -> None:
    """A person's own keyword; the review that adds it decides about it in the same transaction."""
    await connection.execute(
        """
        INSERT INTO keywords
            (keyword_id, workflow_id, organization_id, position, text, score, intent, sources, added_by)
        VALUES ($1, $2, $3, $4, $5, 0, $6, '[]', $7)
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
    """With what a keyword data provider added; None until they were extracted under this claim."""
    found: list[dict[str, Any]] | None = await connection.fetchval(
        "SELECT coalesce(merged, keywords) FROM seed_candidates WHERE workflow_id = $1 AND claim = $2",
        claim.workflow_id,
        claim.claim,
    )
    return found


async def load_crawled_candidates(connection: Connection, claim: ClaimRef) -> list[dict[str, Any]] | None:
    """As they were extracted; None until they were under this claim."""
    found: list[dict[str, Any]] | None = await connection.fetchval(
        "SELECT keywords FROM seed_candidates WHERE workflow_id = $1 AND claim = $2", claim.workflow_id, claim.claim
    )
    return found


async def store_merged_candidates(
    connection: Connection, claim: ClaimRef, merged: list[dict[str, Any]], notes: list[dict[str, Any]]
) -> None:
    """Beside the candidates as they were extracted; the latest stands."""
    await connection.execute(
        "UPDATE seed_candidates SET merged = $3, notes = $4 WHERE workflow_id = $1 AND claim = $2",
        claim.workflow_id,
        claim.claim,
        merged,
        notes,
    )


async def load_candidate_notes(connection: Connection, claim: ClaimRef) -> list[dict[str, Any]]:
    """What a provider was asked in vain under this claim."""
    found: list[dict[str, Any]] | None = await connection.fetchval(
        "SELECT notes FROM seed_candidates WHERE workflow_id = $1 AND claim = $2", claim.workflow_id, claim.claim
    )
    return found or []
