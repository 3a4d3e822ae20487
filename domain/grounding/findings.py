"""Numbers, quotations and named sources: each must stand in a source that its text cites, or it goes."""

import re
from bisect import bisect_right
from collections.abc import Collection, Sequence
from enum import StrEnum
from functools import lru_cache

from domain.grounding.claim_support import PreparedSource, light_stem, prepared
from domain.grounding.quantities import Quantity, is_met, quantities, source_values
from domain.grounding.quotations import quotable, quotations, stands_in
from domain.grounding.references import addresses, is_in_pool, is_known, named_sources
from domain.money import Frozen
from domain.text import STOPWORDS, WORD, phrase_pattern, sentence_spans

CONTEXT_COVERED_MIN = 0.8
CONTEXT_STEMS_MIN = 3
ELSEWHERE_SHARE_MAX = 0.6
SAME_SENTENCE_MIN = 0.9
EVIDENCE_CHARACTERS_MAX = 240
COUNT_DIGITS_MAX = 3
COUNTED_CHARACTERS_MAX = 120
SENTENCE_NUMBERS_MAX = 60
_COUNTED = re.compile(r"\s(?:[A-Za-z][\w-]*\s){0,3}[A-Za-z]+s\b")
_YEAR_VALUE = re.compile(r"^(?:date:.*|(?:1[5-9]|20)\d\d)$")
_RELATIVE_TIME = re.compile(
    r"\b(?:(?:this|last|next|that|same|previous|following)\s(?:year|month|week|season|quarter|spring|summer|autumn|fall|winter)|"
    r"today|yesterday|tomorrow|now|currently|ago|later|earlier)\b",
    re.IGNORECASE,
)


class ClaimKind(StrEnum):
    NUMBER = "number"
    QUOTATION = "quotation"
    REFERENCE = "reference"


class Claim(Frozen):
    """A checkable span of a text; ``value`` is its normalized form, equal for equal claims.

    One that no source carries also has the sentence of the sources that comes nearest (empty when none does) as
    ``evidence``, and in ``fix`` what to do about it.
    """

    kind: ClaimKind
    start: int
    end: int
    text: str
    value: str
    evidence: str = ""
    fix: str = ""


def claims(text: str, *, exempt_phrases: Sequence[str] = ()) -> list[Claim]:
    """Every number and quotation in order of appearance.

    ``exempt_phrases`` are names (the article's keywords) inside which a number claims nothing. Words such as
    "B2B" are no numbers; "Q3" and "SOC2" are, with their letters as the unit.
    """
    masked = _masked(text, exempt_phrases)
    found = [
        Claim(kind=ClaimKind.NUMBER, start=one.start, end=one.end, text=one.text, value=one.value)
        for one in quantities(text, exempt_phrases=exempt_phrases)
    ]
    found += [
        Claim(kind=ClaimKind.QUOTATION, start=one.start, end=one.end, text=text[one.start : one.end], value=one.value)
        for one in quotations(masked, text)
    ]
    return sorted(found, key=lambda claim: (claim.start, claim.end))


def ungrounded(
    text: str,
    sources: Sequence[str],
    *,
    exempt_phrases: Sequence[str] = (),
    source_names: Collection[str] | None = None,
    counts: Collection[int] = (),
) -> list[Claim]:
    """Claims of the text that none of the cited sources carries, in order, each with its nearest evidence and a fix.

    A number counts as carried only where the sentence of the source that says what the text's sentence says has it:
    the right number about another thing is told too. With ``source_names`` (sites, titles and companies that may be
    named) whoever the text says it has something from must be among them or stand in a source. ``counts`` are numbers
    that the text counts itself: of the items of its list, of its sections ("5 ways to …").
    """
    failing = _number_findings(text, tuple(sources), exempt_phrases, counts)
    failing += _quotation_findings(text, sources, exempt_phrases)
    if source_names is not None:
        failing += _reference_findings(text, sources, source_names)
    return sorted(failing, key=lambda claim: (claim.start, claim.end))


def counts_itself(number: str, after: str, counts: Collection[int]) -> bool:
    """Whether the number counts what the text itself lists: a plain one, before a noun in the plural."""
    is_plain = number.isdigit() and len(number) <= COUNT_DIGITS_MAX
    return is_plain and int(number) in counts and bool(_COUNTED.match(after))


def unknown_addresses(text: str, pool: Collection[str]) -> list[Claim]:
    """Web addresses in the text that are no page of the pool."""
    return [
        Claim(
            kind=ClaimKind.REFERENCE, start=one.start, end=one.end, text=one.name, value=one.name,
            fix=f"{one.name} is no page that was read: cite one that was, or take the address out.",
        )
        for one in addresses(text)
        if not is_in_pool(one.name, pool)
    ]  # fmt: skip


def without_ungrounded(
    text: str,
    sources: Sequence[str],
    *,
    exempt_phrases: Sequence[str] = (),
    source_names: Collection[str] | None = None,
    counts: Collection[int] = (),
) -> tuple[str, list[str]]:
    """The text without the sentences that carry an ungrounded claim, and those sentences."""
    failing = ungrounded(text, sources, exempt_phrases=exempt_phrases, source_names=source_names, counts=counts)
    kept: list[str] = []
    dropped: list[str] = []
    for start, end in sentence_spans(text):
        overlaps = any(claim.start < end and claim.end > start for claim in failing)
        (dropped if overlaps else kept).append(text[start:end])
    return " ".join(kept), dropped


def _masked(text: str, exempt_phrases: Sequence[str]) -> str:
    for phrase in exempt_phrases:
        if phrase.strip():
            text = phrase_pattern(phrase).sub(lambda match: " " * len(match[0]), text)
    return text


@lru_cache(maxsize=256)
def _values_of(source: str) -> frozenset[str]:
    return frozenset(source_values(source))


@lru_cache(maxsize=64)
def _values(sources: tuple[str, ...]) -> frozenset[str]:
    return frozenset().union(*(_values_of(source) for source in sources))


@lru_cache(maxsize=256)
def _quotable_of(source: str) -> str:
    return quotable(source)


# --- numbers ---


@lru_cache(maxsize=512)
def _quantities_of(sentence: str) -> tuple[Quantity, ...]:
    return tuple(quantities(sentence))


def _number_findings(
    text: str, sources: tuple[str, ...], exempt_phrases: Sequence[str], counts: Collection[int]
) -> list[Claim]:
    values = _values(sources)
    spans = sentence_spans(text)
    starts = [start for start, _ in spans]
    found: list[Claim] = []
    for one in quantities(text, exempt_phrases=exempt_phrases):
        if counts_itself(one.text, text[one.end : one.end + COUNTED_CHARACTERS_MAX], counts):
            continue
        place = max(0, bisect_right(starts, one.start) - 1)
        sentence = text[slice(*spans[place])] if spans else text
        if not is_met(one, values):
            found.append(_missing_finding(one, sentence, sources))
        elif (stated := _stated_instead(one, sentence, sources)) is not None:
            found.append(_misplaced_finding(one, *stated))
    return found


def _missing_finding(one: Quantity, sentence: str, sources: tuple[str, ...]) -> Claim:
    evidence, stated = _nearest_number(one, sentence, sources)
    fix = (
        f"the source says {stated} (“{_short(evidence)}”): write that, cite the passage that has “{one.text}”, or say "
        "it without a number."
        if stated
        else f"no cited source has “{one.text}”: cite the passage that has it, or say it without a number."
    )
    return _finding(one, evidence, fix)


def _finding(one: Quantity, evidence: str, fix: str) -> Claim:
    return Claim(
        kind=ClaimKind.NUMBER, start=one.start, end=one.end, text=one.text, value=one.value,
        evidence=_short(evidence), fix=fix,
    )  # fmt: skip


def _misplaced_finding(one: Quantity, evidence: str, other: str) -> Claim:
    fix = (
        f"“{one.text}” stands elsewhere in the source; about this it says {other} (“{_short(evidence)}”): write that, "
        "or say it without a number."
    )
    return _finding(one, evidence, fix)


def _nearest_number(one: Quantity, sentence: str, sources: tuple[str, ...]) -> tuple[str, str]:
    """The sentence of the source most like this one, and its number most like the failing one ("" when it has none)."""
    nearest = _nearest(sentence, sources)
    for other_sentence, _ in nearest:
        if numbers := _quantities_of(other_sentence):
            return other_sentence, max(numbers, key=lambda other: _likeness(one, other)).text
    return (nearest[0][0] if nearest else ""), ""


@lru_cache(maxsize=256)
def _nearest(sentence: str, sources: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """The three sentences of the sources that share most with this one: (sentence, its place)."""
    source, wanted = prepared(sources), _context(sentence)
    places = {place for stem in wanted for place in source.places.get(stem, ())}
    ranked = sorted(places, key=lambda place: (-_shared(wanted, source, place), place))
    return tuple((source.sentences[place], place) for place in ranked[:3])


def _shared(wanted: frozenset[str], source: PreparedSource, place: int) -> float:
    return sum(source.rarity(stem) for stem in wanted & source.stems[place])


def _likeness(one: Quantity, other: Quantity) -> tuple[bool, int, int]:
    same = sum(left == right for left, right in zip(one.value[::-1], other.value[::-1], strict=False))
    return (_kind(one) == _kind(other), same, -abs(len(one.value) - len(other.value)))


def _kind(one: Quantity) -> str:
    return re.sub(r"\d.*", "", one.value)


def _stated_instead(one: Quantity, sentence: str, sources: tuple[str, ...]) -> tuple[str, str] | None:
    """(sentence, number) of the source that says what the text's sentence says with another number of the same kind.

    Told only when that sentence has nearly all of the text's words, and either it is almost the same sentence with as
    many numbers, or the ones with this number have far fewer of the words.
    """
    wanted, nearest = _context(sentence), _nearest(sentence, sources)
    if len(wanted) < CONTEXT_STEMS_MIN or not nearest or len(_quantities_of(sentence)) > SENTENCE_NUMBERS_MAX:
        return None
    source, (best_sentence, best) = prepared(sources), nearest[0]
    share = _shared(wanted, source, best) / sum(source.rarity(stem) for stem in wanted)
    is_relative = bool(_RELATIVE_TIME.search(best_sentence)) and bool(_YEAR_VALUE.search(one.value))
    if share < CONTEXT_COVERED_MIN or is_relative:  # "this year" is the year of another sentence
        return None
    is_same = share >= SAME_SENTENCE_MIN
    if is_same or _is_far(one, wanted, source, best):
        rival = _rival(one, sentence, best_sentence, is_same=is_same)
        return (best_sentence, rival) if rival else None
    return None


def _is_far(one: Quantity, wanted: frozenset[str], source: PreparedSource, best: int) -> bool:
    """Whether the number stands neither in the best sentence nor beside it, nor in one that says much the same."""
    holders = [place for place in range(len(source.sentences)) if is_met(one, source.values_at(place))]
    nearest = max((_shared(wanted, source, place) for place in holders), default=0.0)
    is_beside = any(abs(place - best) <= 1 for place in holders)
    return not is_beside and nearest <= ELSEWHERE_SHARE_MAX * _shared(wanted, source, best)


def _rival(one: Quantity, sentence: str, other_sentence: str, *, is_same: bool) -> str | None:
    """The other sentence's number of the same kind that this sentence lacks, when this number is one too many."""
    if is_same and len(_quantities_of(sentence)) != len(_quantities_of(other_sentence)):
        return None
    excess, left = _unmatched(sentence, other_sentence)
    if one.value not in {quantity.value for quantity in excess}:
        return None
    rivals = [other for other in left if _kind(other) == _kind(one)]
    return max(rivals, key=lambda other: _likeness(one, other)).text if rivals else None


@lru_cache(maxsize=256)
def _unmatched(sentence: str, other_sentence: str) -> tuple[tuple[Quantity, ...], tuple[Quantity, ...]]:
    """Numbers of each of two sentences that the other one lacks."""
    left = list(_quantities_of(other_sentence))
    excess: list[Quantity] = []
    for quantity in _quantities_of(sentence):
        match = next((other for other in left if is_met(quantity, other.carries)), None)
        if match is None:
            excess.append(quantity)
        else:
            left.remove(match)
    return tuple(excess), tuple(left)


@lru_cache(maxsize=512)
def _context(sentence: str) -> frozenset[str]:
    """What a sentence is about: stems of its words without stopwords and numbers."""
    return frozenset(
        light_stem(part)
        for word in WORD.findall(sentence)
        for part in word.split("-")
        if part.lower() not in STOPWORDS and not any(character.isdigit() for character in part)
    )


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= EVIDENCE_CHARACTERS_MAX else f"{text[: EVIDENCE_CHARACTERS_MAX - 1].rstrip()}…"


# --- quotations and references ---


def _quotation_findings(text: str, sources: Sequence[str], exempt_phrases: Sequence[str]) -> list[Claim]:
    readable = [_quotable_of(source) for source in sources]
    found: list[Claim] = []
    for one in quotations(_masked(text, exempt_phrases), text):
        if any(stands_in(one.value, source) for source in readable):
            continue
        evidence = _nearest_sentence(text[one.start : one.end], tuple(sources))
        said = f"the source says “{_short(evidence)}”: quote that word for word" if evidence else "quote word for word"
        found.append(
            Claim(
                kind=ClaimKind.QUOTATION, start=one.start, end=one.end, text=text[one.start : one.end], value=one.value,
                evidence=_short(evidence), fix=f"{said}, or say it in your own words without quotation marks.",
            )
        )  # fmt: skip
    return found


def _nearest_sentence(text: str, sources: tuple[str, ...]) -> str:
    """The sentence that shares at least half of the text's words, else nothing."""
    wanted, nearest = _context(text), _nearest(text, sources)
    if not nearest or len(wanted & prepared(sources).stems[nearest[0][1]]) * 2 < len(wanted):
        return ""
    return nearest[0][0]


def _reference_findings(text: str, sources: Sequence[str], names: Collection[str]) -> list[Claim]:
    return [
        Claim(
            kind=ClaimKind.REFERENCE, start=one.start, end=one.end, text=one.name, value=one.name.casefold(),
            fix=f"no cited source mentions {one.name}: name the site that says it, or leave the attribution out.",
        )
        for one in named_sources(text)
        if not is_known(one.name, sources, names)
    ]  # fmt: skip
