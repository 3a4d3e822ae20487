"""Choosing keywords: by number, range, text or pattern; line by line; or by a file that was exported and edited."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from db.keywords import KeywordRow
from domain.errors import BadInputError
from domain.keyphrases import folded
from domain.seed_review import KeywordDecision, SeedDecision, SeedDecisionKind, apply_decision
from domain.settings import SeedReviewSettings

APPROVE, DROP, ADD = "approve", "drop", "add"
DECISIONS = {"approve": APPROVE, "approved": APPROVE, "drop": DROP, "dropped": DROP, "add": ADD, "": APPROVE}
COLUMNS = ("number", "decision", "text", "intent", "volume", "sources", "shown_version")
_RANGE = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")


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
        if (fnmatchcase(keyword.text.casefold(), wanted) if "*" in part else folded(keyword.text) == wanted)
    ]
    if not found:
        raise BadInputError(f"{field_name} names {part!r}, which no keyword of the list fits", field_name)
    return found


def _in_range(shown: Sequence[KeywordRow], first: int, last: int, part: str, field_name: str) -> list[str]:
    by_number = {keyword.position: keyword.text for keyword in shown}
    if first > last or first not in by_number or last not in by_number:
        raise BadInputError(f"{field_name} names {part!r}: the list has the numbers 1 to {len(shown)}", field_name)
    return [text for number, text in by_number.items() if first <= number <= last]


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
        dropped=len(reviewed) - len(approved),
        added=sum(1 for one in approved if one.added),
    )


# Line by line ----------------------------------------------------------------------------------------------------

COMMANDS = """  NUMBERS, RANGES, TEXTS or PATTERNS*   drop these: 3, 7-9, free *
  keep …      take dropped ones back         only …    approve these, drop all others
  all         approve every keyword          add TEXT  add a keyword of your own
  show        the list as it stands          reject …  search again, with what should be otherwise
  done        send the decision              quit      leave without deciding"""


@dataclass
class Draft:
    """A review on its way: what is dropped and added so far. Nothing is decided before ``done``."""

    shown: Sequence[KeywordRow]
    dropped: set[str] = field(default_factory=set)
    added: list[str] = field(default_factory=list)
    feedback: str = ""

    def change(self, line: str) -> str:
        """Carry out one line; the words to answer with. Raises BadInputError for a line that can't be followed."""
        word, _, rest = line.strip().partition(" ")
        match word.lower():
            case "all":
                self.dropped.clear()
            case "add":
                self._add(rest)
            case "only":
                kept = selected(self.shown, [_needed(rest, "only")], "only")
                self.dropped = {keyword.text for keyword in self.shown} - set(kept)
            case "keep":
                self.dropped -= set(selected(self.shown, [_needed(rest, "keep")], "keep"))
            case "drop":
                self.dropped |= set(selected(self.shown, [_needed(rest, "drop")], "drop"))
            case "reject":
                self.feedback = _needed(rest, "reject")
                return "rejected: `done` sends it, and the search begins again"
            case _:
                self.dropped |= set(selected(self.shown, [line], "drop"))
        self.feedback = ""
        return self.words()

    def _add(self, text: str) -> None:
        tidy = " ".join(_needed(text, "add").split())
        taken = {folded(keyword.text) for keyword in self.shown} | {folded(one) for one in self.added}
        if folded(tidy) in taken:
            raise BadInputError(f"{tidy!r} is in the list already", "add")
        self.added.append(tidy)

    def words(self) -> str:
        shown = len(self.shown)
        added = f", {len(self.added)} added" if self.added else ""
        return f"{shown - len(self.dropped)} of {shown} approved, {len(self.dropped)} dropped{added}"

    def decision(self) -> SeedDecision:
        if self.feedback:
            return SeedDecision(kind=SeedDecisionKind.REJECT, feedback=self.feedback)
        kind = SeedDecisionKind.SELECT if self.dropped else SeedDecisionKind.APPROVE_ALL
        dropped = tuple(keyword.text for keyword in self.shown if keyword.text in self.dropped)
        return SeedDecision(kind=kind, drop=dropped, add=tuple(self.added))


def _needed(text: str, command: str) -> str:
    if not text.strip():
        raise BadInputError(f"`{command}` needs to be told what", command)
    return text.strip()


# Files -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileSelection:
    """``shown_version`` is the version the file was exported at, None where it doesn't say."""

    decision: SeedDecision
    shown_version: int | None


def export_text(shown: Sequence[KeywordRow], version: int, *, as_json: bool) -> str:
    """The list as a file to edit: change a decision to "drop", remove a row, or add one with the decision "add"."""
    rows = [
        {
            "number": keyword.position,
            "decision": DROP if keyword.decision == KeywordDecision.DROPPED else APPROVE,
            "text": keyword.text,
            "intent": keyword.intent,
            "volume": keyword.volume,
            "sources": len(keyword.sources),
            "shown_version": version,
        }
        for keyword in shown
    ]
    if as_json:
        return json.dumps(rows, ensure_ascii=False, indent=2) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def selection_of_file(path: Path, shown: Sequence[KeywordRow]) -> FileSelection:
    """What an edited export decides: rows to approve (or with an empty decision) are approved, rows to drop and rows
    that were taken out are dropped, rows to add are added. Raises BadInputError naming the row at fault."""
    rows = _rows_of(path)
    texts = {folded(keyword.text): keyword.text for keyword in shown}
    approve: dict[str, None] = {}
    add: list[str] = []
    named: set[str] = set()
    for number, row in enumerate(rows, start=1):
        text, decision = _row(path, number, row)
        known = texts.get(folded(text))
        if decision == ADD:
            add.append(text)
            continue
        if known is None:
            message = f"{path}, row {number}: {text!r} is not in the list; give it the decision `add` to add it"
            raise BadInputError(message, "file")
        if known in named:
            raise BadInputError(f"{path}, row {number}: {text!r} stands there twice", "file")
        named.add(known)
        if decision == APPROVE:
            approve[known] = None
    return FileSelection(_decision(shown, approve, add), _version_of(path, rows))


def _decision(shown: Sequence[KeywordRow], approve: dict[str, None], add: list[str]) -> SeedDecision:
    dropped = tuple(keyword.text for keyword in shown if keyword.text not in approve)
    kind = SeedDecisionKind.SELECT if dropped else SeedDecisionKind.APPROVE_ALL
    return SeedDecision(kind=kind, drop=dropped, add=tuple(add))


def _rows_of(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadInputError(f"{path} is not a text in UTF-8; save it as UTF-8", "file") from None
    except OSError as error:
        raise BadInputError(f"{path} can't be read: {error.strerror}", "file") from None
    rows = _json_rows(path, text) if text.lstrip().startswith("[") else _csv_rows(path, text)
    if not rows:
        raise BadInputError(f"{path} has no rows; `review ID --export FILE` writes one to edit", "file")
    return rows


def _json_rows(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path}, line {error.lineno}: this is not valid JSON: {error.msg}", "file") from None
    return [{"text": item} if isinstance(item, str) else item for item in value]


def _csv_rows(path: Path, text: str) -> list[dict[str, Any]]:
    first = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if first.count(";") > first.count(",") else ",")
    names = [name.strip().lower() for name in reader.fieldnames or ()]
    if "text" not in names:
        raise BadInputError(f"{path} needs a first line with the columns' names, `text` and `decision`", "file")
    reader.fieldnames = names
    return [dict(row) for row in reader]


def _row(path: Path, number: int, row: Any) -> tuple[str, str]:
    if not isinstance(row, dict) or not str(row.get("text") or "").strip():
        raise BadInputError(f"{path}, row {number}: there is no text", "file")
    given = str(row.get("decision") or "").strip().lower()
    if given not in DECISIONS:
        raise BadInputError(f"{path}, row {number}: the decision is {given!r}; it must be approve, drop or add", "file")
    return " ".join(str(row["text"]).split()), DECISIONS[given]


def _version_of(path: Path, rows: Sequence[dict[str, Any]]) -> int | None:
    versions = {str(row["shown_version"]).strip() for row in rows if row.get("shown_version") not in (None, "")}
    if not versions:
        return None
    version = versions.pop()
    if versions or not version.isdigit():
        raise BadInputError(f"{path} mixes exports: its column shown_version must have one number", "file")
    return int(version)
