"""Seed review: a person sees the whole list and decides about it, in a conversation or by flags."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from commands.deciding import check_state, decided, record_of
from commands.exits import CommandError, ExitCode, conflict
from commands.selection import (
    COMMANDS,
    Draft,
    counts_of,
    export_text,
    selected,
    selection_of_file,
)
from commands.session import Session
from commands.terminal import counted
from db.keywords import KeywordRow, load_keywords
from db.overview import FoundWorkflow
from db.workflows import WorkflowRecord
from domain.decisions import ReopenReview, ReviewSeeds
from domain.errors import BadInputError, PipelineError, WorkflowTransitionError
from domain.seed_review import KeywordDecision, SeedDecision, SeedDecisionKind
from domain.settings import StepSettings
from domain.states import State

HINT = "decide with --approve-all, --approve, --drop, --add, --file or --reject TEXT (see `starter.py review --help`)"


@dataclass(frozen=True)
class ReviewFlags:
    """A decision given on the command line; without any, a terminal is asked line by line."""

    approve_all: bool = False
    approve: Sequence[str] = ()
    drop: Sequence[str] = ()
    add: Sequence[str] = ()
    file: Path | None = None
    reject: str | None = None

    @property
    def are_given(self) -> bool:
        return bool(self.approve_all or self.approve or self.drop or self.add or self.file or self.reject is not None)


async def review(session: Session, workflow: str, flags: ReviewFlags) -> ExitCode:
    found = await session.find(workflow)
    record = await record_of(session, found)
    shown = await _shown(session, found)
    if not flags.are_given and not session.terminal.can_ask:
        return _list_only(session, record, shown)
    check_state(record, State.SEED_REVIEW_PENDING, State.SEED_REVIEW_COMPLETED, "review")
    decision = _decision_of(flags, record, shown) if flags.are_given else _ask(session, record, shown)
    if decision is None:
        session.terminal.say(f"nothing was decided; to come back: starter.py review {record.workflow_id}")
        return ExitCode.DONE
    return await _send(session, record, shown, decision)


async def _shown(session: Session, found: FoundWorkflow) -> list[KeywordRow]:
    async with session.transaction(found.organization_id) as connection:
        return await load_keywords(connection, found.workflow_id)


def _list_only(session: Session, record: WorkflowRecord, shown: Sequence[KeywordRow]) -> ExitCode:
    """Without a person to ask: the list, and 2 with the way to decide while the review waits."""
    if session.terminal.as_json:
        session.terminal.emit(
            {
                "workflow_id": str(record.workflow_id),
                "state": record.state,
                "version": record.version,
                "keywords": [keyword_object(keyword) for keyword in shown],
            }
        )
        return ExitCode.DONE
    show_keywords(session, shown)
    check_state(record, State.SEED_REVIEW_PENDING, State.SEED_REVIEW_COMPLETED, "review")
    raise CommandError("BadInputError", f"this is no terminal to ask in: {HINT}", ExitCode.BAD_INPUT)


def keyword_object(keyword: KeywordRow) -> dict[str, Any]:
    plain = keyword.model_dump(mode="json")
    return {"number": plain.pop("position"), **plain}


def show_keywords(session: Session, shown: Sequence[KeywordRow], dropped: frozenset[str] = frozenset()) -> None:
    cells = [
        (
            keyword.position,
            keyword.text,
            keyword.intent,
            len(keyword.sources) or "own",
            keyword.volume,
            "drop" if keyword.text in dropped else keyword.decision,
        )
        for keyword in shown
    ]
    columns = ("number", "keyword", "intent", "sources", "volume", "decision")
    session.terminal.table(columns, cells, right=("number", "sources", "volume"))
    session.terminal.say(f"{counted(len(shown), 'keyword')} in all")


def _decision_of(flags: ReviewFlags, record: WorkflowRecord, shown: Sequence[KeywordRow]) -> SeedDecision:
    _check_flags(flags)
    if flags.reject is not None:
        return SeedDecision(kind=SeedDecisionKind.REJECT, feedback=flags.reject)
    if flags.file is not None:
        chosen = selection_of_file(flags.file, shown)
        if chosen.shown_version not in (None, record.version):
            raise _changed_since(flags.file, chosen.shown_version, record)
        return chosen.decision
    kind = SeedDecisionKind.APPROVE_ALL if flags.approve_all else SeedDecisionKind.SELECT
    return SeedDecision(
        kind=kind,
        approve=selected(shown, flags.approve, "approve"),
        drop=selected(shown, flags.drop, "drop"),
        add=tuple(text.strip() for text in flags.add),
    )


def _check_flags(flags: ReviewFlags) -> None:
    selects = bool(flags.approve_all or flags.approve or flags.drop or flags.add)
    if sum([selects, flags.file is not None, flags.reject is not None]) > 1:
        raise BadInputError("a selection, --file and --reject exclude each other: give one of them")


def _changed_since(path: Path, shown_version: int | None, record: WorkflowRecord) -> CommandError:
    return conflict(
        f"{path} was exported at version {shown_version} and the list is at version {record.version}; export it again",
        current=record.state,
        expected=State.SEED_REVIEW_PENDING,
        attempted=State.SEED_REVIEW_COMPLETED,
        kind=WorkflowTransitionError.__name__,
    )


def _ask(session: Session, record: WorkflowRecord, shown: Sequence[KeywordRow]) -> SeedDecision | None:
    """The conversation; None when the person leaves without deciding."""
    settings = StepSettings.model_validate(record.settings).seed_review
    draft = Draft(shown, {keyword.text for keyword in shown if keyword.decision == KeywordDecision.DROPPED})
    show_keywords(session, shown)
    session.terminal.say(COMMANDS, "dim")
    while True:
        try:
            with interruptible():
                line = input(f"{draft.words()} > ").strip()
        except EOFError:
            return None
        if line in ("quit", "q", "exit"):
            return None
        try:
            if line in ("done", "d"):
                decision = draft.decision()
                counts_of(shown, decision, settings)
                return decision
            if line in ("show", "s"):
                show_keywords(session, shown, frozenset(draft.dropped))
            elif line in ("help", "h", "?"):
                session.terminal.say(COMMANDS, "dim")
            elif line:
                session.terminal.say(f"  {draft.change(line)}")
        except PipelineError as error:
            session.terminal.say(f"  {error}", "red")


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends a blocking read at once; asyncio's own handler would only note it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def _send(session: Session, record: WorkflowRecord, shown: Sequence[KeywordRow], seeds: SeedDecision) -> ExitCode:
    from commands.runs import send

    counts = counts_of(shown, seeds, StepSettings.model_validate(record.settings).seed_review)
    decision = ReviewSeeds(
        decision_id=uuid4(),
        actor=session.actor,
        expected_state=record.state,
        expected_version=record.version,
        seeds=seeds,
    )
    progress = await send(await session.client(), session.settings, record, "review_seeds", decision)
    if seeds.kind is SeedDecisionKind.REJECT:
        return decided(session, progress, "✔ rejected: the competitor step runs again with your words")
    facts = {"approved": counts.approved, "dropped": counts.dropped, "added": counts.added}
    return decided(session, progress, f"✔ {counts.words(len(shown))}", facts)


async def export(session: Session, workflow: str, path: Path) -> ExitCode:
    """The list as CSV, or as JSON for a file named .json, to be edited and given back with --file."""
    found = await session.find(workflow)
    record = await record_of(session, found)
    shown = await _shown(session, found)
    if not shown:
        raise BadInputError(f"there are no keywords yet: {record.name} is in {record.state}", "export")
    _write(path, export_text(shown, record.version, as_json=path.suffix.lower() == ".json"))
    session.terminal.say(f"{counted(len(shown), 'keyword')} in {path}; decide in its column `decision`, then")
    session.terminal.say(f"  starter.py review {record.workflow_id} --file {path}")
    if session.terminal.as_json:
        facts = {"workflow_id": str(record.workflow_id), "version": record.version, "keywords": len(shown)}
        session.terminal.emit({**facts, "file": str(path)})
    return ExitCode.DONE


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"{path} can't be written: {error.strerror}", "export") from None


async def reopen(session: Session, workflow: str) -> ExitCode:
    """Back to the seeds after a failed clustering or validation, with the reasons in view."""
    from commands.runs import send

    found = await session.find(workflow)
    record = await record_of(session, found)
    if record.state is not State.VALIDATION_FAILED:
        check_state(record, State.CLUSTERING_FAILED, State.SEED_REVIEW_PENDING, "review --reopen")
    for reason in (record.failure or {}).get("reasons", ()):
        session.terminal.say(f"  {reason['message']}")
    decision = ReopenReview(
        decision_id=uuid4(),
        actor=session.actor,
        expected_state=record.state,
        expected_version=record.version,
    )
    progress = await send(await session.client(), session.settings, record, "reopen_review", decision)
    return decided(session, progress, f"✔ the review is open again: starter.py review {record.workflow_id}")
