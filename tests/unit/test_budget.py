"""The slice that the cap does not cover, and what an article costs by the prices that are shipped."""

from decimal import Decimal

import pytest

from domain.brief import brief_from_mapping
from domain.budget import MARGIN, Unfinished, budget_slice
from domain.forecast import forecast
from domain.settings import StepSettings
from tests.unit.test_forecast import PRICES

EACH, HOLD = Decimal("0.0128"), Decimal("0.0523")


def slice_of(articles: int, *, taken: str = "0.0237", cap: str = "0.07", paid: str = "0") -> Decimal:
    found = budget_slice(
        [Unfinished(paid_usd=Decimal(paid))] * articles,
        expected_usd=EACH,
        hold_usd=HOLD,
        taken_usd=Decimal(taken),
        cap_usd=Decimal(cap),
    )
    assert found is not None
    assert found.articles == articles
    assert found.cap_usd == found.cap_usd.quantize(Decimal("0.01"))
    return found.cap_usd


def test_nothing_unfinished_is_no_slice() -> None:
    assert budget_slice([], expected_usd=EACH, hold_usd=HOLD, taken_usd=EACH, cap_usd=HOLD) is None


@pytest.mark.parametrize("articles", [1, 2, 5, 20])
def test_the_cap_named_lets_the_last_article_begin(articles: int) -> None:
    """Each article is begun only while its whole hold fits below the cap."""
    left = slice_of(articles) - Decimal("0.0237") - (articles - 1) * EACH
    assert left >= HOLD


def test_the_cap_named_leaves_room_for_answers_that_are_asked_again() -> None:
    before_the_last = 19 * EACH * MARGIN
    left = slice_of(20) - Decimal("0.0237") - before_the_last
    assert HOLD <= left < HOLD + Decimal("0.01")


def test_the_cap_named_is_always_above_todays() -> None:
    assert slice_of(1, cap="5.00") == Decimal("5.01")


def test_words_say_how_many_and_how_much() -> None:
    parts = [Unfinished(), Unfinished(paid_usd=Decimal("0.0100")), Unfinished(paid_usd=Decimal("0.5"))]
    found = budget_slice(parts, expected_usd=EACH, hold_usd=HOLD, taken_usd=Decimal(0), cap_usd=Decimal(0))
    assert found is not None
    assert found.words == "3 articles, about $0.0169 more"
    one = budget_slice(parts[:1], expected_usd=EACH, hold_usd=HOLD, taken_usd=Decimal(0), cap_usd=Decimal(0))
    assert one is not None
    assert one.words == "1 article, about $0.0128 more"


@pytest.mark.parametrize("words", [600, 1200, 2400])
def test_an_article_stays_below_five_cents_at_the_default_routes_prices(words: int) -> None:
    """Expected, and also when every request and answer is as long as the settings allow where no answer is refused."""
    brief = brief_from_mapping(
        {
            "organization": {
                "name": "Harborline",
                "url": "https://harborline.example",
                "description": " ".join(["sells accounts payable automation to mid-size distributors"] * 4),
            },
            "articles": {"max": 3, "words": words},
        }
    )
    found = forecast(brief, StepSettings(), PRICES)
    assert found.article_expected_usd < Decimal("0.02")
    assert found.article_expected_usd < found.article_worst_usd
