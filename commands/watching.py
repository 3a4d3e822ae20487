"""Following a run until it rests: a table that redraws itself on a terminal, a line per finished step in a pipe."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from commands.exits import ExitCode, Report
from commands.failures import (
    downgrade_lines,
    failure_object,
    is_failed,
    next_command,
    spent_words,
    stop_lines,
    what_happened,
)
from commands.session import Session
from commands.snapshot import Snapshot, take_snapshot
from commands.steps import Mark, StepLine, step_lines
from commands.terminal import Terminal, counted, dollars
from db.overview import FoundWorkflow
from db.workflows import WorkflowRecord
from domain.errors import TransientError
from domain.states import State, Status, Step, status_of

POLL_SECONDS = 0.4
FRAME_SECONDS = 0.1
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
QUIET_SECONDS = 12.0
OUTAGE_SECONDS_MAX = 10.0
NO_WORKER_NOTE = "no worker takes this run's work: start one with `starter.py up` or `worker.py`; nothing is lost"
SILENCE_SECONDS_MAX = 3.0


def header(snapshot: Snapshot) -> str:
    brief = snapshot.brief
    competitors = counted(len(brief.competitors), "competitor") if brief.competitors else "competitors to be found"
    articles = f"at most {counted(brief.articles.max, 'article')}"
    cap = dollars(snapshot.record.cap_usd)
    return f"{brief.organization.name} · {snapshot.record.name} · {competitors} · {articles} · cap {cap}"


def status_object(session: Session, snapshot: Snapshot) -> dict[str, Any]:
    record, progress = snapshot.record, snapshot.progress
    waiting = progress.waiting if snapshot.waits_for else None
    return {
        "workflow_id": str(record.workflow_id),
        "organization_id": str(record.organization_id),
        "organization": snapshot.brief.organization.name,
        "name": record.name,
        "state": record.state,
        "version": record.version,
        "step": snapshot.step if record.state is not State.CANCELLED else None,
        "status": _status_of(snapshot),
        "waiting_for": snapshot.waits_for,
        "waiting_since": waiting.since.isoformat() if waiting else None,
        "reminders": waiting.reminders if waiting else 0,
        "cap_usd": progress.model_dump(mode="json")["cap_usd"],
        "spent_usd": progress.model_dump(mode="json")["spent_usd"],
        "held_usd": progress.model_dump(mode="json")["held_usd"],
        "downgraded_calls": snapshot.downgraded_calls,
        "articles": progress.articles.model_dump(mode="json"),
        "budget": None if progress.budget is None else progress.budget.model_dump(mode="json"),
        "failure": failure_object(snapshot),
        "next_command": next_command(snapshot) or None,
        "ui_url": session.ui_url(record.organization_id, record.workflow_id),
    }


def _status_of(snapshot: Snapshot) -> Status:
    """Never says more than is true: a gate that opens by itself is pending, not waiting on a person."""
    status = status_of(snapshot.state)
    return Status.PENDING if status is Status.WAITING and snapshot.waits_for is None else status


def lines_of(session: Session, snapshot: Snapshot, frame: str = "", *, with_sum: bool = True) -> list[tuple[str, str]]:
    """The table of steps as (text, style) lines, the sum and what a stop says below it."""
    lines: list[tuple[str, str]] = [(header(snapshot), "bold")]
    for line in step_lines(snapshot):
        mark = frame if line.mark is Mark.WORKING else ""
        lines += [(text, line.style) for text in line.rows(session.terminal.width, mark)]
    if with_sum:
        lines.append((f"  {spent_words(snapshot)}", ""))
    lines += [(text, "") for text in downgrade_lines(snapshot)]
    return [*lines, *((text, "yellow") for text in stop_lines(snapshot))]


def link_line(session: Session, found: FoundWorkflow | WorkflowRecord) -> str:
    """Id and link, apart from the table: no redrawing breaks a link into lines."""
    url = session.ui_url(found.organization_id, found.workflow_id)
    return f"  {found.workflow_id}" + (f" · {url}" if url else "")


@dataclass
class Follower:
    """Reads the row again and again and shows what changed; ``on_change`` sees every snapshot that differs."""

    session: Session
    found: FoundWorkflow
    shows_sum: bool = True
    on_change: Callable[[Snapshot], None] | None = None
    note: str = ""
    _seen: tuple[object, ...] = ()
    _changed_at: float = field(default_factory=time.monotonic)
    _reached_at: float = field(default_factory=time.monotonic)

    async def follow(self) -> Snapshot:
        """Until the run rests; the last look at it."""
        if self.session.terminal.is_live:
            return await self._follow_live()
        return await self._follow_plainly()

    async def _follow_live(self) -> Snapshot:
        from rich.live import Live
        from rich.text import Text

        def view(snapshot: Snapshot, frame: str) -> Text:
            lines = lines_of(self.session, snapshot, frame, with_sum=self.shows_sum or bool(frame))
            lines += [(f"  {self.note}", "yellow")] if self.note else []
            return Text("\n").join(Text(text, style=style) for text, style in lines)

        console = self.session.terminal.console
        with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
            snapshot = await self._look()
            ticks = 0
            while not snapshot.is_at_rest:
                live.update(view(snapshot, FRAMES[ticks % len(FRAMES)]), refresh=True)
                await asyncio.sleep(FRAME_SECONDS)
                ticks += 1
                if ticks % round(POLL_SECONDS / FRAME_SECONDS) == 0:
                    snapshot = await self._look(snapshot)
            self.note = ""
            live.update(view(snapshot, ""), refresh=True)
        return snapshot

    async def _follow_plainly(self) -> Snapshot:
        snapshot = await self._look()
        plain = PlainView(self.session.terminal)
        self.session.terminal.say(header(snapshot))
        plain.show(snapshot)
        while not snapshot.is_at_rest:
            await asyncio.sleep(POLL_SECONDS)
            noted = self.note
            snapshot = await self._look(snapshot)
            plain.show(snapshot)
            if self.note and self.note != noted:
                self.session.terminal.note(f"  {self.note}")
        spent = [f"  {spent_words(snapshot)}"] if self.shows_sum else []
        for text in [*spent, *downgrade_lines(snapshot), *stop_lines(snapshot)]:
            self.session.terminal.say(text)
        return snapshot

    async def _look(self, previous: Snapshot | None = None) -> Snapshot:
        """The row as it is now; the previous look during a short outage of the database."""
        try:
            snapshot = await take_snapshot(self.session, self.found)
        except TransientError:
            if previous is None or time.monotonic() - self._reached_at > OUTAGE_SECONDS_MAX:
                raise
            return previous
        self._reached_at = time.monotonic()
        await self._notice(snapshot)
        return snapshot

    async def _notice(self, snapshot: Snapshot) -> None:
        seen = _fingerprint(snapshot)
        if seen != self._seen:
            self._seen, self._changed_at, self.note = seen, time.monotonic(), ""
            if self.on_change is not None:
                self.on_change(snapshot)
        elif not snapshot.is_at_rest and time.monotonic() - self._changed_at > QUIET_SECONDS:
            self._changed_at = time.monotonic()
            self.note = await self._worker_note(snapshot)

    async def _worker_note(self, snapshot: Snapshot) -> str:
        from commands.runs import waits_for_a_worker

        is_alone = await waits_for_a_worker(await self.session.client(), snapshot.record)
        return NO_WORKER_NOTE if is_alone else ""


def _fingerprint(snapshot: Snapshot) -> tuple[object, ...]:
    articles = tuple((a.state, a.revision, a.sections_written, a.publication_state) for a in snapshot.articles)
    record = snapshot.record
    return (record.version, record.spent_usd, record.held_usd, record.cap_usd, articles)


class PlainView:
    """A line when a step is finished, stops or waits, and one for every article that passes."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._marks: dict[Step, Mark] = {}
        self._passed: set[tuple[object, int]] = set()

    def show(self, snapshot: Snapshot) -> None:
        for line in step_lines(snapshot):
            if self._marks.get(line.step) is not line.mark and _is_telling(line):
                self._marks[line.step] = line.mark
                for text in line.rows(self._terminal.width):
                    self._terminal.say(text)
        self._show_articles(snapshot)

    def _show_articles(self, snapshot: Snapshot) -> None:
        if snapshot.step is not Step.ARTICLE:
            return
        for article in snapshot.articles:
            passed = (article.article_id, article.accepted_revision or 0)
            if article.accepted_revision is not None and passed not in self._passed:
                self._passed.add(passed)
                self._terminal.say(f'      article {len(self._passed)}: "{article.title or article.keyword}"')


def _is_telling(line: StepLine) -> bool:
    """Finished or stopped, or at work for so long that silence would worry."""
    if line.mark is Mark.WORKING:
        return line.seconds is not None and line.seconds > SILENCE_SECONDS_MAX
    return line.mark is not Mark.AHEAD


async def follow_to_exit(session: Session, found: FoundWorkflow, *, facts: dict[str, Any] | None = None) -> ExitCode:
    """Follow, then end as commands that wait do: 6 when the run failed, is parked in a failure or was cancelled.

    Under ``--json`` the one object has ``facts`` and the status where the run came to rest.
    """
    session.terminal.say(link_line(session, found), "dim")
    try:
        snapshot = await Follower(session, found).follow()
    except asyncio.CancelledError:
        session.terminal.note(f"\nthe run goes on; to come back: starter.py watch {found.workflow_id}")
        raise
    if session.terminal.as_json:
        session.terminal.emit({**(facts or {}), **status_object(session, snapshot)})
    return exit_of(session, snapshot)


def exit_of(session: Session, snapshot: Snapshot) -> ExitCode:
    if not is_failed(snapshot):
        return ExitCode.DONE
    facts = {"workflow_id": str(snapshot.record.workflow_id), "state": snapshot.state}
    report = Report(ExitCode.RUN_FAILED, "RunFailedError", what_happened(snapshot), facts)
    if session.terminal.as_json:
        session.terminal.error(report.message, report.as_object())
    return ExitCode.RUN_FAILED
