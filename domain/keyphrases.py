"""Keyphrases of competitors' pages: what they write about, in words a content team would keep.

Candidates are runs of 2 to 5 words without an inner stop word, taken from titles, headings and text. They are ranked
by how many competitors and pages carry them and where; fragments of longer phrases, brand names and the furniture of
web pages fall out.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from domain.identifiers import bare_domain
from domain.money import Frozen
from domain.pages import Page, SiteRead

WORDS_MIN = 2
WORDS_MAX = 5
CHARACTERS_MAX = 80


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


def _word_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_STOP_WORDS = _word_set("""
    a about above across after again against all almost along already also although always am among an and another
    any anyone anything are aren't around as at away back be became because become been before being below best between
    both but by came can can't cannot come comes could couldn't did didn't do does doesn't doing don't done down during
    each either else enough even ever every everyone everything far few first for from full further gave get gets
    getting give given gives go goes going gone good got great had has hasn't have haven't having he her here hers
    herself him himself his how however i i'm i've if in instead into is isn't it it's its itself just keep keeps kept
    knows know known last least less let let's lets like likely long lot made make makes making many may maybe me means
    mean might mine more most much must my myself near need needs never new next no nobody none nor not nothing now of
    off often on once one ones only onto or other others our ours ourselves out over own per perhaps put puts quite
    rather really right said same say says see seen several shall she should shouldn't since so some someone something
    soon still such sure take takes taken tell tells than that that's the their theirs them themselves then there
    there's these they they're thing things this those though three through thus to together too took toward two under
    until up upon us use used uses using usually very via want wants was wasn't way we we're we've well went were
    weren't what what's whatever when where whether which while who who's whole whom whose why will with within without
    won't would wouldn't yes yet you you're you've your yours yourself today tomorrow yesterday
    der die das den dem des ein eine einen einem einer eines und oder aber nicht kein keine mit ohne von vom zu zum zur
    im am auf aus bei beim nach vor über unter für ist sind war waren wird werden wurde wurden hat haben hatte kann
    können soll sollen muss müssen sich sie er es wir ihr ihre ihren ihrem unser unsere als auch nur noch schon sehr wie
    was wer wo wenn dass weil durch um bis so dann mehr alle alles
    le la les un une des du de et ou mais pas ne avec sans pour par sur sous dans est sont était être avoir il elle ils
    elles nous vous notre votre leur leurs ce cette ces qui que quoi dont où plus très aux au
    el los las una unos unas y o pero no con sin para por sobre en es son era ser lo su sus nuestro nuestra que qué como
    más muy al del se""")
_EDGE_WORDS = _word_set("""
    add adds added adding allow allows ask asks automatically based become begin begins bring brings built build
    builds call calls change changes check checks choose click close closes connect connects contact cover covers
    create creates cut cuts day days decide decides easy easily end ends explain explains fast faster find finds fit
    fits follow follows free grow grows handle handles happen happens help helps hold holds hour hours include includes
    join keeping large late later learn leave leaves live look looks lose loses match matches meet meets minute minutes
    month months move moves open paid pay pays people piece pieces read reads ready receive receives remain remains
    remove removes replace replaces reply return returns run runs second seconds sell sells send sends sent set sets
    share show shows shown simple simply small spend spends start starts started stay stays stop stops store stores
    support supports talk time times try turn turns wait waits watch week weeks work works write writes year years sign
    several main different various better bigger big low high single every""")
_FURNITURE = frozenset(
    phrase.strip()
    for phrase in """about us, contact us, privacy policy, terms of service, terms of use, terms and conditions,
    cookie policy, cookie settings, log in, sign in, sign up, book a demo, book demo, request a demo, request demo,
    get a demo, product demo, live demo, read more, learn more, see more, view all, all rights reserved, rights
    reserved, free trial, start free trial, try for free, skip to content, main content, table of contents, main menu,
    back to top, share this, follow us, our customers, our team, help center, support center, customer login, site map,
    frequently asked questions, asked questions, talk to sales, contact sales, next page, previous page, page not found,
    customer story, customer stories, case study, case studies, press release, blog post, related articles, related
    posts, recent posts, pricing plan, social media, email address, phone number, opening hours, customer support,
    cookie consent, product tour, sales team, our story, our mission, our pricing, pricing page, javascript enabled,
    web browser, demo text, invented company, example company""".replace("\n", " ").split(",")
)
_CONNECTORS = frozenset({"for", "of", "to", "in"})
_QUESTION_STARTS = (("how", "to"), ("what", "is"), ("what", "are"))
_DETERMINERS = _word_set("the a an your every each any its their this these those our them it us his her")
_VERB_SIGNS_BEFORE = _word_set(
    "can will must should could may might would you we they i don't cannot can't won't never who let's"
)
_TOKEN = re.compile(r"[^\W_]+(?:['’\-–&+.][^\W_]+)*[+#]?")
_CLAUSE_END = re.compile(r"[.!?:;,]+(?=\s|$)|\s[-–—/&+]\s|[|·•()\[\]{}<>\"“”„«»…—/\n\r\t]")
_VERB_SHARE = 0.34
_CAPITALS_SHARE_OF_A_NOUN_CAPITALIZING_LANGUAGE = 0.2
_ED_NOUNS = frozenset({"need", "feed", "seed", "speed", "embed", "bed", "red", "shed", "weed", "breed"})


class Zone(StrEnum):
    TITLE = "title"
    HEADING = "heading"
    TEXT = "text"


_ZONE_WEIGHT = {Zone.TITLE: 4.0, Zone.HEADING: 3.0, Zone.TEXT: 1.0}
_LENGTH_WEIGHT = {2: 1.0, 3: 1.3, 4: 1.2, 5: 1.0}


@dataclass
class _Candidate:
    surfaces: Counter[str] = field(default_factory=Counter)
    pages: dict[str, float] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    count: int = 0
    zones: set[Zone] = field(default_factory=set)

    def see(self, surface: str, page: Page, domain: str, zone: Zone) -> None:
        self.surfaces[surface] += 1
        self.count += 1
        self.zones.add(zone)
        self.domains[page.url] = domain
        self.pages[page.url] = max(self.pages.get(page.url, 0.0), _ZONE_WEIGHT[zone])

    @property
    def sites(self) -> int:
        return len(set(self.domains.values()))

    def score(self, words: int) -> float:
        repeats = min(self.count, 20) / 20
        return round((sum(self.pages.values()) + repeats) * (2 * self.sites - 1) * _LENGTH_WEIGHT[words], 4)


@dataclass(frozen=True)
class _Vocabulary:
    """What the pages themselves say about their words."""

    verbs: frozenset[str]
    names: frozenset[str]
    brands: frozenset[str]


def extract_keyphrases(
    reads: Sequence[SiteRead], *, brands: Iterable[str] = (), phrases_max: int = 60
) -> tuple[Keyphrase, ...]:
    """The best phrases of all pages, best first; ``brands`` are names (or domains) besides those of the sites."""
    pages = [(page, bare_domain(read.site)) for read in reads for page in read.pages if not page.is_own_site]
    vocabulary = _vocabulary(pages, brands)
    candidates: dict[str, _Candidate] = defaultdict(_Candidate)
    repeated = _repeated_lines(pages)
    for page, domain in pages:
        for zone, line in _lines(page):
            if (domain, _folded_line(line)) not in repeated:
                for phrase in _keyword_phrases(line, zone, vocabulary):
                    candidates[folded(" ".join(phrase))].see(_surface(phrase), page, domain, zone)
    return _ranked(_complete(_supported(candidates)), phrases_max)


def folded(text: str) -> str:
    """The form under which two spellings of a keyword are the same: lower case, no hyphens, words in the singular."""
    return " ".join(map(_singular, _words(text)))


def normalized_keyword(text: str) -> str:
    """A keyword as it is stored: lower case, single spaces, no punctuation around it."""
    lowered = unicodedata.normalize("NFC", " ".join(text.split())).lower()
    return lowered.strip(" .,;:!?\"'“”„«»()[]|")


def intent_of(text: str) -> Intent:
    """Intent by the words of a keyword; commercial when none says otherwise, for seeds come from pages that sell."""
    words = set(_words(text))
    return next((intent for intent, signs in _INTENT_SIGNS if words & signs), Intent.COMMERCIAL)


_INTENT_SIGNS = (
    (Intent.NAVIGATIONAL, _word_set("login signin portal dashboard")),
    (
        Intent.INFORMATIONAL,
        _word_set("how what why when guide example examples template definition meaning tutorial checklist tips"),
    ),
    (Intent.TRANSACTIONAL, _word_set("buy price prices pricing cost demo trial quote discount")),
)


# Words


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFC", text).lower().replace("’", "'").removesuffix("'s")
    return [word for token in _TOKEN.findall(plain) for word in re.split(r"[-–]", token.removesuffix("'s")) if word]


def _singular(word: str) -> str:
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes")):
        return word[:-2]
    return word[:-1]


def _lines(page: Page) -> Iterator[tuple[Zone, str]]:
    yield Zone.TITLE, page.title
    for heading in page.headings:
        yield Zone.HEADING, heading
    for passage in page.passages:
        yield Zone.TEXT, passage


def _folded_line(line: str) -> str:
    return " ".join(_words(line))


def _repeated_lines(pages: Sequence[tuple[Page, str]]) -> set[tuple[str, str]]:
    """Lines that stand word for word on at least three pages of a site: its furniture."""
    counts: Counter[tuple[str, str]] = Counter()
    for page, domain in pages:
        counts.update({(domain, _folded_line(line)) for zone, line in _lines(page) if zone is not Zone.TITLE})
    return {line for line, count in counts.items() if count >= 3}


def _vocabulary(pages: Sequence[tuple[Page, str]], brands: Iterable[str]) -> _Vocabulary:
    words, verbal, lowered, raised = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for page, _ in pages:
        for passage in page.passages:
            for clause in _CLAUSE_END.split(passage):
                _observe(_TOKEN.findall(clause or ""), words, verbal, lowered, raised)
    verbs = {word for word, count in verbal.items() if count >= _VERB_SHARE * words[word]}
    is_noun_capitalizing = sum(raised.values()) > _CAPITALS_SHARE_OF_A_NOUN_CAPITALIZING_LANGUAGE * max(
        1, sum(words.values())
    )
    names = set() if is_noun_capitalizing else {word for word in raised if not lowered[word]}
    domains = {domain.split(".")[0] for _, domain in pages}
    own = {"".join(_words(brand.split(".")[0] if "." in brand else brand)) for brand in brands}
    known = {brand for brand in domains | own if brand and lowered[brand] < 2}
    return _Vocabulary(verbs=frozenset(verbs), names=frozenset(names), brands=frozenset(known))


def _observe(
    tokens: list[str], words: Counter[str], verbal: Counter[str], lowered: Counter[str], raised: Counter[str]
) -> None:
    lower = [token.lower().replace("’", "'") for token in tokens]
    for position, (token, word) in enumerate(zip(tokens, lower, strict=True)):
        words[word] += 1
        after = lower[position + 1] if position + 1 < len(lower) else ""
        before = lower[position - 1] if position else ""
        if after in _DETERMINERS or before in _VERB_SIGNS_BEFORE:
            verbal[word] += 1
        if token.islower():
            lowered[word] += 1
        elif position and token[0].isupper() and not token.isupper():
            raised[word] += 1


# Candidates


def _keyword_phrases(line: str, zone: Zone, vocabulary: _Vocabulary) -> Iterator[list[str]]:
    for clause in _CLAUSE_END.split(line):
        for run in _runs(_TOKEN.findall(clause), zone):
            for phrase in _phrases(run):
                if _is_keyword([word for token in phrase for word in _words(token)], phrase, vocabulary):
                    yield phrase


def _runs(tokens: list[str], zone: Zone) -> Iterator[list[str]]:
    """Maximal runs of tokens that a keyword may be made of."""
    run: list[str] = []
    for token in tokens:
        word = token.lower().replace("’", "'")
        is_connector = word in _CONNECTORS and zone is not Zone.TEXT
        is_question = zone is not Zone.TEXT and not run and word in ("how", "what")
        is_question = is_question or (len(run) == 1 and (run[0].lower(), word) in _QUESTION_STARTS)
        is_stop_word = word in _STOP_WORDS and not is_connector and not is_question
        if is_stop_word or word.isdigit():
            yield run
            run = []
        else:
            run.append(token)
    yield run


def _phrases(run: list[str]) -> Iterator[list[str]]:
    for start in range(len(run)):
        for end in range(start + 1, min(start + WORDS_MAX, len(run)) + 1):
            yield run[start:end]


def _surface(phrase: list[str]) -> str:
    return " ".join(token.lower().replace("’", "'").removesuffix("'s") for token in phrase)


def _is_keyword(words: list[str], phrase: list[str], vocabulary: _Vocabulary) -> bool:
    if not WORDS_MIN <= len(words) <= WORDS_MAX or len(" ".join(words)) > CHARACTERS_MAX:
        return False
    is_question = tuple(words[:2]) in _QUESTION_STARTS
    body = words[2:] if is_question else words
    if not body or (is_question and len(body) < 2):
        return False
    return (
        _has_good_edges(words, body, is_question, vocabulary)
        and not _is_furniture(words, phrase)
        and not _names_brand(words, vocabulary.brands)
        and not all(word in vocabulary.names for word in body)
        and len({_singular(word) for word in body}) == len(body)
    )


def _has_good_edges(words: list[str], body: list[str], is_question: bool, vocabulary: _Vocabulary) -> bool:
    first, last = body[0], body[-1]
    if any(edge in _STOP_WORDS or edge.isdigit() for edge in (words[-1], last)):
        return False
    if not is_question and (first in _STOP_WORDS or first in _EDGE_WORDS or first in vocabulary.verbs):
        return False
    if last in _EDGE_WORDS or last in vocabulary.verbs:
        return False
    is_participle = last.endswith("ed") and last not in _ED_NOUNS and len(last) > 3
    is_adverb = any(edge.endswith("ly") and len(edge) > 5 for edge in (first, last))
    return not is_participle and not is_adverb and min(len(first), len(last)) > 1


def _is_furniture(words: list[str], phrase: list[str]) -> bool:
    return " ".join(words) in _FURNITURE or _surface(phrase) in _FURNITURE or folded(" ".join(words)) in _FURNITURE


def _names_brand(words: list[str], brands: frozenset[str]) -> bool:
    spans = ("".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1))
    return any(span in brands or span.removesuffix("s") in brands for span in spans)


# Choosing


def _supported(candidates: dict[str, _Candidate]) -> dict[str, _Candidate]:
    """Phrases of a title or heading, or that the text repeats; all of them when that leaves too few."""
    strong = {key: one for key, one in candidates.items() if _is_supported(one)}
    return strong if len(strong) >= 5 else dict(candidates)


def _is_supported(candidate: _Candidate) -> bool:
    return candidate.zones != {Zone.TEXT} or len(candidate.pages) >= 2 or candidate.count >= 3


def _complete(candidates: dict[str, _Candidate]) -> dict[str, _Candidate]:
    """Without fragments: phrases that (nearly) always stand inside one longer phrase."""
    longer_count: Counter[str] = Counter()
    for key, candidate in candidates.items():
        words = key.split()
        for size in range(WORDS_MIN, len(words)):
            for start in range(len(words) - size + 1):
                part = " ".join(words[start : start + size])
                longer_count[part] = max(longer_count[part], candidate.count)
    return {key: one for key, one in candidates.items() if longer_count[key] < one.count}


def _ranked(candidates: dict[str, _Candidate], phrases_max: int) -> tuple[Keyphrase, ...]:
    scored = sorted(
        ((one.score(len(key.split())), key, one) for key, one in candidates.items()),
        key=lambda item: (-item[0], item[1]),
    )
    phrases: list[Keyphrase] = []
    bags: set[frozenset[str]] = set()
    for score, key, candidate in scored:
        bag = frozenset(key.split()) - _CONNECTORS
        if bag in bags:
            continue
        bags.add(bag)
        phrases.append(Keyphrase(text=_commonest(candidate.surfaces), score=score, sources=_sources(candidate)))
    return tuple(phrases[:phrases_max])


def _commonest(surfaces: Counter[str]) -> str:
    return min(surfaces, key=lambda surface: (-surfaces[surface], surface))


def _sources(candidate: _Candidate) -> tuple[KeywordSource, ...]:
    return tuple(KeywordSource(url=url, domain=candidate.domains[url]) for url in sorted(candidate.pages))
