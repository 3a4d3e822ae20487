"""Text as the gates and the writing measure it: words, sentences, stems, phrases, shingles."""

import re
import unicodedata
from collections.abc import Sequence

WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
SHINGLE_WORDS = 5
_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u200b\u2060\ufeff]")
_SENTENCE_END = re.compile(r"[.!?…]+[\"”»’')\]]*(?=\s+[\"“«‘'(\[]*[A-Z0-9À-Þ$€£]|\s*$)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|vs|etc|approx|no|mr|mrs|ms|dr|st|inc|ltd|co|corp|fig|u\.s|u\.k|a\.m|p\.m)|\b[A-Z])\.$",
    re.IGNORECASE,
)
_OPENING, _CLOSING = "“«„", "”»"

_STOPWORDS_TEXT = (
    "a about above across after again against all also although am an and any are aren't around as at away be because "
    "been before behind being below between both but by can can't cannot could couldn't did didn't do does doesn't "
    "doing don't done down during each either else even ever every everything few for from further get gets getting "
    "give gives go goes going had has have haven't having he her here hers him his how however i if in instead into "
    "is isn't it it's its itself just keep keeps let lets like made make makes making many may me might more most much "
    "must my need needs never no nor not nothing now of off often on once one only onto or other others our ours out "
    "over own per put puts rather same see sees she should since so some still such take takes than that that's the "
    "their theirs them themselves then there these they they're thing things this those through to too two under "
    "until up upon us use used uses using very via want wants was way ways we well were what when where whether which "
    "while who whole whom whose why will with within without won't would yet you you're your yours"
)
STOPWORDS = frozenset(_STOPWORDS_TEXT.split())


def clean_text(text: str) -> str:
    """One line of storable text: no control characters, lone surrogates or invisible marks, single spaces."""
    return " ".join(_UNSTORABLE.sub("", unicodedata.normalize("NFC", text)).split())


def words(text: str) -> list[str]:
    return WORD.findall(text)


def stem(word: str) -> str:
    """The word in lower case without possessive and plural ending (Harman's S-stemmer)."""
    word = word.lower().replace("’", "'").removesuffix("'s").removesuffix("'")
    if len(word) > 4 and word.endswith("ies") and word[-4] not in "ae":
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def stems(text: str) -> list[str]:
    """Stems of all words; a hyphenated compound counts as its parts, so that "three-way" meets "three way"."""
    return [stem(part) for word in words(text) for part in word.split("-")]


def content_stems(text: str) -> list[str]:
    """Stems without stopwords."""
    return [stem(part) for word in words(text) for part in word.split("-") if part.lower() not in STOPWORDS]


def phrase_count(phrase: str, text_stems: Sequence[str]) -> int:
    """How often the phrase stands in the text, word for word up to plural and case, without overlaps."""
    wanted = stems(phrase)
    if not wanted:
        return 0
    count = position = 0
    while position <= len(text_stems) - len(wanted):
        if list(text_stems[position : position + len(wanted)]) == wanted:
            count += 1
            position += len(wanted)
        else:
            position += 1
    return count


def shingles(text: str, size: int = SHINGLE_WORDS) -> frozenset[tuple[str, ...]]:
    """Every run of ``size`` words in lower case."""
    tokens = [word.lower() for word in words(text)]
    return frozenset(tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1))


def jaccard(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> float:
    union = len(left | right)
    return len(left & right) / union if union else 0.0


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence; no sentence ends inside a quotation or after an abbreviation."""
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        sentence = text[start : match.end()]
        if _is_inside_quotation(sentence) or _is_abbreviation(sentence, text[match.end() :]):
            continue
        spans.append(_trimmed(text, start, match.end()))
        start = match.end()
    if text[start:].strip():
        spans.append(_trimmed(text, start, len(text)))
    return spans


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())


def _is_inside_quotation(sentence: str) -> bool:
    opened = sum(sentence.count(mark) for mark in _OPENING)
    closed = sum(sentence.count(mark) for mark in _CLOSING)
    return opened > closed or sentence.count('"') % 2 == 1


def _is_abbreviation(sentence: str, rest: str) -> bool:
    return bool(rest.strip()) and bool(_ABBREVIATION.search(sentence))


def phrase_pattern(phrase: str) -> re.Pattern[str]:
    """Matches the phrase as whole words, whatever its case, spacing, hyphens and kind of apostrophe."""
    parts = [re.escape(part) for part in re.split(r"[\s\-]+", phrase.strip().replace("’", "'")) if part]
    body = r"[\s\-]+".join(parts).replace("'", "['’]")
    return re.compile(rf"(?<!\w){body}(?!\w)", re.IGNORECASE)
