"""Pages that a search model cites for a section: read politely, as any site is, before they count as sources."""

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from temporalio import activity

from activities.judging import answer_of
from activities.spend import heartbeating
from db import cited_pages, transitions
from db.pool import Connection, Database
from domain.citations import CITED_PER_ARTICLE_MAX, PASSAGES_PER_CITED_PAGE_MAX, CitedPage, cited_urls
from domain.money import Frozen
from domain.pages import SiteRead
from domain.progress import ClaimRef

if TYPE_CHECKING:
    from providers.web_pages import WebPages


class ReadCitedPages(Frozen):
    """The booked answers whose citations are to be read, in at most ``seconds_max``; what takes longer counts as not
    readable."""

    claim: ClaimRef
    article_id: UUID
    attempt_ids: tuple[UUID, ...]
    seconds_max: float = 120


class CitedPagesRead(Frozen):
    """How many pages the article has from citations now, and a line for each that could not be read this time."""

    pages: int
    failures: tuple[str, ...] = ()


class _Wanted(Frozen):
    url: str
    attempt_id: UUID
    crawled: CitedPage | None = None


class CitedPageActivities:
    def __init__(self, database: Database, web_pages: "WebPages", heartbeat_every_seconds: float) -> None:
        self._database = database
        self._web_pages = web_pages
        self._heartbeat_every_seconds = heartbeat_every_seconds

    @activity.defn(name="read_cited_pages")
    async def read_cited_pages(self, request: ReadCitedPages) -> CitedPagesRead:
        """Each address once per article, whether it could be read or not; nothing is fetched where nothing is cited."""
        async with self._database.transaction(request.claim.organization_id) as connection:
            known, wanted = await self._wanted(connection, request)
        if not wanted:
            return CitedPagesRead(pages=sum(page.failure is None for page in known))
        async with heartbeating(self._heartbeat_every_seconds):
            until = asyncio.get_running_loop().time() + request.seconds_max
            read = await asyncio.gather(*(self._read(one, until) for one in wanted))
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            await transitions.check_claim(connection, claim.workflow_id, claim.organization_id, claim.step, claim.claim)
            # The claim's lock is held: what another attempt of this activity has stored meanwhile is seen.
            stored = await cited_pages.load_cited_pages(connection, request.article_id)
            for place, (one, page) in enumerate(zip(wanted, read, strict=True), start=len(stored)):
                placed = page.model_copy(update={"position": place})
                await cited_pages.store_cited_page(
                    connection, claim, placed, article_id=request.article_id, attempt_id=one.attempt_id
                )
        return CitedPagesRead(
            pages=sum(page.failure is None for page in (*known, *read)),
            failures=tuple(page.failure for page in read if page.failure),
        )

    async def _wanted(self, connection: Connection, request: ReadCitedPages) -> tuple[list[CitedPage], list[_Wanted]]:
        """What the article has, and what its answers cite beside that, within the article's bound."""
        known = await cited_pages.load_cited_pages(connection, request.article_id)
        tried = {page.cited_url for page in known}
        wanted: dict[str, _Wanted] = {}
        for attempt_id in request.attempt_ids:
            for url in cited_urls(await answer_of(connection, request.claim, attempt_id)):
                if url not in tried and url not in wanted:
                    crawled = await cited_pages.load_crawled_page(connection, request.claim.workflow_id, url)
                    page = None if crawled is None else CitedPage(position=0, cited_url=url, **crawled)
                    wanted[url] = _Wanted(url=url, attempt_id=attempt_id, crawled=page)
        return known, list(wanted.values())[: max(0, CITED_PER_ARTICLE_MAX - len(known))]

    async def _read(self, wanted: _Wanted, until: float) -> CitedPage:
        if wanted.crawled is not None:
            return wanted.crawled
        try:
            async with asyncio.timeout_at(until):
                return _cited_page(wanted.url, await self._web_pages.read_site(wanted.url, pages_max=1))
        except TimeoutError:
            return _not_read(wanted.url, f"{wanted.url} was not read in time")


def _not_read(url: str, failure: str) -> CitedPage:
    return CitedPage(position=0, cited_url=url, url=url, title="", passages=(), failure=failure)


def _cited_page(url: str, read: SiteRead) -> CitedPage:
    if not read.pages:
        return _not_read(url, read.failure or f"{url} has no readable text")
    page = read.pages[0]
    return CitedPage(
        position=0,
        cited_url=url,
        url=page.url,
        title=page.title,
        passages=page.passages[:PASSAGES_PER_CITED_PAGE_MAX],
    )
