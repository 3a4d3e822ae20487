"""Keyphrases of competitors' pages: what they write about, in words a content team would keep.

Candidates are runs of 2 to 5 words of titles, headings and text that no function word, verb or brand name breaks. They
are ranked by how many competitors and pages carry them, and where; fragments of longer phrases, names and the
furniture of web pages fall out.
"""

import itertools
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from domain.identifiers import bare_domain
from domain.money import Frozen
from domain.near_duplicates import meaning_key
from domain.pages import Page, SiteRead
from domain.text import STOPWORDS, stem

WORDS_MIN = 2
WORDS_MAX = 5
RUN_TOKENS_MAX = 25
COMPOUND_CHARACTERS_MIN = 12
CHARACTERS_MAX = 80
PASSAGES_MAX = 150
REPEATED_PAGES_MIN = 3
STRONG_PHRASES_MIN = 3


class Intent(StrEnum):
    INFORMATIONAL = "informational"
    COMMERCIAL = "commercial"
    TRANSACTIONAL = "transactional"
    NAVIGATIONAL = "navigational"


class KeywordSource(Frozen):
    """A page that carries the keyword, and the bare domain it is on."""

    url: str
    domain: str


class Keyphrase(Frozen):
    """``score`` is above 0 and only compares phrases of one extraction."""

    text: str
    score: float
    sources: tuple[KeywordSource, ...]


class Zone(StrEnum):
    TITLE = "title"
    HEADING = "heading"
    TEXT = "text"


def _word_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words that end a phrase wherever they stand: function words of the languages we meet, and verbs that are nothing else.
_BREAKS = STOPWORDS | _word_set("""
    almost along already always among another anyone anything back became become becomes best came come comes done
    enough everyone far first full gave given gone good got great i'm i've instead knows known last least less likely
    long lot maybe means mine myself near new next nobody none often ones ourselves perhaps quite really right said say
    says seen several shall someone something soon still sure taken tell tells thus together toward usually
    whatever whole yes yesterday today tomorrow without within according across
    adds added allows asks begins brings brought builds built calls chooses closes connects covers creates decides
    explains finds fits follows gets grows handles happens helps holds includes included joins keeping leaves learns
    lives looks loses meets moves needs offers pays provides reads receives remains removes replaces runs sees sells
    sends sent shows shown starts started stays stops takes tells turns waits wants works writes wrote lets puts saves
    cuts drives ensures enables makes gives goes
    der die das den dem des ein eine einen einem einer eines und oder aber nicht kein keine mit ohne von vom zu zum zur
    im am auf aus bei beim nach vor über unter für ist sind wird werden wurde wurden hat haben hatte kann können soll
    sollen muss müssen sich sie er es wir ihr ihre ihren ihrem unser unsere als auch nur noch schon sehr wie wer wo wenn
    dass weil durch um bis dann mehr alle alles einfach erklärt
    le la les un une du de et ou mais pas ne avec sans pour par sur sous dans est sont était être avoir il elle ils
    elles nous vous notre votre leur leurs ce cette ces qui que quoi dont où très aux au
    el los las una unos unas pero con sin para por sobre en es ser lo su sus nuestro nuestra qué como más muy al del se
    """)
# At the edge of a phrase they tell that it is a piece of a sentence.
_WEAK_WORDS = _word_set("""
    automatically based better big bigger clear common complete day days different easy every fast faster free high
    hour hours important key large late later low main many minute minutes month months much people piece pieces quick
    ready real second seconds simple single small smart step steps thing time times various way ways week weeks year
    years able apart available entire extra fewer modern multiple plain powerful practical quickly reliable seamless
    several similar short straight ultimate unique whole
    """)
_FINE_LAST_WORDS = _word_set("time times day days")
# Verbs in the base form: a phrase that begins or ends with one is a slogan or a piece of a sentence.
_VERBS = _word_set("""
    accelerate achieve add adjust allow analyze answer apply arrange assign automate avoid become begin bring browse
    buy calculate choose collect combine compare compute confirm connect convert create decide deliver detect discover
    earn eliminate empower enable enjoy ensure enter evaluate expand explore extract find follow forget gain generate
    get give grow handle hire identify implement import improve include increase integrate join keep know learn leave
    let maintain make manage meet minimize modernize offer onboard optimize organize pay pick prepare prevent protect
    provide put reach read receive reconcile reduce remove replace resolve run save see sell send serve simplify skip
    solve spend start stay stop streamline submit switch take tell transform try turn understand unlock use verify wait
    want watch win write
    """)
# The same, but as the last word they are nouns: "invoice capture", "purchase order match".
_NOUN_VERBS = _word_set("""
    accept approve ask boost build call cancel capture catch change check close cut design download drive email fix
    group help hold judge launch love map match monitor move plan reach request route scale scan schedule secure set
    share show sign speed support track trust update upload view visit wait
    """)
# Who it is for rather than what it is: alone they make no keyword.
_AUDIENCE_WORDS = _word_set("""
    business businesses client clients companies company customer customers employees everyone firm firms organization
    organizations organisation organisations people staff team teams user users unternehmen kunden mitarbeiter
    """)
_FURNITURE = frozenset(
    phrase.strip()
    for phrase in """about us, contact us, privacy policy, terms of service, terms of use, terms and conditions,
    cookie policy, cookie settings, log in, sign in, sign up, book a demo, book demo, request a demo, request demo,
    get a demo, product demo, live demo, read more, learn more, see more, view all, all rights reserved, rights
    reserved, free trial, start free trial, try for free, skip to content, main content, table of contents, main menu,
    back to top, share this, follow us, our customers, our team, help center, support center, customer login, site map,
    frequently asked questions, asked questions, talk to sales, contact sales, next page, previous page, page not found,
    customer story, customer stories, case study, case studies, press release, blog post, related articles, related
    posts, recent posts, pricing plan, pricing plans, social media, email address, phone number, opening hours, customer
    support, cookie consent, product tour, sales team, pricing page, web browser, demo text, invented company, example
    company, mailing list, user name, free account, credit card required, quick links, home page, landing page,
    step by step, in minutes, open source licenses, money back guarantee""".replace("\n", " ").split(",")
)
# "Features for distributors" is a page of the menu, "accounting for distributors" a topic.
_PAGE_WORDS = _word_set("""
    feature features solution solutions pricing plan plans guide guides product products service services benefit
    benefits overview introduction resources resource built designed tools ideas news
    """)
_CONNECTORS = frozenset({"for", "of", "in"})
_QUESTION_STARTS = (("how", "to"), ("what", "is"), ("what", "are"))
_ARTICLES = frozenset({"a", "an", "the"})
# "Three-way matching" begins with one.
_NUMBER_WORDS = frozenset({"one", "two", "three", "four", "five"})
_CLAUSE_STARTS = frozenset({"why", "when", "where", "how", "what", "who"})
_DETERMINERS = _word_set("the a an your every each any its their this these those our them it us his her")
_SUBJECTS = _word_set("can will must should could may might would you we they i don't cannot can't won't never who")
_TOKEN = re.compile(r"[^\W_]+(?:['’\-–&+.][^\W_]+)*[+#]?")
_CLAUSE_END = re.compile(r"[.!?:;,]+(?=\s|$)|\s[-–—/&+]\s|[|·•()\[\]{}<>\"“”„«»…—/\n\r\t]")
_ED_NOUNS = _word_set("need feed seed speed embed shed weed breed")
_VERB_SHARE = 0.34
_NOUN_CAPITALS_SHARE = 0.2

_ZONE_WEIGHT = {Zone.TITLE: 4.0, Zone.HEADING: 3.0, Zone.TEXT: 1.0}
_LENGTH_WEIGHT = {1: 0.8, 2: 1.0, 3: 1.3, 4: 1.2}
_QUESTION_WEIGHT = 1.5
_REPEATS_COUNTED_MAX = 20

_INTENT_SIGNS = (
    (Intent.NAVIGATIONAL, _word_set("login signin")),
    (
        Intent.INFORMATIONAL,
        _word_set("how what why when who guide example examples template templates definition meaning tutorial "
                  "checklist tips basics explained anleitung leitfaden"),
    ),
    (Intent.TRANSACTIONAL, _word_set("buy price prices pricing demo trial quote discount preise kaufen")),
)  # fmt: skip


@dataclass
class _Candidate:
    """Where a phrase was seen. ``before`` and ``after`` hold its neighbours within the run, "" for none."""

    surfaces: Counter[str] = field(default_factory=Counter)
    pages: dict[str, float] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    zones: set[Zone] = field(default_factory=set)
    before: set[str] = field(default_factory=set)
    after: set[str] = field(default_factory=set)
    count: int = 0

    @property
    def is_supported(self) -> bool:
        """It stands in a title or heading, or the text says it again."""
        return self.zones != {Zone.TEXT} or len(self.pages) >= 2 or self.count >= 3

    @property
    def is_fragment(self) -> bool:
        """It never begins, or never ends, a run of words: the longer phrases are the keywords."""
        return "" not in self.before or "" not in self.after

    def score(self, words: Sequence[str]) -> float:
        sites = len(set(self.domains.values()))
        repeats = min(self.count, _REPEATS_COUNTED_MAX) / _REPEATS_COUNTED_MAX
        weight = _QUESTION_WEIGHT if tuple(words[:2]) in _QUESTION_STARTS else _LENGTH_WEIGHT.get(len(words), 1.0)
        return round((sum(self.pages.values()) + repeats) * (2 * sites - 1) * weight, 4)


@dataclass(frozen=True)
class _Vocabulary:
    """What the pages themselves say about their words. ``words_min`` is 1 where a language writes compounds as one."""

    verbs: frozenset[str]
    names: frozenset[str]
    brands: frozenset[str]
    words_min: int = WORDS_MIN


@dataclass(frozen=True)
class _Occurrence:
    phrase: tuple[str, ...]
    before: str
    after: str

    @property
    def words(self) -> tuple[str, ...]:
        return _split(self.phrase)

    @property
    def surface(self) -> str:
        return " ".join(_lowered(token).removesuffix("'s") for token in self.phrase)


def extract_keyphrases(
    reads: Sequence[SiteRead], *, brands: Iterable[str] = (), phrases_max: int = 60
) -> tuple[Keyphrase, ...]:
    """The best phrases of all pages, best first; ``brands`` are names (or domains) besides those of the sites."""
    pages = [(page, bare_domain(read.site)) for read in reads for page in read.pages if not page.is_own_site]
    vocabulary = _vocabulary(pages, brands)
    candidates = _candidates(pages, vocabulary)
    return _ranked(_chosen(candidates), phrases_max)


def folded(text: str) -> str:
    """The form under which two spellings of a keyword are the same: lower case, no hyphens, words in the singular."""
    return " ".join(map(_stem, words_of(text)))


def words_of(text: str) -> list[str]:
    """Words in lower case; a hyphenated compound counts as its parts, a possessive as its noun."""
    return list(_split(_TOKEN.findall(unicodedata.normalize("NFC", text))))


def content_words(text: str) -> frozenset[str]:
    """The folded words of a keyword without their order and its connecting words: two with the same mean the same."""
    return frozenset(folded(text).split()) - _CONNECTORS - _ARTICLES


def normalized_keyword(text: str) -> str:
    """A keyword as it is stored: lower case, single spaces, no punctuation around it."""
    lowered = unicodedata.normalize("NFC", " ".join(text.split())).lower()
    return lowered.strip(" .,;:!?\"'“”„«»()[]|")


def intent_of(text: str) -> Intent:
    """Intent by the words of a keyword; commercial when none says otherwise, for seeds come from pages that sell."""
    words = set(words_of(text))
    return next((intent for intent, signs in _INTENT_SIGNS if words & signs), Intent.COMMERCIAL)


# What the pages say about their words


def _vocabulary(pages: Sequence[tuple[Page, str]], brands: Iterable[str]) -> _Vocabulary:
    words, verbal, lowered, raised = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for page, _ in pages:
        for zone, line in _lines(page):
            for clause in _CLAUSE_END.split(line):
                tokens = _TOKEN.findall(clause)
                words.update(map(_lowered, tokens))
                if zone is Zone.TEXT:
                    verbal.update(_verb_uses(tokens))
                    lowered.update(token for token in tokens if token.islower())
                    raised.update(_lowered(token) for token in tokens[1:] if token[0].isupper() and not token.isupper())
    nouns_are_raised = raised.total() > _NOUN_CAPITALS_SHARE * max(1, words.total())
    return _Vocabulary(
        verbs=frozenset(word for word, count in verbal.items() if count >= _VERB_SHARE * words[word]),
        names=frozenset() if nouns_are_raised else frozenset(word for word in raised if not lowered[word]),
        brands=_brands(pages, brands, lowered),
        words_min=1 if nouns_are_raised else WORDS_MIN,
    )


def _verb_uses(tokens: Sequence[str]) -> Iterator[str]:
    """Words that stand before a determiner or after a subject, as verbs do."""
    lower = ["", *map(_lowered, tokens), ""]
    for before, word, after in zip(lower, lower[1:], lower[2:], strict=False):
        if after in _DETERMINERS or before in _SUBJECTS:
            yield word


def _brands(pages: Sequence[tuple[Page, str]], brands: Iterable[str], lowered: Mapping[str, int]) -> frozenset[str]:
    """Names of the sites and those given, in one word; a name that the texts use as a plain word is none."""
    given = ["".join(words_of(brand.split(".")[0] if "." in brand else brand)) for brand in brands]
    domains = ["".join(words_of(domain.split(".")[0])) for _, domain in pages]
    return frozenset(brand for brand in (*given, *domains) if brand and lowered.get(brand, 0) < 2)


# Candidates


def _candidates(pages: Sequence[tuple[Page, str]], vocabulary: _Vocabulary) -> dict[str, _Candidate]:
    candidates: dict[str, _Candidate] = defaultdict(_Candidate)
    furniture = _repeated_lines(pages)
    for page, domain in pages:
        for zone, line in _lines(page):
            if (domain, _folded_line(line)) not in furniture:
                for occurrence in _occurrences(line, zone, vocabulary):
                    key = " ".join(map(_stem, occurrence.words))
                    _record(candidates[key], occurrence, page.url, domain, zone)
    return candidates


def _record(candidate: _Candidate, occurrence: _Occurrence, url: str, domain: str, zone: Zone) -> None:
    candidate.count += 1
    candidate.surfaces[occurrence.surface] += 1
    candidate.zones.add(zone)
    candidate.before.add(_stem(occurrence.before))
    candidate.after.add(_stem(occurrence.after))
    candidate.domains[url] = domain
    candidate.pages[url] = max(candidate.pages.get(url, 0.0), _ZONE_WEIGHT[zone])


def _lines(page: Page) -> Iterator[tuple[Zone, str]]:
    yield Zone.TITLE, page.title
    for heading in page.headings:
        yield Zone.HEADING, heading
    for passage in page.passages[:PASSAGES_MAX]:
        yield Zone.TEXT, passage


def _folded_line(line: str) -> str:
    return " ".join(words_of(line))


def _repeated_lines(pages: Sequence[tuple[Page, str]]) -> set[tuple[str, str]]:
    """Lines that stand word for word on several pages of a site: its furniture."""
    counts: Counter[tuple[str, str]] = Counter()
    for page, domain in pages:
        counts.update({(domain, _folded_line(line)) for zone, line in _lines(page) if zone is not Zone.TITLE})
    return {line for line, count in counts.items() if count >= REPEATED_PAGES_MIN}


def _occurrences(line: str, zone: Zone, vocabulary: _Vocabulary) -> Iterator[_Occurrence]:
    for clause in _CLAUSE_END.split(line):
        for run in _runs(_without_last_verb(_TOKEN.findall(clause), zone), zone, vocabulary):
            for start, end in _windows(run):
                if _is_keyword(run[start:end], vocabulary):
                    yield _occurrence(run, start, end, vocabulary)


def _windows(run: list[str]) -> Iterator[tuple[int, int]]:
    """Beginnings and ends of the pieces of a run that can be keywords; a run too long to be language has none."""
    if len(run) > RUN_TOKENS_MAX:
        return
    for start in range(len(run)):
        extra = sum(1 for token in run[start : start + WORDS_MAX] if _lowered(token) in _BREAKS)
        for end in range(start + 1, min(start + WORDS_MAX + extra, len(run)) + 1):
            yield start, end


def _without_last_verb(tokens: list[str], zone: Zone) -> list[str]:
    """Headings such as "Why the approval process stalls" end with a verb, unless they ask "how to" or "what is"."""
    lower = [_lowered(token) for token in tokens[:2]]
    is_clause = zone is not Zone.TEXT and len(lower) == 2 and lower[0] in _CLAUSE_STARTS
    if not is_clause or lower[1] in ("to", "is", "are", "not", "does", "do") or lower[1] in _VERBS:
        return tokens
    return list(itertools.takewhile(lambda token: _lowered(token) not in ("cost", "costs"), tokens[:-1]))


def _occurrence(run: list[str], start: int, end: int, vocabulary: _Vocabulary) -> _Occurrence:
    before = run[start - 1] if start else ""
    after = run[end] if end < len(run) else ""
    return _Occurrence(
        phrase=tuple(run[start:end]),
        before=before if _belongs(before, run[start - 1 : end], vocabulary) else "",
        after=after if _belongs(after, run[start : end + 1], vocabulary) else "",
    )


def _belongs(neighbour: str, longer: list[str], vocabulary: _Vocabulary) -> bool:
    """Whether a phrase with its neighbour would be a phrase too, were it not for its length."""
    if not neighbour or _lowered(neighbour) in _CONNECTORS:
        return False
    return _has_good_edges(_split(longer), vocabulary)


def _runs(tokens: list[str], zone: Zone, vocabulary: _Vocabulary) -> Iterator[list[str]]:
    """Maximal runs of tokens that a keyword may be made of."""
    run: list[str] = []
    covered = _brand_positions(tokens, vocabulary.brands)
    for position, token in enumerate(tokens):
        if position not in covered and _continues(run, token, zone):
            run.append(token)
        else:
            yield run
            run = []
    yield run


def _continues(run: list[str], token: str, zone: Zone) -> bool:
    word = _lowered(token)
    if word.isdigit() or re.search(r"\.[^\W\d]", word):
        return False
    if word not in _BREAKS:
        return True
    if zone is Zone.TEXT:
        return False
    may_be_question = (not run and word in ("how", "what")) or _is_question([*run, token])
    return may_be_question or (bool(run) and word in _CONNECTORS)


def _is_question(run: Sequence[str]) -> bool:
    """Whether the run asks "how to" or "what is", with no other stop word than articles in it."""
    words = tuple(map(_lowered, run))
    return words[:2] in _QUESTION_STARTS and all(word in _ARTICLES or word not in _BREAKS for word in words[2:])


def _brand_positions(tokens: list[str], brands: frozenset[str]) -> set[int]:
    """Positions of tokens that name a site, also where the name is written in several words."""
    words = ["".join(_split([token])) for token in tokens]
    covered: set[int] = set()
    for start in range(len(words)):
        for end in range(start + 1, min(start + 4, len(words)) + 1):
            name = "".join(words[start:end])
            if name in brands or name.removesuffix("s") in brands:
                covered.update(range(start, end))
    return covered


def _is_keyword(phrase: list[str], vocabulary: _Vocabulary) -> bool:
    words = _split(phrase)
    body = _body(words)
    if len(phrase) < vocabulary.words_min or len(set(body) - _ARTICLES - _CONNECTORS) > WORDS_MAX:
        return False
    if len(phrase) == 1 and len(phrase[0]) < COMPOUND_CHARACTERS_MIN:
        return False
    return (
        _has_good_edges(words, vocabulary)
        and len(" ".join(words)) <= CHARACTERS_MAX
        and not any(" ".join(form) in _FURNITURE for form in (words, [*map(_stem, words)], [*map(_lowered, phrase)]))
        and not all(word in vocabulary.names for word in body)
        and not (body[-1] in _AUDIENCE_WORDS and not _CONNECTORS & set(body))
        and not (body[0] in _PAGE_WORDS and body[1:2] and body[1] in _CONNECTORS)
        and not (body is words and _ARTICLES & set(body))
        and len(set(map(_stem, body))) == len(body)
    )


def _body(words: Sequence[str]) -> Sequence[str]:
    """A question's words after "how to" or "what is"."""
    return words[2:] if tuple(words[:2]) in _QUESTION_STARTS else words


def _has_good_edges(words: Sequence[str], vocabulary: _Vocabulary) -> bool:
    body = _body(words)
    is_how_to = tuple(words[:2]) == ("how", "to")
    if len(body) < vocabulary.words_min or (body is not words and len(body) < WORDS_MIN):
        return False
    return _is_good_last(body[-1], vocabulary) and (is_how_to or _is_good_first(body[0], vocabulary))


def _is_good_first(word: str, vocabulary: _Vocabulary) -> bool:
    is_verb = word in vocabulary.verbs or word in _VERBS or word in _NOUN_VERBS
    return not is_verb and not _is_weak(word)


def _is_good_last(word: str, vocabulary: _Vocabulary) -> bool:
    is_participle = word.endswith("ed") and len(word) > 3 and word not in _ED_NOUNS
    if is_participle or word in vocabulary.verbs or word in _VERBS:
        return False
    return word in _FINE_LAST_WORDS or not _is_weak(word)


def _is_weak(word: str) -> bool:
    is_adverb = word.endswith("ly") and len(word) > 5
    is_break = word in _BREAKS and word not in _NUMBER_WORDS
    return is_adverb or is_break or len(word) < 2 or word.isdigit() or word in _WEAK_WORDS


def _lowered(token: str) -> str:
    return token.lower().replace("’", "'")


def _split(tokens: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for token in tokens for word in _words_of_token(token))


@lru_cache(maxsize=50_000)
def _words_of_token(token: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[-–]", _lowered(token).removesuffix("'s")) if word)


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    return stem(word)


# Choosing


def _chosen(candidates: Mapping[str, _Candidate]) -> dict[str, _Candidate]:
    """Whole phrases with support; where that leaves too few, whole phrases, and then all."""
    whole = {key: one for key, one in candidates.items() if not one.is_fragment}
    strong = {key: one for key, one in whole.items() if one.is_supported}
    return next((found for found in (strong, whole) if len(found) >= STRONG_PHRASES_MIN), dict(candidates))


def _ranked(candidates: Mapping[str, _Candidate], phrases_max: int) -> tuple[Keyphrase, ...]:
    """Best first; phrases that are one keyword in another spelling or order are one, with the sources of all."""
    scores = {key: one.score(key.split()) for key, one in candidates.items()}
    best: dict[str, list[str]] = defaultdict(list)
    for key in sorted(candidates, key=lambda key: (-scores[key], key)):
        best[meaning_key(_commonest(candidates[key].surfaces))].append(key)
    return tuple(
        Keyphrase(
            text=_commonest(candidates[keys[0]].surfaces),
            score=scores[keys[0]],
            sources=_sources([candidates[key] for key in keys]),
        )
        for keys in list(best.values())[:phrases_max]
    )


def _commonest(surfaces: Counter[str]) -> str:
    return min(surfaces, key=lambda surface: (-surfaces[surface], surface))


def _sources(candidates: Sequence[_Candidate]) -> tuple[KeywordSource, ...]:
    domains = {url: domain for candidate in candidates for url, domain in candidate.domains.items()}
    return tuple(KeywordSource(url=url, domain=domains[url]) for url in sorted(domains))
