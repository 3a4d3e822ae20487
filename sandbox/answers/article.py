"""What outline, sections and repairs of an article share: the request's facts and the names they go by."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from itertools import takewhile
from typing import Any
from urllib.parse import urlsplit

from sandbox.answers import Blocks
from sandbox.answers.grammar import PURPOSES
from sandbox.answers.lexicon import DETERMINERS, FUNCTION_WORDS, VERBS, word_set
from sandbox.answers.text import Passage, contains_phrase, digest, is_plural, pick, sentences, words

UNNAMED_FIRMS = "many organizations"
_COUNTING = frozenset({"a", "an", "each", "every", "one"})
_COUNTED_WORDS_MAX = 4
_DOERS = ("er", "or", "ist")
_NO_DOERS = frozenset({"water", "paper", "power", "labor", "weather", "leather", "timber", "rubber", "silver"})
_QUESTION_WORDS = re.compile(r"^(how|what|why|when|who|which|where|is|are|can|should|does|do)\b", re.IGNORECASE)
_PLAIN_VERBS = word_set(
    """
    approve automate avoid build buy calculate choose collect compare create get handle improve increase keep learn make
    manage pay prevent reconcile reduce remove save sell send understand
    """
)
_CLAUSE_VERBS = word_set(
    """
    arrive arrives ask asks become becomes begin begins belong belongs bring brings choose chooses come comes compares
    contain contains depends explains fails finds follows gets gives goes happens helps include includes join joins
    keeps knows learns lets loses makes means moves needs pays reads requires remains says sees sells sends shows stays
    takes tells uses waits wants writes
    """
)
_AUDIENCE_BREAK = re.compile(r"\s+(?:at|in|of|for|from|with|on|within)\s+", re.IGNORECASE)


class PhraseKind(StrEnum):
    """``CLAUSE`` is a piece of a sentence that no sentence can be made with."""

    NOUN = "noun"
    CLAUSE = "clause"
    VERB = "verb"
    QUESTION = "question"


@dataclass(frozen=True)
class ArticleFacts:
    """The blocks of an article's request. ``rivals`` are the keywords or titles of its sibling articles, ``names``
    those of the companies in play, ``banned`` the phrases that the brief's voice forbids; both in lower case."""

    keyword: str
    words: int
    note: str
    rivals: tuple[str, ...]
    spokes: tuple[str, ...]
    organization: str
    own_host: str
    people: str
    firms: str
    terms: tuple[str, ...]
    passages: tuple[Passage, ...]
    names: tuple[str, ...]
    banned: tuple[str, ...]
    naming: "Naming"

    @classmethod
    def of(cls, blocks: Blocks) -> "ArticleFacts":
        article, brief = blocks.json("article"), blocks.json("brief")
        passages = Passage.all_of(blocks.json("passages", []))
        people, firms = _audience(brief)
        spelled = _Spelling.of(passages)
        organization = brief["organization"]
        hosts = [host_of(str(organization["url"])), *(host_of(passage.url) for passage in passages)]
        terms = dict.fromkeys(str(term).strip() for term in blocks.json("terms", []))
        return cls(
            keyword=spelled.in_text(str(article["keyword"]).strip()),
            words=int(article.get("words") or 900),
            note=str(article.get("note") or ""),
            rivals=tuple(str(name) for name in article.get("siblings") or []),
            spokes=tuple(spelled.in_text(str(name)) for name in article.get("spokes") or []),
            organization=str(organization["name"]),
            own_host=hosts[0],
            people=people,
            firms=firms,
            terms=tuple(spelled.in_text(term) for term in terms if term),
            passages=tuple(passages),
            names=tuple({str(organization["name"]).lower(), *(host.partition(".")[0] for host in hosts)} - {""}),
            naming=Naming.of(passages),
            banned=tuple(str(phrase).lower() for phrase in (brief.get("voice") or {}).get("banned_phrases") or []),
        )

    @property
    def seed(self) -> str:
        return f"{self.keyword.lower()}/{self.note}"

    def rank(self, thing: str) -> int:
        """How many sibling articles come before this one for a thing they could all use: 0 for its owner."""
        name = self.keyword.lower()
        return _order(tuple(sorted({name, *(rival.lower() for rival in self.rivals)})), thing).index(name)

    def owns(self, thing: str) -> bool:
        """Whether this article, and none of its siblings, is the one to use a thing they could all use."""
        return self.rank(thing) == 0

    def is_banned(self, text: str) -> bool:
        return any(contains_phrase(text, phrase) for phrase in self.banned)


@lru_cache(maxsize=8192)
def _order(names: tuple[str, ...], thing: str) -> tuple[str, ...]:
    """The order in which articles may use a thing: the same for all that know of each other."""
    return tuple(sorted(names, key=lambda name: digest(name, thing)))


@dataclass(frozen=True)
class Naming:
    """Which phrases need an article, as far as the passages tell: "the bank account", but "onboarding".

    ``texts`` are the passages' sentences in small letters, ``counted`` the nouns that stand behind "a" or "each".
    """

    texts: tuple[str, ...]
    counted: frozenset[str]

    @classmethod
    def of(cls, passages: Sequence[Passage]) -> "Naming":
        said = [sentence for passage in passages for sentence in sentences(passage.text)]
        texts = tuple(" ".join(words(sentence)).lower() for sentence in said)
        return cls(texts, frozenset(noun for text in texts for noun in _counted_nouns(text.split())))

    def in_sentence(self, phrase: str) -> str:
        """The phrase as it stands in running text: with "the" where a single thing that can be counted is meant."""
        return f"the {phrase}" if self.needs_article(phrase) else phrase

    def needs_article(self, phrase: str) -> bool:
        tokens = phrase.lower().split()
        if not tokens or tokens[0] in DETERMINERS or is_plural(phrase) or phrase_kind(phrase) is not PhraseKind.NOUN:
            return False
        with_article, bare = _uses(self.texts, " ".join(tokens))
        if with_article or bare:
            return with_article > bare
        return tokens[-1] in self.counted or (tokens[-1].endswith(_DOERS) and tokens[-1] not in _NO_DOERS)


@lru_cache(maxsize=4096)
def _uses(texts: tuple[str, ...], phrase: str) -> tuple[int, int]:
    """How often the phrase stands behind a determiner and how often without; parts of longer nouns do not count."""
    counts = [0, 0]
    for text in texts:
        for match in re.finditer(rf"(?<!\S){re.escape(phrase)}(?!\S)", text):
            before, after = text[: match.start()].split()[-1:], text[match.end() :].split(maxsplit=1)[:1]
            if all(word in FUNCTION_WORDS or word in VERBS for word in (*before, *after)):
                counts[not before or before[0] not in DETERMINERS] += 1
    return counts[0], counts[1]


def _counted_nouns(tokens: Sequence[str]) -> set[str]:
    """The last words of runs behind "a", "an", "each", "every" or "one", before the next function word or verb."""
    found = set()
    for place, token in enumerate(tokens):
        if token in _COUNTING:
            run = list(takewhile(lambda word: word not in FUNCTION_WORDS and word not in VERBS, tokens[place + 1 :]))
            if 1 <= len(run) <= _COUNTED_WORDS_MAX:
                found.add(run[-1])
    return found


@dataclass(frozen=True)
class _Spelling:
    """Keywords come in small letters; the passages tell which of their words are written in capitals."""

    capitals: Mapping[str, str]

    @classmethod
    def of(cls, passages: Sequence[Passage]) -> "_Spelling":
        found = (word for passage in passages for word in re.findall(r"\b[A-Z]{2,5}\b", passage.text))
        return cls({word.lower(): word for word in found})

    def in_text(self, phrase: str) -> str:
        return " ".join(self.capitals.get(word, word) for word in phrase.split())


def host_of(url: str) -> str:
    """The host of a URL in small letters, without a leading "www."."""
    return (urlsplit(url if "//" in url else f"//{url}").hostname or "").removeprefix("www.")


def _audience(brief: Mapping[str, Any]) -> tuple[str, str]:
    """The people and the kind of firm written for: "controllers" and "mid-size distributors"."""
    for audience in map(str, brief.get("audiences") or []):
        people, *rest = _AUDIENCE_BREAK.split(audience.strip(), maxsplit=1)
        if is_plural(people):
            return people, rest[0] if rest and is_plural(rest[0]) else UNNAMED_FIRMS
    return "the people involved", UNNAMED_FIRMS


def read_heading(heading: str) -> tuple[str | None, str | None]:
    """Purpose and subject of a heading that was made from the grammar; None and None for another one."""
    for name, purpose in PURPOSES.items():
        for template in purpose.headings:
            match = _heading_pattern(template).match(heading)
            if match is not None:
                return name, _THE.sub("", match["kw"])
    return None, None


_THE = re.compile(r"^the ", re.IGNORECASE)


@cache
def _heading_pattern(template: str) -> re.Pattern[str]:
    return re.compile(f"^{''.join(map(_piece_pattern, re.split(r'({[a-z]+}|<[^>]*>)', template)))}$", re.IGNORECASE)


def _piece_pattern(piece: str) -> str:
    if piece.startswith("<"):
        return f"(?:{'|'.join(map(re.escape, piece[1:-1].split('|')))})"
    if piece.startswith("{"):
        return "(?P<kw>.+)" if piece == "{kw}" else ".+"
    return re.escape(piece)


def purposes_of(headings: Sequence[str]) -> list[str]:
    """One purpose for each heading, none twice while there are enough; foreign headings get what is left."""
    read = [read_heading(heading)[0] for heading in headings]
    spare = [name for name in PURPOSES if name not in read]
    return [
        name or (spare.pop(0) if spare else pick(list(PURPOSES), heading))
        for name, heading in zip(read, headings, strict=True)
    ]


def phrase_kind(phrase: str) -> PhraseKind:
    """Whether a phrase can stand as a noun phrase in a sentence."""
    first = phrase.split(maxsplit=1)[0].lower() if phrase.split() else ""
    if _QUESTION_WORDS.match(phrase):
        return PhraseKind.QUESTION
    if first in _PLAIN_VERBS and len(phrase.split()) > 1:
        return PhraseKind.VERB
    last = phrase.rsplit(maxsplit=1)[-1].lower() if phrase.split() else ""
    is_clause = last in _CLAUSE_VERBS or (first in VERBS and first.endswith("s"))
    return PhraseKind.CLAUSE if is_clause else PhraseKind.NOUN
