"""Crawled keyphrases and a provider's keywords as one list: one row for each normalized text, with all its sources."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import log1p

from domain.brief import Brief
from domain.competitor import SeedKeyword
from domain.icp import Icp
from domain.identifiers import bare_domain
from domain.keyphrases import KeywordSource, content_words, folded, intent_of, normalized_keyword
from domain.keyword_data import FoundKeywords, KeywordFigures, ProviderSource
from domain.near_duplicates import merge_near_duplicates
from domain.settings import KeywordDataSettings
from domain.text import STOPWORDS

BRAND_CHARACTERS_MIN = 4
BRAND_WORDS_MAX = 3
LONE_WORD_CHARACTERS_MIN = 12
CONFIRMED_SHARE = 0.25  # of the best score: what the provider's volume adds to a phrase that was crawled
ADDED_SHARE = 0.35  # of the best score: what a keyword that stands on no crawled page can have at most

_FOLDED_STOPWORDS = frozenset(map(folded, STOPWORDS))


@dataclass
class _Row:
    keyword: SeedKeyword | None = None
    figures: list[KeywordFigures] = field(default_factory=list)
    sources: list[KeywordSource | ProviderSource] = field(default_factory=list)

    @property
    def volume(self) -> int | None:
        return max((one.volume for one in self.figures if one.volume is not None), default=None)

    @property
    def difficulty(self) -> int | None:
        return next((one.difficulty for one in self.figures if one.difficulty is not None), None)

    @property
    def cpc_usd(self) -> Decimal | None:
        return max((one.cpc_usd for one in self.figures if one.cpc_usd is not None), default=None)


def merge_keywords(
    crawled: Sequence[SeedKeyword],
    found: Sequence[FoundKeywords],
    difficulties: Sequence[FoundKeywords],
    brief: Brief,
    icp: Icp,
    competitors: Iterable[str],
    settings: KeywordDataSettings,
) -> tuple[SeedKeyword, ...]:
    """Best first. Every crawled keyword stays; of the provider's own those are added that speak of the market and name
    nobody's brand. ``difficulties`` tell of rows that are there and add none. ``competitors`` are their sites."""
    rows = _rows(crawled, found)
    brands = _brands([brief.organization.url, *competitors], crawled)
    vocabulary = _vocabulary(crawled, brief, icp) - brands
    best = max((keyword.score for keyword in crawled), default=1.0)
    most = max((row.volume or 0 for row in rows.values()), default=0)
    kept = {text: _scored(text, row, vocabulary, best, most) for text, row in rows.items()}
    added = [
        keyword
        for text, keyword in kept.items()
        if rows[text].keyword is None and _belongs(text, vocabulary, brands, settings.relevance_min)
    ]
    added.sort(key=_rank)
    old = [keyword for text, keyword in kept.items() if rows[text].keyword is not None]
    merged = merge_near_duplicates(sorted([*old, *added[: settings.keywords_added_max]], key=_rank))
    return tuple(_with_difficulty(keyword, difficulties) for keyword in merged)


def lacking_difficulty(keywords: Sequence[SeedKeyword]) -> tuple[str, ...]:
    return tuple(keyword.text for keyword in keywords if keyword.difficulty is None)


def _rank(keyword: SeedKeyword) -> tuple[float, str]:
    return -keyword.score, keyword.text


def _rows(crawled: Sequence[SeedKeyword], found: Sequence[FoundKeywords]) -> dict[str, _Row]:
    rows: dict[str, _Row] = {}
    for keyword in crawled:
        rows[normalized_keyword(keyword.text)] = _Row(keyword, sources=list(keyword.sources))
    for answer in found:
        for figures in answer.keywords:
            row = rows.setdefault(figures.text, _Row())
            row.figures.append(figures)
            if answer.source not in row.sources:
                row.sources.append(answer.source)
    return rows


def _scored(text: str, row: _Row, vocabulary: frozenset[str], best: float, most: int) -> SeedKeyword:
    weight = log1p(row.volume or 0) / log1p(most) if most else 0.0
    intent = next((one.intent for one in row.figures if one.intent is not None), None) or intent_of(text)
    if row.keyword is None:
        score = best * ADDED_SHARE * _relevance(text, vocabulary) * (0.1 + 0.9 * weight)
        keyword = SeedKeyword(text=text, score=score, intent=intent)
    else:
        score = row.keyword.score + best * CONFIRMED_SHARE * weight
        keyword = row.keyword.model_copy(
            update={"score": score, "intent": intent if row.figures else row.keyword.intent}
        )
    return keyword.model_copy(
        update={
            "volume": row.volume,
            "difficulty": row.difficulty,
            "cpc_usd": row.cpc_usd,
            "sources": tuple(row.sources),
        }
    )


def _with_difficulty(keyword: SeedKeyword, answers: Sequence[FoundKeywords]) -> SeedKeyword:
    """A difficulty that was asked for by itself, with its source."""
    if keyword.difficulty is not None:
        return keyword
    for answer in answers:
        said = next((one.difficulty for one in answer.keywords if one.text == keyword.text), None)
        if said is not None:
            sources = (*keyword.sources, answer.source)
            return keyword.model_copy(update={"difficulty": said, "sources": sources})
    return keyword


# What belongs to the market ------------------------------------------------------------------------------------------


def _vocabulary(crawled: Sequence[SeedKeyword], brief: Brief, icp: Icp) -> frozenset[str]:
    """The words of the market: of the crawled phrases, the brief and the customer profile."""
    profile = (*icp.industries, *icp.pains, *icp.goals, *icp.triggers, *icp.alternatives, icp.value_proposition)
    texts = [*(keyword.text for keyword in crawled), brief.organization.description, *brief.audiences, *profile]
    return frozenset().union(*map(_telling_words, texts))


def _telling_words(text: str) -> frozenset[str]:
    return content_words(text) - _FOLDED_STOPWORDS


def _brands(sites: Iterable[str], crawled: Sequence[SeedKeyword]) -> frozenset[str]:
    """Names of companies by their domains, unless the name is a word of the crawled phrases, which name no brands."""
    words: frozenset[str] = frozenset().union(*(content_words(keyword.text) for keyword in crawled))
    labels = {label for site in sites for label in _labels(bare_domain(site))}
    return frozenset(label for label in labels if len(label) >= BRAND_CHARACTERS_MIN and folded(label) not in words)


def _labels(domain: str) -> Iterable[str]:
    """The name in a domain: its longest label but the last, without hyphens ("acme.co.uk" is acme)."""
    labels = domain.split(".")[:-1]
    return [max(labels, key=len).replace("-", "")] if labels else []


def _belongs(text: str, vocabulary: frozenset[str], brands: frozenset[str], relevance_min: float) -> bool:
    words = text.split()
    is_broad = len(words) == 1 and len(text) < LONE_WORD_CHARACTERS_MIN
    return not is_broad and not _names_a_brand(words, brands) and _relevance(text, vocabulary) >= relevance_min


def _names_a_brand(words: Sequence[str], brands: frozenset[str]) -> bool:
    """A brand may be written in several words ("ledger pilot")."""
    plain = ["".join(filter(str.isalnum, word)) for word in words]
    return any(
        "".join(plain[start : start + size]) in brands
        for size in range(1, BRAND_WORDS_MAX + 1)
        for start in range(len(plain) - size + 1)
    )


def _relevance(text: str, vocabulary: frozenset[str]) -> float:
    words = _telling_words(text)
    return len(words & vocabulary) / len(words) if words else 0.0
