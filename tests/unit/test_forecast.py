"""The forecast beside runs that took place: near in what it expects, never below in what it bounds."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from commands.costing import CapScope, Estimate, amount_columns, forecast_object, forecast_words, over_cap_words
from db.cost_reports import SpendingRoom
from domain.brief import Brief, brief_from_mapping, parse_brief
from domain.errors import BadInputError
from domain.forecast import Forecast, forecast, models_of
from domain.icp import build_request
from domain.money import ModelPrice
from domain.pages import Page, numbered_passages
from domain.progress import CallKind
from domain.settings import (
    CompetitorSettings,
    Embeddings,
    KeywordDataSettings,
    SpendSettings,
    StepSettings,
    with_embeddings,
)
from domain.spend import request_hold

SONAR, MINI = "perplexity/sonar", "openai/gpt-4o-mini"

# Ledgers of two demo runs against the sandbox: cost, and the dearest hold of a call by its kind.
RUNS = {
    "harborline": (
        Decimal("0.0546601"),
        {
            CallKind.ICP: Decimal("0.021327"),
            CallKind.COMPETITOR_LABELS: Decimal("0.016672"),
            CallKind.ARTICLE_OUTLINE: Decimal("0.030318"),
            CallKind.ARTICLE_SECTION: Decimal("0.00193575"),
        },
    ),
    "tidewheel": (
        Decimal("0.05287705"),
        {
            CallKind.ICP: Decimal("0.016328"),
            CallKind.COMPETITOR_LABELS: Decimal("0.016107"),
            CallKind.ARTICLE_OUTLINE: Decimal("0.029151"),
            CallKind.ARTICLE_SECTION: Decimal("0.00194535"),
        },
    ),
}


def price(model: str, input_usd: str, output_usd: str, request_usd: str = "0") -> ModelPrice:
    return ModelPrice(
        price_id=UUID(int=1),
        model=model,
        input_usd_per_million=Decimal(input_usd),
        cached_input_usd_per_million=Decimal(input_usd),
        output_usd_per_million=Decimal(output_usd),
        usd_per_request=Decimal(request_usd),
    )


PRICES: Mapping[str, ModelPrice] = {
    SONAR: price(SONAR, "1", "1", "0.005"),
    MINI: price(MINI, "0.15", "0.60"),
}


def shipped(name: str) -> Brief:
    return parse_brief(Path(f"briefs/{name}.yaml").read_text(encoding="utf-8"), source=name)


def of(brief: Brief, settings: StepSettings | None = None) -> Forecast:
    return forecast(brief, settings or StepSettings(), PRICES)


def room(
    workflow_cap: str | None = "100", month_cap: str | None = "100", spent: str = "0", **facts: Any
) -> SpendingRoom:
    return SpendingRoom.model_validate(
        {
            "plan_key": "small",
            "workflow_cap_usd": workflow_cap,
            "month_cap_usd": month_cap,
            "month_spent_usd": spent,
            "month_held_usd": "0",
            "own_usd": "0",
            "month_frozen_reason": None,
            **facts,
        }
    )


def estimate(found: Forecast, allowed: SpendingRoom | None = None) -> Estimate:
    return Estimate(found, allowed or room())


def a_brief(**fields: object) -> Brief:
    description = "It sells software that matches invoices to orders for controllers at mid-size distributors " * 3
    organization = {"name": "A", "url": "https://a.example", "description": description}
    return brief_from_mapping({"organization": organization, **fields})


@pytest.mark.parametrize("name", sorted(RUNS))
def test_what_is_expected_is_within_a_tenth_of_what_a_run_cost(name: str) -> None:
    actual, _ = RUNS[name]
    expected = of(shipped(name)).expected_usd
    assert abs(expected - actual) < actual / 10


@pytest.mark.parametrize("name", sorted(RUNS))
def test_every_hold_of_a_run_is_within_the_worst_of_its_kind(name: str) -> None:
    _, holds = RUNS[name]
    lines = {line.kind: line for line in of(shipped(name)).lines}
    for kind, hold in holds.items():
        assert hold <= lines[kind].worst_usd / lines[kind].calls_max <= hold * Decimal("2.1")


def test_the_worst_of_the_profile_holds_for_a_site_that_fills_every_passage() -> None:
    """Sixty long words to a passage, quotation marks and letters of two bytes among them."""
    brief, settings = shipped("harborline"), StepSettings()
    text = 'Die Prüfung "jeder" Rechnung kostet heute viel zu viel Zeit, sagt die Leiterin. ' * 5
    page = Page(url=f"{brief.organization.url}/p", title="", headings=(), passages=(text[:400],) * 100, content_text="")
    passages = numbered_passages([page], characters_max=settings.icp.passage_characters_max)
    request = build_request(brief, passages, route=settings.icp.route, model=SONAR)
    [line] = [line for line in of(brief).lines if line.kind is CallKind.ICP]
    assert request_hold(PRICES[SONAR], request) <= line.worst_usd


def test_the_sums_are_those_of_the_lines() -> None:
    found = of(shipped("harborline"))
    assert found.expected_usd == sum(line.expected_usd for line in found.lines)
    assert found.worst_usd == sum(line.worst_usd for line in found.lines)
    assert found.expected_usd < found.worst_usd < found.worst_with_repairs_usd
    articles = [line for line in found.lines if line.step == "article"]
    assert found.article_expected_usd * found.articles == sum(line.expected_usd for line in articles)
    assert found.article_expected_usd < Decimal("0.05")  # what an article should stay below


def test_an_article_is_its_share_of_the_worst_too() -> None:
    found = of(a_brief(articles={"max": 4}))
    worst = sum(line.worst_usd for line in found.lines if line.step == "article")
    assert found.article_worst_usd * 4 == pytest.approx(worst, abs=Decimal("0.000000004"))


def test_more_articles_cost_their_share_more() -> None:
    three, six = (of(a_brief(articles={"max": count})) for count in (3, 6))
    fixed = [line.expected_usd for line in three.lines if line.step != "article"]
    assert six.expected_usd - sum(fixed) == pytest.approx(2 * (three.expected_usd - sum(fixed)), rel=Decimal("0.01"))
    assert six.worst_usd > three.worst_usd


def test_competitors_that_are_not_named_are_looked_for() -> None:
    named = of(a_brief(competitors=["https://b.example"]))
    searched = of(a_brief())
    assert CallKind.COMPETITOR_DISCOVERY not in {line.kind for line in named.lines}
    assert CallKind.COMPETITOR_DISCOVERY in {line.kind for line in searched.lines}
    assert searched.expected_usd > named.expected_usd


def test_repairs_are_those_that_the_settings_allow() -> None:
    none = of(a_brief(), StepSettings(spend=SpendSettings(repairs_max=0)))
    two = of(a_brief())
    assert two.worst_usd == none.worst_usd
    icp_none, icp_two = none.lines[0], two.lines[0]
    assert icp_none.worst_with_repairs_usd == icp_none.worst_usd
    # The last of the two goes to the other, cheaper model.
    assert icp_two.worst_usd * 2 < icp_two.worst_with_repairs_usd < icp_two.worst_usd * 3


def test_the_cap_bounds_what_is_said_to_be_the_most() -> None:
    low = estimate(of(a_brief(cap_usd="0.02")))
    assert (low.at_most_usd, low.fits) == (Decimal("0.02"), False)
    high = estimate(of(a_brief(cap_usd="5")))
    assert (high.at_most_usd, high.fits) == (high.forecast.worst_usd, True)


def test_a_cap_of_exactly_what_is_expected_fits() -> None:
    expected = of(a_brief()).expected_usd
    assert estimate(of(a_brief()).model_copy(update={"cap_usd": expected})).fits
    assert not estimate(of(a_brief()).model_copy(update={"cap_usd": expected - Decimal("0.000000001")})).fits


def test_a_model_without_a_price_is_named_before_anything_starts() -> None:
    with pytest.raises(BadInputError, match=f"no price is known for {MINI}, which the .* step asks") as caught:
        forecast(a_brief(), StepSettings(), {SONAR: PRICES[SONAR]})
    assert "\n" not in str(caught.value)


def test_the_models_are_those_of_every_route() -> None:
    assert models_of(StepSettings()) == (SONAR, MINI)


def test_dearer_prices_make_a_dearer_forecast() -> None:
    dear = {**PRICES, MINI: price(MINI, "1.5", "6")}
    assert forecast(a_brief(), StepSettings(), dear).expected_usd > of(a_brief()).expected_usd


# Keyword data and embeddings -----------------------------------------------------------------------------------------

SITE, SUGGESTIONS, DIFFICULTY = (
    f"dataforseo/{name}" for name in ("keywords_for_site", "keyword_suggestions", "bulk_keyword_difficulty")
)
EMBEDDING = "openai/text-embedding-3-small"
ALL_PRICES = {
    **PRICES,
    **{
        endpoint: price(endpoint, "0", "0", "0.01").model_copy(update={"usd_per_search": Decimal("0.0001")})
        for endpoint in (SITE, SUGGESTIONS, DIFFICULTY)
    },
    EMBEDDING: price(EMBEDDING, "0.02", "0"),
}


def with_data(**changes: Any) -> StepSettings:
    data = KeywordDataSettings(is_enabled=True, **changes)
    return StepSettings(competitor=CompetitorSettings(keyword_data=data))


def test_keyword_data_is_forecast_by_its_sites_phrases_and_rows() -> None:
    settings = with_data(endpoints=("keywords_for_site", "keyword_suggestions", "bulk_keyword_difficulty"))
    brief = a_brief(competitors=[f"https://c{number}.example" for number in range(4)])
    found = forecast(brief, settings, ALL_PRICES)
    lines = {line.model: line for line in found.lines if line.kind is CallKind.KEYWORD_DATA}
    assert {model: line.calls for model, line in lines.items()} == {SITE: 4, SUGGESTIONS: 2, DIFFICULTY: 1}
    assert lines[SITE].worst_usd == Decimal("0.02") * 4  # the hold that the database computes
    assert lines[SUGGESTIONS].worst_usd == Decimal("0.015") * 2
    assert lines[DIFFICULTY].worst_usd == Decimal("0.019")
    assert all(line.expected_usd < line.worst_usd < line.worst_with_repairs_usd for line in lines.values())
    without = forecast(brief, StepSettings(), ALL_PRICES)
    assert found.worst_usd - without.worst_usd == sum(line.worst_usd for line in lines.values())
    assert found.article_expected_usd == without.article_expected_usd


def test_keyword_data_is_no_line_where_there_is_no_account_or_no_market() -> None:
    assert CallKind.KEYWORD_DATA not in {line.kind for line in of(a_brief()).lines}
    no_market = forecast(a_brief(country="DE", locale="en-US"), with_data(), ALL_PRICES)
    assert CallKind.KEYWORD_DATA not in {line.kind for line in no_market.lines}


def test_an_endpoint_without_a_price_is_named() -> None:
    with pytest.raises(BadInputError, match=f"no price is known for {SITE}, which the competitor step asks"):
        forecast(a_brief(), with_data(), PRICES)


def test_paid_embeddings_are_forecast_and_local_ones_cost_nothing() -> None:
    paid = with_embeddings(StepSettings(), Embeddings.PROVIDER, EMBEDDING)
    [line] = [line for line in forecast(a_brief(), paid, ALL_PRICES).lines if line.kind is CallKind.EMBEDDINGS]
    assert (line.step, line.model, line.calls) == ("clustering", EMBEDDING, 2)
    assert 0 < line.expected_usd < line.worst_usd < Decimal("0.001")
    local = with_embeddings(StepSettings(), Embeddings.LOCAL, "some local model")
    assert CallKind.EMBEDDINGS not in {one.kind for one in forecast(a_brief(), local, PRICES).lines}


def test_paid_embeddings_may_be_asked_again_as_often_as_the_settings_allow() -> None:
    paid = with_embeddings(StepSettings(spend=SpendSettings(repairs_max=3)), Embeddings.PROVIDER, EMBEDDING)
    [line] = [line for line in forecast(a_brief(), paid, ALL_PRICES).lines if line.kind is CallKind.EMBEDDINGS]
    assert line.worst_with_repairs_usd == 4 * line.worst_usd


def test_the_models_are_those_of_every_call() -> None:
    both = with_embeddings(with_data(), Embeddings.PROVIDER, EMBEDDING)
    assert models_of(both) == (SONAR, MINI, SITE, DIFFICULTY, EMBEDDING)


def test_a_cap_below_the_forecast_is_said_and_no_bound_below_it() -> None:
    figures = dict.fromkeys(("worst_usd", "worst_with_repairs_usd", "article_worst_usd"), Decimal("0.31"))
    expected = dict.fromkeys(("expected_usd", "article_expected_usd"), Decimal("0.0632"))
    low = Forecast(lines=(), articles=1, cap_usd=Decimal("0.001"), **figures, **expected)
    assert forecast_words(estimate(low)) == "forecast $0.0632, the cap of $0.0010 ends it earlier"
    assert "more is expected ($0.0632) than the cap allows ($0.0010)" in over_cap_words(estimate(low))
    enough = low.model_copy(update={"cap_usd": Decimal(1)})
    assert forecast_words(estimate(enough)) == "forecast $0.0632, at most $0.31"
    a_trifle_more = enough.model_copy(update={"worst_usd": Decimal("0.310000001")})
    assert forecast_words(estimate(a_trifle_more)) == "forecast $0.0632, at most $0.3101"


@pytest.mark.parametrize(
    ("allowed", "scope", "allowed_usd", "words", "remedy"),
    [
        (room("0"), CapScope.PLAN, "0.00", "the plan small, which allows a run nothing", "--workflow-cap USD"),
        (room(None), CapScope.PLAN, "0.00", "the plan small, which allows a run nothing", "--workflow-cap USD"),
        (room(month_cap="1", spent="0.99"), CapScope.MONTH, "0.01", "the $0.01 left of the", "wait for the next month"),
        (room(month_cap="1", spent="2"), CapScope.MONTH, "0.00", "the $0.00 left of the", "--month-cap USD"),
        (room(month_cap=None), CapScope.MONTH, "0.00", "the $0.00 left of the", "--month-cap USD"),
        (
            room(month_frozen_reason="ada: look"),
            CapScope.MONTH,
            "0.00",
            "left of the",
            "the month is frozen (ada: look)",
        ),
    ],
)
def test_the_least_cap_binds_and_is_named(
    allowed: SpendingRoom, scope: CapScope, allowed_usd: str, words: str, remedy: str
) -> None:
    found = estimate(of(a_brief(cap_usd="1")), allowed)
    assert found.forecast.expected_usd > found.allowed_usd == Decimal(allowed_usd)
    assert words in forecast_words(found)
    assert words in over_cap_words(found)
    assert remedy in over_cap_words(found)
    told = forecast_object(found)
    assert told["binding_cap"] == {"scope": scope, "allowed_usd": allowed_usd}
    assert (told["fits"], told["at_most_usd"]) == (False, allowed_usd)


def test_what_a_run_spent_itself_is_not_counted_against_it() -> None:
    assert room(month_cap="1", spent="0.9", own_usd="0.7").month_left_usd == Decimal("0.8")


@pytest.mark.parametrize("name", sorted(RUNS))
def test_the_cells_of_the_table_add_up_to_the_sum_that_is_shown(name: str) -> None:
    found = of(shipped(name))
    *cells, sums = amount_columns([*found.lines, found])
    for column, exact in enumerate((found.expected_usd, found.worst_usd, found.worst_with_repairs_usd)):
        shown = [row[column] for row in (*cells, sums)]
        assert sum(map(Decimal, shown[:-1])) == Decimal(shown[-1]) == exact
        assert len({len(text.partition(".")[2]) for text in shown}) == 1
