"""Where other people's checkers and our gates judge the same, they agree: on pages as they are published, on HTML
that is broken on purpose, and on JSON-LD that is."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from domain.assembly import Document, content_hash
from domain.brief import Brief, PublishMode
from domain.identifiers import bare_domain
from domain.publishing import PublicationState, publication_request, site_description
from domain.quality import CheckOptions, Finding, check_file, read_article_file
from domain.quality.schema_org import PARENTS, TYPE_NAMES, properties_of
from domain.verdict import Level
from providers.publisher import FilesPublisher
from tests.judges import broken_pages, judges
from tests.unit.quality.samples import SAMPLES, WORKFLOW_ID

PUBLISHED_AT = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
NOT_HERE = judges.why_not()
pytestmark = pytest.mark.skipif(NOT_HERE is not None, reason=str(NOT_HERE))
HTML_CODES = {"html_error", "id_duplicate", "image_alt_missing"}
FORM_CODES = HTML_CODES | {"h1_count", "heading_skipped", "link_unresolved", "link_foreign"}


@dataclass(frozen=True)
class Case:
    """A page with what each side found in it; ``is_published`` as it came from the publisher."""

    name: str
    path: Path
    findings: tuple[Finding, ...]
    messages: list[dict[str, Any]]
    issues: list[dict[str, Any]]
    is_published: bool = False

    def codes(self, level: Level = Level.BLOCK) -> set[str]:
        return {finding.code for finding in self.findings if finding.level is level}

    @property
    def json_ld_errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.code == "json_ld_error"]


# --- pages ---


async def _publish(folder: Path) -> None:
    """Every sample article, published as its company's site, with the lists of articles."""
    files = FilesPublisher(folder)
    by_brief: dict[str, list[Document]] = {}
    briefs: dict[str, Brief] = {}
    for sample in SAMPLES.values():
        domain = bare_domain(sample.brief.organization.url)
        briefs[domain] = sample.brief
        by_brief.setdefault(domain, []).append(sample.document())
    for number, (domain, documents) in enumerate(by_brief.items()):
        workflow_id = UUID(int=WORKFLOW_ID.int + number)
        site: dict[str, Any] = {
            "workflow_name": "spring",
            "organization": briefs[domain].organization,
            "domain": domain,
        }
        for document in documents:
            request = publication_request(
                publication_id=document.article_id,
                workflow_id=workflow_id,
                article_id=document.article_id,
                document=document,
                content_hash=content_hash(document),
                mode=PublishMode.PUBLISH,
                is_demo_text=number == 0,
                available_slugs={one.slug: one.title for one in documents},
                published_at=PUBLISHED_AT,
                **site,
            )
            result = await files.publish(request)
            assert result.state is PublicationState.PUBLISHED, result.reason
        await files.finish(workflow_id, site_description(documents=documents, is_demo_text=number == 0, **site))


def _pages_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.html"))


def _html_cases(page: str) -> dict[str, str]:
    cases = {
        f"{kind}: {piece}": page.replace('<div class="prose">', f'<div class="prose">\n{piece}\n', 1)
        for kind, pieces in (("broken", broken_pages.BROKEN), ("sound", broken_pages.SOUND))
        for piece in pieces.strip().splitlines()
    }
    for name, (pattern, replacement) in broken_pages.BROKEN_PAGES.items():
        cases[f"page: {name}"] = re.sub(pattern, lambda _, new=replacement: new, page, count=1, flags=re.DOTALL)
    return cases


Graph = list[dict[str, Any]]
# What is done to the JSON-LD of a published page. Both sides object, in their own words.
JSON_LD_DEFECTS: dict[str, Callable[[Graph], object]] = {
    "an unknown type": lambda graph: graph[0].update({"@type": "BlogPostng"}),
    "a type of another world": lambda graph: graph[0].update({"@type": "Invoice2"}),
    "an unknown property": lambda graph: graph[0].update(headlines="x"),
    "a property of another type": lambda graph: graph[0].update(itemListElement=[{"@type": "ListItem"}]),
    "an author without a name": lambda graph: graph[0]["author"].pop("name"),
    "a publisher without a name": lambda graph: graph[0]["publisher"].pop("name"),
    "an unknown property inside": lambda graph: graph[0]["author"].update(nmae="x"),
    "an unknown type inside": lambda graph: graph[0]["author"].update({"@type": "Organisation"}),
    "no breadcrumbs": lambda graph: graph[1].pop("itemListElement"),
    "one breadcrumb": lambda graph: graph[1].update(itemListElement=graph[1]["itemListElement"][:1]),
    "a breadcrumb without a name": lambda graph: graph[1]["itemListElement"][0].pop("name"),
    "a breadcrumb without a position": lambda graph: graph[1]["itemListElement"][0].pop("position"),
    "a breadcrumb without an address": lambda graph: graph[1]["itemListElement"][0].pop("item"),
    "a breadcrumb with a relative address": lambda graph: graph[1]["itemListElement"][0].update(item="/articles"),
    "breadcrumbs as text": lambda graph: graph[1].update(itemListElement="Home"),
}


def _json_ld_cases(page: str) -> dict[str, str]:
    script = re.search(r'(<script type="application/ld\+json">)(.*?)(</script>)', page, re.DOTALL)
    assert script
    cases = {}
    for name, inject in JSON_LD_DEFECTS.items():
        value = json.loads(script[2])
        inject(value["@graph"])
        cases[f"json: {name}"] = f"{page[: script.start(2)]}{json.dumps(value)}{page[script.end(2) :]}"
    cases["json: a comma missing"] = f"{page[: script.start(2)]}{script[2].replace(',', '', 1)}{page[script.end(2) :]}"
    return cases


@pytest_asyncio.fixture(scope="session")
async def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Everything that is judged, each judge started once for all of it."""
    folder = tmp_path_factory.mktemp("judged")
    await _publish(folder / "published")
    published = _pages_in(folder / "published")
    article = next(path for path in published if path.name == "three-way-matching.html")
    page = article.read_text(encoding="utf-8")
    names = {path: str(path.relative_to(folder)) for path in published}
    for number, (name, text) in enumerate({**_html_cases(page), **_json_ld_cases(page)}.items()):
        path = folder / f"case-{number}.html"
        path.write_text(text, encoding="utf-8")
        names[path] = name
    messages = judges.html_messages(list(names))
    issues = judges.structured_data_issues(list(names), judges.write_vocabulary(folder / "schema.json"))
    return [
        Case(name, path, _ours(path), messages[path], issues[path], is_published=path in published)
        for path, name in names.items()
    ]


def _ours(path: Path) -> tuple[Finding, ...]:
    article = read_article_file(str(path), path.read_text(encoding="utf-8"))
    return check_file(article, CheckOptions(), exists=lambda _: True).findings


def _named(cases: list[Case], kind: str) -> list[Case]:
    found = [case for case in cases if case.name.startswith(f"{kind}:")]
    assert found
    return found


# --- agreement ---


def test_published_pages_are_free_of_errors_by_every_judge(cases: list[Case]) -> None:
    published = [case for case in cases if case.is_published]
    assert len(published) >= len(SAMPLES) + 3
    for case in published:
        assert judges.html_errors(case.messages) == [], case.name
        assert [issue for issue in case.issues if issue["severity"] == "ERROR"] == [], case.name
        assert case.codes() == set(), case.name


def test_published_articles_draw_no_warning_of_the_judges(cases: list[Case]) -> None:
    for case in cases:
        if case.is_published:
            assert case.messages == [], case.name
            assert case.issues == [], case.name


def test_html_that_the_judge_refuses_is_refused_by_our_gates(cases: list[Case]) -> None:
    for case in (*_named(cases, "broken"), *_named(cases, "page")):
        assert judges.html_errors(case.messages), f"{case.name}: the judge finds nothing"
        assert case.codes() & FORM_CODES, f"{case.name}: {judges.html_errors(case.messages)}"


def test_html_that_the_judge_lets_pass_is_no_error_of_html_to_our_gates(cases: list[Case]) -> None:
    for case in _named(cases, "sound"):
        assert judges.html_errors(case.messages) == [], case.name
        assert case.codes() & HTML_CODES == set(), f"{case.name}: {case.findings}"


def test_both_name_the_same_line(cases: list[Case]) -> None:
    """Of the first error, for pieces that stand on one line: at most one line apart."""
    far = []
    for case in _named(cases, "broken"):
        theirs = {message.get("lastLine") for message in case.messages if message["type"] == "error"}
        ours = {
            finding.line for finding in case.findings if finding.code in FORM_CODES and finding.level is Level.BLOCK
        }
        if not any(abs((one or 0) - (other or 0)) <= 1 for one in ours for other in theirs):
            far.append((case.name, ours, theirs))
    assert len(far) <= 0.1 * len(_named(cases, "broken")), far


def test_json_ld_that_the_judge_objects_to_is_refused_by_our_gates(cases: list[Case]) -> None:
    for case in _named(cases, "json"):
        assert case.issues, f"{case.name}: the judge finds nothing"
        assert case.json_ld_errors, f"{case.name}: {case.issues}"


def test_finding_in_json_ld_stands_in_the_script(cases: list[Case]) -> None:
    for case in _named(cases, "json"):
        lines = case.path.read_text(encoding="utf-8").splitlines()
        assert all("ld+json" in lines[(finding.line or 0) - 1] for finding in case.json_ld_errors), case.name


# --- the vocabulary ---


def test_names_of_types_are_those_of_the_vocabulary() -> None:
    theirs = {name for name in judges.read_vocabulary().parents if "_" not in name}
    assert len(theirs) > 800
    assert theirs - TYPE_NAMES == {"PronounceableText"}  # a kind of text, no type of things


def test_properties_of_types_are_those_of_the_vocabulary() -> None:
    vocabulary = judges.read_vocabulary()

    def whole(name: str) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for parent in vocabulary.parents.get(name, ()):
            found.update(whole(parent))
        return {**found, **vocabulary.properties.get(name, {})}

    for name in PARENTS:
        assert properties_of(name) == whole(name), name
