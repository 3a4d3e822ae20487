"""Step 2, competitors: who they are, what they write about, and the seed keywords that follow from it."""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from domain.brief import Brief, brief_for_models, comparable_domain, is_own_site, url_problem
from domain.icp import Icp, has_address, one_line, read_answer, rejected
from domain.identifiers import bare_domain
from domain.keyphrases import Intent, KeywordSource, extract_keyphrases, folded, intent_of, normalized_keyword
from domain.keyword_data import ProviderSource
from domain.language import InvalidAnswerError, Route, chat_request, json_block, slot_hash, strict_schema
from domain.money import Frozen
from domain.pages import SiteRead
from domain.seed_feedback import POOL_FACTOR, REVIEW_RULE, feedback_parts, guidance_of, sifted
from domain.seed_review import Rejection
from domain.settings import CompetitorSettings
from domain.spend import ProviderRequest
from domain.verdict import AskAgain, Blocked, Completed, Level, Reason, verdict_of

PROMPT_VERSION = "competitor-1"
STEP = "competitor"
DISCOVERY_SCHEMA = "competitor_discovery"
LABELS_SCHEMA = "competitor_labels"
LABELLED_KEYWORDS_MAX = 60
PASSAGES_SHOWN = 4
PASSAGE_CHARACTERS_SHOWN = 400
SELLS_WORDS_MAX = 30
REASON_WORDS_MAX = 40
OFF_TOPIC_FLAG = "the model reads the feedback as speaking against it"

DISCOVERY_SYSTEM = """You are a B2B market researcher. Search the web and name the companies that a buyer would \
compare with the company of the brief: same kind of product, same kind of customer, same market.

- competitors: 3 to 5, best known first, each once. url is the company's own home page (https, no path); why says \
in at most 12 words what it sells that competes.
- Only companies that exist and have a site of their own: no directories, marketplaces, review sites, news or \
consultancies, and never the brief's own company or one of its brands.
- Name fewer rather than guess.

Answer with one JSON object by the schema and nothing else."""

LABELS_SYSTEM = """You are a B2B market and search analyst. For competitors of the brief's company you say what they \
sell and how much their customers overlap with its ideal customer profile; for keywords you say what the searcher wants.

- competitors: one entry per domain of the block "competitors", no other. sells: the product in at most 15 words, from \
its passages. overlap: high (same product for the same customers), medium (one of the two), low (neither). \
overlap_reason: at most 15 words. No praise, no web addresses.
- intents: one entry per text of the block "keywords", copied exactly, no other. informational: wants to learn; \
commercial: compares products or vendors; transactional: wants to buy, try or get a price; navigational: looks for one \
site.

Answer with one compact JSON object by the schema and nothing else."""

DISCOVERY_REVIEWED = "Prefer competitors that write about what the reviewer looks for."
LABELS_REVIEWED = (
    'off_topic: those texts of the block "keywords", copied exactly, that the reviewer\'s words clearly speak against; '
    "none where nothing is clear."
)


class Overlap(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class SeedKeyword(Frozen):
    """``score`` compares keywords of one run; volume per month, difficulty 0 to 100; None where nobody said.

    ``flag`` says why a reviewer's words on an earlier list speak against it.
    """

    text: str
    score: float
    volume: int | None = None
    difficulty: int | None = None
    cpc_usd: Decimal | None = None
    intent: Intent = Intent.INFORMATIONAL
    sources: tuple[KeywordSource | ProviderSource, ...] = ()
    flag: str | None = None


class Discovery(Frozen):
    """Home pages of competitors, best first; each still has to be read."""

    urls: tuple[str, ...]


class CompetitorLabel(Frozen):
    domain: str
    sells: str
    overlap: Overlap
    overlap_reason: str


class KeywordIntent(Frozen):
    keyword: str
    intent: Intent


class CompetitorLabels(Frozen):
    """``off_topic`` are keywords that a reviewer's feedback speaks against, as the model reads it."""

    competitors: tuple[CompetitorLabel, ...]
    intents: tuple[KeywordIntent, ...]
    off_topic: tuple[str, ...] = ()


class Competitor(Frozen):
    """``failure`` says in one line why its site could not be read (whole); ``pages_read`` counts what was."""

    domain: str
    title: str
    sells: str
    overlap: Overlap
    overlap_reason: str
    pages_read: int
    failure: str | None = None


class CompetitorAnalysis(Frozen):
    """``notes`` say what a keyword data provider was asked in vain."""

    competitors: tuple[Competitor, ...]
    keywords: tuple[SeedKeyword, ...]
    notes: tuple[Reason, ...] = ()


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class DiscoveredCompetitor(_Lenient):
    url: str
    why: str


class DiscoveryAnswer(_Lenient):
    competitors: tuple[DiscoveredCompetitor, ...]


class LabelsAnswer(_Lenient):
    competitors: tuple[CompetitorLabel, ...]
    intents: tuple[KeywordIntent, ...]


class ReviewedLabelsAnswer(LabelsAnswer):
    """Asked for once a reviewer has rejected a list."""

    off_topic: tuple[str, ...] = ()


# Discovery


def build_discovery_request(
    brief: Brief,
    icp: Icp,
    *,
    route: Route,
    model: str,
    feedback: str | None = None,
    rejections: Sequence[Rejection] = (),
) -> ProviderRequest:
    """The request for competitors' home pages, for a brief that names none; ``rejections`` are reviewers' words."""
    return chat_request(
        model=model,
        route=route,
        system=_with_review(DISCOVERY_SYSTEM, DISCOVERY_REVIEWED, rejections),
        user="\n\n".join(_discovery_parts(brief, icp, rejections)),
        schema_name=DISCOVERY_SCHEMA,
        schema=strict_schema(DiscoveryAnswer),
        feedback=feedback,
    )


def discovery_slot_hash(brief: Brief, icp: Icp, rejections: Sequence[Rejection] = ()) -> str:
    return slot_hash(
        step=STEP,
        slot=DISCOVERY_SCHEMA,
        prompt_version=PROMPT_VERSION,
        parts=_discovery_parts(brief, icp, rejections),
        schema=strict_schema(DiscoveryAnswer),
    )


def judge_discovery(
    answer_body: str, brief: Brief, *, settings: CompetitorSettings, repairs_left: int
) -> Completed[Discovery] | Blocked | AskAgain:
    """Usable home pages of an answer: http(s), never the own site, each domain once, at most ``discovery_max``."""
    try:
        answer = read_answer(answer_body, DiscoveryAnswer)
    except InvalidAnswerError as error:
        return rejected([Reason(code="DISCOVERY_ANSWER_UNREADABLE", message=str(error))], repairs_left)
    urls: dict[str, str] = {}
    for competitor in answer.competitors:
        url = _home_page(competitor.url)
        if url and not is_own_site(brief, url):
            urls.setdefault(comparable_domain(url), url)
    if not urls:
        message = "The answer names no usable competitor: give https URLs of other companies' home pages."
        return rejected([Reason(code="DISCOVERY_EMPTY", message=message)], repairs_left, answer.model_dump(mode="json"))
    kept = tuple(urls.values())[: settings.discovery_max]
    values = {"named": len(answer.competitors), "discovery_max": settings.discovery_max}
    return Completed[Discovery](output=Discovery(urls=kept), verdict=verdict_of([], values))


def _discovery_parts(brief: Brief, icp: Icp, rejections: Sequence[Rejection]) -> tuple[str, ...]:
    blocks = (json_block("brief", brief_for_models(brief)), json_block("icp", _icp_shown(icp)))
    return (*blocks, *feedback_parts(rejections))


def _with_review(system: str, task: str, rejections: Sequence[Rejection]) -> str:
    return f"{system}\n\n{REVIEW_RULE} {task}" if rejections else system


def _icp_shown(icp: Icp) -> dict[str, Any]:
    return icp.model_dump(mode="json", exclude={"evidence"})


def _home_page(url: str) -> str | None:
    """Scheme and host of a URL with a domain name that may be crawled, else None."""
    given = url if "//" in url else f"https://{url}"
    *labels, last = bare_domain(given).split(".") if not url_problem(given) else [""]
    if not labels or last.isdigit():
        return None
    return re.sub(r"^(https?://[^/?#]+).*$", r"\1", given, flags=re.IGNORECASE | re.DOTALL).lower()


# Seed keywords


def extract_seed_keywords(
    reads: Sequence[SiteRead],
    brief: Brief,
    icp: Icp,  # noqa: ARG001 -- part of the contract: a keyword provider's request needs it
    settings: CompetitorSettings,
) -> tuple[SeedKeyword, ...]:
    """Keyphrases of the competitors' pages as keywords, best first, with intent by their words."""
    brands = (brief.organization.name, bare_domain(brief.organization.url))
    phrases = extract_keyphrases(reads, brands=brands, phrases_max=settings.keywords_max)
    return tuple(
        SeedKeyword(text=phrase.text, score=phrase.score, intent=intent_of(phrase.text), sources=phrase.sources)
        for phrase in phrases
    )


def searched(settings: CompetitorSettings, rejections: Sequence[Rejection]) -> CompetitorSettings:
    """Settings of a search whose finds are sifted by reviewers' words afterwards: it looks further."""
    if not rejections:
        return settings
    return settings.model_copy(update={"keywords_max": settings.keywords_max * POOL_FACTOR})


def with_review(
    keywords: Sequence[SeedKeyword], rejections: Sequence[Rejection], settings: CompetitorSettings
) -> tuple[SeedKeyword, ...]:
    """What reviewers' words make of a search's finds: some left out, some flagged and last, some first."""
    if not rejections:
        return tuple(keywords)
    known = {keyword.text: keyword for keyword in keywords}
    kept = sifted(tuple(known), guidance_of(rejections))
    ordered = (known[text].model_copy(update={"flag": kept.flags.get(text)}) for text in kept.texts)
    return tuple(ordered)[: settings.keywords_max]


def flagged_last(keywords: Sequence[SeedKeyword], labels: CompetitorLabels | None) -> tuple[SeedKeyword, ...]:
    """With what the model holds to be off topic flagged as well; what is flagged stands at the end."""
    off_topic = frozenset(labels.off_topic if labels else ())
    flagged = [
        keyword.model_copy(update={"flag": keyword.flag or OFF_TOPIC_FLAG}) if keyword.text in off_topic else keyword
        for keyword in keywords
    ]
    return tuple(sorted(flagged, key=lambda keyword: keyword.flag is not None))


# Labels


def build_label_request(
    brief: Brief,
    icp: Icp,
    reads: Sequence[SiteRead],
    keywords: Sequence[SeedKeyword],
    *,
    route: Route,
    model: str,
    feedback: str | None = None,
    rejections: Sequence[Rejection] = (),
) -> ProviderRequest:
    """The request for what competitors sell, how far they overlap, the keywords' intents and, once a reviewer has
    rejected a list, which keywords those words speak against."""
    return chat_request(
        model=model,
        route=route,
        system=_with_review(LABELS_SYSTEM, LABELS_REVIEWED, rejections),
        user="\n\n".join((*_label_parts(brief, icp, reads, keywords), *feedback_parts(rejections))),
        schema_name=LABELS_SCHEMA,
        schema=_labels_schema(rejections),
        feedback=feedback,
    )


def label_slot_hash(
    brief: Brief,
    icp: Icp,
    reads: Sequence[SiteRead],
    keywords: Sequence[SeedKeyword],
    rejections: Sequence[Rejection] = (),
) -> str:
    return slot_hash(
        step=STEP,
        slot=LABELS_SCHEMA,
        prompt_version=PROMPT_VERSION,
        parts=(*_label_parts(brief, icp, reads, keywords), *feedback_parts(rejections)),
        schema=_labels_schema(rejections),
    )


def _labels_schema(rejections: Sequence[Rejection]) -> dict[str, Any]:
    return strict_schema(ReviewedLabelsAnswer if rejections else LabelsAnswer)


def judge_labels(
    answer_body: str, reads: Sequence[SiteRead], keywords: Sequence[SeedKeyword], *, repairs_left: int
) -> Completed[CompetitorLabels] | Blocked | AskAgain:
    """Labels of an answer for the domains and keywords that were asked about; others are dropped."""
    try:
        answer = read_answer(answer_body, ReviewedLabelsAnswer)
    except InvalidAnswerError as error:
        return rejected([Reason(code="LABELS_ANSWER_UNREADABLE", message=str(error))], repairs_left)
    problems = list(_label_problems(answer))
    if problems:
        return rejected(problems, repairs_left, answer.model_dump(mode="json"))
    labels = _known_labels(answer, reads, keywords)
    return Completed[CompetitorLabels](output=labels, verdict=verdict_of(_missing_labels(labels, reads, keywords)))


def _label_parts(brief: Brief, icp: Icp, reads: Sequence[SiteRead], keywords: Sequence[SeedKeyword]) -> tuple[str, ...]:
    competitors = [
        {"domain": bare_domain(read.site), "title": one_line(read.pages[0].title), "passages": _shown_passages(read)}
        for read in reads
        if read.pages
    ]
    return (
        json_block("brief", brief_for_models(brief)),
        json_block("icp", _icp_shown(icp)),
        json_block("competitors", competitors),
        json_block("keywords", [keyword.text for keyword in keywords[:LABELLED_KEYWORDS_MAX]]),
    )


def _shown_passages(read: SiteRead) -> list[str]:
    passages = [passage for page in read.pages for passage in page.passages[:2]]
    return [one_line(passage)[:PASSAGE_CHARACTERS_SHOWN] for passage in passages[:PASSAGES_SHOWN]]


def _label_problems(answer: LabelsAnswer) -> Iterator[Reason]:
    for label in answer.competitors:
        texts = (("sells", label.sells, SELLS_WORDS_MAX), ("overlap_reason", label.overlap_reason, REASON_WORDS_MAX))
        for field, text, words_max in texts:
            if has_address(text) or not text or len(text.split()) > words_max:
                message = f"{field} of {label.domain} must be 1 to {words_max} plain words without a web address."
                yield Reason(code="LABELS_TEXT", message=message, subject=label.domain)


def _known_labels(
    answer: ReviewedLabelsAnswer, reads: Sequence[SiteRead], keywords: Sequence[SeedKeyword]
) -> CompetitorLabels:
    domains = {bare_domain(read.site) for read in reads}
    competitors: dict[str, CompetitorLabel] = {}
    for label in answer.competitors:
        domain = bare_domain(label.domain)
        if domain in domains:
            competitors.setdefault(domain, label.model_copy(update={"domain": domain}))
    texts = {normalized_keyword(keyword.text): keyword.text for keyword in keywords}
    intents: dict[str, KeywordIntent] = {}
    for one in answer.intents:
        text = texts.get(normalized_keyword(one.keyword))
        if text is not None:
            intents.setdefault(text, KeywordIntent(keyword=text, intent=one.intent))
    off_topic = dict.fromkeys(text for one in answer.off_topic if (text := texts.get(normalized_keyword(one))))
    return CompetitorLabels(
        competitors=tuple(competitors.values()), intents=tuple(intents.values()), off_topic=tuple(off_topic)
    )


def _missing_labels(
    labels: CompetitorLabels, reads: Sequence[SiteRead], keywords: Sequence[SeedKeyword]
) -> list[Reason]:
    labelled = {label.domain for label in labels.competitors}
    missing = [bare_domain(read.site) for read in reads if read.pages and bare_domain(read.site) not in labelled]
    reasons = [
        Reason(
            code="LABELS_MISSING",
            message=f"{domain} got no label; its title stands in",
            subject=domain,
            level=Level.WARN,
        )
        for domain in missing
    ]
    asked = min(len(keywords), LABELLED_KEYWORDS_MAX)
    if len(labels.intents) < asked:
        message = f"{asked - len(labels.intents)} of {asked} keywords got no intent; their words decide"
        reasons.append(Reason(code="INTENTS_MISSING", message=message, level=Level.WARN))
    return reasons


# The step's result


def analyze(
    icp: Icp,
    reads: Sequence[SiteRead],
    keywords: Sequence[SeedKeyword],
    labels: CompetitorLabels | None,
    notes: Sequence[Reason] = (),
) -> Completed[CompetitorAnalysis] | Blocked:
    """The step's output and verdict over the ``keywords`` that were extracted or that a provider knew.

    Blocks when no site could be read and no provider gave a keyword (COMPETITORS_UNREADABLE), when there is no keyword
    (KEYWORDS_NONE) and when a keyword has no source (KEYWORD_WITHOUT_SOURCE).
    """
    competitors = tuple(_competitor(read, icp, labels) for read in reads)
    found = _with_intents(tuple(keywords), labels)
    analysis = CompetitorAnalysis(competitors=competitors, keywords=found, notes=tuple(notes))
    return verdict_on(analysis)


def verdict_on(analysis: CompetitorAnalysis) -> Completed[CompetitorAnalysis] | Blocked:
    """Judge an analysis by itself, so that a stored one can be judged again."""
    reasons = [*_site_reasons(analysis), *_keyword_reasons(analysis), *analysis.notes]
    read = sum(1 for competitor in analysis.competitors if competitor.pages_read)
    values = {"competitors": len(analysis.competitors), "read": read, "keywords": len(analysis.keywords)}
    verdict = verdict_of(reasons, values)
    if verdict.level is Level.BLOCK:
        return Blocked(verdict=verdict, output=analysis.model_dump(mode="json"))
    return Completed[CompetitorAnalysis](output=analysis, verdict=verdict)


def _site_reasons(analysis: CompetitorAnalysis) -> Iterator[Reason]:
    failed = [one for one in analysis.competitors if not one.pages_read]
    if len(failed) == len(analysis.competitors):
        details = "; ".join(f"{one.domain}: {one.failure}" for one in failed) or "there is no competitor"
        message = f"no competitor's site could be read ({details})"
        level = Level.WARN if analysis.keywords else Level.BLOCK  # a provider may know what a site keeps to itself
        yield Reason(code="COMPETITORS_UNREADABLE", message=message, level=level)
        return
    for one in analysis.competitors:
        if one.failure:
            message = f"{one.domain}: {one.failure}"
            yield Reason(code="COMPETITOR_FAILED", message=message, subject=one.domain, level=Level.WARN)


def _keyword_reasons(analysis: CompetitorAnalysis) -> Iterator[Reason]:
    if not analysis.keywords and any(one.pages_read for one in analysis.competitors):
        pages = sum(one.pages_read for one in analysis.competitors)
        yield Reason(code="KEYWORDS_NONE", message=f"no keyword was found on the {pages} pages read")
    for keyword in analysis.keywords:
        if not keyword.sources:
            message = f"the keyword {keyword.text!r} has no page or provider it comes from"
            yield Reason(code="KEYWORD_WITHOUT_SOURCE", message=message, subject=keyword.text)


def _with_intents(keywords: tuple[SeedKeyword, ...], labels: CompetitorLabels | None) -> tuple[SeedKeyword, ...]:
    intents = {one.keyword: one.intent for one in labels.intents} if labels else {}
    return tuple(
        keyword.model_copy(update={"intent": intents.get(keyword.text, keyword.intent)}) for keyword in keywords
    )


def _competitor(read: SiteRead, icp: Icp, labels: CompetitorLabels | None) -> Competitor:
    domain = bare_domain(read.site)
    title = one_line(read.pages[0].title) if read.pages else domain
    label = next((one for one in labels.competitors if one.domain == domain), None) if labels else None
    overlap, reason = (label.overlap, label.overlap_reason) if label else _word_overlap(read, icp)
    failure = read.failure or (None if read.pages else "no page could be read")
    return Competitor(
        domain=domain,
        title=title,
        sells=label.sells if label else title,
        overlap=overlap,
        overlap_reason=reason,
        pages_read=len(read.pages),
        failure=failure,
    )


def _word_overlap(read: SiteRead, icp: Icp) -> tuple[Overlap, str]:
    """How many of the profile's words the site uses: half of them is high, a quarter medium."""
    if not read.pages:
        return Overlap.LOW, "its site could not be read"
    texts = (*icp.industries, *icp.pains, *icp.goals, *icp.alternatives)
    wanted = {word for text in texts for word in folded(text).split() if len(word) > 3}
    found = wanted & {word for page in read.pages for word in folded(page.content_text).split()}
    share = len(found) / len(wanted) if wanted else 0.0
    overlap = Overlap.HIGH if share >= 0.5 else Overlap.MEDIUM if share >= 0.25 else Overlap.LOW
    return overlap, f"its pages use {len(found)} of {len(wanted)} words of the customer profile"
