"""Gates on the form: headings, HTML errors, images, ids, links, and that the text is the sections' text."""

from collections import Counter
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from domain.assembly import REFERENCES_HEADING, Document, link_address, render_html
from domain.identifiers import bare_domain
from domain.quality.html_page import HtmlPage, read_fragment
from domain.verdict import Reason


def structure_reasons(document: Document, page: HtmlPage, *, own_domain: str) -> list[Reason]:
    return [
        *heading_reasons(page),
        *markup_reasons(page),
        *link_reasons(document, page, own_domain=own_domain),
        *integrity_reasons(document, page),
    ]


def heading_reasons(page: HtmlPage) -> list[Reason]:
    reasons: list[Reason] = []
    titles = sum(heading.level == 1 for heading in page.headings)
    if titles != 1:
        message = f"The article has {titles} H1 headings; it needs exactly one, its title."
        reasons.append(Reason(code="h1_count", message=message))
    level = 0
    for heading in page.headings:
        if not heading.text:
            message = f"An H{heading.level} is empty: give it a text or remove it."
            reasons.append(Reason(code="heading_empty", message=message))
        if heading.level > level + 1:
            message = f"“{heading.text}” is an H{heading.level} after an H{level}: make it an H{level + 1}."
            reasons.append(Reason(code="heading_skipped", message=message))
        level = heading.level
    return reasons + _duplicate_headings(page)


def _duplicate_headings(page: HtmlPage) -> list[Reason]:
    counts = Counter(heading.text.casefold() for heading in page.headings if heading.text)
    return [
        Reason(code="heading_duplicate", message=f"The heading “{text}” stands {count} times: name each differently.")
        for text, count in counts.items()
        if count > 1
    ]


def markup_reasons(page: HtmlPage) -> list[Reason]:
    reasons = [
        Reason(code="html_error", message=f"HTML error in line {line}: {code.replace('-', ' ')}.")
        for line, code in page.errors
    ]
    reasons += [
        Reason(code="id_duplicate", message=f"The id “{identifier}” stands {count} times: ids are unique.")
        for identifier, count in Counter(page.ids).items()
        if count > 1
    ]
    reasons += [
        Reason(code="image_alt_missing", message=f"The image {image.get('src', '')!r} has no alt: describe it.")
        for image in page.images
        if "alt" not in image
    ]
    return reasons


def link_reasons(document: Document, page: HtmlPage, *, own_domain: str) -> list[Reason]:
    """Links lead to ids of the page, to articles of the site, to cited pages or to the organization's own site."""
    sources = {link_address(reference.url) for reference in document.references}
    slugs = {*document.site_slugs, document.slug}
    hrefs = [*page.hrefs, *(link.href for link in document.links)]
    reasons: list[Reason] = []
    for href in dict.fromkeys(hrefs):
        problem = _link_problem(href, slugs, page.ids, sources, own_domain)
        if problem:
            reasons.append(problem)
    return reasons


def _link_problem(
    href: str | None, slugs: Collection[str], ids: Collection[str], sources: Collection[str], own_domain: str
) -> Reason | None:
    if not href:
        return Reason(code="link_unresolved", message="A link has no address: give it one or remove it.")
    parts = urlsplit(href)
    if parts.scheme or parts.netloc:
        if href in sources or (parts.scheme in ("http", "https") and bare_domain(href) == own_domain):
            return None
        message = f"The link to {href} leads neither to a source nor to the own site: remove it."
        return Reason(code="link_foreign", message=message)
    if not parts.path and parts.fragment in ids:
        return None
    if parts.path.endswith(".html") and parts.path.removesuffix(".html") in slugs:
        return None
    message = f"The internal link {href} leads to nothing: link to an article of the site or remove it."
    return Reason(code="link_unresolved", message=message)


def integrity_reasons(document: Document, page: HtmlPage) -> list[Reason]:
    """What is published must be what the other gates measure: the sections' own text, in both formats."""
    expected = [
        _section_text(text for block in one.content.blocks for text in block.texts) for one in document.sections
    ]
    found = _section_texts(page)
    reasons = [
        Reason(
            code="text_differs",
            message=f"The text of section {number} in the HTML is not the text that was written: assemble it anew.",
        )
        for number, (left, right) in enumerate(zip(expected, found, strict=False), start=1)
        if left != right
    ]
    if len(expected) != len(found):
        message = f"The HTML has {len(found)} sections, {len(expected)} were written: assemble it anew."
        reasons.append(Reason(code="text_differs", message=message))
    reasons += _heading_differences(document, page)
    rendered = read_fragment(render_html(document.markdown))
    if (rendered.headings, rendered.blocks) != (page.headings, page.blocks):
        message = "Markdown and HTML do not say the same: render the HTML from the Markdown."
        reasons.append(Reason(code="formats_differ", message=message))
    return reasons


def _heading_differences(document: Document, page: HtmlPage) -> list[Reason]:
    expected = [document.title, *(section.heading for section in document.sections)]
    found = [heading.text for heading in page.headings if heading.text != REFERENCES_HEADING]
    return [
        Reason(code="text_differs", message=f"The heading “{right}” in the HTML was written as “{left}”.")
        for left, right in zip(expected, found, strict=False)
        if left != right
    ]


def _section_text(texts: Iterable[str]) -> str:
    return " ".join(" ".join(texts).split())


def _section_texts(page: HtmlPage) -> list[str]:
    names = [heading.text for heading in page.headings if heading.level == 2]
    return [
        _section_text(block.text for block in page.blocks if block.section == number)
        for number, name in enumerate(names, start=1)
        if name != REFERENCES_HEADING
    ]
