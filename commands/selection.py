"""Choosing keywords: by number, range, text or pattern; by a query; line by line; and a draft with every step undoable.

Pure: nothing here reads or writes anything. ``review_screen.py`` beside it shows a ``Selection``, ``reviewing.py``
sends what it decides, ``review_files.py`` writes and reads it.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from db.keywords import KeywordRow
from domain.errors import BadInputError
from domain.keyphrases import folded, intent_of
from domain.seed_review import (
    NOTE_CHARACTERS_MAX,
    KeywordDecision,
    SeedDecision,
    SeedDecisionKind,
    apply_decision,
    count_problem,
)
from domain.settings import SeedReviewSettings
from domain.text import clean_text

_RANGE = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")
_ANY_COUNT = SeedReviewSettings(approved_min=0, approved_max=1_000_000)


def selected(shown: Sequence[KeywordRow], parts: Iterable[str], field_name: str) -> tuple[str, ...]:
    """Texts of the shown keywords that the parts name, in the shown order, each once.

    A part is ``3``, ``5-9``, a text, a pattern with ``*``, or several of them by comma. Raises BadInputError for one
    that names nothing: a mistyped number must not pass unnoticed.
    """
    chosen: set[str] = set()
    for part in (piece.strip() for text in parts for piece in text.split(",")):
        if part:
            chosen.update(_named(shown, part, field_name))
    return tuple(keyword.text for keyword in shown if keyword.text in chosen)


def _named(shown: Sequence[KeywordRow], part: str, field_name: str) -> list[str]:
    numbers = _RANGE.fullmatch(part)
    if numbers is not None:
        return _in_range(shown, int(numbers[1]), int(numbers[2] or numbers[1]), part, field_name)
    wanted = folded(part) if "*" not in part else part.casefold()
    found = [
        keyword.text
        for keyword in shown
        if (_fits(keyword.text, wanted) if "*" in part else folded(keyword.text) == wanted)
    ]
    if not found:
        raise BadInputError(f"{field_name} names {part!r}, which no keyword of the list fits", field_name)
    return found


def _fits(text: str, pattern: str) -> bool:
    """Only ``*`` means something else than itself."""
    return fnmatchcase(text.casefold(), re.sub(r"([\[?])", r"[\1]", pattern))


def _in_range(shown: Sequence[KeywordRow], first: int, last: int, part: str, field_name: str) -> list[str]:
    by_number = {keyword.position: keyword.text for keyword in shown}
    if first > last or first not in by_number or last not in by_number:
        raise BadInputError(f"{field_name} names {part!r}: the list has the numbers 1 to {len(shown)}", field_name)
    return [text for number, text in by_number.items() if first <= number <= last]


def under_volume(shown: Sequence[KeywordRow], volume: int) -> tuple[str, ...]:
    """Keywords that are known to be searched for less often; what has no figure is under nothing."""
    return tuple(keyword.text for keyword in shown if keyword.volume is not None and keyword.volume < volume)


@dataclass(frozen=True)
class Counts:
    approved: int
    dropped: int
    added: int

    def words(self, shown: int) -> str:
        return f"{self.approved} of {shown} approved, {self.dropped} dropped, {self.added} added"


def counts_of(shown: Sequence[KeywordRow], decision: SeedDecision, settings: SeedReviewSettings) -> Counts:
    """What the decision makes of the list. Raises BadInputError as the run would."""
    reviewed = apply_decision([keyword.text for keyword in shown], decision, settings)
    approved = [one for one in reviewed if one.decision is KeywordDecision.APPROVED]
    return Counts(
        approved=sum(1 for one in approved if not one.added),
        dropped=sum(1 for one in reviewed if one.decision is KeywordDecision.DROPPED),
        added=sum(1 for one in approved if one.added),
    )


# A draft with undo -----------------------------------------------------------------------------------------------


class Mark(StrEnum):
    """What a draft makes of a keyword so far."""

    UNDECIDED = "undecided"
    APPROVED = "approved"
    DROPPED = "dropped"


_NEXT_MARK = {Mark.UNDECIDED: Mark.APPROVED, Mark.APPROVED: Mark.DROPPED, Mark.DROPPED: Mark.UNDECIDED}


@dataclass(frozen=True)
class Decisions:
    """One state of a draft: marks by text (what is missing is undecided), own keywords, notes by text."""

    marks: Mapping[str, Mark] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """A keyword as a draft has it. ``is_new``: an earlier review did not show it. ``is_own``: a person's own."""

    keyword: KeywordRow
    mark: Mark
    note: str
    is_new: bool
    is_own: bool


@dataclass(frozen=True)
class Tally:
    """Figures over the whole list, whatever is shown of it; ``own`` are those that this draft adds."""

    total: int
    approved: int
    dropped: int
    undecided: int
    own: int


def standing(shown: Sequence[KeywordRow]) -> Decisions:
    """What was decided before, by whoever."""
    marks = {keyword.text: Mark(keyword.decision) for keyword in shown if keyword.decision is not None}
    return Decisions(marks=marks, notes={keyword.text: keyword.note for keyword in shown if keyword.note})


class Selection:
    """A review on its way. Every change can be undone and done again; nothing is decided before it is sent.

    ``new`` are the texts that the last review did not show.
    """

    def __init__(
        self, shown: Sequence[KeywordRow], settings: SeedReviewSettings, *, new: Collection[str] = frozenset()
    ) -> None:
        self.shown = tuple(shown)
        self.settings = settings
        self._new = frozenset(new)
        self._start = standing(shown)
        self._states: list[tuple[str, Decisions]] = [("", self._start)]
        self._at = 0

    @property
    def now(self) -> Decisions:
        return self._states[self._at][1]

    @property
    def is_changed(self) -> bool:
        return self.now != self._start

    def restore(self, decisions: Decisions) -> None:
        """A draft that was kept; what it names and is not in the list is left aside."""
        known = {keyword.text for keyword in self.shown}
        marks = {text: mark for text, mark in decisions.marks.items() if text in known}
        notes = {text: note for text, note in decisions.notes.items() if text in known}
        self._do("the kept draft", Decisions(marks, (), notes))
        for text in decisions.own:
            if folded(text) not in {folded(one) for one in (*known, *self.now.own)}:
                self._states[self._at] = (
                    "the kept draft",
                    replace(self.now, own=(*self.now.own, text)),
                )

    # Changes: each says in words what it did.

    def mark(self, texts: Iterable[str], mark: Mark) -> str:
        """One step, for however many. An own keyword of this draft is taken out by dropping it."""
        wanted = dict.fromkeys(texts)
        marks = dict(self.now.marks)
        for keyword in self.shown:
            if keyword.text in wanted:
                marks[keyword.text] = mark
        own = tuple(text for text in self.now.own if not (mark is Mark.DROPPED and text in wanted))
        kept = {text: one for text, one in marks.items() if one is not Mark.UNDECIDED}
        return self._do(f"{mark} {_counted(len(wanted))}", replace(self.now, marks=kept, own=own))

    def toggle(self, text: str) -> str:
        """Undecided, approved, dropped, and round again."""
        return self.mark([text], _NEXT_MARK[self.mark_of(text)])

    def add(self, text: str) -> str:
        """An own keyword. Raises BadInputError as the run would."""
        texts = [keyword.text for keyword in self.shown]
        addition = SeedDecision(kind=SeedDecisionKind.SELECT, add=(*self.now.own, text))
        added = apply_decision(texts, addition, _ANY_COUNT)[-1].text
        return self._do(f"added {added!r}", replace(self.now, own=(*self.now.own, added)))

    def note(self, text: str, note: str) -> str:
        """Why a shown keyword is decided so; an empty note takes it away. Raises BadInputError for one too long."""
        tidy = clean_text(note)
        if len(tidy) > NOTE_CHARACTERS_MAX:
            message = f"the note has {len(tidy)} characters: at most {NOTE_CHARACTERS_MAX} are allowed"
            raise BadInputError(message, "notes")
        if text in self.now.own:
            raise BadInputError(f"{text!r} is your own keyword: it needs no note", "notes")
        notes = {**self.now.notes, text: tidy} if tidy else {t: n for t, n in self.now.notes.items() if t != text}
        return self._do(f"note on {text!r}" if tidy else f"no note on {text!r}", replace(self.now, notes=notes))

    def undo(self) -> str:
        if self._at == 0:
            return "nothing to undo"
        self._at -= 1
        return f"undone: {self._states[self._at + 1][0]}"

    def redo(self) -> str:
        if self._at + 1 == len(self._states):
            return "nothing to redo"
        self._at += 1
        return f"done again: {self._states[self._at][0]}"

    def _do(self, words: str, decisions: Decisions) -> str:
        if decisions != self.now:
            self._states[self._at + 1 :] = [(words, decisions)]
            self._at += 1
        return words

    # Looking

    def mark_of(self, text: str) -> Mark:
        return Mark.APPROVED if text in self.now.own else self.now.marks.get(text, Mark.UNDECIDED)

    def lines(self) -> list[Line]:
        """All keywords in the shown order, the own ones of this draft at the end."""
        after = max((keyword.position for keyword in self.shown), default=0)
        own = [_own_row(after + number, text) for number, text in enumerate(self.now.own, start=1)]
        return [
            Line(
                keyword=keyword,
                mark=self.mark_of(keyword.text),
                note=self.now.notes.get(keyword.text, ""),
                is_new=keyword.text in self._new,
                is_own=keyword.added_by is not None,
            )
            for keyword in (*self.shown, *own)
        ]

    def tally(self) -> Tally:
        marks = [self.mark_of(keyword.text) for keyword in self.shown]
        own = len(self.now.own)
        return Tally(
            total=len(marks) + own,
            approved=marks.count(Mark.APPROVED) + own,
            dropped=marks.count(Mark.DROPPED),
            undecided=marks.count(Mark.UNDECIDED),
            own=own,
        )

    def problem(self, undecided: Mark = Mark.UNDECIDED) -> str | None:
        """Why the draft can't be sent when the undecided ones become this; None when it can."""
        tally = self.tally()
        approved = tally.approved + (tally.undecided if undecided is Mark.APPROVED else 0)
        return count_problem(approved, self.settings)

    # Deciding

    def decision(self, undecided: Mark) -> SeedDecision:
        """Every shown keyword is named: nothing is decided by leaving it out. Raises BadInputError as the run would."""
        marks = {text: mark if mark is not Mark.UNDECIDED else undecided for text, mark in self._marks()}
        decision = SeedDecision(
            kind=SeedDecisionKind.SELECT,
            approve=tuple(text for text, mark in marks.items() if mark is Mark.APPROVED),
            drop=tuple(text for text, mark in marks.items() if mark is Mark.DROPPED),
            add=self.now.own,
            notes=dict(self.now.notes),
        )
        counts_of(self.shown, decision, self.settings)
        return decision

    def rejection(self, feedback: str) -> SeedDecision:
        """Sends the list back: what is dropped is named as wrong. Raises BadInputError as the run would."""
        decision = SeedDecision(
            kind=SeedDecisionKind.REJECT,
            drop=tuple(text for text, mark in self._marks() if mark is Mark.DROPPED),
            add=self.now.own,
            notes=dict(self.now.notes),
            feedback=feedback.strip(),
        )
        counts_of(self.shown, decision, self.settings)
        return decision

    def _marks(self) -> Iterator[tuple[str, Mark]]:
        return ((keyword.text, self.mark_of(keyword.text)) for keyword in self.shown)


def _own_row(position: int, text: str) -> KeywordRow:
    return KeywordRow(
        position=position,
        text=text,
        score=0,
        volume=None,
        difficulty=None,
        cpc_usd=None,
        intent=intent_of(text),
        sources=[],
        added_by="you",
    )


def _counted(number: int) -> str:
    return "1 keyword" if number == 1 else f"{number} keywords"


# Queries and order -----------------------------------------------------------------------------------------------

Condition = Callable[[Line], bool]

_COMPARISON = re.compile(r"(volume|difficulty|score|sources|cpc)(<=|>=|<|>|=|:)(.*)")
_QUERY_TERM = re.compile(r"(-?)(?:\"([^\"]*)\"?|(\S+))")
_COMPARES: dict[str, Callable[[float, float], bool]] = {
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
    "=": lambda value, bound: value == bound,
    ":": lambda value, bound: value == bound,
}
_UNKNOWN_WORDS = frozenset({"none", "unknown", "?"})
_IS: dict[str, Condition] = {
    "approved": lambda line: line.mark is Mark.APPROVED,
    "dropped": lambda line: line.mark is Mark.DROPPED,
    "undecided": lambda line: line.mark is Mark.UNDECIDED,
    "own": lambda line: line.is_own,
    "new": lambda line: line.is_new,
    "flagged": lambda line: line.keyword.flag is not None,
    "noted": lambda line: bool(line.note),
}
QUERY_HELP = (
    'words   "a phrase"   pattern*   -word',
    "intent:commercial",
    "volume<100   volume:none   difficulty>=40   score>2   sources>1",
    "is:undecided   is:approved   is:dropped   is:own   is:new   is:flagged   is:noted",
)


def found(lines: Iterable[Line], query: str) -> list[Line]:
    """Lines that every term of the query fits; a term that is still being typed (``volume<``) fits all."""
    conditions = [_condition(match) for match in _QUERY_TERM.finditer(query)]
    return [line for line in lines if all(condition(line) for condition in conditions)]


def _condition(match: re.Match[str]) -> Condition:
    condition = _text_condition(match[2]) if match[3] is None else _term_condition(match[3])
    return (lambda line: not condition(line)) if match[1] and (match[2] or match[3]) else condition


def _term_condition(term: str) -> Condition:
    comparison = _COMPARISON.fullmatch(term.casefold())
    if comparison is not None:
        return _comparison(comparison[1], comparison[2], comparison[3])
    name, colon, value = term.casefold().partition(":")
    if colon and name == "intent":
        return lambda line: line.keyword.intent.startswith(value)
    if colon and name == "is":
        conditions = [condition for word, condition in _IS.items() if word.startswith(value)] if value else []
        return (lambda line: any(condition(line) for condition in conditions)) if value else (lambda _: True)
    return _text_condition(term)


def _text_condition(text: str) -> Condition:
    wanted = text.casefold()
    if "*" in wanted:
        return lambda line: _fits(line.keyword.text, wanted)
    return lambda line: wanted in line.keyword.text.casefold()


def _comparison(name: str, sign: str, bound_text: str) -> Condition:
    if bound_text in _UNKNOWN_WORDS:
        return lambda line: _figure(line, name) is None
    try:
        bound = float(bound_text)
    except ValueError:
        return lambda _: True
    compare = _COMPARES[sign]

    def fits(line: Line) -> bool:
        value = _figure(line, name)
        return value is not None and compare(value, bound)

    return fits


def _figure(line: Line, name: str) -> float | None:
    keyword = line.keyword
    figures: dict[str, Any] = {
        "volume": keyword.volume,
        "difficulty": keyword.difficulty,
        "score": keyword.score,
        "sources": len(keyword.sources),
        "cpc": keyword.cpc_usd,
    }
    value = figures[name]
    return None if value is None else float(value)


class Column(StrEnum):
    """What lines can be ordered by, in the order of the table."""

    DECISION = "decision"
    NUMBER = "number"
    TEXT = "keyword"
    INTENT = "intent"
    VOLUME = "volume"
    DIFFICULTY = "difficulty"
    SCORE = "score"
    SOURCES = "sources"


_MARK_ORDER = {Mark.UNDECIDED: 0, Mark.APPROVED: 1, Mark.DROPPED: 2}
# The interesting end first: most searched for, easiest to rank for.
FALLS_FIRST = frozenset({Column.VOLUME, Column.SCORE, Column.SOURCES})


def ordered(lines: Sequence[Line], column: Column, *, falling: bool) -> list[Line]:
    """Ties in the shown order; what has no figure stands at the end either way."""
    known = [line for line in lines if _sort_key(line, column) is not None]
    rest = [line for line in lines if _sort_key(line, column) is None]
    return [*sorted(known, key=lambda line: _sort_key(line, column), reverse=falling), *rest]


def _sort_key(line: Line, column: Column) -> Any:
    keyword = line.keyword
    match column:
        case Column.DECISION:
            return _MARK_ORDER[line.mark]
        case Column.NUMBER:
            return keyword.position
        case Column.TEXT:
            return keyword.text.casefold()
        case Column.INTENT:
            return keyword.intent
    return _figure(line, column)


# Line by line ----------------------------------------------------------------------------------------------------

COMMANDS = """  NUMBERS, RANGES, TEXTS or PATTERNS*   drop these: 3, 7-9, free *
  keep …      take dropped ones back         only …    approve these, drop all others
  under N     drop what is searched for less often than N times a month
  all         approve every keyword          add TEXT  add a keyword of your own
  note N TEXT why a keyword is dropped       undo      take the last line back (redo: do it again)
  show        the list as it stands          reject …  search again, with what should be otherwise
  done        send the decision              quit      leave without deciding"""


@dataclass(frozen=True)
class _Draft:
    dropped: frozenset[str]
    added: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    feedback: str = ""


class Draft:
    """A review line by line: what is not dropped is approved. Nothing is decided before ``done``."""

    def __init__(self, shown: Sequence[KeywordRow], dropped: Iterable[str] = ()) -> None:
        self.shown = shown
        self._states = [_Draft(frozenset(dropped))]
        self._at = 0

    @property
    def _now(self) -> _Draft:
        return self._states[self._at]

    @property
    def dropped(self) -> frozenset[str]:
        return self._now.dropped

    def change(self, line: str) -> str:
        """Carry out one line; the words to answer with. Raises BadInputError for a line that can't be followed."""
        word, _, rest = line.strip().partition(" ")
        match word.lower():
            case "undo":
                self._at = max(self._at - 1, 0)
            case "redo":
                self._at = min(self._at + 1, len(self._states) - 1)
            case "reject":
                self._do(replace(self._now, feedback=_needed(rest, "reject")))
                return "rejected: `done` sends it, and the search begins again"
            case command:
                self._do(replace(self._changed(command, line, rest), feedback=""))
        return self.words()

    def _changed(self, command: str, line: str, rest: str) -> _Draft:
        now = self._now
        match command:
            case "all":
                return replace(now, dropped=frozenset())
            case "add":
                return replace(now, added=(*now.added, self._new(rest)))
            case "only":
                kept = selected(self.shown, [_needed(rest, "only")], "only")
                return replace(now, dropped=frozenset(keyword.text for keyword in self.shown) - set(kept))
            case "keep":
                return replace(now, dropped=now.dropped - set(selected(self.shown, [_needed(rest, "keep")], "keep")))
            case "drop":
                return replace(now, dropped=now.dropped | set(selected(self.shown, [_needed(rest, "drop")], "drop")))
            case "under" if rest.strip().isdecimal():
                return replace(now, dropped=now.dropped | set(under_volume(self.shown, int(rest))))
            case "note" if rest.strip():
                return self._noted(rest)
        return replace(now, dropped=now.dropped | set(selected(self.shown, [line], "drop")))

    def _noted(self, rest: str) -> _Draft:
        which, _, note = rest.strip().partition(" ")
        (text, *_) = selected(self.shown, [which], "note")
        notes = {**self._now.notes, text: clean_text(_needed(note, f"note {which}"))}
        return replace(self._now, dropped=self._now.dropped | {text}, notes=notes)

    def _new(self, text: str) -> str:
        tidy = " ".join(_needed(text, "add").split())
        taken = {folded(keyword.text) for keyword in self.shown} | {folded(one) for one in self._now.added}
        if folded(tidy) in taken:
            raise BadInputError(f"{tidy!r} is in the list already", "add")
        return tidy

    def _do(self, draft: _Draft) -> None:
        self._states[self._at + 1 :] = [draft]
        self._at += 1

    def words(self) -> str:
        shown, now = len(self.shown), self._now
        added = f", {len(now.added)} added" if now.added else ""
        return f"{shown - len(now.dropped)} of {shown} approved, {len(now.dropped)} dropped{added}"

    def decision(self) -> SeedDecision:
        now = self._now
        dropped = tuple(keyword.text for keyword in self.shown if keyword.text in now.dropped)
        if now.feedback:
            kind = SeedDecisionKind.REJECT
        else:
            kind = SeedDecisionKind.SELECT if now.dropped else SeedDecisionKind.APPROVE_ALL
        return SeedDecision(kind=kind, drop=dropped, add=now.added, notes=dict(now.notes), feedback=now.feedback)


def _needed(text: str, command: str) -> str:
    if not text.strip():
        raise BadInputError(f"`{command}` needs to be told what", command)
    return text.strip()
