"""Seed review: a person sees the whole list and decides about it, on a screen, line by line, or by flags and files."""

import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from commands.deciding import check_state, decided, record_of
from commands.exits import CommandError, ExitCode, conflict
from commands.review_files import (
    Origin,
    draft_path,
    export_text,
    forget_draft,
    keep_draft,
    kept_draft,
    origin_of_file,
    selection_of_file,
)
from commands.selection import (
    COMMANDS,
    Counts,
    Draft,
    Line,
    Mark,
    Selection,
    counts_of,
    selected,
)
from commands.session import Session
from commands.terminal import counted
from db import outputs
from db.keywords import KeywordRow, ReviewRecord, load_keywords, load_reviews
from db.overview import FoundWorkflow
from db.transitions import TransitionRecord, list_transitions
from db.workflows import WorkflowRecord
from domain.decisions import ReopenReview, ReviewSeeds
from domain.errors import BadInputError, PipelineError, WorkflowTransitionError
from domain.keyword_data import source_names
from domain.progress import Progress
from domain.reminders import REOPENED
from domain.seed_feedback import guidance_of, guidance_words
from domain.seed_review import KeywordDecision, Rejection, SeedDecision, SeedDecisionKind
from domain.settings import SeedReviewSettings, StepSettings
from domain.states import State, Step
from domain.verdict import Level

if TYPE_CHECKING:
    from commands.review_screen import Review

HINT = "decide with --approve-all, --approve, --drop, --add, --file or --reject TEXT (see `starter.py review --help`)"
TIME = "%Y-%m-%d %H:%M"
REASONS_SHOWN = 3
EXPORT_SUFFIXES = (".csv", ".json")
# Shown where a provider of keyword data gave them.
FIGURES = {"volume": "volume", "difficulty": "difficulty", "cpc_usd": "cpc $"}


@dataclass(frozen=True)
class ReviewFlags:
    """A decision given on the command line; without any, a terminal shows a screen, or asks line by line.

    ``undecided`` is what a file's rows without a decision become, ``note`` is "WHICH=TEXT", ``plain`` asks for lines.
    """

    approve_all: bool = False
    approve: Sequence[str] = ()
    drop: Sequence[str] = ()
    add: Sequence[str] = ()
    file: Path | None = None
    reject: str | None = None
    note: Sequence[str] = ()
    undecided: str | None = None
    plain: bool = False

    @property
    def are_given(self) -> bool:
        chosen = self.approve_all or self.approve or self.drop or self.add or self.note
        return bool(chosen or self.file or self.reject is not None)


@dataclass(frozen=True)
class Shown:
    """A workflow with its list as it stands, everything that was decided about it before, and why it is open again."""

    record: WorkflowRecord
    keywords: tuple[KeywordRow, ...]
    reviews: tuple[ReviewRecord, ...]
    audit: tuple[TransitionRecord, ...]
    reopened_for: tuple[str, ...] = ()

    @property
    def settings(self) -> SeedReviewSettings:
        return StepSettings.model_validate(self.record.settings).seed_review

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        return tuple(review.rejection for review in self.reviews if review.kind is SeedDecisionKind.REJECT)

    @property
    def new(self) -> frozenset[str]:
        """Texts that the latest rejected list did not hold; none before one was rejected."""
        if not self.reviews or self.reviews[-1].kind is not SeedDecisionKind.REJECT:
            return frozenset()
        before = {keyword.text for keyword in self.reviews[-1].keywords}
        return frozenset(keyword.text for keyword in self.keywords) - before


async def review(session: Session, workflow: str, flags: ReviewFlags) -> ExitCode:
    found = await session.find(workflow)
    record = await record_of(session, found)
    shown = await _shown(session, found, record)
    if not flags.are_given and not session.terminal.can_ask:
        return _list_only(session, shown)
    _check_open(shown)
    if flags.are_given:
        return await _told(session, shown, _decision_of(flags, shown))
    if flags.plain or not session.terminal.is_live:
        return await _review_by_lines(session, shown)
    return await _review_on_screen(session, shown)


async def _shown(session: Session, found: FoundWorkflow, record: WorkflowRecord) -> Shown:
    async with session.transaction(found.organization_id) as connection:
        audit = await list_transitions(connection, found.workflow_id)
        reasons: tuple[str, ...] = ()
        if audit and audit[-1].reason == REOPENED:
            stored = [await outputs.latest_output(connection, found.workflow_id, step) for step in _AFTER_REVIEW]
            reasons = _reasons(stored)
        return Shown(
            record=record,
            keywords=tuple(await load_keywords(connection, found.workflow_id)),
            reviews=tuple(await load_reviews(connection, found.workflow_id)),
            audit=tuple(audit),
            reopened_for=reasons,
        )


_AFTER_REVIEW = (Step.CLUSTERING, Step.VALIDATION)


def _reasons(stored: Sequence[outputs.StepOutput | None]) -> tuple[str, ...]:
    """Why the latest of the steps fell."""
    latest = max((one for one in stored if one is not None), key=lambda one: one.claim, default=None)
    reasons = latest.verdict.reasons if latest is not None else ()
    return tuple(reason.message for reason in reasons if reason.level is Level.BLOCK)


def _check_open(shown: Shown) -> None:
    """Who comes late is told who was faster, when and with what."""
    record = shown.record
    latest = shown.reviews[-1] if shown.reviews else None
    if record.state is State.SEED_REVIEW_PENDING or latest is None:
        check_state(record, State.SEED_REVIEW_PENDING, State.SEED_REVIEW_COMPLETED, "review")
        return
    raise _decided_by(latest, record, record.state)


def _list_only(session: Session, shown: Shown) -> ExitCode:
    """Without a person to ask: the list, and 2 with the way to decide while the review waits."""
    record = shown.record
    if session.terminal.as_json:
        new = shown.new
        session.terminal.emit(
            {
                "workflow_id": str(record.workflow_id),
                "state": record.state,
                "version": record.version,
                "rejections": [rejection.model_dump(mode="json", exclude={"shown"}) for rejection in shown.rejections],
                "keywords": [{**keyword_object(keyword), "is_new": keyword.text in new} for keyword in shown.keywords],
            }
        )
        return ExitCode.DONE
    for text in before_lines(shown):
        session.terminal.say(text)
    show_keywords(session, shown.keywords, new=shown.new)
    _check_open(shown)
    raise CommandError("BadInputError", f"this is no terminal to ask in: {HINT}", ExitCode.BAD_INPUT)


def keyword_object(keyword: KeywordRow) -> dict[str, Any]:
    plain = keyword.model_dump(mode="json")
    return {"number": plain.pop("position"), **plain}


def show_keywords(
    session: Session,
    shown: Sequence[KeywordRow],
    dropped: frozenset[str] = frozenset(),
    new: frozenset[str] = frozenset(),
) -> None:
    figures = [name for name in FIGURES if any(getattr(keyword, name) is not None for keyword in shown)]
    cells = [
        (
            keyword.position,
            keyword.text + ("  (new)" if keyword.text in new else ""),
            keyword.intent,
            len(keyword.sources) or "own",
            source_names(keyword.sources),
            *(getattr(keyword, name) for name in figures),
            "drop" if keyword.text in dropped else decision_words(keyword),
        )
        for keyword in shown
    ]
    columns = ("number", "keyword", "intent", "sources", "from", *(FIGURES[name] for name in figures), "decision")
    session.terminal.table(columns, cells, right=("number", "sources", *FIGURES.values()))
    session.terminal.say(f"{counted(len(shown), 'keyword')} in all")


def decision_words(keyword: KeywordRow) -> str:
    """The latest decision with who, when and why; why a reviewer's words speak against it where none is made yet."""
    if keyword.decision is None or keyword.decided_at is None:
        return f"flagged: {keyword.flag}" if keyword.flag else ""
    note = f" ({keyword.note})" if keyword.note else ""
    return f"{keyword.decision} by {keyword.decided_by}, {_local(keyword.decided_at)}{note}"


def _local(at: datetime) -> str:
    return f"{at.astimezone():{TIME}}"


def before_lines(shown: Shown) -> tuple[str, ...]:
    """What was before this list: the words of a rejection and what changed since, or why the review is open again."""
    if shown.reopened_for:
        return tuple(f"open again because: {reason}" for reason in shown.reopened_for[:REASONS_SHOWN])
    if not shown.reviews or shown.reviews[-1].kind is not SeedDecisionKind.REJECT:
        return ()
    latest = shown.reviews[-1]
    now = {keyword.text for keyword in shown.keywords}
    gone = sum(1 for keyword in latest.keywords if keyword.text not in now)
    flagged = sum(1 for keyword in shown.keywords if keyword.flag)
    done = guidance_words(guidance_of(shown.rejections))
    rounds_left = shown.settings.rejections_max - len(shown.rejections)
    return (
        f"{latest.actor} rejected the list before, {_local(latest.at)}: “{' '.join((latest.feedback or '').split())}”",
        *([f"the search {done}"] if done else []),
        f"since then: {len(shown.new)} new (marked), {gone} gone, {flagged} flagged; "
        f"it may be rejected {counted(max(rounds_left, 0), 'more time')}",
    )


# By flags --------------------------------------------------------------------------------------------------------


def _decision_of(flags: ReviewFlags, shown: Shown) -> SeedDecision:
    _check_flags(flags)
    keywords = shown.keywords
    notes = _notes(flags.note, keywords)
    drop, add = selected(keywords, flags.drop, "drop"), tuple(text.strip() for text in flags.add)
    if flags.reject is not None:
        return SeedDecision(
            kind=SeedDecisionKind.REJECT, feedback=flags.reject.strip(), drop=drop, add=add, notes=notes
        )
    if flags.file is not None:
        undecided = {None: None, "approve": Mark.APPROVED, "drop": Mark.DROPPED}[flags.undecided]
        _check_origin(flags.file, shown)
        return selection_of_file(flags.file, keywords, undecided=undecided).decision
    kind = SeedDecisionKind.APPROVE_ALL if flags.approve_all else SeedDecisionKind.SELECT
    approve = selected(keywords, flags.approve, "approve")
    return SeedDecision(kind=kind, approve=approve, drop=drop, add=add, notes=notes)


def _notes(given: Sequence[str], keywords: Sequence[KeywordRow]) -> dict[str, str]:
    """``WHICH=TEXT`` for each: the note on what a number, range, text or pattern names."""
    notes: dict[str, str] = {}
    for one in given:
        which, equals, text = one.partition("=")
        if not equals or not which.strip() or not text.strip():
            raise BadInputError(f"--note is {one!r}: it must be WHICH=TEXT, for example 3=too generic", "note")
        notes.update(dict.fromkeys(selected(keywords, [which], "note"), text.strip()))
    return notes


def _check_flags(flags: ReviewFlags) -> None:
    if flags.undecided not in (None, "approve", "drop"):
        raise BadInputError(f"--undecided is {flags.undecided!r}: it must be approve or drop", "undecided")
    if flags.undecided is not None and flags.file is None:
        raise BadInputError("--undecided says what a file's rows without a decision become: give --file", "undecided")
    selects = bool(flags.approve_all or flags.approve or flags.drop or flags.add or flags.note)
    if flags.file is not None and (selects or flags.reject is not None):
        raise BadInputError("a selection, --file and --reject exclude each other: give one of them")
    if flags.reject is not None and (flags.approve_all or flags.approve):
        message = "a rejection approves nothing: give --reject with --drop (what is wrong), --note and --add only"
        raise BadInputError(message)


def _check_origin(path: Path, shown: Shown) -> None:
    record, origin = shown.record, origin_of_file(path)
    if origin.workflow_id not in (None, str(record.workflow_id)):
        message = f"{path} is an export of workflow {origin.workflow_id}, not of {record.workflow_id}"
        raise BadInputError(f"{message}: give it to `starter.py review {origin.workflow_id} --file {path}`", "file")
    if origin.shown_version not in (None, record.version):
        raise _changed_since(path, origin.shown_version, shown)


def _changed_since(path: Path, shown_version: int | None, shown: Shown) -> CommandError:
    record = shown.record
    since = [review for review in shown.reviews if review.shown_version == shown_version]
    who = f" ({_outcome_words(since[0])})" if since else ""
    return conflict(
        f"{path} was exported at version {shown_version} and the list is at version {record.version} now{who}; "
        f"export it again with `starter.py review {record.workflow_id} --export FILE`, to another name, and carry your "
        "decisions over",
        current=record.state,
        expected=State.SEED_REVIEW_PENDING,
        attempted=State.SEED_REVIEW_COMPLETED,
        kind=WorkflowTransitionError.__name__,
    )


# Line by line ----------------------------------------------------------------------------------------------------


async def _review_by_lines(session: Session, shown: Shown) -> ExitCode:
    decision = _ask(session, shown)
    if decision is None:
        session.terminal.say(f"nothing was decided; to come back: starter.py review {shown.record.workflow_id}")
        return ExitCode.DONE
    return await _told(session, shown, decision)


def _ask(session: Session, shown: Shown) -> SeedDecision | None:
    """The conversation; None when the person leaves without deciding."""
    keywords = shown.keywords
    draft = Draft(keywords, {keyword.text for keyword in keywords if keyword.decision == KeywordDecision.DROPPED})
    for text in before_lines(shown):
        session.terminal.say(text)
    show_keywords(session, keywords, draft.dropped, shown.new)
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
                counts_of(keywords, decision, shown.settings)
                return decision
            if line in ("show", "s"):
                show_keywords(session, keywords, draft.dropped, shown.new)
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


# On the screen ---------------------------------------------------------------------------------------------------


async def _review_on_screen(session: Session, shown: Shown) -> ExitCode:
    from commands.review_screen import Left, ReviewScreen

    record = shown.record
    draft = draft_path(session.settings.state_dir, record.workflow_id, record.version, session.actor)
    selection = Selection(shown.keywords, shown.settings, new=shown.new)
    kept = kept_draft(draft)
    if kept is not None:
        selection.restore(kept)
    left = await ReviewScreen(_review_of(session, shown, selection, draft)).run_async() or Left(is_kept=True)
    if isinstance(left.sent, Sent):
        forget_draft(draft)
        return left.sent.tell(session, shown)
    words = "nothing was decided"
    if selection.is_changed and not left.is_kept:
        forget_draft(draft)
    elif selection.is_changed:
        words += ", your draft is kept"
    session.terminal.say(f"{words}; to come back: starter.py review {record.workflow_id}")
    return ExitCode.DONE


def _review_of(session: Session, shown: Shown, selection: Selection, draft: Path) -> "Review":
    from commands.review_screen import Review

    record = shown.record
    deliver = sender(session, shown)

    async def decided_meanwhile() -> str | None:
        return await _decided_meanwhile(session, shown)

    def write(path: str, lines: Sequence[Line]) -> str:
        return f"{_write_lines(Path(path), lines, record)}; starter.py review ID --file {path} sends it"

    kept = " · your draft is back" if selection.is_changed else ""
    return Review(
        title=f"Seed review · {record.brief['organization']['name']} · {record.name}{kept}",
        selection=selection,
        send=deliver,
        decided_meanwhile=decided_meanwhile,
        keep=lambda decisions: keep_draft(draft, decisions),
        write=write,
        file_name=f"keywords-{str(record.workflow_id)[:8]}.csv",
        before=before_lines(shown),
        rejections=shown.rejections,
    )


async def _decided_meanwhile(session: Session, shown: Shown) -> str | None:
    """Who moved the workflow on since the list was shown, in words; None while nobody did."""
    record = shown.record
    async with session.transaction(record.organization_id) as connection:
        audit = await list_transitions(connection, record.workflow_id)
        reviews = await load_reviews(connection, record.workflow_id) if len(audit) > record.version else []
    since = [review for review in reviews if review.shown_version == record.version]
    if since:
        return f"{_outcome_words(since[0])}."
    moved = [row for row in audit if row.seq == record.version + 1]
    return f"{moved[0].actor} moved it to {moved[0].to_state} at {_local(moved[0].at)}." if moved else None


# Sending ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """A decision that was taken, and where the workflow stands with it."""

    seeds: SeedDecision
    counts: Counts
    progress: Progress

    def tell(self, session: Session, shown: Shown) -> ExitCode:
        if self.seeds.kind is SeedDecisionKind.REJECT:
            guidance = guidance_words(guidance_of([*shown.rejections, _rejection(self.seeds)]))
            how = f"; the search {guidance}" if guidance else ""
            words = f"✔ rejected: the competitor step runs again with your words{how}"
            return decided(session, self.progress, words, {"rejected": len(shown.keywords)})
        counts = self.counts
        facts = {"approved": counts.approved, "dropped": counts.dropped, "added": counts.added}
        return decided(session, self.progress, f"✔ {counts.words(len(shown.keywords))}", facts)


def _rejection(seeds: SeedDecision) -> Rejection:
    wrong = {text: seeds.notes.get(text) for text in seeds.drop}
    return Rejection(actor="", at=datetime.now(UTC), feedback=seeds.feedback, shown=(), wrong=wrong)


@dataclass
class _Sender:
    """Sends decisions about one list as it was shown. The same decision again is the same to the run."""

    session: Session
    shown: Shown
    _ids: dict[str, UUID] = field(default_factory=dict)

    async def __call__(self, seeds: SeedDecision) -> Sent:
        from commands.runs import send

        session, record = self.session, self.shown.record
        counts = counts_of(self.shown.keywords, seeds, self.shown.settings)
        decision = ReviewSeeds(
            decision_id=self._ids.setdefault(seeds.model_dump_json(), uuid4()),
            actor=session.actor,
            expected_state=record.state,
            expected_version=record.version,
            seeds=seeds,
        )
        try:
            progress = await send(await session.client(), session.settings, record, "review_seeds", decision)
        except CommandError as error:
            if error.exit_code is not ExitCode.CONFLICT:
                raise
            raise await self._lost_to(error) from error
        return Sent(seeds, counts, progress)

    async def _lost_to(self, error: CommandError) -> CommandError:
        """The conflict with the name of who was faster, when, and with what."""
        record = self.shown.record
        async with self.session.transaction(record.organization_id) as connection:
            reviews = await load_reviews(connection, record.workflow_id)
        won = [review for review in reviews if review.shown_version == record.version]
        if won:
            return _decided_by(won[0], record, error.facts.get("current_state"))
        words = await _decided_meanwhile(self.session, self.shown)
        return CommandError(error.kind, f"{words or error} Nothing of yours was applied.", error.exit_code, error.facts)


def sender(session: Session, shown: Shown) -> Callable[[SeedDecision], Awaitable[Sent]]:
    return _Sender(session, shown)


def _decided_by(won: ReviewRecord, record: WorkflowRecord, current: State | str | None) -> CommandError:
    way = f"see `starter.py show {record.workflow_id} keywords`"
    error = conflict(
        f"{_outcome_words(won)}. Nothing of yours was applied; {way}",
        current=State(current) if current else None,
        expected=State.SEED_REVIEW_PENDING,
        attempted=State.SEED_REVIEW_COMPLETED,
        kind=WorkflowTransitionError.__name__,
    )
    facts = {
        "decided_by": won.actor,
        "decided_at": won.at.isoformat(),
        "decision_id": str(won.decision_id),
        "decision": won.kind,
        **_outcome(won),
    }
    return CommandError(error.kind, str(error), error.exit_code, {**error.facts, **facts})


def _outcome(review: ReviewRecord) -> dict[str, int]:
    return {
        "approved": review.count(KeywordDecision.APPROVED),
        "dropped": review.count(KeywordDecision.DROPPED),
        "own": sum(1 for keyword in review.keywords if keyword.is_own),
    }


def _outcome_words(review: ReviewRecord) -> str:
    """ "anna decided at 2025-03-01 12:03: 41 of 60 approved, 19 dropped"."""
    if review.kind is SeedDecisionKind.REJECT:
        said = " ".join((review.feedback or "").split())
        return f"{review.actor} rejected the list at {_local(review.at)}: “{said}”"
    outcome = _outcome(review)
    own = f", {outcome['own']} own" if outcome["own"] else ""
    total = f"{outcome['approved']} of {len(review.keywords)} approved"
    return f"{review.actor} decided at {_local(review.at)}: {total}, {outcome['dropped']} dropped{own}"


async def _told(session: Session, shown: Shown, seeds: SeedDecision) -> ExitCode:
    sent = await sender(session, shown)(seeds)
    return sent.tell(session, shown)


# Files -----------------------------------------------------------------------------------------------------------


async def export(session: Session, workflow: str, path: Path, *, is_forced: bool = False) -> ExitCode:
    """The list as CSV, or as JSON for a file named .json, to be edited and given back with --file."""
    _check_suffix(path)
    found = await session.find(workflow)
    record = await record_of(session, found)
    shown = await _shown(session, found, record)
    if not shown.keywords:
        raise BadInputError(f"there are no keywords yet: {record.name} is in {record.state}", "export")
    lines = Selection(shown.keywords, shown.settings, new=shown.new).lines()
    session.terminal.say(
        f"{_write_lines(path, lines, record, is_forced=is_forced)}; decide in its column `decision`, then"
    )
    session.terminal.say(f"  starter.py review {record.workflow_id} --file {path}")
    if session.terminal.as_json:
        facts = {"workflow_id": str(record.workflow_id), "version": record.version, "keywords": len(lines)}
        session.terminal.emit({**facts, "file": str(path)})
    return ExitCode.DONE


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in EXPORT_SUFFIXES:
        message = f"{path} can't be written: a list is exported as {' or '.join(EXPORT_SUFFIXES)}, name the file so"
        raise BadInputError(message, "export")


def _write_lines(path: Path, lines: Sequence[Line], record: WorkflowRecord, *, is_forced: bool = False) -> str:
    """A file that is there may hold a person's decisions, so only ``is_forced`` replaces it."""
    _check_suffix(path)
    origin = Origin(record.workflow_id, record.version)
    text = export_text(lines, origin, as_json=path.suffix.lower() == ".json")
    try:
        with path.open("w" if is_forced else "x", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError:
        way = "choose another name, or replace it with `starter.py review ID --export FILE --force`"
        raise BadInputError(f"{path} is there already and may hold your decisions: {way}", "export") from None
    except OSError as error:
        raise BadInputError(f"{path} can't be written: {error.strerror}", "export") from None
    return f"{counted(len(lines), 'keyword')} in {path}"


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
