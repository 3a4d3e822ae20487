"""Numbers and quotations: each must stand in a source that its text cites, or it goes."""

import re
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

from domain.money import Frozen
from domain.text import clean_text, phrase_pattern, sentence_spans


class ClaimKind(StrEnum):
    NUMBER = "number"
    QUOTATION = "quotation"


class Claim(Frozen):
    """A checkable span of a text; ``value`` is its normalized form, equal for equal claims."""

    kind: ClaimKind
    start: int
    end: int
    text: str
    value: str


_MAGNITUDES = {
    "hundred": 2, "k": 3, "thousand": 3, "m": 6, "mn": 6, "mio": 6, "million": 6, "bn": 9, "b": 9, "billion": 9,
    "trillion": 12,
}  # fmt: skip
_CURRENCIES = {
    "$": "$", "usd": "$", "us$": "$", "dollar": "$", "dollars": "$", "€": "€", "eur": "€", "euro": "€", "euros": "€",
    "£": "£", "gbp": "£", "pound": "£", "pounds": "£", "¥": "¥",
}  # fmt: skip
_NUMBER = re.compile(
    r"""
    (?P<currency>US\$|[$€£¥]|\b(?:USD|EUR|GBP)\s)?\s?
    (?P<prefix>(?<![^\W_])[A-Za-z]+(?=\d))?
    (?P<digits>\d+(?:[,\u00a0\u202f’']\d{3})+(?!\d)(?:\.\d+)?|\d+(?:[.,]\d+)*|(?<!\w)\.\d+)
    (?:\s?-?(?P<magnitude>thousand|million|billion|trillion|mn|bn|mio)\b|(?P<short>[kKmMbB])\b)?
    (?:\s?(?P<percent>%|percent\b|per\ cent\b|percentage\ points?\b)
      |\s?(?P<unit>€|£|USD\b|EUR\b|GBP\b|dollars?\b|euros?\b|pounds?\b)
      |(?P<times>\s?times\b|x\b|×))?
    """,
    re.VERBOSE,
)
_UNITS_TEXT = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS_TEXT = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS_SPELLED, _TENS_SPELLED = _UNITS_TEXT.split(), _TENS_TEXT.split()
_SPELLED_VALUES = {
    **{word: value for value, word in enumerate(_UNITS_SPELLED, start=1)},
    **{word: value for value, word in zip(range(20, 100, 10), _TENS_SPELLED, strict=True)},
}
_SPELLED = re.compile(
    rf"""\b(?:(?P<tens>{"|".join(_TENS_SPELLED)})(?:[-\ ](?P<ones>{"|".join(_UNITS_SPELLED[:9])}))?
      |(?P<small>{"|".join(sorted(_UNITS_SPELLED, key=len, reverse=True))}))\b
      (?:[-\s](?P<magnitude>hundred|thousand|million|billion|trillion)\b)?
      (?:\s?(?:(?P<percent>percent\b|per\ cent\b|percentage\ points?\b)|(?P<times>times\b)))?""",
    re.VERBOSE | re.IGNORECASE,
)
_RANGE_GAP = re.compile(r"\s?(?:-|–|to|and)\s?")
_LETTER_DIGIT_LETTER = re.compile(r"(?<![^\W_])[A-Za-z]+\d+[A-Za-z]+(?![^\W_])")
# A quotation that is never closed goes on to the next one or to the end.
_PAIRED_QUOTATIONS = re.compile(r"“[^“”]*(?:”|(?=“)|$)|«[^«»]*(?:»|(?=«)|$)|„[^„“”]*(?:[“”]|(?=„)|$)")
_QUOTE_TRIM = " \t.,;:!?…"


def claims(text: str, *, exempt_phrases: Sequence[str] = ()) -> list[Claim]:
    """Every number and quotation in order of appearance.

    ``exempt_phrases`` are names (the article's keywords) inside which a number claims nothing. Words such as
    "B2B" are no numbers; "Q3" and "SOC2" are, with their letters as the unit.
    """
    masked = text
    for phrase in exempt_phrases:
        if phrase.strip():
            masked = phrase_pattern(phrase).sub(lambda match: " " * len(match[0]), masked)
    found = [*_numbers(masked), *_spelled_quantities(masked), *_quotations(masked, text)]
    return sorted(found, key=lambda claim: (claim.start, claim.end))


def ungrounded(text: str, sources: Sequence[str], *, exempt_phrases: Sequence[str] = ()) -> list[Claim]:
    """Claims of the text that none of the cited sources carries."""
    numbers = {value for source in sources for value in _source_values(source)}
    readable = [_quotable(source) for source in sources]
    return [
        claim
        for claim in claims(text, exempt_phrases=exempt_phrases)
        if not (
            claim.value in numbers
            if claim.kind is ClaimKind.NUMBER
            else any(_contains_words(source, claim.value) for source in readable)
        )
    ]


def without_ungrounded(
    text: str, sources: Sequence[str], *, exempt_phrases: Sequence[str] = ()
) -> tuple[str, list[str]]:
    """The text without the sentences that carry an ungrounded claim, and those sentences."""
    failing = ungrounded(text, sources, exempt_phrases=exempt_phrases)
    kept: list[str] = []
    dropped: list[str] = []
    for start, end in sentence_spans(text):
        overlaps = any(claim.start < end and claim.end > start for claim in failing)
        (dropped if overlaps else kept).append(text[start:end])
    return " ".join(kept), dropped


def _numbers(text: str) -> list[Claim]:
    words_with_digits = [match.span() for match in _LETTER_DIGIT_LETTER.finditer(text)]
    found: list[Claim] = []
    for match in _NUMBER.finditer(text):
        start = match.start() + len(match[0]) - len(match[0].lstrip())
        if any(first <= match.start("digits") < last for first, last in words_with_digits):
            continue
        found.append(
            Claim(
                kind=ClaimKind.NUMBER,
                start=start,
                end=match.end(),
                text=text[start : match.end()].strip(),
                value=_number_value(match),
            )
        )
    return found


def _spelled_quantities(text: str) -> list[Claim]:
    """Spelled-out numbers that state a quantity ("forty percent", "three million"); a plain "two" claims nothing."""
    return [
        Claim(kind=ClaimKind.NUMBER, start=match.start(), end=match.end(), text=match[0], value=_spelled_value(match))
        for match in _SPELLED.finditer(text)
        if match["magnitude"] or match["percent"] or match["times"]
    ]


def _spelled_value(match: re.Match[str]) -> str:
    amount = Decimal(sum(_SPELLED_VALUES[match[part].lower()] for part in ("tens", "ones", "small") if match[part]))
    if match["magnitude"]:
        amount = amount.scaleb(_MAGNITUDES[match["magnitude"].lower()])
    unit = "%" if match["percent"] else "×" if match["times"] else ""
    return f"{unit}{amount:f}"


def _source_values(source: str) -> set[str]:
    """Values a source carries: as written, spelled out, and both ends of a range with the range's unit."""
    numbers = _numbers(source)
    values = {claim.value for claim in numbers} | {_spelled_value(match) for match in _SPELLED.finditer(source)}
    for left, right in pairwise(numbers):
        if _RANGE_GAP.fullmatch(source[left.end : right.start]):
            for claim, other in ((left, right), (right, left)):
                if claim.value[0].isdigit() and other.value[0] in "%$€£×":
                    values.add(other.value[0] + claim.value)
    return values


def _number_value(match: re.Match[str]) -> str:
    amount = _amount(match["digits"])
    magnitude = match["magnitude"] or match["short"]
    if magnitude and amount is not None:
        amount = amount.scaleb(_MAGNITUDES[magnitude.lower()])
    number = f"{amount.normalize():f}" if amount is not None else match["digits"]
    return f"{_unit(match)}{number}"


def _amount(digits: str) -> Decimal | None:
    """None for dotted numbers that are no amount (versions, dates)."""
    plain = re.sub(r"[\u00a0\u202f’']", "", digits)
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", plain):
        plain = plain.replace(",", "")
    elif re.fullmatch(r"\d+,\d+", plain):
        plain = plain.replace(",", ".")
    return Decimal(plain) if re.fullmatch(r"\d*\.?\d+", plain) else None


def _unit(match: re.Match[str]) -> str:
    if match["percent"]:
        return "%"
    currency = (match["currency"] or match["unit"] or "").strip().lower()
    if currency:
        return _CURRENCIES[currency]
    if match["times"]:
        return "×"
    return (match["prefix"] or "").lower().rstrip("-")


def _quotations(masked: str, text: str) -> list[Claim]:
    spans = [match.span() for match in _PAIRED_QUOTATIONS.finditer(text)]
    spans += _straight_quotations(text)
    found = [
        Claim(kind=ClaimKind.QUOTATION, start=start, end=end, text=text[start:end], value=_quotable(text[start:end]))
        for start, end in spans
        if masked[start:end].strip('“”«»„" \t.,;:!?…')
    ]
    return [claim for claim in found if claim.value]


def _straight_quotations(text: str) -> list[tuple[int, int]]:
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


def _quotable(text: str) -> str:
    plain = clean_text(text).casefold()
    plain = re.sub('[“”«»„"]', " ", plain).replace("’", "'").replace("‘", "'")
    plain = re.sub("[‐‑‒–—]", "-", plain)
    return " ".join(plain.split()).strip(_QUOTE_TRIM)


def _contains_words(source: str, quotation: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(quotation)}(?!\w)", source))
