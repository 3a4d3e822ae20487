"""Step 7: what a person approved, by its exact content, goes out once. The intent is stored before the effect."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.case import Case, load_case, progress_of
from activities.judging import block_with, judged
from activities.spend import heartbeating
from activities.state import RUN_ACTOR, complete_step, run_id
from db import articles, publications, transitions
from db.articles import ArticleRow
from db.pool import Connection, Database
from db.publications import PublicationIntent, PublicationRow
from db.transitions import Advance
from domain import publishing
from domain.assembly import Document
from domain.brief import PublishMode, PublishTarget
from domain.decisions import ApproveArticles
from domain.errors import (
    BadInputError,
    ClaimLostError,
    ConfigurationError,
    InvalidModelOutputError,
    ProviderUnavailableError,
    RateLimitedError,
    TransientError,
)
from domain.identifiers import bare_domain, decision_transition_id, publication_id_of, run_transition_id
from domain.money import Frozen
from domain.progress import ClaimRef, Judged, JudgedKind, Progress, WorkflowRef
from domain.publishing import (
    STANDING,
    PublicationRequest,
    PublicationResult,
    PublicationState,
    Publisher,
    SiteDescription,
)
from domain.settings import ActivityTimeouts
from domain.states import State
from domain.verdict import Blocked, Reason, verdict_of


class Approve(Frozen):
    ref: WorkflowRef
    decision: ApproveArticles


class PublishArticle(Frozen):
    claim: ClaimRef
    article_id: UUID


class Published(Frozen):
    state: str
    published_url: str | None = None
    reason: str | None = None


class AcceptedArticle(Frozen):
    row: ArticleRow
    document: Document
    content_hash: str
    approved_at: datetime | None = None


async def accepted_articles(connection: Connection, workflow_id: UUID) -> list[AcceptedArticle]:
    """Articles with a revision that passed its gates, in their order."""
    accepted = []
    for row in await articles.load_articles(connection, workflow_id):
        if row.accepted_revision is None:
            continue
        revision = await articles.load_revision(connection, row.article_id, row.accepted_revision)
        if revision is None or revision.document is None or revision.content_hash is None:
            raise InvalidModelOutputError(f"article {row.article_id} passed without a stored document")
        document = Document.model_validate(revision.document)
        accepted.append(AcceptedArticle(row=row, document=document, content_hash=revision.content_hash))
    return accepted


async def approved_articles(connection: Connection, workflow_id: UUID) -> list[AcceptedArticle]:
    """Accepted articles whose content is, to the hash, what was approved."""
    approvals = await articles.load_approvals(connection, workflow_id)
    approved = []
    for article in await accepted_articles(connection, workflow_id):
        approval = approvals.get(article.row.article_id)
        if approval is not None and approval.content_hash == article.content_hash:
            approved.append(article.model_copy(update={"approved_at": approval.approved_at}))
    return approved


class ApprovalActivities:
    """Decisions and the step's end: database only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="approve_articles")
    async def approve_articles(self, request: Approve) -> Progress:
        """A person's approval by exact content hashes: PUBLISH_PENDING → PUBLISH_PROCESSING."""
        ref, decision = request.ref, request.decision
        async with self._database.transaction(ref.organization_id) as connection:
            advance = Advance(
                workflow_id=ref.workflow_id,
                organization_id=ref.organization_id,
                expected_state=State.PUBLISH_PENDING,
                expected_version=decision.expected_version,
                next_state=State.PUBLISH_PROCESSING,
                transition_id=decision_transition_id(ref.workflow_id, str(decision.decision_id)),
                actor=decision.actor,
                reason="approved",
                run_id=run_id(),
            )
            await self._approve(connection, ref, advance, decision.hashes)
            return await progress_of(connection, await load_case(connection, ref.workflow_id))

    @activity.defn(name="approve_automatically")
    async def approve_automatically(self, ref: WorkflowRef) -> Progress:
        """The brief says ``publish.approval: auto``; recorded with who started the workflow so."""
        async with self._database.transaction(ref.organization_id) as connection:
            case = await load_case(connection, ref.workflow_id)
            hashes = {
                article.row.article_id: article.content_hash
                for article in await accepted_articles(connection, ref.workflow_id)
            }
            if case.state is State.PUBLISH_PENDING:
                await self._approve(connection, ref, _automatic(case), hashes)
            return await progress_of(connection, await load_case(connection, ref.workflow_id))

    async def _approve(
        self, connection: Connection, ref: WorkflowRef, advance: Advance, hashes: dict[UUID, str]
    ) -> None:
        advanced = await transitions.advance(connection, advance)
        if advanced.replayed:
            return
        accepted = {
            article.row.article_id: article.content_hash
            for article in await accepted_articles(connection, ref.workflow_id)
        }
        _check_hashes(hashes, accepted)
        for article_id, content_hash in hashes.items():
            await articles.approve_article(
                connection,
                ref,
                article_id=article_id,
                content_hash=content_hash,
                approved_by=advance.actor,
                transition_id=advance.transition_id,
            )

    @activity.defn(name="articles_to_publish")
    async def articles_to_publish(self, claim: ClaimRef) -> list[UUID]:
        """Approved articles that do not stand at their target with this content yet."""
        async with self._database.transaction(claim.organization_id) as connection:
            stored = await publications.load_publications(connection, claim.workflow_id)
            done = {(row.article_id, row.content_hash) for row in stored if row.state in STANDING}
            return [
                article.row.article_id
                for article in await approved_articles(connection, claim.workflow_id)
                if (article.row.article_id, article.content_hash) not in done
            ]

    @activity.defn(name="publish_articles")
    async def publish_articles(self, claim: ClaimRef) -> Judged:
        """The step's own activity: PUBLISH_COMPLETED and COMPLETED, or PUBLISH_FAILED naming what is not out."""
        async with self._database.transaction(claim.organization_id) as connection:
            stored = await publications.load_publications(connection, claim.workflow_id)
            output = {"publications": [row.model_dump(mode="json") for row in stored]}
            failed = [row for row in stored if row.state not in STANDING]
            if failed or not stored:
                reasons = [
                    Reason(
                        code="not_published", message=f"{row.slug}: {row.reason or 'not published'}", subject=row.slug
                    )
                    for row in failed
                ] or [Reason(code="nothing_approved", message="no approved article is left to publish")]
                await block_with(connection, claim, Blocked(verdict=verdict_of(reasons), output=output))
                return await judged(connection, claim, JudgedKind.BLOCKED)
            await _complete(connection, claim, output)
            return await judged(connection, claim, JudgedKind.ACCEPTED)


def _automatic(case: Case) -> Advance:
    return Advance(
        workflow_id=case.workflow_id,
        organization_id=case.organization_id,
        expected_state=State.PUBLISH_PENDING,
        expected_version=case.version,
        next_state=State.PUBLISH_PROCESSING,
        transition_id=run_transition_id(case.workflow_id, case.version, State.PUBLISH_PROCESSING),
        actor=f"auto, started by {case.record.started_by}",
        reason="approved automatically as the brief says",
        run_id=run_id(),
    )


def _check_hashes(hashes: dict[UUID, str], accepted: dict[UUID, str]) -> None:
    if not hashes:
        raise BadInputError("no article was approved; name at least one, or approve all that passed")
    for article_id, content_hash in hashes.items():
        if article_id not in accepted:
            raise BadInputError(f"article {article_id} has not passed its gates and can't be approved")
        if accepted[article_id] != content_hash:
            raise BadInputError(f"article {article_id} is not the one you saw: its content changed; look at it again")


async def _complete(connection: Connection, claim: ClaimRef, output: dict[str, Any]) -> None:
    """PUBLISH_COMPLETED and COMPLETED are one business moment."""
    if not await complete_step(connection, claim, output, verdict_of([])):
        return
    version = claim.claim + 1
    await transitions.advance(
        connection,
        Advance(
            workflow_id=claim.workflow_id,
            organization_id=claim.organization_id,
            expected_state=State.PUBLISH_COMPLETED,
            expected_version=version,
            next_state=State.COMPLETED,
            transition_id=run_transition_id(claim.workflow_id, version, State.COMPLETED),
            actor=RUN_ACTOR,
            run_id=run_id(),
        ),
    )


class StoredRecord:
    """A publication's row in the hands of a publisher (``PublicationRecord``)."""

    def __init__(
        self,
        database: Database,
        organization_id: UUID,
        row: PublicationRow,
        attempt_id: UUID,
        check: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._organization_id = organization_id
        self._row = row
        self._attempt_id = attempt_id
        self._check = check

    @property
    def row(self) -> PublicationRow:
        return self._row

    @property
    def external_id(self) -> str | None:
        return self._row.external_id

    @property
    def confirmed_mode(self) -> PublishMode | None:
        return PublishMode(self._row.confirmed_mode) if self._row.confirmed_mode else None

    async def check(self) -> None:
        await self._check()

    async def keep(self, external_id: str, *, instead_of: str | None) -> str:
        async with self._database.transaction(self._organization_id) as connection:
            kept = await publications.keep_external_id(
                connection, self._row.publication_id, external_id=external_id, instead_of=instead_of
            )
        if kept is None:
            raise BadInputError(f"publication {self._row.publication_id} does not exist for this organization")
        replaced = kept != self._row.external_id
        mode = None if replaced and self._row.external_id else self._row.confirmed_mode
        self._row = self._row.model_copy(update={"external_id": kept, "confirmed_mode": mode})
        return kept

    async def store(self, result: PublicationResult) -> bool:
        """What the target answered; False, and nothing is written, when a later attempt or a change has taken over."""
        async with self._database.transaction(self._organization_id) as connection:
            return await publications.store_result(
                connection,
                self._row.publication_id,
                attempt_id=self._attempt_id,
                state=result.state,
                external_id=result.external_id,
                published_url=result.url,
                reason=result.reason,
            )


async def check_attempt(connection: Connection, publication_id: UUID, attempt_id: UUID) -> None:
    """Raises ClaimLostError when a later attempt at this publication has begun."""
    if not await publications.is_newest_attempt(connection, publication_id, attempt_id=attempt_id):
        raise ClaimLostError(f"a later attempt at publication {publication_id} has begun; it goes on from here")


async def patiently(work: Awaitable[PublicationResult], timeouts: ActivityTimeouts) -> PublicationResult:
    """An outage of the target is tried again by Temporal, for so long; then it is a failure that a person looks at."""
    try:
        return await work
    except TransientError as error:
        if is_out_of_patience(timeouts):
            waited = f"tried for {timeouts.publish_patience_seconds:.0f} s"
            return PublicationResult(
                state=PublicationState.FAILED, reason=f"{error}; {waited}: retry when the site is back"
            )
        if isinstance(error, RateLimitedError) and error.retry_after_seconds is not None:
            delay = timedelta(seconds=error.retry_after_seconds)
            raise ApplicationError(
                str(error), error.facts(), type=type(error).__name__, next_retry_delay=delay
            ) from None
        raise


def is_out_of_patience(timeouts: ActivityTimeouts) -> bool:
    waited = datetime.now(UTC) - activity.info().scheduled_time
    return waited.total_seconds() > timeouts.publish_patience_seconds


class PublishActivities:
    """The effects, on the web queue."""

    def __init__(
        self, database: Database, publishers: Mapping[PublishTarget, Publisher], heartbeat_every_seconds: float
    ) -> None:
        self._database = database
        self._publishers = publishers
        self._heartbeat_every_seconds = heartbeat_every_seconds

    @activity.defn(name="publish_article")
    async def publish_article(self, request: PublishArticle) -> Published:
        """One effect, however often it is tried: the intent first, then the target, then what it answered. An answer
        that comes after a later attempt has begun is not stored: how the article stands then is that one's to say."""
        case, publication, record = await self._intend(request)
        publisher = self._publishers[case.brief.publish.target]
        async with heartbeating(self._heartbeat_every_seconds):
            result = await patiently(publisher.publish(publication, record), case.settings.timeouts)
        if not await record.store(result):
            return await self._as_it_stands(request)
        return Published(state=result.state, published_url=result.url, reason=result.reason)

    async def _as_it_stands(self, request: PublishArticle) -> Published:
        """By whoever took over. Raises ProviderUnavailableError while that one is at work: to be tried again."""
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            rows = await publications.load_publications(connection, claim.workflow_id)
        row = next(one for one in rows if one.article_id == request.article_id)
        if row.state == PublicationState.PENDING:
            raise ProviderUnavailableError(f"a later attempt at publication {row.publication_id} is at work; see again")
        return Published(state=row.state, published_url=row.published_url, reason=row.reason)

    async def _intend(self, request: PublishArticle) -> tuple[Case, PublicationRequest, StoredRecord]:
        claim = request.claim
        async with self._database.transaction(claim.organization_id) as connection:
            await transitions.check_claim(connection, claim.workflow_id, claim.organization_id, claim.step, claim.claim)
            case = await load_case(connection, claim.workflow_id)
            approved = await approved_articles(connection, claim.workflow_id)
            article = next((found for found in approved if found.row.article_id == request.article_id), None)
            if article is None:
                raise BadInputError(f"article {request.article_id} is not approved with its present content")
            intent = PublicationIntent(
                publication_id=publication_id_of(request.article_id, case.brief.publish.target),
                article_id=request.article_id,
                target=case.brief.publish.target,
                mode=case.brief.publish.mode,
                slug=article.document.slug,
                content_hash=article.content_hash,
            )
            await publications.store_intent(connection, claim, intent)
            attempt_id = uuid4()
            await publications.take_up(connection, intent.publication_id, attempt_id=attempt_id)
            rows = await publications.load_publications(connection, claim.workflow_id)
        row = next(one for one in rows if one.publication_id == intent.publication_id)
        return case, publication_of(case, article, approved, rows), self._record(claim.workflow, claim, row, attempt_id)

    def _record(self, ref: WorkflowRef, claim: ClaimRef | None, row: PublicationRow, attempt_id: UUID) -> StoredRecord:
        """Before every effect: the step is still this claim's, where there is one, and the article this attempt's."""

        async def check() -> None:
            async with self._database.transaction(ref.organization_id) as connection:
                await _check_claim(connection, claim)
                await check_attempt(connection, row.publication_id, attempt_id)

        return StoredRecord(self._database, ref.organization_id, row, attempt_id, check)

    @activity.defn(name="finish_site")
    async def finish_site(self, claim: ClaimRef) -> str:
        """Links between what stands published, index, sitemap and manifest over all of it; returns where to look."""
        return await self._finish(claim.workflow, claim)

    @activity.defn(name="finish_publications")
    async def finish_publications(self, ref: WorkflowRef) -> str:
        """The same after a change of what stands."""
        return await self._finish(ref, None)

    async def _finish(self, ref: WorkflowRef, claim: ClaimRef | None) -> str:
        site = await self._take_up_site(ref, claim)
        publisher = self._publishers[site.case.brief.publish.target]
        async with heartbeating(self._heartbeat_every_seconds):
            try:
                relinked = await self._relink(ref, claim, publisher, site)
                where = await self._list(ref, publisher, site)
            except TransientError as error:
                if is_out_of_patience(site.case.settings.timeouts):
                    raise ConfigurationError(f"{error}; retry when the site is back") from error
                raise
        for record, result in relinked:
            await _note_relinked(record, result)
        return where

    async def _take_up_site(self, ref: WorkflowRef, claim: ClaimRef | None) -> "_StandingSite":
        """What stands, all of it taken up by this attempt: an older one that wakes draws no link any more."""
        attempt_id = uuid4()
        async with self._database.transaction(ref.organization_id) as connection:
            await transitions.lock_workflow(connection, ref.workflow_id, ref.organization_id)
            await _check_claim(connection, claim)
            await publications.take_up_all(connection, ref.workflow_id, states=STANDING, attempt_id=attempt_id)
            case = await load_case(connection, ref.workflow_id)
            return await _standing_site(connection, case, attempt_id)

    async def _relink(
        self, ref: WorkflowRef, claim: ClaimRef | None, publisher: Publisher, site: "_StandingSite"
    ) -> list[tuple[StoredRecord, PublicationResult]]:
        relinked = []
        rows = {row.article_id: row for row in site.rows}
        for article in site.published:
            record = self._record(ref, claim, rows[article.row.article_id], site.attempt_id)
            request = publication_of(site.case, article, site.published, site.rows)
            try:
                relinked.append((record, await publisher.relink(request, record)))
            except ClaimLostError:
                if claim is not None:
                    raise
                # After a workflow's end somebody later draws the links, or takes this page back: nothing is lost.
        return relinked

    async def _list(self, ref: WorkflowRef, publisher: Publisher, site: "_StandingSite") -> str:
        """Until the lists are of what stands: whoever was held up while something changed must not have the last word
        with what stood before."""
        while True:
            where = await publisher.finish(ref.workflow_id, site_of(site.case, site.published))
            async with self._database.transaction(ref.organization_id) as connection:
                now = await _standing_site(connection, site.case, site.attempt_id)
            if now.contents == site.contents:
                return where
            site = now


class _StandingSite(Frozen):
    """What a workflow has published, as one attempt at finishing it found it."""

    case: Case
    attempt_id: UUID
    rows: tuple[PublicationRow, ...]
    published: tuple[AcceptedArticle, ...]

    @property
    def contents(self) -> list[tuple[UUID, str]]:
        return [(article.row.article_id, article.content_hash) for article in self.published]


async def _standing_site(connection: Connection, case: Case, attempt_id: UUID) -> _StandingSite:
    rows = await publications.load_publications(connection, case.workflow_id)
    standing = {row.article_id for row in rows if row.state in STANDING}
    approved = await approved_articles(connection, case.workflow_id)
    published = tuple(article for article in approved if article.row.article_id in standing)
    return _StandingSite(case=case, attempt_id=attempt_id, rows=tuple(rows), published=published)


async def _check_claim(connection: Connection, claim: ClaimRef | None) -> None:
    if claim is not None:
        await transitions.check_claim(connection, claim.workflow_id, claim.organization_id, claim.step, claim.claim)


async def _note_relinked(record: StoredRecord, result: PublicationResult) -> None:
    """Drawing links anew changes no state, unless it finds the page out of our reach."""
    if result.state is PublicationState.FAILED:
        await record.store(result)
    elif result.url and result.url != record.row.published_url:
        kept = PublicationResult(state=PublicationState(record.row.state), url=result.url, reason=record.row.reason)
        await record.store(kept)


def publication_of(
    case: Case,
    article: AcceptedArticle,
    available: Sequence[AcceptedArticle],
    rows: Sequence[PublicationRow] = (),
    *,
    target: str | None = None,
) -> PublicationRequest:
    """Related links to siblings that don't go out are dropped; the approved content stays as it is. ``target`` is the
    brief's unless said: a preview stands at none."""
    return publishing.publication_request(
        publication_id=publication_id_of(article.row.article_id, target or case.brief.publish.target),
        workflow_id=case.workflow_id,
        workflow_name=case.record.name,
        article_id=article.row.article_id,
        document=article.document,
        content_hash=article.content_hash,
        mode=case.brief.publish.mode,
        is_demo_text=case.settings.is_demo_text,
        organization=case.brief.organization,
        domain=bare_domain(case.brief.organization.url),
        available_slugs={found.document.slug: found.document.title for found in available},
        published_at=article.approved_at,
        addresses={row.slug: row.published_url for row in rows if row.state in STANDING and row.published_url},
    )


def site_of(case: Case, published: Sequence[AcceptedArticle]) -> SiteDescription:
    return publishing.site_description(
        workflow_name=case.record.name,
        organization=case.brief.organization,
        domain=bare_domain(case.brief.organization.url),
        documents=[article.document for article in published],
        is_demo_text=case.settings.is_demo_text,
        mode=case.brief.publish.mode,
    )
