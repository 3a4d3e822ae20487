"""Articles, their revisions and sections, and who approved which content."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from db.pool import Connection
from domain.money import Frozen
from domain.progress import ArticleCounts, ClaimRef, WorkflowRef
from domain.verdict import Reason


class ArticleRow(Frozen):
    """``accepted_revision`` is the newest that passed its gates, None when none did."""

    article_id: UUID
    cluster_id: UUID
    position: int
    keyword: str
    role: str
    state: str
    revision: int
    accepted_revision: int | None
    redo_note: str | None
    reasons: tuple[Reason, ...]
    title: str | None
    slug: str | None


class RevisionRow(Frozen):
    revision: int
    outline: dict[str, Any]
    document: dict[str, Any] | None
    content_hash: str | None
    quality: dict[str, Any] | None


class NewArticle(Frozen):
    article_id: UUID
    cluster_id: UUID
    position: int
    keyword: str
    role: str
    slug: str


async def insert_article(connection: Connection, ref: WorkflowRef, article: NewArticle) -> None:
    await connection.execute(
        """
        INSERT INTO articles
            (article_id, workflow_id, organization_id, cluster_id, position, keyword, role, state, slug)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 'PLANNED', $8)
        ON CONFLICT (organization_id, article_id) DO NOTHING
        """,
        article.article_id,
        ref.workflow_id,
        ref.organization_id,
        article.cluster_id,
        article.position,
        article.keyword,
        article.role,
        article.slug,
    )


async def load_articles(connection: Connection, workflow_id: UUID) -> list[ArticleRow]:
    rows = await connection.fetch(
        """
        SELECT article_id, cluster_id, position, keyword, role, state, revision, accepted_revision,
               redo_note, reasons, title, slug
        FROM articles WHERE workflow_id = $1 ORDER BY position
        """,
        workflow_id,
    )
    return [ArticleRow.model_validate(dict(row)) for row in rows]


async def load_article(connection: Connection, article_id: UUID) -> ArticleRow | None:
    row = await connection.fetchrow(
        """
        SELECT article_id, cluster_id, position, keyword, role, state, revision, accepted_revision,
               redo_note, reasons, title, slug
        FROM articles WHERE article_id = $1
        """,
        article_id,
    )
    return None if row is None else ArticleRow.model_validate(dict(row))


async def set_article_state(
    connection: Connection, article_id: UUID, state: str, reasons: Sequence[Reason] = ()
) -> None:
    await connection.execute(
        "UPDATE articles SET state = $2, reasons = $3, updated_at = now() WHERE article_id = $1",
        article_id,
        state,
        [reason.model_dump(mode="json") for reason in reasons],
    )


async def accept_revision(
    connection: Connection, article_id: UUID, revision: int, *, title: str, reasons: Sequence[Reason]
) -> None:
    await connection.execute(
        """
        UPDATE articles SET state = 'PASSED', accepted_revision = $2, title = $3, reasons = $4, redo_note = NULL,
                            updated_at = now()
        WHERE article_id = $1
        """,
        article_id,
        revision,
        title,
        [reason.model_dump(mode="json") for reason in reasons],
    )


async def plan_again(connection: Connection, workflow_id: UUID) -> None:
    """A person asked for a retry: what failed or was not begun is to be written, in a revision of its own where the
    gates refused the last one."""
    await connection.execute(
        """
        UPDATE articles SET state = 'PLANNED', updated_at = now(),
               revision = CASE WHEN EXISTS (SELECT 1 FROM article_revisions AS refused
                                            WHERE refused.article_id = articles.article_id
                                              AND refused.revision = articles.revision AND refused.document IS NOT NULL)
                          THEN revision + 1 ELSE revision END
        WHERE workflow_id = $1 AND state IN ('FAILED', 'NOT_BEGUN', 'WRITING')
        """,
        workflow_id,
    )


async def begin_revision(connection: Connection, article_id: UUID, *, note: str) -> None:
    """A person asked for the article anew: the accepted revision stays until the next one passes."""
    await connection.execute(
        """
        UPDATE articles SET state = 'PLANNED', revision = revision + 1, redo_note = $2, reasons = '[]',
                            updated_at = now()
        WHERE article_id = $1
        """,
        article_id,
        note,
    )


async def count_articles(connection: Connection, workflow_id: UUID) -> ArticleCounts:
    row = await connection.fetchrow(
        """
        SELECT count(*) AS planned,
               count(*) FILTER (WHERE state = 'PASSED') AS done,
               count(*) FILTER (WHERE state = 'FAILED') AS failed,
               count(*) FILTER (WHERE state = 'NOT_BEGUN') AS not_begun
        FROM articles WHERE workflow_id = $1
        """,
        workflow_id,
    )
    return ArticleCounts.model_validate(dict(row or {}))


async def unpaid_articles(connection: Connection, workflow_id: UUID) -> list[Decimal]:
    """What the ledger has booked for each article that the cap kept from being written or finished."""
    rows = await connection.fetch(
        """
        SELECT coalesce((SELECT sum(cost) FROM ai_usage_ledger AS ledger
                         WHERE ledger.workflow_id = article.workflow_id AND ledger.step = 'article'
                           AND split_part(ledger.slot, ':', 2) = article.article_id::text), 0) AS paid_usd
        FROM articles AS article
        WHERE article.workflow_id = $1 AND article.state IN ('NOT_BEGUN', 'FAILED')
          AND article.reasons @> '[{"code": "cap_reached"}]'
        ORDER BY article.position
        """,
        workflow_id,
    )
    return [row["paid_usd"] for row in rows]


async def store_outline(
    connection: Connection, claim: ClaimRef, article_id: UUID, revision: int, outline: Mapping[str, Any]
) -> None:
    """Idempotent: the first accepted outline of a revision stays, so that its sections fit it."""
    await connection.execute(
        """
        INSERT INTO article_revisions (article_id, organization_id, revision, claim, outline)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (article_id, organization_id, revision) DO NOTHING
        """,
        article_id,
        claim.organization_id,
        revision,
        claim.claim,
        dict(outline),
    )


async def load_revision(connection: Connection, article_id: UUID, revision: int) -> RevisionRow | None:
    row = await connection.fetchrow(
        """
        SELECT revision, outline, document, content_hash, quality FROM article_revisions
        WHERE article_id = $1 AND revision = $2
        """,
        article_id,
        revision,
    )
    return None if row is None else RevisionRow.model_validate(dict(row))


async def store_document(
    connection: Connection,
    article_id: UUID,
    revision: int,
    *,
    document: dict[str, Any],
    content_hash: str,
    quality: dict[str, Any],
) -> None:
    await connection.execute(
        """
        UPDATE article_revisions SET document = $3, content_hash = $4, quality = $5
        WHERE article_id = $1 AND revision = $2
        """,
        article_id,
        revision,
        document,
        content_hash,
        quality,
    )


async def store_section(
    connection: Connection,
    claim: ClaimRef,
    *,
    article_id: UUID,
    revision: int,
    section: int,
    attempt_id: UUID,
    content: dict[str, Any],
) -> None:
    """A repair replaces the section it repairs."""
    await connection.execute(
        """
        INSERT INTO article_sections (article_id, organization_id, revision, section, claim, attempt_id, content)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (article_id, organization_id, revision, section) DO UPDATE
        SET claim = excluded.claim, attempt_id = excluded.attempt_id, content = excluded.content
        """,
        article_id,
        claim.organization_id,
        revision,
        section,
        claim.claim,
        attempt_id,
        content,
    )


async def load_sections(connection: Connection, article_id: UUID, revision: int) -> dict[int, dict[str, Any]]:
    """Stored sections by number, from 1."""
    rows = await connection.fetch(
        "SELECT section, content FROM article_sections WHERE article_id = $1 AND revision = $2 ORDER BY section",
        article_id,
        revision,
    )
    return {row["section"]: row["content"] for row in rows}


async def approve_article(
    connection: Connection,
    ref: WorkflowRef,
    *,
    article_id: UUID,
    content_hash: str,
    approved_by: str,
    transition_id: UUID,
) -> None:
    await connection.execute(
        """
        INSERT INTO article_approvals
            (article_id, organization_id, workflow_id, content_hash, approved_by, transition_id)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (article_id, organization_id, transition_id) DO NOTHING
        """,
        article_id,
        ref.organization_id,
        ref.workflow_id,
        content_hash,
        approved_by,
        transition_id,
    )


class Approval(Frozen):
    article_id: UUID
    content_hash: str
    approved_by: str
    approved_at: datetime


async def load_approvals(connection: Connection, workflow_id: UUID) -> dict[UUID, Approval]:
    """The newest approval per article."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT ON (article_id) article_id, content_hash, approved_by, approved_at
        FROM article_approvals WHERE workflow_id = $1 ORDER BY article_id, approved_at DESC
        """,
        workflow_id,
    )
    return {row["article_id"]: Approval.model_validate(dict(row)) for row in rows}
