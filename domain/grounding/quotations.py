"""Quotations: what stands in quotation marks, and whether a source says exactly that, up to typography."""

import re
import unicodedata
from typing import NamedTuple

from domain.text import clean_text, words

# A quotation that is never closed goes on to the next one or to the end.
_PAIRED = re.compile(r"“[^“”]*(?:”|(?=“)|$)|«[^«»]*(?:»|(?=«)|$)|„[^„“”]*(?:[“”]|(?=„)|$)")
_SINGLE = re.compile(
    r"(?<![\w’'])(?:‘[^‘’“”\"]*(?:’(?=\w)[^‘’“”\"]*)*’(?!\w)|'(?=\w)[^'“”\"\n]*(?:'(?=\w)[^'“”\"\n]*)*'(?!\w))"
)
_SINGLE_WORDS_MIN = 3
_MARKS = '“”«»„" \t.,;:!?…'
_TRIM = " \t.,;:!?…'-"
_OMISSION = re.compile(r"\s*(?:[\[(]\s*(?:\.\.\.|…)\s*[\])]|\.\.\.|…)\s*")
_INSERTION = re.compile(r"\[[^\]]*\]")
_OMITTED_CHARACTERS_MAX = 400


class Quotation(NamedTuple):
    """``value`` is the normal form: equal for quotations that differ in typography only."""

    start: int
    end: int
    value: str


def quotations(masked: str, text: str) -> list[Quotation]:
    """Quotations of ``text``, but for those that ``masked`` (the same text with names blanked) leaves nothing of."""
    spans = [match.span() for match in _PAIRED.finditer(text)]
    spans += [span for span in _straight(text) if not _is_inside(span, spans)]
    spans += [
        match.span()
        for match in _SINGLE.finditer(text)
        if len(words(match[0])) >= _SINGLE_WORDS_MIN and not any(_overlap(match.span(), span) for span in spans)
    ]
    found = [
        Quotation(start, end, quotable(text[start:end]))
        for start, end in sorted(spans)
        if masked[start:end].strip(_MARKS)
    ]
    return [one for one in found if one.value]


def _straight(text: str) -> list[tuple[int, int]]:
    """Pairs of straight double quotes; a mark after a digit outside a quotation is an inch mark."""
    spans: list[tuple[int, int]] = []
    opened: int | None = None
    for match in re.finditer('"', text):
        if opened is not None:
            spans.append((opened, match.end()))
            opened = None
        elif not text[: match.start()][-1:].isdigit():
            opened = match.start()
    return spans if opened is None else [*spans, (opened, len(text))]


def _is_inside(span: tuple[int, int], others: list[tuple[int, int]]) -> bool:
    return any(start <= span[0] and span[1] <= end for start, end in others)


def _overlap(span: tuple[int, int], other: tuple[int, int]) -> bool:
    return span[0] < other[1] and other[0] < span[1]


def quotable(text: str) -> str:
    """Lower case, plain marks and dashes, single spaces: what two printings of one sentence have in common."""
    plain = clean_text(unicodedata.normalize("NFKC", text.replace("…", "...").replace("\u00ad", ""))).casefold()
    plain = re.sub(r"\[(\w)\](?=\w)", r"\1", plain)
    plain = re.sub('[“”«»„"]', " ", plain).replace("’", "'").replace("‘", "'").replace("`", "'")
    plain = re.sub(r"\s*(?:[‒–—―]|(?<=\s)-(?=\s)|--+)\s*", " - ", plain)
    plain = re.sub(r"\s+(?=[,;:.!?])", "", re.sub("[‐‑]", "-", plain))
    return " ".join(plain.split()).strip(_TRIM)


def stands_in(quotation: str, source: str) -> bool:
    """Whether the source (``quotable``) says it word for word; "…" may leave out words, brackets stand for others."""
    if _contains_words(source, quotation):
        return True
    pieces = [
        piece.strip(_TRIM) for piece in re.split(r"\x00", _INSERTION.sub("\x00", _OMISSION.sub("\x00", quotation)))
    ]
    pieces = [piece for piece in pieces if piece]
    if not pieces or (len(pieces) == 1 and pieces[0] == quotation):
        return False
    gap = rf".{{0,{_OMITTED_CHARACTERS_MAX}}}?"
    return bool(re.search(gap.join(rf"(?<!\w){re.escape(piece)}(?!\w)" for piece in pieces), source, re.DOTALL))


def _contains_words(source: str, quotation: str) -> bool:
    found = source.find(quotation)
    while found >= 0:
        before, after = source[found - 1 : found] if found else "", source[found + len(quotation) :][:1]
        starts = not (_is_word(before) and _is_word(quotation[0]))
        if starts and not (_is_word(after) and _is_word(quotation[-1])):
            return True
        found = source.find(quotation, found + 1)
    return False


def _is_word(character: str) -> bool:
    return bool(character) and (character.isalnum() or character == "_")
