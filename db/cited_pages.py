"""Pages that a search model cited for an article, as they were read."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from db.pool import Connection
from domain.citations import CitedPage
from domain.identifiers import cited_page_id_of
from domain.progress import ClaimRef


async def load_cited_pages(connection: Connection, article_id: UUID) -> list[CitedPage]:
    """Every page that was cited for the article, read or not, in the order of its numbers."""
    rows = await connection.fetch(
        """
        SELECT position, cited_url, url, title, passages, failure FROM cited_pages
        WHERE article_id = $1 ORDER BY position
        """,
        article_id,
    )
    return [CitedPage.model_validate(dict(row)) for row in rows]


async def store_cited_page(
    connection: Connection, claim: ClaimRef, page: CitedPage, *, article_id: UUID, attempt_id: UUID
) -> None:
    """Idempotent: what was read of an address for this article stays. The position given is taken where it is free;
    of two activities that read at once the second has to look again (a unique violation)."""
    await connection.execute(
        """
        INSERT INTO cited_pages (cited_page_id, organization_id, workflow_id, article_id, attempt_id, position,
                                 cited_url, url, title, passages, failure)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (cited_page_id, organization_id) DO NOTHING
        """,
        cited_page_id_of(article_id, page.cited_url),
        claim.organization_id,
        claim.workflow_id,
        article_id,
        attempt_id,
        page.position,
        page.cited_url,
        page.url,
        page.title,
        list(page.passages),
        page.failure,
    )


async def load_crawled_page(connection: Connection, workflow_id: UUID, url: str) -> Mapping[str, Any] | None:
    """Url, title and passages of a page that the workflow has crawled already."""
    row = await connection.fetchrow(
        "SELECT url, title, passages FROM web_pages WHERE workflow_id = $1 AND url = $2", workflow_id, url
    )
    return None if row is None else dict(row)


async def load_cited_titles(connection: Connection, article_id: UUID) -> dict[str, str]:
    """Titles by URL, as references name them."""
    rows = await connection.fetch(
        "SELECT url, title FROM cited_pages WHERE article_id = $1 AND failure IS NULL", article_id
    )
    return {row["url"]: row["title"] for row in rows}
