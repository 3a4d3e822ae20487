"""The claim scorer: what a source says scores above what it does not, also on public claims with labels."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.grounding import FOLDS, TARGETS, across_articles, area, areas, fit, load
from domain.grounding import PreparedSource, claim_spans, prepared, support
from domain.grounding.claim_support import SUPPORTED_MIN, light_stem

SOURCE = (
    "Harborline was founded in Rotterdam in 2016 by two former buyers. Its software reads supplier invoices and "
    "matches each with its purchase order and the goods receipt. Exceptions go to the person who ordered. In March "
    "2024 the company opened an office in Lisbon, where 25 people work. Customers approve an invoice within 9 days on "
    "average. The starter plan costs $49 a month. It does not connect to payroll systems. Prices rose last year.",
)
SUPPORTED = [
    "Harborline was founded by two former buyers in Rotterdam.",
    "The software matches supplier invoices with purchase orders and goods receipts.",
    "Exceptions are sent to the person who placed the order.",
    "Harborline opened its Lisbon office in March 2024.",
    "On average, customers approve invoices within 9 days.",
    "The starter plan is $49 a month.",
    "Harborline does not connect to payroll systems.",
    "Some 25 people work in the office in Lisbon, which the company opened in 2024.",
]
UNSUPPORTED = [
    "Harborline won a design award for its mobile application.",
    "Most manufacturers still keep paper records of their machines.",
    "The board appointed a new chief financial officer from Berlin.",
    "Carbon emissions of container ships fell by a third.",
    "The enterprise plan includes unlimited storage and phone support.",
]
TURNED_ROUND = [
    ("Harborline does not connect to payroll systems.", "Harborline connects to payroll systems."),
    ("Prices rose last year at Harborline.", "Prices fell last year at Harborline."),
    ("Customers approve an invoice within 9 days.", "Customers never approve an invoice within 9 days."),
    ("Customers approve an invoice within 9 days on average.", "Customers reject an invoice within 9 days on average."),
]
CHANGED = [
    (
        "Customers approve an invoice within 9 days on average.",
        "Customers approve an invoice within 25 days on average.",
    ),
    ("The starter plan costs $49 a month.", "The starter plan costs $59 a month."),
    ("In March 2024 the company opened an office in Lisbon.", "In May 2021 the company opened an office in Lisbon."),
    ("Harborline was founded in Rotterdam.", "Harborline was founded in Antwerp."),
]


def score(claim: str) -> float:
    return support(claim, prepared(SOURCE)).score


@pytest.mark.parametrize("claim", SUPPORTED)
def test_what_the_source_says_is_supported(claim: str) -> None:
    assert score(claim) >= SUPPORTED_MIN


@pytest.mark.parametrize("claim", UNSUPPORTED)
def test_what_it_does_not_say_is_not(claim: str) -> None:
    assert score(claim) < SUPPORTED_MIN


def test_every_supported_claim_scores_above_every_other() -> None:
    assert min(map(score, SUPPORTED)) > max(map(score, UNSUPPORTED))


@pytest.mark.parametrize(("true", "turned"), TURNED_ROUND)
def test_the_opposite_is_contradicted(true: str, turned: str) -> None:
    found = support(turned, prepared(SOURCE))
    assert found.is_contradicted
    assert found.score < SUPPORTED_MIN
    assert not support(true, prepared(SOURCE)).is_contradicted


@pytest.mark.parametrize(("true", "changed"), CHANGED)
def test_another_number_or_name_scores_lower(true: str, changed: str) -> None:
    assert score(changed) < score(true)


def test_right_number_about_another_thing_scores_lower() -> None:
    sentences = [
        "The Lisbon office has 25 people.",
        "It rains.",
        "It is warm.",
        "It is dry.",
        "Ships call at 40 ports.",
    ]
    here = support("The Lisbon office has 25 people.", sentences)
    elsewhere = support("The Lisbon office has 40 people.", sentences)
    nowhere = support("The Lisbon office has 31 people.", sentences)
    assert here.score > elsewhere.score > nowhere.score
    assert (here.missing, elsewhere.missing, nowhere.missing) == ((), ("40",), ("31",))


def test_evidence_and_what_is_missing_are_named() -> None:
    found = support("The Lisbon office, opened in 2024, employs welders.", prepared(SOURCE))
    assert "Lisbon" in prepared(SOURCE).sentences[found.evidence[0]]
    assert found.missing == ("employs", "welders")


def test_claims_are_sentences_that_state_something() -> None:
    text = (
        "Harborline reads supplier invoices for distributors. Why does that matter to buyers today? "
        "Check every supplier invoice against its order. You should compare several offers first. Short one. "
        "The software matches invoices, orders and receipts."
    )
    assert [text[start:end] for start, end in claim_spans(text)] == [
        "Harborline reads supplier invoices for distributors.",
        "The software matches invoices, orders and receipts.",
    ]


@pytest.mark.parametrize(
    "words",
    [("approves", "approved", "approving"), ("company", "companies"), ("match", "matches", "matched", "matching")],
)
def test_forms_of_a_word_have_one_stem(words: tuple[str, ...]) -> None:
    assert len({light_stem(word) for word in words}) == 1


@given(st.text(max_size=120), st.lists(st.text(max_size=80), max_size=5))
def test_any_claim_has_a_score_from_0_to_1(claim: str, sentences: list[str]) -> None:
    found = support(claim, sentences)
    assert 0 <= found.score <= 1
    assert all(0 <= place < len(sentences) for place in found.evidence)
    assert all(-1e-6 <= share <= 1 + 1e-6 for share in found.features.values())
    assert found == support(claim, PreparedSource(sentences))


def test_nothing_supports_a_claim_without_sources() -> None:
    assert support("Harborline reads supplier invoices.", []).score == 0


def wice() -> Path | None:
    """The public claims, where a folder of data is beside the project or named by the environment."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("INFIN8_DATA_DIR", beside))
    path = folder / "wice" / "claim_dev.jsonl"
    return path if path.is_file() else None


@pytest.mark.skipif(wice() is None, reason="the public claims (wice/claim_dev.jsonl) are not on this machine")
def test_supported_claims_are_told_from_unsupported_ones_on_public_data() -> None:
    path = wice()
    assert path is not None
    rows = load(path)
    supports = [support(row["claim"], row["evidence"]) for row in rows]
    labels = [row["label"] for row in rows]
    against_unsupported, against_the_rest = areas(labels, [one.score for one in supports])
    assert against_unsupported >= 0.90
    assert against_the_rest >= 0.78
    names = list(supports[0].features)
    shares = [[one.features[name] for name in names] for one in supports]
    titles = [row["meta"]["claim_title"] for row in rows]
    other_articles, _ = across_articles(names, np.array(shares), labels, titles)
    assert other_articles >= 0.90


def test_area_under_the_curve_counts_ties_half() -> None:
    assert area([0.9, 0.5], [0.5, 0.1]) == pytest.approx(0.875)
    assert areas(list(TARGETS), [3, 2, 1]) == (1.0, 1.0)


def test_fit_finds_what_tells() -> None:
    generator = np.random.default_rng(5)
    features = generator.random((200, 3))
    weights, bias = fit(features, (features[:, 1] > 0.5).astype(float))
    assert weights[1] > 5 * abs(weights[0])
    assert weights[1] * 0.9 + bias > 0 > weights[1] * 0.1 + bias
    assert FOLDS > 1
