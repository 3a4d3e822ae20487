"""Passages, encodings and clean text, without a server."""

from encodings.aliases import aliases

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.page_text import (
    PASSAGE_CHARACTERS_MAX,
    PASSAGE_WORDS_MAX,
    SENTENCE_WORDS_MAX,
    UnreadableMarkupError,
    clean_text,
    decode_html,
    page_text,
    passages_of,
)

SENTENCES = [f"This is sentence number {number} and it has twelve words in all." for number in range(20)]


def test_passages_hold_whole_sentences_in_order() -> None:
    passages = passages_of(" ".join(SENTENCES))

    assert " ".join(passages) == " ".join(SENTENCES)
    assert all(len(passage.split()) <= PASSAGE_WORDS_MAX and passage.endswith(".") for passage in passages)
    assert len(passages) == 4


@pytest.mark.parametrize(
    "text",
    [
        "We serve Acme Inc. and Dr. Miller of the U.S. Senate in about 3.5 hours every day.",
        'He asked "Is it so?" and went on reading the long list of invoices.',
        "It costs $4.50 per invoice, e.g. Five invoices cost $22.50 in all, i.e. Not much.",
    ],
)
def test_an_abbreviation_or_a_decimal_ends_no_sentence(text: str) -> None:
    long_tail = " ".join(["word"] * (PASSAGE_WORDS_MAX - 1)) + "."

    assert passages_of(f"{text} {long_tail.capitalize()}")[0] == text


def test_headings_are_no_passages_and_separate_them() -> None:
    content = "Pricing\nIt costs 49 dollars a month.\nPlans\nThere are three plans to choose from."

    assert passages_of(content, skipping=frozenset({"Pricing", "Plans"})) == (
        "It costs 49 dollars a month.",
        "There are three plans to choose from.",
    )


def test_items_of_a_list_are_told_apart() -> None:
    assert passages_of("Invoice capture\nApproval routing\nAudit trail") == (
        "Invoice capture; Approval routing; Audit trail",
    )


@given(st.lists(st.text(alphabet="ab ,.!?\n。", max_size=400), max_size=20))
def test_passages_keep_their_bounds_and_lose_no_word(lines: list[str]) -> None:
    content = "\n".join(lines)
    passages = passages_of(content)

    assert all(len(passage.split()) <= SENTENCE_WORDS_MAX for passage in passages)
    assert all(len(passage) <= PASSAGE_CHARACTERS_MAX for passage in passages)
    kept, there = "".join("".join(passages).split()), "".join(content.split())
    assert len(kept.replace(";", "")) <= len(there)


@given(st.text(max_size=3_000))
def test_a_long_text_is_kept_whole(text: str) -> None:
    content = clean_text(f"This text begins with quite a few words so that it counts as a passage {text}")
    joined = "".join("".join(passages_of(content)).split()).replace(";", "")

    assert "".join(content.split()).replace(";", "").startswith(joined[:50])


@given(st.text())
def test_clean_text_has_one_line_of_visible_characters_and_is_stable(text: str) -> None:
    cleaned = clean_text(text)

    assert clean_text(cleaned) == cleaned
    assert cleaned == " ".join(cleaned.split())
    assert not any(
        0xE0000 <= ord(character) <= 0xE0FFF or character in "\u200b\u200d\ufeff\u202e" for character in cleaned
    )


@given(st.binary(max_size=2_000), st.none() | st.sampled_from(sorted(set(aliases))))
def test_any_bytes_are_decoded(body: bytes, declared: str | None) -> None:
    assert isinstance(decode_html(body, declared), str)


@settings(deadline=None)
@given(st.text(alphabet='<>/abdiv ph1"=stylea:;!-[]\n', max_size=400))
def test_any_markup_is_read(html: str) -> None:
    page_text(html, "https://acme.example/")


@pytest.mark.parametrize("depth", [900, 5_000, 300_000])
def test_deep_nesting_is_read_or_refused_but_ends(depth: int) -> None:
    html = "<div>" * depth + "deep down there are words"
    if depth < 1_000:
        assert len(page_text(html, "https://acme.example/").passages) <= 1
        return
    with pytest.raises(UnreadableMarkupError, match="nested more than 1000 deep"):
        page_text(html, "https://acme.example/")


def test_title_headings_links_and_canonical() -> None:
    html = """<html><head><title> A &amp;  B </title><link rel=canonical href="/b"></head><body>
    <h1>First <em>one</em></h1><h2>Second</h2><h2>Second</h2><h4>Fourth</h4><a href="/x">x</a>
    <a>none</a></body></html>"""

    text = page_text(html, "https://acme.example/")

    assert (text.title, text.headings) == ("A & B", ("First one", "Second"))
    assert (text.canonical_url, text.links) == ("/b", ("/x",))
