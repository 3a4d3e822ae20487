"""How well a source supports a claim: a score from 0 to 1, the sentences that come nearest, and what they lack.

Six shares, each between 0 and 1, go through a logistic model whose weights stand below: they were fitted by
``python -m bench.grounding --fit`` on public claims with labels, which also prints how well it does on claims of pages
that it has not seen. No model of a language, no network; the same claim and source always give the same score.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from domain.grounding.quantities import is_met, quantities, source_values
from domain.grounding.vocabulary import ADVICE_VERBS, NEGATIONS, OPPOSITES
from domain.money import Frozen
from domain.text import STOPWORDS, WORD, sentence_spans

SUPPORTED_MIN = 0.5
WINDOW_SENTENCES = 3
EVIDENCE_MAX = 3
CLAIM_STEMS_MIN = 4
CONTRADICTED_FACTOR = 0.5
CONTRADICTION_COVERED_MIN = 0.5
NUMBERS_FACTOR = 0.3
DENIED_WORDS = 3
WEIGHTS: Mapping[str, float] = {
    "window": 1.436,
    "sentence": 0.446,
    "source": 1.135,
    "names": 0.664,
    "numbers": 0.626,
    "characters": 0.726,
}
BIAS = -2.284

_BEFORE_ADVICE = r"(?:first|then|next|finally|also|so|instead|always|never|do not|don['’]t|please)"
_ADVICE = re.compile(
    rf"^\W*(?:{_BEFORE_ADVICE},?\s)?(?:{'|'.join(ADVICE_VERBS)})\s"
    r"|\b(?:you|teams|buyers|companies)\s(?:should|may want to|might want to|need to|ought to)\b|\blet['’]s\b"
    r"|\bthis (?:section|article|guide)\b",
    re.IGNORECASE,
)
_SUFFIXES_TEXT = (
    "ational>ate ization>ize isation>ize ations>ate ation>ate ments>ment ingly> edly> ies>y ied>y ing> ers>er ed> es> "
    "s> ly> e>"
)
_SUFFIXES = [(suffix, ending) for suffix, _, ending in (one.partition(">") for one in _SUFFIXES_TEXT.split())]


class Support(Frozen):
    """``score`` from 0 (nothing of it stands there) to 1; ``evidence`` are places of the nearest sentences in the
    order of the source; ``missing`` are the claim's words and numbers that the whole source lacks, then those that
    stand in it elsewhere only; ``features`` are the shares that the score is made of."""

    score: float
    evidence: tuple[int, ...]
    missing: tuple[str, ...]
    features: dict[str, float]
    is_contradicted: bool = False

    @property
    def is_supported(self) -> bool:
        return self.score >= SUPPORTED_MIN


class PreparedSource:
    """A source's sentences, read once for any number of claims."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self.sentences = tuple(sentences)
        self.stems = [frozenset(_stems(sentence)) for sentence in self.sentences]
        self.places: dict[str, list[int]] = {}
        for place, stems in enumerate(self.stems):
            for stem in stems:
                self.places.setdefault(stem, []).append(place)
        self._values: dict[int, set[str]] = {}
        self._grams: dict[int, frozenset[str]] = {}

    def rarity(self, stem: str) -> float:
        return math.log(1 + (len(self.sentences) + 1) / (len(self.places.get(stem, ())) + 0.5))

    def values(self, places: Iterable[int]) -> set[str]:
        """Number values that these sentences carry."""
        found: set[str] = set()
        for place in places:
            if place not in self._values:
                self._values[place] = source_values(self.sentences[place])
            found |= self._values[place]
        return found

    def values_at(self, place: int) -> set[str]:
        self.values((place,))
        return self._values[place]

    def grams(self, place: int) -> frozenset[str]:
        if place not in self._grams:
            self._grams[place] = _grams(self.sentences[place])
        return self._grams[place]


def claim_spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence that states something: no question, no advice, no short remark."""
    return [
        (start, end)
        for start, end in sentence_spans(text)
        if not text[start:end].rstrip("”\"'’)").endswith("?")
        and len(set(_content(text[start:end]))) >= CLAIM_STEMS_MIN
        and not _ADVICE.search(text[start:end])
    ]


def sentences_of(texts: Sequence[str]) -> list[str]:
    """Sentences of the source texts, in order."""
    return [text[start:end] for text in texts for start, end in sentence_spans(text)]


@lru_cache(maxsize=64)
def prepared(texts: tuple[str, ...]) -> PreparedSource:
    """A source of whole texts (passages); the newest few are remembered."""
    return PreparedSource(sentences_of(texts))


def support(claim: str, source: PreparedSource | Sequence[str], *, known_names: Sequence[str] = ()) -> Support:
    """``source`` is a prepared one, or its sentences in order; ``known_names`` (of its sites, of the company) need no
    support: a page seldom says its own name in the sentence that is cited."""
    prepared_source = source if isinstance(source, PreparedSource) else PreparedSource(source)
    reading = _Reading(claim, prepared_source, frozenset(stem for name in known_names for stem in _stems(name)))
    features = reading.features()
    score = score_of(features)
    is_contradicted = bool(reading.evidence) and reading.is_contradicted()
    if is_contradicted:
        score *= CONTRADICTED_FACTOR
    return Support(
        score=round(score if reading.evidence else 0.0, 6),
        evidence=tuple(reading.evidence),
        missing=tuple(reading.missing()),
        features={name: round(value, 6) for name, value in features.items()},
        is_contradicted=is_contradicted,
    )


def score_of(features: Mapping[str, float], weights: Mapping[str, float] = WEIGHTS, bias: float = BIAS) -> float:
    """The logistic model's chance, lowered where numbers of the claim don't stand with its evidence."""
    chance = 1 / (1 + math.exp(-(bias + sum(weight * features[name] for name, weight in weights.items()))))
    return chance * (1 - NUMBERS_FACTOR * (1 - features["numbers"]))


class _Reading:
    """One claim held against one source."""

    def __init__(self, claim: str, source: PreparedSource, given: frozenset[str]) -> None:
        self.claim = claim
        self.source = source
        self.content = [stem for stem in dict.fromkeys(_content(claim)) if stem not in given]
        self.weights = {stem: source.rarity(stem) for stem in self.content}
        self.total = sum(self.weights.values()) or 1.0
        self.present = {stem for stem in self.content if stem in source.places}
        self.quantities = quantities(claim)
        self.window = self._best_window(WINDOW_SENTENCES)
        self.evidence = self._evidence()

    def features(self) -> dict[str, float]:
        return {
            "window": self._covered(self.window),
            "sentence": self._covered(self._best_window(1)),
            "source": self._share(self.present),
            "names": self._names(),
            "numbers": self._numbers(),
            "characters": self._characters(),
        }

    def _share(self, stems: Iterable[str]) -> float:
        return sum(self.weights[stem] for stem in stems) / self.total

    def _covered(self, places: Iterable[int]) -> float:
        found = set().union(*(self.source.stems[place] for place in places))
        return self._share(stem for stem in self.content if stem in found)

    def _best_window(self, size: int) -> list[int]:
        """The adjacent sentences that cover most; of equals the fewest, then the first."""
        starts = {place for stem in self.present for place in self.source.places[stem]}
        best: tuple[float, int, int] = (0.0, 0, 0)
        for start in sorted(starts):
            found: set[str] = set()
            for length in range(1, min(size, len(self.source.sentences) - start) + 1):
                found |= self.present & self.source.stems[start + length - 1]
                best = max(best, (round(self._share(found), 9), -length, -start))
        return list(range(-best[2], -best[2] - best[1]))

    def _evidence(self) -> list[int]:
        """The sentences of the best window that add something, and the one elsewhere that adds most words to it; a
        number by itself leads nowhere."""
        chosen = [place for place in self.window if self.present & self.source.stems[place]]
        left = self.present - set().union(*(self.source.stems[place] for place in chosen))
        left = {stem for stem in left if not stem.isdigit()}
        others = {place for stem in left for place in self.source.places[stem]} - set(chosen)
        if others and len(chosen) < EVIDENCE_MAX:
            chosen.append(max(others, key=lambda place: (self._share(left & self.source.stems[place]), -place)))
        return sorted(chosen[:EVIDENCE_MAX])

    def _around(self) -> list[int]:
        """The evidence and its neighbours: a date often stands one sentence before."""
        count = len(self.source.sentences)
        return sorted({near for place in self.evidence for near in (place - 1, place, place + 1) if 0 <= near < count})

    def _names(self) -> float:
        names = [stem for stem in _names(self.claim) if stem in self.weights]
        total = sum(self.weights[stem] for stem in names)
        return sum(self.weights[stem] for stem in names if stem in self.present) / total if total else 1.0

    def _numbers(self) -> float:
        """Share of the numbers that stand in or beside the evidence; elsewhere in the source counts half."""
        if not self.quantities:
            return 1.0
        near, anywhere = self._values_near_and_anywhere()
        counts = (1.0 if is_met(one, near) else 0.5 if is_met(one, anywhere) else 0.0 for one in self.quantities)
        return sum(counts) / len(self.quantities)

    def _values_near_and_anywhere(self) -> tuple[set[str], set[str]]:
        return self.source.values(self._around()), self.source.values(range(len(self.source.sentences)))

    def _characters(self) -> float:
        """Runs of four characters that the evidence has too, for words in other forms."""
        wanted = _grams(self.claim)
        found = frozenset().union(*(self.source.grams(place) for place in self.window))
        return len(wanted & found) / len(wanted) if wanted else 0.0

    def is_contradicted(self) -> bool:
        """The best sentence says nearly the same, but one of the two denies it or has the opposite word."""
        place = self._best_window(1)
        if not place or self._covered(place) < CONTRADICTION_COVERED_MIN:
            return False
        sentence = self.source.sentences[place[0]]
        own, other = set(_stems(self.claim)), set(_stems(sentence))
        shared = set(self.content) & other
        if (_denied(self.claim) & shared) ^ (_denied(sentence) & shared):
            return True
        return any(left in own - other and right in other - own for left, right in _OPPOSITES)

    def missing(self) -> list[str]:
        words = _spellings(self.claim, [stem for stem in self.content if stem not in self.present])
        if not self.quantities:
            return words
        near, anywhere = self._values_near_and_anywhere()
        absent = [one.text for one in self.quantities if not is_met(one, anywhere)]
        elsewhere = [one.text for one in self.quantities if is_met(one, anywhere) and not is_met(one, near)]
        return list(dict.fromkeys([*absent, *words, *elsewhere]))


def light_stem(word: str) -> str:
    """The word in lower case without the commonest English endings; forms of one word mostly meet."""
    word = re.sub(r"'s?$", "", word.lower().replace("’", "'"))
    for suffix, ending in _SUFFIXES:
        if not word.endswith(suffix) or len(word) - len(suffix) < 3 or (suffix == "s" and word.endswith("ss")):
            continue
        word = word[: -len(suffix)] + ending
        if suffix in ("ing", "ed") and len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
            word = word[:-1]
        return word[:-1] if word.endswith("e") and len(word) > 4 else word
    return word


def _parts(text: str) -> list[str]:
    return [part for word in WORD.findall(text) for part in word.split("-")]


def _stems(text: str) -> list[str]:
    return [light_stem(part) for part in _parts(text)]


def _content(text: str) -> list[str]:
    return [light_stem(part) for part in _parts(text) if part.lower() not in STOPWORDS]


def _denied(text: str) -> set[str]:
    """Stems of the content words that follow a negation within its clause, three at most."""
    denied: set[str] = set()
    for clause in re.split(r"[,;:.!?()–—]", text):
        left = 0
        for word in WORD.findall(clause):
            plain = word.lower().replace("’", "'")
            if plain in NEGATIONS:
                left = DENIED_WORDS
            elif left and plain not in STOPWORDS:
                left -= 1
                denied |= {light_stem(part) for part in plain.split("-")}
    return denied


def _names(text: str) -> list[str]:
    """Stems of words with a capital, but for the first."""
    found = list(WORD.finditer(text))[1:]
    return [
        light_stem(part)
        for match in found
        if match[0][0].isupper() and match[0].lower() not in STOPWORDS
        for part in match[0].split("-")
    ]


def _grams(text: str) -> frozenset[str]:
    line = f" {' '.join(part.lower() for part in _parts(text))} "
    return frozenset(line[start : start + 4] for start in range(len(line) - 3))


def _spellings(claim: str, stems: Sequence[str]) -> list[str]:
    by_stem: dict[str, str] = {}
    for part in _parts(claim):
        by_stem.setdefault(light_stem(part), part)
    return [by_stem[stem] for stem in stems if not by_stem[stem].isdigit()]


_OPPOSITES = tuple(
    (light_stem(left), light_stem(right)) for one, other in OPPOSITES for left, right in ((one, other), (other, one))
)
