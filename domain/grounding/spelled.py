"""Number words: "forty-five", "two hundred and ten thousand", "nineteen ninety-nine", "third", "two thirds"."""

import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

_UNITS_TEXT = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS_TEXT = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = {word: value for value, word in enumerate(_UNITS_TEXT.split())}
_TENS = {word: value for value, word in zip(range(20, 100, 10), _TENS_TEXT.split(), strict=True)}
# Longer than any number that somebody writes out.
WORDS_MAX = 14
SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_ORDINALS_TEXT = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_ORDINALS = {
    **{word: value for value, word in enumerate(_ORDINALS_TEXT.split())},
    **{f"{word[:-1]}ieth": value for word, value in _TENS.items()},
    "hundredth": 100,
    "thousandth": 1000,
}
_WORD = rf"(?:{'|'.join(sorted((*_SMALL, *_TENS, *SCALES), key=len, reverse=True))})"
_RUN = re.compile(rf"\b{_WORD}(?:(?:[-\s]|\s?,\s|\sand\s){_WORD})*\b", re.IGNORECASE)
_ORDINAL = re.compile(
    rf"\b(?:(?P<tens>{'|'.join(_TENS)})[-\s])?(?P<last>{'|'.join(sorted(_ORDINALS, key=len, reverse=True))})\b",
    re.IGNORECASE,
)


class SpelledNumber(NamedTuple):
    start: int
    end: int
    amount: Decimal
    has_scale: bool


def spelled_numbers(text: str) -> list[SpelledNumber]:
    """Every number in words; words that don't make one number together ("two, three") are several."""
    found: list[SpelledNumber] = []
    for run in _RUN.finditer(text):
        start = run.start()
        words: list[tuple[int, int, str]] = [
            (start + match.start(), start + match.end(), match[0].lower())
            for match in re.finditer(r"[A-Za-z]+", run[0])
            if match[0].lower() != "and"
        ]
        found += _numbers_of(words, text)
    return found


def _numbers_of(words: Sequence[tuple[int, int, str]], text: str) -> list[SpelledNumber]:
    """Greedy: as many words as make one number, then the next."""
    found: list[SpelledNumber] = []
    place = 0
    while place < len(words):
        longest = min(WORDS_MAX, len(words) - place)
        parts = (words[place : place + size] for size in range(longest, 0, -1))
        part, amount = next((part, amount) for part in parts if (amount := _amount(part, text)) is not None)
        place += len(part)
        has_scale = any(word in SCALES for _, _, word in part)
        found.append(SpelledNumber(part[0][0], part[-1][1], Decimal(amount), has_scale))
    return found


def _amount(words: Sequence[tuple[int, int, str]], text: str) -> int | None:
    """The number, None when the words are none together."""
    names = [word for _, _, word in words]
    gaps = [text[left[1] : right[0]] for left, right in pairwise(words)]
    is_year = _is_spoken_year(names)
    if not all(_is_joined(pair, gap, is_year) for pair, gap in zip(pairwise(names), gaps, strict=True)):
        return None
    return _spoken_year(names) if is_year else _sum(names)


def _is_joined(pair: tuple[str, str], gap: str, is_year: bool) -> bool:
    """A comma and an "and" join only below a scale ("one thousand, two hundred and five")."""
    left, right = pair
    if left not in SCALES and ("," in gap or "and" in gap.lower()):
        return False
    return is_year or left in SCALES or right in SCALES or (left in _TENS and 0 < _SMALL.get(right, 99) < 10)


def _sum(names: Sequence[str]) -> int | None:
    total = group = 0
    last_scale = 99
    for name in names:
        value = _SMALL.get(name, _TENS.get(name, 0))
        if SCALES.get(name, 0) > 2:
            if SCALES[name] >= last_scale:
                return None
            last_scale = SCALES[name]
            total, group = total + (group or 1) * 10 ** SCALES[name], 0
        elif name == "hundred":
            if group >= 100:
                return None
            group = (group or 1) * 100
        elif group % 100 and not (group % 10 == 0 and group % 100 >= 20 and value < 10):
            return None
        else:
            group += value
    return total + group


def _is_spoken_year(names: list[str]) -> bool:
    """ "nineteen ninety-nine", "twenty twenty-four"."""
    century = _SMALL.get(names[0], _TENS.get(names[0], 0)) if names else 0
    rest = names[1:]
    if century not in (*range(16, 20), 20) or not rest or len(rest) > 2:
        return False
    return (rest[0] in _TENS or 9 < _SMALL.get(rest[0], 0) < 20) and (
        len(rest) == 1 or (rest[0] in _TENS and 0 < _SMALL.get(rest[1], 99) < 10)
    )


def _spoken_year(names: Sequence[str]) -> int:
    values = [_SMALL.get(name, _TENS.get(name, 0)) for name in names]
    return values[0] * 100 + sum(values[1:])


def spelled_ordinals(text: str) -> list[SpelledNumber]:
    """ "third", "twenty-first"; a unit of time ("a second") is an ordinal too where nothing tells."""
    return [
        SpelledNumber(
            match.start(),
            match.end(),
            Decimal((_TENS[match["tens"].lower()] if match["tens"] else 0) + _ORDINALS[match["last"].lower()]),
            False,
        )
        for match in _ORDINAL.finditer(text)
    ]


_DENOMINATORS = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4,
    "fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "seventh": 7, "sevenths": 7, "eighth": 8, "eighths": 8,
    "ninth": 9, "ninths": 9, "tenth": 10, "tenths": 10,
}  # fmt: skip
_FRACTION = re.compile(
    rf"\b(?P<count>a|an|{'|'.join(sorted((*_SMALL, *_TENS), key=len, reverse=True))})[-\s]"
    rf"(?P<of>{'|'.join(sorted(_DENOMINATORS, key=len, reverse=True))})\b|\b(?P<half>half)\b",
    re.IGNORECASE,
)


class SpelledFraction(NamedTuple):
    """``is_stated`` when it can only be meant as a share of something ("two thirds", "half of", "a third of")."""

    start: int
    end: int
    numerator: int
    denominator: int
    is_stated: bool


_OF = re.compile(r"\s(?:of|as)\b", re.IGNORECASE)
_PLACE_BEFORE = re.compile(
    r"\b(?:first|second|last|next|each|every|the|your|their|its|our|my|this|that)\s$", re.IGNORECASE
)
_HEDGE_BEFORE = re.compile(
    r"\b(?:than|nearly|almost|about|over|under|around|roughly|approximately|only|just|least|most)\s$", re.IGNORECASE
)
_OF_A_KIND = re.compile(r"\sof\s(?:all|every|any|those|them|(?!this\b|its\b|us\b)[a-z]+s\b)", re.IGNORECASE)


def spelled_fractions(text: str) -> list[SpelledFraction]:
    found: list[SpelledFraction] = []
    for match in _FRACTION.finditer(text):
        count = "a" if match["half"] else match["count"].lower()
        numerator = 1 if count in ("a", "an") else _SMALL.get(count, _TENS.get(count, 0))
        denominator = 2 if match["half"] else _DENOMINATORS[match["of"].lower()]
        before, after = text[max(0, match.start() - 12) : match.start()], text[match.end() :]
        is_plural = (match["of"] or "").lower().endswith(("s", "ves"))
        if match["half"]:  # "half of the pallets" is a way of speaking; "nearly half", "half of all" are not
            is_share = bool(_HEDGE_BEFORE.search(before) or _OF_A_KIND.match(after))
        else:
            is_share = bool(_OF.match(after)) and not _PLACE_BEFORE.search(before)
        if 0 < numerator < denominator:
            found.append(SpelledFraction(match.start(), match.end(), numerator, denominator, is_plural or is_share))
    return found
