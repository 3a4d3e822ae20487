import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.phrases import refused_phrases
from domain.text import (
    clean_text,
    jaccard,
    phrase_count,
    phrase_pattern,
    sentence_spans,
    sentences,
    shingles,
    stem,
    stems,
)
from tests.unit.quality.samples import HARBORLINE


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Invoices", "invoice"),
        ("supplier's", "supplier"),
        ("suppliers’", "supplier"),
        ("companies", "company"),
        ("batches", "batch"),
        ("process", "process"),
        ("status", "status"),
        ("analysis", "analysis"),
        ("is", "is"),
    ],
)
def test_stem(word: str, expected: str) -> None:
    assert stem(word) == expected


def test_phrases_are_counted_up_to_plural_hyphen_and_case() -> None:
    text = stems(
        "Three-way matching beats two-way matching; three way matchings are best. Matching three ways is not it."
    )
    assert phrase_count("three-way matching", text) == 2
    assert phrase_count("", text) == 0


def test_sentences_end_where_they_end() -> None:
    text = "It costs $1.50 vs. $2.00. Ask J. Miller of Payloom, Inc. “Really? Yes.” he said. Done!"
    assert sentences(text) == [
        "It costs $1.50 vs. $2.00.",
        "Ask J. Miller of Payloom, Inc. “Really? Yes.” he said.",
        "Done!",
    ]


@given(st.text(max_size=80))
def test_sentences_lose_no_letter(text: str) -> None:
    spans = sentence_spans(text)
    assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())
    assert all(start < end for start, end in spans)


@given(st.text(max_size=80))
def test_clean_text_is_storable_and_stays_as_it_is(text: str) -> None:
    clean = clean_text(text)
    clean.encode()
    assert "\x00" not in clean
    assert clean_text(clean) == clean


def test_lone_surrogates_and_control_characters_go() -> None:
    assert clean_text("a\ud800b\x00c\u200bd\n e") == "abcd e"


def test_shingles_of_equal_texts_are_alike_whatever_their_case() -> None:
    text = "one two three four five six seven"
    assert jaccard(shingles(text), shingles(text.upper())) == 1.0
    assert jaccard(shingles(text), shingles("one two three")) == 0.0
    assert jaccard(shingles(""), shingles("")) == 0.0


@pytest.mark.parametrize("text", ["A GAME-CHANGER", "a real game changer", "game\u00a0changer?"])
def test_banned_phrase_is_found_however_it_is_spelled(text: str) -> None:
    assert refused_phrases(text, HARBORLINE) == ["game changer"]


@pytest.mark.parametrize("text", ["We tested it for a week.", "As an AI, I can't say.", "All facts verified!"])
def test_unfounded_claims_are_refused_in_any_brief(text: str) -> None:
    assert len(refused_phrases(text)) == 1


@pytest.mark.parametrize("text", ["the game changers' association", "end game. Changer of light", "as an aid"])
def test_other_words_are_no_banned_phrase(text: str) -> None:
    assert refused_phrases(text, HARBORLINE) == []


def test_phrase_pattern_takes_either_apostrophe() -> None:
    assert phrase_pattern("don't wait").search("Don’t  wait!")
