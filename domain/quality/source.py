"""A text that is checked, with its lines: where something stands that was read out of it."""

import re
from bisect import bisect_right
from functools import cached_property

from domain.quality.findings import Finding, Span, shortened
from domain.verdict import Level

NEEDLE_TOKENS_MAX = 24
_TOKEN = re.compile(r"\w+|[^\w\s]")
# What may stand in the source between two words that a reader sees next to each other: marks, tags, line breaks.
_BETWEEN = r"(?:[\s\\*_`~>|]|<[^<>]*>)*"
_ENTITIES = {"&": "(?:&amp;|&)", "<": "(?:&lt;|<)", ">": "(?:&gt;|>)", '"': '(?:&quot;|&#34;|")', "'": "(?:&#39;|')"}
_QUOTES = {"“": '(?:“|&ldquo;|")', "”": '(?:”|&rdquo;|")', "’": "(?:’|&rsquo;|')", "‘": "(?:‘|&lsquo;|')"}


class SourceText:
    """``text`` has line feeds only. ``first_line`` is the number of its first line in the file."""

    def __init__(self, text: str, first_line: int = 1) -> None:
        self.text = text
        self.first_line = first_line

    @cached_property
    def line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def line_of(self, offset: int) -> int:
        return bisect_right(self.line_starts, offset) - 1 + self.first_line

    def offset_of(self, line: int, column: int = 0) -> int:
        """``line`` counts from the text's own first line, which is 1."""
        index = min(max(line - 1, 0), len(self.line_starts) - 1)
        return min(self.line_starts[index] + column, len(self.text))

    def span(self, start: int, end: int) -> Span:
        start = max(0, min(start, len(self.text)))
        return Span(line=self.line_of(start), start=start, end=max(start, min(end, len(self.text))))

    def line_span(self, offset: int) -> Span:
        """The rest of the line from the offset on, without its blanks."""
        end = self.text.find("\n", offset)
        end = len(self.text) if end < 0 else end
        return self.span(offset, offset + len(self.text[offset:end].rstrip()))

    def find(self, needle: str, start: int, end: int, occurrence: int = 0) -> Span:
        """Where a text that a reader sees stands between two offsets; the first line there when it is not found."""
        pattern = _pattern_of(needle)
        found = list(pattern.finditer(self.text, start, end)) if pattern else []
        if not found:
            return self.line_span(start)
        match = found[min(occurrence, len(found) - 1)]
        return self.span(match.start(), match.end())

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
        """A finding with what stands at its span as the excerpt."""
        excerpt = shortened(self.text[span.start : span.end]) if span else ""
        return Finding(code=code, message=message, fix=fix, level=level, span=span, excerpt=excerpt, section=section)


def _pattern_of(needle: str) -> re.Pattern[str] | None:
    tokens = _TOKEN.findall(needle)[:NEEDLE_TOKENS_MAX]
    if not tokens:
        return None
    known = {**_ENTITIES, **_QUOTES}
    return re.compile(_BETWEEN.join(known.get(token) or re.escape(token) for token in tokens), re.IGNORECASE)
