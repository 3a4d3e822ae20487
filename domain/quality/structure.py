"""Gates on the form: headings, HTML, images, ids, links, and that the text is the sections' text."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from urllib.parse import unquote, urlsplit

from domain.assembly import REFERENCES_HEADING, Document, link_address, render_html, slug_of
from domain.identifiers import bare_domain
from domain.quality.article_text import is_listing
from domain.quality.findings import Finding
from domain.quality.html_page import Heading, HtmlPage, Node, ParseError, read_fragment
from domain.quality.html_rules import conformance_findings, obsolete_findings, tag_span
from domain.verdict import Level

# What a link of a page leads to: None when it is good, else what is wrong and what to do.
Problem = tuple[str, str, str]


def form_findings(page: HtmlPage) -> list[Finding]:
    """What holds for every page: headings, markup, images, ids."""
    return [*heading_findings(page), *markup_findings(page), *image_findings(page), *id_findings(page)]


# --- headings ---


def heading_findings(page: HtmlPage) -> list[Finding]:
    """Levels and names are held to what stands in the article; navigations beside it have headings of their own."""
    found = _title_count(page)
    level = 0
    for heading in (one for one in page.headings if one.is_text):
        span = page.source.line_span(heading.offset)
        if not heading.text:
            message = f"An H{heading.level} is empty"
            found.append(page.source.finding("heading_empty", message, "give it a text or remove it", span=span))
        if heading.level > level + 1:
            after = f"an H{level}" if level else "nothing"
            message = f"“{heading.text}” is an H{heading.level} after {after}"
            found.append(page.source.finding("heading_skipped", message, f"make it an H{level + 1}", span=span))
        level = heading.level
    return found + _duplicate_headings(page)


def _title_count(page: HtmlPage) -> list[Finding]:
    titles = [heading for heading in page.headings if heading.level == 1]
    if len(titles) == 1:
        return []
    message = f"The article has {len(titles)} H1 headings"
    if not titles:
        fix = "begin it with exactly one, its title"
        return [page.source.finding("h1_count", message, fix, span=page.source.line_span(0))]
    return [
        page.source.finding(
            "h1_count", message, "keep exactly one, the title", span=page.source.line_span(heading.offset)
        )
        for heading in titles[1:]
    ]


def _duplicate_headings(page: HtmlPage) -> list[Finding]:
    """The same heading twice under one parent, or as an H1 or H2 anywhere, is a mistake; “Results” under each of two
    parts of a text reads well, and is only told."""
    headings = [heading for heading in page.headings if heading.is_text]
    seen: dict[str, list[tuple[str, ...]]] = {}
    found: list[Finding] = []
    for heading, path in zip(headings, _paths(headings), strict=True):
        if not heading.text:
            continue
        earlier = seen.setdefault(heading.text.casefold(), [])
        if earlier:
            is_same = path in earlier or (heading.level <= 2 and any(len(one) <= 2 for one in earlier))
            level = Level.BLOCK if is_same else Level.WARN
            code = "heading_duplicate" if is_same else "heading_repeated"
            message = f"The heading “{heading.text}” stands {len(earlier) + 1} times"
            span = page.source.line_span(heading.offset)
            found.append(page.source.finding(code, message, "name each differently", span=span, level=level))
        earlier.append(path)
    return found


def _paths(headings: Iterable[Heading]) -> list[tuple[str, ...]]:
    """Each heading with those above it."""
    stack: list[tuple[int, str]] = []
    paths: list[tuple[str, ...]] = []
    for heading in headings:
        while stack and stack[-1][0] >= heading.level:
            stack.pop()
        stack.append((heading.level, heading.text.casefold()))
        paths.append(tuple(text for _, text in stack))
    return paths


# --- markup ---


def markup_findings(page: HtmlPage) -> list[Finding]:
    """Errors of the parser and of the standard's rules, each with its line."""
    found = [
        page.source.finding(
            "html_error",
            f"HTML error in line {page.source.line_of(error.offset)}: {error.message}",
            "correct the markup there",
            span=page.source.line_span(_line_start(page, error.offset)),
        )
        for error in page.errors
        if not _is_allowed_today(page, error)
    ]
    return found + conformance_findings(page) + obsolete_findings(page)


def _is_allowed_today(page: HtmlPage, error: ParseError) -> bool:
    """What the parser counts as an error and the standard no longer does: hyphens in comments, an ampersand that
    begins no name (as in ?a=1&b=2)."""
    if error.code == "unexpected-char-in-comment":
        return True
    if error.code not in ("expected-named-entity", "named-entity-without-semicolon"):
        return False
    before = page.source.text[max(0, error.offset - 40) : error.offset + 1]
    after = page.source.text[error.offset + 1 : error.offset + 41]
    name = re.search(r"&([A-Za-z0-9]*)$", before)
    rest = re.match(r"[A-Za-z0-9]*(.?)", after)
    if error.code == "expected-named-entity":
        return bool(name and rest) and rest[1] != ";"  # type: ignore[index]
    return page.source.text.rfind("<", 0, error.offset) > page.source.text.rfind(">", 0, error.offset)


def _line_start(page: HtmlPage, offset: int) -> int:
    return page.source.text.rfind("\n", 0, offset) + 1


def image_findings(page: HtmlPage) -> list[Finding]:
    """Every image has a description; an empty one says that it only decorates."""
    return [
        page.source.finding(
            "image_alt_missing",
            f"The image {node.attributes.get('src', '')!r} has no alt",
            "describe what it shows",
            span=tag_span(page.source, node),
        )
        for node in page.named("img")
        if _needs_description(page, node)
    ]


def _needs_description(page: HtmlPage, node: Node) -> bool:
    if "alt" not in node.attributes:
        return True
    # An empty alt says “decoration”: in HTML somebody wrote that, in Markdown `![](x.png)` only leaves it out.
    is_markdown = page.source.text[node.offset : node.offset + 4].lower() != "<img"
    return is_markdown and not node.attributes["alt"].strip()


def id_findings(page: HtmlPage) -> list[Finding]:
    counts = Counter(page.ids)
    found: list[Finding] = []
    seen: set[str] = set()
    for node in page.nodes:
        identifier = node.attributes.get("id")
        if identifier and identifier in seen:
            message = f"The id “{identifier}” stands {counts[identifier]} times"
            span = tag_span(page.source, node)
            found.append(page.source.finding("id_duplicate", message, "ids are unique, choose another", span=span))
        seen.add(identifier or "")
    return found


# --- links ---


def link_findings(page: HtmlPage, problem_of: Callable[[str | None], tuple[Problem, Level] | None]) -> list[Finding]:
    """One finding per address that is not good; ``problem_of`` knows which are."""
    found: list[Finding] = []
    seen: set[str | None] = set()
    for node in page.links:
        href = node.attributes.get("href")
        if href is None and ({"id", "name"} & set(node.attributes)) and not "".join(node.element.itertext()).strip():
            continue  # a mark to link to, as older pages have them
        if href in seen:
            continue
        seen.add(href)
        if problem := problem_of(href):
            (code, message, fix), level = problem
            found.append(page.source.finding(code, message, fix, span=tag_span(page.source, node), level=level))
    return found


def document_link_findings(document: Document, page: HtmlPage, *, own_domain: str) -> list[Finding]:
    """Links lead to ids of the page, to articles of the site, to cited pages or to the organization's own site."""
    sources = {link_address(reference.url) for reference in document.references}
    slugs = {*document.site_slugs, document.slug}
    ids = set(page.ids)

    def problem_of(href: str | None) -> tuple[Problem, Level] | None:
        problem = _document_link_problem(href, slugs, ids, sources, own_domain)
        return (problem, Level.BLOCK) if problem else None

    found = link_findings(page, problem_of)
    related = [problem_of(link.href) for link in document.links if link.href not in page.hrefs]
    return found + [
        page.source.finding(code, message, fix, span=None)
        for problem in related
        if problem
        for code, message, fix in [problem[0]]
    ]


def _document_link_problem(
    href: str | None, slugs: Collection[str], ids: Collection[str], sources: Collection[str], own_domain: str
) -> Problem | None:
    if not href:
        return "link_unresolved", "A link has no address", "give it one or remove it"
    try:
        parts = urlsplit(href)
    except ValueError:
        return "link_unresolved", f"The address {href} can't be read", "correct it or remove the link"
    if parts.scheme or parts.netloc:
        if href in sources or (parts.scheme in ("http", "https") and bare_domain(href) == own_domain):
            return None
        return "link_foreign", f"The link to {href} leads neither to a source nor to the own site", "remove it"
    if not parts.path and parts.fragment in ids:
        return None
    if parts.path.endswith(".html") and parts.path.removesuffix(".html") in slugs:
        return None
    return (
        "link_unresolved",
        f"The internal link {href} leads to nothing",
        "link to an article of the site or remove it",
    )


def page_link_findings(
    page: HtmlPage, *, is_markdown: bool, exists: Callable[[str], bool | None], own_domain: str = ""
) -> list[Finding]:
    """Links of a file: anchors lead to what the page has, paths to files; ``exists`` tells of a path (None: it can't
    be known from here). Links to other sites are not followed."""
    anchors = page_anchors(page, is_markdown=is_markdown)
    return link_findings(page, lambda href: _page_link_problem(href, anchors, exists, own_domain))


def page_anchors(page: HtmlPage, *, is_markdown: bool) -> set[str]:
    """Ids and names; in Markdown the anchors that renderers make of headings, and the marks of references."""
    names = {node.attributes["name"] for node in page.links if "name" in node.attributes}
    anchors = {*page.ids, *names, "top"}
    if not is_markdown:
        return anchors
    for heading in page.headings:
        anchors |= {slug_of(heading.text), re.sub(r"[^\w\- ]", "", heading.text.lower()).strip().replace(" ", "-")}
    return anchors | {f"ref-{number}" for number in range(1, _reference_count(page) + 1)}


def _reference_count(page: HtmlPage) -> int:
    """How many items the lists below a heading such as References have."""
    listings = [heading.offset for heading in page.headings if is_listing(heading.text)]
    return sum(node.tag == "li" and bool(listings) and node.offset > listings[0] for node in page.nodes)


def _page_link_problem(
    href: str | None, anchors: Collection[str], exists: Callable[[str], bool | None], own_domain: str
) -> tuple[Problem, Level] | None:
    if not href or not href.strip():
        return ("link_unresolved", "A link has no address", "give it one or remove it"), Level.BLOCK
    try:
        parts = urlsplit(href.strip())
        domain = bare_domain(href) if parts.netloc else ""
    except ValueError:
        return ("link_unresolved", f"The address {href} can't be read", "correct it or remove the link"), Level.BLOCK
    scheme = parts.scheme.lower()
    if scheme in ("javascript", "vbscript"):
        return ("link_foreign", f"The link {href} is a script", "remove it"), Level.BLOCK
    if (scheme or parts.netloc) and not (domain and domain == own_domain and scheme in ("http", "https", "")):
        return None
    if not parts.path and not parts.netloc:
        is_there = not parts.fragment or unquote(parts.fragment) in anchors or parts.fragment in anchors
        problem = ("link_unresolved", f"The link {href} leads to nothing on this page", "correct it or remove it")
        return None if is_there else (problem, Level.BLOCK)
    return _path_problem(href, exists(unquote(parts.path or "/")))


def _path_problem(href: str, is_there: bool | None) -> tuple[Problem, Level] | None:
    if is_there is None:
        message = f"Whether {href} leads to a page can't be seen from this file"
        return ("link_unchecked", message, "give the site's folder with --site"), Level.WARN
    if is_there:
        return None
    return ("link_unresolved", f"The internal link {href} leads to nothing", "correct it or remove it"), Level.BLOCK


# --- the document is what was written ---


def integrity_findings(document: Document, page: HtmlPage) -> list[Finding]:
    """What is published must be what the other gates measure: the sections' own text, in both formats."""
    expected = [_joined(text for block in one.content.blocks for text in block.texts) for one in document.sections]
    written = _section_texts(page)
    messages = [
        f"The text of section {number} in the HTML is not the text that was written"
        for number, (left, right) in enumerate(zip(expected, written, strict=False), start=1)
        if left != right
    ]
    if len(expected) != len(written):
        messages.append(f"The HTML has {len(written)} sections, {len(expected)} were written")
    messages += _heading_differences(document, page)
    found = [page.source.finding("text_differs", message, "assemble it anew", span=None) for message in messages]
    if _said(read_fragment(render_html(document.markdown))) != _said(page):
        message = "Markdown and HTML do not say the same"
        found.append(page.source.finding("formats_differ", message, "render the HTML from the Markdown", span=None))
    return found


def _said(page: HtmlPage) -> tuple[list[tuple[int, str]], list[tuple[int, str, str]]]:
    headings = [(one.level, one.text) for one in page.headings]
    return headings, [(one.section, one.tag, one.text) for one in page.blocks]


def _heading_differences(document: Document, page: HtmlPage) -> list[str]:
    expected = [document.title, *(section.heading for section in document.sections)]
    found = [heading.text for heading in page.headings if heading.text != REFERENCES_HEADING]
    return [
        f"The heading “{right}” in the HTML was written as “{left}”"
        for left, right in zip(expected, found, strict=False)
        if left != right
    ]


def _joined(texts: Iterable[str]) -> str:
    return " ".join(" ".join(texts).split())


def _section_texts(page: HtmlPage) -> list[str]:
    names = [heading.text for heading in page.headings if heading.level == 2]
    return [
        _joined(block.text for block in page.blocks if block.section == number)
        for number, name in enumerate(names, start=1)
        if name != REFERENCES_HEADING
    ]
