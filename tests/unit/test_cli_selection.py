"""Choosing keywords by number, range, text, pattern, conversation and file."""

import csv
import io
import json
from pathlib import Path

import pytest

from commands.selection import Counts, Draft, counts_of, export_text, selected, selection_of_file
from db.keywords import KeywordRow
from domain.errors import BadInputError
from domain.seed_review import SeedDecision, SeedDecisionKind
from domain.settings import SeedReviewSettings

TEXTS = ("invoice approval", "ap automation", "free invoice template", "invoice scanning", "what is an invoice")
SETTINGS = SeedReviewSettings()


def keyword(position: int, text: str, decision: str | None = None) -> KeywordRow:
    return KeywordRow(
        position=position,
        text=text,
        score=1.0,
        volume=None,
        difficulty=None,
        cpc_usd=None,
        intent="informational",
        sources=[{"url": "https://ledgerpilot.example"}],
        decision=decision,
    )


SHOWN = [keyword(number, text) for number, text in enumerate(TEXTS, start=1)]


@pytest.mark.parametrize(
    ("parts", "texts"),
    [
        (["2"], TEXTS[1:2]),
        (["4, 1"], (TEXTS[0], TEXTS[3])),
        (["2-4"], TEXTS[1:4]),
        (["2 - 3", "3"], TEXTS[1:3]),
        (["*invoice*"], (TEXTS[0], *TEXTS[2:])),
        (["free *"], TEXTS[2:3]),
        (["AP Automation"], TEXTS[1:2]),
        (["", " , "], ()),
    ],
)
def test_what_parts_select(parts: list[str], texts: tuple[str, ...]) -> None:
    assert selected(SHOWN, parts, "drop") == texts


@pytest.mark.parametrize("part", ["0", "6", "3-9", "4-2", "nothing like it", "xyz*"])
def test_a_part_that_names_nothing_is_refused(part: str) -> None:
    with pytest.raises(BadInputError, match=r"drop names") as refused:
        selected(SHOWN, [part], "drop")
    assert refused.value.field == "drop"
    assert repr(part) in str(refused.value)


def test_counts_cover_the_whole_list() -> None:
    decision = SeedDecision(kind=SeedDecisionKind.SELECT, drop=TEXTS[:2], add=("supplier portal",))
    assert counts_of(SHOWN, decision, SETTINGS) == Counts(approved=3, dropped=2, added=1)
    with pytest.raises(BadInputError, match="1 keywords would be approved"):
        counts_of(SHOWN, SeedDecision(kind=SeedDecisionKind.SELECT, approve=TEXTS[:1]), SETTINGS)


def test_a_conversation() -> None:
    draft = Draft(SHOWN)
    assert draft.words() == "5 of 5 approved, 0 dropped"
    assert draft.change("1, 3-4") == "2 of 5 approved, 3 dropped"
    assert draft.change("keep 4") == "3 of 5 approved, 2 dropped"
    assert draft.change("add  supplier   portal") == "3 of 5 approved, 2 dropped, 1 added"
    assert draft.decision() == SeedDecision(
        kind=SeedDecisionKind.SELECT, drop=(TEXTS[0], TEXTS[2]), add=("supplier portal",)
    )
    assert draft.change("only *invoice") == "1 of 5 approved, 4 dropped, 1 added"
    assert draft.change("all") == "5 of 5 approved, 0 dropped, 1 added"
    assert draft.decision() == SeedDecision(kind=SeedDecisionKind.APPROVE_ALL, add=("supplier portal",))


def test_a_conversation_that_rejects() -> None:
    draft = Draft(SHOWN)
    draft.change("reject more about suppliers")
    assert draft.decision() == SeedDecision(kind=SeedDecisionKind.REJECT, feedback="more about suppliers")
    draft.change("1")
    assert draft.decision().kind is SeedDecisionKind.SELECT


@pytest.mark.parametrize("line", ["add", "add  AP automation", "only", "keep 9", "reject  ", "bogus"])
def test_a_line_that_can_not_be_followed_changes_nothing(line: str) -> None:
    draft = Draft(SHOWN)
    with pytest.raises(BadInputError):
        draft.change(line)
    assert draft.words() == "5 of 5 approved, 0 dropped"


# Files -----------------------------------------------------------------------------------------------------------


def written(tmp_path: Path, text: str, name: str = "keywords.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("as_json", [False, True])
def test_an_export_given_back_unchanged_decides_as_it_stood(tmp_path: Path, as_json: bool) -> None:
    shown = [*SHOWN[:4], keyword(5, TEXTS[4], "dropped")]
    path = written(tmp_path, export_text(shown, 7, as_json=as_json))
    chosen = selection_of_file(path, shown)
    assert chosen.shown_version == 7
    assert chosen.decision == SeedDecision(kind=SeedDecisionKind.SELECT, drop=TEXTS[4:])
    approved = selection_of_file(written(tmp_path, export_text(SHOWN, 7, as_json=as_json)), SHOWN)
    assert approved.decision == SeedDecision(kind=SeedDecisionKind.APPROVE_ALL)


def test_an_edited_export(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(export_text(SHOWN, 7, as_json=False))))
    rows[0]["decision"] = "drop"
    rows[1]["decision"] = ""
    del rows[2]
    lines = ["text;decision", *(f"{row['text']};{row['decision']}" for row in rows), "supplier portal;add"]
    chosen = selection_of_file(written(tmp_path, "\ufeff" + "\n".join(lines)), SHOWN)
    assert chosen.decision == SeedDecision(
        kind=SeedDecisionKind.SELECT, drop=(TEXTS[0], TEXTS[2]), add=("supplier portal",)
    )
    assert chosen.shown_version is None


def test_a_list_of_texts_approves_them(tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps(list(TEXTS[:2])), "keywords.json")
    assert selection_of_file(path, SHOWN).decision == SeedDecision(kind=SeedDecisionKind.SELECT, drop=TEXTS[2:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows|first line"),
        ("keyword\ninvoice approval\n", "first line"),
        ("text,decision\ninvoice approval,perhaps\n", "'perhaps'"),
        ("text,decision\nnever shown,approve\n", "row 1: 'never shown' is not in the list"),
        ("text,decision\ninvoice approval,drop\nInvoice Approval,approve\n", "row 2: .* twice"),
        ("text,decision\n,approve\n", "there is no text"),
        ("text,shown_version\ninvoice approval,7\nap automation,8\n", "mixes exports"),
        ("[1]", "there is no text"),
        ("[{", "not valid JSON"),
    ],
)
def test_a_file_that_can_not_be_followed(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        selection_of_file(written(tmp_path, text), SHOWN)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="can't be read"):
        selection_of_file(tmp_path / "missing.csv", SHOWN)
    (tmp_path / "latin.csv").write_bytes("text\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(BadInputError, match="UTF-8"):
        selection_of_file(tmp_path / "latin.csv", SHOWN)
