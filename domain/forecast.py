"""What a workflow will cost, before it is started: pure, from its brief, its settings and the prices in force.

Requests are built by the same functions as the real ones, over material as large as the settings allow, so that a
changed prompt changes the forecast. Three figures:

- expected: every answer is accepted at once and no longer than such answers are;
- worst: the sum of the holds of all first asks, each request and each answer as large as allowed;
- worst with repairs: and every answer is refused as often as a repair is allowed. What providers do (time-outs of
  unknown cost, a dearer model after a failure) comes on top, and the cap bounds it all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from domain import article, competitor, embedding_requests, icp
from domain.article import ArticlePlan, Block, BlockKind, Outline, OutlineSection, SectionContent
from domain.brief import CAP_USD_DEFAULT, Brief
from domain.competitor import SeedKeyword
from domain.errors import BadInputError
from domain.icp import BuyerRole, Evidence, Firmographics, Icp
from domain.keyword_data import KeywordEndpoint, Market, difficulty_request, market_of, phrase_request, site_request
from domain.language import Route
from domain.money import Frozen, ModelPrice, Usage, Usd, computed_cost
from domain.pages import Page, Passage, SiteRead
from domain.progress import CallKind
from domain.settings import Embeddings, StepSettings
from domain.spend import ProviderRequest, request_hold

# Measured on both shipped briefs: bytes of a request per prompt token, and tokens of an accepted answer.
BYTES_PER_PROMPT_TOKEN = Decimal("4.85")
SECTIONS_EXPECTED = 6
ICP_TOKENS_EXPECTED = 520
DISCOVERY_TOKENS_EXPECTED = 200
LABEL_TOKENS_EXPECTED = 60
KEYWORD_TOKENS_EXPECTED = 11
OUTLINE_TOKENS_EXPECTED = 280
SECTION_TOKENS_PER_WORD = Decimal("1.5")

# Latin text takes a byte or two a character, and quotation marks are escaped twice.
BYTES_PER_CHARACTER_MAX = Decimal("1.5")
PASSAGE_CHARACTERS = 360  # at most 60 words, mostly fewer
OWN_SITE_SHARE_EXPECTED = Decimal("0.75")  # of the passages that the profile's request has room for
EVIDENCE_EXPECTED = 20  # claims of a profile that quote a passage; 29 at most, near to 1.5 times that
FEEDBACK_CHARACTERS = 600
PROBLEM_CHARACTERS, PROBLEMS = 150, 4
CHARACTERS_PER_TOKEN = 4
ROWS_EXPECTED_SHARE = Decimal("0.7")  # of the rows asked for: a small site has fewer keywords
_NOBODY = UUID(int=0)


class ForecastLine(Frozen):
    """One kind of call. ``calls`` are those expected, ``calls_max`` the most first asks; sums over all of them."""

    step: str
    kind: CallKind
    model: str
    calls: int
    calls_max: int
    expected_usd: Usd
    worst_usd: Usd
    worst_with_repairs_usd: Usd


class Forecast(Frozen):
    """``article_…`` are for one article; all figures are for the whole workflow otherwise, ``cap_usd`` bounds it."""

    lines: tuple[ForecastLine, ...]
    articles: int
    cap_usd: Usd
    expected_usd: Usd
    worst_usd: Usd
    worst_with_repairs_usd: Usd
    article_expected_usd: Usd
    article_worst_usd: Usd


@dataclass(frozen=True)
class _Call:
    """A kind of call: the request as expected and as large as it gets, and how often it is asked."""

    step: str
    kind: CallKind
    route: Route
    expected: ProviderRequest
    largest: ProviderRequest
    completion_tokens: int
    calls: int
    calls_max: int
    is_repair: bool = False


def models_of(settings: StepSettings) -> tuple[str, ...]:
    """Every model that a workflow with these settings may ask."""
    article_settings = settings.article
    routes = (settings.icp.route, settings.competitor.route, article_settings.outline_route)
    models = [model for route in (*routes, article_settings.section_route) for model in route.models]
    data = settings.competitor.keyword_data
    endpoints = [KeywordEndpoint(endpoint).model for endpoint in data.endpoints if data.is_enabled]
    embedding_model = _embedding_model(settings)
    return tuple(dict.fromkeys([*models, *endpoints, *([embedding_model] if embedding_model else [])]))


def _embedding_model(settings: StepSettings) -> str | None:
    """The model whose vectors are paid for, None where none are."""
    clustering = settings.clustering
    return clustering.embedding_model if clustering.embeddings is Embeddings.PROVIDER else None


def forecast(
    brief: Brief,
    settings: StepSettings,
    prices: Mapping[str, ModelPrice],
    plan_cap_usd: Decimal = CAP_USD_DEFAULT,
) -> Forecast:
    """``prices`` by the models' names in the routes; ``plan_cap_usd`` binds a brief that names no cap. Raises
    BadInputError for a model without a price."""
    chat = [_line(call, settings.spend.repairs_max, prices) for call in _calls(brief, settings)]
    data = [*_keyword_data_lines(brief, settings, prices), *_embedding_lines(settings, prices)]
    before = [line for line in chat if line.step != article.STEP]
    lines = (*before, *data, *chat[len(before) :])
    articles = brief.articles.max
    written = [line for line in lines if line.step == article.STEP]
    return Forecast(
        lines=lines,
        articles=articles,
        cap_usd=plan_cap_usd if brief.cap_usd is None else brief.cap_usd,
        expected_usd=_sum(line.expected_usd for line in lines),
        worst_usd=_sum(line.worst_usd for line in lines),
        worst_with_repairs_usd=_sum(line.worst_with_repairs_usd for line in lines),
        article_expected_usd=_sum(line.expected_usd for line in written) / articles,
        article_worst_usd=_sum(line.worst_usd for line in written) / articles,
    )


def _line(call: _Call, repairs_max: int, prices: Mapping[str, ModelPrice]) -> ForecastLine:
    first, *others = call.route.models
    price = _price(prices, first, call.step)
    hold = request_hold(price, call.largest)
    re_asks = [first] * (repairs_max - 1) + [others[0] if others else first] if repairs_max else []
    repairs = _sum(request_hold(_price(prices, model, call.step), call.largest) for model in re_asks)
    prompt_tokens = int(call.expected.body_bytes / BYTES_PER_PROMPT_TOKEN)
    usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=min(call.completion_tokens, call.route.max_tokens))
    worst = Decimal(0) if call.is_repair else hold * call.calls_max
    return ForecastLine(
        step=call.step,
        kind=call.kind,
        model=first,
        calls=call.calls,
        calls_max=call.calls_max,
        expected_usd=computed_cost(price, usage) * call.calls,
        worst_usd=worst,
        worst_with_repairs_usd=(hold + repairs) * call.calls_max,
    )


def _price(prices: Mapping[str, ModelPrice], model: str, step: str) -> ModelPrice:
    if model not in prices:
        raise BadInputError(
            f"no price is known for {model}, which the {step} step asks: add one with `starter.py prices add FILE`",
            "model",
        )
    return prices[model]


def _sum(amounts: Iterator[Decimal]) -> Decimal:
    return sum(amounts, Decimal(0))


def _calls(brief: Brief, settings: StepSettings) -> Iterator[_Call]:
    yield _icp_call(brief, settings)
    if not brief.competitors:
        yield _discovery_call(brief, settings)
    yield _label_call(brief, settings)
    yield from _article_calls(brief, settings)


def _icp_call(brief: Brief, settings: StepSettings) -> _Call:
    route, characters = settings.icp.route, settings.icp.passage_characters_max

    def request(share: Decimal, feedback: str | None = None) -> ProviderRequest:
        passages = _passages(brief, int(characters * share))
        return icp.build_request(brief, passages, route=route, model=route.models[0], feedback=feedback)

    return _Call(
        step=icp.STEP,
        kind=CallKind.ICP,
        route=route,
        expected=request(OWN_SITE_SHARE_EXPECTED),
        largest=request(BYTES_PER_CHARACTER_MAX, _text(FEEDBACK_CHARACTERS)),
        completion_tokens=ICP_TOKENS_EXPECTED,
        calls=1,
        calls_max=1,
    )


def _discovery_call(brief: Brief, settings: StepSettings) -> _Call:
    route, profile = settings.competitor.route, _profile()

    def request(feedback: str | None = None) -> ProviderRequest:
        return competitor.build_discovery_request(brief, profile, route=route, model=route.models[0], feedback=feedback)

    return _Call(
        step=competitor.STEP,
        kind=CallKind.COMPETITOR_DISCOVERY,
        route=route,
        expected=request(),
        largest=request(_text(FEEDBACK_CHARACTERS)),
        completion_tokens=DISCOVERY_TOKENS_EXPECTED,
        calls=1,
        calls_max=1,
    )


def _label_call(brief: Brief, settings: StepSettings) -> _Call:
    route, profile = settings.competitor.route, _profile()
    competitors = len(brief.competitors) or settings.competitor.discovery_max
    keywords = [SeedKeyword(text=_text(20), score=1) for _ in range(settings.competitor.keywords_max)]
    longest = [SeedKeyword(text=_text(60), score=1) for _ in keywords]

    def request(share: Decimal, shown: list[SeedKeyword], feedback: str | None = None) -> ProviderRequest:
        reads = [_site(int(competitor.PASSAGE_CHARACTERS_SHOWN * share)) for _ in range(competitors)]
        return competitor.build_label_request(
            brief, profile, reads, shown, route=route, model=route.models[0], feedback=feedback
        )

    return _Call(
        step=competitor.STEP,
        kind=CallKind.COMPETITOR_LABELS,
        route=route,
        expected=request(Decimal("0.75"), keywords),
        largest=request(BYTES_PER_CHARACTER_MAX, longest, _text(FEEDBACK_CHARACTERS)),
        completion_tokens=competitors * LABEL_TOKENS_EXPECTED + len(keywords) * KEYWORD_TOKENS_EXPECTED,
        calls=1,
        calls_max=1,
    )


def _keyword_data_lines(
    brief: Brief, settings: StepSettings, prices: Mapping[str, ModelPrice]
) -> Iterator[ForecastLine]:
    """One line for each endpoint; none for a market that the provider has no figures for."""
    data = settings.competitor.keyword_data
    try:
        market = market_of(brief.country, brief.locale)
    except BadInputError:
        return
    for endpoint in map(KeywordEndpoint, data.endpoints if data.is_enabled else ()):
        request, calls = _keyword_data_call(endpoint, market, brief, settings)
        if calls:
            yield _keyword_data_line(request, calls, data.asks_max, _price(prices, endpoint.model, competitor.STEP))


def _keyword_data_line(request: ProviderRequest, calls: int, asks_max: int, price: ModelPrice) -> ForecastLine:
    """A repair is an ask again after an answer that was charged and told of trouble."""
    hold = request_hold(price, request)
    rows = int(request.searches * ROWS_EXPECTED_SHARE)
    usage = Usage(prompt_tokens=0, completion_tokens=0, searches=rows)
    return ForecastLine(
        step=competitor.STEP,
        kind=CallKind.KEYWORD_DATA,
        model=request.model,
        calls=calls,
        calls_max=calls,
        expected_usd=computed_cost(price, usage) * calls,
        worst_usd=hold * calls,
        worst_with_repairs_usd=hold * calls * asks_max,
    )


def _embedding_lines(settings: StepSettings, prices: Mapping[str, ModelPrice]) -> Iterator[ForecastLine]:
    """As many keywords as a review may approve, long ones at worst."""
    model = _embedding_model(settings)
    if model is None:
        return
    price = _price(prices, model, embedding_requests.STEP)
    texts, longest = (
        [f"{number:04} {_text(size)}" for number in range(settings.seed_review.approved_max)] for size in (20, 75)
    )
    calls = [embedding_requests.build_request(model, batch) for batch in embedding_requests.batches_of(texts)]
    largest = [embedding_requests.build_request(model, batch) for batch in embedding_requests.batches_of(longest)]
    tokens = [int(call.body_bytes / BYTES_PER_PROMPT_TOKEN) for call in calls]
    used = [Usage(prompt_tokens=count, completion_tokens=0) for count in tokens]
    worst = _sum(request_hold(price, call) for call in largest)
    yield ForecastLine(
        step=embedding_requests.STEP,
        kind=CallKind.EMBEDDINGS,
        model=model,
        calls=len(calls),
        calls_max=len(calls),
        expected_usd=_sum(computed_cost(price, usage) for usage in used),
        worst_usd=worst,
        worst_with_repairs_usd=worst * (1 + settings.spend.repairs_max),
    )


def _keyword_data_call(
    endpoint: KeywordEndpoint, market: Market, brief: Brief, settings: StepSettings
) -> tuple[ProviderRequest, int]:
    """The largest request of an endpoint and how often it is asked."""
    step, data = settings.competitor, settings.competitor.keyword_data
    match endpoint:
        case KeywordEndpoint.KEYWORDS_FOR_SITE:
            sites = min(len(brief.competitors) or step.discovery_max, data.sites_max)
            return site_request("other.example", market, data.rows_per_site_max), sites
        case KeywordEndpoint.BULK_KEYWORD_DIFFICULTY:
            keywords = [_text(20)] * (step.keywords_max + data.keywords_added_max)
            return difficulty_request(keywords, market), 1
        case _:
            return phrase_request(endpoint, _text(20), market, data.rows_per_phrase_max), data.phrases_max


def _article_calls(brief: Brief, settings: StepSettings) -> Iterator[_Call]:
    """The outline, the sections, and the one repair of each section that the gates may ask for."""
    articles = brief.articles.max
    sections_max = articles * article.SECTIONS_MAX
    words = article.section_words(brief.articles.words, SECTIONS_EXPECTED)
    section_tokens = int(words * SECTION_TOKENS_PER_WORD)
    outline_route, section_route = settings.article.outline_route, settings.article.section_route
    yield _Call(
        step=article.STEP,
        kind=CallKind.ARTICLE_OUTLINE,
        route=outline_route,
        expected=_outline_request(brief, settings, Decimal(1)),
        largest=_outline_request(brief, settings, BYTES_PER_CHARACTER_MAX, _text(FEEDBACK_CHARACTERS)),
        completion_tokens=OUTLINE_TOKENS_EXPECTED,
        calls=articles,
        calls_max=articles,
    )
    yield _Call(
        step=article.STEP,
        kind=CallKind.ARTICLE_SECTION,
        route=section_route,
        expected=_section_request(brief, settings, Decimal(1)),
        largest=_section_request(brief, settings, BYTES_PER_CHARACTER_MAX, _text(FEEDBACK_CHARACTERS)),
        completion_tokens=section_tokens,
        calls=articles * SECTIONS_EXPECTED,
        calls_max=sections_max,
    )
    repair = _section_request(brief, settings, BYTES_PER_CHARACTER_MAX, _text(FEEDBACK_CHARACTERS), is_repair=True)
    yield _Call(
        step=article.STEP,
        kind=CallKind.ARTICLE_REPAIR,
        route=section_route,
        expected=repair,
        largest=repair,
        completion_tokens=section_tokens,
        calls=0,
        calls_max=sections_max,
        is_repair=True,
    )


def _outline_request(
    brief: Brief, settings: StepSettings, share: Decimal, feedback: str | None = None
) -> ProviderRequest:
    route = settings.article.outline_route
    profile = _profile(int(EVIDENCE_EXPECTED * share), int(PASSAGE_CHARACTERS * share))
    return article.build_outline_request(
        brief,
        profile.model_dump(mode="json"),
        _plan(brief),
        _terms(),
        _passages(brief, int(settings.article.passage_characters_max * share)),
        route=route,
        model=route.models[0],
        feedback=feedback,
    )


def _section_request(
    brief: Brief, settings: StepSettings, share: Decimal, feedback: str | None = None, *, is_repair: bool = False
) -> ProviderRequest:
    route = settings.article.section_route
    draft = Block(kind=BlockKind.PARAGRAPH, text=_text(route.max_tokens * CHARACTERS_PER_TOKEN), passages=(1, 2, 3))
    return article.build_section_request(
        brief,
        _plan(brief),
        _outline(),
        1,
        _terms()[: article.TERMS_PER_SECTION],
        _passages(brief, int(settings.article.section_passage_characters_max * share)),
        article.section_words(brief.articles.words, SECTIONS_EXPECTED),
        route=route,
        model=route.models[0],
        feedback=feedback,
        problems=[_text(PROBLEM_CHARACTERS)] * PROBLEMS if is_repair else (),
        draft=SectionContent(blocks=(draft,)) if is_repair else None,
    )


# Material of the size that the real one has -------------------------------------------------------------------------


def _text(characters: int) -> str:
    phrase = "what a buyer reads here "
    return (phrase * (characters // len(phrase) + 1))[:characters]


def _passages(brief: Brief, characters: int) -> tuple[Passage, ...]:
    url = f"{brief.organization.url}/guides/a-page-of-the-site"
    texts = [PASSAGE_CHARACTERS] * (characters // PASSAGE_CHARACTERS) + [characters % PASSAGE_CHARACTERS]
    return tuple(
        Passage(number=number, url=url, text=_text(size)) for number, size in enumerate(texts, start=1) if size
    )


def _site(passage_characters: int) -> SiteRead:
    passages = tuple(_text(passage_characters) for _ in range(2))
    pages = tuple(
        Page(url="https://other.example/page", title=_text(60), headings=(), passages=passages, content_text="")
        for _ in range(competitor.PASSAGES_SHOWN // 2)
    )
    return SiteRead(site="https://other.example", pages=pages)


def _profile(evidence: int = 0, quotation_characters: int = 0) -> Icp:
    phrase = _text(50)
    claim = Evidence(
        field="buyer_roles.1",
        item=phrase,
        passage=10,
        url="https://other.example/a-page-of-the-site",
        quotation=_text(quotation_characters),
    )
    return Icp(
        industries=(phrase,) * 3,
        firmographics=Firmographics(size=phrase, geography=phrase),
        buyer_roles=(BuyerRole(role=_text(30), decision_power=phrase),) * 3,
        pains=(phrase,) * 4,
        goals=(phrase,) * 4,
        triggers=(phrase,) * 3,
        alternatives=(phrase,) * 3,
        disqualifiers=(phrase,) * 2,
        value_proposition=_text(180),
        evidence=(claim,) * evidence,
    )


def _plan(brief: Brief) -> ArticlePlan:
    keyword = _text(25)
    return ArticlePlan(
        article_id=_NOBODY,
        keyword=keyword,
        role="hub",
        cluster_id=_NOBODY,
        spokes=(keyword,) * 5,
        siblings=(keyword,) * (brief.articles.max - 1),
        position=0,
    )


def _terms() -> tuple[str, ...]:
    return (_text(20),) * 12


def _outline() -> Outline:
    section = OutlineSection(heading=_text(50), points=(_text(80),) * 3, passages=(1, 2, 3))
    return Outline(title=_text(60), meta_description=_text(150), sections=(section,) * SECTIONS_EXPECTED)
