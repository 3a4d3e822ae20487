"""Web pages as they were read, one row per workflow and public URL; and what addresses answered, per organization."""

import zlib
from collections.abc import Sequence
from uuid import UUID, uuid5

from db.pool import Connection
from domain.identifiers import page_id_of
from domain.pages import KeptAnswer, Page, SiteRead, SkippedPage
from domain.progress import ClaimRef, WorkflowRef

KEPT_DAYS_MAX = 30


async def store_site_read(connection: Connection, claim: ClaimRef, read: SiteRead, *, is_own_site: bool) -> None:
    """The pages and the fact that the site was read (or why not). Idempotent per claim; pages are refreshed."""
    await connection.execute(
        """
        INSERT INTO site_reads (workflow_id, organization_id, site, claim, pages_read, failure, skipped)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (workflow_id, organization_id, site, claim) DO NOTHING
        """,
        claim.workflow_id,
        claim.organization_id,
        read.site,
        claim.claim,
        len(read.pages),
        read.failure,
        [page.model_dump() for page in read.skipped],
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
        "SELECT failure, skipped FROM site_reads WHERE workflow_id = $1 AND site = $2 AND claim = $3",
        claim.workflow_id,
        site,
        claim.claim,
    )
    if row is None:
        return None
    pages = tuple(await _pages_of(connection, claim, site))
    return SiteRead(site=site, failure=row["failure"], pages=pages, skipped=_skipped(row["skipped"]))


def _skipped(rows: list[dict[str, str]]) -> tuple[SkippedPage, ...]:
    return tuple(map(SkippedPage.model_validate, rows))


async def read_of_earlier_claims(connection: Connection, claim: ClaimRef, site: str) -> SiteRead:
    """The stored pages, whoever read them, and what was left out when they were read last."""
    skipped = await connection.fetchval(
        """
        SELECT skipped FROM site_reads WHERE workflow_id = $1 AND site = $2 AND pages_read > 0
        ORDER BY claim DESC LIMIT 1
        """,
        claim.workflow_id,
        site,
    )
    return SiteRead(site=site, pages=tuple(await _pages_of(connection, claim, site)), skipped=_skipped(skipped or []))


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


async def load_latest_reads(connection: Connection, workflow_id: UUID) -> list[SiteRead]:
    """The newest reading of each site, without its pages, by name: what was left out, and what failed."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT ON (site) site, failure, skipped FROM site_reads
        WHERE workflow_id = $1 ORDER BY site, claim DESC
        """,
        workflow_id,
    )
    return [SiteRead(site=row["site"], failure=row["failure"], skipped=_skipped(row["skipped"])) for row in rows]


# Kept answers


async def load_kept_answer(connection: Connection, organization_id: UUID, url: str) -> KeptAnswer | None:
    """What the organization keeps of an address, with its age by the database's clock."""
    row = await connection.fetchrow(
        """
        SELECT url, status, location, content_type, charset, body, etag, last_modified, fresh_seconds,
            extract(epoch FROM clock_timestamp() - fetched_at)::double precision AS age_seconds
        FROM kept_answers WHERE answer_id = $1 AND organization_id = $2
        """,
        _answer_id(organization_id, url),
        organization_id,
    )
    return None if row is None else KeptAnswer.model_validate({**row, "body": zlib.decompress(row["body"])})


async def store_kept_answer(connection: Connection, ref: WorkflowRef, answer: KeptAnswer) -> None:
    """The newest answer of an address replaces the older one; what is older than KEPT_DAYS_MAX is given up."""
    await connection.execute(
        """
        INSERT INTO kept_answers (answer_id, organization_id, workflow_id, url, status, location, content_type, charset,
                                  body, etag, last_modified, fresh_seconds)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (answer_id, organization_id) DO UPDATE
        SET workflow_id = excluded.workflow_id, status = excluded.status, location = excluded.location,
            content_type = excluded.content_type, charset = excluded.charset, body = excluded.body,
            etag = excluded.etag, last_modified = excluded.last_modified, fresh_seconds = excluded.fresh_seconds,
            fetched_at = excluded.fetched_at
        """,
        _answer_id(ref.organization_id, answer.url),
        ref.organization_id,
        ref.workflow_id,
        answer.url,
        answer.status,
        answer.location,
        answer.content_type,
        answer.charset,
        zlib.compress(answer.body),
        answer.etag,
        answer.last_modified,
        answer.fresh_seconds,
    )
    await connection.execute(
        "DELETE FROM kept_answers WHERE organization_id = $1 AND fetched_at < now() - make_interval(days => $2)",
        ref.organization_id,
        KEPT_DAYS_MAX,
    )


def _answer_id(organization_id: UUID, url: str) -> UUID:
    return uuid5(organization_id, f"answer:{url}")
