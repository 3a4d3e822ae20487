"""Step 3: a person's decision, applied to exactly what was shown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadInputError
from domain.seed_review import (
    KeywordDecision,
    ReviewedKeyword,
    SeedDecision,
    SeedDecisionKind,
    apply_decision,
    check_round,
)
from domain.settings import SeedReviewSettings

SETTINGS = SeedReviewSettings()
SHOWN = ("invoice approval", "supplier portal", "three-way matching", "audit trail")


def decide(kind: str = "select", shown: tuple[str, ...] = SHOWN, **lists: Any) -> tuple[ReviewedKeyword, ...]:
    return apply_decision(shown, SeedDecision(kind=SeedDecisionKind(kind), **lists), SETTINGS)


def refused(kind: str = "select", shown: tuple[str, ...] = SHOWN, **lists: Any) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        decide(kind, shown, **lists)
    assert "\n" not in str(caught.value)
    return caught.value


def texts(reviewed: tuple[ReviewedKeyword, ...], decision: KeywordDecision) -> list[str]:
    return [one.text for one in reviewed if one.decision is decision]


def test_approve_all_approves_what_was_shown_in_its_order() -> None:
    reviewed = decide("approve_all")
    assert tuple(texts(reviewed, KeywordDecision.APPROVED)) == SHOWN
    assert not any(one.added for one in reviewed)


def test_approving_some_drops_the_rest() -> None:
    reviewed = decide(approve=("audit trail", "supplier portal"))
    assert texts(reviewed, KeywordDecision.APPROVED) == ["supplier portal", "audit trail"]
    assert texts(reviewed, KeywordDecision.DROPPED) == ["invoice approval", "three-way matching"]


def test_dropping_some_approves_the_rest() -> None:
    reviewed = decide(drop=("audit trail",))
    assert texts(reviewed, KeywordDecision.DROPPED) == ["audit trail"]
    assert len(texts(reviewed, KeywordDecision.APPROVED)) == 3


def test_only_adding_approves_all_shown() -> None:
    reviewed = decide(add=("  Early   Payment Discounts. ",))
    assert len(texts(reviewed, KeywordDecision.APPROVED)) == 5
    assert reviewed[-1] == ReviewedKeyword(
        text="early payment discounts", decision=KeywordDecision.APPROVED, added=True
    )


def test_added_keywords_may_come_with_approve_all() -> None:
    assert [one.text for one in decide("approve_all", add=("ap automation",))][-1] == "ap automation"


def test_a_rejection_sends_everything_back_and_names_what_is_wrong() -> None:
    reviewed = decide(
        "reject",
        feedback="look for payments instead",
        drop=("audit trail",),
        add=("early payment",),
        notes={"audit trail": " not  ours\u200b"},
    )
    assert texts(reviewed, KeywordDecision.REJECTED) == list(SHOWN[:3])
    assert [(one.text, one.note) for one in reviewed if one.decision is KeywordDecision.DROPPED] == [
        ("audit trail", "not ours")
    ]
    assert texts(reviewed, KeywordDecision.APPROVED) == ["early payment"]


def test_notes_stay_with_their_keywords() -> None:
    reviewed = decide(drop=("audit trail",), notes={"audit trail": "not ours", "supplier portal": "good"})
    assert {one.text: one.note for one in reviewed if one.note} == {
        "audit trail": "not ours",
        "supplier portal": "good",
    }


def test_a_list_is_rejected_so_often_and_no_more() -> None:
    check_round(4, SETTINGS)
    with pytest.raises(BadInputError, match="rejected 5 times already"):
        check_round(5, SETTINGS)
    with pytest.raises(BadInputError, match="rejected once already"):
        check_round(1, SeedReviewSettings(rejections_max=1))


@pytest.mark.parametrize(
    ("kind", "lists", "field", "words"),
    [
        ("select", {}, "approve", "selection is empty"),
        ("select", {"approve": ("unknown",)}, "approve", "'unknown', which was not shown"),
        ("select", {"drop": ("Audit Trail",)}, "drop", "was not shown"),
        ("select", {"approve": ("audit trail", "supplier portal"), "drop": ("audit trail",)}, "drop", "both"),
        ("select", {"approve": ("audit trail",)}, "approve", "1 keyword would be approved: 2 to 100"),
        ("select", {"drop": SHOWN}, "approve", "0 keywords"),
        ("select", {"add": ("Audit-Trails",)}, "add", "in the list already as 'audit trail'"),
        ("select", {"add": ("new words", "New Word")}, "add", "already as 'new words'"),
        ("select", {"add": ("...",)}, "add", "at least one word"),
        ("select", {"add": ("\u200b",)}, "add", "at least one word"),
        ("select", {"add": ("word " * 11,)}, "add", "at most 10 words"),
        ("select", {"add": ("x" * 81,)}, "add", "80 characters"),
        ("select", {"add": ("https://evil.example",)}, "add", "no web address"),
        ("approve_all", {"approve": ("audit trail",)}, "approve", "use a selection"),
        ("approve_all", {"drop": ("audit trail",)}, "approve", "use a selection"),
        ("reject", {}, "feedback", "empty"),
        ("reject", {"feedback": "  "}, "feedback", "empty"),
        ("reject", {"feedback": "x" * 2001}, "feedback", "at most 2000"),
        ("reject", {"feedback": "no", "approve": ("audit trail",)}, "feedback", "approves nothing"),
        ("reject", {"feedback": "no", "drop": ("unknown",)}, "drop", "not shown"),
        ("reject", {"feedback": "no", "add": ("audit trails",)}, "add", "already"),
        ("select", {"drop": ("audit trail",), "notes": {"unknown": "x"}}, "notes", "not shown"),
        ("select", {"drop": ("audit trail",), "notes": {"audit trail": "x" * 301}}, "notes", "at most 300"),
    ],
)
def test_a_refusal_names_the_field(kind: str, lists: dict[str, Any], field: str, words: str) -> None:
    error = refused(kind, **lists)
    assert error.field == field
    assert words in str(error)


def test_a_hundred_are_approved_and_no_more() -> None:
    shown = tuple(f"keyword number {number}" for number in range(101))
    assert "101 keywords" in str(refused("approve_all", shown))
    assert len(decide("approve_all", shown[:100])) == 100
    assert "101 keywords" in str(refused("approve_all", shown[:100], add=("one more",)))
    assert len(texts(decide(shown=shown, drop=shown[:1]), KeywordDecision.APPROVED)) == 100


@given(st.sets(st.sampled_from(SHOWN), max_size=2), st.lists(st.sampled_from(["own one", "own two"]), unique=True))
def test_what_goes_in_comes_out_once(dropped: set[str], added: list[str]) -> None:
    reviewed = decide(drop=tuple(sorted(dropped)), add=(*added, "own three"))
    assert [one.text for one in reviewed] == [*SHOWN, *added, "own three"]
    assert set(texts(reviewed, KeywordDecision.DROPPED)) == dropped
