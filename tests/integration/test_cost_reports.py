"""Costs by every key, estimate against actual, waste, the dearest runs, margin, and drift."""

import json
from datetime import date
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from db import cost_reports, plans
from db.cost_reports import DriftKind, WasteKind
from db.workflows import create_workflow
from domain.plans import PlanChange
from domain.settings import StepSettings
from domain.spend import CostKey
from domain.states import State
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase, legal_path, new_workflow, walk
from tests.integration.money_cases import (
    DROPPED,
    MINI,
    NOT_BILLED,
    SONAR,
    Till,
    an_answer,
    an_ask,
    chat,
)

HOLD = Decimal("0.0006288")  # of chat()
SONAR_HOLD = Decimal("0.00619")
NOBODY = UUID(int=0)


@pytest.fixture
async def till(database: TenantDatabase, make_workflow: MakeWorkflow) -> Till:
    return Till(database.app, await make_workflow(State.ICP_PROCESSING))


@pytest.fixture
async def other(database: TenantDatabase, make_workflow: MakeWorkflow) -> Till:
    return Till(database.app, await make_workflow(State.ICP_PROCESSING, domain="ledgerpilot.example"))


async def this_month(database: TenantDatabase) -> date:
    month: date = await database.admin.fetchval("SELECT spend_month(now())")
    return month


async def cancel(database: TenantDatabase, till: Till) -> None:
    async with database.app.transaction(till.organization_id) as connection:
        await walk(connection, till.workflow, [State.CANCELLED])


# By every key ----------------------------------------------------------------------------------------------------


async def test_costs_by_step_and_model_with_the_estimate_beside_the_actual(
    database: TenantDatabase, till: Till, other: Till
) -> None:
    await till.paid(an_ask(till.workflow, 1), an_answer("0.0001"))
    await till.paid(an_ask(till.workflow, 2), an_answer("0.0003", prompt_tokens=7, cached_tokens=3))
    await other.paid(an_ask(other.workflow, 1, request=chat(SONAR)), an_answer("0.005", model="sonar"))
    await other.authorize(an_ask(other.workflow, 2))  # not booked: neither estimate nor actual
    async with database.operator.reading() as connection:
        [sonar, mini] = await cost_reports.cost_breakdown(connection, [CostKey.MODEL])
        [everything] = await cost_reports.cost_breakdown(connection, [])
        by_all = await cost_reports.cost_breakdown(connection, list(CostKey))
        [own] = await cost_reports.cost_breakdown(connection, [CostKey.STEP], workflow_id=till.workflow.workflow_id)
        assert await cost_reports.cost_breakdown(connection, [], month=date(2020, 1, 1)) == []
    assert (mini.model, mini.attempts, mini.cost_usd, mini.hold_usd) == (MINI, 2, Decimal("0.0004"), 2 * HOLD)
    assert (mini.prompt_tokens, mini.cached_tokens, mini.completion_tokens) == (27, 3, 60)
    assert (sonar.model, sonar.cost_usd, sonar.hold_usd) == (SONAR, Decimal("0.005"), SONAR_HOLD)
    assert sonar.actual_share == Decimal("0.005") / SONAR_HOLD
    assert everything.cost_usd == Decimal("0.0054")
    assert len(by_all) == 2
    assert by_all[0].organization == "ledgerpilot.example"
    assert by_all[0].month == await this_month(database)
    assert (own.step, own.cost_usd) == ("icp", Decimal("0.0004"))


async def test_an_estimate_counts_once_where_a_booking_was_corrected(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    await till.store(attempt_id, DROPPED)
    await till.using(database.operator).write_off(attempt_id)
    await till.store(attempt_id, an_answer("0.0001"))
    async with database.operator.reading() as connection:
        [line] = await cost_reports.cost_breakdown(connection, [CostKey.WORKFLOW])
    assert (line.attempts, line.hold_usd, line.cost_usd) == (1, HOLD, Decimal("0.0001"))


async def test_L20_reports_of_a_tenant_hold_its_own_rows_only(
    database: TenantDatabase, till: Till, other: Till
) -> None:
    await till.paid(an_ask(till.workflow), an_answer("0.0001"))
    await other.paid(an_ask(other.workflow), an_answer("0.0004", prompt_tokens=1))
    await other.reject(an_ask(other.workflow).attempt_id)
    async with database.app.transaction(till.organization_id) as connection:
        [line] = await cost_reports.cost_breakdown(connection, [CostKey.ORGANIZATION])
        waste = await cost_reports.wasted_spend(connection)
        [top] = await cost_reports.top_workflows(connection, 10)
        margins = await cost_reports.margins(connection)
        drifts = await cost_reports.drift_records(connection)
    assert (line.organization_id, line.cost_usd) == (till.organization_id, Decimal("0.0001"))
    assert (waste.cost_usd, waste.spent_usd) == (0, Decimal("0.0001"))
    assert top.workflow_id == till.workflow.workflow_id
    assert {margin.organization_id for margin in margins} == {till.organization_id}
    assert {drift.workflow_id for drift in drifts} == {till.workflow.workflow_id}


# Waste -----------------------------------------------------------------------------------------------------------


async def test_every_wasted_call_is_counted_once_and_useful_ones_are_not(
    database: TenantDatabase, till: Till, make_workflow: MakeWorkflow
) -> None:
    operator = till.using(database.operator)
    await till.paid(an_ask(till.workflow, 1), an_answer("0.0001"))
    rejected = await till.paid(an_ask(till.workflow, 2), an_answer("0.0002"))
    await till.reject(rejected)
    written_off = await till.sent(an_ask(till.workflow, 3))
    await till.store(written_off, DROPPED)
    await operator.write_off(written_off)
    await till.store(await till.sent(an_ask(till.workflow, 4)), DROPPED)
    late = await till.sent(an_ask(till.workflow, 5))
    await till.store(late, DROPPED)
    await till.store(late, an_answer("0.0004"))
    await till.store(await till.sent(an_ask(till.workflow, 6)), NOT_BILLED)
    ended = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    await ended.paid(an_ask(ended.workflow, 1), an_answer("0.0005"))
    await ended.reject(await ended.paid(an_ask(ended.workflow, 2), an_answer("0.0006")))
    await cancel(database, ended)

    async with database.operator.reading() as connection:
        waste = await cost_reports.wasted_spend(connection)
        of_one = await cost_reports.wasted_spend(connection, workflow_id=till.workflow.workflow_id)
        ledger = await connection.fetchval("SELECT sum(cost) FROM ai_usage_ledger")
    found = {line.kind: (line.attempts, line.cost_usd, line.held_usd) for line in waste.lines}
    assert found == {
        WasteKind.WRITTEN_OFF: (1, HOLD, 0),
        WasteKind.REJECTED: (2, Decimal("0.0008"), 0),
        WasteKind.LATE: (1, Decimal("0.0004"), 0),
        WasteKind.CANCELLED: (1, Decimal("0.0005"), 0),
        WasteKind.UNKNOWN: (1, 0, HOLD),
    }
    assert waste.spent_usd == ledger == waste.cost_usd + Decimal("0.0001")
    assert waste.share == waste.cost_usd / waste.spent_usd
    assert of_one.cost_usd == waste.cost_usd - Decimal("0.0011")


async def test_a_late_answer_that_was_handed_out_again_is_not_wasted(database: TenantDatabase, till: Till) -> None:
    late = await till.sent(an_ask(till.workflow))
    await till.store(late, DROPPED)
    await till.store(late, an_answer("0.0004"))
    async with database.app.transaction(till.organization_id) as connection:
        again = await walk(connection, till.workflow, [State.ICP_FAILED, State.ICP_PROCESSING])
    [decision] = await till.at(again).authorize(an_ask(again))
    assert decision.attempt_id == late
    async with database.operator.reading() as connection:
        assert (await cost_reports.wasted_spend(connection)).cost_usd == 0


async def test_nothing_spent_is_nothing_wasted(database: TenantDatabase) -> None:
    async with database.operator.reading() as connection:
        waste = await cost_reports.wasted_spend(connection)
        assert await cost_reports.top_workflows(connection, 5) == []
        assert await cost_reports.drift_records(connection) == []
    assert (waste.cost_usd, waste.share, len(waste.lines)) == (0, 0, len(WasteKind))


# Top -------------------------------------------------------------------------------------------------------------


async def test_the_dearest_workflows_come_first(database: TenantDatabase, till: Till, other: Till) -> None:
    await till.paid(an_ask(till.workflow), an_answer("0.0001"))
    await other.paid(an_ask(other.workflow), an_answer("0.0002"))
    async with database.operator.reading() as connection:
        top = await cost_reports.top_workflows(connection, 10)
        assert await cost_reports.top_workflows(connection, 1) == top[:1]
        assert await cost_reports.top_workflows(connection, 10, month=date(2020, 1, 1)) == []
    assert [one.workflow_id for one in top] == [other.workflow.workflow_id, till.workflow.workflow_id]
    assert (top[0].organization, top[0].attempts, top[0].hold_usd) == ("ledgerpilot.example", 1, HOLD)
    assert top[0].cost_per_article_usd is None


async def test_an_articles_cost_is_shared_by_those_that_passed(database: TenantDatabase, till: Till) -> None:
    await till.paid(an_ask(till.workflow), an_answer("0.0003"))
    for position, accepted_revision in enumerate((1, 2, None)):
        await database.admin.execute(
            """
            INSERT INTO articles (article_id, workflow_id, organization_id, cluster_id, position, keyword, role, state,
                accepted_revision)
            VALUES ($1, $2, $3, $4, $5, $6, 'spoke', 'FAILED', $7)
            """,
            uuid4(), till.workflow.workflow_id, till.organization_id, NOBODY, position, f"keyword {position}",
            accepted_revision,
        )  # fmt: skip
    async with database.operator.reading() as connection:
        [top] = await cost_reports.top_workflows(connection, 1)
    assert (top.articles_passed, top.cost_per_article_usd) == (2, Decimal("0.00015"))


# Margin ----------------------------------------------------------------------------------------------------------


async def test_a_margin_is_the_plans_price_less_the_months_cost(
    database: TenantDatabase, till: Till, other: Till
) -> None:
    await till.paid(an_ask(till.workflow), an_answer("0.0001"))
    async with database.operator.transaction(NOBODY) as connection:
        change = PlanChange(month_cap_usd=Decimal(50), price_usd_per_month=Decimal("49"))
        await plans.set_plan(connection, "pro", change, decision_id=uuid4(), actor="ops")
    async with database.operator.transaction(till.organization_id) as connection:
        await plans.assign_plan(connection, till.organization_id, "pro", decision_id=uuid4(), actor="ops")
    async with database.operator.reading() as connection:
        margins = await cost_reports.margins(connection)
    assert [(one.organization, one.plan_key, one.margin_usd) for one in margins] == [
        ("ledgerpilot.example", "default", 0),
        ("harborline.example", "pro", Decimal("48.9999")),
    ]


async def test_a_change_of_today_rewrites_no_past_month(database: TenantDatabase, till: Till) -> None:
    """The organization began two months ago on the plan default, free then; both changed today."""
    await till.paid(an_ask(till.workflow), an_answer("0.0001"))
    await database.admin.execute("UPDATE organizations SET created_at = created_at - interval '2 months'")
    async with database.operator.transaction(NOBODY) as connection:
        for key, price in (("default", "10"), ("pro", "49")):
            change = PlanChange(month_cap_usd=Decimal(50), price_usd_per_month=Decimal(price))
            await plans.set_plan(connection, key, change, decision_id=uuid4(), actor="ops")
    async with database.operator.transaction(till.organization_id) as connection:
        await plans.assign_plan(connection, till.organization_id, "pro", decision_id=uuid4(), actor="ops")
    async with database.operator.reading() as connection:
        margins = await cost_reports.margins(connection)
        [now] = await cost_reports.margins(connection, month=await this_month(database))
    assert [(one.plan_key, one.price_usd, one.cost_usd) for one in margins] == [
        ("pro", Decimal(49), Decimal("0.0001")),
        ("default", 0, 0),
        ("default", 0, 0),
    ]
    assert now == margins[0]


async def test_of_several_changes_in_a_month_the_last_one_counts(database: TenantDatabase, till: Till) -> None:
    for key, price in (("pro", "10"), ("basic", "20"), ("basic", "30"), ("basic", "49")):
        async with database.operator.transaction(NOBODY) as connection:
            change = PlanChange(month_cap_usd=Decimal(50), price_usd_per_month=Decimal(price))
            await plans.set_plan(connection, key, change, decision_id=uuid4(), actor="ops")
    for key in ("pro", "basic"):
        async with database.operator.transaction(till.organization_id) as connection:
            await plans.assign_plan(connection, till.organization_id, key, decision_id=uuid4(), actor="ops")
    async with database.operator.reading() as connection:
        [margin] = await cost_reports.margins(connection)
    assert (margin.plan_key, margin.margin_usd) == ("basic", 49)


# L14 -------------------------------------------------------------------------------------------------------------


async def with_route(database: TenantDatabase, models: tuple[str, ...]) -> Till:
    """A workflow whose stored settings route its first step to these models."""
    settings = StepSettings().model_dump(mode="json")
    settings["icp"]["route"]["models"] = list(models)
    new = new_workflow().model_copy(update={"settings": settings})
    async with database.app.transaction(new.organization_id) as connection:
        await create_workflow(connection, new)
        created = MadeWorkflow(new.workflow_id, new.organization_id, name=new.name)
        return Till(database.app, await walk(connection, created, legal_path(State.ICP_PROCESSING)))


async def test_L14_both_costs_are_stored_and_a_drift_beyond_the_tolerance_is_a_record(
    database: TenantDatabase, till: Till
) -> None:
    computed = Decimal("0.000156")  # 40 × 0.15 + 250 × 0.60 per million
    for ask, provider in enumerate(("0.000156", "0.0001575", "0.00016", "0.0001", None), start=1):
        answer = an_answer(provider, prompt_tokens=40, completion_tokens=250)
        await till.paid(an_ask(till.workflow, ask), answer)
    lines = await till.ledger()
    assert [line.computed_cost_usd for line in lines] == [computed] * 5
    assert [line.provider_cost_usd for line in lines][-1] is None
    assert [line.cost for line in lines][-1] == computed
    async with database.operator.reading() as connection:
        drifts = await cost_reports.drift_records(connection)
        strict = await cost_reports.drift_records(connection, share_max=Decimal(0), usd_max=Decimal(0))
        lax = await cost_reports.drift_records(connection, share_max=Decimal(1))
    assert [(one.kind, one.drift_usd) for one in drifts] == [
        (DriftKind.COST, Decimal("-0.000056")),
        (DriftKind.COST, Decimal("0.000004")),
    ]
    assert (drifts[0].provider_cost_usd, drifts[0].computed_cost_usd) == (Decimal("0.0001"), computed)
    assert len(strict) == 3
    assert lax == []


async def test_L14_an_answer_from_a_model_outside_the_route_is_a_drift_record(database: TenantDatabase) -> None:
    till = await with_route(database, (SONAR, "gpt-4o-mini"))
    # An alias of what was asked, another model of the route (which names it by an alias), and a stranger.
    answered = ("sonar", "gpt-4o-mini-2024-07-18", "acme/stranger")
    *_, stranger = [
        await till.paid(an_ask(till.workflow, ask, request=chat(SONAR)), an_answer(None, model=model))
        for ask, model in enumerate(answered, start=1)
    ]
    async with database.operator.reading() as connection:
        drifts = await cost_reports.drift_records(connection, workflow_id=till.workflow.workflow_id)
    [drift] = [one for one in drifts if one.kind is DriftKind.MODEL]
    assert (drift.idempotency_key, drift.asked_model, drift.answered_model) == (stranger, SONAR, "acme/stranger")
    assert drift.cost_usd == SONAR_HOLD
    assert drift.computed_cost_usd is None


async def test_L14_outlines_and_sections_are_held_to_their_own_routes(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = Till(database.app, await make_workflow(State.ARTICLE_PROCESSING))
    routes = {"outline_route": {"models": ["acme/outlines"]}, "section_route": {"models": ["acme/sections"]}}
    await database.admin.execute(
        "SET session_replication_role = replica; UPDATE intent_workflows SET settings = "
        f"'{json.dumps({'article': routes})}'"
    )
    for slot in ("article:1:outline", "article:1:section:1"):
        for ask, model in enumerate(("acme/outlines", "acme/sections"), start=1):
            attempt = an_ask(till.workflow, ask, slot=slot, step="article")
            await till.paid(attempt, an_answer("0.0001", model=model))
    async with database.operator.reading() as connection:
        drifts = await cost_reports.drift_records(connection)
    assert {(one.slot, one.answered_model) for one in drifts if one.kind is DriftKind.MODEL} == {
        ("article:1:outline", "acme/sections"),
        ("article:1:section:1", "acme/outlines"),
    }
