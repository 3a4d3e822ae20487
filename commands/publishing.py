"""Where articles go to, taking back what stands published, and putting it out again."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from commands.deciding import find_article, record_of
from commands.exits import ExitCode, conflict, unreachable
from commands.runs import refusal
from commands.session import Session
from config import Settings
from db.overview import ArticleOverview, article_overview
from db.publications import PublicationRow, load_publications
from db.workflows import WorkflowRecord
from domain.brief import Brief, PublishTarget
from domain.errors import BadInputError, WorkflowTransitionError
from domain.identifiers import bare_domain, temporal_workflow_id
from domain.progress import WorkflowRef
from domain.publication_changes import (
    REASON_CHARACTERS_MAX,
    ChangedArticle,
    ChangeKind,
    PublicationChange,
    is_reached,
)
from domain.publishing import PublicationState
from domain.settings import StepSettings
from domain.states import DERIVED_VIEW, is_terminal
from domain.wordpress import no_site_message
from workflows.failures import root_cause
from workflows.publication_changes import ChangeInput, PublicationChangeWorkflow, publication_change_id

ANSWER_SECONDS_MAX = 60.0


def check_target(settings: Settings, brief: Brief) -> None:
    """Before anything is started: the brief's target is set up. Raises BadInputError or ConfigurationError."""
    if brief.publish.target is not PublishTarget.WORDPRESS:
        return
    domain = bare_domain(brief.organization.url)
    if settings.wordpress.of(domain) is None:
        message = f"publish.target is 'wordpress': {no_site_message(domain)}, here as for the worker"
        raise BadInputError(message, "publish.target")


async def unpublish(session: Session, workflow: str, wanted: Sequence[str], reason: str) -> ExitCode:
    """What stands published is taken back: files are removed, posts become drafts."""
    return await _change(session, workflow, wanted, reason, ChangeKind.UNPUBLISH)


async def republish(session: Session, workflow: str, wanted: Sequence[str], reason: str) -> ExitCode:
    """What was taken back is put out again, with the content that was approved."""
    return await _change(session, workflow, wanted, reason, ChangeKind.REPUBLISH)


async def _change(session: Session, workflow: str, wanted: Sequence[str], reason: str, kind: ChangeKind) -> ExitCode:
    if not reason.strip() or len(reason) > REASON_CHARACTERS_MAX:
        raise BadInputError(f"--reason must say in 1 to {REASON_CHARACTERS_MAX} characters why", "reason")
    found = await session.find(workflow)
    record = await record_of(session, found)
    _check_has_ended(record, kind)
    rows = await _chosen(session, record, wanted, kind)
    change = PublicationChange(
        ref=WorkflowRef(workflow_id=record.workflow_id, organization_id=record.organization_id),
        change_id=uuid4(),
        kind=kind,
        article_ids=tuple(row.article_id for row in rows),
        actor=session.actor,
        reason=reason.strip(),
    )
    changed = await _carried_out(session, record, change)
    is_repeated = all(is_reached(kind, PublicationState(row.state)) for row in rows)
    return _tell(session, record, kind, changed, is_repeated=is_repeated)


def _check_has_ended(record: WorkflowRecord, kind: ChangeKind) -> None:
    if is_terminal(record.state):
        return
    label = DERIVED_VIEW[record.state].label
    message = (
        f"{kind} needs a run that has ended, and {record.name} is in {record.state} ({label}): let it finish, or "
        f"`starter.py cancel {record.workflow_id}` first"
    )
    raise conflict(message, current=record.state, kind=WorkflowTransitionError.__name__)


async def _chosen(
    session: Session, record: WorkflowRecord, wanted: Sequence[str], kind: ChangeKind
) -> list[PublicationRow]:
    async with session.transaction(record.organization_id) as connection:
        rows = await load_publications(connection, record.workflow_id)
        overview = await article_overview(connection, record.workflow_id)
    names = [name.strip() for text in wanted for name in text.split(",") if name.strip()]
    chosen = {find_article(overview, name).article_id for name in names} or {row.article_id for row in rows}
    known = {row.article_id for row in rows}
    if kind is ChangeKind.REPUBLISH:
        known = {row.article_id for row in rows if row.change_id is not None}
        chosen = chosen if names else known
    missing = [article for article in overview if article.article_id in chosen - known]
    if missing or not chosen:
        raise BadInputError(_nothing_to_do(record, kind, missing), "articles")
    return [row for row in rows if row.article_id in chosen]


def _nothing_to_do(record: WorkflowRecord, kind: ChangeKind, missing: Sequence[ArticleOverview]) -> str:
    verb = "published" if kind is ChangeKind.UNPUBLISH else "unpublished"
    if missing:
        return f"article {missing[0].slug or missing[0].keyword!r} was never {verb}; see `starter.py articles`"
    return f"nothing of {record.name} was ever {verb}; see `starter.py articles {record.workflow_id}`"


# Temporal's side -------------------------------------------------------------------------------------------------


async def _carried_out(session: Session, record: WorkflowRecord, change: PublicationChange) -> list[ChangedArticle]:
    """One run at a time per workflow: another's wish is waited for, then ours finds what is left to do."""
    client = await session.client()
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            while True:
                try:
                    handle = await _start(client, session.settings, record, change)
                except WorkflowAlreadyStartedError:
                    await _wait_for_other(client, record)
                else:
                    return await handle.result()
    except TimeoutError as error:
        raise unreachable(
            f"not done within {ANSWER_SECONDS_MAX:.0f} s: what is asked for is recorded and goes on as soon as a "
            f"worker and the target answer; look with `starter.py articles {record.workflow_id}`, repeating is safe",
            "NoWorkerError",
        ) from error
    except WorkflowFailureError as error:
        raise refusal(root_cause(error.cause)) from error


async def _start(
    client: Client, settings: Settings, record: WorkflowRecord, change: PublicationChange
) -> WorkflowHandle[PublicationChangeWorkflow, list[ChangedArticle]]:
    timeouts = StepSettings.model_validate(record.settings).timeouts
    return await client.start_workflow(
        PublicationChangeWorkflow.run,
        ChangeInput(change=change, queue=settings.task_queue, timeouts=timeouts),
        id=_id_of(record),
        task_queue=settings.task_queue,
        task_timeout=timedelta(seconds=timeouts.workflow_task_seconds),
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        priority=Priority(fairness_key=str(record.organization_id)),
        static_summary=f"{change.kind} · {record.name}",
    )


def _id_of(record: WorkflowRecord) -> str:
    return publication_change_id(temporal_workflow_id(record.organization_id, record.workflow_id))


async def _wait_for_other(client: Client, record: WorkflowRecord) -> None:
    handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(_id_of(record))
    try:
        await handle.result()
    except WorkflowFailureError:
        return  # its trouble is told to whoever wanted it


# Telling ---------------------------------------------------------------------------------------------------------


def _tell(
    session: Session,
    record: WorkflowRecord,
    kind: ChangeKind,
    changed: Sequence[ChangedArticle],
    *,
    is_repeated: bool = False,
) -> ExitCode:
    """``is_repeated``: every article stood as wanted before."""
    failed = [article for article in changed if not article.is_done]
    code = ExitCode.RUN_FAILED if failed else ExitCode.DONE
    if session.terminal.as_json:
        session.terminal.emit(_facts(record, kind, changed))
        return code
    for article in changed:
        mark, style = ("✔", "") if article.is_done else ("✘", "red")
        shown = article.published_url if kind is ChangeKind.REPUBLISH and article.is_done else article.reason
        session.terminal.say(f"  {mark} {article.slug}  {article.state}  {shown or ''}".rstrip(), style)
    other = ChangeKind.REPUBLISH if kind is ChangeKind.UNPUBLISH else ChangeKind.UNPUBLISH
    back = f"starter.py {other} {record.workflow_id} --reason TEXT turns it back"
    if is_repeated:
        session.terminal.say(f"already {kind}ed, nothing done · {back}")
        return code
    done = f"{len(changed) - len(failed)} of {len(changed)}"
    session.terminal.say(f"{done} {kind}ed · {back}")
    if failed:
        session.terminal.say("mend what is named above and repeat the command, which is safe", "yellow")
    return code


def _facts(record: WorkflowRecord, kind: ChangeKind, changed: Sequence[ChangedArticle]) -> dict[str, Any]:
    return {
        "workflow_id": str(record.workflow_id),
        "action": kind,
        "state": record.state,
        "is_done": all(article.is_done for article in changed),
        "articles": [article.model_dump(mode="json") for article in changed],
    }
