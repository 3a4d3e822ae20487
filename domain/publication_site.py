"""The published site, rendered: article pages, index, sitemap, manifest, Markdown with front matter.

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

from domain.assembly import REFERENCES_ID, Document, page_url, related_markdown, site_base_url
from domain.brief import PublishMode
from domain.money import Frozen
from domain.publishing import PublicationRequest, PublishedArticle, SiteDescription

MANIFEST_VERSION = 1
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
    return json.dumps(facts, ensure_ascii=False, indent=2) + "\n"


def read_manifest(text: str) -> Manifest:
    """Raises ValueError when the text is no manifest of ours."""
    facts = json.loads(text)
    if not isinstance(facts, dict):
        raise ValueError("a manifest is one JSON object")
    facts.pop("base_url", None)
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
        _footer(request.organization.name, request.organization.url),
    ]
    return _document(document.locale, head, "\n".join(part for part in parts if part))


def render_index(manifest: Manifest) -> str:
    """The site's list of articles: hubs with their spokes below them."""
    name = manifest.organization_name
    drafts = any(entry.mode is PublishMode.DRAFT for entry in manifest.articles)
    count = len(manifest.articles)
    head = _head_tags(
        title=f"Articles | {name}",
        description=f"{count} articles by {name}.",
        canonical=site_base_url(manifest.organization_url),
        is_hidden=manifest.is_demo_text or drafts,
        extra=[],
    )
    parts = [
        _notices(is_demo_text=manifest.is_demo_text, is_draft=False),
        _masthead(name),
        '<main id="content" class="index-layout">',
        f'<header class="article-header"><p class="kicker">{escape(name)}</p><h1>Articles</h1>'
        f'<p class="byline">{_count(count, "article")}, {_count(_hubs(manifest), "topic")}</p></header>',
        *(_topic(entry, spokes) for entry, spokes in _topics(manifest.articles)),
        "</main>",
        _footer(name, manifest.organization_url),
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
        f'<!DOCTYPE html>\n<html lang="{escape(locale)}">\n<head>\n{head}\n<style>{_STYLE}</style>\n</head>\n'
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
    return _head_tags(
        title=document.meta_title,
        description=document.meta_description,
        canonical=address,
        is_hidden=request.is_demo_text or request.mode is PublishMode.DRAFT,
        extra=extra,
    )


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


def _notices(*, is_demo_text: bool, is_draft: bool) -> str:
    texts = [text for text, is_shown in ((DEMO_NOTICE, is_demo_text), (DRAFT_NOTICE, is_draft)) if is_shown]
    return "\n".join(f'<p class="notice" role="note">{escape(text)}</p>' for text in texts)


def _masthead(name: str) -> str:
    return f'<header class="masthead"><a href="index.html">{escape(name)}</a></header>'


def _article_header(request: PublicationRequest, dates: PageDates) -> str:
    document, name = request.document, escape(request.organization.name)
    minutes = max(1, round(document.word_count / READING_WORDS_PER_MINUTE))
    facts = [f"{minutes} min read", _count(len(document.references), "source")]
    if dates.published_at:
        facts.insert(0, f'<time datetime="{_iso(dates.published_at)}">{_day(dates.published_at)}</time>')
    return (
        '<header class="article-header">\n'
        '<nav class="breadcrumb" aria-label="Breadcrumb"><ol>'
        f'<li><a href="{escape(_safe_address(request.organization.url))}">{name}</a></li>'
        '<li><a href="index.html">Articles</a></li>'
        f'<li aria-current="page">{escape(document.keyword)}</li></ol></nav>\n'
        f"<h1>{escape(document.title)}</h1>\n"
        f'<p class="standfirst">{escape(document.meta_description)}</p>\n'
        f'<p class="byline">{" · ".join(facts)}</p>\n'
        "</header>"
    )


def _contents(body: str) -> str:
    """Links to the sections; their texts come from sanitized HTML."""
    entries = [f'<li><a href="#{identifier}">{text}</a></li>' for identifier, text in _H2.findall(body)]
    if not entries:
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


def _footer(name: str, url: str) -> str:
    return (
        f'<footer class="footer"><p><a href="{escape(_safe_address(url))}">{escape(name)}</a> '
        '<a href="index.html">All articles</a></p></footer>'
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


def _hubs(manifest: Manifest) -> int:
    return len(_topics(manifest.articles))


def _topic(entry: ManifestEntry, spokes: Sequence[ManifestEntry]) -> str:
    below = "".join(
        f'<li><a href="{spoke.slug}.html">{escape(spoke.title)}</a>{_draft_label(spoke)}'
        f"<p>{escape(spoke.description)}</p></li>"
        for spoke in spokes
    )
    return (
        f'<section class="topic"><h2><a href="{entry.slug}.html">{escape(entry.title)}</a>{_draft_label(entry)}</h2>'
        f"<p>{escape(entry.description)}</p>{f'<ul>{below}</ul>' if below else ''}</section>"
    )


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


_STYLE = """
:root{color-scheme:light dark;--paper:#fcfbf9;--panel:#f4f1eb;--ink:#1f1d1a;--soft:#625d55;--line:#e2dcd1;
--accent:#1d5b86;--mark:#8a5a0b;--serif:"Iowan Old Style","Palatino Linotype",Palatino,"Book Antiqua",Georgia,serif;
--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
@media (prefers-color-scheme:dark){:root{--paper:#16181b;--panel:#1e2125;--ink:#e7e3dc;--soft:#a8a297;--line:#31353b;
--accent:#8fc2e6;--mark:#e0b15c}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0;background:var(--paper);color:var(--ink);font:1.0625rem/1.65 var(--serif);overflow-wrap:break-word}
a{color:var(--accent);text-underline-offset:.18em;text-decoration-thickness:1px}
a:hover{text-decoration-thickness:2px}
:focus-visible{outline:2px solid var(--accent);outline-offset:3px;border-radius:2px}
.skip{position:absolute;left:-999px}
.skip:focus{left:1rem;top:.5rem;background:var(--paper);padding:.4rem .8rem}
.notice{margin:0;padding:.6rem 1.25rem;background:var(--panel);border-bottom:1px solid var(--line);color:var(--mark);
font:.8125rem/1.45 var(--sans);text-align:center}
.masthead{padding:1rem 1.25rem;border-bottom:1px solid var(--line);font:600 .9375rem/1.3 var(--sans)}
.masthead a{display:block;max-width:39.5rem;margin:0 auto;color:var(--ink);text-decoration:none}
.article-layout,.index-layout{max-width:42rem;margin:0 auto;padding:2rem 1.25rem 3rem}
.breadcrumb ol{display:flex;flex-wrap:wrap;margin:0;padding:0;list-style:none;font:.8125rem/1.5 var(--sans);
color:var(--soft)}
.breadcrumb li+li::before{content:"/";margin:0 .5em;color:var(--line)}
.breadcrumb a{color:var(--soft)}
h1,h2,h3{line-height:1.22;text-wrap:balance;font-weight:600}
h1{font-size:clamp(1.9rem,1.35rem + 2.4vw,2.75rem);letter-spacing:-.012em;margin:.6rem 0 .9rem}
.standfirst{margin:0 0 1rem;font-size:1.1875rem;line-height:1.5;color:var(--soft)}
.byline,.kicker{margin:0;font:.8125rem/1.5 var(--sans);color:var(--soft)}
.article-header{padding-bottom:1.5rem;border-bottom:1px solid var(--line)}
.contents{margin:1.75rem 0 0;padding:1rem 1.25rem;background:var(--panel);border-radius:6px;
font:.9rem/1.45 var(--sans)}
.contents h2,.related h2{margin:0 0 .6rem;font:600 .8125rem/1.4 var(--sans);color:var(--soft)}
.contents ol{margin:0;padding:0;list-style:none}
.contents li+li{margin-top:.4rem}
.contents a{color:var(--ink);text-decoration:none}
.contents a:hover{color:var(--accent);text-decoration:underline}
.prose h2{margin:2.6rem 0 .8rem;font-size:1.5rem;scroll-margin-top:1rem}
.prose p{margin:0 0 1.1rem}
.prose ul{margin:0 0 1.2rem;padding-left:1.25rem}
.prose li{margin:.35rem 0;padding-left:.15rem}
.prose li::marker{color:var(--soft)}
.citation{font:.72em/0 var(--sans);vertical-align:super;text-decoration:none;white-space:nowrap}
.citation:hover{text-decoration:underline}
.sources{margin-top:3rem;padding-top:1.25rem;border-top:1px solid var(--line);
font:.875rem/1.5 var(--sans);color:var(--soft)}
.sources h2{margin:0 0 .6rem;font:600 .9375rem/1.4 var(--sans);color:var(--ink)}
.sources ol{margin:0;padding-left:1.5rem}
.sources li:target{background:var(--panel);outline:.35rem solid var(--panel);color:var(--ink)}
.related{margin-top:2.5rem}
.related ul{display:grid;gap:.75rem;margin:0;padding:0;list-style:none}
.related a{display:block;height:100%;padding:.85rem 1rem;border:1px solid var(--line);border-radius:6px;
color:var(--ink);text-decoration:none;line-height:1.35}
.related a:hover{border-color:var(--accent);color:var(--accent)}
.topic{padding:1.6rem 0;border-bottom:1px solid var(--line)}
.topic:last-child{border-bottom:0}
.topic h2{margin:0 0 .4rem;font-size:1.375rem}
.topic h2 a,.topic li a{color:var(--ink);text-decoration:none}
.topic h2 a:hover,.topic li a:hover{color:var(--accent);text-decoration:underline}
.topic p{margin:0;color:var(--soft);font-size:1rem;line-height:1.5}
.topic p.byline{font-size:.8125rem}
.topic ul{margin:1.1rem 0 0;padding:0 0 0 1.1rem;list-style:none;border-left:2px solid var(--line)}
.topic li+li{margin-top:.9rem}
.topic li p{font-size:.9375rem}
.label{font:600 .6875rem/1 var(--sans);color:var(--mark);border:1px solid currentColor;border-radius:3px;
padding:.15em .4em;vertical-align:.15em;white-space:nowrap}
.footer{border-top:1px solid var(--line);padding:1.5rem 1.25rem 2.5rem;font:.875rem/1.5 var(--sans)}
.footer p{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;max-width:39.5rem;margin:0 auto}
.footer a{color:var(--soft)}
@media (min-width:40rem){body{font-size:1.125rem}.related ul{grid-template-columns:1fr 1fr}}
@media (min-width:64rem){.article-layout{display:grid;max-width:66rem;grid-template-columns:minmax(0,42rem) 16rem;
column-gap:5rem;padding-top:3rem}
.article-layout>*{grid-column:1}
.article-layout>.contents{grid-column:2;grid-row:2/span 3;align-self:start;position:sticky;top:1.5rem;margin-top:2.6rem;
max-height:calc(100vh - 3rem);overflow:auto}
.article-layout>.article-header{grid-column:1}
.index-layout{max-width:66rem;padding-top:3rem}
.index-layout>*{max-width:42rem}
.masthead a,.footer p{max-width:63.5rem}}
@media print{.masthead,.contents,.related,.footer,.skip{display:none}body{background:#fff;color:#000}}
"""
