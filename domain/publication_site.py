"""The published site, rendered: article pages, index, sitemap, manifest, Markdown with front matter. The feed is in
``publication_feed.py``, the look in ``publication_style.py``.

Everything here is a pure function of its arguments; whatever stands between tags is escaped here, except an
article's own HTML, which was sanitized when it was assembled. Pages ask nothing of any other host.
"""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from html import escape
from typing import Any
from uuid import UUID

import yaml

from domain.assembly import REFERENCES_ID, Document, RelatedLink, page_url, related_markdown, site_base_url, slug_of
from domain.brief import PublishMode
from domain.money import Frozen
from domain.publication_style import STYLE
from domain.publishing import PublicationRequest, PublishedArticle, SiteDescription

MANIFEST_VERSION = 1
FEED_FILE = "feed.xml"
CONTENTS_ENTRIES_MIN = 3
READING_WORDS_PER_MINUTE = 220
DEMO_NOTICE = (
    "Demo text: written by the sandbox, not by a language model or a person. It shows how the machinery works; "
    "don’t rely on what it says."
)
DRAFT_NOTICE = "Draft: not meant for readers yet."
_MONTHS_TEXT = "January February March April May June July August September October November December"
_MONTHS = _MONTHS_TEXT.split()
_H2 = re.compile(r'<h2 id="([^"]+)">(.*?)</h2>', re.DOTALL)


class PageDates(Frozen):
    """Aware UTC times of first publication and of the last change; None where the caller has no stored time."""

    published_at: datetime | None = None
    modified_at: datetime | None = None


class ManifestEntry(Frozen):
    """What a site's manifest remembers of an article."""

    article_id: UUID
    slug: str
    title: str
    description: str
    keyword: str
    role: str
    word_count: int
    content_hash: str
    mode: PublishMode
    hub_slug: str | None = None
    published_at: datetime | None = None
    modified_at: datetime | None = None

    @property
    def dates(self) -> PageDates:
        return PageDates(published_at=self.published_at, modified_at=self.modified_at)


class Manifest(Frozen):
    """A published site as its ``manifest.json`` tells it."""

    version: int = MANIFEST_VERSION
    workflow_id: UUID
    workflow_name: str
    organization_name: str
    organization_url: str
    domain: str
    locale: str
    is_demo_text: bool
    articles: tuple[ManifestEntry, ...] = ()

    def entry(self, article_id: UUID) -> ManifestEntry | None:
        return next((one for one in self.articles if one.article_id == article_id), None)

    def with_entry(self, entry: ManifestEntry) -> "Manifest":
        """The entry takes the place of its article's earlier one, or comes last."""
        known = any(one.article_id == entry.article_id for one in self.articles)
        kept = tuple(entry if one.article_id == entry.article_id else one for one in self.articles)
        return self.model_copy(update={"articles": kept if known else (*kept, entry)})

    def without_entry(self, article_id: UUID) -> "Manifest":
        return self.model_copy(update={"articles": tuple(one for one in self.articles if one.article_id != article_id)})


def manifest_of_request(request: PublicationRequest) -> Manifest:
    """The manifest of a site without articles yet."""
    return Manifest(
        workflow_id=request.workflow_id,
        workflow_name=request.workflow_name,
        organization_name=request.organization.name,
        organization_url=request.organization.url,
        domain=request.domain,
        locale=request.document.locale,
        is_demo_text=request.is_demo_text,
    )


def manifest_entry(request: PublicationRequest, earlier: ManifestEntry | None) -> ManifestEntry:
    """The first publication keeps its date; changed content is dated anew."""
    document = request.document
    is_same = earlier is not None and earlier.content_hash == request.content_hash
    published_at = earlier.published_at if earlier and earlier.published_at else request.published_at
    modified_at = earlier.modified_at if earlier and is_same else request.published_at
    return ManifestEntry(
        article_id=request.article_id,
        slug=request.slug,
        title=document.title,
        description=document.meta_description,
        keyword=document.keyword,
        role=document.role,
        word_count=document.word_count,
        content_hash=request.content_hash,
        mode=request.mode,
        hub_slug=earlier.hub_slug if earlier else None,
        published_at=published_at,
        modified_at=modified_at,
    )


def manifest_of_site(workflow_id: UUID, site: SiteDescription, earlier: Manifest | None) -> Manifest:
    """Exactly the site's articles, with the dates that the earlier manifest knows."""
    entries = {entry.article_id: entry for entry in earlier.articles} if earlier else {}
    return Manifest(
        workflow_id=workflow_id,
        workflow_name=site.workflow_name,
        organization_name=site.organization.name,
        organization_url=site.organization.url,
        domain=site.domain,
        locale=site.locale,
        is_demo_text=site.is_demo_text,
        articles=tuple(_site_entry(site, article, entries) for article in site.articles),
    )


def _site_entry(
    site: SiteDescription, article: PublishedArticle, entries: Mapping[UUID, ManifestEntry]
) -> ManifestEntry:
    earlier = entries.get(article.article_id)
    dates = earlier.dates if earlier else PageDates()
    return ManifestEntry(**article.model_dump(), mode=site.mode, **dates.model_dump())


def render_manifest(manifest: Manifest) -> str:
    facts = {**manifest.model_dump(mode="json"), "base_url": site_base_url(manifest.organization_url)}
    for article in facts["articles"]:
        article["url"] = page_url(manifest.organization_url, article["slug"])
    return json.dumps(facts, ensure_ascii=False, indent=2) + "\n"


def read_manifest(text: str) -> Manifest:
    """Raises ValueError when the text is no manifest of ours."""
    facts = json.loads(text)
    if not isinstance(facts, dict):
        raise ValueError("a manifest is one JSON object")
    facts.pop("base_url", None)
    for article in facts.get("articles") or []:
        if isinstance(article, dict):
            article.pop("url", None)
    return Manifest.model_validate(facts)


def render_sitemap(manifest: Manifest) -> str:
    """Pages for readers at their addresses on the organization's site; drafts are none."""
    base = site_base_url(manifest.organization_url)
    shown = [entry for entry in manifest.articles if entry.mode is PublishMode.PUBLISH]
    locations = [(base, None), *((f"{base}{entry.slug}.html", entry.modified_at) for entry in shown)]
    lines = [
        f"  <url><loc>{escape(address)}</loc>{f'<lastmod>{_iso(moment)}</lastmod>' if moment else ''}</url>"
        for address, moment in locations
    ]
    body = "\n".join(lines)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{body}\n</urlset>\n'
    )


def render_markdown(request: PublicationRequest, dates: PageDates) -> str:
    """The article with front matter as static site generators read it."""
    document = request.document
    facts: dict[str, Any] = {
        "title": document.title,
        "description": document.meta_description,
        "slug": document.slug,
        "date": _iso(dates.published_at),
        "lastmod": _iso(dates.modified_at),
        "draft": request.mode is PublishMode.DRAFT,
        "keyword": document.keyword,
        "canonical": page_url(request.organization.url, document.slug),
        "article_id": str(request.article_id),
        "content_hash": request.content_hash,
        "demo_text": request.is_demo_text,
    }
    known = {name: value for name, value in facts.items() if value is not None}
    matter = yaml.safe_dump(known, sort_keys=False, allow_unicode=True, width=1000)
    notice = f"> {DEMO_NOTICE}\n\n" if request.is_demo_text else ""
    related = related_markdown(document)
    return f"---\n{matter}---\n\n{notice}{document.markdown}" + (f"\n{related}" if related else "")


def render_page(request: PublicationRequest, dates: PageDates) -> str:
    """An article as a whole page."""
    document = request.document
    _, _, body = document.html.partition("</h1>")
    head = _page_head(request, dates)
    parts = [
        _notices(is_demo_text=request.is_demo_text, is_draft=request.mode is PublishMode.DRAFT),
        _masthead(request.organization.name),
        '<main id="content" class="article-layout">',
        _article_header(request, dates),
        _contents(body),
        f'<div class="prose">{_with_reference_section(body)}</div>',
        _related(document),
        "</main>",
        _footer(request.organization.name, request.organization.url, has_feed=_is_in_feed(request, dates)),
    ]
    return _document(document.locale, head, "\n".join(part for part in parts if part))


def render_index(manifest: Manifest) -> str:
    """The site's list of articles: hubs with their spokes below them."""
    name = manifest.organization_name
    drafts = any(entry.mode is PublishMode.DRAFT for entry in manifest.articles)
    count, topics = len(manifest.articles), _topics(manifest.articles)
    has_feed = any(one.mode is PublishMode.PUBLISH and one.published_at for one in manifest.articles)
    head = _head_tags(
        title=f"Articles | {name}",
        description=f"{_count(count, 'article')} by {name}.",
        canonical=site_base_url(manifest.organization_url),
        is_hidden=manifest.is_demo_text or drafts,
        extra=[_feed_link(name)] if has_feed else [],
    )
    in_topics = f" in {_count(len(topics), 'topic')}" if len(topics) < count else ""
    parts = [
        _notices(is_demo_text=manifest.is_demo_text, is_draft=False),
        _masthead(name),
        '<main id="content" class="index-layout">',
        f'<header class="article-header"><p class="kicker">{escape(name)}</p><h1>Articles</h1>'
        f'<p class="byline">{_count(count, "article")}{in_topics}</p></header>',
        *(_topic(entry, spokes) for entry, spokes in topics),
        "</main>",
        _footer(name, manifest.organization_url, has_feed=has_feed),
    ]
    return _document(manifest.locale, head, "\n".join(part for part in parts if part))


def render_overview(sites: Sequence[tuple[str, Manifest]]) -> str:
    """All sites of an output folder: (relative path of the site's folder, its manifest), in the order to show."""
    head = _head_tags(
        title="Published articles", description="Everything published here.", canonical=None, is_hidden=True, extra=[]
    )
    parts = [
        '<main id="content" class="index-layout">',
        f'<header class="article-header"><h1>Published articles</h1><p class="byline">{_count(len(sites), "site")}, '
        f"{_count(sum(len(manifest.articles) for _, manifest in sites), 'article')}</p></header>",
        *(_site(path, manifest) for path, manifest in sites),
        "</main>",
    ]
    return _document("en", head, "\n".join(parts))


# --- parts of a page ---


def _document(locale: str, head: str, body: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(locale)}">\n<head>\n{head}\n<style>{STYLE}</style>\n</head>\n'
        f'<body>\n<a class="skip" href="#content">Skip to the content</a>\n{body}\n</body>\n</html>\n'
    )


def _head_tags(*, title: str, description: str, canonical: str | None, is_hidden: bool, extra: Sequence[str]) -> str:
    tags = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(title)}</title>",
        _meta("description", description),
    ]
    if canonical:
        tags.append(f'<link rel="canonical" href="{escape(canonical)}">')
    if is_hidden:
        tags.append(_meta("robots", "noindex"))
    return "\n".join([*tags, *extra])


def feed_title(organization_name: str) -> str:
    return f"Articles by {organization_name}"


def _feed_link(organization_name: str) -> str:
    """For readers of feeds to find it; relative, so that it is right wherever the folder lies."""
    title = escape(feed_title(organization_name))
    return f'<link rel="alternate" type="application/atom+xml" title="{title}" href="{FEED_FILE}">'


def _meta(name: str, content: str) -> str:
    return f'<meta name="{escape(name)}" content="{escape(content)}">'


def _property(name: str, content: str) -> str:
    return f'<meta property="{escape(name)}" content="{escape(content)}">'


def _page_head(request: PublicationRequest, dates: PageDates) -> str:
    document = request.document
    address = page_url(request.organization.url, document.slug)
    extra = [
        _property("og:type", "article"),
        _property("og:title", document.title),
        _property("og:description", document.meta_description),
        _property("og:url", address),
        _property("og:site_name", request.organization.name),
        _property("og:locale", document.locale.replace("-", "_")),
        _meta("twitter:card", "summary"),
        article_mark(request.article_id),
        f'<script type="application/ld+json">{script_json(dated_json_ld(document, dates))}</script>',
    ]
    if dates.published_at:
        extra.insert(6, _property("article:published_time", _iso(dates.published_at) or ""))
    if _is_in_feed(request, dates):
        extra.append(_feed_link(request.organization.name))
    return _head_tags(
        title=document.meta_title,
        description=document.meta_description,
        canonical=address,
        is_hidden=request.is_demo_text or request.mode is PublishMode.DRAFT,
        extra=extra,
    )


def _is_in_feed(request: PublicationRequest, dates: PageDates) -> bool:
    return request.mode is PublishMode.PUBLISH and dates.published_at is not None


def article_mark(article_id: UUID) -> str:
    """The tag that says whose page a file is: without it a file is not ours to overwrite."""
    return _meta("article-id", str(article_id))


def dated_json_ld(document: Document, dates: PageDates) -> dict[str, Any]:
    """The document's JSON-LD with the dates of its publication."""
    json_ld = deepcopy(document.json_ld)
    known = {"datePublished": _iso(dates.published_at), "dateModified": _iso(dates.modified_at)}
    for node in json_ld["@graph"]:
        if node["@type"] == "BlogPosting":
            node.update({name: value for name, value in known.items() if value})
    return json_ld


def script_json(value: Any) -> str:
    """JSON that can't end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def shown_notice(*, is_demo_text: bool) -> str:
    """What has to be said of the whole site's texts; empty for real ones."""
    return DEMO_NOTICE if is_demo_text else ""


def _notices(*, is_demo_text: bool, is_draft: bool) -> str:
    texts = [text for text, is_shown in ((DEMO_NOTICE, is_demo_text), (DRAFT_NOTICE, is_draft)) if is_shown]
    return "\n".join(f'<p class="notice" role="note">{escape(text)}</p>' for text in texts)


def _masthead(name: str) -> str:
    return f'<header class="masthead"><a href="index.html">{escape(name)}</a></header>'


def _article_header(request: PublicationRequest, dates: PageDates) -> str:
    document, name = request.document, escape(request.organization.name)
    facts = [_reading_time(document.word_count), _count(len(document.references), "source")]
    if dates.published_at:
        facts.insert(0, f'<time datetime="{_iso(dates.published_at)}">{_day(dates.published_at)}</time>')
    return (
        '<header class="article-header">\n'
        '<nav class="breadcrumb" aria-label="Breadcrumb"><ol>'
        f'<li><a href="{escape(_safe_address(request.organization.url))}">{name}</a></li>'
        '<li><a href="index.html">Articles</a></li>'
        f'<li aria-current="page">{escape(_sentence_case(document.keyword))}</li></ol></nav>\n'
        f"<h1>{escape(document.title)}</h1>\n"
        f'<p class="standfirst">{escape(document.meta_description)}</p>\n'
        f'<p class="byline">{" · ".join(facts)}</p>\n{_topic_line(document)}'
        "</header>"
    )


def _topic_line(document: Document) -> str:
    """A spoke names its hub."""
    hub = _hub_link(document)
    if hub is None:
        return ""
    return f'<p class="kicker">Part of the topic <a href="{hub.href}">{escape(hub.text)}</a></p>\n'


def _hub_link(document: Document) -> RelatedLink | None:
    """The hub's slug comes from its keyword; where that was taken by another page the line is left out."""
    if not document.hub_keyword:
        return None
    slug = slug_of(document.hub_keyword)
    return next((link for link in document.links if link.slug == slug), None)


def _sentence_case(text: str) -> str:
    """With a capital first, unless the first word has capitals of its own (iPad, eBay)."""
    first = text.split(" ", 1)[0]
    return text if first != first.lower() else text[:1].upper() + text[1:]


def _reading_time(words: int) -> str:
    return f"{max(1, round(words / READING_WORDS_PER_MINUTE))} min read"


def _contents(body: str) -> str:
    """Links to the sections; their texts come from sanitized HTML."""
    entries = [f'<li><a href="#{identifier}">{text}</a></li>' for identifier, text in _H2.findall(body)]
    if len(entries) < CONTENTS_ENTRIES_MIN:
        return ""
    return (
        f'<nav class="contents" aria-label="In this article"><h2>In this article</h2><ol>{"".join(entries)}</ol></nav>'
    )


def _with_reference_section(body: str) -> str:
    """References are set apart, so that they can look like what they are."""
    text, mark, references = body.partition(f'<h2 id="{REFERENCES_ID}">')
    return f'{text}<section class="sources">{mark}{references}</section>' if mark else body


def _related(document: Document) -> str:
    if not document.links:
        return ""
    items = "".join(f'<li><a href="{link.href}">{escape(link.text)}</a></li>' for link in document.links)
    return f'<nav class="related" aria-label="Related articles"><h2>Related articles</h2><ul>{items}</ul></nav>'


def _footer(name: str, url: str, *, has_feed: bool) -> str:
    feed = f' <a href="{FEED_FILE}">Feed</a>' if has_feed else ""
    return (
        f'<footer class="footer"><p><a href="{escape(_safe_address(url))}">{escape(name)}</a> '
        f'<a href="index.html">All articles</a>{feed}</p></footer>'
    )


def _safe_address(url: str) -> str:
    address = url if "//" in url else f"https://{url}"
    return address if address.startswith(("https://", "http://")) else "#"


# --- parts of the lists ---


def _topics(entries: Sequence[ManifestEntry]) -> list[tuple[ManifestEntry, list[ManifestEntry]]]:
    """Each hub with its spokes; an article whose hub is not here stands by itself."""
    slugs = {entry.slug for entry in entries}
    heads = [entry for entry in entries if entry.hub_slug not in slugs]
    return [(head, [entry for entry in entries if entry.hub_slug == head.slug]) for head in heads]


def _topic(entry: ManifestEntry, spokes: Sequence[ManifestEntry]) -> str:
    below = "".join(
        f'<li><a href="{spoke.slug}.html">{escape(spoke.title)}</a>{_draft_label(spoke)}'
        f"<p>{escape(spoke.description)}</p></li>"
        for spoke in spokes
    )
    return (
        f'<section class="topic"><h2><a href="{entry.slug}.html">{escape(entry.title)}</a>{_draft_label(entry)}</h2>'
        f"<p>{escape(entry.description)}</p>{_entry_facts(entry)}{f'<ul>{below}</ul>' if below else ''}</section>"
    )


def _entry_facts(entry: ManifestEntry) -> str:
    facts = [_reading_time(entry.word_count)]
    if entry.published_at:
        facts.insert(0, f'<time datetime="{_iso(entry.published_at)}">{_day(entry.published_at)}</time>')
    return f'<p class="byline">{" · ".join(facts)}</p>'


def _draft_label(entry: ManifestEntry) -> str:
    return ' <span class="label">Draft</span>' if entry.mode is PublishMode.DRAFT else ""


def _site(path: str, manifest: Manifest) -> str:
    items = "".join(
        f'<li><a href="{escape(path)}/{entry.slug}.html">{escape(entry.title)}</a>{_draft_label(entry)}'
        f"<p>{escape(entry.description)}</p></li>"
        for entry in manifest.articles
    )
    demo = ' <span class="label">Demo text</span>' if manifest.is_demo_text else ""
    return (
        f'<section class="topic"><h2><a href="{escape(path)}/index.html">{escape(manifest.organization_name)}</a>'
        f'{demo}</h2><p class="byline">{escape(manifest.domain)} · {escape(manifest.workflow_name)}</p>'
        f"<ul>{items}</ul></section>"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


def _day(moment: datetime) -> str:
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
