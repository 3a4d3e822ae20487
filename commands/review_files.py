"""A list of keywords as a file: out to be edited in a spreadsheet or by a program, and back in as a decision.

The rule of a file: ``drop`` drops, ``approve`` approves, a row that was taken out is dropped. A blank decision is what
the command line makes of a keyword that is named nowhere: dropped where other rows say ``approve``, kept where they
only say ``drop``; a file that says both has to decide about every row, or ``--undecided`` says what the blank ones are.
"""

import csv
import io
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from commands.selection import Decisions, Line, Mark
from db.keywords import KeywordRow
from domain.errors import BadInputError
from domain.keyphrases import folded
from domain.keyword_data import source_words
from domain.money import format_usd
from domain.seed_review import NOTE_CHARACTERS_MAX, SeedDecision, SeedDecisionKind
from domain.text import clean_text

APPROVE, DROP, ADD, BLANK = "approve", "drop", "add", ""
COLUMNS = (
    "number", "decision", "text", "note", "intent", "volume", "difficulty", "cpc_usd", "score", "sources", "pages",
    "data_from", "flag", "shown_version", "workflow_id",
)  # fmt: skip
FILE_BYTES_MAX = 5_000_000
ROWS_MAX = 20_000
VALUE_CHARACTERS_SHOWN = 60

_WORDS = {
    APPROVE: "approve approved a keep kept ok x y yes ja oui si sí true wahr vrai 1 1.0 ✓ ✔",
    DROP: "drop dropped d n no nein non false falsch faux 0 0.0 remove removed delete deleted reject rejected ✗ ✘",
    ADD: "add added own new +",
    BLANK: "undecided ?",
}
_DECISIONS = {"": BLANK} | {word: decision for decision, words in _WORDS.items() for word in words.split()}
_NAMES = {"keyword": "text", "keywords": "text", "#": "number", "nr": "number", "no": "number"}
# What a spreadsheet would run as a formula; the apostrophe in front says that it is a text.
_FORMULA = re.compile(r"[=+\-@\t\r]")
_ESCAPED_FORMULA = re.compile(r"'(?=[=+\-@\t\r])")


# Out -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Origin:
    """What a file was exported from, so that it is not taken for another list's."""

    workflow_id: UUID
    version: int


def export_text(lines: Sequence[Line], origin: Origin, *, as_json: bool) -> str:
    """The list with what is decided so far; own keywords of the draft are rows to add."""
    rows = [_exported(line, origin) for line in lines]
    if as_json:
        return json.dumps(rows, ensure_ascii=False, indent=2) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return "\ufeff" + text.getvalue()  # a spreadsheet takes a file without the mark for the machine's old encoding


def _exported(line: Line, origin: Origin) -> dict[str, Any]:
    keyword = line.keyword
    is_added = line.is_own and keyword.decided_at is None and not keyword.sources and line.mark is Mark.APPROVED
    decision = ADD if is_added else {Mark.APPROVED: APPROVE, Mark.DROPPED: DROP}.get(line.mark, BLANK)
    return {
        "number": None if is_added else keyword.position,
        "decision": decision,
        "text": keyword.text,
        "note": line.note or None,
        "intent": keyword.intent,
        "volume": keyword.volume,
        "difficulty": keyword.difficulty,
        "cpc_usd": None if keyword.cpc_usd is None else format_usd(keyword.cpc_usd),
        "score": keyword.score,
        "sources": len(keyword.sources),
        "pages": " ".join(str(source["url"]) for source in keyword.sources if "url" in source) or None,
        "data_from": "; ".join(source_words(source) for source in keyword.sources if "endpoint" in source) or None,
        "flag": keyword.flag,
        "shown_version": origin.version,
        "workflow_id": str(origin.workflow_id),
    }


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


# In --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileOrigin:
    """None where the file doesn't say."""

    shown_version: int | None
    workflow_id: str | None


@dataclass(frozen=True)
class FileSelection:
    """``undecided`` counts the rows without a decision, ``missing`` the keywords that the file no longer has."""

    decision: SeedDecision
    undecided: int
    missing: int


@dataclass(frozen=True)
class _Row:
    """``where`` is how a message names it: a spreadsheet's row, or an entry of a JSON list."""

    where: str
    values: Mapping[str, Any]

    def text_of(self, name: str) -> str:
        value = self.values.get(name)
        return "" if value is None else _ESCAPED_FORMULA.sub("", clean_text(str(value)))


def selection_of_file(path: Path, shown: Sequence[KeywordRow], *, undecided: Mark | None = None) -> FileSelection:
    """What an edited export decides. Raises BadInputError naming row, value and rule.

    Look at ``origin_of_file`` first: the rows of another list's export would all be at fault.
    """
    rows = _filled_rows(path)
    reading = _Reading(path, shown)
    for row in rows:
        reading.take(row)
    return FileSelection(
        decision=reading.decision(undecided),
        undecided=len(reading.blank),
        missing=len(shown) - len(reading.rows),
    )


def origin_of_file(path: Path) -> FileOrigin:
    """What it was exported from. Raises BadInputError for a file that can't be read or mixes exports."""
    rows = _filled_rows(path)
    return FileOrigin(shown_version=_version_of(path, rows), workflow_id=_only(path, rows, "workflow_id"))


def _filled_rows(path: Path) -> list[_Row]:
    rows = [row for row in _rows_of(path) if any(str(value or "").strip() for value in row.values.values())]
    if not rows:
        raise BadInputError(f"{path} has no rows; `review ID --export FILE` writes one to edit", "file")
    return rows


class _Reading:
    """The rows of one file, taken one by one."""

    def __init__(self, path: Path, shown: Sequence[KeywordRow]) -> None:
        self._path = path
        self._shown = shown
        self._by_text = {folded(keyword.text): keyword.text for keyword in shown}
        self._by_number = {str(keyword.position): keyword.text for keyword in shown}
        self.rows: dict[str, _Row] = {}
        self._decided: dict[str, str] = {}
        self._added: dict[str, tuple[str, str]] = {}
        self._notes: dict[str, str] = {}

    @property
    def blank(self) -> list[str]:
        return [text for text, decision in self._decided.items() if decision == BLANK]

    def take(self, row: _Row) -> None:
        decision = self._decision_in(row)
        text = row.text_of("text") or self._numbered(row)
        known = self._by_text.get(folded(text))
        if known is None:
            self._take_own(row, text, decision)
            return
        if decision == ADD:
            raise self._fault(row, f"{text!r} is in the list already as {known!r}; approve or drop it")
        if known in self.rows:
            raise self._fault(row, f"{text!r} stands there twice, first in {self.rows[known].where}; keep one of them")
        self.rows[known], self._decided[known] = row, decision
        self._take_note(row, known)

    def _take_own(self, row: _Row, text: str, decision: str) -> None:
        """A row of a person's own: one to add, or, in an export, one that has no number."""
        number = row.text_of("number")
        if decision == DROP:
            raise self._fault(row, f"{text!r} is not in the list, so it can't be dropped; take the row out")
        if decision != ADD and (number or "number" not in row.values):
            was = self._by_number.get(_whole(number))
            hint = f"number {number} is {was!r}" if was else f"which has the numbers 1 to {len(self._shown)}"
            rule = "give it the decision `add` to add it as your own keyword"
            raise self._fault(row, f"{text!r} is not in the list ({hint}); {rule}")
        key = folded(text)
        if key in self._added:
            raise self._fault(row, f"{text!r} stands there twice, first in {self._added[key][1]}; keep one of them")
        self._added[key] = (text, row.where)

    def _take_note(self, row: _Row, text: str) -> None:
        note = row.text_of("note")
        if len(note) > NOTE_CHARACTERS_MAX:
            rule = f"at most {NOTE_CHARACTERS_MAX} are allowed"
            raise self._fault(row, f"the note on {text!r} has {len(note)} characters: {rule}")
        if note:
            self._notes[text] = note

    def _decision_in(self, row: _Row) -> str:
        given = row.text_of("decision")
        if given.casefold() not in _DECISIONS:
            rule = "it must be approve (x, yes, 1), drop (no, 0), add, or blank"
            raise self._fault(row, f"the decision is {given[:VALUE_CHARACTERS_SHOWN]!r}; {rule}")
        return _DECISIONS[given.casefold()]

    def _numbered(self, row: _Row) -> str:
        number = row.text_of("number")
        text = self._by_number.get(_whole(number))
        if text is None:
            message = f"number {number!r} is unknown: the list has the numbers 1 to {len(self._shown)}"
            raise self._fault(row, message if number else "there is no text")
        return text

    def decision(self, undecided: Mark | None) -> SeedDecision:
        marks = {text: self._made_of(text, undecided) for text in self._decided}
        dropped = tuple(keyword.text for keyword in self._shown if marks.get(keyword.text, DROP) == DROP)
        add = tuple(text for text, _ in self._added.values())
        kind = SeedDecisionKind.SELECT if dropped else SeedDecisionKind.APPROVE_ALL
        return SeedDecision(kind=kind, drop=dropped, add=add, notes=self._notes)

    def _made_of(self, text: str, undecided: Mark | None) -> str:
        """What a row's keyword becomes; the rule for blank ones stands at the top of this file."""
        decision = self._decided[text]
        if decision != BLANK:
            return decision
        if undecided is not None:
            return APPROVE if undecided is Mark.APPROVED else DROP
        said = set(self._decided.values())
        if said >= {APPROVE, DROP}:
            rule = "write approve or drop, or say with --undecided approve or --undecided drop what the blank ones are"
            raise self._fault(self.rows[text], f"{text!r} has no decision while others say approve and drop; {rule}")
        return DROP if APPROVE in said else APPROVE

    def _fault(self, row: _Row, message: str) -> BadInputError:
        return BadInputError(f"{self._path}, {row.where}: {message}", "file")


def _whole(number: str) -> str:
    """Spreadsheets write 3 as 3.0, and may put zeros in front."""
    return re.sub(r"[.,]0*$", "", number).lstrip("0") or "0"


def _version_of(path: Path, rows: Sequence[_Row]) -> int | None:
    version = _only(path, rows, "shown_version")
    if version is None:
        return None
    if not _whole(version).isdecimal():
        raise BadInputError(f"{path}: shown_version is {version!r}; it must be the number of the export", "file")
    return int(_whole(version))


def _only(path: Path, rows: Sequence[_Row], column: str) -> str | None:
    """The one value of a column that is the same in every row that has it."""
    seen: dict[str, str] = {}
    for row in rows:
        value = row.text_of(column)
        if value:
            seen.setdefault(value, row.where)
    if len(seen) > 1:
        (first, where_first), (second, where_second), *_ = seen.items()
        message = f"{path} mixes exports: {column} is {first} in {where_first} and {second} in {where_second}"
        raise BadInputError(f"{message}; export the list again", "file")
    return next(iter(seen), None)


# Reading ---------------------------------------------------------------------------------------------------------


def _rows_of(path: Path) -> Iterable[_Row]:
    text = _text_of(path)
    rows = _json_rows(path, text) if text.lstrip().startswith(("[", "{")) else _csv_rows(path, text)
    if len(rows) > ROWS_MAX:
        raise BadInputError(f"{path} has {len(rows)} rows: at most {ROWS_MAX} are read", "file")
    return rows


def _text_of(path: Path) -> str:
    """UTF-8 with or without its mark, or what a spreadsheet calls Unicode text (UTF-16 with its mark)."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadInputError(f"{path} is no file", "file")
        raw = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} can't be read: {error.strerror}", "file") from None
    if len(raw) > FILE_BYTES_MAX:
        raise BadInputError(f"{path} has {len(raw):,} bytes: at most {FILE_BYTES_MAX:,} are read", "file")
    if raw.startswith(b"PK\x03\x04"):
        raise BadInputError(f"{path} is a workbook: save it as `CSV UTF-8`", "file")
    try:
        return raw.decode("utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError:
        raise BadInputError(f"{path} is not a text in UTF-8; save it as `CSV UTF-8`", "file") from None


def _json_rows(path: Path, text: str) -> list[_Row]:
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        where, what = getattr(error, "lineno", 1), getattr(error, "msg", "it is nested too deeply")
        raise BadInputError(f"{path}, line {where}: this is not valid JSON: {what}", "file") from None
    entries = value.get("keywords") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise BadInputError(f"{path} must be a list of keywords, each with `text` and `decision`", "file")
    shared = {} if not isinstance(value, dict) else {"shown_version": value.get("version"), **value}
    return [_entry(path, number, entry, shared) for number, entry in enumerate(entries, start=1)]


def _entry(path: Path, number: int, entry: Any, shared: Mapping[str, Any]) -> _Row:
    """A text alone is one to approve. What the object around the list says of version and workflow holds for all."""
    where = f"entry {number}"
    if isinstance(entry, str):
        return _Row(where, {"text": entry, "decision": APPROVE})
    if not isinstance(entry, dict):
        raise BadInputError(
            f"{path}, {where}: there is no text but {json.dumps(entry)[:VALUE_CHARACTERS_SHOWN]}", "file"
        )
    named = {_name(name): value for name, value in entry.items()}
    for name in ("text", "decision", "note", "number"):
        if not isinstance(named.get(name), str | int | float | bool | None):
            raise BadInputError(f"{path}, {where}: `{name}` must be a text", "file")
    wanted = {"shown_version", "workflow_id"}
    return _Row(where, {**{name: shared.get(name) for name in wanted}, **named})


def _csv_rows(path: Path, text: str) -> list[_Row]:
    first, _, rest = text.partition("\n")
    separator = re.fullmatch(r"sep=(.)\r?", first, re.IGNORECASE)
    if separator:
        text, first = rest, rest.partition("\n")[0]
    delimiter = separator[1] if separator else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n"), newline=""), delimiter=delimiter)
    try:
        lines = [(reader.line_num, values) for values in reader]
    except csv.Error as error:
        raise BadInputError(f"{path}, row {reader.line_num}: this is not valid CSV: {error}", "file") from None
    names = [_name(name) for name in lines[0][1]] if lines else []
    if "text" not in names and "number" not in names:
        raise BadInputError(f"{path} needs a first line with the columns' names, `text` and `decision`", "file")
    twice = [name for name in ("text", "decision", "number", "note") if names.count(name) > 1]
    if twice:
        raise BadInputError(f"{path} has two columns named `{twice[0]}`: keep one of them", "file")
    offset = 1 if separator else 0
    return [
        _Row(f"row {number + offset}", dict(zip(names, values, strict=False)))
        for number, (_, values) in enumerate(lines[1:], start=2)
    ]


def _name(name: Any) -> str:
    tidy = str(name).strip().casefold()
    return _NAMES.get(tidy, tidy)


# Kept drafts -----------------------------------------------------------------------------------------------------


def draft_path(folder: Path, workflow_id: UUID, version: int, actor: str) -> Path:
    """One per list and person, so that two who share a machine don't take each other's."""
    who = re.sub(r"[^A-Za-z0-9_.-]+", "_", actor).strip(".")[:60] or "somebody"
    return folder / "drafts" / f"{workflow_id}-{version}-{who}.json"


def keep_draft(path: Path, decisions: Decisions) -> None:
    """Written whole or not at all, readable by its owner only. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    value = {"marks": dict(decisions.marks), "own": list(decisions.own), "notes": dict(decisions.notes)}
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False)
    beside.replace(path)


def kept_draft(path: Path) -> Decisions | None:
    """None where none was kept, or what is there can't be read as one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        marks = {str(text): Mark(mark) for text, mark in value["marks"].items()}
        notes = {str(text): str(note) for text, note in value["notes"].items()}
        return Decisions(marks=marks, own=tuple(map(str, value["own"])), notes=notes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def forget_draft(path: Path) -> None:
    path.unlink(missing_ok=True)
