"""Unpublish and republish, for workflows that have ended: the wish is stored first, then the effect, then its end."""

from collections.abc import Mapping
from uuid import UUID, uuid4

from temporalio import activity

from activities.case import Case, load_case
from activities.publish import (
    AcceptedArticle,
    StoredRecord,
    accepted_articles,
    approved_articles,
    check_attempt,
    patiently,
)
from activities.publish import publication_of as request_of
from activities.spend import heartbeating
from activities.state import run_id
from db import publications, transitions
from db.pool import Connection, Database
from db.publications import PublicationRow
from domain.brief import PublishTarget
from domain.errors import BadInputError, ClaimLostError, WorkflowTransitionError
from domain.money import Frozen
from domain.publication_changes import (
    ChangedArticle,
    ChangeEvent,
    ChangeKind,
    PublicationChange,
    event_id_of,
    is_reached,
    may_change,
    state_asked_for,
)
from domain.publishing import PublicationRequest, PublicationResult, PublicationState, Publisher
from domain.states import State, is_terminal


class ChangeArticle(Frozen):
    change: PublicationChange
    article_id: UUID


class PublicationWishActivities:
    """Who wants what and why: database only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="begin_publication_change")
    async def begin_publication_change(self, change: PublicationChange) -> list[UUID]:
        """The articles that have to change, each marked as this change's; again, it gives the same ones.

        Raises WorkflowTransitionError while the workflow has not ended.
        """
        ref = change.ref
        async with self._database.transaction(ref.organization_id) as connection:
            await transitions.lock_workflow(connection, ref.workflow_id, ref.organization_id)
            case = await load_case(connection, ref.workflow_id)
            _check_has_ended(case)
            rows = await publications.load_publications(connection, ref.workflow_id)
            chosen = [row for row in rows if row.article_id in change.article_ids and _is_to_do(change, row)]
            return [row.article_id for row in chosen if await self._begin(connection, change, row)]

    async def _begin(self, connection: Connection, change: PublicationChange, row: PublicationRow) -> bool:
        """False for a change that was begun before and that a later one has followed: it is over."""
        asked = ChangeEvent.UNPUBLISH_ASKED if change.kind is ChangeKind.UNPUBLISH else ChangeEvent.REPUBLISH_ASKED
        is_new = await store_event(connection, change, row.publication_id, asked, change.reason)
        if not is_new and row.change_id != change.change_id:
            return False
        state = state_asked_for(change.kind)
        await publications.begin_change(connection, row.publication_id, state=state, change_id=change.change_id)
        return True

    @activity.defn(name="changed_articles")
    async def changed_articles(self, change: PublicationChange) -> list[ChangedArticle]:
        """How the articles stand that the change was about."""
        async with self._database.transaction(change.ref.organization_id) as connection:
            rows = await publications.load_publications(connection, change.ref.workflow_id)
        return [
            ChangedArticle(
                article_id=row.article_id,
                slug=row.slug,
                state=PublicationState(row.state),
                is_done=is_reached(change.kind, PublicationState(row.state)),
                published_url=row.published_url,
                reason=row.reason,
            )
            for row in rows
            if row.article_id in change.article_ids
        ]


def _check_has_ended(case: Case) -> None:
    if not is_terminal(case.state):
        raise WorkflowTransitionError(
            workflow_id=case.workflow_id,
            reason="conflict",
            current_state=case.state,
            expected_state=State.COMPLETED,
            attempted_state=State.COMPLETED,
            current_version=case.version,
        )


def _is_to_do(change: PublicationChange, row: PublicationRow) -> bool:
    state = PublicationState(row.state)
    return may_change(change.kind, state, was_taken_back=row.change_id is not None)


async def store_event(
    connection: Connection, change: PublicationChange, publication_id: UUID, event: ChangeEvent, reason: str | None
) -> bool:
    return await publications.store_event(
        connection,
        change.ref,
        publication_id,
        event_id=event_id_of(change.change_id, publication_id, event),
        event=event,
        actor=change.actor,
        reason=reason,
        run_id=run_id(),
    )


class PublicationChangeActivities:
    """The effects, on the web queue."""

    def __init__(
        self, database: Database, publishers: Mapping[PublishTarget, Publisher], heartbeat_every_seconds: float
    ) -> None:
        self._database = database
        self._publishers = publishers
        self._heartbeat_every_seconds = heartbeat_every_seconds

    @activity.defn(name="change_publication")
    async def change_publication(self, request: ChangeArticle) -> PublicationState:
        """One article taken back or put out; when it is done already, nothing. Returns how it stands."""
        change = request.change
        case, row, publication = await self._load(request)
        if row.change_id != change.change_id or row.state != state_asked_for(change.kind):
            return PublicationState(row.state)
        publisher = self._publishers[case.brief.publish.target]
        attempt_id = uuid4()
        async with self._database.transaction(case.organization_id) as connection:
            is_ours = await publications.take_up_change(
                connection, row.publication_id, change_id=change.change_id, attempt_id=attempt_id
            )
        if not is_ours:
            return await self._state(change, row)
        check = _Check(self._database, change, row, attempt_id)
        record = StoredRecord(self._database, case.organization_id, row, attempt_id, check)
        effect = publisher.unpublish if change.kind is ChangeKind.UNPUBLISH else publisher.publish
        async with heartbeating(self._heartbeat_every_seconds):
            result = await patiently(effect(publication, record), case.settings.timeouts)
        return await self._end(change, row, attempt_id, result)

    async def _state(self, change: PublicationChange, row: PublicationRow) -> PublicationState:
        """As whoever took over has it by now."""
        async with self._database.transaction(change.ref.organization_id) as connection:
            rows = await publications.load_publications(connection, change.ref.workflow_id)
        return PublicationState(next(one.state for one in rows if one.publication_id == row.publication_id))

    async def _load(self, request: ChangeArticle) -> tuple[Case, PublicationRow, PublicationRequest]:
        ref = request.change.ref
        async with self._database.transaction(ref.organization_id) as connection:
            case = await load_case(connection, ref.workflow_id)
            rows = await publications.load_publications(connection, ref.workflow_id)
            approved = await approved_articles(connection, ref.workflow_id)
            is_republished = request.change.kind is ChangeKind.REPUBLISH
            known = approved if is_republished else await accepted_articles(connection, ref.workflow_id)
            article = _article(known, request.article_id)
        row = next(one for one in rows if one.article_id == request.article_id)
        return case, row, request_of(case, article, approved, rows)

    async def _end(
        self, change: PublicationChange, row: PublicationRow, attempt_id: UUID, result: PublicationResult
    ) -> PublicationState:
        """What came of it, unless a later attempt or change has taken over: then how it stands by that one."""
        is_done = is_reached(change.kind, result.state)
        state = result.state
        if not is_done and change.kind is ChangeKind.UNPUBLISH:
            state = PublicationState.UNPUBLISHING  # asked for and not confirmed: that is the truth, and may be repeated
        async with self._database.transaction(change.ref.organization_id) as connection:
            is_ours = await publications.end_change(
                connection,
                row.publication_id,
                change_id=change.change_id,
                attempt_id=attempt_id,
                state=state,
                published_url=result.url,
                reason=result.reason if not is_done else _note(change, result.reason),
            )
            reached = ChangeEvent.UNPUBLISHED if change.kind is ChangeKind.UNPUBLISH else ChangeEvent.REPUBLISHED
            event = reached if is_done else ChangeEvent.CHANGE_FAILED
            if is_ours:
                await store_event(connection, change, row.publication_id, event, result.reason)
        return state if is_ours else await self._state(change, row)


class _Check:
    """Before every effect: this change still has the publication to carry out, and this attempt is the newest."""

    def __init__(self, database: Database, change: PublicationChange, row: PublicationRow, attempt_id: UUID) -> None:
        self._database = database
        self._change = change
        self._row = row
        self._attempt_id = attempt_id

    async def __call__(self) -> None:
        async with self._database.transaction(self._change.ref.organization_id) as connection:
            if not await publications.is_in_change(
                connection, self._row.publication_id, change_id=self._change.change_id
            ):
                raise ClaimLostError(f"publication {self._row.publication_id} belongs to a later change")
            await check_attempt(connection, self._row.publication_id, self._attempt_id)


def _note(change: PublicationChange, said: str | None) -> str | None:
    """What is worth showing beside the state."""
    if change.kind is ChangeKind.REPUBLISH:
        return said
    return f"unpublished by {change.actor}: {change.reason}" + (f" ({said})" if said else "")


def _article(articles: list[AcceptedArticle], article_id: UUID) -> AcceptedArticle:
    found = next((article for article in articles if article.row.article_id == article_id), None)
    if found is None:
        raise BadInputError(f"article {article_id} is not approved with its present content: it can't be put out again")
    return found
