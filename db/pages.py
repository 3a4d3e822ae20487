"""Web pages as they were read, one row per workflow and public URL."""

from collections.abc import Sequence
from uuid import UUID

from db.pool import Connection
from domain.identifiers import page_id_of
from domain.pages import Page, SiteRead
from domain.progress import ClaimRef


async def store_site_read(connection: Connection, claim: ClaimRef, read: SiteRead, *, is_own_site: bool) -> None:
    """The pages and the fact that the site was read (or why not). Idempotent per claim; pages are refreshed."""
    await connection.execute(
        """
        INSERT INTO site_reads (workflow_id, organization_id, site, claim, pages_read, failure)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (workflow_id, organization_id, site, claim) DO NOTHING
        """,
        claim.workflow_id,
        claim.organization_id,
        read.site,
        claim.claim,
        len(read.pages),
        read.failure,
    )
    for page in read.pages:
        await _store_page(connection, claim, read.site, page, is_own_site=is_own_site)


async def _store_page(connection: Connection, claim: ClaimRef, site: str, page: Page, *, is_own_site: bool) -> None:
    await connection.execute(
        """
        INSERT INTO web_pages (page_id, workflow_id, organization_id, site, url, is_own_site,
                               title, headings, passages, content_text)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (workflow_id, organization_id, url) DO UPDATE
        SET title = excluded.title, headings = excluded.headings, passages = excluded.passages,
            content_text = excluded.content_text, fetched_at = now()
        """,
        page_id_of(claim.workflow_id, page.url),
        claim.workflow_id,
        claim.organization_id,
        site,
        page.url,
        is_own_site,
        page.title,
        list(page.headings),
        list(page.passages),
        page.content_text,
    )


async def load_pages(connection: Connection, workflow_id: UUID, *, is_own_site: bool) -> list[Page]:
    """In a fixed order: by site, home page first, then URL."""
    rows = await connection.fetch(
        """
        SELECT url, title, headings, passages, content_text, is_own_site FROM web_pages
        WHERE workflow_id = $1 AND is_own_site = $2 ORDER BY site, length(url), url
        """,
        workflow_id,
        is_own_site,
    )
    return [Page.model_validate(dict(row)) for row in rows]


async def load_page_titles(connection: Connection, workflow_id: UUID) -> dict[str, str]:
    """Titles by URL, as references name them."""
    rows = await connection.fetch("SELECT url, title FROM web_pages WHERE workflow_id = $1", workflow_id)
    return {row["url"]: row["title"] for row in rows}


async def load_site_read(connection: Connection, claim: ClaimRef, site: str) -> SiteRead | None:
    """What this claim already read of a site, None when it did not try yet."""
    row = await connection.fetchrow(
        "SELECT failure FROM site_reads WHERE workflow_id = $1 AND site = $2 AND claim = $3",
        claim.workflow_id,
        site,
        claim.claim,
    )
    if row is None:
        return None
    return SiteRead(site=site, failure=row["failure"], pages=tuple(await _pages_of(connection, claim, site)))


async def pages_of_earlier_claims(connection: Connection, claim: ClaimRef, site: str) -> list[Page]:
    return await _pages_of(connection, claim, site)


async def _pages_of(connection: Connection, claim: ClaimRef, site: str) -> list[Page]:
    rows = await connection.fetch(
        """
        SELECT url, title, headings, passages, content_text, is_own_site FROM web_pages
        WHERE workflow_id = $1 AND site = $2 ORDER BY length(url), url
        """,
        claim.workflow_id,
        site,
    )
    return [Page.model_validate(dict(row)) for row in rows]


async def load_site_reads(connection: Connection, claim: ClaimRef, sites: Sequence[str]) -> list[SiteRead]:
    """Reads of these sites under this claim, in the order given; a site that was not tried is left out."""
    reads = [await load_site_read(connection, claim, site) for site in dict.fromkeys(sites)]
    return [read for read in reads if read is not None]


async def load_competitor_reads(connection: Connection, claim: ClaimRef) -> list[SiteRead]:
    """Every site that was tried under this claim, by name."""
    rows = await connection.fetch(
        "SELECT site FROM site_reads WHERE workflow_id = $1 AND claim = $2 ORDER BY site",
        claim.workflow_id,
        claim.claim,
    )
    return await load_site_reads(connection, claim, [row["site"] for row in rows])
