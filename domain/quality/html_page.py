"""HTML as the gates see it: read once by a conforming parser that also tells every error."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import html5lib

_PAGE = '<!DOCTYPE html><html lang="en"><head><title>article</title></head><body>\n{fragment}\n</body></html>'
_HEADING = re.compile(r"h([1-6])")
_TEXT_BLOCKS = frozenset({"p", "li", "blockquote", "pre", "td", "th", "dt", "dd", "figcaption"})


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class TextBlock:
    """A paragraph or list item: the section it stands in (0 before the first H2), its text without citation marks."""

    section: int
    tag: str
    text: str


@dataclass
class HtmlPage:
    """``errors`` are (line, code) of the parser; ``images`` the attributes of each image."""

    errors: list[tuple[int, str]] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    blocks: list[TextBlock] = field(default_factory=list)
    hrefs: list[str | None] = field(default_factory=list)
    images: list[dict[str, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


def read_fragment(fragment: str) -> HtmlPage:
    """An article's HTML, read as the body of a page."""
    return _read(_PAGE.format(fragment=fragment))


def _read(source: str) -> HtmlPage:
    parser = html5lib.HTMLParser(tree=html5lib.getTreeBuilder("etree"), namespaceHTMLElements=False)
    tree = parser.parse(source)
    page = HtmlPage(errors=[(position[0], code) for position, code, _ in parser.errors])
    for element in tree.find("body").iter():
        _take(page, element)
    return page


def _take(page: HtmlPage, element: Any) -> None:
    tag = element.tag
    if not isinstance(tag, str):
        return
    if "id" in element.attrib:
        page.ids.append(element.attrib["id"])
    if heading := _HEADING.fullmatch(tag):
        page.headings.append(Heading(level=int(heading[1]), text=_text(element)))
    elif tag in _TEXT_BLOCKS:
        section = sum(one.level == 2 for one in page.headings)
        page.blocks.append(TextBlock(section=section, tag=tag, text=_text(element)))
    elif tag == "a":
        page.hrefs.append(element.attrib.get("href"))
    elif tag == "img":
        page.images.append(dict(element.attrib))


def _text(element: Any) -> str:
    return " ".join("".join(_pieces(element)).split())


def _pieces(element: Any) -> Iterator[str]:
    """Text of the element itself: citation marks and nested text blocks are not its own."""
    yield element.text or ""
    for child in element:
        is_own = isinstance(child.tag, str) and child.tag not in (*_TEXT_BLOCKS, "ul", "ol")
        if is_own and "citation" not in child.attrib.get("class", "").split():
            yield from _pieces(child)
        yield child.tail or ""
