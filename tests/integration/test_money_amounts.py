"""The database's arithmetic is the code's, to the nano-dollar."""

import random
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from db import spend
from domain.money import ModelPrice, Usage, computed_cost, format_usd, prompt_token_bound, usd
from domain.spend import ProviderRequest, request_hold
from domain.states import State
from tests.conftest import MakeWorkflow, TenantDatabase
from tests.integration.money_cases import MINI, SONAR, Till, an_answer, an_ask, assert_books_balance, chat


def a_price(chance: random.Random) -> ModelPrice:
    def rate(at_most: int) -> Decimal:
        return Decimal(chance.randint(0, at_most)).scaleb(-chance.choice([0, 3, 9]))

    return ModelPrice(
        price_id=uuid4(), model="m", input_usd_per_million=rate(10**9), cached_input_usd_per_million=rate(10**9),
        output_usd_per_million=rate(10**9), usd_per_request=rate(10**6), usd_per_search=rate(10**6),
    )  # fmt: skip


def a_usage(chance: random.Random) -> Usage:
    def count() -> int:
        return chance.choice([0, 1, chance.randint(0, 10**4), chance.randint(0, 10**7)])

    return Usage(prompt_tokens=count(), completion_tokens=count(), cached_tokens=count(), searches=chance.randint(0, 3))


PRICE = """ROW($1::uuid, $2::text, $3::numeric, $4::numeric, $5::numeric, $6::numeric, $7::numeric, now(), NULL)
    ::model_prices"""


def row_of(price: ModelPrice) -> tuple[object, ...]:
    return (
        price.price_id, price.model, price.input_usd_per_million, price.cached_input_usd_per_million,
        price.output_usd_per_million, price.usd_per_request, price.usd_per_search,
    )  # fmt: skip


async def test_L11_holds_and_costs_are_the_same_in_sql_and_in_code(database: TenantDatabase) -> None:
    chance = random.Random(20250101)
    async with database.admin.connection() as connection:
        for _ in range(400):
            price, usage = a_price(chance), a_usage(chance)
            text = "".join(chance.choices('aé語😀\n"', k=chance.randint(0, 400)))
            request = ProviderRequest(
                model="m", path="/", body=text, messages=chance.randint(0, 30),
                max_tokens=chance.randint(0, 10**5), searches=usage.searches,
            )  # fmt: skip
            row = await connection.fetchrow(
                f"SELECT request_hold({PRICE}, $8, $9, $10, $11) AS hold, usage_cost({PRICE}, $12) AS cost",
                *row_of(price),
                request.body,
                request.messages,
                request.max_tokens,
                request.searches,
                usage.model_dump(mode="json"),
            )
            assert row["hold"] == request_hold(price, request)
            assert row["cost"] == computed_cost(price, usage)


async def test_L11_one_rounding_rule_in_sql_and_in_code(database: TenantDatabase) -> None:
    amounts = "0 0.0000000001 0.000000001 0.0000000011 1.9999999999 123456789.123456789 -0.0000000001 3 0.5 10 0.10"
    async with database.admin.connection() as connection:
        for text in [*amounts.split(), "99999999999.999999999"]:
            row = await connection.fetchrow("SELECT round_up_usd($1) AS up, usd_text($1) AS text", Decimal(text))
            assert row["up"] == usd(text)
            assert row["text"] == format_usd(Decimal(text))


async def test_L2_no_usage_within_a_requests_limits_costs_more_than_its_hold(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    """Through the whole core: books balance, no overrun, nothing frozen."""
    chance = random.Random(7)
    till = Till(database.app, await make_workflow(State.ICP_PROCESSING, cap_usd=Decimal(40)))
    for ask in range(1, 41):
        model = chance.choice([MINI, SONAR])
        request = chat(model, max_tokens=chance.randint(1, 5000), text="é語😀 x" * chance.randint(1, 200))
        attempt_id = await till.sent(an_ask(till.workflow, ask, request=request, slot_hash=str(ask)))
        prompt_tokens = chance.choice([0, 1, prompt_token_bound(request.body_bytes, 1)])
        answer = an_answer(
            None,
            model=model,
            prompt_tokens=prompt_tokens,
            completion_tokens=chance.choice([0, request.max_tokens]),
            cached_tokens=chance.choice([0, prompt_tokens]),
        )
        await till.store(attempt_id, answer)
        [settlement] = await till.settle(attempt_id)
        assert settlement.cost_usd <= (await till.load(attempt_id)).hold_usd
    counters = await till.counters()
    assert (counters.overrun_usd, counters.frozen_reason, counters.held_usd) == (0, None, 0)
    await assert_books_balance(database.admin)


async def test_L21_every_row_recomputed_from_its_usage_and_price_gives_its_computed_cost(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    for ask, model in enumerate([MINI, SONAR, "gpt-4o-mini-2024-07-18", "sonar"], start=1):
        await till.paid(
            an_ask(till.workflow, ask, request=chat(model)),
            an_answer(None, model=model, prompt_tokens=100 * ask, completion_tokens=7, cached_tokens=33),
        )
    async with database.app.transaction(till.organization_id) as connection:
        rows = await connection.fetch(
            """
            SELECT computed_cost_usd, usage_cost(price, jsonb_build_object('prompt_tokens', prompt_tokens,
                'cached_tokens', cached_tokens, 'completion_tokens', completion_tokens, 'searches', searches))
                AS recomputed
            FROM ai_usage_ledger JOIN model_prices AS price USING (price_id)
            """
        )
    assert len(rows) == 4
    assert all(row["computed_cost_usd"] == row["recomputed"] > 0 for row in rows)


@pytest.mark.parametrize("cost_usd", ["0.0000000001", "0.00000000099"])
async def test_L11_a_bill_finer_than_a_nano_dollar_rounds_up(
    database: TenantDatabase, make_workflow: MakeWorkflow, cost_usd: str
) -> None:
    till = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    attempt_id: UUID = await till.sent(an_ask(till.workflow))
    await till.store(attempt_id, an_answer(cost_usd))
    await till.settle(attempt_id)
    assert (await till.counters()).spent_usd == Decimal("0.000000001")
    async with database.app.transaction(till.organization_id) as connection:
        assert (await spend.ledger_lines(connection))[0].provider_cost_usd == Decimal("0.000000001")
