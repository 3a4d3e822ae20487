"""Defect injection: every class of defect is caught on every clean article, and the clean articles raise no alarm."""

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from domain.article import Block, SectionContent
from domain.assembly import Document, RelatedLink, render_html
from domain.brief import ExistingPage
from domain.quality import check, repairable_sections
from domain.settings import ArticleSettings
from domain.verdict import Level, Reason, Verdict, verdict_of
from tests.unit.quality.samples import SAMPLES, Sample, paragraph, section

NAMES = sorted(SAMPLES)
SETTINGS = ArticleSettings()


def judge(sample: Sample, document: Document, siblings: list[Document] | None = None) -> Verdict:
    others = [one.document() for name, one in SAMPLES.items() if name != sample.plan.keyword]
    return check(
        document,
        brief=sample.brief,
        plan=sample.plan,
        terms=sample.terms,
        passages=sample.passages,
        sibling_documents=others if siblings is None else siblings,
        settings=SETTINGS,
    )


def in_turn(defects: Mapping[str, object]) -> list[tuple[str, str]]:
    """Each defect with one of the articles."""
    return [(NAMES[number % len(NAMES)], defect) for number, defect in enumerate(sorted(defects))]


def blocking(verdict: Verdict) -> list[Reason]:
    return [reason for reason in verdict.reasons if reason.level is Level.BLOCK]


def codes(verdict: Verdict) -> set[str]:
    return {reason.code for reason in blocking(verdict)}


def with_block(sample: Sample, section: int, index: int, block: Block) -> tuple[SectionContent, ...]:
    """The sample's sections with one block put in the place of another (1-based section, 0-based block)."""
    contents = list(sample.contents)
    blocks = list(contents[section - 1].blocks)
    blocks[index] = block
    contents[section - 1] = SectionContent(blocks=tuple(blocks))
    return tuple(contents)


def with_sentence(sample: Sample, section: int, sentence: str) -> Document:
    block = sample.contents[section - 1].blocks[0]
    return sample.document(
        with_block(sample, section, 0, block.model_copy(update={"text": f"{block.text} {sentence}"}))
    )


@pytest.mark.parametrize("name", NAMES)
def test_clean_article_raises_no_alarm(name: str) -> None:
    verdict = judge(SAMPLES[name], SAMPLES[name].document())
    assert blocking(verdict) == []
    assert repairable_sections(verdict) == {}


@pytest.mark.parametrize("name", NAMES)
def test_verdict_is_the_same_after_a_round_trip_through_json(name: str) -> None:
    document = SAMPLES[name].document()
    stored = Document.model_validate_json(document.model_dump_json())
    assert judge(SAMPLES[name], stored) == judge(SAMPLES[name], document)


def html(change: Callable[[str], str]) -> Callable[[Document], Document]:
    def apply(document: Document) -> Document:
        changed = document.model_copy(update={"html": change(document.html)})
        assert changed.html != document.html
        return changed

    return apply


HTML_DEFECTS: dict[str, tuple[Callable[[Document], Document], str]] = {
    "a second title": (html(lambda text: text + "<h1>Another title</h1>"), "h1_count"),
    "no title": (html(lambda text: re.sub(r"</?h1>", "", text)), "h1_count"),
    "a skipped level": (
        html(lambda text: text.replace("<h2 ", "<h3 ", 1).replace("</h2>", "</h3>", 1)),
        "heading_skipped",
    ),
    "a heading of level four": (html(lambda text: text + "<h4>Deep down</h4>"), "heading_skipped"),
    "an empty heading": (html(lambda text: text + '<h2 id="nothing"></h2>'), "heading_empty"),
    "an unclosed element": (html(lambda text: text + "<p><em>open</p>"), "html_error"),
    "a stray end tag": (html(lambda text: text + "</section>"), "html_error"),
    "a bad entity": (html(lambda text: text + "<p>&nosuch;</p>"), "html_error"),
    "an unquoted mess": (html(lambda text: text + '<p class="a"b>x</p>'), "html_error"),
    "the same id twice": (html(lambda text: text + '<h3 id="references">Again</h3>'), "id_duplicate"),
    "an image without alt": (html(lambda text: text + '<p><img src="a.png"></p>'), "image_alt_missing"),
    "a dead internal link": (html(lambda text: text + '<p><a href="nowhere.html">x</a></p>'), "link_unresolved"),
    "a dead citation": (html(lambda text: text + '<p><a href="#ref-99">x</a></p>'), "link_unresolved"),
    "a link to nothing": (html(lambda text: text + "<p><a>x</a></p>"), "link_unresolved"),
    "a link to another folder": (html(lambda text: text + '<p><a href="../x.html">x</a></p>'), "link_unresolved"),
    "a link to a stranger": (html(lambda text: text + '<p><a href="https://spam.example/">x</a></p>'), "link_foreign"),
    "a script link": (html(lambda text: text + '<p><a href="javascript:alert(1)">x</a></p>'), "link_foreign"),
    "a link without a scheme": (html(lambda text: text + '<p><a href="//spam.example/">x</a></p>'), "link_foreign"),
    "another word in the HTML": (html(lambda text: text.replace(" the ", " a ", 1)), "text_differs"),
    "a paragraph gone": (html(lambda text: re.sub(r"<p>.*?</p>\n", "", text, count=1)), "text_differs"),
    "a paragraph too many": (html(lambda text: text.replace("<h2", "<p>Buy now!</p>\n<h2", 1)), "formats_differ"),
}


@pytest.mark.parametrize(("name", "defect"), in_turn(HTML_DEFECTS))
def test_defect_in_the_html_is_caught(name: str, defect: str) -> None:
    inject, code = HTML_DEFECTS[defect]
    verdict = judge(SAMPLES[name], inject(SAMPLES[name].document()))
    assert verdict.level is Level.BLOCK
    assert code in codes(verdict)


@pytest.mark.parametrize("name", NAMES)
def test_markdown_that_says_something_else_is_caught(name: str) -> None:
    document = SAMPLES[name].document()
    changed = document.model_copy(update={"markdown": document.markdown.replace(" the ", " no ", 1)})
    assert codes(judge(SAMPLES[name], changed)) == {"formats_differ"}


@pytest.mark.parametrize("name", NAMES)
def test_duplicate_heading_is_caught(name: str) -> None:
    sample = SAMPLES[name]
    first, second, *rest = sample.outline.sections
    twice = sample.outline.model_copy(
        update={"sections": (first, second.model_copy(update={"heading": first.heading.upper()}), *rest)}
    )
    assert codes(judge(sample, sample.document(outline=twice))) == {"heading_duplicate"}


@pytest.mark.parametrize("name", NAMES)
def test_related_link_to_an_article_that_does_not_exist_is_caught(name: str) -> None:
    document = SAMPLES[name].document()
    link = RelatedLink(article_id=UUID(int=1), slug="never-written", text="Never written")
    changed = document.model_copy(update={"links": (*document.links, link)})
    assert codes(judge(SAMPLES[name], changed)) == {"link_unresolved"}


Graph = list[dict[str, Any]]
JSON_LD_DEFECTS: dict[str, Callable[[Graph], object]] = {
    "no headline": lambda graph: graph[0].pop("headline"),
    "another headline": lambda graph: graph[0].update(headline="Something else"),
    "no author": lambda graph: graph[0].pop("author"),
    "author without a name": lambda graph: graph[0].update(
        author={"@type": "Organization", "url": "https://a.example"}
    ),
    "author as text": lambda graph: graph[0].update(author="me"),
    "relative url": lambda graph: graph[0].update(url="/a.html"),
    "another page": lambda graph: graph[0].update(mainEntityOfPage="https://a.example/other.html"),
    "unknown property": lambda graph: graph[0].update(headlines="x"),
    "bad date": lambda graph: graph[0].update(datePublished="5 March"),
    "date without a zone": lambda graph: graph[0].update(dateModified="2026-03-05T10:00:00"),
    "another language": lambda graph: graph[0].update(inLanguage="fr-FR"),
    "another type": lambda graph: graph[0].update({"@type": "BlogPost"}),
    "no breadcrumbs": lambda graph: graph[1].pop("itemListElement"),
    "breadcrumb positions": lambda graph: graph[1]["itemListElement"][1].update(position=3),
    "nameless breadcrumb": lambda graph: graph[1]["itemListElement"][0].update(name=" "),
    "breadcrumb without an address": lambda graph: graph[1]["itemListElement"][0].pop("item"),
}


@pytest.mark.parametrize(("name", "defect"), in_turn(JSON_LD_DEFECTS))
def test_defect_in_the_json_ld_is_caught(name: str, defect: str) -> None:
    document = SAMPLES[name].document()
    json_ld = deepcopy(document.json_ld)
    JSON_LD_DEFECTS[defect](json_ld["@graph"])
    verdict = judge(SAMPLES[name], document.model_copy(update={"json_ld": json_ld}))
    assert codes(verdict) == {"json_ld_error"}


@pytest.mark.parametrize(
    "json_ld", [{}, {"@context": "https://schema.org"}, {"@context": "https://schema.org", "@graph": [1]}]
)
def test_json_ld_without_its_parts_is_caught(json_ld: dict[str, Any]) -> None:
    sample = SAMPLES[NAMES[0]]
    assert codes(judge(sample, sample.document().model_copy(update={"json_ld": json_ld}))) == {"json_ld_error"}


def _digit_changes() -> list[tuple[str, int, int, str]]:
    """Every digit of every block's text, changed by one: (sample, section, block, text)."""
    changes = []
    for name, sample in SAMPLES.items():
        for number, content in enumerate(sample.contents, start=1):
            for index, block in enumerate(content.blocks):
                changes += [
                    (name, number, index, f"{block.text[: m.start()]}{(int(m[0]) + 1) % 10}{block.text[m.end() :]}")
                    for m in re.finditer(r"\d", block.text)
                ]
    return changes


@pytest.mark.parametrize(("name", "section", "index", "text"), _digit_changes())
def test_number_changed_by_one_digit_is_caught(name: str, section: int, index: int, text: str) -> None:
    sample = SAMPLES[name]
    block = sample.contents[section - 1].blocks[index].model_copy(update={"text": text})
    verdict = judge(sample, sample.document(with_block(sample, section, index, block)))
    assert codes(verdict) == {"number_not_in_source"}
    assert list(repairable_sections(verdict)) == [section]


@pytest.mark.parametrize("name", NAMES)
def test_number_whose_source_is_not_cited_is_caught(name: str) -> None:
    sample = SAMPLES[name]
    section, index, block = next(
        (number, index, block)
        for number, content in enumerate(sample.contents, start=1)
        for index, block in enumerate(content.blocks)
        if re.search(r"\d", block.text)
    )
    uncited = block.model_copy(update={"passages": ()})
    verdict = judge(sample, sample.document(with_block(sample, section, index, uncited)))
    assert "number_not_in_source" in codes(verdict)


@pytest.mark.parametrize(
    ("sentence", "code", "said"),
    [
        ("It saves 37% of the hours.", "number_not_in_source", "37%"),
        ("Firms save $12 million.", "number_not_in_source", "$12 million"),
        ("Eighty percent of them agree.", "number_not_in_source", "Eighty percent"),
        ("One customer says: “It changed our lives.”", "quotation_not_in_source", "“It changed our lives.”"),
        ('They call it "the miracle".', "quotation_not_in_source", '"the miracle"'),
        ("In our experience that is enough.", "banned_phrase", "in our experience"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_invented_sentence_is_caught_in_its_section(name: str, sentence: str, code: str, said: str) -> None:
    sample = SAMPLES[name]
    verdict = judge(sample, with_sentence(sample, 2, sentence))
    assert codes(verdict) == {code}
    problems = repairable_sections(verdict)
    assert list(problems) == [2]
    assert said in problems[2][0]


@pytest.mark.parametrize("name", NAMES)
def test_phrase_that_the_brief_bans_is_caught(name: str) -> None:
    sample = SAMPLES[name]
    phrase = sample.brief.voice.banned_phrases[0]
    assert codes(judge(sample, with_sentence(sample, 1, f"It is {phrase.upper()}."))) == {"banned_phrase"}
    titled = sample.outline.model_copy(update={"title": f"{sample.outline.title} {phrase}"})
    verdict = judge(sample, sample.document(outline=titled))
    assert codes(verdict) == {"banned_phrase"}
    assert repairable_sections(verdict) == {}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["title", "meta_description"])
def test_number_in_the_metadata_that_no_passage_carries_is_caught(name: str, place: str) -> None:
    sample = SAMPLES[name]
    outline = sample.outline.model_copy(update={place: f"{getattr(sample.outline, place)} in 2031"})
    assert codes(judge(sample, sample.document(outline=outline))) == {"number_not_in_source"}


@pytest.mark.parametrize("name", NAMES)
def test_citation_of_a_passage_that_does_not_exist_is_caught(name: str) -> None:
    sample = SAMPLES[name]
    block = sample.contents[0].blocks[0]
    changed = block.model_copy(update={"passages": (*block.passages, 999)})
    assert codes(judge(sample, sample.document(with_block(sample, 1, 0, changed)))) == {"citation_unknown"}


@pytest.mark.parametrize("name", NAMES)
def test_terms_left_out_are_caught_and_each_goes_to_one_section(name: str) -> None:
    sample = SAMPLES[name]
    missing = tuple(
        f"{word} overhaul" for word in ("gearbox", "violin", "harbour", "cathedral", "orchid", "glacier", "meteor")
    )
    wanting = replace(sample, terms=(*sample.terms[:3], *missing))
    verdict = judge(wanting, wanting.document())
    assert codes(verdict) == {"terms_uncovered"}
    told = " ".join(" ".join(problems) for problems in repairable_sections(verdict).values())
    assert all(told.count(term) == 1 for term in missing)


@pytest.mark.parametrize("name", NAMES)
def test_stuffed_keyword_is_caught_where_it_is_stuffed(name: str) -> None:
    sample = SAMPLES[name]
    stuffing = " ".join(f"{sample.plan.keyword} is good." for _ in range(20))
    verdict = judge(sample, with_sentence(sample, 3, stuffing))
    assert codes(verdict) == {"keyword_density"}
    assert list(repairable_sections(verdict)) == [3]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("sourdough")])
def test_section_copied_from_a_sibling_is_caught(name: str) -> None:
    sample = SAMPLES[name]
    other = next(one for key, one in SAMPLES.items() if key not in (name, "sourdough production planning"))
    contents = (*sample.contents[:3], *other.contents[:2], *sample.contents[3:])[: len(sample.contents)]
    verdict = judge(sample, sample.document(contents))
    assert "near_duplicate" in codes(verdict)
    assert set(repairable_sections(verdict)) >= {4}


def test_one_copied_section_in_a_long_article_is_caught() -> None:
    sample, other = SAMPLES["sourdough production planning"], SAMPLES["accounts payable automation"]
    filler = [
        section(
            paragraph(" ".join(f"{word}{number}" for word in ("alpha", "beta", "gamma") for number in range(n, n + 60)))
        )
        for n in range(0, 2400, 60)
    ]
    copied = section(*(block for content in other.contents[:2] for block in content.blocks))
    headings = [one.model_copy(update={"heading": f"Part {n}"}) for n, one in enumerate(sample.outline.sections * 11)]
    contents = (*filler[:20], copied, *filler[20:])
    outline = sample.outline.model_copy(update={"sections": tuple(headings[: len(contents)])})
    verdict = judge(sample, sample.document(contents, outline), [other.document()])
    assert verdict.values["sibling_similarity"] < 0.06
    found = [reason.subject for reason in verdict.reasons if reason.code == "near_duplicate"]
    assert found == ["section:21"]


def test_article_is_not_compared_with_its_own_earlier_revision() -> None:
    sample = SAMPLES[NAMES[0]]
    assert blocking(judge(sample, sample.document(), [sample.document()])) == []


@pytest.mark.parametrize("field", ["slug", "meta_title"])
@pytest.mark.parametrize("name", NAMES)
def test_metadata_of_a_sibling_is_caught(name: str, field: str) -> None:
    sample = SAMPLES[name]
    document = sample.document()
    other = next(one for key, one in SAMPLES.items() if key != name).document()
    twin = other.model_copy(
        update={field: getattr(document, field).upper() if field == "meta_title" else document.slug}
    )
    assert codes(judge(sample, document, [twin])) == {f"{field}_not_unique"}


def test_repairs_are_the_blocking_reasons_of_sections() -> None:
    reasons = [
        Reason(code="a", message="one", subject="section:10"),
        Reason(code="b", message="two", subject="section:2"),
        Reason(code="c", message="three", subject="section:2"),
        Reason(code="d", message="four", subject="section:3", level=Level.WARN),
        Reason(code="e", message="five"),
        Reason(code="f", message="six", subject="title"),
    ]
    assert repairable_sections(verdict_of(reasons)) == {2: ["two", "three"], 10: ["one"]}


def test_every_reason_is_one_line_and_names_what_it_is_about() -> None:
    sample = SAMPLES["accounts payable automation"]
    document = with_sentence(sample, 1, "It saves 37%, “they say”.")
    verdict = judge(sample, document.model_copy(update={"html": render_html(document.markdown) + "<h4>x</h4>"}))
    assert len(blocking(verdict)) >= 3
    assert all("\n" not in reason.message and reason.message.endswith(".") for reason in verdict.reasons)


def test_figures_and_settings_stand_in_the_verdict() -> None:
    sample = SAMPLES["accounts payable automation"]
    values = judge(sample, sample.document()).values
    assert values["term_coverage_min"] == SETTINGS.term_coverage_min
    assert values["term_coverage"] == pytest.approx(0.75)
    assert values["sections"] == 6
    assert values["words"] == sample.document().word_count


def test_paragraph_without_a_source_is_only_told_when_too_many_are() -> None:
    sample = SAMPLES["accounts payable automation"]
    plain = paragraph("Nothing here needs a source, and nothing here claims a number.")
    contents = tuple(SectionContent(blocks=(one.blocks[0], plain, plain)) for one in sample.contents)
    verdict = judge(sample, sample.document(contents))
    assert "citations_few" in {reason.code for reason in verdict.reasons if reason.level is Level.WARN}


def test_findings_stand_in_the_verdict_with_their_places() -> None:
    sample = SAMPLES["accounts payable automation"]
    document = with_sentence(sample, 2, "In our experience it saves 37% of the hours.")
    findings = {one["code"]: one for one in judge(sample, document).values["findings"]}
    assert findings["banned_phrase"]["section"] == 2
    for code, excerpt in (("banned_phrase", "In our experience"), ("number_not_in_source", "37%")):
        span = findings[code]["span"]
        assert document.markdown[span["start"] : span["end"]] == findings[code]["excerpt"] == excerpt
        assert span["line"] == document.markdown[: span["start"]].count("\n") + 1
        assert findings[code]["fix"]


def test_thresholds_are_those_of_the_settings() -> None:
    sample = SAMPLES["accounts payable automation"]
    strict = SETTINGS.model_copy(
        update={"section_words_max": 20, "paragraph_words_max": 10, "title_pixels_max": 450, "headings_min": 7}
    )
    verdict = check(
        sample.document(),
        brief=sample.brief,
        plan=sample.plan,
        terms=sample.terms,
        passages=sample.passages,
        sibling_documents=(),
        settings=strict,
    )
    assert verdict.level is Level.WARN
    told = {reason.code for reason in verdict.reasons}
    assert told == {"section_long", "paragraph_long", "meta_title_width", "section_count"}
    assert verdict.values["section_words_max"] == 20


def test_keyword_of_an_existing_page_is_told() -> None:
    sample = SAMPLES["three-way matching"]
    page = ExistingPage(url="https://harborline.example/matching", keyword="matching three way")
    brief = sample.brief.model_copy(update={"existing_pages": (page,)})
    verdict = judge(replace(sample, brief=brief), sample.document())
    reason = next(reason for reason in verdict.reasons if reason.code == "cannibalization")
    assert reason.level is Level.WARN
    assert page.url in reason.message


@pytest.mark.parametrize(("slug", "code"), [("Bad_Slug", "slug_invalid"), ("index", "slug_invalid")])
def test_slug_that_is_none_is_caught(slug: str, code: str) -> None:
    sample = SAMPLES[NAMES[0]]
    assert code in codes(judge(sample, sample.document().model_copy(update={"slug": slug})))


def test_keyword_that_fills_one_paragraph_is_caught_in_its_section() -> None:
    sample = SAMPLES["three-way matching"]
    stuffed = with_sentence(sample, 2, "Three-way matching is three-way matching. " * 4)
    verdict = judge(sample, stuffed)
    assert codes(verdict) == {"keyword_density"}
    assert list(repairable_sections(verdict)) == [2]
