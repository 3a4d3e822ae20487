"""What people decide about a run: retry, approve, redo. Each is bound to the state and version that was shown."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from activities.publish import AcceptedArticle, accepted_articles
from commands.exits import CommandError, ExitCode, conflict
from commands.runs import is_parked, is_terminal_message, send
from commands.session import Session
from commands.watching import follow_to_exit
from db.overview import ArticleOverview, FoundWorkflow, article_overview
from db.workflows import WorkflowRecord, load_workflow
from domain.decisions import ApproveArticles, RedoArticle, Retry
from domain.errors import BadInputError, WorkflowTransitionError
from domain.progress import Progress
from domain.states import DERIVED_VIEW, State, Status, Step, is_terminal, processing_state, status_of, step_of

NOTE_CHARACTERS_MAX = 2_000


async def record_of(session: Session, found: FoundWorkflow) -> WorkflowRecord:
    async with session.transaction(found.organization_id) as connection:
        record = await load_workflow(connection, found.workflow_id)
    if record is None:
        raise WorkflowTransitionError(
            workflow_id=found.workflow_id,
            reason="not_found",
            current_state=None,
            expected_state=found.state,
            attempted_state=found.state,
        )
    return record


def check_state(record: WorkflowRecord, expected: State, attempted: State, what: str) -> None:
    """Raises the conflict that the database would raise, without asking Temporal first."""
    if record.state is expected:
        return
    if is_terminal(record.state):
        message = is_terminal_message(record)
    else:
        label = DERIVED_VIEW[record.state].label
        hint = f"see `starter.py status {record.workflow_id}`"
        message = f"{what} needs {expected}, and {record.name} is in {record.state} ({label}); {hint}"
    kind = WorkflowTransitionError.__name__
    raise conflict(message, current=record.state, expected=expected, attempted=attempted, kind=kind)


def decided(session: Session, progress: Progress, words: str, facts: dict[str, Any] | None = None) -> ExitCode:
    """A decision was taken: the words for a person, the new state for a script."""
    url = session.ui_url(progress.organization_id, progress.workflow_id)
    if session.terminal.as_json:
        session.terminal.emit(
            {
                "workflow_id": str(progress.workflow_id),
                "state": progress.state,
                "version": progress.version,
                **(facts or {}),
                "ui_url": url,
            }
        )
        return ExitCode.DONE
    session.terminal.say(words)
    command = "retry" if status_of(progress.state) is Status.FAILED else "watch"
    if is_terminal(progress.state):
        command = "costs"
    session.terminal.say(f"  now in {progress.state} · starter.py {command} {progress.workflow_id}")
    if url:
        session.terminal.say(f"  {url}", "dim")
    return ExitCode.DONE


# Retry -----------------------------------------------------------------------------------------------------------


async def retry(session: Session, workflow: str, *, accept_partial: bool, waits: bool) -> ExitCode:
    found = await session.find(workflow)
    record = await record_of(session, found)
    step = step_of(record.state)
    if accept_partial or not await _is_parked(session, record):
        step = _failed_step(record, accept_partial)
    decision = Retry(
        decision_id=uuid4(),
        actor=session.actor,
        expected_state=record.state,
        expected_version=record.version,
        accept_partial=accept_partial,
    )
    progress = await send(await session.client(), session.settings, record, "retry", decision)
    if waits:
        return await follow_to_exit(session, found)
    words = "with the articles that passed" if accept_partial else "what was accepted is kept, the rest is asked anew"
    return decided(session, progress, f"✔ {step} again: {words}")


async def _is_parked(session: Session, record: WorkflowRecord) -> bool:
    """A run that can't go on by itself waits for a retry, in whatever state the row is."""
    if status_of(record.state) not in (Status.PENDING, Status.PROCESSING, Status.WAITING):
        return False
    return await is_parked(await session.client(), record)


def _failed_step(record: WorkflowRecord, accept_partial: bool) -> Step:
    """The step that stands in X_FAILED; raises a conflict when none does."""
    step = step_of(record.state)
    if accept_partial:
        check_state(record, State.ARTICLE_FAILED, State.ARTICLE_PROCESSING, "--accept-partial")
    if step is None or status_of(record.state) is not Status.FAILED:
        raise _nothing_failed(record, step)
    return step


def _nothing_failed(record: WorkflowRecord, step: Step | None) -> CommandError:
    if is_terminal(record.state):
        return conflict(is_terminal_message(record), current=record.state)
    message = f"nothing to retry: {record.name} is in {record.state} ({DERIVED_VIEW[record.state].label})"
    attempted = None if step in (None, Step.SEED_REVIEW) else processing_state(step)
    kind = WorkflowTransitionError.__name__
    return conflict(message, current=record.state, expected=_failed_of(step), attempted=attempted, kind=kind)


def _failed_of(step: Step | None) -> State | None:
    return None if step in (None, Step.SEED_REVIEW) else State(f"{step.name}_FAILED")


# Articles --------------------------------------------------------------------------------------------------------


async def approve(session: Session, workflow: str, wanted: Sequence[str]) -> ExitCode:
    """Approves exactly the contents that stand accepted now; all of them unless some are named."""
    found = await session.find(workflow)
    record = await record_of(session, found)
    check_state(record, State.PUBLISH_PENDING, State.PUBLISH_PROCESSING, "approve")
    async with session.transaction(found.organization_id) as connection:
        accepted = await accepted_articles(connection, found.workflow_id)
        overview = await article_overview(connection, found.workflow_id)
    chosen = _chosen(accepted, overview, wanted)
    decision = ApproveArticles(
        decision_id=uuid4(),
        actor=session.actor,
        expected_state=record.state,
        expected_version=record.version,
        hashes={article.row.article_id: article.content_hash for article in chosen},
    )
    progress = await send(await session.client(), session.settings, record, "approve_articles", decision)
    for article in chosen:
        session.terminal.say(f'✔ approved "{article.document.title}" ({article.content_hash[:12]})')
    hashes = {str(article_id): content_hash for article_id, content_hash in decision.hashes.items()}
    return decided(
        session, progress, f"{len(chosen)} of {len(accepted)} articles go to be published", {"approved": hashes}
    )


def _chosen(
    accepted: Sequence[AcceptedArticle], overview: Sequence[ArticleOverview], wanted: Sequence[str]
) -> list[AcceptedArticle]:
    names = [name.strip() for text in wanted for name in text.split(",") if name.strip()]
    if not names:
        return list(accepted)
    ids = {find_article(overview, name).article_id for name in names}
    by_id = {article.row.article_id: article for article in accepted}
    missing = [article for article in overview if article.article_id in ids and article.article_id not in by_id]
    if missing:
        raise BadInputError(
            f"article {missing[0].keyword!r} has not passed its gates and can't be approved", "articles"
        )
    return [article for article_id, article in by_id.items() if article_id in ids]


def find_article(overview: Sequence[ArticleOverview], name: str) -> ArticleOverview:
    """By number, slug, keyword, id or beginning of an id. Raises BadInputError when none or several fit."""
    if name.isdigit() and 1 <= int(name) <= len(overview):
        return overview[int(name) - 1]
    folded = name.casefold()
    exact = [one for one in overview if folded in (one.slug, one.keyword.casefold(), str(one.article_id))]
    found = exact or [one for one in overview if len(name) >= 4 and str(one.article_id).startswith(folded)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{number} {one.slug or one.keyword}" for number, one in enumerate(overview, start=1))
    problem = "fits several articles" if found else "is no article of this workflow"
    raise BadInputError(f"{name!r} {problem}; there are: {listed or 'none yet'}", "article")


async def redo(session: Session, workflow: str, article: str, note: str) -> ExitCode:
    if not note.strip() or len(note) > NOTE_CHARACTERS_MAX:
        message = f"--note must say in 1 to {NOTE_CHARACTERS_MAX} characters what should be otherwise"
        raise BadInputError(message, "note")
    found = await session.find(workflow)
    record = await record_of(session, found)
    check_state(record, State.PUBLISH_PENDING, State.ARTICLE_PENDING, "redo")
    async with session.transaction(found.organization_id) as connection:
        chosen = find_article(await article_overview(connection, found.workflow_id), article)
    decision = RedoArticle(
        decision_id=uuid4(),
        actor=session.actor,
        expected_state=record.state,
        expected_version=record.version,
        article_id=chosen.article_id,
        note=note.strip(),
    )
    progress = await send(await session.client(), session.settings, record, "redo_article", decision)
    words = f'✔ "{chosen.title or chosen.keyword}" is written anew; the earlier version stays until the new one passes'
    return decided(session, progress, words, {"article_id": str(chosen.article_id)})
