"""A publisher that was stopped and wakes when others have gone on: no page, no list and no result of its own any more.

Where a worker stands still is said by ``Stalled``: in front of a publisher's effect, or behind it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from temporalio.testing import ActivityEnvironment

from activities.publication_changes import ChangeArticle, PublicationChangeActivities, PublicationWishActivities
from activities.publish import PublishActivities, PublishArticle, Published
from db import articles, publications
from db.articles import NewArticle
from db.publications import PublicationRow
from domain.assembly import content_hash
from domain.brief import PublishTarget
from domain.errors import ClaimLostError, ProviderUnavailableError
from domain.progress import ClaimRef
from domain.publication_changes import ChangeKind, PublicationChange
from domain.publishing import (
    PublicationRecord,
    PublicationRequest,
    PublicationResult,
    PublicationState,
    SiteDescription,
)
from domain.states import State, Step
from providers.publisher import FilesPublisher
from tests.conftest import MadeWorkflow, TenantDatabase, walk
from tests.integration.test_cluster_overrides import claim_of, made, rows_of
from tests.unit.quality.samples import HUB

ResultT = TypeVar("ResultT")
WAIT_SECONDS = 30.0
BROKEN = PublicationResult(state=PublicationState.FAILED, reason="can't write: Input/output error")


@dataclass
class Stalled:
    """A folder whose publisher stands still once: at its first ``what``, before or after the effect; ``says`` is then
    its result whatever the effect was."""

    inner: FilesPublisher
    what: str
    when: str = "before"
    says: PublicationResult | None = None
    is_reached: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: bool = False

    async def publish(self, request: PublicationRequest, record: PublicationRecord) -> PublicationResult:
        return await self._do("publish", lambda: self.inner.publish(request, record))

    async def relink(self, request: PublicationRequest, record: PublicationRecord) -> PublicationResult:
        return await self._do("relink", lambda: self.inner.relink(request, record))

    async def unpublish(self, request: PublicationRequest, record: PublicationRecord) -> PublicationResult:
        return await self._do("unpublish", lambda: self.inner.unpublish(request, record))

    async def finish(self, workflow_id: UUID, site: SiteDescription) -> str:
        return await self._do("finish", lambda: self.inner.finish(workflow_id, site))

    async def _do(self, what: str, work: Callable[[], Awaitable[ResultT]]) -> ResultT:
        if what != self.what or self.is_over:
            return await work()
        self.is_over = True
        if self.when == "after":
            result = await work()
            await self._stand_still()
            return result
        await self._stand_still()
        return await work() if self.says is None else cast("ResultT", self.says)

    async def _stand_still(self) -> None:
        self.is_reached.set()
        await asyncio.wait_for(self.goes_on.wait(), WAIT_SECONDS)


async def run(method: Callable[[Any], Awaitable[ResultT]], request: Any) -> ResultT:
    """As an activity."""
    result: ResultT = await asyncio.wait_for(ActivityEnvironment().run(method, request), WAIT_SECONDS)
    return result


@dataclass
class Desk:
    """A workflow with one approved article, about to be published to a folder."""

    database: TenantDatabase
    workflow: MadeWorkflow
    article_id: UUID
    folder: Path

    @property
    def claim(self) -> ClaimRef:
        return claim_of(self.workflow, Step.PUBLISH)

    @property
    def files(self) -> FilesPublisher:
        return FilesPublisher(self.folder)

    def publishing(self, publisher: FilesPublisher | Stalled | None = None) -> PublishActivities:
        return PublishActivities(self.database.app, {PublishTarget.FILES: publisher or self.files}, 1.0)

    async def publish(self, publisher: FilesPublisher | Stalled | None = None) -> Published:
        request = PublishArticle(claim=self.claim, article_id=self.article_id)
        return await run(self.publishing(publisher).publish_article, request)

    async def finish_site(self, publisher: FilesPublisher | Stalled | None = None) -> str:
        return await run(self.publishing(publisher).finish_site, self.claim)

    async def finish_publications(self, publisher: FilesPublisher | Stalled | None = None) -> str:
        return await run(self.publishing(publisher).finish_publications, self.claim.workflow)

    async def end(self) -> None:
        async with self.database.app.transaction(self.workflow.organization_id) as connection:
            await walk(connection, self.workflow, [State.PUBLISH_COMPLETED, State.COMPLETED])

    async def published(self) -> None:
        """And COMPLETED."""
        await self.publish()
        await self.finish_site()
        await self.end()

    def change(self, kind: ChangeKind) -> PublicationChange:
        return PublicationChange(
            ref=self.claim.workflow,
            change_id=uuid4(),
            kind=kind,
            article_ids=(self.article_id,),
            actor="ada",
            reason="legal",
        )

    async def begin(self, change: PublicationChange) -> list[UUID]:
        return await run(PublicationWishActivities(self.database.app).begin_publication_change, change)

    async def carry_out(
        self, change: PublicationChange, publisher: FilesPublisher | Stalled | None = None
    ) -> PublicationState:
        activities = PublicationChangeActivities(self.database.app, {PublishTarget.FILES: publisher or self.files}, 1.0)
        return await run(activities.change_publication, ChangeArticle(change=change, article_id=self.article_id))

    async def changed(self, kind: ChangeKind) -> PublicationChange:
        change = self.change(kind)
        assert await self.begin(change) == [self.article_id]
        await self.carry_out(change)
        await self.finish_publications()
        return change

    async def row(self) -> PublicationRow:
        async with self.database.app.transaction(self.workflow.organization_id) as connection:
            (row,) = await publications.load_publications(connection, self.workflow.workflow_id)
        return row

    async def events(self) -> list[str]:
        async with self.database.app.transaction(self.workflow.organization_id) as connection:
            return [one.event for one in await publications.load_events(connection, self.workflow.workflow_id)]

    @property
    def pages(self) -> list[str]:
        return sorted(path.name for path in self.folder.rglob(f"{HUB.document().slug}.*"))

    def listed(self) -> bool:
        return any(HUB.document().slug in path.read_text() for path in self.folder.glob("*/*/index.html"))


@pytest_asyncio.fixture
async def desk(database: TenantDatabase, tmp_path: Path) -> Desk:
    workflow = await made(database, State.PUBLISH_PROCESSING)
    document = HUB.document()
    article_id, approved = document.article_id, content_hash(document)
    claim = claim_of(workflow, Step.PUBLISH)
    cluster = (await rows_of(database, workflow))[0]
    new = NewArticle(
        article_id=article_id, cluster_id=cluster.cluster_id, position=0, keyword=cluster.hub, role="hub",
        slug=document.slug,
    )  # fmt: skip
    async with database.app.transaction(workflow.organization_id) as connection:
        await articles.insert_article(connection, claim.workflow, new)
        await articles.store_outline(connection, claim, article_id, 1, {})
        await articles.store_document(
            connection, article_id, 1, document=document.model_dump(mode="json"), content_hash=approved, quality={}
        )
        await articles.accept_revision(connection, article_id, 1, title=document.title, reasons=())
        await articles.approve_article(
            connection,
            claim.workflow,
            article_id=article_id,
            content_hash=approved,
            approved_by="ada",
            transition_id=uuid4(),
        )
    return Desk(database, workflow, article_id, tmp_path / "published")


@asynccontextmanager
async def standing_still(publisher: Stalled, work: Awaitable[ResultT]) -> AsyncIterator[asyncio.Future[ResultT]]:
    """Work that stands still while the block runs, then goes on: its task."""
    async with AsyncExitStack() as stack:
        task = asyncio.ensure_future(work)
        stack.callback(task.cancel)
        reached = asyncio.ensure_future(publisher.is_reached.wait())
        await asyncio.wait([task, reached], timeout=WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        assert publisher.is_reached.is_set(), task
        yield task
        publisher.goes_on.set()
        await asyncio.wait([task], timeout=WAIT_SECONDS)


# Publishing


async def test_a_late_failure_takes_nothing_from_what_a_later_attempt_published(desk: Desk) -> None:
    stalled = Stalled(desk.files, "publish", says=BROKEN)
    async with standing_still(stalled, desk.publish(stalled)) as late:
        await desk.published()
        before = await desk.row()
    assert (await late).state == PublicationState.PUBLISHED, "no failure: it tells how the article stands"
    assert await desk.row() == before
    assert before.state == PublicationState.PUBLISHED


async def test_a_page_that_was_taken_back_is_not_put_out_by_a_late_attempt(desk: Desk) -> None:
    stalled = Stalled(desk.files, "publish")
    async with standing_still(stalled, desk.publish(stalled)) as late:
        await desk.published()
        await desk.changed(ChangeKind.UNPUBLISH)
    with pytest.raises(ClaimLostError):
        await late
    assert desk.pages == []
    assert not desk.listed()
    assert (await desk.row()).state == PublicationState.UNPUBLISHED


async def test_a_late_success_is_told_as_the_row_has_it(desk: Desk) -> None:
    """The effect had happened. Neither an error that parks the run nor a result beside the later attempt's."""
    stalled, later = Stalled(desk.files, "publish", "after"), Stalled(desk.files, "publish")
    first = asyncio.ensure_future(desk.publish(stalled))
    await asyncio.wait_for(stalled.is_reached.wait(), WAIT_SECONDS)
    async with standing_still(later, desk.publish(later)) as second:
        stalled.goes_on.set()
        with pytest.raises(ProviderUnavailableError, match="later attempt"):
            await first  # which is tried again, and finds what the later one made of it
        assert (await desk.row()).state == PublicationState.PENDING
    assert (await second).state == PublicationState.UNCHANGED
    assert (await desk.publish()).state == PublicationState.UNCHANGED


# What stands


async def test_links_of_a_page_that_was_taken_back_are_not_drawn_anew(desk: Desk) -> None:
    await desk.published()
    stalled = Stalled(desk.files, "relink")
    async with standing_still(stalled, desk.finish_publications(stalled)) as late:
        await desk.changed(ChangeKind.UNPUBLISH)
    assert await late
    assert desk.pages == []
    assert not desk.listed()


async def test_a_late_finish_of_the_step_draws_nothing(desk: Desk) -> None:
    await desk.publish()
    stalled = Stalled(desk.files, "relink")
    async with standing_still(stalled, desk.finish_site(stalled)) as late:
        await desk.finish_site()
        await desk.end()
        await desk.changed(ChangeKind.UNPUBLISH)
    with pytest.raises(ClaimLostError):
        await late
    assert desk.pages == []


async def test_a_late_failure_to_draw_links_takes_nothing_from_what_stands(desk: Desk) -> None:
    await desk.publish()
    stalled = Stalled(desk.files, "relink", says=BROKEN)
    async with standing_still(stalled, desk.finish_site(stalled)) as late:
        await desk.finish_site()
        await desk.end()
    assert await late
    assert (await desk.row()).state == PublicationState.PUBLISHED


@pytest.mark.parametrize("kind", [ChangeKind.UNPUBLISH, ChangeKind.REPUBLISH])
async def test_a_late_list_is_of_what_stands_now(desk: Desk, kind: ChangeKind) -> None:
    await desk.published()
    if kind is ChangeKind.REPUBLISH:
        await desk.changed(ChangeKind.UNPUBLISH)
    stalled = Stalled(desk.files, "finish")
    async with standing_still(stalled, desk.finish_publications(stalled)) as late:
        await desk.changed(kind)
    assert await late
    assert desk.listed() is (kind is ChangeKind.REPUBLISH)


# Changes of what stands


async def test_a_page_that_was_put_out_again_is_not_removed_by_a_late_unpublish(desk: Desk) -> None:
    await desk.published()
    change = desk.change(ChangeKind.UNPUBLISH)
    await desk.begin(change)
    stalled = Stalled(desk.files, "unpublish")
    async with standing_still(stalled, desk.carry_out(change, stalled)) as late:
        assert await desk.carry_out(change) is PublicationState.UNPUBLISHED
        await desk.changed(ChangeKind.REPUBLISH)
    with pytest.raises(ClaimLostError):
        await late
    assert desk.pages == [f"{HUB.document().slug}.{end}" for end in ("html", "md")]
    assert (await desk.row()).state == PublicationState.PUBLISHED


async def test_a_late_failure_to_unpublish_takes_nothing_from_what_a_later_attempt_did(desk: Desk) -> None:
    await desk.published()
    change = desk.change(ChangeKind.UNPUBLISH)
    await desk.begin(change)
    stalled = Stalled(desk.files, "unpublish", says=BROKEN)
    async with standing_still(stalled, desk.carry_out(change, stalled)) as late:
        await desk.carry_out(change)
    assert await late is PublicationState.UNPUBLISHED
    assert (await desk.row()).state == PublicationState.UNPUBLISHED
    assert await desk.events() == ["UNPUBLISH_ASKED", "UNPUBLISHED"]


async def test_a_change_that_another_has_followed_is_not_begun_again(desk: Desk) -> None:
    await desk.published()
    over = await desk.changed(ChangeKind.UNPUBLISH)
    await desk.changed(ChangeKind.REPUBLISH)
    assert await desk.begin(over) == []
    assert (await desk.row()).state == PublicationState.PUBLISHED


async def test_a_change_that_is_begun_twice_is_one(desk: Desk) -> None:
    await desk.published()
    change = desk.change(ChangeKind.UNPUBLISH)
    assert await desk.begin(change) == await desk.begin(change) == [desk.article_id]
    assert await desk.carry_out(change) is PublicationState.UNPUBLISHED
