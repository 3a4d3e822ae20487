import re
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.article import Block, BlockKind, SectionContent
from domain.assembly import (
    Document,
    DocumentSection,
    LinkTarget,
    assemble,
    compose_markdown,
    content_hash,
    escape_markdown,
    link_address,
    page_url,
    planned_slugs,
    related_markdown,
    relink,
    render_html,
    slug_of,
)
from domain.pages import Passage
from domain.quality.html_page import read_fragment
from domain.text import clean_text
from tests.unit.quality.samples import HARBORLINE, HUB, SAMPLES, paragraph, section

LINE = st.text(max_size=60).map(clean_text).filter(bool)


def document_of(*contents: SectionContent, passages: tuple[Passage, ...] = HUB.passages) -> Document:
    outline = HUB.outline.model_copy(update={"sections": HUB.outline.sections[: len(contents)]})
    return assemble(HARBORLINE, HUB.plan, outline, contents, passages, (), existing_slugs=())


# --- slugs ---


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Accounts Payable Automation", "accounts-payable-automation"),
        ("  What's a 3-way match?! ", "whats-a-3-way-match"),
        ("Größe & Façade — Łódź", "grosse-facade-lodz"),
        ("C++ / C#", "c-c"),
        ("index", "index-2"),
        ("../../etc/passwd", "etc-passwd"),
    ],
)
def test_slug(text: str, slug: str) -> None:
    assert slug_of(text) == slug


def test_long_slug_ends_with_a_whole_word() -> None:
    slug = slug_of("accounts payable automation for mid size distributors in the middle west of the country")
    assert slug == "accounts-payable-automation-for-mid-size-distributors-in-the"
    assert len(slug_of("x" * 200)) == 60


def test_slug_without_a_latin_letter_is_made_of_the_text() -> None:
    assert re.fullmatch(r"article-[0-9a-f]{8}", slug_of("請求書"))
    assert slug_of("請求書") != slug_of("発注書")


@given(st.text(max_size=100), st.sets(st.sampled_from(["a", "a-2", "b", "article"])))
@example("A", {"a", "a-2"})
def test_any_slug_is_safe_and_new(text: str, taken: set[str]) -> None:
    slug = slug_of(text, taken)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
    assert len(slug) <= 64
    assert slug not in taken
    assert slug not in {"index", "sitemap", "manifest"}


def test_planned_slugs_are_known_before_anything_is_written() -> None:
    plans = [one.plan for one in SAMPLES.values()]
    twins = [*plans, plans[0].model_copy(update={"article_id": UUID(int=7), "keyword": plans[0].keyword.upper()})]
    slugs = planned_slugs(twins, taken={"three-way-matching"})
    assert slugs[SAMPLES["three-way matching"].plan.article_id] == "three-way-matching-2"
    assert slugs[UUID(int=7)] == "accounts-payable-automation-2"
    assert len(set(slugs.values())) == len(twins)
    assert planned_slugs(twins, taken={"three-way-matching"}) == slugs


def test_addresses_lie_on_the_organizations_site() -> None:
    assert page_url("https://harborline.example/", "a") == "https://harborline.example/articles/a.html"
    assert page_url("harborline.example", "a") == "https://harborline.example/articles/a.html"


# --- Markdown and HTML ---


@given(LINE)
@example("# no heading")
@example("1. no list")
@example("- no bullet")
@example("+ no bullet")
@example("--- no rule")
@example("=== no title")
@example("> no quote")
@example("[no](link) ![no](image) <https://no.example>")
@example("*no* _no_ `no` ~~no~~ &amp; &#65; &copy; \\* <b>no</b>")
@example("12) no list")
@example("    no code")
@example("| no | table |")
@example("[no]: https://no.example")
@example("ends with a backslash \\")
@example("ends with two spaces  ")
def test_text_comes_through_markdown_as_it_is(text: str) -> None:
    page = read_fragment(render_html(f"# Title\n\n{escape_markdown(text)}\n"))
    assert [block.text for block in page.blocks] == [" ".join(text.split())]
    assert page.hrefs == []
    assert page.errors == []


@given(LINE, LINE)
def test_any_heading_and_item_come_through(heading: str, item: str) -> None:
    content = section(Block(kind=BlockKind.LIST, text="", items=(item, "second"), passages=()))
    markdown = compose_markdown(heading, [DocumentSection(number=1, heading="One", content=content)], ())
    page = read_fragment(render_html(markdown))
    assert [one.text for one in page.headings] == [" ".join(heading.split()), "One"]
    assert [(block.tag, block.text) for block in page.blocks] == [("li", " ".join(item.split())), ("li", "second")]
    assert page.errors == []


@pytest.mark.parametrize(
    "markdown",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        '[x](https://a.example "onmouseover=alert(1)")',
        "![x](https://a.example/pixel.png)",
        "<a href='vbscript:x'>x</a>",
        "text &lt;script&gt;alert(1)&lt;/script&gt;",
    ],
)
def test_nothing_active_comes_through(markdown: str) -> None:
    html = render_html(f"# Title\n\n{markdown}\n")
    page = read_fragment(html)
    assert page.errors == []
    assert page.images == []
    assert "<script" not in html
    assert all((href or "").startswith(("https://", "#")) for href in page.hrefs)
    assert not re.search(r"<[^>]*\son\w+=", html)


def test_heading_ids_are_unique_and_leave_the_references_theirs() -> None:
    contents = [section(paragraph("Text.", 1))] * 3
    numbered = [
        DocumentSection(number=number, heading=heading, content=content)
        for number, (heading, content) in enumerate(zip(["Ref 1", "Same", "Same!"], contents, strict=True), start=1)
    ]
    document = HUB.document()
    html = render_html(compose_markdown("Title", numbered, document.references[:2]))
    ids = read_fragment(html).ids
    assert len(ids) == len(set(ids))
    assert {"ref-1", "ref-2", "same", "same-2", "references"} <= set(ids)


# --- the document ---


def test_document_has_one_title_its_sections_and_its_references() -> None:
    document = HUB.document()
    page = read_fragment(document.html)
    assert [(one.level, one.text) for one in page.headings] == [
        (1, HUB.outline.title),
        *((2, one.heading) for one in HUB.outline.sections),
        (2, "References"),
    ]
    assert page.errors == []
    assert document.markdown.startswith(f"# {HUB.outline.title}\n\n## ")
    assert document.slug == "accounts-payable-automation"
    assert document.meta_title == f"{HUB.outline.title} | Harborline"
    assert document.word_count == 337


def test_references_are_the_cited_pages_in_the_order_of_citation() -> None:
    document = document_of(
        section(paragraph("One.", 7), paragraph("Two.", 1, 2)), section(paragraph("Three.", 8, 99), paragraph("Four."))
    )
    assert [(one.number, one.url, one.passages) for one in document.references] == [
        (1, "https://payloom.example/approvals", (7, 8)),
        (2, "https://harborline.example/", (1, 2)),
    ]
    assert document.references[0].title == "payloom.example/approvals"
    assert re.findall(r"(\w+)\. ((?:\[\\\[\d\\\]\]\(#ref-\d\) ?)*)\n", document.markdown) == [
        ("One", "[\\[1\\]](#ref-1)"),
        ("Two", "[\\[2\\]](#ref-2)"),
        ("Three", "[\\[1\\]](#ref-1)"),
    ]


def test_every_citation_leads_to_a_reference_and_every_reference_to_its_page() -> None:
    for sample in SAMPLES.values():
        document = sample.document()
        page = read_fragment(document.html)
        inner = {href for href in page.hrefs if href and href.startswith("#")}
        assert inner == {f"#ref-{one.number}" for one in document.references}
        assert {one.url for one in document.references} == {href for href in page.hrefs if href and "://" in href}
        assert {f"ref-{one.number}" for one in document.references} <= set(page.ids)


def test_address_of_a_source_can_not_break_out_of_its_link() -> None:
    url = 'https://a.example/x>y) "z"<script>?q=[1]&r=ü'
    passages = (Passage(number=1, url=url, text="Text."),)
    page = read_fragment(document_of(section(paragraph("Text.", 1)), passages=passages).html)
    assert page.errors == []
    assert [href for href in page.hrefs if href and "://" in href] == [
        "https://a.example/x%3Ey)%20%22z%22%3Cscript%3E?q=%5B1%5D&r=%C3%BC"
    ]


@given(st.text(max_size=30))
def test_any_address_of_a_source_stands_in_the_html_as_the_gates_expect_it(path: str) -> None:
    url = f"https://a.example/{clean_text(path)}"
    passages = (Passage(number=1, url=url, text="Text."),)
    page = read_fragment(document_of(section(paragraph("Text.", 1)), passages=passages).html)
    assert page.errors == []
    assert page.hrefs == ["#ref-1", link_address(url)]


def test_source_that_is_no_web_address_is_named_without_a_link() -> None:
    passages = (Passage(number=1, url="javascript:alert(1)", text="Text."),)
    page = read_fragment(document_of(section(paragraph("Text.", 1)), passages=passages).html)
    assert page.hrefs == ["#ref-1"]


def test_document_without_citations_has_no_references() -> None:
    document = document_of(section(paragraph("Text.")))
    assert document.references == ()
    assert "References" not in document.markdown


def test_sections_must_be_as_many_as_the_outlines() -> None:
    with pytest.raises(ValueError, match="zip"):
        assemble(HARBORLINE, HUB.plan, HUB.outline, HUB.contents[:2], HUB.passages, (), existing_slugs=())


def test_assembling_again_gives_the_same() -> None:
    assert HUB.document() == HUB.document()


# --- links ---


def test_hub_and_spokes_link_to_each_other_and_others_fill_up() -> None:
    plans = {name: sample.plan for name, sample in SAMPLES.items()}
    spoke = plans["three-way matching"]
    others = [
        LinkTarget(article_id=UUID(int=number), keyword=f"topic {number}", title="", slug=f"topic-{number}")
        for number in range(20)
    ]
    kin = [
        LinkTarget(article_id=plan.article_id, keyword=name, title=name.title(), slug=slug_of(name))
        for name, plan in plans.items()
        if not name.startswith("sourdough")
    ]
    sample = SAMPLES["three-way matching"]
    document = assemble(
        HARBORLINE, spoke, sample.outline, sample.contents, sample.passages, [*others, *kin], existing_slugs=()
    )
    assert document.links[0].text == "Accounts Payable Automation"
    assert len(document.links) == 8
    assert document.article_id not in {link.article_id for link in document.links}
    assert {link.slug for link in document.links} <= set(document.site_slugs)
    hub = assemble(HARBORLINE, HUB.plan, HUB.outline, HUB.contents, HUB.passages, [*others, *kin], existing_slugs=())
    assert [link.slug for link in hub.links[:2]] == ["three-way-matching", "invoice-approval-workflow"]
    assert hub.links[2].text == "Topic 0"


def test_link_to_an_article_that_is_not_published_goes_and_the_hash_stays() -> None:
    document = HUB.document()
    published = relink(document, ["three-way-matching"], titles={"three-way-matching": "Matching"})
    assert [(link.href, link.text) for link in published.links] == [("three-way-matching.html", "Matching")]
    assert published.site_slugs == ("three-way-matching",)
    assert content_hash(published) == content_hash(document)
    assert related_markdown(published) == "## Related articles\n\n- [Matching](three-way-matching.html)\n"
    assert related_markdown(relink(document, [])) == ""


def test_hash_is_that_of_the_content_and_survives_storage() -> None:
    document = HUB.document()
    assert content_hash(Document.model_validate_json(document.model_dump_json())) == content_hash(document)
    changes: list[dict[str, object]] = [
        {"title": "Other"},
        {"slug": "other"},
        {"meta_title": "Other"},
        {"meta_description": "Other"},
        {"markdown": document.markdown + " "},
        {"html": document.html + " "},
        {"json_ld": {**document.json_ld, "x": 1}},
        {"locale": "en-GB"},
    ]
    hashes = {content_hash(document.model_copy(update=change)) for change in changes}
    assert len(hashes | {content_hash(document)}) == len(changes) + 1


# --- metadata ---


def test_json_ld_says_what_the_document_says() -> None:
    posting, trail = HUB.document().json_ld["@graph"]
    assert posting["headline"] == HUB.outline.title
    assert posting["url"] == "https://harborline.example/articles/accounts-payable-automation.html"
    assert posting["citation"] == [one.url for one in HUB.document().references]
    assert [item["name"] for item in trail["itemListElement"]] == ["Harborline", "Articles", HUB.outline.title]
    assert "datePublished" not in posting


def test_long_title_goes_without_the_name() -> None:
    outline = HUB.outline.model_copy(update={"title": "Accounts Payable Automation for Every Distributor in Town"})
    document = HUB.document(outline=outline)
    assert document.meta_title == outline.title
