"""What was sent where: the intent first, then the effect."""

from uuid import UUID

from db.pool import Connection
from domain.money import Frozen
from domain.progress import ClaimRef


class PublicationRow(Frozen):
    publication_id: UUID
    article_id: UUID
    target: str
    mode: str
    slug: str
    content_hash: str
    state: str
    external_id: str | None = None
    published_url: str | None = None
    reason: str | None = None


class PublicationIntent(Frozen):
    publication_id: UUID
    article_id: UUID
    target: str
    mode: str
    slug: str
    content_hash: str


async def store_intent(connection: Connection, claim: ClaimRef, intent: PublicationIntent) -> None:
    """Before anything is sent. A publication that already stands is kept; a new content hash opens it again."""
    await connection.execute(
        """
        INSERT INTO publications (publication_id, article_id, workflow_id, organization_id, target, mode, slug,
                                  content_hash, state, claim)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'PENDING', $9)
        ON CONFLICT (article_id, organization_id, target) DO UPDATE
        SET mode = excluded.mode, content_hash = excluded.content_hash, claim = excluded.claim, updated_at = now(),
            state = CASE WHEN publications.content_hash = excluded.content_hash
                          AND publications.state IN ('PUBLISHED', 'UNCHANGED')
                         THEN publications.state ELSE 'PENDING' END
        """,
        intent.publication_id,
        intent.article_id,
        claim.workflow_id,
        claim.organization_id,
        intent.target,
        intent.mode,
        intent.slug,
        intent.content_hash,
        claim.claim,
    )


async def store_result(
    connection: Connection,
    publication_id: UUID,
    *,
    state: str,
    external_id: str | None,
    published_url: str | None,
    reason: str | None,
) -> None:
    await connection.execute(
        """
        UPDATE publications SET state = $2, external_id = coalesce($3, external_id),
                                published_url = coalesce($4, published_url), reason = $5, updated_at = now()
        WHERE publication_id = $1
        """,
        publication_id,
        state,
        external_id,
        published_url,
        reason,
    )


async def load_publications(connection: Connection, workflow_id: UUID) -> list[PublicationRow]:
    rows = await connection.fetch(
        """
        SELECT publication_id, article_id, target, mode, slug, content_hash, state, external_id, published_url, reason
        FROM publications WHERE workflow_id = $1 ORDER BY slug
        """,
        workflow_id,
    )
    return [PublicationRow.model_validate(dict(row)) for row in rows]
