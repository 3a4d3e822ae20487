"""Plans bind new authorizations, alerts are written once, and near its cap a run asks the cheaper model."""

import asyncio
import json
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import pytest

from activities.icp import build_icp_request
from activities.spend import AuthorizeCalls, SpendActivities
from db import plans
from db.spend import decisions
from db.workflows import create_workflow
from domain.brief import Brief, brief_from_mapping, normalized
from domain.errors import BadInputError, ConfigurationError, IdempotencyConflictError
from domain.icp import brief_passages, build_request
from domain.plans import Plan, PlanChange, SpendAlert, parse_plan_amount, parse_plan_cap, parse_plan_key
from domain.progress import CallKind, CallSpec, ClaimRef, Slot
from domain.settings import SpendSettings, StepSettings
from domain.spend import AskRoute, AttemptState, DecisionKind, NewAttempt, ProviderRequest, ask_route, with_model
from domain.states import State, Step
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase, legal_path, new_workflow, walk
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
HOLD = Decimal("0.0006288")  # of chat()


@pytest.fixture
async def till(database: TenantDatabase, make_workflow: MakeWorkflow) -> Till:
    return Till(database.app, await make_workflow(State.ICP_PROCESSING))


async def a_till(database: TenantDatabase, make_workflow: MakeWorkflow, cap_usd: Decimal) -> Till:
    return Till(database.app, await make_workflow(State.ICP_PROCESSING, cap_usd=cap_usd))


async def set_plan(database: TenantDatabase, key: str, decision_id: UUID | None = None, **change: str | None) -> Plan:
    async with database.operator.transaction(NOBODY) as connection:
        return await plans.set_plan(
            connection, key, PlanChange.model_validate(change), decision_id=decision_id or uuid4(), actor="ops"
        )


async def assign(database: TenantDatabase, organization_id: UUID, key: str, decision_id: UUID | None = None) -> str:
    async with database.operator.transaction(organization_id) as connection:
        return await plans.assign_plan(
            connection, organization_id, key, decision_id=decision_id or uuid4(), actor="ops"
        )


async def alerts_of(database: TenantDatabase, **of: UUID) -> list[SpendAlert]:
    """The oldest first."""
    async with database.operator.reading() as connection:
        return (await plans.list_alerts(connection, **of))[::-1]


def thresholds(alerts: list[SpendAlert], *, of_month: bool = False) -> list[int]:
    return [alert.threshold_percent for alert in alerts if (alert.month is not None) is of_month]


async def raise_cap(database: TenantDatabase, till: Till, cap_usd: Decimal) -> None:
    async with database.app.transaction(till.organization_id) as connection:
        await connection.execute(
            "SELECT raise_workflow_cap($1, $2, $3, $4, 'ops')",
            till.workflow.workflow_id, till.organization_id, cap_usd, uuid4(),
        )  # fmt: skip


# Plans -----------------------------------------------------------------------------------------------------------


async def test_a_plan_is_made_changed_and_audited(database: TenantDatabase) -> None:
    made = await set_plan(database, "pro", month_cap_usd="100", price_usd_per_month="49")
    assert (made.workflow_cap_usd, made.month_cap_usd, made.price_usd_per_month) == (None, Decimal(100), Decimal(49))
    await set_plan(database, "pro", workflow_cap_usd="2")
    await set_plan(database, "pro", workflow_cap_usd="2.00")  # as it is
    await set_plan(database, "pro", month_cap_usd=None)
    async with database.operator.reading() as connection:
        [default, pro] = await plans.list_plans(connection)
        history = await plans.plan_history(connection, "pro")
    assert (default.plan_key, default.month_cap_usd) == ("default", Decimal(50))
    assert (pro.workflow_cap_usd, pro.month_cap_usd, pro.price_usd_per_month) == (Decimal(2), None, Decimal(49))
    assert [change.is_new for change in history] == [True, False, False]
    assert [change.to_month_cap_usd for change in history] == [Decimal(100), Decimal(100), None]
    assert {change.actor for change in history} == {"ops"}
    async with database.admin.connection() as connection:
        for statement in ("UPDATE plan_changes SET actor = 'x'", "DELETE FROM plan_changes"):
            with pytest.raises(Exception, match="append-only"):
                await connection.execute(statement)


async def test_the_same_decision_changes_a_plan_once(database: TenantDatabase) -> None:
    decision = uuid4()
    await set_plan(database, "pro", decision, month_cap_usd="100")
    await set_plan(database, "pro", month_cap_usd="200")
    again = await set_plan(database, "pro", decision, month_cap_usd="100")
    assert again.month_cap_usd == Decimal(200)
    with pytest.raises(IdempotencyConflictError, match="changed the plan pro already"):
        await set_plan(database, "other", decision, month_cap_usd="1")


async def test_an_organization_gets_a_plan_and_the_audit_says_who_gave_it(database: TenantDatabase, till: Till) -> None:
    await set_plan(database, "pro", month_cap_usd="100")
    decision = uuid4()
    assert await assign(database, till.organization_id, "pro", decision) == "default"
    assert await assign(database, till.organization_id, "pro", decision) == "default"  # again: the first result
    assert await assign(database, till.organization_id, "pro") == "pro"
    rows = await database.admin.fetch("SELECT from_plan_key, to_plan_key, actor FROM organization_plan_changes")
    assert [tuple(row) for row in rows] == [("default", "pro", "ops")]
    with pytest.raises(BadInputError, match="there is no plan gold"):
        await assign(database, till.organization_id, "gold")
    with pytest.raises(BadInputError, match="does not exist"):
        await assign(database, uuid4(), "pro")
    async with database.operator.transaction(uuid4()) as connection:  # another tenant's transaction
        with pytest.raises(BadInputError, match="does not exist"):
            await plans.assign_plan(connection, till.organization_id, "pro", decision_id=uuid4(), actor="ops")


async def test_only_the_operator_changes_plans(database: TenantDatabase, till: Till) -> None:
    async with database.app.transaction(till.organization_id) as connection:
        with pytest.raises(ConfigurationError, match="permission denied"):
            await plans.set_plan(connection, "pro", PlanChange(), decision_id=uuid4(), actor="app")
    async with database.app.transaction(till.organization_id) as connection:
        with pytest.raises(ConfigurationError, match="permission denied"):
            await plans.assign_plan(connection, till.organization_id, "default", decision_id=uuid4(), actor="app")


async def test_L13_a_plan_change_binds_the_next_authorization_and_nothing_before(
    database: TenantDatabase, till: Till
) -> None:
    first = await till.sent(an_ask(till.workflow, 1))
    for refusing in ("0", None):
        await set_plan(database, "default", month_cap_usd=refusing)
        [refused] = await till.authorize(an_ask(till.workflow, 2 if refusing else 3))
        assert refused.kind is DecisionKind.REFUSED
        assert refused.refusal is not None
        assert refused.refusal.scope == "month"
    await set_plan(database, "default", month_cap_usd="0.0001")  # below what is held
    await till.store(first, an_answer())
    await till.settle(first)
    [after] = await till.authorize(an_ask(till.workflow, 4))
    assert after.kind is DecisionKind.REFUSED
    await set_plan(database, "default", month_cap_usd="50")
    [allowed] = await till.authorize(an_ask(till.workflow, 5))
    assert allowed.kind is DecisionKind.AUTHORIZED
    await assert_books_balance(database.admin)


async def test_a_plan_that_changes_during_authorizations_breaks_none(database: TenantDatabase, till: Till) -> None:
    """Each is decided and booked by one reading of its plan: refused or authorized, never an error."""

    async def flip() -> None:
        for turn in range(20):
            await set_plan(database, "default", month_cap_usd="0.004" if turn % 2 else "50")

    asks = [an_ask(till.workflow, 1, slot=f"icp:{number}") for number in range(60)]
    _, *decided = await asyncio.gather(flip(), *(till.authorize(ask) for ask in asks))
    assert {decision.kind for [decision] in decided} <= {DecisionKind.AUTHORIZED, DecisionKind.REFUSED}
    held = await database.admin.fetchval("SELECT held_usd FROM organization_months")
    assert held == HOLD * sum(decision.kind is DecisionKind.AUTHORIZED for [decision] in decided)


def test_amounts_of_a_plan_are_read_exactly() -> None:
    assert parse_plan_cap("none", "--month-cap") is None
    assert parse_plan_cap("0", "--month-cap") == 0
    assert parse_plan_amount("$49.90", "--price") == Decimal("49.90")
    for text in ("-1", "NaN", "Infinity", "1e9", "0.0000000001", "ten", ""):
        with pytest.raises(BadInputError, match="--price is"):
            parse_plan_amount(text, "--price")
    for key in ("Pro", "", "a b", "-x", "x" * 51):
        with pytest.raises(BadInputError, match="small letters"):
            parse_plan_key(key)


# Alerts ----------------------------------------------------------------------------------------------------------


async def test_an_alert_is_written_once_by_the_authorization_that_crosses(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = await a_till(database, make_workflow, 10 * HOLD)
    for number in range(10):
        await till.authorize(an_ask(till.workflow, slot=f"icp:{number}"))
        expected = [50] * (number >= 4) + [80] * (number >= 7) + [100] * (number >= 9)
        assert thresholds(await alerts_of(database)) == expected
    at_50, at_80, at_100 = await alerts_of(database)
    assert [alert.held_usd for alert in (at_50, at_80, at_100)] == [5 * HOLD, 8 * HOLD, 10 * HOLD]
    assert at_50.attempt_id == an_ask(till.workflow, slot="icp:4").attempt_id
    assert not at_100.is_refusal
    assert (at_50.workflow_id, at_50.workflow_name) == (till.workflow.workflow_id, till.workflow.name)
    await till.authorize(an_ask(till.workflow, slot="icp:refused"))
    assert thresholds(await alerts_of(database)) == [50, 80, 100]


async def test_a_refusal_is_the_alert_of_100_percent(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    till = await a_till(database, make_workflow, HOLD * Decimal("1.4"))
    await till.authorize(an_ask(till.workflow, slot="icp:1"))
    assert thresholds(await alerts_of(database)) == [50]
    for _ in range(2):
        await till.authorize(an_ask(till.workflow, slot="icp:2"))
    *_, last = await alerts_of(database)
    assert (last.threshold_percent, last.is_refusal, last.held_usd) == (100, True, HOLD)
    assert thresholds(await alerts_of(database)) == [50, 100]


async def test_a_refusal_by_one_scope_is_no_alert_of_the_other(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = await a_till(database, make_workflow, HOLD / 2)
    await till.authorize(an_ask(till.workflow, slot="icp:1"))
    assert thresholds(await alerts_of(database)) == [100]
    assert thresholds(await alerts_of(database), of_month=True) == []
    await set_plan(database, "default", month_cap_usd=f"{HOLD / 2:f}")
    other = await a_till(database, make_workflow, 100 * HOLD)
    await other.authorize(an_ask(other.workflow, slot="icp:1"))
    assert thresholds(await alerts_of(database), of_month=True) == [100]
    assert await alerts_of(database, workflow_id=other.workflow.workflow_id) == []


async def test_each_raise_of_a_cap_is_a_round_of_its_own(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    till = await a_till(database, make_workflow, 2 * HOLD)
    for cap in (4, 6, 8):
        await till.authorize(an_ask(till.workflow, slot=f"icp:{cap}"))
        await raise_cap(database, till, cap * HOLD)
    alerts = await alerts_of(database)
    assert [(alert.threshold_percent, alert.round) for alert in alerts] == [(50, 1), (50, 2), (50, 3)]


async def test_a_refused_transaction_leaves_no_alert(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    till = await a_till(database, make_workflow, HOLD)
    lost = an_ask(till.workflow, slot="icp:2", claim=till.workflow.version - 1)
    with pytest.raises(Exception, match="is lost"):
        await till.authorize(an_ask(till.workflow, slot="icp:1"), lost)
    assert await alerts_of(database) == []


async def test_100_concurrent_authorizations_write_each_alert_once(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    await set_plan(database, "default", month_cap_usd=f"{80 * HOLD:f}")
    tills = [await a_till(database, make_workflow, 50 * HOLD) for _ in range(2)]  # of one organization
    asks = [(till, an_ask(till.workflow, slot=f"icp:{number}")) for number in range(50) for till in tills]
    await asyncio.gather(*(till.authorize(ask) for till, ask in asks))
    alerts = await alerts_of(database)
    assert thresholds(alerts, of_month=True) == [50, 80, 100]
    for till in tills:
        own = await alerts_of(database, workflow_id=till.workflow.workflow_id)
        counters = await till.counters()
        reached = [percent for percent in (50, 80, 100) if counters.held_usd * 100 >= percent * counters.cap_usd]
        assert thresholds(own) == reached
        for alert in own:  # by the very authorization that crossed
            assert alert.held_usd * 100 >= alert.threshold_percent * alert.cap_usd
            assert (alert.held_usd - HOLD) * 100 < alert.threshold_percent * alert.cap_usd
    at_50, at_80, at_100 = [alert for alert in alerts if alert.month is not None]
    assert (at_50.held_usd, at_80.held_usd, at_100.held_usd) == (40 * HOLD, 64 * HOLD, 80 * HOLD)
    await assert_books_balance(database.admin)


async def test_a_raised_cap_arms_its_alerts_again_and_a_lowered_one_does_not(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = await a_till(database, make_workflow, 10 * HOLD)
    for number in range(8):
        await till.authorize(an_ask(till.workflow, slot=f"icp:{number}"))
    assert thresholds(await alerts_of(database)) == [50, 80]
    await raise_cap(database, till, 20 * HOLD)
    await till.authorize(an_ask(till.workflow, slot="icp:8"))  # 9 of 20: below
    assert thresholds(await alerts_of(database)) == [50, 80]
    for number in range(9, 16):
        await till.authorize(an_ask(till.workflow, slot=f"icp:{number}"))
    alerts = await alerts_of(database)
    assert [(alert.threshold_percent, alert.round) for alert in alerts] == [(50, 1), (80, 1), (50, 2), (80, 2)]

    await set_plan(database, "default", month_cap_usd=f"{32 * HOLD:f}")
    await till.authorize(an_ask(till.workflow, slot="icp:16"))
    await set_plan(database, "default", month_cap_usd=f"{30 * HOLD:f}")
    await till.authorize(an_ask(till.workflow, slot="icp:17"))
    assert thresholds(await alerts_of(database), of_month=True) == [50]
    await set_plan(database, "default", month_cap_usd=f"{33 * HOLD:f}")
    await till.authorize(an_ask(till.workflow, slot="icp:18"))
    assert thresholds(await alerts_of(database), of_month=True) == [50, 50]


async def test_a_cap_that_was_lowered_and_raised_again_arms_its_alerts(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = await a_till(database, make_workflow, 10 * HOLD)
    await till.authorize(*[an_ask(till.workflow, slot=f"icp:{number}") for number in range(5)])
    await database.admin.execute("UPDATE intent_workflows SET cap_usd = $1", 8 * HOLD)
    await till.authorize(*[an_ask(till.workflow, slot=f"icp:{number}") for number in (5, 6)])
    await raise_cap(database, till, 10 * HOLD)
    await till.authorize(an_ask(till.workflow, slot="icp:7"))
    alerts = await alerts_of(database)
    assert [(alert.threshold_percent, alert.round) for alert in alerts] == [(50, 1), (80, 1), (50, 2), (80, 2)]


async def test_alerts_of_one_organization_are_its_own_for_the_operator_too(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    tills = [
        Till(database.app, await make_workflow(State.ICP_PROCESSING, domain=f"{name}.example", cap_usd=HOLD))
        for name in ("one", "two")
    ]
    for till in tills:
        await till.authorize(an_ask(till.workflow))
    assert len(await alerts_of(database)) == 6
    own = await alerts_of(database, organization_id=tills[0].organization_id)
    assert [alert.domain for alert in own] == ["one.example"] * 3


async def test_released_holds_do_not_arm_an_alert_again(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    till = await a_till(database, make_workflow, 2 * HOLD)
    for ask in (1, 2, 3):
        await till.store(await till.sent(an_ask(till.workflow, ask)), NOT_BILLED)
    assert thresholds(await alerts_of(database)) == [50]


async def test_an_overrun_is_an_alert_of_its_settlement(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    till = await a_till(database, make_workflow, 10 * HOLD)
    attempt_id = await till.sent(an_ask(till.workflow))
    await till.store(attempt_id, an_answer(9 * HOLD))
    assert await alerts_of(database) == []
    await till.settle(attempt_id)
    alerts = await alerts_of(database)
    assert [(alert.threshold_percent, alert.spent_usd, alert.held_usd) for alert in alerts] == [
        (50, 9 * HOLD, 0),
        (80, 9 * HOLD, 0),
    ]
    await till.settle(attempt_id)
    assert len(await alerts_of(database)) == 2


async def test_a_scope_without_a_cap_gives_no_alerts(database: TenantDatabase, till: Till) -> None:
    await set_plan(database, "default", month_cap_usd="0", workflow_cap_usd=None)
    await till.authorize(an_ask(till.workflow))
    assert await alerts_of(database) == []


async def test_L19_L20_alerts_are_kept_and_are_their_organizations_own(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = await a_till(database, make_workflow, HOLD)
    await till.authorize(an_ask(till.workflow))
    other = await make_workflow(State.ICP_PROCESSING, domain="ledgerpilot.example")
    async with database.app.transaction(other.organization_id) as connection:
        assert await plans.list_alerts(connection) == []
    async with database.app.transaction(till.organization_id) as connection:
        assert thresholds(await plans.list_alerts(connection)) == [100, 80, 50]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM spend_alerts")
    async with database.admin.connection() as connection:
        with pytest.raises(Exception, match="append-only"):
            await connection.execute("UPDATE spend_alerts SET threshold_percent = 50")


# Auto-downgrade --------------------------------------------------------------------------------------------------

ROUTE = (SONAR, MINI)
SONAR_HOLD = Decimal("0.00619")  # of chat(SONAR)


def routed(
    workflow: MadeWorkflow,
    ask: int = 1,
    *,
    slot: str = "icp",
    model: str = SONAR,
    models: tuple[str, ...] = ROUTE,
    share: float = 0.8,
) -> NewAttempt:
    request = chat(model)
    plain = an_ask(workflow, ask, slot=slot, request=request)
    return plain.model_copy(update={"route": ask_route(request, models, share)})


async def downgrades(till: Till) -> list[tuple[str, str | None]]:
    async with till.database.transaction(till.organization_id) as connection:
        rows = await connection.fetch(
            "SELECT model, downgraded_from FROM spend_attempts ORDER BY authorized_at, slot, ask"
        )
    return [(row["model"], row["downgraded_from"]) for row in rows]


async def test_past_its_share_of_the_cap_an_ask_goes_to_the_cheaper_model(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = await a_till(database, make_workflow, SONAR_HOLD * 2)
    [dear] = await till.authorize(routed(till.workflow, slot="a", share=0.5))
    [cheap] = await till.authorize(routed(till.workflow, slot="b", share=0.5))
    assert (dear.model, dear.hold_usd) == (SONAR, SONAR_HOLD)
    assert cheap.kind is DecisionKind.AUTHORIZED
    assert cheap.model == MINI
    assert await downgrades(till) == [(SONAR, None), (MINI, SONAR)]
    stored = await till.load(cheap.attempt_id)
    assert json.loads(stored.request_body) == json.loads(chat(MINI).body)  # what is sent, and what the hold is for
    assert cheap.hold_usd < HOLD + Decimal("0.00001")
    await till.dispatch(cheap.attempt_id)
    await till.store(cheap.attempt_id, an_answer(None))
    await till.settle(cheap.attempt_id)
    await assert_books_balance(database.admin)


async def test_the_same_uuid_is_downgraded_or_not_as_it_was_at_first(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = await a_till(database, make_workflow, SONAR_HOLD * 2)
    await till.authorize(routed(till.workflow, slot="a", share=0.5))
    [cheap] = await till.authorize(routed(till.workflow, slot="b", share=0.5))
    await raise_cap(database, till, SONAR_HOLD * 100)
    assert await till.authorize(routed(till.workflow, slot="b", share=0.5)) == [cheap]
    async with database.app.transaction(till.organization_id) as connection:
        assert await decisions(connection, [cheap.attempt_id]) == {cheap.attempt_id: cheap}
    [dear] = await till.authorize(routed(till.workflow, slot="a", share=0.0))
    assert dear.model == SONAR
    with pytest.raises(Exception, match="what was authorized never changes"):
        await database.admin.execute("UPDATE spend_attempts SET downgraded_from = NULL")


async def test_within_a_batch_each_ask_sees_those_before_it(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = await a_till(database, make_workflow, SONAR_HOLD * 10)
    batch = [routed(till.workflow, slot=f"slot-{number:02}") for number in range(11)]
    decided = await till.authorize(*batch)
    assert [decision.model for decision in decided] == [SONAR] * 8 + [MINI] * 3
    assert {decision.kind for decision in decided} == {DecisionKind.AUTHORIZED}


async def test_concurrent_asks_at_the_edge_are_downgraded_from_the_very_one_that_is_past_it(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = await a_till(database, make_workflow, SONAR_HOLD * 10)
    asks = [routed(till.workflow, slot=f"slot-{number}") for number in range(100)]
    decided = [decision for [decision] in await asyncio.gather(*(till.authorize(ask) for ask in asks))]
    allowed = [decision for decision in decided if decision.kind is DecisionKind.AUTHORIZED]
    assert sum(decision.model == SONAR for decision in allowed) == 8
    cheap = [decision for decision in allowed if decision.model == MINI]
    left = SONAR_HOLD * 2
    assert len(cheap) == int(left // cheap[0].hold_usd)  # not a cent of the cap is lost to the order
    refused = [decision for decision in decided if decision.kind is DecisionKind.REFUSED]
    assert {decision.model for decision in refused} == {MINI}
    assert (await till.counters()).held_usd <= SONAR_HOLD * 10
    assert thresholds(await alerts_of(database)) == [50, 80, 100]
    await assert_books_balance(database.admin)


async def test_a_route_that_was_turned_falls_back_to_its_other_model(database: TenantDatabase, till: Till) -> None:
    """The run names its models in the route's own order; the slot asks them in the order of price, each in turn."""
    for ask, named in ((1, SONAR), (2, MINI), (3, SONAR)):
        await till.authorize(routed(till.workflow, ask, model=named, share=0.0 if ask == 1 else 0.8))
    assert await downgrades(till) == [(MINI, SONAR), (SONAR, None), (MINI, SONAR)]


async def test_a_slot_that_began_dear_is_not_sent_back_to_a_dearer_model(database: TenantDatabase, till: Till) -> None:
    await till.authorize(routed(till.workflow, 1, share=2.0))
    await till.authorize(routed(till.workflow, 2, model=MINI, share=0.0))
    await till.authorize(routed(till.workflow, 3, share=0.0))
    assert await downgrades(till) == [(SONAR, None), (MINI, None), (MINI, SONAR)]


async def test_a_turned_slot_turns_no_other_and_no_later_claim(database: TenantDatabase, till: Till) -> None:
    await till.authorize(routed(till.workflow, slot="a", share=0.0))
    await till.authorize(routed(till.workflow, slot="b"))
    async with database.app.transaction(till.organization_id) as connection:
        later = await walk(connection, till.workflow, [State.ICP_FAILED, State.ICP_PROCESSING])
    await till.at(later).authorize(routed(later, slot="a"))
    assert await downgrades(till) == [(MINI, SONAR), (SONAR, None), (SONAR, None)]


async def test_what_was_spent_counts_to_the_share_as_what_is_held(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = await a_till(database, make_workflow, SONAR_HOLD * 4)
    paid = an_ask(till.workflow, slot="paid", request=chat(SONAR))
    await till.paid(paid, an_answer(SONAR_HOLD, model=SONAR))
    await till.authorize(routed(till.workflow, slot="a", share=0.5))
    await till.authorize(routed(till.workflow, slot="b", share=0.5))  # half of it, spent and held together
    assert (await downgrades(till))[1:] == [(SONAR, None), (MINI, SONAR)]


async def test_a_dearer_or_unpriced_model_never_takes_the_place(database: TenantDatabase, till: Till) -> None:
    for slot, models in (("a", (MINI, SONAR)), ("b", (MINI, "acme/unpriced")), ("c", (MINI, "gpt-4o-mini"))):
        await till.authorize(routed(till.workflow, slot=slot, model=MINI, models=models, share=0.0))
    assert await downgrades(till) == [(MINI, None)] * 3
    [unpriced] = await till.authorize(
        routed(till.workflow, slot="d", model="acme/unpriced", models=("acme/unpriced", MINI), share=0.0)
    )
    assert unpriced.kind is DecisionKind.REFUSED
    assert unpriced.refusal is not None
    assert unpriced.refusal.scope == "price"


async def test_a_downgraded_answer_of_unknown_cost_is_written_off_at_its_own_hold(
    database: TenantDatabase, till: Till
) -> None:
    [decision] = await till.authorize(routed(till.workflow, share=0.0))
    await till.dispatch(decision.attempt_id)
    await till.store(decision.attempt_id, DROPPED)
    settlement = await till.using(database.operator).write_off(decision.attempt_id)
    assert settlement.cost_usd == decision.hold_usd < SONAR_HOLD
    assert (await till.load(decision.attempt_id)).state is AttemptState.WRITTEN_OFF


def test_a_request_to_another_model_differs_by_its_name_alone() -> None:
    brief = brief_of("a.example")
    passages, route = brief_passages(brief), StepSettings().icp.route
    dear, cheap = (build_request(brief, passages, route=route, model=model) for model in ROUTE)
    assert with_model(dear, MINI) == cheap
    assert ask_route(dear, (SONAR,), 0.8) is None
    assert ask_route(dear, (MINI, "acme/one"), 0.8) is None


async def test_a_route_whose_requests_allow_more_is_refused(till: Till) -> None:
    ask = routed(till.workflow)
    larger: ProviderRequest = chat(MINI, max_tokens=2000)
    bad = AskRoute(requests=(ask.request, larger), downgrade_share=Decimal("0.8"))
    with pytest.raises(BadInputError, match=f"the request to {MINI} differs from that to {SONAR}"):
        await till.authorize(ask.model_copy(update={"route": bad}))


@pytest.mark.parametrize("more", [{"path": "/completions"}, {"messages": 2}, {"searches": 1}])
async def test_a_route_whose_requests_state_other_bounds_is_refused(till: Till, more: dict[str, object]) -> None:
    ask = routed(till.workflow)
    other = chat(MINI).model_copy(update=more)
    bad = AskRoute(requests=(ask.request, other), downgrade_share=Decimal("0.8"))
    with pytest.raises(BadInputError, match="differs from that to"):
        await till.authorize(ask.model_copy(update={"route": bad}))


def brief_of(domain: str) -> Brief:
    description = "It sells software that matches invoices to orders for controllers at mid-size distributors " * 3
    organization = {"name": "A", "url": f"https://{domain}", "description": description}
    return brief_from_mapping({"organization": organization})


@pytest.mark.parametrize(("share", "model", "instead_of"), [(0.0, MINI, SONAR), (0.8, SONAR, None)])
async def test_the_activity_authorizes_by_the_settings_stored_with_the_workflow(
    database: TenantDatabase, share: float, model: str, instead_of: str | None
) -> None:
    brief = brief_of("harborline.example")
    settings = StepSettings(spend=SpendSettings(downgrade_share=share))
    new = new_workflow().model_copy(update={"brief": normalized(brief), "settings": settings.model_dump(mode="json")})
    async with database.app.transaction(new.organization_id) as connection:
        await create_workflow(connection, new)
        created = MadeWorkflow(new.workflow_id, new.organization_id, name=new.name)
        workflow = await walk(connection, created, legal_path(State.ICP_PROCESSING))
    activities = SpendActivities(database.app, {CallKind.ICP: build_icp_request})
    claim = ClaimRef(
        workflow_id=workflow.workflow_id,
        organization_id=workflow.organization_id,
        step=Step.ICP,
        claim=workflow.version,
    )
    call = CallSpec(slot=Slot(kind=CallKind.ICP), ask=1, model=SONAR)
    [decision] = await activities.authorize(AuthorizeCalls(claim=claim, calls=(call,)))
    assert await activities.authorize(AuthorizeCalls(claim=claim, calls=(call,))) == [decision]
    till = Till(database.app, workflow)
    assert decision.model == model
    assert await downgrades(till) == [(model, instead_of)]
    wanted = build_request(brief, brief_passages(brief), route=settings.icp.route, model=model)
    assert (await till.load(decision.attempt_id)).request_body == wanted.body
