"""Pages that a search model cites: which they are, and which of their passages a block comes to stand on."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.article import Block, BlockKind, SectionContent, judge_section
from domain.brief import brief_from_mapping
from domain.citations import (
    CITED_PER_ANSWER_MAX,
    FIRST_CITED_PASSAGE,
    PASSAGES_PER_CITED_PAGE_MAX,
    CitedPage,
    carrying_passages,
    cited_passages,
    cited_urls,
    is_search_model,
)
from domain.pages import Passage
from domain.verdict import AskAgain, Completed

BRIEF = brief_from_mapping(
    {
        "organization": {
            "name": "Harborline",
            "url": "https://harborline.example",
            "description": "Harborline sells accounts payable automation to mid-size distributors whose finance teams "
            "receive many supplier invoices and want to approve, match and pay them on time.",
        }
    }
)
SHOWN = (
    Passage(number=1, url="https://harborline.example/", text="Harborline reads supplier invoices and matches them."),
)
PAGE = CitedPage(
    position=1,
    cited_url="https://survey.example/2024",
    url="https://survey.example/2024",
    title="Survey",
    passages=(
        "The survey was held in spring among buyers of eleven countries.",
        "Late payments cost small suppliers 4.2% of their revenue, the survey says.",
    ),
)


def body(**facts: Any) -> str:
    return json.dumps({"choices": [{"message": {"content": "", **facts.pop("message", {})}}], **facts})


def annotation(url: str) -> dict[str, Any]:
    return {"type": "url_citation", "url_citation": {"url": url, "start_index": 0}}


@pytest.mark.parametrize(
    ("answer", "urls"),
    [
        (body(message={"annotations": [annotation("https://a.example/x")]}), ("https://a.example/x",)),
        (body(message={"annotations": [{"type": "url_citation", "url": "https://a.example"}]}), ("https://a.example",)),
        (
            body(citations=["https://a.example/1", "https://b.example/2"]),
            ("https://a.example/1", "https://b.example/2"),
        ),
        (body(search_results=[{"url": "https://a.example/1", "title": "A"}]), ("https://a.example/1",)),
        (
            body(citations=["https://a.example/1"], search_results=[{"url": "http://www.a.example/1/#top"}]),
            ("https://a.example/1",),
        ),
        (
            body(citations=["ftp://a.example", "javascript:alert(1)", "nonsense", 7, None, {"url": 3}, "https://[::1"]),
            (),
        ),
        (body(citations="https://a.example", message={"annotations": {"url": "x"}}), ()),
        ("[]", ()),
        ("no json", ()),
        ('{"choices": [null, 3, {"message": "text"}], "citations": {}}', ()),
        ("[" * 100_000, ()),
    ],
)
def test_cited_addresses_are_read_in_every_dialect(answer: str, urls: tuple[str, ...]) -> None:
    assert cited_urls(answer) == urls


@pytest.mark.parametrize("url", ["https://a.example/\x00x", "https://a.example/\x01", "https://a.example/\ud800"])
def test_an_address_that_can_not_be_stored_is_none(url: str) -> None:
    assert cited_urls(body(citations=[url, "https://a.example/b"])) == ("https://a.example/b",)


def test_an_answer_cites_no_more_than_is_read() -> None:
    assert len(cited_urls(body(citations=[f"https://a.example/{n}" for n in range(99)]))) == CITED_PER_ANSWER_MAX


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["choices", "citations", "message", "annotations", "url"]), inner)
        ),
    )
)
def test_whatever_the_provider_sends_is_survived(answer: Any) -> None:
    assert all(url.startswith("http") for url in cited_urls(json.dumps(answer)))


def test_numbers_of_a_pages_passages_are_its_own_whatever_is_cited_later() -> None:
    other = PAGE.model_copy(update={"position": 2})
    failed = PAGE.model_copy(update={"position": 0, "passages": (), "failure": "404"})
    first = [passage.number for passage in cited_passages([failed, PAGE])]
    assert first == [
        FIRST_CITED_PASSAGE + PASSAGES_PER_CITED_PAGE_MAX,
        FIRST_CITED_PASSAGE + PASSAGES_PER_CITED_PAGE_MAX + 1,
    ]
    numbers = [passage.number for passage in cited_passages([failed, PAGE, other])]
    assert numbers[:2] == first
    assert len(set(numbers)) == 4


CITED = cited_passages([PAGE])
CLAIM = "Late payments cost small suppliers 4.2% of their revenue."


def test_a_block_comes_to_stand_on_the_passage_that_carries_it() -> None:
    assert carrying_passages([CLAIM], [SHOWN[0].text], CITED) == (CITED[1].number,)


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("Late payments cost small suppliers 5.2% of their revenue.", []),
        ("Ships of the port carry grain and coal to the islands.", []),
        (CLAIM, [CITED[1].text]),
        ("Harborline reads supplier invoices and matches them.", [SHOWN[0].text]),
    ],
)
def test_what_is_not_carried_or_has_its_source_gets_none(text: str, sources: list[str]) -> None:
    assert carrying_passages([text], sources, CITED) == ()


def section(text: str) -> str:
    blocks = [{"kind": "paragraph", "text": text, "items": [], "passages": [1]}]
    return body(message={"content": json.dumps({"blocks": blocks})})


def test_a_section_with_a_figure_of_a_cited_page_is_accepted_with_its_reference() -> None:
    answer = section(f"Harborline reads supplier invoices and matches them. {CLAIM}")
    assert isinstance(judge_section(answer, 1, SHOWN, BRIEF, repairs_left=2), AskAgain)
    end = judge_section(answer, 1, SHOWN, BRIEF, repairs_left=2, cited=CITED)
    assert isinstance(end, Completed)
    assert end.output == SectionContent(
        blocks=(
            Block(
                kind=BlockKind.PARAGRAPH,
                text=f"Harborline reads supplier invoices and matches them. {CLAIM}",
                passages=(1, CITED[1].number),
            ),
        )
    )


def test_an_invented_source_is_asked_about_and_goes_in_the_end() -> None:
    answer = section("Harborline reads supplier invoices and matches them. According to Gartner, buyers like it.")
    end = judge_section(answer, 1, SHOWN, BRIEF, repairs_left=1)
    assert isinstance(end, AskAgain)
    assert "Gartner" in end.message
    last = judge_section(answer, 1, SHOWN, BRIEF, repairs_left=0)
    assert isinstance(last, Completed)
    assert last.output.blocks[0].text == "Harborline reads supplier invoices and matches them."


@pytest.mark.parametrize(
    ("model", "searches"),
    [
        ("perplexity/sonar", True),
        ("openai/gpt-4o-search-preview", True),
        ("x/y:online", True),
        ("openai/gpt-4o-mini", False),
    ],
)
def test_search_models_are_known_by_their_names(model: str, searches: bool) -> None:
    assert is_search_model(model) is searches
