"""Reading of plain English without a model: sentences, content words, noun phrases, relevance, seeded choice."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from sandbox.answers.lexicon import DETERMINERS, FUNCTION_WORDS, PREPOSITIONS, VERBS

_ItemT = TypeVar("_ItemT")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”’]?\s+(?=[A-Z0-9\"“])")
_SENTENCE_STARTERS = "|".join(sorted(word.capitalize() for word in FUNCTION_WORDS - {"may", "will", "s", "t", "i"}))
_RUN_IN_HEADING = re.compile(rf"(?<=[a-z]) (?=(?:{_SENTENCE_STARTERS}) [a-z])")
_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*|\d[\d.,/%]*")
_TOKEN = re.compile(r"[A-Za-z][A-Za-z'’-]*|\d[\d.,/%]*|[^\sA-Za-z0-9]")


# What a page says to machines, and addresses: nothing of it belongs in an answer.
_UNWELCOME = re.compile(
    r"\b(ignore|disregard|instructions?|prompts?|assistants?|chatbots?|(?:language|AI) models?|javascript|cookies?)\b|"
    r"https?:|www\.|\S@\S|[<>{}]|\w\.(?:com|net|org|io|example)\b",
    re.IGNORECASE,
)


def words(text: str) -> list[str]:
    return _WORD.findall(text)


def word_count(text: str) -> int:
    return len(text.split())


def sentences(text: str) -> list[str]:
    """Sentences in order; a heading that runs into the text without a full stop is cut off where one can tell."""
    parts = [piece for part in _SENTENCE_END.split(" ".join(text.split())) for piece in _RUN_IN_HEADING.split(part)]
    return [part.strip() for part in parts if part.strip()]


def is_unwelcome(text: str) -> bool:
    """Whether the text speaks to a machine, or holds an address or markup."""
    return bool(_UNWELCOME.search(text))


def stem(word: str) -> str:
    """Enough to make the plural and the singular of a word the same."""
    lower = word.lower().replace("’", "'").removesuffix("'s")
    if lower.endswith("ies") and len(lower) > 4:
        return f"{lower[:-3]}y"
    if lower.endswith("s") and not lower.endswith(("ss", "us", "is")) and len(lower) > 3:
        return lower[:-1]
    return lower


def content_stems(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order; the parts of a hyphenated word count on their own."""
    return [
        stem(word) for word in words(text.replace("-", " ")) if word.lower() not in FUNCTION_WORDS and len(word) > 1
    ]


def digest(*parts: object) -> int:
    """A number that is the same for the same parts, everywhere and always."""
    joined = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(joined.encode(), digest_size=8).digest(), "big")


def pick(options: Sequence[_ItemT], *seed: object) -> _ItemT:
    return options[digest(*seed) % len(options)]


def shuffled(items: Iterable[_ItemT], *seed: object) -> list[_ItemT]:
    """A seeded order that does not depend on the order given."""
    return sorted(items, key=lambda item: digest(*seed, item))


def starts_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def is_plural(phrase: str) -> bool:
    last = phrase.rsplit(maxsplit=1)[-1].lower() if phrase.split() else ""
    return (last.endswith("s") and not last.endswith(("ss", "us", "is", "ics", "news"))) or last in ("people", "data")


def joined(items: Sequence[str], conjunction: str = "and") -> str:
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {conjunction} {items[-1]}"


def contains_phrase(text: str, phrase: str) -> bool:
    return count_phrase(text, phrase) > 0


def count_phrase(text: str, phrase: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE))


def noun_phrases(text: str, *, words_min: int = 2, words_max: int = 4) -> list[str]:
    """Phrases of the text, verbatim, that stand as a noun phrase does: after a determiner, preposition or verb, and
    before punctuation or a function word. No names and no digits."""
    welcome = [sentence for sentence in sentences(text) if not is_unwelcome(sentence)]
    return list(dict.fromkeys(phrase for one in welcome for phrase in _phrases_of(one, words_min, words_max)))


def heads_of(texts: Iterable[str]) -> frozenset[str]:
    """Stems of the words that stand right behind an article or the like, as only nouns and adjectives do."""
    tokens = [token.lower() for text in texts for token in _TOKEN.findall(text)]
    return frozenset(stem(word) for before, word in pairwise(tokens) if before in DETERMINERS and word.isalpha())


def _phrases_of(sentence: str, words_min: int, words_max: int) -> Iterable[str]:
    tokens = ["", *_TOKEN.findall(sentence), "."]
    start = 1
    while start < len(tokens) - 1:
        end = start
        while end < len(tokens) - 1 and _is_nominal(tokens[end]):
            end += 1
        run = tokens[start:end]
        if words_min <= len(run) <= words_max and _is_noun_phrase(tokens[start - 1].lower(), run, tokens[end].lower()):
            yield " ".join(run)
        start = max(end, start) + 1


def _is_nominal(token: str) -> bool:
    lower = token.lower()
    return token[0].isalpha() and lower not in FUNCTION_WORDS and lower not in VERBS and not lower.endswith("ly")


def _is_noun_phrase(before: str, run: Sequence[str], after: str) -> bool:
    """A run that a determiner or pronoun follows may end in a verb that is not in the list, and one that opens a
    sentence may hold one anywhere."""
    if not (before in DETERMINERS or before in PREPOSITIONS or before in VERBS):
        return False
    if after in DETERMINERS or after in ("it", "them", "you", "us", "me", "him"):
        return False
    if any("'" in word or "’" in word or (word[0].isupper() and not word.isupper()) for word in run):
        return False
    return not run[-1].endswith(("ed", "able", "ible", "ful", "ive", "ous")) and len(run[-1]) > 2


@dataclass(frozen=True)
class Passage:
    number: int
    url: str
    text: str

    @classmethod
    def all_of(cls, values: object) -> list["Passage"]:
        """Passages of a ``passages`` block; entries of another form are left out."""
        entries = values if isinstance(values, list) else []
        return [
            cls(int(entry["number"]), str(entry.get("url", "")), str(entry["text"]))
            for entry in entries
            if isinstance(entry, dict) and isinstance(entry.get("number"), int) and isinstance(entry.get("text"), str)
        ]


class Relevance:
    """How much of a query a text answers: shared stems, the rarer among the texts the weightier."""

    def __init__(self, texts: Sequence[str]) -> None:
        seen = Counter(name for text in texts for name in set(content_stems(text)))
        self._weights: Mapping[str, float] = {name: math.log(1 + len(texts) / count) for name, count in seen.items()}

    def of(self, query: str, text: str) -> float:
        wanted = set(content_stems(query))
        return sum(self._weights.get(name, 0.0) for name in wanted & set(content_stems(text)))
