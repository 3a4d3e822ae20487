"""The cap under load: many workers, overlapping retries, lost replies and zombies on a real Postgres."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activities.state import cancel_row
from db import spend
from db.pool import Connection, register_codecs
from db.transitions import lock_workflow
from domain.errors import BadInputError, ClaimLostError, IdempotencyConflictError
from domain.progress import WorkflowRef
from domain.spend import AttemptState, DecisionKind, NewAttempt
from domain.states import State
from tests.conftest import MakeWorkflow, TenantDatabase, walk
from tests.integration.money_cases import (
    DROPPED,
    NANO,
    NOT_BILLED,
    SONAR,
    Till,
    an_answer,
    an_ask,
    assert_books_balance,
    chat,
)


async def authorized(till: Till, attempts: list[NewAttempt]) -> int:
    """How many of the attempts got through, each asked for by a worker of its own at the same moment."""
    decisions = await asyncio.gather(*(till.authorize(attempt) for attempt in attempts))
    return Counter(decision.kind for [decision] in decisions)[DecisionKind.AUTHORIZED]


@pytest.mark.parametrize(("calls", "max_tokens"), [(20, 70_000), (100, 10_000), (500, 1_000)])
@pytest.mark.parametrize("cap", ["a dollar", "exactly", "a nano-dollar less"])
async def test_L1_a_burst_at_the_edge_of_the_cap_admits_exactly_what_fits(
    database: TenantDatabase, make_workflow: MakeWorkflow, calls: int, max_tokens: int, cap: str
) -> None:
    request = chat(SONAR, max_tokens=max_tokens)
    probe = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    hold = (await probe.authorize(an_ask(probe.workflow, request=request)))[0].hold_usd
    fitting = int(1 / hold)
    assert 0 < fitting < calls
    cap_usd = {"a dollar": Decimal(1), "exactly": fitting * hold, "a nano-dollar less": fitting * hold - NANO}[cap]
    till = Till(database.app, await make_workflow(State.ICP_PROCESSING, cap_usd=cap_usd))

    admitted = await authorized(till, [an_ask(till.workflow, ask, request=request) for ask in range(1, calls + 1)])

    assert admitted == int(cap_usd / hold) == (fitting - 1 if cap == "a nano-dollar less" else fitting)
    counters = await till.counters()
    assert counters.held_usd == admitted * hold <= cap_usd
    assert counters.held_usd + hold > cap_usd
    await assert_books_balance(database.admin)


async def test_L1_the_months_cap_holds_over_several_workflows(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    request = chat(SONAR, max_tokens=10_000)
    tills = [Till(database.app, await make_workflow(State.ICP_PROCESSING)) for _ in range(6)]
    stranger = Till(database.app, await make_workflow(State.ICP_PROCESSING, domain="payloom.example"))
    await database.admin.execute("UPDATE plans SET month_cap_usd = 0.5")
    hold = (await stranger.authorize(an_ask(stranger.workflow, request=request)))[0].hold_usd

    admitted = await asyncio.gather(
        *(authorized(till, [an_ask(till.workflow, ask, request=request) for ask in range(1, 21)]) for till in tills)
    )
    assert sum(admitted) == int(Decimal("0.5") / hold) < 120
    refused = await database.admin.fetch(
        "SELECT DISTINCT refusal->>'scope' FROM spend_attempts WHERE state = 'REFUSED'"
    )
    assert [row[0] for row in refused] == ["month"]
    # Another organization's month is another scope.
    assert (await stranger.authorize(an_ask(stranger.workflow, 2, request=request)))[0].kind is DecisionKind.AUTHORIZED
    await assert_books_balance(database.admin)


async def test_L1_two_workflows_meet_at_the_months_last_room(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    """One is held between its decision and its hold; whoever comes then has to wait for it, by no luck of timing."""
    first, second, third = [Till(database.app, await make_workflow(State.ICP_PROCESSING)) for _ in range(3)]
    [decision] = await first.authorize(an_ask(first.workflow))  # the month has its row
    await database.admin.execute("UPDATE plans SET month_cap_usd = $1", decision.hold_usd * 2)
    await database.admin.execute(
        """CREATE FUNCTION hold_still() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$"""
    )
    await database.admin.execute(
        f"""CREATE TRIGGER hold_still BEFORE INSERT ON spend_attempts FOR EACH ROW
        WHEN (NEW.workflow_id = '{second.workflow.workflow_id}') EXECUTE FUNCTION hold_still()"""
    )
    async with database.admin.connection() as gate:
        await gate.execute("SELECT pg_advisory_lock(1)")
        early = asyncio.create_task(second.authorize(an_ask(second.workflow)))
        await _wait(database, sessions=1)
        late = asyncio.create_task(third.authorize(an_ask(third.workflow)))
        await _wait(database, sessions=2, unless=late)
    assert [[one.kind for one in decisions] for decisions in await asyncio.gather(early, late)] == [
        [DecisionKind.AUTHORIZED],
        [DecisionKind.REFUSED],
    ]
    await assert_books_balance(database.admin)


async def _wait(database: TenantDatabase, sessions: int, unless: asyncio.Task[object] | None = None) -> None:
    """Until so many sessions of this database wait for another's lock, or the task that should wait is done."""
    for _ in range(500):
        waiting = await database.admin.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        if waiting >= sessions or (unless and unless.done()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{sessions} sessions should wait")


async def test_L1_a_full_cap_opens_by_what_settles_below_its_hold(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    """Whole calls at the edge: the sum of bills stays below the cap, and the room is used."""
    till = Till(database.app, await make_workflow(State.ICP_PROCESSING, cap_usd=Decimal("0.05")))
    bill: list[Decimal] = []

    async def call(ask: int) -> None:
        attempt = an_ask(till.workflow, ask, request=chat(SONAR))
        [decision] = await till.authorize(attempt)
        if decision.kind is DecisionKind.AUTHORIZED and (await till.dispatch(attempt.attempt_id))[0]:
            bill.append(Decimal("0.0051"))
            await till.store(attempt.attempt_id, an_answer("0.0051", model=SONAR))
            await till.settle(attempt.attempt_id)

    await asyncio.gather(*(call(ask) for ask in range(1, 61)))
    counters = await till.counters()
    assert sum(bill) == counters.spent_usd <= Decimal("0.05")
    assert len(bill) >= 8
    await assert_books_balance(database.admin)


async def test_L5_overlapping_duplicates_of_one_uuid_are_one_decision(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    attempts = [an_ask(till.workflow, ask) for ask in (1, 2, 3)]
    decisions = await asyncio.gather(*(till.authorize(*attempts) for _ in range(40)))
    assert all(decided == decisions[0] for decided in decisions)
    assert await database.admin.fetchval("SELECT count(*) FROM spend_attempts") == 3
    assert (await till.counters()).held_usd == sum(decision.hold_usd for decision in decisions[0])


async def test_L8_many_settle_one_attempt_at_once_and_it_is_booked_once(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    attempt_ids = [await till.sent(an_ask(till.workflow, ask)) for ask in range(1, 6)]
    for attempt_id in attempt_ids:
        await till.store(attempt_id, an_answer())
    shuffled = [random.Random(seed).sample(attempt_ids, 5) for seed in range(30)]
    settled = await asyncio.gather(*(till.settle(*order) for order in shuffled))
    assert {settlement for settlements in settled for settlement in settlements} == set(settled[0])
    assert len(await till.ledger()) == 5
    assert (await till.counters()).spent_usd == Decimal("0.0005")
    await assert_books_balance(database.admin)


async def commit_and_lose_the_reply(
    dsn: str, organization_id: UUID, work: Callable[[Connection], Awaitable[object]]
) -> None:
    """The server gets COMMIT, the client never hears of it: whether it was done is unknown."""
    connection = await asyncpg.connect(dsn)
    await register_codecs(connection)
    await connection.execute("BEGIN")
    await connection.execute("SELECT set_config('app.organization_id', $1, true)", str(organization_id))
    await work(connection)
    committing = asyncio.create_task(connection.execute("COMMIT"))
    await asyncio.sleep(0)
    connection.terminate()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await committing


async def test_L8_a_lost_commit_reply_costs_nothing_at_any_stage(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    workflow_id, organization_id = till.workflow.workflow_id, till.organization_id
    times = {"expires_after_seconds": 60, "call_deadline_seconds": 60}
    sent: Counter[UUID] = Counter()
    for number in range(1, 11):
        attempt = an_ask(till.workflow, number)

        async def authorize(connection: Connection, attempt: NewAttempt = attempt) -> object:
            return await spend.authorize(connection, workflow_id, organization_id, [attempt], **times)

        async def dispatch(connection: Connection, attempt: NewAttempt = attempt) -> object:
            return await spend.dispatch(connection, workflow_id, organization_id, attempt.attempt_id)

        async def store(connection: Connection, attempt: NewAttempt = attempt) -> object:
            return await spend.store_answer(connection, organization_id, attempt.attempt_id, an_answer())

        async def settle(connection: Connection, attempt: NewAttempt = attempt) -> object:
            return await spend.settle(connection, organization_id, [attempt.attempt_id])

        await commit_and_lose_the_reply(database.app_dsn, organization_id, authorize)
        assert (await till.authorize(attempt))[0].kind is DecisionKind.AUTHORIZED
        if number % 2:
            await commit_and_lose_the_reply(database.app_dsn, organization_id, dispatch)
        send_now, row = await till.dispatch(attempt.attempt_id)
        if not send_now:  # nobody knows that nothing was sent: the hold stays held
            assert row.state is AttemptState.UNKNOWN
            continue
        sent[attempt.attempt_id] += 1
        await commit_and_lose_the_reply(database.app_dsn, organization_id, store)
        await till.store(attempt.attempt_id, an_answer())
        await commit_and_lose_the_reply(database.app_dsn, organization_id, settle)
        await till.settle(attempt.attempt_id)
    assert set(sent.values()) == {1}
    assert 5 <= len(sent) < 10
    counters = await till.counters()
    assert counters.spent_usd == len(sent) * Decimal("0.0001")
    assert len(await till.ledger()) == len(sent)
    await assert_books_balance(database.admin)


async def test_L22_zombies_of_an_earlier_claim_spend_nothing_while_the_new_one_works(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    old = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    zombie_asks = [an_ask(old.workflow, ask) for ask in range(1, 21)]
    await old.authorize(*zombie_asks[:10])
    sent: list[UUID] = []

    async def zombie(attempt: NewAttempt) -> None:
        await asyncio.sleep(random.Random(attempt.ask).random() / 20)
        try:
            await old.authorize(attempt)
        except ClaimLostError:
            return
        if (await old.dispatch(attempt.attempt_id))[0]:
            sent.append(attempt.attempt_id)
            await old.store(attempt.attempt_id, an_answer())
            await old.settle(attempt.attempt_id)

    async def take_over() -> Till:
        await asyncio.sleep(0.02)
        async with database.app.transaction(old.organization_id) as connection:
            return old.at(await walk(connection, old.workflow, [State.ICP_FAILED, State.ICP_PROCESSING]))

    new, *_ = await asyncio.gather(take_over(), *(zombie(attempt) for attempt in zombie_asks))
    for attempt in zombie_asks[:10]:
        assert not (await old.dispatch(attempt.attempt_id))[0]
    later = await database.admin.fetchval(
        """
        SELECT count(*) FROM spend_attempts AS attempt JOIN workflow_transitions AS took ON took.to_state = 'ICP_FAILED'
        WHERE attempt.dispatched_at > took.at AND attempt.claim < took.seq
        """
    )
    assert later == 0
    assert (await new.counters()).held_usd == 0
    assert (await new.counters()).spent_usd == len(sent) * Decimal("0.0001")
    await assert_books_balance(database.admin)


async def test_a_judge_at_work_does_not_hold_up_the_organizations_other_workflows(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    till, other = [Till(database.app, await make_workflow(State.ICP_PROCESSING)) for _ in range(2)]
    attempt_id = await till.paid(an_ask(till.workflow))
    async with database.app.transaction(till.organization_id) as connection:
        await spend.reject(connection, till.organization_id, attempt_id, "not JSON")
        async with asyncio.timeout(5):
            await other.paid(an_ask(other.workflow))


OPERATIONS = {
    "authorize": 24, "dispatch": 24, "answer": 24, "overrun": 2, "not_billed": 3, "unknown": 6, "settle": 24,
    "write_off": 6, "reject": 2, "expire": 2, "thaw": 8, "retry_step": 1,
}  # fmt: skip


class Player:
    """Does random things to the attempts of a few workflows, as workers, zombies and operators would."""

    def __init__(self, database: TenantDatabase, tills: list[Till]) -> None:
        self.database = database
        self.claims = {till.workflow.workflow_id: [till.workflow.version] for till in tills}
        self.done: Counter[str] = Counter()

    async def play(self, till: Till, operation: str, ask: int, claims_back: int, amount: int) -> None:
        claims = self.claims[till.workflow.workflow_id]
        claim = claims[-min(claims_back + 1, len(claims))]
        attempt = an_ask(till.workflow, ask, claim=claim, slot_hash=f"question {ask % 3}")
        with suppress(ClaimLostError, IdempotencyConflictError, BadInputError):
            await self._do(till, operation, attempt, Decimal(amount) * NANO)
            self.done[operation] += 1

    async def _do(self, till: Till, operation: str, attempt: NewAttempt, cost: Decimal) -> None:
        attempt_id = attempt.attempt_id
        match operation:
            case "authorize":
                await till.authorize(attempt)
            case "dispatch":
                await till.dispatch(attempt_id)
            case "answer" | "overrun":
                await till.store(attempt_id, an_answer(cost if operation == "answer" else cost + Decimal("0.001")))
            case "not_billed" | "unknown":
                await till.store(attempt_id, NOT_BILLED if operation == "not_billed" else DROPPED)
            case "settle":
                await till.settle(attempt_id)
            case "write_off":
                await till.using(self.database.operator).write_off(attempt_id)
            case "reject":
                await till.reject(attempt_id)
            case "expire":
                await till.expire()
            case "thaw":
                await self._thaw(till)
            case _:
                await self._retry_step(till)

    async def _thaw(self, till: Till) -> None:
        workflow_id = till.workflow.workflow_id
        await self.database.admin.execute("UPDATE intent_workflows SET frozen_reason = NULL WHERE id = $1", workflow_id)
        await self.database.admin.execute("UPDATE organization_months SET frozen_reason = NULL")

    async def _retry_step(self, till: Till) -> None:
        workflow_id = till.workflow.workflow_id
        async with till.database.transaction(till.organization_id) as connection:
            locked = await lock_workflow(connection, workflow_id, till.organization_id)
            assert locked is not None
            now = replace(till.workflow, state=locked.state, version=locked.version)
            later = await walk(connection, now, [State.ICP_FAILED, State.ICP_PROCESSING])
        self.claims[workflow_id].append(later.version)


likely_operations = st.sampled_from([name for name, weight in OPERATIONS.items() for _ in range(weight)])
moves_of_a_game = st.lists(
    st.tuples(likely_operations, st.integers(1, 3), st.integers(0, 1), st.integers(0, 600_000)),
    min_size=30,
    max_size=60,
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(moves=moves_of_a_game)
async def test_L10_counters_are_the_sums_of_the_rows_after_any_sequence(
    database: TenantDatabase, make_workflow: MakeWorkflow, moves: list[tuple[str, int, int, int]]
) -> None:
    till = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    player = Player(database, [till])
    await player.play(till, "thaw", 1, 0, 0)
    for operation, ask, claims_back, amount in moves:
        await player.play(till, operation, ask, claims_back, amount)
    await assert_books_balance(database.admin)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_L10_counters_are_the_sums_of_the_rows_after_concurrent_interleavings(
    database: TenantDatabase, make_workflow: MakeWorkflow, seed: int
) -> None:
    """No deadlock either: a worker meets the others on the same attempts, workflows and month."""
    tills = [Till(database.app, await make_workflow(State.ICP_PROCESSING)) for _ in range(3)]
    player = Player(database, tills)

    async def worker(number: int) -> None:
        mine = random.Random(seed * 1000 + number)
        for _ in range(60):
            [operation] = mine.choices(list(OPERATIONS), list(OPERATIONS.values()))
            back = mine.random() < 0.2
            await player.play(mine.choice(tills), operation, mine.randint(1, 6), back, mine.randint(0, 600_000))

    async def observer() -> None:
        """L1 in every committed snapshot, not only at the end."""
        for _ in range(15):
            await assert_books_balance(database.admin)
            await asyncio.sleep(0.05)

    await asyncio.gather(observer(), *(worker(number) for number in range(14)))
    await assert_books_balance(database.admin)
    states = Counter(row["state"] for row in await database.admin.fetch("SELECT state FROM spend_attempts"))
    assert states["SETTLED"] >= 3, (states, player.done)
    assert sum(player.done.values()) > 100, player.done


async def test_L23_a_cancellation_and_a_settlement_over_a_months_turn_wait_for_each_other_in_one_order(
    database: TenantDatabase, make_workflow: MakeWorkflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one has a hold of each month to end, the other an answer of each to book."""
    cancelled, settling = [Till(database.app, await make_workflow(State.ICP_PROCESSING)) for _ in range(2)]
    await _it_is(database, "2999-01-01")
    await cancelled.authorize(an_ask(cancelled.workflow, 1))
    first = await settling.paid(an_ask(settling.workflow, 1))
    await _it_is(database, "2999-02-01")
    answered = await cancelled.sent(an_ask(cancelled.workflow, 2))
    await cancelled.store(answered, an_answer())
    second = await settling.sent(an_ask(settling.workflow, 2))
    await settling.store(second, an_answer())
    is_settled = asyncio.Event()
    settle_answered = spend.settle_answered

    async def and_then_a_while(*arguments: Any) -> Any:
        settled = await settle_answered(*arguments)
        is_settled.set()
        await _wait(database, sessions=1)
        return settled

    async def cancel() -> None:
        reference = WorkflowRef(
            workflow_id=cancelled.workflow.workflow_id, organization_id=cancelled.workflow.organization_id
        )
        async with database.app.transaction(cancelled.organization_id) as connection:
            await cancel_row(connection, reference, actor="ada", reason="no longer wanted")

    async def settle() -> None:
        await is_settled.wait()
        await settling.settle(first, second)

    monkeypatch.setattr(spend, "settle_answered", and_then_a_while)
    await asyncio.gather(cancel(), settle())
    assert (await settling.load(second)).state is AttemptState.SETTLED
    assert (await cancelled.counters()).held_usd == 0
    await assert_books_balance(database.admin)


async def _it_is(database: TenantDatabase, month: str) -> None:
    await database.admin.execute(
        f"""CREATE OR REPLACE FUNCTION current_spend_month() RETURNS date
        LANGUAGE sql SET search_path = public, pg_temp AS $$ SELECT '{month}'::date $$"""
    )
