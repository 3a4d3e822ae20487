"""A list as a file: out, through a spreadsheet's habits, and back in."""

import csv
import io
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from commands.review_files import (
    FileOrigin,
    Origin,
    draft_path,
    export_text,
    forget_draft,
    keep_draft,
    kept_draft,
    origin_of_file,
    selection_of_file,
)
from commands.selection import Decisions, Mark, Selection
from db.keywords import KeywordRow
from domain.errors import BadInputError
from domain.seed_review import SeedDecision, SeedDecisionKind
from domain.settings import SeedReviewSettings

TEXTS = ("invoice approval", "ap automation", "free invoice template", "invoice scanning", "what is an invoice")
ORIGIN = Origin(UUID(int=7), 7)
SETTINGS = SeedReviewSettings()


def keyword(position: int, text: str, decision: str | None = None) -> KeywordRow:
    return KeywordRow(
        position=position,
        text=text,
        score=1.0,
        volume=90 * position,
        difficulty=None,
        cpc_usd=None,
        intent="informational",
        sources=[{"url": "https://ledgerpilot.example"}],
        decision=decision,
    )


SHOWN = [keyword(number, text) for number, text in enumerate(TEXTS, start=1)]


def exported(shown: list[KeywordRow], *, as_json: bool = False) -> str:
    return export_text(Selection(shown, SETTINGS).lines(), ORIGIN, as_json=as_json)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def written(tmp_path: Path, text: str | bytes, name: str = "keywords.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def dropping(*texts: str, **more: Any) -> SeedDecision:
    kind = SeedDecisionKind.SELECT if texts else SeedDecisionKind.APPROVE_ALL
    return SeedDecision(kind=kind, drop=texts, **more)


@pytest.mark.parametrize("as_json", [False, True])
def test_an_export_given_back_unchanged_decides_as_it_stood(tmp_path: Path, as_json: bool) -> None:
    shown = [keyword(number, text, "dropped" if number == 5 else "approved") for number, text in enumerate(TEXTS, 1)]
    path = written(tmp_path, exported(shown, as_json=as_json))
    assert origin_of_file(path) == FileOrigin(7, str(ORIGIN.workflow_id))
    assert selection_of_file(path, shown).decision == dropping(TEXTS[4])
    untouched = selection_of_file(written(tmp_path, exported(SHOWN, as_json=as_json)), SHOWN)
    assert untouched.decision == dropping()
    assert (untouched.undecided, untouched.missing) == (5, 0)


def test_a_draft_goes_out_with_its_marks_notes_and_own_keywords_and_comes_back(tmp_path: Path) -> None:
    selection = Selection(SHOWN, SETTINGS)
    selection.mark(TEXTS[:2], Mark.APPROVED)
    selection.mark(TEXTS[2:], Mark.DROPPED)
    selection.note(TEXTS[2], "=too cheap")
    selection.add("supplier portal")
    path = written(tmp_path, export_text(selection.lines(), ORIGIN, as_json=False))
    assert selection_of_file(path, SHOWN).decision == dropping(
        *TEXTS[2:], add=("supplier portal",), notes={TEXTS[2]: "=too cheap"}
    )


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)"])
def test_no_cell_is_a_formula(tmp_path: Path, text: str) -> None:
    shown = [*SHOWN, keyword(6, text)]
    content = exported(shown)
    cells = [cell for row in csv.reader(io.StringIO(content.removeprefix("\ufeff"))) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@")]
    rows = rows_of(content)
    rows[5]["decision"] = "drop"
    assert selection_of_file(written(tmp_path, content.replace(",,'", ",drop,'")), shown).decision == dropping(text)


WORDS = {
    "approve": ("x", "X ", "TRUE", "WAHR", "yes", "Y", "1", "ok", "Approved", "✔"),
    "drop": ("0", "no", "FALSE", "n", "Dropped", "remove", "✘"),
}


@pytest.mark.parametrize("word", WORDS["approve"])
def test_words_that_approve(tmp_path: Path, word: str) -> None:
    lines = ["text,decision", *(f"{text},{word}" for text in TEXTS[:2]), *(f"{text}," for text in TEXTS[2:])]
    assert selection_of_file(written(tmp_path, "\n".join(lines)), SHOWN).decision == dropping(*TEXTS[2:])


@pytest.mark.parametrize("word", WORDS["drop"])
def test_words_that_drop(tmp_path: Path, word: str) -> None:
    lines = ["text,decision", f"{TEXTS[0]},{word}", *(f"{text}," for text in TEXTS[1:])]
    assert selection_of_file(written(tmp_path, "\n".join(lines)), SHOWN).decision == dropping(TEXTS[0])


def test_a_blank_row_among_approvals_and_drops_has_to_be_decided(tmp_path: Path) -> None:
    lines = ["text,decision", f"{TEXTS[0]},x", f"{TEXTS[1]},no", *(f"{text}," for text in TEXTS[2:])]
    path = written(tmp_path, "\n".join(lines))
    with pytest.raises(BadInputError, match=rf"row 4: '{TEXTS[2]}' has no decision .* --undecided"):
        selection_of_file(path, SHOWN)
    assert selection_of_file(path, SHOWN, undecided=Mark.APPROVED).decision == dropping(TEXTS[1])
    assert selection_of_file(path, SHOWN, undecided=Mark.DROPPED).decision == dropping(*TEXTS[1:])


def spreadsheet(encoding: str, delimiter: str, end: str, *, prefix: str = "") -> bytes:
    """Columns in another order and one more, a row taken out, one added, one blank at the end."""
    rows = [
        ["Note", " Keyword ", "whatever", "DECISION", "Number"],
        ["", TEXTS[1], "", "approve", "2,00"],
        ["too; broad, really", TEXTS[0].upper(), "x", "drop", "1.0"],
        ["", TEXTS[3], "", "approve", "0004"],
        ["", TEXTS[4], "", "approve", "5"],
        ["", "Café terminals", "", "", ""],
        ["", "", "", "", ""],
    ]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows(rows)
    return (prefix + text.getvalue()).encode(encoding)


@pytest.mark.parametrize(
    "raw",
    [
        spreadsheet("utf-8", ",", "\n"),
        spreadsheet("utf-8-sig", ";", "\r\n"),
        spreadsheet("utf-8-sig", "\t", "\r"),
        spreadsheet("utf-16", "\t", "\r\n"),
        spreadsheet("utf-8-sig", ";", "\r\n", prefix="sep=;\r\n"),
    ],
    ids=["plain", "semicolons", "tabs", "utf-16", "sep line"],
)
def test_what_spreadsheets_do_to_a_file(tmp_path: Path, raw: bytes) -> None:
    chosen = selection_of_file(written(tmp_path, raw), SHOWN)
    assert chosen.decision == dropping(
        TEXTS[0], TEXTS[2], add=("Café terminals",), notes={TEXTS[0]: "too; broad, really"}
    )
    assert chosen.missing == 1


def test_a_row_may_be_named_by_its_number_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "number,decision\n1,x\n3,x\n")
    assert selection_of_file(path, SHOWN).decision == dropping(TEXTS[1], *TEXTS[3:])


def test_a_list_of_texts_approves_them(tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps(list(TEXTS[:2])), "keywords.json")
    assert origin_of_file(path) == FileOrigin(None, None)
    assert selection_of_file(path, SHOWN).decision == dropping(*TEXTS[2:])


def test_json_as_the_review_shows_it_comes_back(tmp_path: Path) -> None:
    entries = [{"number": number, "text": text, "decision": None} for number, text in enumerate(TEXTS, 1)]
    entries[0]["decision"] = "drop"
    entries.append({"text": "supplier portal", "decision": True, "number": None})
    value = {"workflow_id": str(ORIGIN.workflow_id), "version": 7, "keywords": entries}
    path = written(tmp_path, json.dumps(value))
    assert origin_of_file(path) == FileOrigin(7, str(ORIGIN.workflow_id))
    chosen = selection_of_file(path, SHOWN)
    assert chosen.decision == dropping(TEXTS[0], add=("supplier portal",))
    assert chosen.undecided == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows|first line"),
        ("text,decision\n", "has no rows"),
        ("phrase\ninvoice approval\n", "first line"),
        ("text,text,decision\na,b,c\n", "two columns named `text`"),
        ("text,decision\ninvoice approval,perhaps\n", "row 2: the decision is 'perhaps'; it must be approve"),
        ("text,decision\nnever shown,approve\n", "row 2: 'never shown' is not in the list"),
        ("number,text,decision\n3,never shown,approve\n", "number 3 is 'free invoice template'"),
        ("number,text,decision\n99,never shown,\n", "which has the numbers 1 to 5"),
        (
            "number,text,decision\n,never shown,drop\n",
            "row 2: 'never shown' is not in the list, so it can't be dropped",
        ),
        ("number,decision\n99,x\n", "row 2: number '99' is unknown: the list has the numbers 1 to 5"),
        ("text,decision\ninvoice approval,drop\n\nInvoice Approval,approve\n", "row 4: .* twice, first in row 2"),
        ("number,text,decision\n,new one,add\n,New-Ones,add\n", "row 3: .* twice, first in row 2"),
        ("text,decision\nInvoice Approvals,add\n", "row 2: .* in the list already as 'invoice approval'"),
        ("text,decision\n,approve\n", "row 2: there is no text"),
        ("text,shown_version\ninvoice approval,7\nap automation,8\n", "mixes exports: .* 7 in row 2 and 8 in row 3"),
        ("text,shown_version\ninvoice approval,seven\n", "shown_version is 'seven'"),
        ("text,decision,note\ninvoice approval,drop," + "x" * 301 + "\n", "row 2: the note .* 301 characters"),
        ('text,decision\n"invoice approval,drop\n', "row 2|not in the list"),
        ("[1]", "entry 1: there is no text but 1"),
        ("[{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a": 1}', "must be a list"),
        ('[{"text": ["a"]}]', "entry 1: `text` must be a text"),
        ('[{"text": "ap automation", "decision": {"a": 1}}]', "entry 1: `decision` must be a text"),
        ('["ap automation", "AP Automation"]', "entry 2: .* twice, first in entry 1"),
    ],
)
def test_a_file_that_can_not_be_followed(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)

    def read() -> None:
        origin_of_file(path)
        selection_of_file(path, SHOWN)

    with pytest.raises(BadInputError, match=message) as refused:
        read()
    assert "\n" not in str(refused.value)
    assert "keywords.csv" in str(refused.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="can't be read"):
        selection_of_file(tmp_path / "missing.csv", SHOWN)
    with pytest.raises(BadInputError, match="is no file"):
        selection_of_file(tmp_path, SHOWN)
    with pytest.raises(BadInputError, match="UTF-8"):
        selection_of_file(written(tmp_path, "text\ncaf\xe9\n".encode("latin-1")), SHOWN)
    with pytest.raises(BadInputError, match="workbook"):
        selection_of_file(written(tmp_path, b"PK\x03\x04rest"), SHOWN)
    with pytest.raises(BadInputError, match="at most 5,000,000 are read"):
        selection_of_file(written(tmp_path, b"text\n" + b"x\n" * 2_500_001), SHOWN)


# Kept drafts -----------------------------------------------------------------------------------------------------


def test_a_draft_is_kept_for_its_list_and_person(tmp_path: Path) -> None:
    path = draft_path(tmp_path, ORIGIN.workflow_id, 7, "anna/../b@x")
    assert path.parent == tmp_path / "drafts"
    assert path != draft_path(tmp_path, ORIGIN.workflow_id, 8, "anna/../b@x")
    assert path != draft_path(tmp_path, ORIGIN.workflow_id, 7, "bert")
    decisions = Decisions({TEXTS[0]: Mark.DROPPED}, ("own one",), {TEXTS[0]: "why"})
    keep_draft(path, decisions)
    assert path.stat().st_mode & 0o077 == 0
    assert kept_draft(path) == decisions
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    forget_draft(path)
    forget_draft(path)
    assert kept_draft(path) is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"marks": {"a": "maybe"}, "own": [], "notes": {}}', '{"marks": 1}'])
def test_a_draft_that_can_not_be_read_is_none(tmp_path: Path, text: str) -> None:
    assert kept_draft(written(tmp_path, text)) is None
