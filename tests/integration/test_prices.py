"""Dated prices: added from a file, ended by the next, kept once used; and every booked cost recomputed from them."""

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from db import prices, reconciliation
from db.prices import AddedPrice, PriceOutcome
from domain.errors import BadInputError, ConfigurationError
from domain.prices import RATES, NewPrice, parse_prices
from domain.spend import ProviderAnswer
from domain.states import State
from tests.conftest import MakeWorkflow, TenantDatabase
from tests.integration.money_cases import (
    DROPPED,
    MINI,
    NOT_BILLED,
    SONAR,
    Till,
    an_answer,
    an_ask,
    assert_books_balance,
    chat,
)

NOBODY = UUID(int=0)


@pytest.fixture
async def till(database: TenantDatabase, make_workflow: MakeWorkflow) -> Till:
    return Till(database.app, await make_workflow(State.ICP_PROCESSING))


def a_price(model: str = "acme/one", rate: str = "1", since: datetime | None = None, **more: object) -> NewPrice:
    rates = {"input_usd_per_million": rate, "cached_input_usd_per_million": rate, "output_usd_per_million": rate}
    return NewPrice.model_validate({"model": model, **rates, "effective_from": since, **more})


async def added(database: TenantDatabase, *new: NewPrice) -> list[AddedPrice]:
    async with database.operator.transaction(NOBODY) as connection:
        return [await prices.add_price(connection, price, actor="ops") for price in new]


async def in_an_hour(database: TenantDatabase, hours: int = 1) -> datetime:
    now: datetime = await database.admin.fetchval("SELECT now()")
    return now.astimezone(UTC) + timedelta(hours=hours)


async def listed(database: TenantDatabase, model: str) -> list[prices.PriceRow]:
    async with database.operator.reading() as connection:
        return [price for price in await prices.list_prices(connection) if price.model == model]


# Adding ----------------------------------------------------------------------------------------------------------


async def test_a_later_price_ends_the_one_that_runs(database: TenantDatabase) -> None:
    soon, later = await in_an_hour(database), await in_an_hour(database, 2)
    [first] = await added(database, a_price(MINI, "0.30", soon))
    assert (first.outcome, first.effective_from, first.effective_until) == (PriceOutcome.ADDED, soon, None)
    [second] = await added(database, a_price(MINI, "0.40", later))
    assert second.ended_price_id == first.price_id
    rows = await listed(database, MINI)
    assert [(row.effective_until, row.is_in_force) for row in rows] == [(soon, True), (later, False), (None, False)]
    assert rows[0].price_id == first.ended_price_id
    between = soon + timedelta(minutes=30)
    [third] = await added(database, a_price(MINI, "0.35", between))
    assert (third.ended_price_id, third.effective_until) == (first.price_id, later)
    history = await database.admin.fetch("SELECT action, actor FROM price_changes ORDER BY at")
    assert [(row["action"], row["actor"]) for row in history] == [("ended", "ops"), ("added", "ops")] * 3


async def test_the_same_price_again_changes_nothing(database: TenantDatabase) -> None:
    soon = await in_an_hour(database)
    [first] = await added(database, a_price(since=soon))
    [again] = await added(database, a_price(since=soon))
    assert (again.price_id, again.outcome) == (first.price_id, PriceOutcome.EXISTING)
    await added(database, a_price("acme/two"))
    [running] = await added(database, a_price("acme/two"))
    assert running.outcome is PriceOutcome.EXISTING
    assert len(await listed(database, "acme/two")) == 1


@pytest.mark.parametrize("rate", RATES)
async def test_a_price_with_one_other_rate_is_another_price(database: TenantDatabase, rate: str) -> None:
    soon = await in_an_hour(database)
    [first] = await added(database, a_price(since=soon))
    [second] = await added(database, a_price(since=soon, **{rate: "0.7"}))
    assert (second.outcome, second.price_id == first.price_id) == (PriceOutcome.REPLACED, False)


async def test_a_price_is_not_replaced_in_the_minute_before_its_time(database: TenantDatabase) -> None:
    """A worker's clock may be ahead of the database's."""
    soon = await in_an_hour(database) - timedelta(minutes=59, seconds=15)
    await added(database, a_price(since=soon))
    with pytest.raises(BadInputError, match="in force or used: choose a later time"):
        await added(database, a_price(since=soon, rate="2"))


async def test_a_planned_price_is_replaced_and_one_in_force_is_not(database: TenantDatabase, till: Till) -> None:
    soon = await in_an_hour(database)
    await added(database, a_price(MINI, "0.30", soon))
    [replaced] = await added(database, a_price(MINI, "0.20", soon))
    assert replaced.outcome is PriceOutcome.REPLACED
    assert [row.input_usd_per_million for row in await listed(database, MINI)] == [Decimal("0.15"), Decimal("0.20")]
    await till.authorize(an_ask(till.workflow))
    with pytest.raises(
        BadInputError, match=r"openai/gpt-4o-mini has another price from 2025-01-01 .* in force or used"
    ):
        await added(database, a_price(MINI, "0.01", datetime(2025, 1, 1, tzinfo=UTC)))
    with pytest.raises(BadInputError, match="effective_from 2025-06-01 00:00:00 UTC is past, choose a time to come"):
        await added(database, a_price(MINI, "0.01", datetime(2025, 6, 1, tzinfo=UTC)))
    # A row that something points at stays, whatever its date.
    await database.admin.execute("SET session_replication_role = replica; UPDATE spend_attempts SET price_id = "
                                 f"'{replaced.price_id}'")  # fmt: skip
    with pytest.raises(BadInputError, match="in force or used: choose a later time"):
        await added(database, a_price(MINI, "0.50", soon))


async def test_a_file_is_taken_whole_or_not_at_all(database: TenantDatabase) -> None:
    past = datetime(2025, 6, 1, tzinfo=UTC)
    with pytest.raises(BadInputError):
        await added(database, a_price("acme/one"), a_price(SONAR, "2", past))
    assert await listed(database, "acme/one") == []


async def test_many_who_add_at_once_leave_no_overlap(database: TenantDatabase) -> None:
    soon = await in_an_hour(database)
    dates = [soon + timedelta(minutes=minute) for minute in range(12)]
    random.Random(7).shuffle(dates)
    rates = [f"0.{number}" for number in range(1, 13)]
    await asyncio.gather(*(added(database, a_price(MINI, rate, date)) for rate, date in zip(rates, dates, strict=True)))
    rows = await listed(database, MINI)
    assert [row.effective_until for row in rows[:-1]] == [row.effective_from for row in rows[1:]]
    assert rows[-1].effective_until is None


async def test_aliases_are_added_and_never_moved(database: TenantDatabase) -> None:
    [new] = await added(database, a_price("acme/one", aliases=("one", "one-2026")))
    assert new.aliases_added == ("one", "one-2026")
    [again] = await added(database, a_price("acme/one", aliases=("one", "uno")))
    assert again.aliases_added == ("uno",)
    async with database.app.reading() as connection:
        price = await prices.price_of(connection, "uno")
    assert price is not None
    assert price.model == "acme/one"
    for model, alias, why in (
        ("acme/one", "sonar", "sonar stands for perplexity/sonar already"),
        ("acme/one", MINI, "has prices of its own"),
    ):
        with pytest.raises(BadInputError, match=why):
            await added(database, a_price(model, aliases=(alias,)))
    with pytest.raises(BadInputError, match="sonar is an alias of perplexity/sonar: give the price to that name"):
        await added(database, a_price("sonar"))


async def test_only_the_operator_adds_prices(database: TenantDatabase) -> None:
    async with database.app.transaction(NOBODY) as connection:
        with pytest.raises(ConfigurationError, match="permission denied"):
            await prices.add_price(connection, a_price(), actor="app")
    async with database.app.transaction(NOBODY) as connection:
        with pytest.raises(ConfigurationError, match="permission denied"):
            await prices.add_alias(connection, "x", MINI, actor="app")


async def test_a_new_price_binds_the_next_call_and_marks_itself_used(database: TenantDatabase, till: Till) -> None:
    first = await till.sent(an_ask(till.workflow, 1))
    await added(database, a_price(MINI, "10"))
    assert [row.is_used for row in await listed(database, MINI)] == [True, False]
    [second] = await till.authorize(an_ask(till.workflow, 2))
    assert [row.is_used for row in await listed(database, MINI)] == [True, True]
    assert second.hold_usd > (await till.load(first)).hold_usd


async def test_a_cost_is_computed_by_the_prices_of_its_authorization(database: TenantDatabase, till: Till) -> None:
    """Whichever model answered; a price that begins while the call is under way is for the next one."""
    own = await till.sent(an_ask(till.workflow, 1))
    other = await till.sent(an_ask(till.workflow, 2))
    await added(database, a_price(MINI, "10"), a_price(SONAR, "10", usd_per_request="0.5"))
    for attempt_id, model in ((own, MINI), (other, SONAR)):
        await till.store(attempt_id, an_answer(None, model=model))
    booked = [settlement.cost_usd for settlement in await till.settle(own, other)]
    assert booked == [Decimal("0.000021"), Decimal("0.00505")]  # 20 × 0.15 + 30 × 0.60; 50 × 1 and 5,000 a thousand


async def test_a_price_ends_at_the_moment_at_which_the_next_begins(database: TenantDatabase) -> None:
    soon = await in_an_hour(database)
    await added(database, a_price(MINI, "0.30", soon))
    async with database.app.reading() as connection:
        found = [await prices.price_of(connection, MINI, soon + timedelta(microseconds=step)) for step in (-1, 0)]
    assert [price and price.input_usd_per_million for price in found] == [Decimal("0.15"), Decimal("0.30")]
    at = "SELECT count(*) FROM model_prices AS price WHERE price.model = $1 AND price = price_at($1, $2)"
    assert await database.admin.fetchval(at, MINI, soon) == 1


# The file --------------------------------------------------------------------------------------------------------


def test_a_file_gives_its_rates_digit_by_digit() -> None:
    text = """
prices:
  - model: acme/one
    input_usd_per_million: 0.1
    output_usd_per_million: "0.600000001"
    usd_per_request: 0.005
    effective_from: 2026-03-01
    aliases: [one]
  - {model: acme/two, input_usd_per_million: "1", output_usd_per_million: "2"}
"""
    one, two = parse_prices(text, source="prices.yaml")
    assert (one.input_usd_per_million, one.cached_input_usd_per_million) == (Decimal("0.1"), Decimal("0.1"))
    assert (one.output_usd_per_million, one.usd_per_request) == (Decimal("0.600000001"), Decimal("0.005"))
    assert (one.effective_from, one.aliases) == (datetime(2026, 3, 1, tzinfo=UTC), ("one",))
    assert (two.effective_from, two.usd_per_request) == (None, 0)
    as_json = json.dumps({"model": "acme/two", "input_usd_per_million": 1, "output_usd_per_million": "2"})
    assert parse_prices(as_json, source="prices.json") == (two,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there are no prices in it"),
        ("[]", "there are no prices in it"),
        ("- 1", r"prices\[1\] is '1': it must be a group of fields"),
        ("- {model: a}", r"prices\[1\].input_usd_per_million is missing"),
        ("- {model: a, in: 1}", r"prices\[1\].in is not a field of a price"),
        ("- {model: a b, input_usd_per_million: 1, output_usd_per_million: 1}", "must be a model's name"),
        ("- {model: a, input_usd_per_million: -1, output_usd_per_million: 1}", "input_usd_per_million is '-1'"),
        ("- {model: a, input_usd_per_million: 1e-3, output_usd_per_million: 1}", "must be an amount of US dollars"),
        ("- {model: a, input_usd_per_million: NaN, output_usd_per_million: 1}", "must be an amount of US dollars"),
        (
            "- {model: a, input_usd_per_million: 1, output_usd_per_million: 1, usd_per_request: 99999999999}",
            r"usd_per_request is '99999999999': it is not credible; give US dollars per request, at most 100.00",
        ),
        (
            "- {model: a, input_usd_per_million: 1, output_usd_per_million: 10000.000000001}",
            "is not credible; give US dollars per million tokens, at most 10000.00",
        ),
        (
            "- {model: a, input_usd_per_million: 1, output_usd_per_million: 1, usd_per_search: 123456789012345}",
            "give US dollars per search, at most 100.00",
        ),
        ("- {model: a, input_usd_per_million: 0.0000000001, output_usd_per_million: 1}", "at most 9 decimals"),
        (
            "- {model: a, input_usd_per_million: 1, output_usd_per_million: 1, effective_from: 2026-01-01T10:00}",
            "a time with a zone",
        ),
        ("- {model: a, model: b}", "line 1, column 3: .* the field 'model' is given twice"),
        ("- [", "line 1, column 4: this is neither YAML nor JSON"),
        (
            "[{model: a, input_usd_per_million: 1, output_usd_per_million: 1},"
            " {model: a, input_usd_per_million: 2, output_usd_per_million: 1}]",
            "a stands in it twice",
        ),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        parse_prices(text, source="prices.yaml")
    assert str(caught.value).startswith("prices.yaml: ")
    assert "\n" not in str(caught.value)


# L21 -------------------------------------------------------------------------------------------------------------


async def book_every_kind(database: TenantDatabase, till: Till) -> None:
    """Ledger rows of every entry, at three prices, with and without the provider's figure, of unknown models too."""
    operator = till.using(database.operator)
    await till.paid(an_ask(till.workflow, 1), an_answer(None, prompt_tokens=101, completion_tokens=7, cached_tokens=33))
    await till.paid(an_ask(till.workflow, 2), an_answer("0.0002", prompt_tokens=20, completion_tokens=3))
    await till.paid(an_ask(till.workflow, 3, request=chat(SONAR)), an_answer(None, model="sonar", prompt_tokens=17))
    await till.paid(an_ask(till.workflow, 4), an_answer(None, model="acme/nobody-knows"))
    await till.store(await till.sent(an_ask(till.workflow, 5)), NOT_BILLED)
    for ask, answer in ((6, None), (7, an_answer(None, prompt_tokens=9)), (8, NOT_BILLED)):
        attempt_id = await till.sent(an_ask(till.workflow, ask))
        await till.store(attempt_id, DROPPED)
        await operator.write_off(attempt_id)
        if answer is not None:
            await till.store(attempt_id, answer)
    await added(database, a_price(MINI, "0.7", usd_per_request="0.001"))
    dear = await till.paid(an_ask(till.workflow, 9), an_answer(None, prompt_tokens=11, completion_tokens=13))
    async with database.operator.transaction(till.organization_id) as connection:
        await reconciliation.correct_ledger(
            connection,
            till.organization_id,
            original=dear,
            key=uuid4(),
            amount_usd=Decimal("-0.0001"),
            reason="refund",
            actor="ops",
        )


async def test_L21_every_booked_cost_is_recomputed_from_its_usage_and_its_price(
    database: TenantDatabase, till: Till
) -> None:
    await book_every_kind(database, till)
    await assert_books_balance(database.admin)
    async with database.operator.reading() as connection:
        rows = await prices.recompute(connection)
        of_workflow = await prices.recompute(connection, workflow_id=till.workflow.workflow_id)
        by_number = await prices.recompute(connection, ledger_key=rows[0].ledger_id)
        by_key = await prices.recompute(connection, ledger_key=rows[0].idempotency_key)
        assert await prices.recompute(connection, ledger_key=uuid4()) == []
    assert {row.entry for row in rows} == {"usage", "not_billed", "write_off", "correction"}
    assert [row for row in rows if not row.is_equal] == []
    assert [rows[0]] == by_number == by_key
    assert rows == of_workflow
    recomputed = [row for row in rows if row.recomputed_usd is not None]
    assert len(recomputed) == 5  # usage with a price, and the late answer's correction
    assert len({row.price.price_id for row in recomputed if row.price}) == 3
    assert rows[0].recomputed_usd == Decimal("0.000016875")  # 68 × 0.15 + 33 × 0.075 + 7 × 0.60 per million
    # SQL, which booked, says the same of the same rows.
    other = await database.admin.fetch(
        """
        SELECT ledger.id FROM ai_usage_ledger AS ledger JOIN model_prices AS price USING (price_id)
        WHERE computed_cost_usd IS DISTINCT FROM usage_cost(price, jsonb_build_object('prompt_tokens', prompt_tokens,
            'cached_tokens', cached_tokens, 'completion_tokens', completion_tokens, 'searches', searches))
            AND computed_cost_usd IS NOT NULL
        """
    )
    assert other == []


async def test_L21_a_row_that_was_tampered_with_is_found(database: TenantDatabase, till: Till) -> None:
    await till.paid(an_ask(till.workflow, 1), an_answer(None))
    await till.paid(an_ask(till.workflow, 2), an_answer(None))
    await database.admin.execute(
        "SET session_replication_role = replica;"
        "UPDATE ai_usage_ledger SET completion_tokens = completion_tokens + 1"
        " WHERE id = (SELECT min(id) FROM ai_usage_ledger)"
    )
    async with database.operator.reading() as connection:
        rows = await prices.recompute(connection)
    assert [row.is_equal for row in rows] == [False, True]


async def test_L21_an_attempt_names_its_row_and_the_corrections_of_it(database: TenantDatabase, till: Till) -> None:
    await till.paid(an_ask(till.workflow, 1))
    attempt_id = await till.sent(an_ask(till.workflow, 2))
    await till.store(attempt_id, DROPPED)
    await till.using(database.operator).write_off(attempt_id)
    await till.store(attempt_id, an_answer(None))
    async with database.operator.reading() as connection:
        rows = await prices.recompute(connection, ledger_key=attempt_id)
    assert [row.entry for row in rows] == ["write_off", "correction"]


async def test_L21_random_usage_recomputes_to_the_nano_dollar(database: TenantDatabase, till: Till) -> None:
    chance = random.Random(20_260_301)
    for ask in range(1, 25):
        asked = chance.choice([MINI, SONAR])
        answer: ProviderAnswer = an_answer(
            chance.choice([None, None, "0.000123457"]),
            prompt_tokens=chance.randrange(0, 60),
            cached_tokens=chance.randrange(0, 80),
            completion_tokens=chance.randrange(0, 900),
            model=chance.choice([asked, "gpt-4o-mini-2024-07-18" if asked == MINI else "sonar"]),
        )
        await till.paid(an_ask(till.workflow, ask, request=chat(asked)), answer)
    async with database.operator.reading() as connection:
        rows = await prices.recompute(connection)
    assert len(rows) == 24
    assert all(row.is_equal and row.recomputed_usd is not None for row in rows)


async def test_L20_one_organization_recomputes_its_own_rows_only(
    database: TenantDatabase, till: Till, make_workflow: MakeWorkflow
) -> None:
    other = Till(database.app, await make_workflow(State.ICP_PROCESSING, domain="ledgerpilot.example"))
    await till.paid(an_ask(till.workflow))
    await other.paid(an_ask(other.workflow))
    async with database.app.transaction(till.organization_id) as connection:
        rows = await prices.recompute(connection)
        assert await prices.recompute(connection, workflow_id=other.workflow.workflow_id) == []
    assert {row.workflow_id for row in rows} == {till.workflow.workflow_id}
