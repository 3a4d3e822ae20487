"""Keyphrases: words a content team would keep, from pages as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.keyphrases import (
    Intent,
    Keyphrase,
    content_words,
    extract_keyphrases,
    folded,
    intent_of,
    normalized_keyword,
)
from domain.pages import Page, SiteRead


def a_site(domain: str, *pages: tuple[str, tuple[str, ...], tuple[str, ...]]) -> SiteRead:
    """A site of (title, headings, passages) pages."""
    return SiteRead(
        site=f"https://{domain}",
        pages=tuple(
            Page(
                url=f"https://{domain}/{number}",
                title=title,
                headings=headings,
                passages=passages,
                content_text="\n".join(passages),
            )
            for number, (title, headings, passages) in enumerate(pages)
        ),
    )


LEDGERPILOT = a_site(
    "ledgerpilot.example",
    (
        "LedgerPilot | Accounts payable automation for mid-size companies",
        ("Accounts payable automation that closes the month", "Route approvals automatically", "Book a demo"),
        (
            "LedgerPilot is accounts payable automation software. It reads supplier invoices and matches them.",
            "Invoice data capture works for paper, PDF and e-invoices.",
            "Our customers cut invoice processing time by half.",
        ),
    ),
    (
        "Invoice approval workflow software | LedgerPilot",
        ("Invoice approval workflow software", "How to automate invoice approval", "Contact us"),
        (
            "An invoice approval workflow decides who signs off which invoice.",
            "The invoice approval process often takes weeks. Invoices wait in 3 inboxes.",
            "Every step is kept in an audit trail.",
        ),
    ),
    (
        "Pricing | LedgerPilot",
        ("Pricing", "Frequently asked questions"),
        ("Pricing starts at $390 a month for 500 invoices.",),
    ),
)
APPROVIO = a_site(
    "approvio.example",
    (
        "Approvio: invoice approvals and three-way matching",
        ("Invoice approvals in hours", "Three-way matching", "Invoice data capture"),
        (
            "Approvio routes invoices for approval. Three-way matching compares purchase orders with receipts.",
            "Accounts payable automation pays off when volumes grow, says Maria Lopez.",
        ),
    ),
    (
        "Guide: the invoice approval process | Approvio",
        ("The invoice approval process, step by step", "What is three-way matching?"),
        ("Three way matching means that the purchase order, goods receipt and invoice agree.",),
    ),
)


def texts(*reads: SiteRead) -> list[str]:
    return [phrase.text for phrase in extract_keyphrases(reads)]


def by_text(*reads: SiteRead) -> dict[str, Keyphrase]:
    return {phrase.text: phrase for phrase in extract_keyphrases(reads)}


def test_the_topics_of_the_pages_are_found() -> None:
    found = texts(LEDGERPILOT, APPROVIO)
    assert {
        "accounts payable automation",
        "invoice approval process",
        "invoice approval workflow software",
        "invoice data capture",
        "three-way matching",
        "how to automate invoice approval",
        "what is three-way matching",
    } <= set(found)


def test_what_two_competitors_carry_ranks_above_what_one_does() -> None:
    found = texts(LEDGERPILOT, APPROVIO)
    assert found.index("accounts payable automation") < found.index("invoice approval workflow software")
    assert found.index("invoice approval process") < found.index("invoice approval workflow software")


@pytest.mark.parametrize(
    "rubbish",
    [
        "book a demo", "contact us", "frequently asked questions", "route approvals", "approvals automatically",
        "payable automation", "mid-size companies", "data capture", "pricing starts", "maria lopez", "invoices wait",
        "approvio routes", "month for 500", "approval process", "payable automation for mid-size",
    ],
)  # fmt: skip
def test_furniture_slogans_fragments_and_names_fall_out(rubbish: str) -> None:
    assert rubbish not in texts(LEDGERPILOT, APPROVIO)


def test_no_phrase_holds_a_site_name_a_bare_number_or_a_weak_edge() -> None:
    for text in texts(LEDGERPILOT, APPROVIO):
        words = text.split()
        assert not {"ledgerpilot", "approvio"} & set(words)
        assert not any(word.isdigit() for word in words)
        assert words[-1] not in {"the", "of", "for", "to", "a", "and"}
        assert 2 <= len(folded(text).split()) <= 5


def test_spellings_are_one_phrase_shown_in_the_commonest() -> None:
    found = by_text(LEDGERPILOT, APPROVIO)
    assert {source.url for source in found["three-way matching"].sources} == {
        "https://approvio.example/0",
        "https://approvio.example/1",
    }
    assert "three way matching" not in found
    singular = [text for text in found if folded(text) == "invoice approval"]
    assert len(singular) == 1


def test_a_brand_in_two_words_or_given_is_no_keyword() -> None:
    site = a_site(
        "northbean.example",
        ("North Bean office coffee service", ("North Bean office coffee", "Acme Roast coffee beans"), ("x",)),
    )
    found = " ".join(phrase.text for phrase in extract_keyphrases([site], brands=["Acme Roast"]))
    assert "office coffee" in found
    assert "north" not in found
    assert "acme" not in found


def test_a_domain_that_is_a_plain_word_does_not_swallow_the_topic() -> None:
    text = "Good coffee needs good coffee beans. Green coffee beans keep for a year."
    site = a_site("coffee.example", ("Coffee beans", ("Green coffee beans", "Coffee beans for offices"), (text,)))
    assert "green coffee beans" in texts(site)


def test_lines_that_stand_on_every_page_are_furniture() -> None:
    footer = "Trusted invoice robots for happy controllers everywhere"
    names = ("Red", "Blue", "Pink")
    pages = [(f"Topic {name}", (f"{name} invoice software", footer), (f"{name} text.",)) for name in names]
    assert not any("robots" in text for text in texts(a_site("acme.example", *pages)))


def test_own_pages_are_not_read() -> None:
    page = LEDGERPILOT.pages[0].model_copy(update={"is_own_site": True})
    assert extract_keyphrases([LEDGERPILOT.model_copy(update={"pages": (page,)})]) == ()


def test_german_keeps_its_letters_and_its_compounds() -> None:
    site = a_site(
        "radwerk.example",
        (
            "Radwerk – Dienstrad-Leasing für kleine Unternehmen",
            ("Dienstrad-Leasing", "Fahrräder über die Gehaltsumwandlung", "Betriebliche Mobilität"),
            (
                "Die Gehaltsumwandlung senkt die Steuerlast der Mitarbeiter.",
                "Betriebliche Mobilität umfasst Jobticket und Dienstrad. Mitarbeiter wählen das Rad beim Händler.",
            ),
        ),
    )
    found = texts(site)
    assert {"dienstrad-leasing", "betriebliche mobilität", "gehaltsumwandlung"} <= set(found)
    assert not any(word in text.split() for text in found for word in ("die", "für", "und", "der"))


@pytest.mark.parametrize("title", ["", "请款自动化软件", "Ωμέγα λογισμικό τιμολογίων", "🚀 🚀", "%%%", "1 2 3 4"])
def test_odd_pages_do_no_harm(title: str) -> None:
    found = extract_keyphrases([a_site("odd.example", (title, (title,), (title, "")))])
    assert all(phrase.score > 0 and phrase.sources for phrase in found)


def test_no_pages_no_phrases() -> None:
    assert extract_keyphrases([]) == ()
    assert extract_keyphrases([SiteRead(site="https://down.example", failure="timeout")]) == ()


def test_the_number_of_phrases_is_bounded() -> None:
    assert len(extract_keyphrases([LEDGERPILOT, APPROVIO], phrases_max=3)) == 3


def test_the_order_of_the_sites_plays_no_part() -> None:
    assert extract_keyphrases([LEDGERPILOT, APPROVIO]) == extract_keyphrases([APPROVIO, LEDGERPILOT])


@given(st.lists(st.text(max_size=80), max_size=4), st.text(max_size=60))
def test_any_text_gives_phrases_with_sources(passages: list[str], title: str) -> None:
    for phrase in extract_keyphrases([a_site("any.example", (title, tuple(passages), tuple(passages)))]):
        assert phrase.score > 0
        assert phrase.sources[0].url == "https://any.example/0"
        assert phrase.text == phrase.text.strip()
        assert len(phrase.text.splitlines()) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Invoice Approvals", "invoice approval"),
        ("three-way matching", "three way matching"),
        ("e-invoices", "E invoice"),
        ("companies", "company"),
        ("supplier’s portal", "supplier portal"),
        ("CAFÉS", "café"),
        ("cafe\u0301s", "café"),
    ],
)
def test_spellings_fold_together(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@pytest.mark.parametrize(("one", "other"), [("b2b seo agency", "b2c seo agency"), ("process", "proces"), ("ap", "aps")])
def test_meanings_do_not_fold_together(one: str, other: str) -> None:
    assert folded(one) != folded(other)


def test_word_order_and_connecting_words_change_no_meaning() -> None:
    assert content_words("approval of invoices") == content_words("invoice approval")
    assert content_words("invoice approval") != content_words("invoice approval software")


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("how to automate invoice approval", Intent.INFORMATIONAL),
        ("invoice approval guide", Intent.INFORMATIONAL),
        ("invoice approval software", Intent.COMMERCIAL),
        ("invoice approval workflow", Intent.COMMERCIAL),
        ("invoice software pricing", Intent.TRANSACTIONAL),
        ("cost centers", Intent.COMMERCIAL),
        ("supplier portal", Intent.COMMERCIAL),
        ("payloom login", Intent.NAVIGATIONAL),
    ],
)
def test_words_tell_the_intent(text: str, intent: Intent) -> None:
    assert intent_of(text) is intent


def test_a_keyword_is_stored_in_one_form() -> None:
    assert normalized_keyword("  „Invoice   Approval“. ") == "invoice approval"
