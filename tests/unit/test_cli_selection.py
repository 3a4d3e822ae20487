"""Choosing keywords by number, range, text, pattern, query and conversation, and drafts with undo."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.line_editor import CHARACTERS_MAX, LineEditor
from commands.selection import (
    Column,
    Counts,
    Decisions,
    Draft,
    Line,
    Mark,
    Selection,
    Tally,
    counts_of,
    found,
    ordered,
    selected,
    under_volume,
)
from db.keywords import KeywordRow
from domain.errors import BadInputError
from domain.seed_review import SeedDecision, SeedDecisionKind
from domain.settings import SeedReviewSettings

TEXTS = ("invoice approval", "ap automation", "free invoice template", "invoice scanning", "what is an invoice")
SETTINGS = SeedReviewSettings()


def keyword(position: int, text: str, decision: str | None = None, **facts: object) -> KeywordRow:
    return KeywordRow.model_validate(
        {
            "position": position,
            "text": text,
            "score": 1.0,
            "volume": None,
            "difficulty": None,
            "cpc_usd": None,
            "intent": "informational",
            "sources": [{"url": "https://ledgerpilot.example"}],
            "decision": decision,
            **facts,
        }
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


@pytest.mark.parametrize("part", ["0", "6", "3-9", "4-2", "nothing like it", "xyz*", "[a-z]* invoice?"])
def test_a_part_that_names_nothing_is_refused(part: str) -> None:
    with pytest.raises(BadInputError, match=r"drop names") as refused:
        selected(SHOWN, [part], "drop")
    assert refused.value.field == "drop"
    assert repr(part) in str(refused.value)


def test_only_the_star_is_a_pattern() -> None:
    odd = [keyword(1, "c++ [beginner] invoice?"), keyword(2, "cxx b invoices")]
    assert selected(odd, ["*[beginner]*"], "drop") == ("c++ [beginner] invoice?",)
    assert selected(odd, ["*invoice?"], "drop") == ("c++ [beginner] invoice?",)


def test_counts_cover_the_whole_list() -> None:
    decision = SeedDecision(kind=SeedDecisionKind.SELECT, drop=TEXTS[:2], add=("supplier portal",))
    assert counts_of(SHOWN, decision, SETTINGS) == Counts(approved=3, dropped=2, added=1)
    with pytest.raises(BadInputError, match="1 keyword would be approved: 2 to 100 are needed"):
        counts_of(SHOWN, SeedDecision(kind=SeedDecisionKind.SELECT, approve=TEXTS[:1]), SETTINGS)


# Line by line ----------------------------------------------------------------------------------------------------


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
    draft.change("note 2 we don't sell that")
    draft.change("reject more about suppliers")
    assert draft.decision() == SeedDecision(
        kind=SeedDecisionKind.REJECT,
        feedback="more about suppliers",
        drop=TEXTS[1:2],
        notes={TEXTS[1]: "we don't sell that"},
    )
    draft.change("1")
    assert draft.decision().kind is SeedDecisionKind.SELECT


def test_lines_are_taken_back_and_done_again() -> None:
    draft = Draft(SHOWN)
    draft.change("1")
    draft.change("only 2")
    assert draft.change("undo") == "4 of 5 approved, 1 dropped"
    assert draft.change("undo") == "5 of 5 approved, 0 dropped"
    assert draft.change("undo") == "5 of 5 approved, 0 dropped"
    assert draft.change("redo") == "4 of 5 approved, 1 dropped"
    draft.change("2")
    assert draft.change("redo") == "3 of 5 approved, 2 dropped"


def test_what_is_searched_for_less_often_goes() -> None:
    rows = [keyword(1, "a b", volume=10), keyword(2, "c d", volume=500), keyword(3, "e f")]
    assert under_volume(rows, 100) == ("a b",)
    draft = Draft(rows)
    assert draft.change("under 100") == "2 of 3 approved, 1 dropped"


@pytest.mark.parametrize(
    "line", ["add", "add  AP automation", "only", "keep 9", "reject  ", "bogus", "under", "note 1"]
)
def test_a_line_that_can_not_be_followed_changes_nothing(line: str) -> None:
    draft = Draft(SHOWN)
    with pytest.raises(BadInputError):
        draft.change(line)
    assert draft.words() == "5 of 5 approved, 0 dropped"


# Drafts with undo ------------------------------------------------------------------------------------------------


def test_a_selection_starts_with_what_was_decided() -> None:
    shown = [keyword(1, "a b", "approved", note="good"), keyword(2, "c d", "dropped"), keyword(3, "e f")]
    selection = Selection(shown, SETTINGS, new={"e f"})
    assert [line.mark for line in selection.lines()] == [Mark.APPROVED, Mark.DROPPED, Mark.UNDECIDED]
    assert [line.is_new for line in selection.lines()] == [False, False, True]
    assert selection.lines()[0].note == "good"
    assert not selection.is_changed
    assert selection.undo() == "nothing to undo"
    assert selection.redo() == "nothing to redo"


def test_every_change_is_undone_and_done_again() -> None:
    selection = Selection(SHOWN, SETTINGS)
    selection.mark(TEXTS[:3], Mark.APPROVED)
    selection.toggle(TEXTS[0])
    selection.add("Supplier Portal")
    selection.note(TEXTS[0], "too  broad")
    after = selection.now
    assert after.own == ("supplier portal",)
    assert after.notes == {TEXTS[0]: "too broad"}
    assert selection.tally() == Tally(total=6, approved=3, dropped=1, undecided=2, own=1)
    for _ in range(4):
        selection.undo()
    assert selection.now == Decisions()
    for _ in range(4):
        selection.redo()
    assert selection.now == after
    selection.undo()
    selection.mark([TEXTS[4]], Mark.DROPPED)
    assert selection.redo() == "nothing to redo"


def test_a_change_that_changes_nothing_is_no_step() -> None:
    selection = Selection(SHOWN, SETTINGS)
    selection.mark([TEXTS[0]], Mark.UNDECIDED)
    selection.note(TEXTS[0], "   ")
    assert selection.undo() == "nothing to undo"


def test_toggling_goes_round() -> None:
    selection = Selection(SHOWN, SETTINGS)
    marks = []
    for _ in range(4):
        selection.toggle(TEXTS[0])
        marks.append(selection.mark_of(TEXTS[0]))
    assert marks == [Mark.APPROVED, Mark.DROPPED, Mark.UNDECIDED, Mark.APPROVED]


def test_own_keywords_are_checked_as_the_run_does_and_can_be_taken_out() -> None:
    selection = Selection(SHOWN, SETTINGS)
    for text in ("Invoice approvals", "...", "word " * 11, "https://evil.example", ""):
        with pytest.raises(BadInputError):
            selection.add(text)
    selection.add("supplier portal")
    with pytest.raises(BadInputError, match="already"):
        selection.add("Supplier Portals")
    with pytest.raises(BadInputError, match="your own"):
        selection.note("supplier portal", "a note")
    selection.mark(["supplier portal"], Mark.DROPPED)
    assert selection.now.own == ()


def test_a_decision_names_every_keyword() -> None:
    selection = Selection(SHOWN, SETTINGS)
    selection.mark(TEXTS[:2], Mark.APPROVED)
    selection.mark(TEXTS[2:3], Mark.DROPPED)
    dropping, approving = selection.decision(Mark.DROPPED), selection.decision(Mark.APPROVED)
    assert (dropping.approve, dropping.drop) == (TEXTS[:2], TEXTS[2:])
    assert (approving.approve, approving.drop) == ((*TEXTS[:2], *TEXTS[3:]), TEXTS[2:3])
    rejection = selection.rejection(" no templates ")
    assert (rejection.kind, rejection.drop, rejection.feedback) == (
        SeedDecisionKind.REJECT,
        TEXTS[2:3],
        "no templates",
    )
    with pytest.raises(BadInputError, match="feedback is empty"):
        selection.rejection("  ")


def test_the_limits_hold() -> None:
    many = [keyword(number, f"keyword number {number}") for number in range(1, 151)]
    selection = Selection(many, SETTINGS)
    assert selection.problem() == "0 keywords would be approved: 2 to 100 are needed"
    assert selection.problem(Mark.APPROVED) == "150 keywords would be approved: 2 to 100 are needed"
    selection.mark([one.text for one in many[:100]], Mark.APPROVED)
    assert selection.problem() is None
    selection.add("one more")
    assert selection.problem() == "101 keywords would be approved: 2 to 100 are needed"
    with pytest.raises(BadInputError, match="101 keywords"):
        selection.decision(Mark.DROPPED)


def test_a_kept_draft_comes_back_with_what_is_still_there() -> None:
    selection = Selection(SHOWN, SETTINGS)
    kept = Decisions(
        {TEXTS[0]: Mark.DROPPED, "gone by now": Mark.APPROVED},
        ("supplier portal", "Invoice Approval"),
        {TEXTS[0]: "no", "gone by now": "x"},
    )
    selection.restore(kept)
    assert selection.now == Decisions({TEXTS[0]: Mark.DROPPED}, ("supplier portal",), {TEXTS[0]: "no"})
    selection.undo()
    assert not selection.is_changed


@given(st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(Mark)), max_size=12), st.data())
def test_undo_leads_to_every_earlier_state(steps: list[tuple[str, Mark]], data: st.DataObject) -> None:
    selection, states = Selection(SHOWN, SETTINGS), [Decisions()]
    for text, mark in steps:
        selection.mark([text], mark)
        if selection.now != states[-1]:
            states.append(selection.now)
    back = data.draw(st.integers(0, len(states) - 1))
    for _ in range(back):
        selection.undo()
    assert selection.now == states[len(states) - 1 - back]
    tally = selection.tally()
    assert tally.approved + tally.dropped + tally.undecided == tally.total == len(SHOWN)


# Queries and order -----------------------------------------------------------------------------------------------

ROWS = [
    keyword(1, "invoice approval", intent="commercial", volume=50, difficulty=40, score=3, sources=[{}, {}]),
    keyword(2, "free invoice template", volume=900, difficulty=None, score=9),
    keyword(3, "ap automation", intent="commercial", volume=None, difficulty=10, score=1, flag="named as wrong"),
    keyword(4, "supplier portal", added_by="anna", sources=[], decision="approved", decided_at=datetime.now(UTC)),
]
LINES = Selection(ROWS, SETTINGS, new={"ap automation"}).lines()


def positions(lines: list[Line]) -> list[int]:
    return [line.keyword.position for line in lines]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", [1, 2, 3, 4]),
        ("INVOICE", [1, 2]),
        ("invoice -free", [1]),
        ('"invoice t"', [2]),
        ('"invoice t', [2]),
        ('-"invoice t"', [1, 3, 4]),
        ("free*", [2]),
        ("*al", [1, 4]),
        ("intent:comm", [1, 3]),
        ("volume<100", [1]),
        ("volume>=50 volume<=900", [1, 2]),
        ("volume:none", [3, 4]),
        ("-volume:none", [1, 2]),
        ("volume<", [1, 2, 3, 4]),
        ("volume<abc", [1, 2, 3, 4]),
        ("difficulty=10", [3]),
        ("score>2", [1, 2]),
        ("sources>1", [1]),
        ("sources:0", [4]),
        ("is:approved", [4]),
        ("is:und", [1, 2, 3]),
        ("is:own", [4]),
        ("is:new", [3]),
        ("is:flagged", [3]),
        ("is:", [1, 2, 3, 4]),
        ("is:bogus", []),
        ("-", []),
        ("zzz", []),
        ("[", []),
    ],
)
def test_a_query_narrows_what_is_shown(query: str, wanted: list[int]) -> None:
    assert positions(found(LINES, query)) == wanted


@given(st.text(max_size=40))
def test_no_query_is_an_error(query: str) -> None:
    assert set(positions(found(LINES, query))) <= {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("column", "falling", "wanted"),
    [
        (Column.NUMBER, False, [1, 2, 3, 4]),
        (Column.NUMBER, True, [4, 3, 2, 1]),
        (Column.TEXT, False, [3, 2, 1, 4]),
        (Column.INTENT, False, [1, 3, 2, 4]),
        (Column.VOLUME, True, [2, 1, 3, 4]),
        (Column.VOLUME, False, [1, 2, 3, 4]),
        (Column.DIFFICULTY, False, [3, 1, 2, 4]),
        (Column.SCORE, True, [2, 1, 3, 4]),
        (Column.SOURCES, True, [1, 2, 3, 4]),
        (Column.DECISION, False, [1, 2, 3, 4]),
        (Column.DECISION, True, [4, 1, 2, 3]),
    ],
)
def test_any_column_orders_and_unknown_figures_stand_last(column: Column, falling: bool, wanted: list[int]) -> None:
    assert positions(ordered(LINES, column, falling=falling)) == wanted


# A line under a person's keys ------------------------------------------------------------------------------------


def test_a_line_is_edited() -> None:
    line = LineEditor("volume")
    for key, character in (("less_than_sign", "<"), ("1", "1"), ("left", None), ("delete", None), ("2", "2")):
        assert line.press(key, character)
    assert line.text == "volume<2"
    line.press("home", None)
    line.press("x", "x")
    assert line.shown() == "x▏volume<2"
    line.press("end", None)
    line.press("backspace", "\x7f")
    line.insert(" two\nwords")
    assert line.text == "xvolume< two words"
    line.press("ctrl+w", "\x17")
    assert line.text == "xvolume< two "
    line.press("ctrl+u", "\x15")
    assert (line.text, line.cursor) == ("", 0)
    assert not line.press("f5", None)
    line.insert("x" * (CHARACTERS_MAX + 5))
    assert len(line.text) == CHARACTERS_MAX
