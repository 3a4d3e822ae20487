"""The words of an article as the gates measure them: its sections with headings and blocks, references left out."""

from dataclasses import dataclass
from functools import cached_property

from domain.assembly import Document
from domain.quality.findings import Finding, Span
from domain.quality.html_page import Heading, HtmlPage, TextBlock
from domain.quality.markdown_page import read_markdown
from domain.quality.source import SourceText
from domain.text import sentences, stems, words
from domain.verdict import Level

# Sections that list other pages: what is listed there is not the article's own prose.
LISTING_HEADINGS = frozenset(
    {
        *("references", "sources", "related articles", "further reading", "see also", "notes", "footnotes"),
        *("external links", "bibliography", "citations", "works cited"),
    }
)
LISTED_WORDS_MAX = 20
_NO_PROSE = frozenset({"pre", "th", "caption"})
_LISTED = frozenset({"li", "dd", "dt", "td"})


@dataclass(frozen=True)
class TextSection:
    """``number`` counts the H2 headings from 1; 0 is what stands before the first. ``headings`` begin with its H2."""

    number: int
    headings: tuple[Heading, ...]
    blocks: tuple[TextBlock, ...]

    @property
    def heading(self) -> str:
        return self.headings[0].text if self.headings else ""

    @property
    def start(self) -> int:
        starts = [one.offset for one in self.headings] + [one.start for one in self.blocks]
        return min(starts, default=0)

    @cached_property
    def text(self) -> str:
        """The section's own words, one block a line, headings left out."""
        return "\n".join(block.text for block in self.blocks)

    @cached_property
    def sentence_stems(self) -> list[list[str]]:
        """Stems of each heading and sentence."""
        parts = [heading.text for heading in self.headings]
        parts += [one for block in self.blocks for one in sentences(block.text)]
        return [stems(part) for part in parts]


@dataclass(frozen=True)
class ArticleText:
    source: SourceText
    title: str
    sections: tuple[TextSection, ...]
    heading_count: int

    @cached_property
    def body(self) -> str:
        """All sections' words without headings."""
        return "\n".join(section.text for section in self.sections if section.blocks)

    @property
    def blocks(self) -> list[TextBlock]:
        return [block for section in self.sections for block in section.blocks]

    def place(self, section_number: int, needle: str) -> Span | None:
        """Where a text stands in a section; the section's first line when it is not found there."""
        section = next((one for one in self.sections if one.number == section_number), None)
        if section is None:
            return None
        block = next((one for one in section.blocks if needle in one.text), None)
        return self.source.find(needle, block.start, block.end) if block else self.source.line_span(section.start)

    def finding(
        self,
        code: str,
        message: str,
        fix: str,
        *,
        span: Span | None,
        level: Level = Level.BLOCK,
        section: int | None = None,
    ) -> Finding:
        return self.source.finding(code, message, fix, span=span, level=level, section=section)


def article_text(page: HtmlPage) -> ArticleText:
    headings = [heading for heading in page.headings if heading.is_text]
    title = next((heading.text for heading in headings if heading.level == 1), "")
    numbered: dict[int, list[Heading]] = {0: []}
    for heading in headings:
        if heading.level == 2:
            numbered[len(numbered)] = [heading]
        elif heading.level > 2:
            numbered[len(numbered) - 1].append(heading)
    listings = {number for number, found in numbered.items() if found and is_listing(found[0].text)}
    blocks: dict[int, list[TextBlock]] = {number: [] for number in numbered}
    for block in page.blocks:
        if _is_prose(block, is_listing=block.section in listings):
            blocks.setdefault(block.section, []).append(block)
    sections = tuple(
        TextSection(number, tuple(found), tuple(blocks[number]))
        for number, found in numbered.items()
        if number not in listings or blocks[number]
    )
    count = sum(number > 0 for number in numbered) - len(listings)
    return ArticleText(page.source, title, sections, count)


def is_listing(heading: str) -> bool:
    return heading.casefold().rstrip(":") in LISTING_HEADINGS


def _is_prose(block: TextBlock, *, is_listing: bool) -> bool:
    """A whole paragraph is the article's own wherever it stands."""
    if is_listing:
        return block.tag not in _LISTED | _NO_PROSE and len(words(block.text)) > LISTED_WORDS_MAX
    return block.tag not in _NO_PROSE


def text_of_document(document: Document) -> ArticleText:
    """The document's Markdown; places are places in it."""
    return article_text(read_markdown(SourceText(document.markdown)))
