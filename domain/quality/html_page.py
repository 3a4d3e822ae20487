"""HTML as the gates see it: read once by a conforming parser that also tells every error, with its place."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from domain.quality.source import SourceText

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import html5lib
    from html5lib import constants as html5lib_constants

_BEFORE = '<!DOCTYPE html><html lang="en"><head><title>article</title></head><body>\n'
_AFTER = "\n</body></html>"
_DOCUMENT = re.compile(r"\s*(?:<!--.*?-->\s*)*<(?:!doctype|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_HEADING = re.compile(r"h([1-6])")
# Attributes that this module adds to every element, in no form that a page could have them.
_AT = ":at"
OFFSET = ":offset"
BLOCK_TAGS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hgroup",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "menu",
        "nav",
        "ol",
        "p",
        "pre",
        "search",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
_WITHOUT_TEXT = frozenset(
    [
        "audio",
        "canvas",
        "head",
        "iframe",
        "math",
        "noscript",
        "object",
        "script",
        "select",
        "style",
        "svg",
        "template",
        "textarea",
        "title",
        "video",
    ]
)
_BESIDE_THE_TEXT = frozenset({"nav", "footer", "aside"})
# Leads a place of the HTML back to the source: the offset there, and whether it is exact.
Places = Callable[[int], tuple[int, bool]]
_CITATION_TEXT = re.compile(r"\[?\s*(?:\d{1,3}|\^|↩︎?)\s*\]?")


@dataclass(frozen=True)
class Heading:
    """``is_text`` is False where it stands beside the article (in a navigation, aside or footer)."""

    level: int
    text: str
    offset: int = 0
    is_text: bool = True


@dataclass(frozen=True)
class TextBlock:
    """A paragraph, list item, cell, …: the section it stands in (0 before the first H2), its text without citation
    marks, and from where to where it stands in the source."""

    section: int
    tag: str
    text: str
    start: int = 0
    end: int = 0


@dataclass(frozen=True)
class ParseError:
    """``message`` is the parser's, in its words."""

    offset: int
    code: str
    message: str


@dataclass(frozen=True)
class Node:
    """An element of the page with its place in the source; ``parent`` is the position of its parent in the list.
    ``is_foreign`` is True inside of pictures and formulas, which have rules of their own; ``around`` are the names of
    all elements that it stands in."""

    tag: str
    attributes: dict[str, str]
    offset: int
    parent: int
    element: Any
    is_foreign: bool = False
    around: frozenset[str] = frozenset()


@dataclass
class HtmlPage:
    """``errors`` are the parser's; ``nodes`` every element in the order of the source."""

    source: SourceText
    is_document: bool = False
    errors: list[ParseError] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    blocks: list[TextBlock] = field(default_factory=list)

    def named(self, *tags: str) -> list[Node]:
        return [node for node in self.nodes if node.tag in tags]

    @property
    def links(self) -> list[Node]:
        return self.named("a")

    @property
    def hrefs(self) -> list[str | None]:
        return [node.attributes.get("href") for node in self.links]

    @property
    def images(self) -> list[dict[str, str]]:
        return [node.attributes for node in self.named("img")]

    @property
    def ids(self) -> list[str]:
        return [node.attributes["id"] for node in self.nodes if "id" in node.attributes]

    def parent_of(self, node: Node) -> Node | None:
        return self.nodes[node.parent] if node.parent >= 0 else None

    def ancestors_of(self, node: Node) -> Iterator[Node]:
        while (parent := self.parent_of(node)) is not None:
            yield parent
            node = parent


def is_whole_document(text: str) -> bool:
    return bool(_DOCUMENT.match(text))


def read_html(source: SourceText) -> HtmlPage:
    """A whole page, or an article's HTML read as the body of a page."""
    if is_whole_document(source.text):
        return _read(source, source.text, _same_place, is_document=True)
    return read_rendered(source, source.text, _same_place)


def read_fragment(fragment: str) -> HtmlPage:
    """An article's HTML, read as the body of a page."""
    return read_rendered(SourceText(fragment), fragment, _same_place)


def read_rendered(source: SourceText, fragment: str, to_source: Places) -> HtmlPage:
    """A fragment that was made from the source."""
    before = len(_BEFORE)
    return _read(source, f"{_BEFORE}{fragment}{_AFTER}", lambda offset: to_source(max(0, offset - before)))


def _same_place(offset: int) -> tuple[int, bool]:
    return offset, True


def _read(source: SourceText, html: str, to_source: Places, *, is_document: bool = False) -> HtmlPage:
    parser = _PlacingParser(tree=html5lib.getTreeBuilder("etree"), namespaceHTMLElements=False)
    tree = parser.parse(html)
    parsed = SourceText(html)
    page = HtmlPage(source=source, is_document=is_document)
    for (line, column), code, facts in parser.errors:
        offset, _ = to_source(parsed.offset_of(line, max(0, column - 1)))
        page.errors.append(ParseError(_clamped(offset, source), code, _message(code, facts)))
    _Walk(page, parsed, to_source).take_all(tree if is_document else tree.find("body"))
    return page


def _message(code: str, facts: Mapping[str, Any]) -> str:
    try:
        message = html5lib_constants.E[code] % facts
    except (KeyError, TypeError, ValueError):
        message = code.replace("-", " ")
    return " ".join(message.split()).rstrip(".")


class _PlacingParser(html5lib.HTMLParser):  # type: ignore[misc,unused-ignore]
    """Gives each element the place where its start tag ends, as an attribute."""

    def mainLoop(self) -> None:  # noqa: N802 -- html5lib's own name
        tokenizer: Any = self.tokenizer
        emit = tokenizer.emitCurrentToken

        def emit_with_place() -> None:
            token = tokenizer.currentToken
            if isinstance(token["data"], list) and token["type"] == html5lib_constants.tokenTypes["StartTag"]:
                line, column = tokenizer.stream.position()
                token["data"].append([_AT, f"{line}:{column}"])
            emit()

        tokenizer.emitCurrentToken = emit_with_place
        super().mainLoop()


@dataclass
class _Walk:
    """One pass over the tree, in the order of the source and without recursion: pages may nest deeply."""

    page: HtmlPage
    parsed: SourceText
    to_source: Places
    section: int = 0

    def take_all(self, root: Any) -> None:
        text_root = self._text_root(root)
        stack: list[tuple[Any, int, int, bool]] = [(root, -1, 0, text_root is root)]
        while stack:
            element, parent, inherited, is_text = stack.pop()
            if not isinstance(element.tag, str):
                continue
            is_text = (is_text or element is text_root) and element.tag not in _BESIDE_THE_TEXT
            node = self._node(element, parent, inherited)
            position = len(self.page.nodes)
            self.page.nodes.append(node)
            self._take_text(node, is_text=is_text)
            stack += [(child, position, node.offset, is_text) for child in reversed(list(element))]
        self._end_blocks()

    def _text_root(self, root: Any) -> Any:
        """Where the article's text stands: its one ``article``, else ``main``, else everything."""
        if not self.page.is_document:
            return root
        articles = list(root.iter("article"))
        found = articles[0] if len(articles) == 1 else next(root.iter("main"), None)
        return root if found is None else found

    def _node(self, element: Any, parent: int, inherited: int) -> Node:
        attributes = {name: value for name, value in element.attrib.items() if name not in (_AT, OFFSET)}
        namespace, _, tag = element.tag.rpartition("}")
        offset = self._offset(element, tag, inherited)
        return Node(tag, attributes, offset, parent, element, bool(namespace), self._around(parent))

    def _around(self, parent: int) -> frozenset[str]:
        if parent < 0:
            return frozenset()
        outer = self.page.nodes[parent]
        return outer.around if outer.tag in outer.around else outer.around | {outer.tag}

    def _offset(self, element: Any, tag: str, inherited: int) -> int:
        if OFFSET in element.attrib:
            return int(element.attrib[OFFSET])
        if _AT not in element.attrib:
            return inherited
        line, _, column = element.attrib[_AT].partition(":")
        end = self.parsed.offset_of(int(line), int(column))
        start = _tag_start(self.parsed.text, tag, end)
        offset, is_exact = self.to_source(start)
        return _clamped(offset if is_exact else max(offset, inherited), self.page.source)

    def _take_text(self, node: Node, *, is_text: bool) -> None:
        if heading := _HEADING.fullmatch(node.tag):
            level = int(heading[1])
            self.section += is_text and level == 2
            text = text_of(node.element)
            self.page.headings.append(Heading(level=level, text=text, offset=node.offset, is_text=is_text))
        elif node.tag in BLOCK_TAGS and is_text and not self._is_in_header(node) and (text := text_of(node.element)):
            self.page.blocks.append(TextBlock(section=self.section, tag=node.tag, text=text, start=node.offset))

    def _is_in_header(self, node: Node) -> bool:
        """What stands in the header beside the title is about the article, not of it."""
        return self.page.is_document and (node.tag == "header" or "header" in node.around)

    def _end_blocks(self) -> None:
        starts = sorted({one.start for one in self.page.blocks} | {one.offset for one in self.page.headings})
        ends = dict(zip(starts, [*starts[1:], len(self.page.source.text)], strict=bool(starts)))
        self.page.blocks = [
            TextBlock(one.section, one.tag, one.text, one.start, ends[one.start]) for one in self.page.blocks
        ]


def _tag_start(html: str, tag: str, end: int) -> int:
    start = html.rfind("<", 0, end)
    while start > 0 and html[start + 1 : start + 1 + len(tag)].lower() != tag.lower():
        start = html.rfind("<", max(0, end - 10_000), start)
    return start if start >= 0 else end


def _clamped(offset: int, source: SourceText) -> int:
    return max(0, min(offset, len(source.text)))


def text_of(element: Any) -> str:
    """What a reader sees of the element itself: citation marks and the blocks inside of it are not its own."""
    pieces: list[str] = []
    stack: list[Any] = [element]
    while stack:
        one = stack.pop()
        if isinstance(one, str):
            pieces.append(one)
            continue
        pieces.append(one.text or "")
        for child in reversed(list(one)):
            stack.append(child.tail or "")
            stack.append(child if _is_own_text(child) else " " if _parts_text(child) else "")
    return " ".join("".join(pieces).split())


def _is_own_text(child: Any) -> bool:
    return isinstance(child.tag, str) and not _parts_text(child) and not is_citation(child)


def _parts_text(child: Any) -> bool:
    return isinstance(child.tag, str) and (child.tag in BLOCK_TAGS or child.tag in _WITHOUT_TEXT or child.tag == "br")


def is_citation(element: Any) -> bool:
    """A mark that leads to a reference or note of the same page, such as [1]."""
    if "citation" in element.attrib.get("class", "").split():
        return True
    is_inside = element.tag == "a" and element.attrib.get("href", "").startswith("#")
    return is_inside and bool(_CITATION_TEXT.fullmatch("".join(element.itertext()).strip()))
