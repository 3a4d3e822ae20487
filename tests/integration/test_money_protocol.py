"""The life of a paid call on a real Postgres: each invariant of the money core by its number."""

import asyncio
from datetime import date
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import pytest

from activities.state import cancel_row
from db import spend
from db.pool import Database
from db.transitions import lock_workflow
from db.workflows import raise_cap
from domain.errors import (
    BadInputError,
    ClaimLostError,
    DatabaseUnavailableError,
    IdempotencyConflictError,
)
from domain.money import usd
from domain.progress import WorkflowRef
from domain.spend import CostKey, DecisionKind, OutcomeKind
from domain.states import State
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase, walk
from tests.integration.money_cases import (
    DROPPED,
    MINI,
    NANO,
    NOT_BILLED,
    SONAR,
    Till,
    an_answer,
    an_ask,
    assert_books_balance,
    chat,
)


@pytest.fixture
async def till(database: TenantDatabase, make_workflow: MakeWorkflow) -> Till:
    return Till(database.app, await make_workflow(State.ICP_PROCESSING))


async def hold_of(till: Till, attempt_id: UUID) -> Decimal:
    return (await till.load(attempt_id)).hold_usd


async def moved(till: Till, *states: State) -> Till:
    """The till at the workflow after these transitions."""
    async with till.database.transaction(till.organization_id) as connection:
        return till.at(await walk(connection, till.workflow, list(states)))


# Authorize ---------------------------------------------------------------------------------------------------


async def test_L5_the_same_ask_gets_the_first_decision_again_without_being_rebuilt(till: Till) -> None:
    first = await till.authorize(an_ask(till.workflow))
    again = await till.authorize(an_ask(till.workflow, request=chat(text="another prompt"), slot_hash="other"))
    assert again == first
    assert (await till.load(first[0].attempt_id)).request_body == chat().body
    async with till.database.transaction(till.organization_id) as connection:
        assert await spend.decisions(connection, [first[0].attempt_id, uuid4()]) == {first[0].attempt_id: first[0]}


async def test_L5_a_uuid_that_is_not_of_its_ask_is_refused(till: Till) -> None:
    strange = an_ask(till.workflow).model_copy(update={"attempt_id": uuid4()})
    with pytest.raises(BadInputError, match="is not the UUID of step icp"):
        await till.authorize(strange)


@pytest.mark.parametrize("column", ["step", "slot", "claim", "ask"])
async def test_L5_one_uuid_for_another_ask_is_a_conflict(till: Till, column: str) -> None:
    """Through SQL, where Python's own check of the UUID does not stand before it."""
    facts = {
        "attempt_id": str(uuid4()), "step": "icp", "slot": "icp", "claim": till.workflow.version, "ask": 1,
        "slot_hash": "h", "model": MINI, "path": "/chat/completions", "request_body": "{}", "message_count": 1,
        "max_tokens": 1, "searches": 0,
    }  # fmt: skip
    other = {"step": "competitor", "slot": "other", "claim": till.workflow.version + 1, "ask": 2}[column]
    statement = "SELECT kind FROM authorize_attempts($1, $2, $3, 60, 60)"
    identity = (till.workflow.workflow_id, till.organization_id)
    async with till.database.transaction(till.organization_id) as connection:
        assert await connection.fetchval(statement, *identity, [facts]) == "AUTHORIZED"
    with pytest.raises(IdempotencyConflictError, match="was decided for step icp"):
        async with till.database.transaction(till.organization_id) as connection:
            await connection.fetchval(statement, *identity, [{**facts, column: other}])
    with pytest.raises(IdempotencyConflictError):  # the same ask under another UUID
        async with till.database.transaction(till.organization_id) as connection:
            await connection.fetchval(statement, *identity, [{**facts, "attempt_id": str(uuid4())}])


async def test_batch_is_decided_in_order_each_uuid_on_its_own(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    small, large = chat(max_tokens=100), chat(max_tokens=500_000)
    till = Till(database.app, await make_workflow(State.ICP_PROCESSING, cap_usd=Decimal("0.30")))
    asks = [
        an_ask(till.workflow, slot="a", request=small),
        an_ask(till.workflow, slot="b", request=large),
        an_ask(till.workflow, slot="c", request=large),
        an_ask(till.workflow, slot="d", request=small),
        an_ask(till.workflow, slot="a", request=small),
    ]
    decisions = await till.authorize(*asks)
    assert [decision.kind for decision in decisions] == ["AUTHORIZED", "REFUSED", "REFUSED", "AUTHORIZED", "AUTHORIZED"]
    assert decisions[4] == decisions[0]
    assert (await till.counters()).held_usd == decisions[0].hold_usd * 2
    await assert_books_balance(database.admin)


async def test_L13_a_batch_with_a_lost_claim_leaves_nothing_behind(database: TenantDatabase, till: Till) -> None:
    lost = an_ask(till.workflow, slot="late", claim=till.workflow.version - 1)
    with pytest.raises(ClaimLostError, match="is lost: the workflow is in ICP_PROCESSING"):
        await till.authorize(an_ask(till.workflow), lost)
    assert await database.admin.fetchval("SELECT count(*) FROM spend_attempts") == 0
    assert (await till.counters()).held_usd == 0


async def test_L13_claim_of_another_step_or_version_or_workflow_authorizes_nothing(till: Till) -> None:
    for wrong in (
        an_ask(till.workflow, step="competitor"),
        an_ask(till.workflow, claim=till.workflow.version + 1),
        an_ask(till.workflow, step="nonsense"),
    ):
        with pytest.raises(ClaimLostError):
            await till.authorize(wrong)
    stranger = MadeWorkflow(uuid4(), till.organization_id, State.ICP_PROCESSING, 2)
    with pytest.raises(BadInputError, match="does not exist for this organization"):
        await till.at(stranger).authorize(an_ask(stranger))


async def test_L6_a_refused_uuid_stays_refused(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    till = Till(database.app, await make_workflow(State.ICP_PROCESSING, cap_usd=Decimal("0.00001")))
    [refused] = await till.authorize(an_ask(till.workflow))
    assert refused.kind is DecisionKind.REFUSED
    assert refused.refusal is not None
    assert (refused.refusal.scope, refused.refusal.cap_usd) == ("workflow", Decimal("0.00001"))
    assert refused.refusal.hold_usd == refused.hold_usd > Decimal("0.00001")
    assert "raise it: starter.py raise-cap" in refused.refusal.message
    async with database.app.transaction(till.organization_id) as connection:
        await raise_cap(
            connection, till.workflow.workflow_id, till.organization_id, Decimal(1), decision_id=uuid4(), actor="tests"
        )
    assert await till.authorize(an_ask(till.workflow)) == [refused]
    assert (await till.dispatch(refused.attempt_id))[0] is False
    [second] = await till.authorize(an_ask(till.workflow, 2))
    assert second.kind is DecisionKind.AUTHORIZED
    await assert_books_balance(database.admin)


async def test_L13_fail_closed_whatever_is_missing_refuses(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    async def decision_when(change: str, **facts: object) -> spend.Decision:
        workflow = await make_workflow(State.ICP_PROCESSING)
        await database.admin.execute(change)
        return (await Till(database.app, workflow).authorize(an_ask(workflow, **facts)))[0]  # type: ignore[arg-type]

    plan = "UPDATE plans SET workflow_cap_usd = {}, month_cap_usd = {}"
    frozen_month = "UPDATE organization_months SET frozen_reason = {}"
    frozen_workflow = "UPDATE intent_workflows SET frozen_reason = {}"
    cases = [
        (plan.format("1", "NULL"), "month", "the plan default has no cap for a month set"),
        (plan.format("1", "0"), "month", "the plan default allows a month nothing"),
        (plan.format("NULL", "50"), "plan", "the plan default has no cap for a workflow set"),
        (plan.format("0", "50"), "plan", "the plan default allows a workflow nothing"),
        (
            f"{plan.format('1', '50')}; {frozen_month.format(chr(39) + 'overrun' + chr(39))}",
            "frozen",
            "month is frozen",
        ),
        (
            f"{frozen_month.format('NULL')}; {frozen_workflow.format(chr(39) + 'x' + chr(39))}",
            "frozen",
            "is frozen (x)",
        ),
    ]
    for change, scope, words in cases:
        decision = await decision_when(change)
        assert decision.kind is DecisionKind.REFUSED, change
        assert decision.refusal is not None
        assert decision.refusal.scope == scope
        assert words.removesuffix(" set") in decision.refusal.message
    unknown = await decision_when(frozen_workflow.format("NULL"), request=chat("someone/unknown-model"))
    assert unknown.refusal is not None
    assert (unknown.kind, unknown.refusal.scope) == (DecisionKind.REFUSED, "price")
    assert await database.admin.fetchval("SELECT sum(held_usd) FROM intent_workflows") == 0
    await assert_books_balance(database.admin)


async def test_L13_an_unreadable_cap_is_not_storable_and_no_database_means_no_call(
    database: TenantDatabase, till: Till
) -> None:
    for statement in (
        "UPDATE plans SET month_cap_usd = 'NaN'",
        "UPDATE intent_workflows SET cap_usd = 'NaN'",
        "UPDATE model_prices SET input_usd_per_million = 'NaN'",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await database.admin.execute(statement)
    gone = await Database.connect("postgresql://infin8_app@/nothing?host=/tmp/no-server-here", size_min=0)
    with pytest.raises(DatabaseUnavailableError):
        await till.using(gone).authorize(an_ask(till.workflow))
    await gone.close()


async def test_L1_the_cap_is_reached_to_the_nano_dollar(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    probe = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    hold = (await probe.authorize(an_ask(probe.workflow)))[0].hold_usd
    for cap, fits in ((hold, True), (hold - NANO, False), (hold + NANO, True)):
        till = Till(database.app, await make_workflow(State.ICP_PROCESSING, cap_usd=cap))
        [decision] = await till.authorize(an_ask(till.workflow))
        assert (decision.kind is DecisionKind.AUTHORIZED) is fits
        [second] = await till.authorize(an_ask(till.workflow, 2))
        assert second.kind is DecisionKind.REFUSED
    await assert_books_balance(database.admin)


async def test_L1_a_lowered_cap_binds_new_authorizations_only(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    await database.admin.execute(
        "UPDATE intent_workflows SET cap_usd = 0.00001; UPDATE plans SET month_cap_usd = 0.00001"
    )
    assert (await till.authorize(an_ask(till.workflow, 2)))[0].kind is DecisionKind.REFUSED
    await till.store(attempt_id, an_answer("0.0001"))
    await till.settle(attempt_id)
    assert (await till.counters()).spent_usd == Decimal("0.0001")
    await assert_books_balance(database.admin)


# What is authorized is what is sent --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"max_tokens": 5000}, "body.max_tokens"),
        ({"max_completion_tokens": 5000}, "body.max_tokens"),
        ({"n": 3}, "body.n"),
        ({"model": "openai/o1-pro"}, "body.model"),
        ({"models": ["openai/o1-pro"]}, "body.model"),
    ],
)
async def test_L2_a_body_that_allows_more_than_its_hold_is_refused(
    till: Till, change: dict[str, object], field: str
) -> None:
    honest = chat()
    body = chat(**{"model": MINI, **change}).body if "max_tokens" not in change else chat(max_tokens=5000).body
    with pytest.raises(BadInputError) as caught:
        await till.authorize(an_ask(till.workflow, request=honest.model_copy(update={"body": body})))
    assert caught.value.field == field


async def test_L9_what_was_authorized_never_changes(database: TenantDatabase, till: Till) -> None:
    await till.authorize(an_ask(till.workflow))
    changes = (
        "hold_usd = 0", "request_body = '{}'", "month = '2001-01-01'", "slot_hash = 'x'", "model = 'x'",
        "price_id = gen_random_uuid()", "claim = 99", "expires_at = now()", "max_tokens = 1", "path = '/'",
    )  # fmt: skip
    for change in changes:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="what was authorized never changes"):
            await database.admin.execute(f"UPDATE spend_attempts SET {change}")
    for statement in ("DELETE FROM spend_attempts", "TRUNCATE spend_attempts CASCADE"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await database.admin.execute(statement)


# Dispatch ----------------------------------------------------------------------------------------------------


async def test_L3_only_one_of_many_dispatches_may_send(database: TenantDatabase, till: Till) -> None:
    sends: list[tuple[UUID, str]] = []
    [decision] = await till.authorize(an_ask(till.workflow))

    async def call() -> None:
        send_now, attempt = await till.dispatch(decision.attempt_id)
        if send_now:
            row = await till.load(attempt.attempt_id)
            sends.append((row.attempt_id, row.request_body))
        else:
            assert spend.outcome_of(attempt).kind is OutcomeKind.UNKNOWN

    await asyncio.gather(*(call() for _ in range(30)))
    assert sends == [(decision.attempt_id, chat().body)]
    assert (await till.load(decision.attempt_id)).state == "UNKNOWN"
    assert (await till.counters()).held_usd == decision.hold_usd
    await assert_books_balance(database.admin)


async def test_L3_run_again_a_stored_outcome_is_returned_and_nothing_is_sent(till: Till) -> None:
    answered = await till.sent(an_ask(till.workflow, 1))
    await till.store(answered, an_answer())
    not_billed = await till.sent(an_ask(till.workflow, 2))
    await till.store(not_billed, NOT_BILLED)
    unknown = await till.sent(an_ask(till.workflow, 3))
    await till.store(unknown, DROPPED)
    expected = {answered: OutcomeKind.ANSWERED, not_billed: OutcomeKind.NOT_BILLED, unknown: OutcomeKind.UNKNOWN}
    for attempt_id, kind in expected.items():
        send_now, attempt = await till.dispatch(attempt_id)
        assert (send_now, spend.outcome_of(attempt).kind) == (False, kind)
    outcome = spend.outcome_of(await till.load(not_billed))
    assert (outcome.reason, outcome.permanent, outcome.retry_after_seconds) == ("HTTP 429", False, 2.0)


async def test_L9_past_its_expiry_nothing_is_sent_and_the_hold_is_free(database: TenantDatabase, till: Till) -> None:
    """By the database's clock: nothing here reads another one."""
    [decision] = await till.authorize(an_ask(till.workflow), expires_after_seconds=0)
    send_now, attempt = await till.dispatch(decision.attempt_id)
    assert (send_now, attempt.state, spend.outcome_of(attempt).kind) == (False, "EXPIRED", OutcomeKind.EXPIRED)
    assert (await till.counters()).held_usd == 0
    await assert_books_balance(database.admin)


async def test_L9_expiry_touches_reserved_attempts_only(database: TenantDatabase, till: Till) -> None:
    due = an_ask(till.workflow, 1)
    kept = an_ask(till.workflow, 2)
    sent = an_ask(till.workflow, 3)
    await till.authorize(sent, expires_after_seconds=0.3)
    assert (await till.dispatch(sent.attempt_id))[0]
    await till.authorize(due, expires_after_seconds=0)
    await till.authorize(kept)
    await asyncio.sleep(0.35)
    assert await till.expire() == 1
    assert await till.expire() == 0
    states = [(await till.load(attempt.attempt_id)).state for attempt in (due, kept, sent)]
    assert states == ["EXPIRED", "RESERVED", "DISPATCHED"]
    await assert_books_balance(database.admin)


async def test_L22_leaving_the_step_voids_what_was_reserved_and_a_zombie_sends_nothing(
    database: TenantDatabase, till: Till
) -> None:
    reserved, sent = an_ask(till.workflow, 1), an_ask(till.workflow, 2)
    await till.authorize(reserved)
    await till.sent(sent)
    later = await moved(till, State.ICP_FAILED, State.ICP_PROCESSING)

    assert (await till.load(reserved.attempt_id)).state == "VOIDED"
    send_now, attempt = await till.dispatch(reserved.attempt_id)
    assert (send_now, spend.outcome_of(attempt).kind) == (False, OutcomeKind.VOIDED)
    with pytest.raises(ClaimLostError):
        await till.authorize(an_ask(till.workflow, 3))
    # What the zombie has in flight is booked all the same.
    await till.store(sent.attempt_id, an_answer("0.0002"))
    await till.settle(sent.attempt_id)
    assert (await later.counters()).spent_usd == Decimal("0.0002")
    assert (await later.counters()).held_usd == 0
    assert (await later.authorize(an_ask(later.workflow, slot_hash="new")))[0].kind is DecisionKind.AUTHORIZED
    await assert_books_balance(database.admin)


async def test_L22_a_claim_lost_between_authorize_and_dispatch_voids(database: TenantDatabase, till: Till) -> None:
    """The void at the transition is undone here, so that dispatch itself has to notice."""
    [decision] = await till.authorize(an_ask(till.workflow))
    await database.admin.execute(
        """
        CREATE OR REPLACE FUNCTION void_reserved_attempts(uuid, uuid, bigint) RETURNS integer
        LANGUAGE sql AS 'SELECT 0'
        """.replace("(uuid, uuid, bigint)", "(p_workflow_id uuid, p_organization_id uuid, p_claim bigint)")
    )
    await moved(till, State.ICP_FAILED, State.ICP_PROCESSING)
    assert (await till.load(decision.attempt_id)).state == "RESERVED"
    send_now, attempt = await till.dispatch(decision.attempt_id)
    assert (send_now, attempt.state) == (False, "VOIDED")
    assert "claim" in spend.outcome_of(attempt).reason
    await assert_books_balance(database.admin)


@pytest.mark.parametrize("state_at_cancel", ["RESERVED", "DISPATCHED", "ANSWERED", "UNKNOWN"])
async def test_L22_after_cancel_nothing_new_and_what_is_in_flight_still_settles(
    database: TenantDatabase, till: Till, state_at_cancel: str
) -> None:
    attempt = an_ask(till.workflow)
    await till.authorize(attempt)
    if state_at_cancel != "RESERVED":
        assert (await till.dispatch(attempt.attempt_id))[0]
    if state_at_cancel == "ANSWERED":
        await till.store(attempt.attempt_id, an_answer("0.0003"))
    if state_at_cancel == "UNKNOWN":
        await till.store(attempt.attempt_id, DROPPED)
    cancelled = await moved(till, State.CANCELLED)

    with pytest.raises(ClaimLostError):
        await till.authorize(an_ask(till.workflow, 2))
    assert (await cancelled.dispatch(attempt.attempt_id))[0] is False
    if state_at_cancel in ("DISPATCHED", "UNKNOWN"):  # the late answer books itself
        await cancelled.store(attempt.attempt_id, an_answer("0.0003"))
    async with database.app.transaction(till.organization_id) as connection:
        settled = await spend.settle_answered(connection, till.workflow.workflow_id, till.organization_id)
        assert await spend.in_flight(connection, till.workflow.workflow_id) == []
    assert len(settled) == (state_at_cancel == "ANSWERED")
    expected = Decimal(0) if state_at_cancel == "RESERVED" else Decimal("0.0003")
    counters = await cancelled.counters()
    assert (counters.spent_usd, counters.held_usd) == (expected, 0)
    await assert_books_balance(database.admin)


async def test_L22_a_row_closed_by_itself_books_answers_and_gives_up_on_calls_of_dead_workers(
    database: TenantDatabase, till: Till
) -> None:
    reserved, dead, answered = (an_ask(till.workflow, ask) for ask in (1, 2, 3))
    await till.authorize(reserved)
    await till.sent(dead)
    await till.store(await till.sent(answered), an_answer("0.0003"))
    ref = WorkflowRef(workflow_id=till.workflow.workflow_id, organization_id=till.organization_id)
    for _ in range(2):
        async with database.app.transaction(till.organization_id) as connection:
            await cancel_row(connection, ref, actor="tests", reason="not wanted any more")
    states = [(await till.load(attempt.attempt_id)).state for attempt in (reserved, dead, answered)]
    assert states == ["VOIDED", "UNKNOWN", "SETTLED"]
    counters = await till.counters()
    assert (counters.spent_usd, counters.held_usd) == (Decimal("0.0003"), await hold_of(till, dead.attempt_id))
    await assert_books_balance(database.admin)


# Outcomes ----------------------------------------------------------------------------------------------------


async def test_L8_settling_again_gives_the_first_result_and_other_facts_an_error(
    database: TenantDatabase, till: Till
) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    await till.store(attempt_id, an_answer("0.0001"))
    first = await till.settle(attempt_id)
    assert await till.settle(attempt_id) == first
    assert first[0].cost_usd == Decimal("0.0001")
    record = "SELECT record_usage_and_increment($1, $2, $3, $4, $5, $6)"
    facts = (attempt_id, till.organization_id, MINI, 20, 30, Decimal("0.0001"))
    async with database.app.transaction(till.organization_id) as connection:
        assert await connection.fetchval(record, *facts) == Decimal("0.0001")
        assert await connection.fetchval(record, *facts[:2], "gpt-4o-mini", *facts[3:]) == Decimal("0.0001")
    for other in (
        (*facts[:2], SONAR, *facts[3:]),
        (*facts[:3], 21, *facts[4:]),
        (*facts[:4], 31, *facts[5:]),
        (*facts[:5], Decimal("0.0002")),
    ):
        with pytest.raises(IdempotencyConflictError, match="other facts"):
            async with database.app.transaction(till.organization_id) as connection:
                await connection.fetchval(record, *other)
    assert len(await till.ledger()) == 1
    await assert_books_balance(database.admin)


async def test_L8_the_same_answer_twice_is_one_and_another_is_an_error(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    stored = await till.store(attempt_id, an_answer())
    assert await till.store(attempt_id, an_answer()) == stored
    for other in (an_answer("0.5"), an_answer(body="{}"), an_answer(model=SONAR), an_answer(prompt_tokens=1)):
        with pytest.raises(IdempotencyConflictError):
            await till.store(attempt_id, other)
    with pytest.raises(IdempotencyConflictError):
        await till.store(attempt_id, NOT_BILLED)
    await till.settle(attempt_id)
    assert (await till.store(attempt_id, an_answer())).state == "SETTLED"
    assert (await till.store(attempt_id, DROPPED)).state == "SETTLED"
    await assert_books_balance(database.admin)


@pytest.mark.parametrize("state", ["REFUSED", "RESERVED", "EXPIRED", "VOIDED"])
async def test_L9_what_was_never_sent_has_no_outcome(database: TenantDatabase, till: Till, state: str) -> None:
    attempt = an_ask(till.workflow, request=chat("no/price") if state == "REFUSED" else chat())
    await till.authorize(attempt, expires_after_seconds=0 if state == "EXPIRED" else 900)
    if state == "EXPIRED":
        await till.dispatch(attempt.attempt_id)
    if state == "VOIDED":
        await moved(till, State.ICP_FAILED)
    for result in (an_answer(), NOT_BILLED, DROPPED):
        with pytest.raises(IdempotencyConflictError, match="was never sent"):
            await till.store(attempt.attempt_id, result)
    with pytest.raises(IdempotencyConflictError):
        await till.settle(attempt.attempt_id)
    assert (await till.load(attempt.attempt_id)).state == state
    await assert_books_balance(database.admin)


async def test_L17_not_billed_writes_a_row_of_nothing_and_frees_the_hold(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    first = await till.store(attempt_id, NOT_BILLED)
    assert await till.store(attempt_id, NOT_BILLED) == first
    [line] = await till.ledger()
    assert (line.entry, line.cost, line.idempotency_key) == ("not_billed", 0, attempt_id)
    assert (await till.counters()).held_usd == 0
    assert [settlement.cost_usd for settlement in await till.settle(attempt_id)] == [0]
    await assert_books_balance(database.admin)


async def test_L7_unknown_keeps_its_hold_and_a_late_answer_is_booked_once(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    hold = await hold_of(till, attempt_id)
    await till.store(attempt_id, DROPPED)
    assert (await till.counters()).held_usd == hold
    with pytest.raises(IdempotencyConflictError, match="can't be settled"):
        await till.settle(attempt_id)
    await asyncio.gather(*(till.store(attempt_id, an_answer("0.00005")) for _ in range(5)))
    counters = await till.counters()
    assert (counters.spent_usd, counters.held_usd) == (Decimal("0.00005"), 0)
    assert [line.entry for line in await till.ledger()] == ["usage"]
    await assert_books_balance(database.admin)


async def test_L7_an_answer_without_a_figure_is_unknown_with_its_body_kept(
    database: TenantDatabase, till: Till
) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    stored = await till.store(attempt_id, an_answer().model_copy(update={"usage": None}))
    assert (stored.state, stored.answer_body) == ("UNKNOWN", '{"choices": []}')
    assert spend.outcome_of(stored).kind is OutcomeKind.UNKNOWN
    async with database.app.transaction(till.organization_id) as connection:  # the figure is looked up later
        figure = (attempt_id, till.organization_id, MINI, 20, 30, Decimal("0.0004"))
        await connection.execute("SELECT record_usage_and_increment($1, $2, $3, $4, $5, $6)", *figure)
    assert (await till.load(attempt_id)).state == "SETTLED"
    assert (await till.counters()).spent_usd == Decimal("0.0004")
    await assert_books_balance(database.admin)


async def test_L7_what_came_of_an_unknown_answer_is_kept_whatever_is_reported_later(till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    kept = DROPPED.model_copy(update={"http_status": 200, "body": "half an ans"})
    await till.store(attempt_id, kept)
    stored = await till.store(attempt_id, DROPPED)
    assert (stored.http_status, stored.answer_body) == (200, "half an ans")


async def test_L7_an_answer_without_an_id_keeps_that_of_its_headers(till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    async with till.database.transaction(till.organization_id) as connection:
        await spend.record_generation_id(connection, till.organization_id, attempt_id, "gen-7")
    stored = await till.store(attempt_id, an_answer().model_copy(update={"generation_id": None}))
    assert stored.generation_id == "gen-7"


async def test_L8_other_evidence_for_what_was_not_billed_is_an_error(till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    await till.store(attempt_id, NOT_BILLED)
    with pytest.raises(IdempotencyConflictError, match="and now came"):
        await till.store(attempt_id, NOT_BILLED.model_copy(update={"reason": "HTTP 401", "permanent": True}))


@pytest.mark.parametrize("usage", [{"cost_usd": "99999"}, {"cost_usd": None, "completion_tokens": 2_000_000_000}])
async def test_L12_an_incredible_usage_is_no_figure_to_book_by(
    database: TenantDatabase, till: Till, usage: dict[str, object]
) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    stored = await till.store(attempt_id, an_answer(**usage))  # type: ignore[arg-type]
    assert stored.state == "UNKNOWN"
    assert "not credible" in spend.outcome_of(stored).reason
    assert (await till.counters()).spent_usd == 0
    await assert_books_balance(database.admin)


@pytest.mark.parametrize("facts", [(-1, 3, "0.1"), (3, -1, "0.1"), (3, 3, "-0.1"), (None, 3, "0.1")])
async def test_L12_an_impossible_usage_never_reaches_the_ledger(
    database: TenantDatabase, till: Till, facts: tuple[int | None, int, str]
) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    await till.store(attempt_id, DROPPED)
    with pytest.raises(BadInputError, match="no figure below 0"):
        async with database.app.transaction(till.organization_id) as connection:
            await connection.execute(
                "SELECT record_usage_and_increment($1, $2, $3, $4, $5, $6)",
                attempt_id, till.organization_id, MINI, facts[0], facts[1], Decimal(facts[2]),
            )  # fmt: skip
    assert (await till.load(attempt_id)).state == "UNKNOWN"


async def test_L7_text_that_postgres_cannot_store_does_not_lose_the_answer(till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    stored = await till.store(attempt_id, an_answer(body='{"a": "\x00\ud800"}'))
    assert stored.answer_body == '{"a": "\ufffd?"}'


async def test_L17_a_write_off_is_booked_at_the_hold_and_corrected_by_the_late_answer(
    database: TenantDatabase, till: Till
) -> None:
    operator = till.using(database.operator)
    attempt_id = await till.sent(an_ask(till.workflow))
    hold = await hold_of(till, attempt_id)
    with pytest.raises(IdempotencyConflictError, match="only an UNKNOWN one"):
        await operator.write_off(attempt_id)
    await till.store(attempt_id, DROPPED)
    assert (await operator.write_off(attempt_id)).cost_usd == hold
    assert (await operator.write_off(attempt_id)).cost_usd == hold
    assert ((await till.counters()).spent_usd, (await till.counters()).held_usd) == (hold, 0)
    await assert_books_balance(database.admin)

    await till.store(attempt_id, an_answer("0.00001"))
    await till.store(attempt_id, an_answer("0.00001"))
    written_off, correction = await till.ledger()
    assert (written_off.entry, written_off.cost) == ("write_off", hold)
    assert (correction.entry, correction.corrects) == ("correction", written_off.idempotency_key)
    assert correction.cost == Decimal("0.00001") - hold
    assert (await till.load(attempt_id)).state == "SETTLED"
    assert (await till.settle(attempt_id))[0].cost_usd == (await till.counters()).spent_usd == Decimal("0.00001")
    await assert_books_balance(database.admin)


async def test_L12_a_late_answer_dearer_than_its_write_off_is_an_overrun(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    hold = await hold_of(till, attempt_id)
    await till.store(attempt_id, DROPPED)
    await till.using(database.operator).write_off(attempt_id)
    await till.store(attempt_id, an_answer(hold + 5 * NANO))
    counters = await till.counters()
    assert (counters.spent_usd, counters.overrun_usd) == (hold + 5 * NANO, 5 * NANO)
    assert counters.frozen_reason is not None
    await assert_books_balance(database.admin)


@pytest.mark.parametrize("written_off", [False, True])
async def test_L9_the_providers_word_that_nothing_was_billed_frees_an_unknown(
    database: TenantDatabase, till: Till, written_off: bool
) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    await till.store(attempt_id, DROPPED)
    if written_off:
        await till.using(database.operator).write_off(attempt_id)
    stored = await till.store(attempt_id, NOT_BILLED)
    assert stored == await till.store(attempt_id, NOT_BILLED)
    assert stored.state == ("SETTLED" if written_off else "VOIDED")
    expected = OutcomeKind.UNKNOWN if written_off else OutcomeKind.NOT_BILLED
    assert spend.outcome_of(stored).kind is expected
    counters = await till.counters()
    assert (counters.spent_usd, counters.held_usd) == (0, 0)
    assert sum(line.cost for line in await till.ledger()) == 0
    await assert_books_balance(database.admin)


async def test_L12_an_overrun_is_booked_in_full_and_freezes_both_scopes(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    hold = await hold_of(till, attempt_id)
    await till.store(attempt_id, an_answer(hold + NANO))
    [settlement] = await till.settle(attempt_id)
    assert (settlement.cost_usd, settlement.overrun_usd) == (hold + NANO, NANO)
    counters = await till.counters()
    assert (counters.spent_usd, counters.held_usd, counters.overrun_usd) == (hold + NANO, 0, NANO)
    month = (await database.admin.fetch("SELECT * FROM organization_months"))[0]
    assert month["overrun_usd"] == NANO
    assert counters.frozen_reason == month["frozen_reason"]
    assert "billed $0.000000001 more than its hold" in month["frozen_reason"]
    [refused] = await till.authorize(an_ask(till.workflow, 2))
    assert refused.refusal is not None
    assert refused.refusal.scope == "frozen"
    await assert_books_balance(database.admin)


async def test_L12_an_overrun_beyond_the_cap_is_still_booked(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    await till.store(attempt_id, an_answer("60"))
    await till.settle(attempt_id)
    assert (await till.counters()).spent_usd == 60
    await assert_books_balance(database.admin)


async def test_L14_the_providers_figure_comes_first_and_the_computed_one_beside_it(till: Till) -> None:
    stated = await till.paid(an_ask(till.workflow, 1), an_answer("0.0001", prompt_tokens=20, completion_tokens=30))
    silent = await till.paid(an_ask(till.workflow, 2), an_answer(None, prompt_tokens=20, completion_tokens=30))
    lines = {line.attempt_id: line for line in await till.ledger()}
    computed = usd("0.000021")  # 20 × 0.15 + 30 × 0.60 per million
    assert lines[stated].cost == lines[stated].provider_cost_usd == Decimal("0.0001")
    assert lines[stated].computed_cost_usd == computed
    assert lines[stated].drift_usd == Decimal("0.0001") - computed
    assert (lines[silent].cost, lines[silent].provider_cost_usd, lines[silent].drift_usd) == (computed, None, None)
    assert lines[stated].price_id == (await till.load(stated)).price_id


@pytest.mark.parametrize(
    ("model", "cost_usd", "booked"),
    [
        ("gpt-4o-mini-2024-07-18", None, "0.000021"),  # an alias of the model that was asked
        ("unheard/of", "0.00007", "0.00007"),
        ("unheard/of", None, "the hold"),
        ("unheard/of", "0", "the hold"),
        (SONAR, None, "0.00505"),  # known, and dearer than the hold: by its own price
        (SONAR, "0.00008", "0.00008"),
        ("openai/text-embedding-3-small", None, "the hold"),  # known and cheaper: what it really cost nobody knows
        ("", None, "0.000021"),  # unsaid: the model that was asked
    ],
)
async def test_L12_an_answer_of_another_model_is_never_booked_at_zero(
    database: TenantDatabase, till: Till, model: str, cost_usd: str | None, booked: str
) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    hold = await hold_of(till, attempt_id)
    await till.store(attempt_id, an_answer(cost_usd, model=model))
    [settlement] = await till.settle(attempt_id)
    assert settlement.cost_usd == (hold if booked == "the hold" else Decimal(booked))
    await assert_books_balance(database.admin)


# Reuse -------------------------------------------------------------------------------------------------------


async def test_L2_the_hold_covers_the_body_that_is_sent_whatever_a_caller_says_of_it(till: Till) -> None:
    honest = an_ask(till.workflow, 1, request=chat(max_tokens=5000))
    lying = an_ask(till.workflow, 2, request=chat(max_tokens=5000).model_copy(update={"max_tokens": 1}))
    facts = [spend._ask_facts(ask) for ask in (honest, lying)]
    async with till.database.transaction(till.organization_id) as connection:
        rows = await connection.fetch(
            "SELECT * FROM authorize_attempts($1, $2, $3, 900, 120)",
            till.workflow.workflow_id,
            till.organization_id,
            facts,
        )
    assert rows[0]["hold_usd"] == rows[1]["hold_usd"] > 0


async def test_L18_a_good_answer_of_an_earlier_claim_is_handed_out_again(database: TenantDatabase, till: Till) -> None:
    paid = await till.paid(an_ask(till.workflow))
    later = await moved(till, State.ICP_FAILED, State.ICP_PROCESSING)
    other_model = an_ask(later.workflow, request=chat(SONAR))
    [decision] = await later.authorize(other_model)
    assert (decision.kind, decision.attempt_id, decision.hold_usd) == (DecisionKind.REUSED, paid, 0)
    assert await later.authorize(other_model) == [decision]
    async with database.app.transaction(till.organization_id) as connection:
        assert await spend.decisions(connection, [other_model.attempt_id]) == {other_model.attempt_id: decision}
    await later.reject(paid)
    assert await later.authorize(other_model) == [decision]  # the same UUID, the same decision
    assert (await later.authorize(an_ask(later.workflow, 2)))[0].kind is DecisionKind.AUTHORIZED
    await assert_books_balance(database.admin)


async def test_L18_nothing_rejected_unsettled_or_different_is_handed_out(till: Till) -> None:
    rejected = await till.paid(an_ask(till.workflow, 1))
    await till.reject(rejected)
    await till.reject(rejected, "the first reason stays")
    assert (await till.load(rejected)).rejected_reason == "not JSON"
    await till.paid(an_ask(till.workflow, 2, slot_hash="other question"))
    await till.paid(an_ask(till.workflow, 1, slot="other slot"))
    unsettled = await till.sent(an_ask(till.workflow, 3))
    await till.store(unsettled, an_answer())
    same_claim = await till.authorize(an_ask(till.workflow, 4, slot_hash="other question"))
    assert same_claim[0].kind is DecisionKind.AUTHORIZED
    later = await moved(till, State.ICP_FAILED, State.ICP_PROCESSING)
    assert (await later.authorize(an_ask(later.workflow)))[0].kind is DecisionKind.AUTHORIZED


async def test_L18_what_is_settled_without_an_answer_is_asked_anew(till: Till) -> None:
    """Its cost was looked up; there is nothing to judge."""
    attempt_id = await till.sent(an_ask(till.workflow))
    await till.store(attempt_id, DROPPED)
    async with till.database.transaction(till.organization_id) as connection:
        figure = (attempt_id, till.organization_id, MINI, 20, 30, Decimal("0.0004"))
        await connection.execute("SELECT record_usage_and_increment($1, $2, $3, $4, $5, $6)", *figure)
    assert (await till.load(attempt_id)).state == "SETTLED"
    later = await moved(till, State.ICP_FAILED, State.ICP_PROCESSING)
    assert (await later.authorize(an_ask(later.workflow)))[0].kind is DecisionKind.AUTHORIZED


async def test_L18_of_several_good_answers_the_newest_is_handed_out(till: Till) -> None:
    await till.paid(an_ask(till.workflow, 1))
    newest = await till.paid(an_ask(till.workflow, 2))
    later = await moved(till, State.ICP_FAILED, State.ICP_PROCESSING)
    [decision] = await later.authorize(an_ask(later.workflow))
    assert decision.attempt_id == newest


async def test_L18_a_fallback_is_authorized_anew_with_a_hold_of_its_own(till: Till) -> None:
    first = await till.sent(an_ask(till.workflow, 1, request=chat(SONAR)))
    await till.store(first, NOT_BILLED)
    [fallback] = await till.authorize(an_ask(till.workflow, 2, request=chat(MINI)))
    assert fallback.kind is DecisionKind.AUTHORIZED
    assert fallback.attempt_id != first
    assert fallback.hold_usd != await hold_of(till, first)
    assert (await till.counters()).held_usd == fallback.hold_usd


async def test_L18_what_has_no_answer_can_not_be_rejected(till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    with pytest.raises(IdempotencyConflictError, match="no answer to reject"):
        await till.reject(attempt_id)


# Amounts, months, bills --------------------------------------------------------------------------------------


async def test_L11_a_float_is_refused_at_every_boundary(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    await till.store(attempt_id, DROPPED)
    with pytest.raises(ValueError, match="money must be str, int or Decimal, got float"):
        an_answer().usage.model_validate({"prompt_tokens": 1, "completion_tokens": 1, "cost_usd": 0.1})  # type: ignore[union-attr]
    with pytest.raises(BadInputError, match="got float"):
        async with database.app.transaction(till.organization_id) as connection:
            await connection.execute(
                "SELECT record_usage_and_increment($1, $2, $3, 1, 1, $4)", attempt_id, till.organization_id, MINI, 0.1
            )
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await database.admin.execute(
            f"SELECT record_usage_and_increment('{attempt_id}', '{till.organization_id}', '{MINI}', 1, 1, 0.1::float8)"
        )
    assert (await till.counters()).spent_usd == 0


async def test_L11_nano_dollars_survive_from_answer_to_ledger(database: TenantDatabase, till: Till) -> None:
    costs = [Decimal("0.000000001"), Decimal("0.000012345"), Decimal("0.000033333")]
    for number, cost in enumerate(costs, start=1):
        await till.paid(an_ask(till.workflow, number), an_answer(cost))
    assert [line.cost for line in await till.ledger()] == costs
    assert (await till.counters()).spent_usd == sum(costs)
    total = (await database.admin.fetch("SELECT spent_usd::text FROM organization_months"))[0][0]
    assert total == "0.000045679"
    usage = await database.admin.fetchval("SELECT usage->>'cost_usd' FROM spend_attempts ORDER BY ask LIMIT 1")
    assert usage == "0.000000001"


async def test_L16_the_month_is_fixed_at_authorization(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    unsent = an_ask(till.workflow, 2)
    await till.authorize(unsent)
    await database.admin.execute(
        "CREATE OR REPLACE FUNCTION current_spend_month() RETURNS date LANGUAGE sql AS $$ SELECT '2999-01-01'::date $$"
    )
    next_month = an_ask(till.workflow, 3)
    await till.authorize(next_month)
    await till.store(attempt_id, an_answer("0.0001"))
    await till.settle(attempt_id)
    await moved(till, State.ICP_FAILED)
    rows = await database.admin.fetch("SELECT month, spent_usd, held_usd FROM organization_months ORDER BY month")
    assert [(row["spent_usd"], row["held_usd"]) for row in rows] == [(Decimal("0.0001"), 0), (0, 0)]
    assert rows[1]["month"] == date(2999, 1, 1)
    assert (await till.ledger())[0].month == rows[0]["month"]
    await assert_books_balance(database.admin)


async def test_L16_the_month_is_utc_whatever_the_session_thinks(database: TenantDatabase, till: Till) -> None:
    moments = {
        "2025-01-31T23:59:59.999999Z": date(2025, 1, 1),
        "2025-02-01T00:00:00Z": date(2025, 2, 1),
        "2025-02-01T13:59:00+14:00": date(2025, 1, 1),
        "2024-12-31T12:00:00-12:00": date(2025, 1, 1),
    }
    async with database.app.transaction(till.organization_id) as connection:
        for zone in ("Pacific/Kiritimati", "Etc/GMT+12", "UTC"):
            await connection.execute("SELECT set_config('TimeZone', $1, true)", zone)
            for moment, month in moments.items():
                assert await connection.fetchval("SELECT spend_month($1::text::timestamptz)", moment) == month
            await spend.authorize(
                connection,
                till.workflow.workflow_id,
                till.organization_id,
                [an_ask(till.workflow, slot=zone)],
                expires_after_seconds=60,
                call_deadline_seconds=60,
            )
    utc = await database.admin.fetchval("SELECT date_trunc('month', now() AT TIME ZONE 'UTC')::date")
    assert {row["month"] for row in await database.admin.fetch("SELECT month FROM spend_attempts")} == {utc}


async def test_L7_L17_every_bill_line_belongs_to_one_attempt_and_ledger_equals_bill(
    database: TenantDatabase, till: Till
) -> None:
    """The provider here keeps its own bill and misbehaves in every way that an outcome exists for."""
    bill: dict[UUID, Decimal] = {}
    for number in range(1, 31):
        attempt_id = await till.sent(an_ask(till.workflow, number))
        cost = Decimal(number) * Decimal("0.000001037")
        match number % 5:
            case 0:
                await till.store(attempt_id, NOT_BILLED)
            case 1:
                bill[attempt_id] = cost
                await till.store(attempt_id, DROPPED)  # billed, and the connection dropped
            case 2:
                bill[attempt_id] = cost
                await till.store(attempt_id, DROPPED)
                await till.using(database.operator).write_off(attempt_id)
            case 3:
                bill[attempt_id] = cost
                await till.store(attempt_id, DROPPED)
                await till.store(attempt_id, an_answer(cost))
            case _:
                bill[attempt_id] = cost
                await till.store(attempt_id, an_answer(cost))
                await till.settle(attempt_id)
    booked: dict[UUID, Decimal] = {}
    for line in await till.ledger():
        booked[line.attempt_id] = booked.get(line.attempt_id, Decimal(0)) + line.cost
    rows = await database.admin.fetch("SELECT attempt_id, state, hold_usd FROM spend_attempts")
    assert len(rows) == 30
    for row in rows:
        billed = bill.get(row["attempt_id"], Decimal(0))
        match row["state"]:
            case "SETTLED" | "NOT_BILLED":
                assert booked[row["attempt_id"]] == billed
            case "WRITTEN_OFF":
                assert booked[row["attempt_id"]] >= billed
            case state:
                assert state == "UNKNOWN"
                assert row["hold_usd"] >= billed
    await assert_books_balance(database.admin)


async def test_L10_sums_and_reads_of_costs_agree_with_the_counters(database: TenantDatabase, till: Till) -> None:
    await till.paid(an_ask(till.workflow, 1), an_answer("0.0001"))
    await till.paid(an_ask(till.workflow, 2, request=chat(SONAR)), an_answer("0.0051", model="sonar"))
    await till.paid(an_ask(till.workflow, 1, slot="b"), an_answer("0.0002"))
    async with database.app.transaction(till.organization_id) as connection:
        by_model = await spend.cost_sums(connection, [CostKey.MODEL])
        by_slot_and_model = await spend.cost_sums(connection, [CostKey.SLOT, CostKey.MODEL])
        [total] = await spend.cost_sums(connection, [])
        monthly = await connection.fetchval("SELECT get_organization_monthly_ai_cost($1)", till.organization_id)
    assert [(row.model, row.cost_usd, row.attempts) for row in by_model] == [
        (SONAR, Decimal("0.0051"), 1),
        (MINI, Decimal("0.0003"), 2),
    ]
    assert [(row.slot, row.model, row.cost_usd) for row in by_slot_and_model] == [
        ("icp", SONAR, Decimal("0.0051")),
        ("b", MINI, Decimal("0.0002")),
        ("icp", MINI, Decimal("0.0001")),
    ]
    assert total.cost_usd == monthly == (await till.counters()).spent_usd == Decimal("0.0054")


async def test_the_advisory_check_says_what_authorize_would_decide(database: TenantDatabase, till: Till) -> None:
    async def fits(workflow_id: UUID, estimate: Decimal | None) -> bool:
        async with database.app.transaction(till.organization_id) as connection:
            answer: bool = await connection.fetchval("SELECT check_workflow_cost_limit($1, $2)", workflow_id, estimate)
            return answer

    here = till.workflow.workflow_id
    assert await fits(here, Decimal(1))
    assert not await fits(here, 1 + NANO)
    assert not await fits(here, Decimal(-1))
    assert not await fits(here, None)
    assert not await fits(uuid4(), Decimal(0))
    [decision] = await till.authorize(an_ask(till.workflow))
    assert await fits(here, 1 - decision.hold_usd)
    assert not await fits(here, 1 - decision.hold_usd + NANO)
    await database.admin.execute("UPDATE plans SET month_cap_usd = NULL")
    assert not await fits(here, Decimal(0))


@pytest.mark.parametrize("table", ["intent_workflows", "organization_months"])
async def test_the_advisory_check_counts_what_was_spent_and_sees_a_frozen_scope(
    database: TenantDatabase, till: Till, table: str
) -> None:
    await till.paid(an_ask(till.workflow), an_answer("0.0001"))

    async def fits(estimate: Decimal) -> bool:
        async with database.app.transaction(till.organization_id) as connection:
            statement = "SELECT check_workflow_cost_limit($1, $2)"
            answer: bool = await connection.fetchval(statement, till.workflow.workflow_id, estimate)
            return answer

    assert await fits(Decimal("0.9999"))
    assert not await fits(Decimal("0.9999") + NANO)
    await database.admin.execute(f"UPDATE {table} SET frozen_reason = 'an overrun'")
    assert not await fits(Decimal(0))


async def test_in_flight_lists_open_holds_and_load_progress_sees_the_row(till: Till) -> None:
    first, second, third = (an_ask(till.workflow, number) for number in (1, 2, 3))
    await till.authorize(first, second, third)
    await till.dispatch(second.attempt_id)
    await till.dispatch(third.attempt_id)
    await till.store(third.attempt_id, NOT_BILLED)
    async with till.database.transaction(till.organization_id) as connection:
        await lock_workflow(connection, till.workflow.workflow_id, till.organization_id)
        open_holds = await spend.in_flight(connection, till.workflow.workflow_id)
    assert {(hold.attempt_id, hold.state.value) for hold in open_holds} == {
        (first.attempt_id, "RESERVED"),
        (second.attempt_id, "DISPATCHED"),
    }
    deadline = next(hold.call_deadline_at for hold in open_holds if hold.state == "DISPATCHED")
    assert deadline is not None


async def test_generation_id_is_kept_from_the_headers_on(till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))

    async def note(generation_id: str) -> None:
        async with till.database.transaction(till.organization_id) as connection:
            await spend.record_generation_id(connection, till.organization_id, attempt_id, generation_id)

    await note("gen-7")
    await note("gen-7")
    with pytest.raises(IdempotencyConflictError, match="gen-7 already"):
        await note("gen-8")
    await till.store(attempt_id, DROPPED)
    assert (await till.load(attempt_id)).generation_id == "gen-7"
