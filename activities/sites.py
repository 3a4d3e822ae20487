"""Reading web sites: no payment, no judgement; what was read is stored before any step looks at it."""

from typing import TYPE_CHECKING

from temporalio import activity

from activities.spend import heartbeating
from db import pages, transitions
from db.pool import Database
from domain.identifiers import bare_domain
from domain.money import Frozen
from domain.pages import KeptAnswer, SiteRead
from domain.progress import ClaimRef, WorkflowRef

if TYPE_CHECKING:
    from providers.web_pages import WebPages


class ReadSite(Frozen):
    claim: ClaimRef
    url: str
    is_own_site: bool
    pages_max: int
    fetch_again: bool = False


class SiteReadResult(Frozen):
    """``failure`` is one line when the site gave nothing."""

    site: str
    pages_read: int
    failure: str | None


class OrganizationCache:
    """What addresses answered to any workflow of one organization, stored answer by answer: a crawl that was cut off
    does not begin anew."""

    def __init__(self, database: Database, ref: WorkflowRef) -> None:
        self._database = database
        self._ref = ref

    async def load(self, url: str) -> KeptAnswer | None:
        async with self._database.transaction(self._ref.organization_id) as connection:
            return await pages.load_kept_answer(connection, self._ref.organization_id, url)

    async def store(self, answer: KeptAnswer) -> None:
        async with self._database.transaction(self._ref.organization_id) as connection:
            await pages.store_kept_answer(connection, self._ref, answer)


class SiteActivities:
    def __init__(self, database: Database, web_pages: "WebPages", heartbeat_every_seconds: float) -> None:
        self._database = database
        self._web_pages = web_pages
        self._heartbeat_every_seconds = heartbeat_every_seconds

    @activity.defn(name="read_site")
    async def read_site(self, request: ReadSite) -> SiteReadResult:
        """Once per claim; pages of an earlier claim are good enough unless they are asked for anew."""
        read = await self._known(request)
        if read is None:
            async with heartbeating(self._heartbeat_every_seconds):
                read = await self._web_pages.read_site(
                    request.url,
                    pages_max=request.pages_max,
                    cache=OrganizationCache(self._database, request.claim.workflow),
                    asks_again=request.fetch_again,
                )
            read = read.model_copy(update={"site": bare_domain(request.url)})
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            await transitions.check_claim(connection, claim.workflow_id, claim.organization_id, claim.step, claim.claim)
            await pages.store_site_read(connection, claim, read, is_own_site=request.is_own_site)
        return SiteReadResult(site=read.site, pages_read=len(read.pages), failure=read.failure)

    async def _known(self, request: ReadSite) -> SiteRead | None:
        claim, site = request.claim, bare_domain(request.url)
        async with self._database.transaction(claim.organization_id) as connection:
            read = await pages.load_site_read(connection, claim, site)
            if read is not None or request.fetch_again:
                return read
            stored = await pages.read_of_earlier_claims(connection, claim, site)
        return stored if stored.pages else None
