import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import html5lib
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from domain.assembly import Document, content_hash
from domain.brief import Organization, PublishMode
from domain.publication_feed import render_feed
from domain.publication_site import (
    DEMO_NOTICE,
    DRAFT_NOTICE,
    Manifest,
    PageDates,
    dated_json_ld,
    manifest_entry,
    manifest_of_site,
    read_manifest,
    render_index,
    render_manifest,
    render_markdown,
    render_overview,
    render_page,
    render_sitemap,
    script_json,
)
from domain.publication_style import DARK, LIGHT
from domain.publishing import PublicationRequest, publication_request, site_description
from tests.unit.quality.samples import HARBORLINE, HUB, SAMPLES, WORKFLOW_ID

PUBLISHED_AT = datetime(2026, 3, 5, 9, 30, tzinfo=UTC)
CHANGED_AT = datetime(2026, 4, 1, 8, 0, tzinfo=UTC)
DATES = PageDates(published_at=PUBLISHED_AT, modified_at=CHANGED_AT)
AP_NAMES = ("accounts payable automation", "three-way matching", "invoice approval workflow")


def request_of(document: Document, **changes: Any) -> PublicationRequest:
    facts: dict[str, Any] = {
        "publication_id": document.article_id,
        "workflow_id": WORKFLOW_ID,
        "workflow_name": "spring",
        "article_id": document.article_id,
        "document": document,
        "content_hash": content_hash(document),
        "mode": PublishMode.PUBLISH,
        "is_demo_text": False,
        "organization": HARBORLINE.organization,
        "domain": "harborline.example",
        "available_slugs": {SAMPLES[name].document().slug: SAMPLES[name].outline.title for name in AP_NAMES},
        "published_at": PUBLISHED_AT,
    }
    return publication_request(**{**facts, **changes})


def manifest_of(*names: str, **changes: Any) -> Manifest:
    facts: dict[str, Any] = {
        "workflow_name": "spring",
        "organization": HARBORLINE.organization,
        "domain": "harborline.example",
        "documents": [SAMPLES[name].document() for name in names],
        "is_demo_text": False,
    }
    return manifest_of_site(WORKFLOW_ID, site_description(**{**facts, **changes}), None)


def strict_errors(page: str) -> list[Any]:
    parser = html5lib.HTMLParser(tree=html5lib.getTreeBuilder("etree"))
    parser.parse(page)
    return list(parser.errors)


def json_ld_in(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/ld\+json">(.*?)</script>', page, re.DOTALL)
    assert found
    value: dict[str, Any] = json.loads(found[1])
    return value


# --- the request ---


def test_request_links_only_to_what_will_stand_published() -> None:
    request = request_of(HUB.document(), available_slugs=["three-way-matching"])
    assert [link.slug for link in request.document.links] == ["three-way-matching"]
    assert content_hash(request.document) == request.content_hash


def test_request_takes_the_titles_of_what_will_stand_published() -> None:
    request = request_of(HUB.document(), available_slugs={"three-way-matching": "Matching, at last"})
    assert [link.text for link in request.document.links] == ["Matching, at last"]


# --- a page ---


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_page_is_free_of_html_errors_and_asks_nothing_of_other_hosts(name: str) -> None:
    page = render_page(request_of(SAMPLES[name].document(), is_demo_text=True), DATES)
    assert strict_errors(page) == []
    assert page.count("<h1>") == 1
    assert not re.search(r'\ssrc=|<link rel="(?!canonical|alternate)|@import|url\(|<iframe|<form', page)
    assert "<script>" not in page


def test_page_tells_machines_what_it_is() -> None:
    page = render_page(request_of(HUB.document()), DATES)
    address = "https://harborline.example/articles/accounts-payable-automation.html"
    assert '<html lang="en-US">' in page
    assert f"<title>{HUB.outline.title} | Harborline</title>" in page
    assert f'<link rel="canonical" href="{address}">' in page
    assert f'<meta property="og:url" content="{address}">' in page
    assert '<meta property="og:locale" content="en_US">' in page
    assert f'<meta name="description" content="{HUB.outline.meta_description}">' in page
    assert "noindex" not in page
    posting = json_ld_in(page)["@graph"][0]
    assert posting["datePublished"] == "2026-03-05T09:30:00+00:00"
    assert posting["dateModified"] == "2026-04-01T08:00:00+00:00"
    assert HUB.document().json_ld["@graph"][0].get("datePublished") is None


def test_page_shows_its_parts_in_order() -> None:
    page = render_page(request_of(HUB.document()), DATES)
    parts = [
        'aria-label="Breadcrumb"',
        f"<h1>{HUB.outline.title}</h1>",
        '<time datetime="2026-03-05T09:30:00+00:00">5 March 2026</time> · 2 min read · 6 sources',
        'aria-label="In this article"',
        "Accounts payable automation takes over the typing",
        '<section class="sources"><h2 id="references">',
        'aria-label="Related articles"',
        "<footer",
    ]
    positions = [page.find(part) for part in parts]
    assert -1 not in positions
    assert positions == sorted(positions)
    assert page.count('<li><a href="#') == 7
    assert '<a href="three-way-matching.html">Three-Way Matching Without the Paper Chase</a>' in page


def test_page_without_a_stored_time_carries_no_date() -> None:
    page = render_page(request_of(HUB.document(), published_at=None), PageDates())
    assert "<time" not in page
    assert "datePublished" not in page
    assert "published_time" not in page


def test_demo_text_says_so_and_only_demo_text() -> None:
    demo = request_of(HUB.document(), is_demo_text=True)
    assert DEMO_NOTICE in render_page(demo, DATES)
    assert 'content="noindex"' in render_page(demo, DATES)
    assert f"\n> {DEMO_NOTICE}\n" in render_markdown(demo, DATES)
    plain = request_of(HUB.document())
    assert "Demo text" not in render_page(plain, DATES) + render_markdown(plain, DATES)
    assert "Demo text" not in HUB.document().html


def test_draft_says_so_and_is_hidden_from_search() -> None:
    page = render_page(request_of(HUB.document(), mode=PublishMode.DRAFT), DATES)
    assert DRAFT_NOTICE in page
    assert 'content="noindex"' in page


HOSTILE = 'A </script><script>alert(1)</script> "quoted" & <b>bold</b> title'


def test_nothing_in_titles_and_names_becomes_markup() -> None:
    outline = HUB.outline.model_copy(update={"title": HOSTILE, "meta_description": HOSTILE})
    organization = Organization(name=HOSTILE, url="javascript:alert(1)", description="x")
    request = request_of(HUB.document(outline=outline), organization=organization)
    page = render_page(request, DATES)
    assert strict_errors(page) == []
    assert page.count("<script") == 1
    assert "<b>" not in page
    assert 'href="javascript:' not in page
    assert json_ld_in(page)["@graph"][0]["description"] == HOSTILE


@given(st.text(max_size=60))
def test_json_in_a_script_element_stays_in_it(text: str) -> None:
    script = script_json({"text": text})
    assert not set(script) & set("<>&\u2028\u2029")
    assert json.loads(script) == {"text": text}


def test_dates_change_no_stored_document() -> None:
    document = HUB.document()
    before = content_hash(document)
    dated_json_ld(document, DATES)
    assert content_hash(document) == before


# --- Markdown with front matter ---


def test_front_matter_can_be_read_whatever_the_title() -> None:
    outline = HUB.outline.model_copy(update={"title": 'Yes: "no" # {x} - 1 🙂'})
    text = render_markdown(request_of(HUB.document(outline=outline), mode=PublishMode.DRAFT), DATES)
    _, matter, body = text.split("---\n", 2)
    facts = yaml.safe_load(matter)
    assert facts["title"] == 'Yes: "no" # {x} - 1 🙂'
    assert facts["slug"] == "accounts-payable-automation"
    assert facts["draft"] is True
    assert datetime.fromisoformat(str(facts["date"])) == PUBLISHED_AT
    assert body.startswith("\n# Yes")
    assert body.endswith("- [An Invoice Approval Workflow People Answer](invoice-approval-workflow.html)\n")


# --- index, sitemap, manifest ---


def test_index_shows_spokes_below_their_hub() -> None:
    page = render_index(manifest_of(*AP_NAMES, "sourdough production planning"))
    assert strict_errors(page) == []
    assert re.findall(r'href="([a-z-]+)\.html">(?!Harborline|All|Articles)', page) == [
        "accounts-payable-automation",
        "three-way-matching",
        "invoice-approval-workflow",
        "sourdough-production-planning",
    ]
    assert "4 articles in 2 topics" in page
    hub = page[page.index('<section class="topic">') : page.index("</section>")]
    assert hub.count("<li>") == 2


def test_index_shows_a_spoke_without_its_hub_by_itself() -> None:
    page = render_index(manifest_of("three-way matching"))
    assert "1 article<" in page
    assert 'href="three-way-matching.html"' in page


def test_empty_site_has_an_index_too() -> None:
    page = render_index(manifest_of())
    assert strict_errors(page) == []
    assert "0 articles" in page


def test_sitemap_lists_published_pages_only() -> None:
    namespace = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    root = ET.fromstring(render_sitemap(manifest_of(*AP_NAMES)))  # noqa: S314 -- our own text
    assert [one.text for one in root.iter(f"{namespace}loc")] == [
        "https://harborline.example/articles/",
        "https://harborline.example/articles/accounts-payable-automation.html",
        "https://harborline.example/articles/three-way-matching.html",
        "https://harborline.example/articles/invoice-approval-workflow.html",
    ]
    drafts = render_sitemap(manifest_of(*AP_NAMES, mode=PublishMode.DRAFT))
    assert drafts.count("<url>") == 1


def test_manifest_reads_back() -> None:
    manifest = manifest_of(*AP_NAMES)
    assert read_manifest(render_manifest(manifest)) == manifest
    with pytest.raises(ValueError, match="manifest"):
        read_manifest("[]")
    with pytest.raises(ValueError, match="Expecting value"):
        read_manifest("")


def test_first_date_stays_and_changed_content_is_dated_anew() -> None:
    first = manifest_entry(request_of(HUB.document()), None)
    again = manifest_entry(request_of(HUB.document(), published_at=CHANGED_AT), first)
    assert again == first
    changed_document = HUB.document(HUB.contents[:5] + HUB.contents[:1])
    changed = manifest_entry(request_of(changed_document, published_at=CHANGED_AT), first)
    assert (changed.published_at, changed.modified_at) == (PUBLISHED_AT, CHANGED_AT)


def test_overview_shows_every_site_with_its_articles() -> None:
    page = render_overview(
        [
            ("harborline.example/spring", manifest_of(*AP_NAMES, is_demo_text=True)),
            ("harborline.example/autumn", manifest_of("three-way matching")),
        ]
    )
    assert strict_errors(page) == []
    assert page.count('href="harborline.example/spring/') == 4
    assert page.count('href="harborline.example/autumn/') == 2
    assert page.count("Demo text") == 1
    assert "2 sites, 4 articles" in page


def test_ids_are_kept_as_they_are() -> None:
    assert manifest_of(*AP_NAMES).workflow_id == UUID("6a0f2c54-0a58-4f1c-9a35-0d0c4f7f6b11")


# --- the feed ---

ATOM = "{http://www.w3.org/2005/Atom}"
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def dated(manifest: Manifest, **changes: Any) -> Manifest:
    """As the publisher leaves it: each article a day younger than the one before."""
    entries = (
        one.model_copy(
            update={"published_at": PUBLISHED_AT.replace(day=5 + place), "modified_at": CHANGED_AT, **changes}
        )
        for place, one in enumerate(manifest.articles)
    )
    return manifest.model_copy(update={"articles": tuple(entries)})


def feed_of(manifest: Manifest) -> ET.Element:
    text = render_feed(manifest)
    assert text is not None
    return ET.fromstring(text)  # noqa: S314 -- our own text


def feed_errors(feed: ET.Element) -> list[str]:
    """What RFC 4287 demands of a feed and its entries (4.1.1, 4.1.2, 4.2.7.2), with ids that are told apart."""
    errors: list[str] = []
    for element in (feed, *feed.findall(f"{ATOM}entry")):
        for name in ("id", "title", "updated"):
            texts = [one.text for one in element.findall(f"{ATOM}{name}")]
            if len(texts) != 1 or not texts[0]:
                errors.append(f"{element.tag} has {len(texts)} {name}")
        errors += [f"{one.tag}: {one.text}" for one in element if one.tag.removeprefix(ATOM) in ("updated", "published")
                   and not RFC_3339.fullmatch(one.text or "")]  # fmt: skip
        errors += [f"relative link {link.get('href')}" for link in element.findall(f"{ATOM}link")
                   if not (link.get("href") or "").startswith("https://")]  # fmt: skip
    ids = [element.text for element in feed.iter(f"{ATOM}id")]
    if len(set(ids)) != len(ids):
        errors.append("ids repeat")
    if feed.find(f"{ATOM}author/{ATOM}name") is None:
        errors.append("no author")
    return errors


def test_feed_is_valid_and_lists_the_newest_first() -> None:
    manifest = dated(manifest_of(*AP_NAMES))
    feed = feed_of(manifest)
    assert feed_errors(feed) == []
    assert [link.get("href") for link in feed.findall(f"{ATOM}entry/{ATOM}link")] == [
        f"https://harborline.example/articles/{one.slug}.html" for one in reversed(manifest.articles)
    ]
    assert [link.get("href") for link in feed.findall(f"{ATOM}link")] == [
        "https://harborline.example/articles/feed.xml",
        "https://harborline.example/articles/",
    ]


def test_feed_ids_outlive_titles_slugs_and_dates() -> None:
    manifest = dated(manifest_of(*AP_NAMES))
    renamed = dated(manifest, title="Other", slug="other", modified_at=datetime(2027, 1, 1, tzinfo=UTC))
    before, after = ([one.text for one in feed_of(each).iter(f"{ATOM}id")] for each in (manifest, renamed))
    assert before == after
    assert before[0] == f"urn:uuid:{WORKFLOW_ID}"


def test_feed_dates_are_those_of_the_articles() -> None:
    entry = feed_of(dated(manifest_of(*AP_NAMES[:1]))).find(f"{ATOM}entry")
    assert entry is not None
    assert entry.findtext(f"{ATOM}published") == "2026-03-05T09:30:00Z"
    assert entry.findtext(f"{ATOM}updated") == "2026-04-01T08:00:00Z"


def test_drafts_and_undated_articles_are_not_in_the_feed() -> None:
    assert render_feed(dated(manifest_of(*AP_NAMES), mode=PublishMode.DRAFT)) is None
    assert render_feed(manifest_of(*AP_NAMES)) is None
    assert render_feed(manifest_of()) is None


@given(st.text(max_size=60))
def test_feed_holds_any_text(text: str) -> None:
    feed = feed_of(dated(manifest_of(*AP_NAMES[:1]), title=f"x{text}", description=text, keyword=text))
    title = feed.findtext(f"{ATOM}entry/{ATOM}title") or ""
    kept = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "", text)
    assert title == f"x{kept}".replace("\r\n", "\n").replace("\r", "\n")


def test_pages_and_index_name_the_feed_and_drafts_do_not() -> None:
    link = '<link rel="alternate" type="application/atom+xml" title="Articles by Harborline" href="feed.xml">'
    assert link in render_page(request_of(HUB.document()), DATES)
    assert link in render_index(dated(manifest_of(*AP_NAMES)))
    assert "feed.xml" not in render_page(request_of(HUB.document(), mode=PublishMode.DRAFT), DATES)
    assert "feed.xml" not in render_page(request_of(HUB.document()), PageDates())
    assert "feed.xml" not in render_index(manifest_of(*AP_NAMES))


def test_manifest_names_each_articles_address_and_reads_back() -> None:
    manifest = dated(manifest_of(*AP_NAMES))
    facts = json.loads(render_manifest(manifest))
    assert facts["articles"][0]["url"] == "https://harborline.example/articles/accounts-payable-automation.html"
    assert read_manifest(render_manifest(manifest)) == manifest


# --- hub and spoke ---


def test_spoke_names_its_hub_and_a_hub_does_not() -> None:
    spoke = render_page(request_of(SAMPLES["three-way matching"].document()), DATES)
    assert f'Part of the topic <a href="accounts-payable-automation.html">{HUB.outline.title}</a>' in spoke
    assert "Part of the topic" not in render_page(request_of(HUB.document()), DATES)
    alone = request_of(SAMPLES["three-way matching"].document(), available_slugs=[])
    assert "Part of the topic" not in render_page(alone, DATES)


def test_breadcrumb_begins_with_a_capital_and_leaves_names_alone() -> None:
    crumb = '<li aria-current="page">'
    assert f"{crumb}Accounts payable automation</li>" in render_page(request_of(HUB.document()), DATES)
    named = HUB.document().model_copy(update={"keyword": "iPad stands"})
    assert f"{crumb}iPad stands</li>" in render_page(request_of(named), DATES)


# --- colours ---


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("colour", ["ink", "soft", "accent", "mark"])
@pytest.mark.parametrize("ground", ["paper", "panel"])
def test_text_can_be_read_by_the_contrast_of_wcag_aa(theme: Mapping[str, str], colour: str, ground: str) -> None:
    darker, lighter = sorted((_luminance(theme[colour]), _luminance(theme[ground])))
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5
