"""Commands that only look: status, watch, list, history, articles, costs."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from commands.exits import ExitCode
from commands.failures import budget_lines, next_command
from commands.session import Session, shortest_id
from commands.snapshot import Snapshot, take_snapshot
from commands.terminal import counted, dollars
from commands.waiting import waiting_facts, waits_of
from commands.watching import Follower, exit_of, follow_to_exit, lines_of, link_line, status_object
from db.overview import ArticleOverview, FoundWorkflow, article_overview
from db.publications import load_events
from db.spend import ledger_lines
from db.transitions import TransitionRecord, list_transitions
from db.workflows import WorkflowRecord, list_workflows
from domain.money import format_usd
from domain.preview_page import findings_of
from domain.reminders import WaitsFor
from domain.spend import LedgerLine
from domain.states import DERIVED_VIEW, is_terminal, status_of, step_of
from domain.verdict import Level

TIME = "%Y-%m-%d %H:%M:%S"


async def status(session: Session, workflow: str) -> ExitCode:
    snapshot = await take_snapshot(session, await session.find(workflow))
    if session.terminal.as_json:
        session.terminal.emit(status_object(session, snapshot))
    for text, style in lines_of(session, snapshot):
        session.terminal.say(text, style)
    session.terminal.say(link_line(session, snapshot.record), "dim")
    return ExitCode.DONE


async def watch(session: Session, workflow: str) -> ExitCode:
    """Under ``--json`` a line for every change, the last one being the end."""
    found = await session.find(workflow)
    if not session.terminal.as_json:
        return await follow_to_exit(session, found)
    follower = Follower(
        session, found, on_change=lambda snapshot: session.terminal.emit_line(status_object(session, snapshot))
    )
    return exit_of(session, await follower.follow())


# Workflows -------------------------------------------------------------------------------------------------------


async def list_(session: Session, limit: int) -> ExitCode:
    async with session.reading() as connection:
        records = await list_workflows(connection, limit)
        waits = await waits_of(connection, [record.workflow_id for record in records])
    if session.terminal.as_json:
        by_id = {one.record.workflow_id: one for one in waits}
        session.terminal.emit(
            [{**_workflow_object(session, one), **waiting_facts(by_id.get(one.workflow_id))} for one in records]
        )
        return ExitCode.DONE
    if not records:
        session.terminal.say("no workflows yet; begin with `starter.py demo`, or `starter.py start BRIEF`")
        return ExitCode.DONE
    columns = ("id", "organization", "name", "state", "spent", "cap", "since")
    session.terminal.table(columns, [_workflow_cells(record) for record in records], right=("spent", "cap"))
    return ExitCode.DONE


def _workflow_object(session: Session, record: WorkflowRecord) -> dict[str, Any]:
    plain = record.model_dump(mode="json", include={"cap_usd", "spent_usd", "held_usd", "created_at", "updated_at"})
    return {
        "workflow_id": str(record.workflow_id),
        "organization_id": str(record.organization_id),
        "organization": _organization_name(record),
        "name": record.name,
        "state": record.state,
        "version": record.version,
        "step": step_of(record.state),
        "status": status_of(record.state),
        **plain,
        "ui_url": session.ui_url(record.organization_id, record.workflow_id),
    }


def _workflow_cells(record: WorkflowRecord) -> tuple[str, ...]:
    return (
        shortest_id(record.workflow_id),
        _organization_name(record),
        record.name,
        f"{record.state} ({DERIVED_VIEW[record.state].label})",
        dollars(record.spent_usd),
        dollars(record.cap_usd),
        f"{record.created_at.astimezone():{TIME}}",
    )


def _organization_name(record: WorkflowRecord) -> str:
    return str(record.brief.get("organization", {}).get("name", ""))


# History ---------------------------------------------------------------------------------------------------------


async def history(session: Session, workflow: str) -> ExitCode:
    found = await session.find(workflow)
    async with session.transaction(found.organization_id) as connection:
        audit = await list_transitions(connection, found.workflow_id)
    if session.terminal.as_json:
        session.terminal.emit([transition_object(row) for row in audit])
        return ExitCode.DONE
    cells = [
        (row.seq, f"{row.at.astimezone():{TIME}}", row.from_state, row.to_state, row.actor, row.reason) for row in audit
    ]
    session.terminal.table(("seq", "at", "from", "to", "who", "reason"), cells, right=("seq",))
    session.terminal.say(f"{counted(len(audit), 'transition')}; {found.name} is in {found.state}")
    return ExitCode.DONE


def transition_object(row: TransitionRecord) -> dict[str, Any]:
    return {
        "transition_id": str(row.transition_id),
        "seq": row.seq,
        "from": row.from_state,
        "to": row.to_state,
        "actor": row.actor,
        "reason": row.reason,
        "run_id": row.run_id,
        "at": row.at.isoformat(),
    }


# Articles --------------------------------------------------------------------------------------------------------


async def articles(session: Session, workflow: str) -> ExitCode:
    found = await session.find(workflow)
    snapshot = await take_snapshot(session, found)
    overview = snapshot.articles
    if session.terminal.as_json:
        session.terminal.emit(await _articles_with_history(session, found, overview))
        return ExitCode.DONE
    cells = [
        (
            number,
            article.state,
            article.role,
            article.title or article.keyword,
            dollars(article.cost_usd),
            article.published_url or _why(snapshot, article),
        )
        for number, article in enumerate(overview, start=1)
    ]
    columns = ("number", "state", "role", "title or keyword", "writing it", "published, or why not")
    session.terminal.table(columns, cells, right=("writing it",))
    for text in [*cost_lines(overview), *budget_lines(snapshot), *_way_on(snapshot)]:
        session.terminal.say(text)
    if not overview:
        session.terminal.say(f"no articles are planned yet; {found.name} is in {found.state}")
    return ExitCode.DONE


def cost_lines(overview: Sequence[ArticleOverview]) -> list[str]:
    """What writing the articles has cost together and, of those that passed, each. Their own calls alone: what a run
    costs for each article, its other steps included, is in ``costs --top``."""
    total = sum((article.cost_usd for article in overview), Decimal(0))
    passed = [article for article in overview if article.accepted_revision is not None]
    if not passed:
        return []
    each = sum((article.cost_usd for article in passed), Decimal(0)) / len(passed)
    return [
        f"  articles  writing {counted(len(overview), 'article')} {dollars(total)}, "
        f"writing one that passed {dollars(each)}"
    ]


def _way_on(snapshot: Snapshot) -> list[str]:
    command = next_command(snapshot) if snapshot.progress.budget is not None else ""
    return [f"  to go on  {command}"] if command else []


async def _articles_with_history(
    session: Session, found: FoundWorkflow, overview: Sequence[ArticleOverview]
) -> list[dict[str, Any]]:
    """Each article with who took it back or put it out again, when and why."""
    async with session.transaction(found.organization_id) as connection:
        events = await load_events(connection, found.workflow_id)
    return [
        {
            **article_object(article),
            "publication_history": [
                event.model_dump(mode="json", exclude={"article_id"})
                for event in events
                if event.article_id == article.article_id
            ],
        }
        for article in overview
    ]


def article_object(article: ArticleOverview) -> dict[str, Any]:
    return {
        "article_id": str(article.article_id),
        "slug": article.slug,
        "title": article.title,
        "state": article.state,
        "published_url": article.published_url,
        "keyword": article.keyword,
        "role": article.role,
        "revision": article.revision,
        "accepted_revision": article.accepted_revision,
        "content_hash": article.content_hash,
        "sections": {"written": article.sections_written, "planned": article.sections_planned},
        "publication_state": article.publication_state,
        "publication_reason": article.publication_reason,
        "cost_usd": format_usd(article.cost_usd),
        "reasons": [reason.model_dump(mode="json") for reason in article.reasons],
    }


def _why(snapshot: Snapshot, article: ArticleOverview) -> str:
    if article.publication_reason:
        return article.publication_reason
    if _has_passed(article):
        return f"{_passed_words(snapshot)}{_warned_words(article)}"
    message = article.reasons[0].message if article.reasons else ""
    if article.accepted_revision is not None and article.revision > article.accepted_revision and message:
        return f"version {article.accepted_revision} stays, version {article.revision} did not pass: {message}"
    return message


def _has_passed(article: ArticleOverview) -> bool:
    is_latest = article.accepted_revision is not None and article.revision == article.accepted_revision
    is_blocked = any(reason.level is Level.BLOCK for reason in article.reasons)
    return is_latest and not is_blocked and article.publication_state is None


def _passed_words(snapshot: Snapshot) -> str:
    if snapshot.waits_for is WaitsFor.APPROVAL:
        return "waits for approval"
    return "passed, not published" if is_terminal(snapshot.state) else "passed, not published yet"


def _warned_words(article: ArticleOverview) -> str:
    """Only how many: what the gates said of an article that passed stands in its preview."""
    warnings = len(findings_of(article.quality))
    return f", {counted(warnings, 'warning')} (preview shows them)" if warnings else ""


# Costs -----------------------------------------------------------------------------------------------------------


async def costs(session: Session, workflow: str | None) -> ExitCode:
    """The ledger, a row a line."""
    found = await session.find(workflow) if workflow is not None else None
    workflow_id = found.workflow_id if found else None
    async with session.reading() as connection:
        _show_lines(session, await ledger_lines(connection, workflow_id))
        for text in cost_lines(await article_overview(connection, workflow_id)) if workflow_id else ():
            session.terminal.say(text)
    return ExitCode.DONE


def _show_lines(session: Session, lines: Sequence[LedgerLine]) -> None:
    if session.terminal.as_json:
        session.terminal.emit([line.model_dump(mode="json") for line in lines])
        return
    cells: list[tuple[object, ...]] = [
        (
            line.ledger_id,
            f"{line.created_at.astimezone():{TIME}}",
            line.step,
            line.slot,
            line.model,
            line.prompt_tokens,
            line.completion_tokens,
            format_usd(line.cost),
            line_words(line),
        )
        for line in lines
    ]
    total = sum((line.cost for line in lines), Decimal(0))
    tokens = (sum(line.prompt_tokens for line in lines), sum(line.completion_tokens for line in lines))
    cells.append(("sum", "", "", counted(len(lines), "line"), "", *tokens, format_usd(total), ""))
    columns = ("row", "at", "step", "slot", "model", "in", "out", "cost $", "entry")
    session.terminal.table(columns, cells, right=("row", "in", "out", "cost $"))


def line_words(line: LedgerLine) -> str:
    """What is out of the ordinary about a ledger row: its entry, who corrected it and why, a cheaper model."""
    words = [] if line.entry == "usage" else [line.entry]
    if line.actor:
        words = [f"{line.entry} by {line.actor}: {line.reason}"]
    if line.downgraded_from:
        words.append(f"downgraded from {line.downgraded_from}")
    return "; ".join(words)
