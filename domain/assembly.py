"""From sections to a document, by code: Markdown, HTML, slug, metadata, references, links, JSON-LD.

What a person approves is the document's content hash. Links to sibling articles stand outside of it, in
``Document.links``: they are navigation, drawn anew from the articles that are really published, so a sibling that is
missing takes its link away without changing what was approved.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.normalize_url import normalizeLink
from markdown_it.token import Token

from domain.article import ArticlePlan, Block, BlockKind, Outline, SectionContent
from domain.brief import Brief, Organization
from domain.identifiers import bare_domain
from domain.money import Frozen
from domain.pages import Passage
from domain.text import clean_text, words

ARTICLES_PATH = "articles"
SLUG_CHARACTERS_MAX = 60
META_TITLE_CHARACTERS_MAX = 60
HEADLINE_CHARACTERS_MAX = 110
RELATED_LINKS_MAX = 8
REFERENCES_HEADING = "References"
REFERENCES_ID = "references"
# Names of the site's own files: an article may not take them.
RESERVED_SLUGS = frozenset({"index", "sitemap", "manifest", "feed"})


class LinkTarget(Frozen):
    """Another planned article; ``title`` is its title where it is known, else empty."""

    article_id: UUID
    keyword: str
    title: str
    slug: str


class RelatedLink(Frozen):
    """A link to a sibling of the same site."""

    article_id: UUID
    slug: str
    text: str

    @property
    def href(self) -> str:
        return f"{self.slug}.html"


class Reference(Frozen):
    """A cited page; ``passages`` are the numbers of its passages that the article cites."""

    number: int
    url: str
    title: str
    passages: tuple[int, ...]


class DocumentSection(Frozen):
    number: int
    heading: str
    content: SectionContent


class Document(Frozen):
    """A whole article. ``markdown`` and ``html`` hold title, sections and references; ``links`` are the related
    articles and ``site_slugs`` the slugs that may be linked to: those two stand outside the content hash."""

    article_id: UUID
    keyword: str
    role: str
    hub_keyword: str | None
    locale: str
    title: str
    slug: str
    meta_title: str
    meta_description: str
    markdown: str
    html: str
    json_ld: dict[str, Any]
    sections: tuple[DocumentSection, ...]
    references: tuple[Reference, ...]
    word_count: int
    links: tuple[RelatedLink, ...] = ()
    site_slugs: tuple[str, ...] = ()


def assemble(
    brief: Brief,
    plan: ArticlePlan,
    outline: Outline,
    sections: Sequence[SectionContent],
    passages: Sequence[Passage],
    siblings: Sequence[LinkTarget],
    *,
    slug: str | None = None,
    existing_slugs: Collection[str] = (),
    page_titles: Mapping[str, str] | None = None,
) -> Document:
    """``sections`` in the outline's order; ``slug`` is the planned one, else it is made of the keyword, unlike
    ``existing_slugs`` (those of other articles); ``page_titles`` by URL name the references.

    Raises ValueError when the number of sections is not the outline's.
    """
    numbered = tuple(
        DocumentSection(number=number, heading=planned.heading, content=content)
        for number, (planned, content) in enumerate(zip(outline.sections, sections, strict=True), start=1)
    )
    references = references_of(sections, passages, page_titles or {})
    markdown = compose_markdown(outline.title, numbered, references)
    slug = slug or slug_of(plan.keyword, existing_slugs)
    word_count = sum(len(words(text)) for content in sections for block in content.blocks for text in block.texts)
    return Document(
        article_id=plan.article_id,
        keyword=plan.keyword,
        role=plan.role,
        hub_keyword=plan.hub,
        locale=brief.locale,
        title=outline.title,
        slug=slug,
        meta_title=_meta_title(outline.title, brief.organization),
        meta_description=outline.meta_description,
        markdown=markdown,
        html=render_html(markdown),
        json_ld=_json_ld(brief, plan, outline, slug, references, word_count),
        sections=numbered,
        references=references,
        word_count=word_count,
        links=_related_links(plan, siblings),
        site_slugs=tuple(sorted(target.slug for target in siblings)),
    )


def content_hash(document: Document) -> str:
    """SHA-256 (hex) of everything but the links to siblings; the same after a round trip through JSON."""
    facts = document.model_dump(mode="json", exclude={"links", "site_slugs"})
    canonical = json.dumps(facts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def relink(
    document: Document, available_slugs: Collection[str], *, titles: Mapping[str, str] | None = None
) -> Document:
    """The document with links only to ``available_slugs`` (with ``titles`` by slug where given); same content hash."""
    links = tuple(
        link.model_copy(update={"text": (titles or {}).get(link.slug, link.text)})
        for link in document.links
        if link.slug in available_slugs
    )
    slugs = tuple(sorted(set(available_slugs)))
    return document.model_copy(update={"links": links, "site_slugs": slugs})


# --- slugs and addresses ---

_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})


def slug_of(text: str, taken: Collection[str] = ()) -> str:
    """A slug of a-z, 0-9 and single hyphens, at most 60 characters, unlike those taken (then -2, -3, …)."""
    lowered = text.lower().replace("'", "").replace("’", "").translate(_LETTERS)
    plain = unicodedata.normalize("NFKD", lowered)
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    base = _cut_at_word("-".join(re.findall(r"[a-z0-9]+", plain)), SLUG_CHARACTERS_MAX)
    base = base or f"article-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    slug, count = base, 1
    while slug in taken or slug in RESERVED_SLUGS:
        count += 1
        slug = f"{base}-{count}"
    return slug


def _cut_at_word(slug: str, characters_max: int) -> str:
    if len(slug) <= characters_max:
        return slug
    head = slug[: characters_max + 1].rpartition("-")[0]
    return head or slug[:characters_max]


def planned_slugs(plans: Sequence[ArticlePlan], taken: Collection[str] = ()) -> dict[UUID, str]:
    """The slug of each planned article, known before it is written: from its keyword, in the plan's order."""
    slugs: dict[UUID, str] = {}
    for plan in plans:
        slugs[plan.article_id] = slug_of(plan.keyword, {*taken, *slugs.values()})
    return slugs


def site_base_url(organization_url: str) -> str:
    """Where the published folder belongs on the organization's site; ends with a slash."""
    parts = urlsplit(organization_url if "//" in organization_url else f"https://{organization_url}")
    return urlunsplit((parts.scheme or "https", parts.netloc, f"{parts.path.rstrip('/')}/{ARTICLES_PATH}/", "", ""))


def page_url(organization_url: str, slug: str) -> str:
    return f"{site_base_url(organization_url)}{slug}.html"


# --- references and links ---


def references_of(
    sections: Sequence[SectionContent], passages: Sequence[Passage], page_titles: Mapping[str, str]
) -> tuple[Reference, ...]:
    """One reference per cited page, numbered in the order of first citation."""
    url_of = {passage.number: passage.url for passage in passages}
    cited: dict[str, dict[int, None]] = {}
    for content in sections:
        for block in content.blocks:
            for number in block.passages:
                if number in url_of:
                    cited.setdefault(url_of[number], {})[number] = None
    return tuple(
        Reference(number=number, url=url, title=_page_title(url, page_titles), passages=tuple(sorted(numbers)))
        for number, (url, numbers) in enumerate(cited.items(), start=1)
    )


def _page_title(url: str, page_titles: Mapping[str, str]) -> str:
    title = clean_text(page_titles.get(url, ""))
    return title or f"{bare_domain(url)}{urlsplit(url).path.rstrip('/')}" or url


def _related_links(plan: ArticlePlan, siblings: Sequence[LinkTarget]) -> tuple[RelatedLink, ...]:
    """Hub and spokes link to each other always; articles of other clusters fill up the list."""
    order = {keyword: position for position, keyword in enumerate((plan.hub or "", *plan.siblings))}
    others = sorted(
        (target for target in siblings if target.article_id != plan.article_id),
        key=lambda target: order.get(target.keyword, len(order)),
    )
    kin = [target for target in others if target.keyword == plan.hub or target.keyword in plan.spokes]
    rest = [target for target in others if target not in kin]
    chosen = [*kin, *rest[: max(0, RELATED_LINKS_MAX - len(kin))]]
    return tuple(RelatedLink(article_id=one.article_id, slug=one.slug, text=_link_text(one)) for one in chosen)


def _link_text(target: LinkTarget) -> str:
    text = clean_text(target.title) or clean_text(target.keyword)
    return text[:1].upper() + text[1:]


# --- Markdown ---

_MARKDOWN_SPECIAL = re.compile(r"([\\`*_\[\]<>~|])")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_LINE_START = re.compile(r"^(?:(#{1,6}|[-+=])|(\d{1,9})([.)]))(?=\s|$|[-=])")


def escape_markdown(text: str) -> str:
    """The text, as one line, so that a Markdown reader shows exactly it."""
    text = " ".join(text.split())
    escaped = _ENTITY.sub(r"\\&", _MARKDOWN_SPECIAL.sub(r"\\\1", text))
    return _LINE_START.sub(lambda match: f"\\{match[1]}" if match[1] else f"{match[2]}\\{match[3]}", escaped)


def compose_markdown(title: str, sections: Sequence[DocumentSection], references: Sequence[Reference]) -> str:
    """Title, sections with their citations, references; ends with one line break."""
    reference_of = {passage: one.number for one in references for passage in one.passages}
    parts = [f"# {escape_markdown(title)}"]
    for section in sections:
        parts.append(f"## {escape_markdown(section.heading)}")
        parts += [_block_markdown(block, reference_of) for block in section.content.blocks]
    if references:
        parts += [f"## {REFERENCES_HEADING}", "\n".join(_reference_markdown(one) for one in references)]
    return "\n\n".join(parts) + "\n"


def _block_markdown(block: Block, reference_of: Mapping[int, int]) -> str:
    marks = _citations(block, reference_of)
    if block.kind is BlockKind.PARAGRAPH:
        return f"{escape_markdown(block.text)}{marks}"
    items = [f"- {escape_markdown(item)}" for item in block.items]
    if not block.text:
        items[-1] += marks
        return "\n".join(items)
    return "\n".join([f"{escape_markdown(block.text)}{marks}", "", *items])


def _citations(block: Block, reference_of: Mapping[int, int]) -> str:
    numbers = sorted({reference_of[number] for number in block.passages if number in reference_of})
    return "".join(f" [\\[{number}\\]](#ref-{number})" for number in numbers)


def _reference_markdown(reference: Reference) -> str:
    title = escape_markdown(reference.title)
    if urlsplit(reference.url).scheme not in ("http", "https"):
        return f"{reference.number}. {title}"
    domain = bare_domain(reference.url)
    ending = "" if reference.title.startswith(domain) else f", {escape_markdown(domain)}"
    return f"{reference.number}. [{title}](<{link_address(reference.url)}>){ending}"


def link_address(url: str) -> str:
    """The address as the HTML carries it, percent-encoded: nothing in it can end a link early."""
    return normalizeLink(url)


def related_markdown(document: Document) -> str:
    """The related articles as a Markdown section, empty when there are none."""
    if not document.links:
        return ""
    lines = [f"- [{escape_markdown(link.text)}]({link.href})" for link in document.links]
    return "\n".join(["## Related articles", "", *lines]) + "\n"


# --- HTML ---

_TAGS = {"h1", "h2", "h3", "p", "ul", "ol", "li", "a", "em", "strong", "code", "blockquote", "br"}
_ATTRIBUTES = {"h2": {"id"}, "h3": {"id"}, "li": {"id"}, "a": {"href", "rel"}, "ol": {"start"}}
_CLASSES = {"a": {"citation"}, "ol": {"references"}}
_CITATION_HREF = re.compile(r"#ref-\d+")


def render_html(markdown: str) -> str:
    """The article as an HTML fragment: raw HTML stays text, headings and references get ids, sanitized last."""
    reader = MarkdownIt("commonmark", {"html": False})
    tokens = reader.parse(markdown)
    _mark_headings_and_references(tokens)
    for token in tokens:
        _mark_links(token.children or [])
    html = reader.renderer.render(tokens, reader.options, {})
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_CLASSES,
        link_rel=None,
        url_schemes={"http", "https"},
    ).strip()


def _mark_headings_and_references(tokens: Sequence[Token]) -> None:
    taken: set[str] = {f"ref-{number}" for number in range(1, 1 + sum(one.type == "list_item_open" for one in tokens))}
    in_references = False
    number = 0
    for position, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag != "h1":
            text = _visible(tokens[position + 1])
            in_references = text == REFERENCES_HEADING
            identifier = slug_of(text, taken)
            taken.add(identifier)
            token.attrSet("id", identifier)
        elif in_references and token.type == "ordered_list_open":
            token.attrSet("class", "references")
        elif in_references and token.type == "list_item_open":
            number += 1
            token.attrSet("id", f"ref-{number}")


def _visible(inline: Token) -> str:
    return "".join(child.content for child in inline.children or [])


def _mark_links(children: Sequence[Token]) -> None:
    for child in children:
        if child.type != "link_open":
            continue
        href = str(child.attrGet("href") or "")
        if _CITATION_HREF.fullmatch(href):
            child.attrSet("class", "citation")
        elif urlsplit(href).scheme:
            child.attrSet("rel", "nofollow noopener")


# --- metadata ---


def _meta_title(title: str, organization: Organization) -> str:
    branded = f"{title} | {clean_text(organization.name)}"
    return branded if len(branded) <= META_TITLE_CHARACTERS_MAX else title


def _json_ld(
    brief: Brief,
    plan: ArticlePlan,
    outline: Outline,
    slug: str,
    references: Sequence[Reference],
    word_count: int,
) -> dict[str, Any]:
    """BlogPosting and BreadcrumbList; dates are added at publishing."""
    url = page_url(brief.organization.url, slug)
    publisher = {"@type": "Organization", "name": clean_text(brief.organization.name), "url": brief.organization.url}
    posting = {
        "@type": "BlogPosting",
        "@id": f"{url}#article",
        "mainEntityOfPage": {"@type": "WebPage", "@id": url},
        "url": url,
        "headline": outline.title[:HEADLINE_CHARACTERS_MAX],
        "description": outline.meta_description,
        "inLanguage": brief.locale,
        "keywords": [plan.keyword, *plan.spokes],
        "wordCount": word_count,
        "author": publisher,
        "publisher": publisher,
        "citation": [one.url for one in references],
    }
    trail = (
        (publisher["name"], brief.organization.url),
        ("Articles", site_base_url(brief.organization.url)),
        (outline.title, url),
    )
    breadcrumbs = {
        "@type": "BreadcrumbList",
        "itemListElement": [
            {"@type": "ListItem", "position": position, "name": name, "item": item}
            for position, (name, item) in enumerate(trail, start=1)
        ],
    }
    return {"@context": "https://schema.org", "@graph": [posting, breadcrumbs]}
