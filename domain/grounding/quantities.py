"""Numbers of a text in normal form: amounts with their units, dates, clock times, shares; and what a source states.

A value is a string such as ``%40``, ``$1200000``, ``×3``, ``1200``, ``mdy:3-5-2024``, ``clock:14:30``. What a text
states has *ways*: sets of values, one of which the source must carry whole. A source carries the values of its own
numbers in every form that says the same.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise

from domain.grounding.spelled import SCALES, spelled_fractions, spelled_numbers, spelled_ordinals
from domain.grounding.vocabulary import CURRENCIES, LABEL_MAX, LABELS, MAGNITUDES, MONTHS, UNITS
from domain.text import phrase_pattern

Way = frozenset[str]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number as a text states it. ``value`` is its normal form, ``ways`` what satisfies it, ``carries`` what it
    says as part of a source."""

    start: int
    end: int
    text: str
    value: str
    ways: tuple[Way, ...]
    carries: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Number:
    """A plain number before its neighbours have lent it their unit."""

    start: int
    end: int
    text: str
    amounts: tuple[str, ...]
    unit: str
    prefix: str
    measure: str | None
    is_ordinal: bool = False
    magnitude: int = 0
    lent_units: tuple[str, ...] = ()
    lent_amounts: tuple[str, ...] = ()


_CURRENCY_CODE = r"(?:USD|EUR|GBP|CHF|JPY|INR|AUD|CAD)"
_NUMBER = re.compile(
    rf"""
    (?P<currency>(?:US|A|C)?\$|[€£¥₹]|\b{_CURRENCY_CODE}\s)?\s?
    (?P<prefix>(?<![^\W_])[A-Za-z]+(?=\d))?
    (?P<digits>\d{{1,3}}(?:[,\u00a0\u202f’']\d{{3}})+(?!\d)(?:\.\d+)?|\d{{1,2}}(?:,\d\d)+,\d{{3}}(?!\d)
      |\d{{1,3}}(?:[ ]\d{{3}}){{2,}}(?!\d)|\d{{1,3}}[ ]\d{{3}}(?=\s?(?:[€£$]|(?:euros?|dollars?|pounds?|EUR|USD|GBP)\b))
      |\d+(?:[.,]\d+)*|(?<!\w)\.\d+)(?P<fraction>[½¼¾⅓⅔⅛])?
    (?P<ordinal>(?:st|nd|rd|th)\b)?
    (?:[\s-]?(?P<magnitude>hundred|thousand|million|billion|trillion|lakh|crore|mn|bn|mio)\b|(?P<short>[kKmMbB])\b)?
    (?:[\s-]?(?P<percent>%|percent\b|per[ -]cent\b|pct\b|percentage[ -]points?\b)
      |\s?(?P<unit>€|£|{_CURRENCY_CODE}\b|(?:US\s)?dollars?\b|euros?\b|pounds?\b|rupees?\b|yen\b)
      |(?P<times>\s?times\b|-?fold\b|x\b|×))?
    """,
    re.VERBOSE,
)
_FRACTION_VALUES = {"½": "0.5", "¼": "0.25", "¾": "0.75", "⅓": "0.333", "⅔": "0.667", "⅛": "0.125"}
_LONE_FRACTION = re.compile(r"(?<!\d)[½¼¾⅓⅔⅛]")
_LETTER_DIGIT_LETTER = re.compile(r"(?<![^\W_])[A-Za-z]+\d+[A-Za-z]+(?![^\W_])")
_UNIT_AFTER = re.compile(
    rf"[\s-]?(?:[A-Za-z]+[\s-])?(?P<measure>{'|'.join(sorted(UNITS, key=len, reverse=True))})(?![A-Za-z])",
    re.IGNORECASE,
)
_FIRST_WORD_NO_ADJECTIVE = re.compile(
    r"[\s-]?(?:and|or|to|in|of|per|a|an|the|for|at|on|by|each|every|with|from|than|more|times|percent|after|within|"
    r"before|last|next|this|that|is|was|as|until|over|under|during)\s",
    re.IGNORECASE,
)
_TIMES_AFTER = re.compile(
    r"[\s-]?(?:(?P<percent>%|percent\b|per[ -]cent\b|percentage[ -]points?\b)|(?P<times>times\b|-?fold\b)"
    r"|(?P<unit>(?:US\s)?dollars?\b|euros?\b|pounds?\b|rupees?\b))",
    re.IGNORECASE,
)
_RANGE_GAP = re.compile(r"\s?(?:-|–|—|to|and|or|,|, and|, or)\s?", re.IGNORECASE)
_MONTH_NAME = rf"(?P<month>{'|'.join(sorted(MONTHS, key=len, reverse=True))})\b\.?"
_DAY = (
    r"(?P<day>\d{1,2})(?:st|nd|rd|th)?(?:\s?(?:-|–|—|to|and)\s?(?P<last_day>\d{1,2})(?:st|nd|rd|th)?)?(?!\d|[.,]\d|:)"
)
_YEAR = r"(?P<year>(?:1[0-9]|20|21)\d\d)(?!\d|[.,]\d)"
_DATES = (
    re.compile(rf"\b{_MONTH_NAME}\s{_DAY}(?:,?\s{_YEAR})?", re.IGNORECASE),
    re.compile(rf"(?<![\d.,]){_DAY}\s(?:of\s)?{_MONTH_NAME}(?:,?\s{_YEAR})?", re.IGNORECASE),
    re.compile(rf"\b{_MONTH_NAME},?\s(?:of\s)?{_YEAR}", re.IGNORECASE),
)
_ISO_DATE = re.compile(r"(?<!\d)(?P<year>(?:1[5-9]|20)\d\d)[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?![\d])")
_NUMERIC_DATE = re.compile(
    r"(?<![\d./-])(?P<first>\d{1,2})(?P<mark>[/.-])(?P<second>\d{1,2})(?P=mark)(?P<year>(?:1[5-9]|20)?\d\d)(?![\d])"
)
_BARE_MONTH = re.compile(
    rf"\b(?!may\b|mar\b|dec\b|jun\b|march\b){_MONTH_NAME}|\b(?:May|March|MAY|MARCH)\b", re.IGNORECASE
)
_YEARS = re.compile(r"(?<![\d.,])(?P<first>(?:1[5-9]|20)\d\d)\s?[-–—/]\s?(?P<second>\d\d)(?![\d]|[.,-]\d)")
_CLOCK = re.compile(
    r"(?<![\d:.,/])(?P<hour>[01]?\d|2[0-4])(?::(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?|(?:\.(?P<dotted>[0-5]\d))?"
    r"(?=\s?[ap]\.?\s?m\b))(?:\s?(?P<half>[ap])\.?\s?m\b\.?)?(?![:\d])",
    re.IGNORECASE,
)
_RATIO = re.compile(r"(?<![\d./,:-])(?P<first>\d{1,3})\s?/\s?(?P<second>\d{1,3})(?![\d/]|[.,]\d)")
_COUNT_WORD = (
    r"(?:\d{1,3}|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred)"
)
_OUT_OF = re.compile(
    rf"(?<![\w.,$€£-])(?P<first>{_COUNT_WORD})\s(?P<joint>in|out\sof)\s(?:every\s)?(?P<second>{_COUNT_WORD})(?![\w%]|[.,:]\d)",
    re.IGNORECASE,
)
_MULTIPLE = re.compile(
    r"\b(?:(?P<two>doubled|twice\sas)|(?P<three>tripled|trebled|thrice)|(?P<four>quadrupled)|(?P<half>halved))\b",
    re.IGNORECASE,
)
_MULTIPLE_CARRIED = re.compile(
    r"\b(?:(?P<two>doubl(?:e|es|ed|ing)|twice|two-?fold)|(?P<three>tripl(?:e|es|ed|ing)|trebl(?:e|es|ed|ing)|thrice|"
    r"three-?fold)|(?P<four>quadrupl(?:e|es|ed|ing)|four-?fold)|(?P<half>halv(?:e|es|ed|ing)))\b",
    re.IGNORECASE,
)
_QUARTER = re.compile(
    r"\b(?P<ordinal>first|second|third|fourth|1st|2nd|3rd|4th|last|final)[\s-](?P<part>quarter|half)\b", re.I
)
_FISCAL = re.compile(r"\b(?:FY\s?|fiscal\s(?:year\s)?)(?P<year>(?:20)?\d\d)\b", re.IGNORECASE)
_DECADE = re.compile(r"(?<![\w])['’]?(?P<decade>(?:1[5-9]|20)?\d0)['’]?s\b")
_ROUND_THE_CLOCK = re.compile(r"\baround[\s-]the[\s-]clock\b|\b24 hours a day\b", re.IGNORECASE)
_ONE_UNIT = re.compile(rf"\b(?:an?|per|each|every|one)\s(?P<measure>{'|'.join(UNITS)})\b", re.IGNORECASE)
_HALF_UNIT = re.compile(rf"\bhalf\s(?:an?\s)?(?P<measure>{'|'.join(UNITS)})\b", re.IGNORECASE)
_AND_A_HALF = re.compile(
    rf"(?<!\w)(?P<count>{_COUNT_WORD})\sand\sa\shalf\b(?:\s(?P<magnitude>thousand|million|billion|trillion)\b)?",
    re.IGNORECASE,
)
_WORD_COUNTS = (
    (re.compile(r"\b(?:pair|couple|both|duo|twin|twins)\b", re.IGNORECASE), "2"),
    (re.compile(r"\b(?:trio|triplets)\b", re.IGNORECASE), "3"),
    (re.compile(r"\b(?:dozen)\b", re.IGNORECASE), "12"),
    (re.compile(r"\b(?:single|sole|only|once)\b", re.IGNORECASE), "1"),
)
_ONE_WORDS_EXEMPT = 12  # a plain "two" is a way of speaking; from 13 on a number in words states a quantity
_MASKED = (
    re.compile(r"\[\^?\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*\]"),
    re.compile(r"\b(?:https?|ftp)://\S+|\bwww\.\S+|\b[\w.+-]+@[\w-]+\.\w[\w.]*"),
    re.compile(r"(?m)^[ \t]{0,8}(?:[-*•]\s+)?\(?\d{1,2}[.)](?=\s+\S)"),
)
_LABEL = re.compile(rf"\b(?:{'|'.join(LABELS)})s?\.?\s#?(?P<number>\d{{1,2}})(?![\w%]|[.,]\d)", re.IGNORECASE)
_PLACES = {"first": 1, "1st": 1, "second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4}


def quantities(text: str, *, exempt_phrases: Sequence[str] = ()) -> list[Quantity]:
    """The numbers that a text states, in order. Exempt are list numbering, labels ("Step 3"), citation marks, web
    addresses, words such as "B2B", and plain numbers in words up to twelve that measure nothing."""
    return sorted(_read(_masked(text, exempt_phrases), text, is_source=False), key=lambda one: (one.start, one.end))


def source_values(source: str) -> set[str]:
    """Every value that a source carries, also in the forms that say the same as its own."""
    values = {value for one in _read(source, source, is_source=True) for value in one.carries}
    return values | _implied(source)


def is_met(quantity: Quantity, values: Iterable[str]) -> bool:
    carried = values if isinstance(values, set | frozenset) else set(values)
    return any(way <= carried for way in quantity.ways)


def _masked(text: str, exempt_phrases: Sequence[str]) -> str:
    masked = text
    for pattern in (*_MASKED, *(phrase_pattern(phrase) for phrase in exempt_phrases if phrase.strip())):
        masked = pattern.sub(_blank, masked)
    return _LABEL.sub(lambda match: _blank(match) if int(match["number"]) <= LABEL_MAX else match[0], masked)


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])


def _read(text: str, original: str, *, is_source: bool) -> list[Quantity]:
    """What is read as a date, a time or a share is no plain number any more."""
    found: list[Quantity] = []
    for reader in (_dates, _clock_times, _year_ranges, _shares, _multiples):
        part = reader(text, original, is_source)
        found += part
        text = _without(text, ((one.start, one.end) for one in part))
    return found + _plain(text, original, is_source)


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with blanks in these places."""
    characters = list(text)
    for start, end in spans:
        characters[start:end] = " " * (end - start)
    return "".join(characters)


# --- dates and times ---


def _dates(text: str, original: str, _is_source: bool) -> list[Quantity]:
    found: list[Quantity] = []
    for pattern in (_ISO_DATE, _NUMERIC_DATE, *_DATES):
        read = [one for match in pattern.finditer(text) if (one := _date(match, original)) is not None]
        found += read
        text = _without(text, ((one.start, one.end) for one in read))
    return found


def _date(match: re.Match[str], original: str) -> Quantity | None:
    parts = match.groupdict()
    if "first" in parts:
        year = parts["year"] if len(parts["year"]) == 4 else f"20{parts['year']}"
        orders = {(int(parts["first"]), int(parts["second"])), (int(parts["second"]), int(parts["first"]))}
        readings = [(month, [day], year) for month, day in sorted(orders)]
    else:
        month = MONTHS.get(parts["month"].lower()) or int(parts["month"]) if parts["month"] else 0
        days = [int(parts[name]) for name in ("day", "last_day") if parts.get(name)]
        readings = [(month, days, parts.get("year"))]
        is_word = parts["month"].lower() in ("may", "march", "mar", "dec", "sep", "jun", "jan")
        if is_word and parts["month"][0].islower() and not parts.get("day"):
            return None
    readings = [one for one in readings if 1 <= one[0] <= 12 and all(1 <= day <= 31 for day in one[1])]
    if not readings:
        return None
    return Quantity(
        start=match.start(),
        end=match.end(),
        text=original[match.start() : match.end()].strip(),
        value=min(_date_value(*one) for one in readings),
        ways=tuple(way for one in readings for way in _date_ways(*one)),
        carries=frozenset(value for one in readings for value in _date_values(*one)),
    )


def _date_value(month: int, days: list[int], year: str | None) -> str:
    return "date:" + "-".join([str(month), *map(str, days), *([year] if year else [])])


def _date_ways(month: int, days: list[int], year: str | None) -> list[Way]:
    """The same date; or its parts from numbers and months that are no part of another date."""
    if not days:
        return [frozenset({f"my:{month}-{year}"}), frozenset({f"month?:{month}", str(year)})]
    pieces = [{f"day:{day}" for day in days} | {f"month:{month}"}]
    if year is None:
        return [frozenset(f"md:{month}-{day}" for day in days), *(frozenset(piece) for piece in pieces)]
    return [
        frozenset(f"mdy:{month}-{day}-{year}" for day in days),
        frozenset({*(f"md?:{month}-{day}" for day in days), year}),
        *(frozenset(piece | {year}) for piece in pieces),
    ]


def _date_values(month: int, days: list[int], year: str | None) -> set[str]:
    values = {f"month:{month}"} | ({year, f"my:{month}-{year}"} if year else {f"month?:{month}"})
    for day in days:
        values |= {f"md:{month}-{day}", f"mdy:{month}-{day}-{year}" if year else f"md?:{month}-{day}"}
    return values


def _clock_times(text: str, original: str, _is_source: bool) -> list[Quantity]:
    found = []
    for match in _CLOCK.finditer(text):
        hour, minute = int(match["hour"]), match["minute"] or match["dotted"] or "00"
        if match["half"]:
            hours = {hour % 12 + (12 if match["half"].lower() == "p" else 0)}
        else:
            hours = {hour, hour + 12} if hour < 12 else {hour, hour - 12} if hour == 12 else {hour}
        seconds = f":{match['second']}" if match["second"] else ""
        values = [f"clock:{one}:{minute}{seconds}" for one in sorted(hours)]
        found.append(_quantity(match.span(), original, values[0], [frozenset({one}) for one in values], set(values)))
    return found


def _year_ranges(text: str, original: str, _is_source: bool) -> list[Quantity]:
    found = []
    for match in _YEARS.finditer(text):
        first, second = match["first"], match["first"][:2] + match["second"]
        if int(second) > int(first):
            found.append(
                _quantity(match.span(), original, f"{first}-{second}", [frozenset({first, second})], {first, second})
            )
    return found


# --- shares and multiples ---


def _shares(text: str, original: str, is_source: bool) -> list[Quantity]:
    """ "3/4", "three in four", "two thirds", "half of", "¾"."""
    found: list[Quantity] = []
    for match in _RATIO.finditer(text):
        found.append(_share(match.span(), original, int(match["first"]), int(match["second"])))
    for match in _OUT_OF.finditer(text):
        first, second = _count(match["first"]), _count(match["second"])
        if not 0 < first < second or (
            match["joint"].lower() == "in" and second not in (2, 3, 4, 5, 6, 8, 10, 12, 20, 50, 100)
        ):
            continue
        quantity = _share(match.span(), original, first, second)
        apart = frozenset({str(first), str(second)})
        found.append(replace(quantity, ways=(*quantity.ways, apart), carries=quantity.carries | apart))
    for match in _LONE_FRACTION.finditer(text):
        value = Decimal(_FRACTION_VALUES[match[0]])
        found.append(
            _quantity(match.span(), original, f"{value:f}", [frozenset({f"{value:f}"})], _decimal_values(value))
        )
    for one in spelled_fractions(text):
        if is_source or one.is_stated:
            found.append(_share((one.start, one.end), original, one.numerator, one.denominator))
    return _without_overlaps(found)


def _share(span: tuple[int, int], original: str, first: int, second: int) -> Quantity:
    value = f"{first}/{second}"
    carries = {value}
    if 0 < first < second:
        carries |= _decimal_values(Decimal(first) / Decimal(second)) | {f"{first}/{second}"}
    ways = [frozenset({one}) for one in sorted(carries)]
    ends = {str(first), str(second)} if original[span[0]].isdigit() else set()
    return _quantity(span, original, value, ways, carries | ends)


def _decimal_values(share: Decimal) -> set[str]:
    percent = share * 100
    texts = {f"%{round(percent)}", f"%{_plain_text(round(percent, 1))}", f"%{_plain_text(round(percent, 2))}"}
    exact = _plain_text(round(share, 3))
    return {*texts, exact, f"share:{exact}"} if percent == percent.to_integral_value() else {*texts, f"share:{exact}"}


def _plain_text(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def _count(word: str) -> int:
    if word.isdigit():
        return int(word)
    return 100 if word.lower() == "hundred" else int(spelled_numbers(word)[0].amount)


def _multiples(text: str, original: str, is_source: bool) -> list[Quantity]:
    found = []
    for match in (_MULTIPLE_CARRIED if is_source else _MULTIPLE).finditer(text):
        name = next(key for key, value in match.groupdict().items() if value)
        if name == "half":
            values = {"%50", "1/2", "0.5", "share:0.5"}
        else:
            factor = {"two": 2, "three": 3, "four": 4}[name]
            values = {f"×{factor}", f"%{100 * (factor - 1)}"}
        found.append(
            _quantity(match.span(), original, min(values), [frozenset({one}) for one in sorted(values)], values)
        )
    return found


# --- plain numbers ---


def _plain(text: str, original: str, is_source: bool) -> list[Quantity]:
    digits = _digit_numbers(text, original)
    spelled = _spelled(_without(text, ((one.start, one.end) for one in digits)), original, is_source)
    numbers = sorted([*digits, *spelled], key=lambda one: one.start)
    return [_of_number(one) for one in _with_lent_units(numbers, text) if is_source or _is_stated(one)]


def _is_stated(number: _Number) -> bool:
    """Digits always; words only where they measure something or are too large for a way of speaking."""
    if any(character.isdigit() for character in number.text) or number.unit or number.magnitude:
        return True
    amount = Decimal(number.amounts[0])
    return not number.is_ordinal and (amount > _ONE_WORDS_EXEMPT or (number.measure is not None and amount > 1))


def _digit_numbers(text: str, original: str) -> list[_Number]:
    in_words = {place for match in _LETTER_DIGIT_LETTER.finditer(text) for place in range(*match.span())}
    found: list[_Number] = []
    for match in _NUMBER.finditer(text):
        if match.start("digits") in in_words:
            continue
        start = match.start() + len(match[0]) - len(match[0].lstrip())
        found.append(
            _Number(
                start=start,
                end=match.end(),
                text=original[start : match.end()].strip(),
                amounts=_amounts(match),
                unit=_unit(match),
                prefix=(match["prefix"] or "").lower(),
                measure=None if _unit(match) else _measure(text, match.end()),
                is_ordinal=bool(match["ordinal"]),
                magnitude=_magnitude(match),
            )
        )
    return found


def _magnitude(match: re.Match[str]) -> int:
    name = match["magnitude"] or match["short"]
    return MAGNITUDES[name.lower()] if name else 0


def _amounts(match: re.Match[str]) -> tuple[str, ...]:
    """Readings of the digits, the likeliest first: "1.200" may be a decimal or a thousand, "2m" a million or metres."""
    readings = _readings(match["digits"])
    if match["fraction"]:
        readings = [one + Decimal(_FRACTION_VALUES[match["fraction"]]) for one in readings]
    if not readings:
        return (match["digits"],)
    scaled = [one.scaleb(_magnitude(match)) for one in readings]
    if match["short"] == "m":
        scaled += readings
    return tuple(dict.fromkeys(_plain_text(one) for one in scaled))


def _readings(digits: str) -> list[Decimal]:
    """None for dotted numbers that are no amount (versions)."""
    plain = re.sub(r"[ \u00a0\u202f’']", "", digits)
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,2}(?:,\d\d)+,\d{3}", plain):
        return [Decimal(plain.replace(",", ""))]
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}", plain):
        return [Decimal(plain.replace(".", "").replace(",", "."))]
    if re.fullmatch(r"\d+,\d+", plain):
        plain = plain.replace(",", ".")
    if not re.fullmatch(r"\d*\.?\d+", plain):
        return []
    return [Decimal(plain), *([Decimal(plain.replace(".", ""))] if re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", plain) else [])]


def _unit(match: re.Match[str]) -> str:
    if match["percent"]:
        return "%"
    currency = (match["currency"] or match["unit"] or "").strip().lower()
    if currency:
        return CURRENCIES[currency.removeprefix("us ")]
    return "×" if match["times"] else ""


def _measure(text: str, end: int) -> str | None:
    """The unit of measure after a number, also behind one adjective ("5 business days")."""
    match = _UNIT_AFTER.match(text, end)
    if match is None or (
        match.start("measure") - end > 1 and _FIRST_WORD_NO_ADJECTIVE.match(text[end : match.start("measure")])
    ):
        return None
    return match["measure"].lower()


def _spelled(text: str, original: str, is_source: bool) -> list[_Number]:
    found: list[_Number] = []
    for one in spelled_numbers(text):
        after = _TIMES_AFTER.match(text, one.end)
        unit = ""
        if after is not None:
            unit = (
                "%"
                if after["percent"]
                else "×"
                if after["times"]
                else CURRENCIES[after["unit"].lower().removeprefix("us ")]
            )
        end = after.end() if after is not None else one.end
        if one.has_scale and one.end - one.start < 9 and text[one.start : one.end].lower() in SCALES and not is_source:
            continue  # "hundred", "a million": a way of speaking
        found.append(
            _Number(
                start=one.start,
                end=end,
                text=original[one.start : end],
                amounts=(_plain_text(one.amount),),
                unit=unit,
                prefix="",
                measure=None if unit else _measure(text, end),
                magnitude=int(one.has_scale),
            )
        )
    if is_source:
        found += [
            _Number(
                one.start,
                one.end,
                original[one.start : one.end],
                (_plain_text(one.amount),),
                "",
                "",
                None,
                is_ordinal=True,
            )
            for one in spelled_ordinals(text)
        ]
    return found


def _with_lent_units(numbers: list[_Number], text: str) -> list[_Number]:
    """In a range or an enumeration the last number's unit and the first one's currency hold for the others too."""
    lent = list(numbers)
    for place in range(len(lent) - 2, -1, -1):
        left, right = lent[place], lent[place + 1]
        if _RANGE_GAP.fullmatch(text[left.end : right.start]):
            lent[place] = _lent(left, right)
    for place, (left, right) in enumerate(pairwise(list(lent))):
        if _RANGE_GAP.fullmatch(text[left.end : right.start]) and not right.unit:
            currency = next((one for one in (left.unit, *left.lent_units) if one and one not in "%×"), None)
            if currency is not None:
                lent[place + 1] = replace(lent[place + 1], lent_units=(*lent[place + 1].lent_units, currency))
            elif left.unit in ("%", "×"):
                lent[place + 1] = replace(lent[place + 1], lent_units=(*lent[place + 1].lent_units, left.unit))
    return lent


def _lent(left: _Number, right: _Number) -> _Number:
    changes: dict[str, object] = {}
    units = tuple(one for one in (right.unit, *right.lent_units) if one)
    if not left.unit and units:
        changes["lent_units"] = (*left.lent_units, *units)
    if left.measure is None and right.measure is not None and not left.unit:
        changes["measure"] = right.measure
    if right.magnitude and not left.magnitude:
        scaled = tuple(_scaled(amount, right.magnitude) for amount in left.amounts if _is_amount(amount))
        changes["lent_amounts"] = scaled
        changes["magnitude"] = 0
    return replace(left, **changes)  # type: ignore[arg-type]


def _scaled(amount: str, magnitude: int) -> str:
    return _plain_text(Decimal(amount).scaleb(magnitude))


def _is_amount(text: str) -> bool:
    return bool(re.fullmatch(r"\d+(?:\.\d+)?", text))


def _of_number(number: _Number) -> Quantity:
    value = f"{number.unit or number.prefix}{number.amounts[0]}"
    ways: list[Way] = []
    carries: set[str] = set()
    for amount in (*number.amounts, *number.lent_amounts):
        for unit in dict.fromkeys((number.unit or number.prefix, *number.lent_units)):
            own_ways, own_values = _forms(amount, unit, number)
            ways += own_ways
            carries |= own_values
    return Quantity(number.start, number.end, number.text, value, tuple(dict.fromkeys(ways)), frozenset(carries))


def _forms(amount: str, unit: str, number: _Number) -> tuple[list[Way], set[str]]:
    """What satisfies the amount in this unit, and what it carries."""
    value = f"{unit}{amount}"
    if unit in ("%", "×") or unit in CURRENCIES.values():
        return [frozenset({value})], {value}
    if unit:  # a name: "Q3", "SOC2"
        bare = {amount} if len(unit) > 2 else set()
        return [frozenset({value})], {value, *bare, f"{amount}|?"} if bare else {value}
    if number.is_ordinal:
        return [frozenset({value}), frozenset({f"day:{amount}"})], {value, f"day:{amount}", f"{amount}|?"}
    if number.measure is None:
        return [frozenset({value})], {value, f"day:{amount}", f"{amount}|?"}
    if not _is_amount(amount):
        return [frozenset({value})], {value}
    base, factor = UNITS[number.measure]
    measured = f"{_plain_text(Decimal(amount) * factor)}|{base}"
    return [frozenset({measured}), frozenset({f"{amount}|?"})], {value, measured}


# --- what else a source carries ---


def _implied(source: str) -> set[str]:
    values: set[str] = set()
    for pattern, amount in _WORD_COUNTS:
        if pattern.search(source):
            values |= {amount, f"{amount}|?"}
    for match in _QUARTER.finditer(source):
        part, place = match["part"][0].lower(), match["ordinal"].lower()
        last = 4 if part == "q" else 2
        values.add(f"{part}{_PLACES.get(place, last)}")
    for match in _FISCAL.finditer(source):
        values |= {f"fy{match['year'][-2:]}", f"fy20{match['year'][-2:]}", match["year"], f"20{match['year'][-2:]}"}
    for match in _DECADE.finditer(source):
        values |= {
            match["decade"][-2:],
            match["decade"],
            f"19{match['decade'][-2:]}" if len(match["decade"]) == 2 else "",
        }
    for match in _ONE_UNIT.finditer(source):
        base, factor = UNITS[match["measure"].lower()]
        values |= {f"{factor}|{base}"}
    for match in _HALF_UNIT.finditer(source):
        base, factor = UNITS[match["measure"].lower()]
        values |= {f"{_plain_text(Decimal(factor) / 2)}|{base}"}
    for match in _AND_A_HALF.finditer(source):
        magnitude = MAGNITUDES[match["magnitude"].lower()] if match["magnitude"] else 0
        values.add(_plain_text((_count(match["count"]) + Decimal("0.5")).scaleb(magnitude)))
    for match in _BARE_MONTH.finditer(source):
        month = MONTHS[(match["month"] or match[0]).lower()]
        values |= {f"month:{month}", f"month?:{month}"}
    if _ROUND_THE_CLOCK.search(source):
        values |= {"24/7", "24", "7"}
    for match in re.finditer(r"\b([A-Za-z]{2,})[ -](\d+)\b", source):
        values.add(f"{match[1].lower()}{match[2]}")
    for match in re.finditer(r"(?<!\d)\d{1,3}(?: \d{3})+(?!\d)", source):
        values.add(match[0].replace(" ", ""))
    return values - {""}


def _quantity(
    span: tuple[int, int], original: str, value: str, ways: Sequence[Way], carries: Iterable[str]
) -> Quantity:
    start, end = span
    return Quantity(start, end, original[start:end].strip(), value, tuple(ways), frozenset(carries))


def _without_overlaps(found: Iterable[Quantity]) -> list[Quantity]:
    """Of two that overlap the one that was found first."""
    kept: list[Quantity] = []
    taken: set[int] = set()
    for one in found:
        places = range(one.start, one.end)
        if taken.isdisjoint(places):
            kept.append(one)
            taken.update(places)
    return kept
