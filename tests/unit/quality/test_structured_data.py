import json
from collections.abc import Callable
from typing import Any

import pytest

from domain.quality.html_page import read_html
from domain.quality.source import SourceText
from domain.quality.structured_data import page_structured_data_findings, problems_of
from domain.verdict import Level
from tests.unit.quality.samples import HUB

Node = dict[str, Any]


def posting(**changes: Any) -> Node:
    node: Node = {
        "@context": "https://schema.org",
        "@type": "BlogPosting",
        "headline": "A night of sourdough",
        "description": "How it is planned.",
        "author": {"@type": "Person", "name": "Ada"},
        "datePublished": "2026-03-05",
        "dateModified": "2026-03-06T10:00:00+01:00",
    }
    node.update(changes)
    return {name: value for name, value in node.items() if value is not ...}


def told(value: Any, level: Level = Level.BLOCK) -> list[str]:
    return [problem.message for problem in problems_of(value) if problem.level is level]


@pytest.mark.parametrize(
    "value",
    [
        posting(),
        posting(image="https://a.example/x.png"),
        posting(image=["https://a.example/x.png", {"@type": "ImageObject", "url": "https://a.example/y.png"}]),
        posting(author=[{"@type": "Person", "name": "Ada"}, {"@type": "Corporation", "name": "B"}]),
        posting(author={"@id": "#ada"}),
        posting(wordCount="1200"),
        posting(wordCount=1200),
        posting(keywords="bread, flour"),
        posting(mainEntityOfPage="https://a.example/x.html"),
        posting(isAccessibleForFree=True),
        posting(timeRequired="PT5M"),
        posting(citation=["https://a.example/", "A book"]),
        posting(datePublished="2026-03"),
        posting(**{"@type": ["BlogPosting", "TechArticle"]}, dependencies="none"),
        posting(**{"@context": "http://schema.org/"}),
        posting(**{"@context": ["https://schema.org", {"x": "https://x.example/"}]}),
        [posting(), {"@context": "https://schema.org", "@type": "Recipe", "anything": "goes"}],
        HUB.document().json_ld,
    ],
)
def test_sound_values_have_no_problem(value: Any) -> None:
    assert told(value) == []


BROKEN: dict[str, tuple[Any, str]] = {
    "no object": ("text", "no object"),
    "nothing": ([], "empty"),
    "no context": (posting(**{"@context": ...}), "@context"),
    "another context": (posting(**{"@context": "https://example.org"}), "@context"),
    "no type": (posting(**{"@type": ...}), "@type"),
    "a type that is none": (posting(**{"@type": "BlogPostng"}), "'BlogPostng' is no type"),
    "a type that is none, inside": (posting(author={"@type": "Preson", "name": "A"}), "'Preson' is no type"),
    "a property that is none": (posting(headlines="x"), "'headlines' is no property"),
    "a property of another type": (posting(recipeYield="x"), "'recipeYield' is no property"),
    "no headline": (posting(headline=...), "no headline"),
    "an empty headline": (posting(headline=" "), "'headline' is empty"),
    "no author": (posting(author=...), "no author"),
    "an author as text": (posting(author="Ada"), "'author' is the text"),
    "an author without a name": (posting(author={"@type": "Person"}), "no name"),
    "an author without a type": (posting(author={"name": "Ada"}), "without a @type"),
    "an author of another kind": (
        posting(author={"@type": "ImageObject", "url": "https://a.example"}),
        "'author' is a",
    ),
    "a date in words": (posting(datePublished="5 March 2026"), "'datePublished' is"),
    "a day that is none": (posting(datePublished="2026-02-31"), "'datePublished' is"),
    "a date turned round": (posting(datePublished="05-03-2026"), "'datePublished' is"),
    "a relative address": (posting(url="/x.html"), "'url' is"),
    "an address without scheme": (posting(url="a.example/x.html"), "'url' is"),
    "a relative picture": (posting(image="x.png"), "'image' is"),
    "words for a number": (posting(wordCount="many"), "'wordCount' is"),
    "a broken number": (posting(wordCount=1.5), "'wordCount' is"),
    "a number for a thing": (posting(author=7), "'author' is the number"),
    "truth for a text": (posting(headline=True), "'headline' is"),
    "a duration in words": (posting(timeRequired="five minutes"), "'timeRequired' is"),
    "null": (posting(description=None), "'description' is empty"),
    "a reference to nothing": (posting(author={"@id": "ada"}), "'author' refers to"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_values_are_told(name: str) -> None:
    value, said = BROKEN[name]
    assert any(said in message for message in told(value)), told(value)


def test_near_miss_gets_the_right_name_as_its_fix() -> None:
    fixes = {problem.fix for problem in problems_of(posting(**{"@type": "BlogPostng"}))}
    assert "use BlogPosting" in fixes
    assert "use headline" in {problem.fix for problem in problems_of(posting(headlin="x"))}


def test_what_search_engines_miss_is_a_warning() -> None:
    warnings = told(posting(dateModified=..., description=...), Level.WARN)
    assert warnings == ["BlogPosting has no dateModified", "BlogPosting has no description"]
    assert told(posting(headline="x" * 111), Level.WARN) == ["'headline' has 111 characters"]
    assert told(posting(dateModified="2026-01-01"), Level.WARN) == ["'dateModified' is before datePublished"]


Change = Callable[[list[Node]], object]
CRUMBS: dict[str, tuple[Change, str]] = {
    "one": (lambda items: items.pop(), "at least two"),
    "no position": (lambda items: items[0].pop("position"), "no position"),
    "out of order": (lambda items: items[0].update(position=2), "has position 2"),
    "no name": (lambda items: items[0].pop("name"), "no name"),
    "no address": (lambda items: items[0].pop("item"), "no absolute address"),
    "relative": (lambda items: items[0].update(item="/x"), "no absolute address"),
    "no item": (lambda items: items[0].update({"@type": "Thing"}), "is no ListItem"),
}


@pytest.mark.parametrize("name", sorted(CRUMBS))
def test_breadcrumbs_lead_from_page_to_page(name: str) -> None:
    items: list[Node] = [
        {"@type": "ListItem", "position": 1, "name": "Home", "item": "https://a.example/"},
        {"@type": "ListItem", "position": 2, "name": "Here"},
    ]
    value = {"@context": "https://schema.org", "@type": "BreadcrumbList", "itemListElement": items}
    assert told(value) == []
    change, said = CRUMBS[name]
    change(items)
    assert any(said in message for message in told(value)), told(value)


def test_script_that_is_no_json_is_told_in_its_line() -> None:
    source = SourceText('<p>x</p>\n<script type="application/ld+json">\n{"@type": "A",\n}\n</script>')
    (finding,) = page_structured_data_findings(read_html(source))
    assert (finding.code, finding.level, finding.line) == ("json_ld_error", Level.BLOCK, 4)


def test_finding_stands_at_the_property() -> None:
    text = json.dumps(posting(wordCount="many"), indent=1)
    source = SourceText(f'<script type="application/ld+json">\n{text}\n</script>')
    (finding,) = page_structured_data_findings(read_html(source))
    assert finding.excerpt == '"wordCount"'


@pytest.mark.parametrize("depth", [50, 5000])
def test_deep_values_end(depth: int) -> None:
    node: Any = {"@type": "Thing", "name": "x"}
    for _ in range(min(depth, 200)):
        node = {"@type": "CreativeWork", "about": node}
    assert told({"@context": "https://schema.org", **node})
