import json
import re
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
    assert not re.search(r'\ssrc=|<link rel="(?!canonical)|@import|url\(|<iframe|<form', page)
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
    assert "4 articles, 2 topics" in page
    hub = page[page.index('<section class="topic">') : page.index("</section>")]
    assert hub.count("<li>") == 2


def test_index_shows_a_spoke_without_its_hub_by_itself() -> None:
    page = render_index(manifest_of("three-way matching"))
    assert "1 article, 1 topic" in page
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
