"""Quotations and named sources: word for word up to typography, and from somebody who is a source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.grounding import ClaimKind, ungrounded, unknown_addresses

FAITHFUL = [
    ("He said “it just works”.", "Well, “it just works,” he told us."),
    ("He said «it just works».", "it just works"),
    ("„Es geht einfach“, sagte er.", "Er sagte: Es geht einfach."),
    ('It "closes the month in a day".', "the tool closes\u00a0the month\nin a day"),
    ("“We don’t wait”", "We don't wait any longer."),
    ("“fast — and cheap”", "It is fast—and cheap."),
    ("“fast -- and cheap”", "It is fast – and cheap."),
    ("“well-known pro\u00adblem”", "a well‑known problem"),
    ("“the ﬁrst ofﬁce”", "the first office"),
    ("“We ... never wait”", "We at Payloom never wait."),
    ("“We … never wait”", "We, of all people, never wait."),
    ("“We [the team] never wait”", "We of the purchasing team never wait."),
    ("“[T]he month closes in a day”", "The month closes in a day."),
    ("“THE MONTH CLOSES IN A DAY”", "The month closes in a day."),
    ("‘it closes the month in a day’", "It closes the month in a day."),
    ("It's the suppliers' choice, isn't it? Don't wait for 'em.", ""),
    ("A 24\" screen and a 5' desk", 'a 24" screen, a 5 foot desk, 5 feet'),
    ("“Title : Passages, and more,”", "called Title: Passages, and more"),
    ("“”", ""),
    ("He asked: “Why?” “Because it works.”", "“Why?” — “Because it works.”"),
]
INVENTED = [
    ("He said “it always works”.", "He said “it just works”."),
    ("“We never wait”", "We never have to wait"),
    ("“works”", "it workshops"),
    ('"closes the month in an hour"', "closes the month in a day"),
    ("«never», he said", "always"),
    ("“never closed", "always open"),
    ("“We … never pay”", "We, of all people, never wait."),
    ("“never … We wait”", "We wait. They never do."),
    ("‘it closes the month in an hour’", "It closes the month in a day."),
    ("“[something else] entirely made up”", "Something real."),
]


@pytest.mark.parametrize(("text", "source"), FAITHFUL)
def test_quotation_of_the_source_passes(text: str, source: str) -> None:
    assert ungrounded(text, ["Another page.", source]) == []


@pytest.mark.parametrize(("text", "source"), INVENTED)
def test_quotation_that_nobody_said_is_caught(text: str, source: str) -> None:
    (claim,) = ungrounded(text, [source])
    assert claim.kind is ClaimKind.QUOTATION
    assert text[claim.start : claim.end] == claim.text
    assert "word for word" in claim.fix


def test_finding_says_what_the_source_says() -> None:
    (claim,) = ungrounded("“The month closes in an hour”", ["Much is said. The month closes in a day. More is said."])
    assert claim.evidence == "The month closes in a day."
    assert "The month closes in a day." in claim.fix


WORDS = ["invoice", "supplier", "waits", "pays", "month", "12", "don't", "Payloom", "never"]
QUOTED = st.lists(st.sampled_from(WORDS), min_size=3)


@given(QUOTED, st.data())
def test_one_changed_word_is_caught_and_the_quotation_itself_passes(words: list[str], data: st.DataObject) -> None:
    sentence = " ".join(words)
    source = f"They said: {sentence}! And 12 of them left."
    assert ungrounded(f"They said “{sentence}”.", [source]) == []
    place = data.draw(st.integers(0, len(words) - 1))
    changed = " ".join([*words[:place], "gladly", *words[place + 1 :]])
    assert [claim.kind for claim in ungrounded(f"They said “{changed}”.", [source])] == [ClaimKind.QUOTATION]


KNOWN = [
    ("According to Gartner, invoices are late.", "A survey of Gartner says so."),
    ("According to the International Monetary Fund, prices rose.", "The IMF expects more."),
    ("According to Payloom, suppliers wait.", "We see suppliers wait."),
    ("According to Ledger Pilot, matching is quick.", "Matching is quick."),
    ("A study by MIT found it.", "Researchers of MIT found it."),
    ("According to the guide, prices rose.", ""),
    ("According to most buyers, it works. According to 2024 prices it is dear.", "2024"),
    ("In January data from ERP systems flows in.", ""),
    ("The report shows what is due.", ""),
    ("As This shows, it works.", ""),
]
UNKNOWN = [
    ("According to Gartner, invoices are late.", "Gartner"),
    ("A study by McKinsey & Company found it.", "McKinsey & Company"),
    ("A 2023 Forrester report found that it works.", "Forrester"),
    ("Deloitte's annual survey shows that it works.", "Deloitte"),
    ("Researchers at Stanford University say so.", "Stanford University"),
    ("As Reuters reported, prices rose.", "Reuters"),
    ("according to the Bureau of Labor Statistics, it grew.", "Bureau of Labor Statistics"),
]


@pytest.mark.parametrize(("text", "source"), KNOWN)
def test_source_that_was_read_may_be_named(text: str, source: str) -> None:
    names = ["payloom.example", "payloom", "ledgerpilot.example", "ledgerpilot", "Harborline"]
    assert ungrounded(text, [source], source_names=names) == []


@pytest.mark.parametrize(("text", "name"), UNKNOWN)
def test_source_outside_of_the_pool_is_caught(text: str, name: str) -> None:
    found = ungrounded(text, ["Invoices are late in 2023, it says."], source_names=["payloom", "Harborline"])
    assert [(claim.kind, claim.text) for claim in found] == [(ClaimKind.REFERENCE, name)]
    assert name in found[0].fix


def test_named_sources_are_looked_at_only_where_the_pool_is_known() -> None:
    assert ungrounded("According to Gartner, invoices are late.", ["Invoices are late."]) == []


def test_address_outside_of_the_pool_is_caught() -> None:
    pool = ["https://payloom.example/guide/"]
    text = "See https://www.payloom.example/guide and http://payloom.example/guide#top, not https://spam.example/x."
    (claim,) = unknown_addresses(text, pool)
    assert (claim.text, text[claim.start : claim.end]) == ("https://spam.example/x", "https://spam.example/x")
