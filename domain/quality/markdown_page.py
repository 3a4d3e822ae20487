"""Markdown as the gates see it: rendered, read as HTML, and every place led back to the Markdown's own lines."""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from domain.quality.html_page import OFFSET, HtmlPage, read_rendered
from domain.quality.source import SourceText

FRONT_MATTER_CHARACTERS_MAX = 50_000
_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?)^\1[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class FrontMatter:
    """``fields`` by lower-case name; ``problem`` says why they can't be read; ``end`` is where the text begins."""

    fields: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    end: int = 0

    @property
    def is_there(self) -> bool:
        return self.end > 0

    def text(self, *names: str) -> str | None:
        """The first of the fields that has a text (or a number or date, as text)."""
        for name in names:
            value = self.fields.get(name)
            if value is not None and not isinstance(value, dict | list | bool):
                return " ".join(str(value).split())
        return None

    def texts(self, name: str) -> tuple[str, ...]:
        """A list field, or the parts of a text between commas."""
        value = self.fields.get(name)
        if isinstance(value, list):
            return tuple(str(one).strip() for one in value if str(one).strip())
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else ()


def read_front_matter(text: str) -> FrontMatter:
    """YAML between lines of ``---``, or TOML between lines of ``+++``, at the very beginning."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        return FrontMatter()
    try:
        value = _front_matter_value(match[2], is_toml=match[1] == "+++")
    except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        return FrontMatter(problem=_first_line(error), end=match.end())
    if not isinstance(value, dict):
        return FrontMatter()  # a text between two lines
    return FrontMatter(fields={str(name).lower(): one for name, one in value.items()}, end=match.end())


def _front_matter_value(text: str, *, is_toml: bool) -> Any:
    if len(text) > FRONT_MATTER_CHARACTERS_MAX:
        raise ValueError(f"it has {len(text)} characters; {FRONT_MATTER_CHARACTERS_MAX} at most are read")
    return tomllib.loads(text) if is_toml else yaml.safe_load(text) or {}


def _first_line(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} (line {error.problem_mark.line + 2})"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def read_markdown(source: SourceText) -> HtmlPage:
    """Markdown with tables and raw HTML; front matter has to be blanked or taken off before."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    environment: dict[str, Any] = {}
    tokens = reader.parse(source.text, environment)
    rendered = _Rendered()
    for group in _groups(tokens):
        for token in group:
            if token.map and token.nesting == 1 and not token.hidden:
                token.attrSet(OFFSET, str(source.offset_of(token.map[0] + 1)))
        start = source.offset_of((group[0].map or [0])[0] + 1)
        is_verbatim = group[0].type == "html_block"
        rendered.add(reader.renderer.render(group, reader.options, environment), start, is_verbatim=is_verbatim)
    return read_rendered(source, rendered.html, rendered.to_source)


def _groups(tokens: Sequence[Token]) -> list[list[Token]]:
    """The blocks that stand beside each other at the top, each with everything inside of it."""
    groups: list[list[Token]] = []
    depth = 0
    for token in tokens:
        if depth == 0:
            groups.append([])
        groups[-1].append(token)
        depth += token.nesting
    return groups


class _Rendered:
    """HTML put together piece by piece, and where each piece came from."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._starts: list[int] = []
        self._sources: list[tuple[int, bool]] = []
        self._length = 0

    @property
    def html(self) -> str:
        return "".join(self._pieces)

    def add(self, piece: str, source_start: int, *, is_verbatim: bool) -> None:
        self._pieces.append(piece)
        self._starts.append(self._length)
        self._sources.append((source_start, is_verbatim))
        self._length += len(piece)

    def to_source(self, offset: int) -> tuple[int, bool]:
        """Exact inside of raw HTML; elsewhere the beginning of the block."""
        if not self._starts:
            return 0, False
        index = max(0, bisect_right(self._starts, offset) - 1)
        source_start, is_verbatim = self._sources[index]
        return (source_start + offset - self._starts[index], True) if is_verbatim else (source_start, False)
