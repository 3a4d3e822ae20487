"""The reconciler on a real Postgres and the sandbox over HTTP: nothing stays open, everything is booked once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr
from temporalio.testing import ActivityEnvironment

from activities.reconciliation import LookUpCost, Pass, ReconciliationActivities, reconcile_money
from activities.spend import PaidCall, PaidCallActivities
from db import reconciliation, spend
from domain.errors import BadInputError, ConfigurationError, IdempotencyConflictError
from domain.money import Usage
from domain.progress import ClaimRef
from domain.reconciliation import LookedUp, MoneyReport, ReconcileSettings, is_whole_answer
from domain.spend import (
    AttemptState,
    CallOutcome,
    NewAttempt,
    OutcomeKind,
    ProviderAnswer,
    UnknownOutcome,
    outcome_of,
)
from domain.states import State, Step
from providers.language_model import LanguageModel
from sandbox.server import RunningSandbox, start_sandbox_server
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase, walk
from tests.integration.money_cases import (
    DROPPED,
    MINI,
    NANO,
    NOT_BILLED,
    Till,
    an_answer,
    an_ask,
    assert_books_balance,
)

# Everything is due at once; a write-off only where a test asks for it.
AT_ONCE = ReconcileSettings(
    call_grace_seconds=0, settle_grace_seconds=0, write_off_after_seconds=3600, look_up_every_seconds=0
)
WRITING_OFF = AT_ONCE.model_copy(update={"write_off_after_seconds": 0})
PATIENT = ReconcileSettings()
OUR_OPERATOR_FUNCTIONS = {"reconcile_attempt", "book_looked_up_cost", "correct_ledger", "thaw_scope", "freeze_scope"}
SHORT_SECONDS = 0.02


@pytest.fixture
async def till(database: TenantDatabase, make_workflow: MakeWorkflow) -> Till:
    return Till(database.app, await make_workflow(State.ICP_PROCESSING))


async def sent(till: Till, ask: int = 1, **facts: Any) -> UUID:
    """Dispatched, with a call deadline that is over when this returns."""
    attempt = an_ask(till.workflow, ask, **facts)
    await till.authorize(attempt, call_deadline_seconds=SHORT_SECONDS)
    send_now, _ = await till.dispatch(attempt.attempt_id)
    assert send_now
    await asyncio.sleep(SHORT_SECONDS * 1.5)
    return attempt.attempt_id


async def unknown(till: Till, ask: int = 1, *, generation_id: str | None = "gen-7") -> UUID:
    attempt_id = await sent(till, ask)
    if generation_id is not None:
        async with till.database.transaction(till.organization_id) as connection:
            await spend.record_generation_id(connection, till.organization_id, attempt_id, generation_id)
    await till.store(attempt_id, DROPPED)
    return attempt_id


def saying(usage: Usage | None, asked: list[str] | None = None) -> LookUpCost:
    async def look_up_cost(generation_id: str) -> Usage | None:
        if asked is not None:
            asked.append(generation_id)
        return usage

    return look_up_cost


def answer_to_gen_7(usd: str, **facts: Any) -> ProviderAnswer:
    return an_answer(usd, **facts).model_copy(update={"generation_id": "gen-7"})


def cost(usd: str | Decimal) -> Usage:
    return Usage(prompt_tokens=20, completion_tokens=30, cost_usd=Decimal(usd))


async def run_pass(
    database: TenantDatabase, settings: ReconcileSettings = AT_ONCE, look_up_cost: LookUpCost | None = None
) -> MoneyReport:
    return await reconcile_money(database.operator, settings, look_up_cost, trouble="nobody to ask")


def done(report: MoneyReport) -> dict[str, int]:
    return {str(one.kind): one.attempts for one in report.sums}


async def hold_of(till: Till, attempt_id: UUID) -> Decimal:
    return (await till.load(attempt_id)).hold_usd


async def turn_to_another_month(database: TenantDatabase) -> date:
    """From here on the database takes it for the current one."""
    await database.admin.execute(
        "CREATE OR REPLACE FUNCTION current_spend_month() RETURNS date LANGUAGE sql AS $$ SELECT '2999-01-01'::date $$"
    )
    return date(2999, 1, 1)


# What is due, and when ---------------------------------------------------------------------------------------


async def test_L15_reserved_past_its_expiry_is_expired_by_the_databases_clock(
    database: TenantDatabase, till: Till
) -> None:
    expired, alive = an_ask(till.workflow, 1), an_ask(till.workflow, 2)
    await till.authorize(expired, expires_after_seconds=0)
    await till.authorize(alive)
    report = await run_pass(database)
    assert done(report) == {"EXPIRED": 1}
    assert (report.sums[0].booked_usd, report.sums[0].hold_usd) == (0, await hold_of(till, expired.attempt_id))
    assert (await till.load(expired.attempt_id)).state is AttemptState.EXPIRED
    assert (await till.load(alive.attempt_id)).state is AttemptState.RESERVED
    assert await till.dispatch(expired.attempt_id) == (False, await till.load(expired.attempt_id))
    [opened] = report.open_attempts
    assert (opened.attempt_id, opened.state, opened.is_overdue) == (alive.attempt_id, "RESERVED", False)
    assert opened.why == "authorized and not sent yet"
    await assert_books_balance(database.admin)


async def test_L23_dispatched_past_its_deadline_is_unknown_then_written_off_at_its_hold(
    database: TenantDatabase, till: Till
) -> None:
    attempt_id = await sent(till)
    hold = await hold_of(till, attempt_id)
    assert done(await run_pass(database, PATIENT)) == {}
    report = await run_pass(database)
    assert done(report) == {"UNKNOWN": 1}
    assert [(one.state, one.attempts, one.overdue, one.hold_usd) for one in report.open_sums] == [
        ("UNKNOWN", 1, 0, hold)
    ]
    assert "no id to ask by" in report.open_attempts[0].why
    assert outcome_of(await till.load(attempt_id)).kind is OutcomeKind.UNKNOWN
    assert (await till.counters()).held_usd == hold

    report = await run_pass(database, WRITING_OFF)
    assert done(report) == {"WRITTEN_OFF": 1}
    assert report.sums[0].booked_usd == hold
    assert report.open_sums == ()
    assert ((await till.counters()).spent_usd, (await till.counters()).held_usd) == (hold, 0)
    assert done(await run_pass(database, WRITING_OFF)) == {}
    await assert_books_balance(database.admin)


async def test_L23_a_call_within_its_deadline_is_left_to_its_worker(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    report = await run_pass(database)
    assert (done(report), (await till.load(attempt_id)).state) == ({}, AttemptState.DISPATCHED)
    [opened] = report.open_attempts
    assert not opened.is_overdue


async def test_L23_a_calls_deadline_counts_from_its_dispatch(database: TenantDatabase, till: Till) -> None:
    """Between authorize and the call a worker may be missing for as long as the hold lasts."""
    await till.sent(an_ask(till.workflow))
    seconds = "SELECT extract(epoch FROM call_deadline_at - dispatched_at) FROM spend_attempts"
    assert await database.admin.fetchval(seconds) == 120


async def test_L23_answered_and_never_settled_is_settled_also_after_the_workflow_ended(
    database: TenantDatabase, till: Till
) -> None:
    attempt_id = await sent(till)
    await till.store(attempt_id, an_answer("0.0003"))
    async with database.app.transaction(till.organization_id) as connection:
        await walk(connection, till.workflow, [State.CANCELLED])
    assert done(await run_pass(database, PATIENT)) == {}
    report = await run_pass(database)
    assert done(report) == {"SETTLED": 1}
    assert report.sums[0].booked_usd == Decimal("0.0003")
    assert [(line.entry, line.cost) for line in await till.ledger()] == [("usage", Decimal("0.0003"))]
    await assert_books_balance(database.admin)


async def test_what_is_not_due_yet_is_told_with_its_reason_and_its_moment(till: Till, database: TenantDatabase) -> None:
    await till.authorize(an_ask(till.workflow, 1))
    await sent(till, 2)
    await till.store(await sent(till, 3), an_answer())
    await unknown(till, 4)
    report = await run_pass(database, PATIENT, saying(None))
    assert report.sums == ()
    assert {str(one.state): one.why for one in report.open_attempts} == {
        "RESERVED": "authorized and not sent yet",
        "DISPATCHED": "sent, and the provider may still answer",
        "ANSWERED": "answered, and its run books it next",
        "UNKNOWN": "no telling what it cost; the provider was asked 1 time and had no figure",
    }
    assert not any(one.is_overdue for one in report.open_attempts)
    deadlines = {
        row["attempt_id"]: row["due_at"]
        for row in await database.admin.fetch(
            """
            SELECT attempt_id, CASE state WHEN 'RESERVED' THEN expires_at WHEN 'ANSWERED' THEN answered_at
                + interval '60 s' WHEN 'DISPATCHED' THEN call_deadline_at + interval '60 s'
                ELSE call_deadline_at + interval '1 h' END AS due_at FROM spend_attempts
            """
        )
    }
    assert {one.attempt_id: one.due_at for one in report.open_attempts} == deadlines


async def test_a_pass_looks_at_all_tenants_and_writes_under_each_ones_own_name(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    tills = [
        Till(database.app, await make_workflow(State.ICP_PROCESSING, domain=f"tenant-{number}.example"))
        for number in range(3)
    ]
    for till in tills:
        await till.authorize(an_ask(till.workflow, 1), expires_after_seconds=0)
        await till.store(await sent(till, 2), an_answer("0.0001"))
    report = await run_pass(database)
    assert done(report) == {"EXPIRED": 3, "SETTLED": 3}
    assert {one.organization_id for one in report.resolutions} == {till.organization_id for till in tills}
    for till in tills:
        counters = await till.counters()
        assert (counters.spent_usd, counters.held_usd) == (Decimal("0.0001"), 0)
    await assert_books_balance(database.admin)


async def test_more_than_a_batch_is_done_by_the_next_pass(database: TenantDatabase, till: Till) -> None:
    for ask in range(1, 6):
        await till.authorize(an_ask(till.workflow, ask), expires_after_seconds=0)
    settings = AT_ONCE.model_copy(update={"attempts_max": 2})
    reports = [await run_pass(database, settings) for _ in range(3)]
    assert [done(report) for report in reports] == [{"EXPIRED": 2}, {"EXPIRED": 2}, {"EXPIRED": 1}]
    assert [report.has_more for report in reports] == [True, True, False]
    whole = reports[0].after(reports[1]).after(reports[2])
    assert (done(whole), len(whole.resolutions), whole.has_more) == ({"EXPIRED": 5}, 5, False)


def test_of_several_passes_the_last_ones_failures_are_told() -> None:
    """What could not be resolved is tried by each pass again."""
    failed, mended = (MoneyReport(failures=failures) for failures in (("attempt 7: no figure",), ()))
    assert failed.after(mended).failures == ()
    assert mended.after(failed).failures == failed.failures


async def test_one_attempt_that_cannot_be_resolved_keeps_no_other_from_it(database: TenantDatabase, till: Till) -> None:
    broken, fine = await sent(till, 1), await sent(till, 2)
    for attempt_id in (broken, fine):
        await till.store(attempt_id, an_answer("0.0001"))
    # A defect as only a superuser can make one: usage that has no token counts.
    async with database.admin.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        statement = 'UPDATE spend_attempts SET usage = \'{"cost_usd": "1e12"}\' WHERE attempt_id = $1'
        await connection.execute(statement, broken)
    report = await run_pass(database)
    assert done(report) == {"SETTLED": 1}
    assert len(report.failures) == 1
    assert str(broken) in report.failures[0]
    assert [(one.attempt_id, one.is_overdue) for one in report.open_attempts] == [(broken, True)]


# Looking costs up --------------------------------------------------------------------------------------------


async def test_an_unknown_is_booked_at_what_the_provider_says_and_once(database: TenantDatabase, till: Till) -> None:
    attempt_id = await unknown(till)
    asked: list[str] = []
    report = await run_pass(database, AT_ONCE, saying(cost("0.00021"), asked))
    assert (done(report), report.looked_up, asked) == ({"LATE": 1}, 1, ["gen-7"])
    assert report.sums[0].booked_usd == Decimal("0.00021")
    assert (await till.load(attempt_id)).state is AttemptState.SETTLED
    assert [(line.entry, line.cost) for line in await till.ledger()] == [("usage", Decimal("0.00021"))]
    assert done(await run_pass(database, WRITING_OFF, saying(cost("0.5"), asked))) == {}
    assert asked == ["gen-7"]
    await assert_books_balance(database.admin)


async def test_a_late_cost_is_booked_on_a_terminal_workflow_too(database: TenantDatabase, till: Till) -> None:
    await unknown(till)
    async with database.app.transaction(till.organization_id) as connection:
        await walk(connection, till.workflow, [State.CANCELLED])
    assert done(await run_pass(database, AT_ONCE, saying(cost("0.0002")))) == {"LATE": 1}
    assert (await till.counters()).spent_usd == Decimal("0.0002")
    await assert_books_balance(database.admin)


async def test_the_providers_word_that_it_charged_nothing_voids(database: TenantDatabase, till: Till) -> None:
    attempt_id = await unknown(till)
    report = await run_pass(database, WRITING_OFF, saying(cost("0")))
    assert done(report) == {"NOT_BILLED": 1}
    attempt = await till.load(attempt_id)
    assert attempt.state is AttemptState.VOIDED
    assert outcome_of(attempt) == CallOutcome(
        kind=OutcomeKind.NOT_BILLED, reason="the provider says that it charged nothing"
    )
    assert [(line.entry, line.cost) for line in await till.ledger()] == [("not_billed", 0)]
    assert (await till.counters()).held_usd == 0
    await assert_books_balance(database.admin)


async def test_a_late_answer_after_the_write_off_is_a_correction_row(database: TenantDatabase, till: Till) -> None:
    attempt_id = await unknown(till)
    hold = await hold_of(till, attempt_id)
    assert done(await run_pass(database, WRITING_OFF, saying(None))) == {"WRITTEN_OFF": 1}
    report = await run_pass(database, WRITING_OFF, saying(cost("0.0001")))
    assert done(report) == {"CORRECTED": 1}
    assert report.sums[0].booked_usd == Decimal("0.0001") - hold
    written_off, correction = await till.ledger()
    assert (written_off.entry, correction.entry, correction.corrects) == ("write_off", "correction", attempt_id)
    assert written_off.cost + correction.cost == (await till.counters()).spent_usd == Decimal("0.0001")
    assert done(await run_pass(database, WRITING_OFF, saying(cost("0.0001")))) == {}
    await assert_books_balance(database.admin)


async def test_half_an_answer_whose_write_off_was_corrected_is_not_handed_out(
    database: TenantDatabase, till: Till
) -> None:
    attempt_id = await unknown(till)
    await till.store(attempt_id, DROPPED.model_copy(update={"http_status": 200, "body": '{"choices": []}'}))
    assert done(await run_pass(database, WRITING_OFF, saying(None))) == {"WRITTEN_OFF": 1}
    assert done(await run_pass(database, WRITING_OFF, saying(cost("0.0001")))) == {"CORRECTED": 1}
    assert (await till.load(attempt_id)).rejected_reason == reconciliation.INCOMPLETE


async def test_nothing_billed_after_the_write_off_takes_all_of_it_back(database: TenantDatabase, till: Till) -> None:
    attempt_id = await unknown(till)
    hold = await hold_of(till, attempt_id)
    await run_pass(database, WRITING_OFF, saying(None))
    report = await run_pass(database, WRITING_OFF, saying(cost(0)))
    assert (done(report), report.sums[0].booked_usd) == ({"NOT_BILLED": 1}, -hold)
    assert (await till.counters()).spent_usd == 0
    await assert_books_balance(database.admin)


async def test_it_is_asked_less_and_less_often_and_once_more_before_the_write_off(
    database: TenantDatabase, till: Till
) -> None:
    await unknown(till)
    asked: list[str] = []
    settings = AT_ONCE.model_copy(update={"look_up_every_seconds": 100, "look_up_every_seconds_max": 300})
    waits = []
    for _ in range(4):
        await run_pass(database, settings, saying(None, asked))
        for seconds in (50, 100, 200, 300):
            await database.admin.execute(
                "UPDATE spend_attempts SET looked_up_at = clock_timestamp() - make_interval(secs => $1)", seconds
            )
            async with database.operator.reading() as connection:
                if await reconciliation.due_look_ups(connection, settings):
                    waits.append(seconds)
                    break
    assert len(asked) == 4
    assert waits == [100, 200, 300, 300]
    await database.admin.execute("UPDATE spend_attempts SET looked_up_at = clock_timestamp()")
    due = settings.model_copy(update={"write_off_after_seconds": 0})
    assert done(await run_pass(database, due, saying(None, asked))) == {"WRITTEN_OFF": 1}
    assert len(asked) == 5


async def test_a_written_off_cost_is_looked_up_for_its_time_only(database: TenantDatabase, till: Till) -> None:
    await unknown(till)
    await run_pass(database, WRITING_OFF, saying(None))
    for seconds, wanted in ((3600.0, 1), (0.0, 0)):
        settings = WRITING_OFF.model_copy(update={"late_look_up_seconds": seconds})
        async with database.operator.reading() as connection:
            assert len(await reconciliation.due_look_ups(connection, settings)) == wanted


async def test_without_anyone_to_ask_the_report_says_so(database: TenantDatabase, till: Till) -> None:
    assert (await run_pass(database)).trouble == ""
    await unknown(till)
    assert (await run_pass(database)).trouble == "nobody to ask"


async def test_a_figure_that_makes_no_sense_is_no_figure(database: TenantDatabase, till: Till) -> None:
    attempt_id = await unknown(till)
    assert done(await run_pass(database, AT_ONCE, saying(cost("99999")))) == {}
    assert (await till.load(attempt_id)).state is AttemptState.UNKNOWN


async def test_L12_a_looked_up_cost_above_the_hold_is_booked_and_freezes(database: TenantDatabase, till: Till) -> None:
    attempt_id = await unknown(till)
    hold = await hold_of(till, attempt_id)
    report = await run_pass(database, AT_ONCE, saying(cost(hold + 3 * NANO)))
    assert done(report) == {"LATE": 1}
    assert {one.workflow_id for one in report.frozen} == {till.workflow.workflow_id, None}
    counters = await till.counters()
    assert (counters.spent_usd, counters.overrun_usd) == (hold + 3 * NANO, 3 * NANO)
    await assert_books_balance(database.admin)


@pytest.mark.parametrize(
    ("body", "is_whole"),
    [
        ('{"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}]}', True),
        ('{"choices": [{"message": {"content": "{\\"a"}, "finish_reason": null}]}', False),
        ('{"choices": []}', False),
        ("<html>", False),
        ("[1]", False),
        ('{"choices": [{"finish_reason": "stop", "message": {"content": "\\u0000"}}]}', True),
    ],
)
async def test_an_answer_kept_without_a_figure_is_handed_out_again_if_it_is_whole(
    database: TenantDatabase, till: Till, body: str, is_whole: bool
) -> None:
    assert is_whole_answer(body) is is_whole
    attempt_id = await sent(till)
    async with database.app.transaction(till.organization_id) as connection:
        await spend.record_generation_id(connection, till.organization_id, attempt_id, "gen-7")
    await till.store(attempt_id, spend.UnknownOutcome(reason="no usage", http_status=200, body=body))
    assert done(await run_pass(database, AT_ONCE, saying(cost("0.0001")))) == {"LATE": 1}
    assert ((await till.load(attempt_id)).rejected_reason is None) is is_whole
    async with database.app.transaction(till.organization_id) as connection:
        later = await walk(connection, till.workflow, [State.ICP_FAILED, State.ICP_PROCESSING])
    [decision] = await till.at(later).authorize(an_ask(later))
    assert (decision.kind == "REUSED", decision.attempt_id == attempt_id) == (is_whole, is_whole)


# Crashes and races -------------------------------------------------------------------------------------------


async def test_killed_between_the_look_up_and_the_booking_it_is_booked_by_the_next_pass(
    database: TenantDatabase, till: Till
) -> None:
    await unknown(till)
    activities = ReconciliationActivities(database.operator, AT_ONCE)
    for _ in range(3):
        resolved = await activities.resolve_due(Pass())
        assert len(resolved.look_ups) == 1  # asked, answered, and then the process is gone
    assert await till.ledger() == []
    assert done(await run_pass(database, AT_ONCE, saying(cost("0.0001")))) == {"LATE": 1}
    assert len(await till.ledger()) == 1
    await assert_books_balance(database.admin)


async def test_two_reconcilers_and_more_at_once_resolve_everything_exactly_once(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    tills = [
        Till(database.app, await make_workflow(State.ICP_PROCESSING, domain=f"tenant-{number % 2}.example"))
        for number in range(4)
    ]
    for till in tills:
        await till.authorize(an_ask(till.workflow, 1), expires_after_seconds=0)
        await till.store(await sent(till, 2), an_answer("0.0001"))
        await unknown(till, 3)
        await unknown(till, 4, generation_id=None)
    reports = await asyncio.gather(*(run_pass(database, WRITING_OFF, saying(cost("0.0002"))) for _ in range(4)))
    total: Counter[str] = Counter()
    for report in reports:
        total.update(done(report))
        assert report.failures == ()
    assert total == {"EXPIRED": 4, "SETTLED": 4, "LATE": 4, "WRITTEN_OFF": 4}
    await assert_books_balance(database.admin)
    assert (await run_pass(database, WRITING_OFF)).open_sums == ()


async def test_the_reconciler_and_a_worker_that_settles_meet_without_harm(database: TenantDatabase, till: Till) -> None:
    """Both bring the same answer, or one brings it to what the other wrote off or looked up."""
    attempts = [await unknown(till, ask) for ask in range(1, 9)]

    async def worker(attempt_id: UUID) -> None:
        await till.store(attempt_id, an_answer("0.0002"))
        await till.settle(attempt_id)

    passes = [run_pass(database, WRITING_OFF, saying(cost("0.0002"))) for _ in range(2)]
    await asyncio.gather(*passes, *(worker(attempt_id) for attempt_id in attempts))
    await run_pass(database, WRITING_OFF, saying(cost("0.0002")))
    states = [(await till.load(attempt_id)).state for attempt_id in attempts]
    assert set(states) == {AttemptState.SETTLED}
    counters = await till.counters()
    assert (counters.spent_usd, counters.held_usd) == (Decimal("0.0016"), 0)
    await assert_books_balance(database.admin)


async def test_an_answer_that_comes_after_its_cost_was_looked_up_is_kept_for_the_same_money(
    database: TenantDatabase, till: Till
) -> None:
    attempt_id = await unknown(till)
    await run_pass(database, AT_ONCE, saying(cost("0.0002")))
    late = answer_to_gen_7("0.0002", prompt_tokens=25, cached_tokens=20)
    for _ in range(2):
        assert (await till.store(attempt_id, late)).answer_body == late.body
        with pytest.raises(IdempotencyConflictError, match="another answer"):
            await till.store(attempt_id, late.model_copy(update={"body": "other"}))
    assert (await till.counters()).spent_usd == Decimal("0.0002")
    await assert_books_balance(database.admin)


@pytest.mark.parametrize("looked_up", ["0", "0.0001", "0.0004"])
async def test_an_answer_that_says_other_than_the_look_up_is_booked_at_its_own_figure(
    database: TenantDatabase, till: Till, looked_up: str
) -> None:
    attempt_id = await unknown(till)
    await run_pass(database, AT_ONCE, saying(cost(looked_up)))
    assert (await till.counters()).spent_usd == Decimal(looked_up)
    late = answer_to_gen_7("0.0003")
    for _ in range(2):
        stored = await till.store(attempt_id, late)
        assert (stored.state, stored.answer_body) == (AttemptState.SETTLED, late.body)
        assert (await till.settle(attempt_id))[0].cost_usd == Decimal("0.0003")
    counters = await till.counters()
    assert (counters.spent_usd, counters.held_usd, counters.overrun_usd) == (Decimal("0.0003"), 0, 0)
    with pytest.raises(IdempotencyConflictError, match="another answer"):
        await till.store(attempt_id, late.model_copy(update={"body": "other"}))
    assert (await run_pass(database)).imbalances == ()
    await assert_books_balance(database.admin)


async def test_L1_an_answer_whose_hold_was_freed_by_a_false_look_up_is_an_overrun_and_freezes(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    probe = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    [decision] = await probe.authorize(an_ask(probe.workflow))
    workflow = await make_workflow(State.ICP_PROCESSING, cap_usd=decision.hold_usd)
    till = Till(database.app, workflow)
    attempt_id = await unknown(till)
    await run_pass(database, AT_ONCE, saying(cost("0")))
    [authorized] = await till.authorize(an_ask(workflow, 2))
    assert authorized.kind == "AUTHORIZED"  # all of the cap is held again
    await till.store(attempt_id, answer_to_gen_7("0.0003"))
    counters = await till.counters()
    assert (counters.spent_usd, counters.overrun_usd) == (Decimal("0.0003"), Decimal("0.0003"))
    assert "passed what was allowed by $0.0003" in (counters.frozen_reason or "")
    await assert_books_balance(database.admin)


async def test_a_pass_is_idempotent_after_any_of_its_transactions(database: TenantDatabase, till: Till) -> None:
    """The database is cut after each change in turn: what was done stays, the rest is done by the next pass."""
    for ask in range(1, 5):
        await till.authorize(an_ask(till.workflow, ask), expires_after_seconds=0)
    activities = ReconciliationActivities(database.operator, AT_ONCE)
    running = asyncio.ensure_future(activities.resolve_due(Pass()))
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await assert_books_balance(database.admin)
    await run_pass(database)
    assert (await till.counters()).held_usd == 0
    await assert_books_balance(database.admin)


# The provider over HTTP --------------------------------------------------------------------------------------


@dataclass
class Provider:
    server: RunningSandbox
    model: LanguageModel

    async def faults(self, *rules: dict[str, Any]) -> None:
        async with httpx2.AsyncClient() as http:
            answer = await http.post(f"{self.server.url}/faults", json={"seed": 7, "rules": list(rules)})
            answer.raise_for_status()

    async def bill(self) -> dict[UUID, Decimal]:
        async with httpx2.AsyncClient() as http:
            lines = (await http.get(f"{self.server.url}/bill")).json()
        return {UUID(line["client_request_id"]): Decimal(line["cost_usd"]) for line in lines}


@pytest_asyncio.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    server = await start_sandbox_server(tmp_path / "sandbox")
    model = LanguageModel(
        base_url=f"{server.url}/v1",
        api_key=SecretStr("sandbox"),
        timeout_seconds=30,
        look_up_attempts=2,
        look_up_delay_seconds=0,
    )
    yield Provider(server, model)
    await model.close()
    await server.stop()


async def call(till: Till, provider: Provider, ask: int) -> tuple[NewAttempt, CallOutcome]:
    attempt = an_ask(till.workflow, ask)
    await till.authorize(attempt, call_deadline_seconds=SHORT_SECONDS)
    activities = PaidCallActivities(till.database, provider.model, 1, is_sandbox=False)
    claim = ClaimRef(
        workflow_id=till.workflow.workflow_id,
        organization_id=till.organization_id,
        step=Step.ICP,
        claim=till.workflow.version,
    )
    paid = PaidCall(claim=claim, attempt_id=attempt.attempt_id)
    return attempt, await ActivityEnvironment().run(activities.call_provider, paid)


async def test_L7_what_was_billed_and_dropped_is_booked_to_the_nano_dollar_of_the_bill(
    database: TenantDatabase, till: Till, provider: Provider
) -> None:
    await provider.faults(
        {"kind": "bill_then_drop", "path": "completions"}, {"kind": "http_status", "path": "generation"}
    )
    billed, outcome = await call(till, provider, 1)
    assert outcome.kind is OutcomeKind.UNKNOWN
    assert done(await run_pass(database, AT_ONCE, provider.model.look_up_cost)) == {}
    await provider.faults()
    assert done(await run_pass(database, AT_ONCE, provider.model.look_up_cost)) == {"LATE": 1}
    bill = await provider.bill()
    assert {line.attempt_id: line.cost for line in await till.ledger()} == bill
    assert set(bill) == {billed.attempt_id}
    await assert_books_balance(database.admin)


async def test_a_generation_the_provider_never_heard_of_is_written_off_and_never_voided(
    database: TenantDatabase, till: Till, provider: Provider
) -> None:
    """A 404 is no positive word."""
    await unknown(till, generation_id="gen-of-nobody")
    assert done(await run_pass(database, AT_ONCE, provider.model.look_up_cost)) == {}
    assert done(await run_pass(database, WRITING_OFF, provider.model.look_up_cost)) == {"WRITTEN_OFF": 1}
    await assert_books_balance(database.admin)


async def test_the_provider_hangs_and_the_pass_goes_on(
    database: TenantDatabase, till: Till, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.language_model.LOOK_UP_TIMEOUT_SECONDS", 0.2)
    await unknown(till, 1)
    await till.store(await sent(till, 2), an_answer("0.0001"))
    await provider.faults({"kind": "hang", "seconds": 3, "path": "generation"})
    report = await run_pass(database, AT_ONCE, provider.model.look_up_cost)
    assert (done(report), report.looked_up) == ({"SETTLED": 1}, 1)
    await provider.faults()


# Reports -----------------------------------------------------------------------------------------------------


async def test_L14_drift_beyond_the_tolerance_is_reported(database: TenantDatabase, till: Till) -> None:
    computed = Decimal("0.000021")  # 20 and 30 tokens of the small model
    await till.paid(an_ask(till.workflow, 1), an_answer(computed))
    await till.paid(an_ask(till.workflow, 2), an_answer(computed + NANO))
    assert (await run_pass(database)).drift.rows == 0
    await till.paid(an_ask(till.workflow, 3), an_answer(computed * 2))
    await till.paid(an_ask(till.workflow, 4), an_answer(None))
    drift = (await run_pass(database)).drift
    assert (drift.rows, drift.provider_usd, drift.computed_usd) == (1, computed * 2, computed)


async def test_L10_counters_that_are_not_the_sums_of_their_rows_are_found(database: TenantDatabase, till: Till) -> None:
    await till.paid(an_ask(till.workflow, 1), an_answer("0.0001"))
    assert (await run_pass(database)).imbalances == ()
    await database.admin.execute("UPDATE intent_workflows SET spent_usd = spent_usd + 0.1")
    await database.admin.execute("UPDATE organization_months SET held_usd = held_usd + 0.2")
    imbalances = (await run_pass(database)).imbalances
    assert [(one.spent_usd - one.spent_in_rows_usd, one.held_usd - one.held_in_rows_usd) for one in imbalances] == [
        (Decimal("0.1"), 0),
        (0, Decimal("0.2")),
    ]
    async with database.operator.reading() as connection:
        lately = await reconciliation.imbalances(connection, 3600)
        assert [one.scope for one in lately] == [f"workflow {till.workflow.workflow_id}"]


async def test_L10_counters_of_several_organizations_are_each_compared_with_their_own_rows(
    database: TenantDatabase, till: Till, make_workflow: MakeWorkflow
) -> None:
    other = Till(database.app, await make_workflow(State.ICP_PROCESSING, domain="stranger.example"))
    for one in (till, other):
        await one.paid(an_ask(one.workflow, 1), an_answer("0.0001"))
        await one.authorize(an_ask(one.workflow, 2))
    assert (await run_pass(database)).imbalances == ()


async def test_a_look_at_what_changed_lately_leaves_older_bookings_and_scopes_out(
    database: TenantDatabase, till: Till
) -> None:
    await till.paid(an_ask(till.workflow), an_answer("0.5"))
    async with database.admin.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute("UPDATE ai_usage_ledger SET created_at = created_at - interval '2 days'")
        await connection.execute(
            "UPDATE intent_workflows SET held_usd = held_usd + 0.1, updated_at = updated_at - interval '2 days'"
        )
    assert (await run_pass(database)).drift.rows == 0
    longer = AT_ONCE.model_copy(update={"report_window_seconds": 3 * 86_400})
    assert (await run_pass(database, longer)).drift.rows == 1
    async with database.operator.reading() as connection:
        assert await reconciliation.imbalances(connection, 86_400) == []
        assert len(await reconciliation.imbalances(connection, 3 * 86_400)) == 1


async def test_L21_recomputing_any_row_gives_its_computed_cost(database: TenantDatabase, till: Till) -> None:
    await till.paid(an_ask(till.workflow, 1), an_answer("0.00037", prompt_tokens=913, cached_tokens=400))
    await till.paid(an_ask(till.workflow, 2), an_answer(None, prompt_tokens=77, completion_tokens=3))
    await till.paid(an_ask(till.workflow, 3), an_answer("0.0002", model="unheard/of"))
    await till.store(await till.sent(an_ask(till.workflow, 4)), NOT_BILLED)
    await unknown(till, 5)
    await run_pass(database, WRITING_OFF, saying(None))
    await run_pass(database, WRITING_OFF, saying(cost("0.0001")))
    lines = await till.ledger()
    async with database.app.transaction(till.organization_id) as connection:
        recomputed = [await reconciliation.recompute_cost(connection, line.idempotency_key) for line in lines]
        assert await reconciliation.recompute_cost(connection, uuid4()) is None
    assert [one is not None and one.agrees for one in recomputed] == [True] * 6
    assert [one.computed_usd for one in recomputed if one] == [line.computed_cost_usd for line in lines]
    assert sum(line.computed_cost_usd is not None for line in lines) == 3


# Who may -----------------------------------------------------------------------------------------------------


async def test_only_the_operator_reconciles_corrects_freezes_and_thaws(database: TenantDatabase, till: Till) -> None:
    rows = await database.admin.fetch(
        """
        SELECT proname, has_function_privilege('infin8_app', oid, 'EXECUTE') AS app,
            has_function_privilege('infin8_operator', oid, 'EXECUTE') AS operator
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        """
    )
    mine = {row["proname"]: (row["app"], row["operator"]) for row in rows}
    for name in OUR_OPERATOR_FUNCTIONS:
        assert mine[name] == (False, True), name
    for name in ("lock_scope", "set_frozen_reason", "correction_overrun", "freeze_for_overrun", "resolution_of"):
        assert mine[name] == (False, False), name


async def test_another_organizations_attempts_and_rows_are_like_none(
    database: TenantDatabase, till: Till, make_workflow: MakeWorkflow
) -> None:
    stranger = await make_workflow(State.ICP_PROCESSING, domain="stranger.example")
    attempt_id = await till.paid(an_ask(till.workflow), an_answer("0.0001"))
    calls: list[Callable[[asyncpg.Connection[Any], UUID], Awaitable[object]]] = [
        lambda connection, id_: reconciliation.reconcile(connection, till.organization_id, id_, WRITING_OFF),
        lambda connection, id_: reconciliation.book_looked_up(
            connection, LookedUp(attempt_id=id_, organization_id=till.organization_id, usage=cost("1"))
        ),
        lambda connection, id_: reconciliation.correct_ledger(
            connection, till.organization_id, original=id_, key=uuid4(), amount_usd=NANO, reason="x", actor="x"
        ),
        lambda connection, _: reconciliation.thaw_scope(
            connection,
            till.organization_id,
            workflow_id=till.workflow.workflow_id,
            decision_id=uuid4(),
            actor="x",
            reason="x",
        ),
    ]
    for function in calls:
        for organization_id in (stranger.organization_id, uuid4()):
            with pytest.raises(BadInputError, match="does not exist for this organization"):
                async with database.operator.transaction(organization_id) as connection:
                    await function(connection, attempt_id)
    with pytest.raises(ConfigurationError, match="42501"):
        async with database.app.transaction(till.organization_id) as connection:
            await reconciliation.reconcile(connection, till.organization_id, attempt_id, WRITING_OFF)
    assert [line.cost for line in await till.ledger()] == [Decimal("0.0001")]


# Freezing and thawing ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operator:
    database: TenantDatabase
    workflow: MadeWorkflow

    async def thaw(self, *, decision_id: UUID | None = None, reason: str = "looked into", **scope: Any) -> str | None:
        return await self._change(reconciliation.thaw_scope, decision_id, reason, scope)

    async def freeze(self, *, decision_id: UUID | None = None, reason: str = "stop", **scope: Any) -> str | None:
        return await self._change(reconciliation.freeze_scope, decision_id, reason, scope)

    async def _change(self, change: Any, decision_id: UUID | None, reason: str, scope: dict[str, Any]) -> str | None:
        organization_id = self.workflow.organization_id
        scope = scope or {"workflow_id": self.workflow.workflow_id}
        async with self.database.operator.transaction(organization_id) as connection:
            answer: str | None = await change(
                connection,
                organization_id,
                **scope,
                decision_id=decision_id or uuid4(),
                actor="ada",
                reason=reason,
            )
            return answer

    async def correct(self, original: UUID, amount: Decimal, *, key: UUID | None = None) -> Decimal:
        organization_id = self.workflow.organization_id
        async with self.database.operator.transaction(organization_id) as connection:
            return await reconciliation.correct_ledger(
                connection,
                organization_id,
                original=original,
                key=key or uuid4(),
                amount_usd=amount,
                reason="invoice of May",
                actor="ada",
            )


@pytest.fixture
def operator(database: TenantDatabase, till: Till) -> Operator:
    return Operator(database, till.workflow)


async def overrun(till: Till, ask: int = 1) -> Decimal:
    attempt_id = await till.sent(an_ask(till.workflow, ask))
    hold = await hold_of(till, attempt_id)
    await till.store(attempt_id, an_answer(hold + NANO))
    await till.settle(attempt_id)
    return hold + NANO


async def test_L12_an_overrun_freezes_until_an_operator_thaws_both_scopes_with_a_reason(
    database: TenantDatabase, till: Till, operator: Operator
) -> None:
    spent = await overrun(till)
    [refused] = await till.authorize(an_ask(till.workflow, 2))
    assert refused.refusal is not None
    assert f"starter.py thaw {till.workflow.workflow_id} --reason" in refused.refusal.message
    why = await operator.thaw()
    assert why is not None
    assert "more than its hold" in why
    [refused] = await till.authorize(an_ask(till.workflow, 3))
    assert refused.refusal is not None
    assert "month is frozen" in refused.refusal.message
    assert f"starter.py thaw {till.workflow.workflow_id} --reason" in refused.refusal.message
    month = await database.admin.fetchval("SELECT month FROM organization_months")
    assert await operator.thaw(month=month) == why
    [allowed] = await till.authorize(an_ask(till.workflow, 4))
    assert allowed.kind == "AUTHORIZED"
    counters = await till.counters()
    assert (counters.frozen_reason, counters.overrun_usd, counters.spent_usd) == (None, NANO, spent)
    rows = await database.admin.fetch("SELECT * FROM scope_freezes ORDER BY at")
    assert [(row["action"], row["actor"], row["reason"], row["frozen_reason"]) for row in rows] == [
        ("thaw", "ada", "looked into", why)
    ] * 2
    assert await operator.thaw() is None
    await assert_books_balance(database.admin)


async def test_a_thaw_is_told_again_what_it_did_and_undoes_no_later_freeze(till: Till, operator: Operator) -> None:
    decision = uuid4()
    await operator.freeze(reason="first")
    assert await operator.thaw(decision_id=decision) == "ada: first"
    assert await operator.freeze(reason="second") == "ada: second"
    assert await operator.freeze(reason="third") == "ada: second"
    assert await operator.thaw(decision_id=decision) == "ada: first"
    assert (await till.counters()).frozen_reason == "ada: second"
    with pytest.raises(IdempotencyConflictError, match="thaw of another scope"):
        await operator.freeze(decision_id=decision)


async def test_a_frozen_workflow_books_what_is_in_flight_and_authorizes_nothing(
    database: TenantDatabase, till: Till, operator: Operator
) -> None:
    in_flight = await till.sent(an_ask(till.workflow, 1))
    await operator.freeze()
    await till.store(in_flight, an_answer("0.0001"))
    await till.settle(in_flight)
    [refused] = await till.authorize(an_ask(till.workflow, 2))
    assert refused.kind == "REFUSED"
    await assert_books_balance(database.admin)


async def test_a_month_is_frozen_before_anything_was_spent_in_it(
    database: TenantDatabase, till: Till, operator: Operator
) -> None:
    month = await database.admin.fetchval("SELECT spend_month(clock_timestamp())")
    assert await operator.freeze(month=month) == "ada: stop"
    [refused] = await till.authorize(an_ask(till.workflow))
    assert refused.kind == "REFUSED"
    assert await operator.thaw(month=month) == "ada: stop"
    with pytest.raises(BadInputError, match="month 2020-01-01 does not exist"):
        await operator.freeze(month=month.replace(year=2020, month=1))


async def test_a_month_is_thawed_and_the_others_stay_frozen(database: TenantDatabase, operator: Operator) -> None:
    first = await database.admin.fetchval("SELECT spend_month(clock_timestamp())")
    await operator.freeze(month=first, reason="first")
    second = await turn_to_another_month(database)
    await operator.freeze(month=second, reason="second")
    async with database.operator.reading() as connection:
        assert {one.month: one.reason for one in await reconciliation.frozen_scopes(connection)} == {
            first: "ada: first",
            second: "ada: second",
        }
    await operator.thaw(month=first)
    async with database.operator.reading() as connection:
        assert [one.month for one in await reconciliation.frozen_scopes(connection)] == [second]


async def test_frozen_scopes_of_one_organization_are_its_own(
    database: TenantDatabase, till: Till, operator: Operator, make_workflow: MakeWorkflow
) -> None:
    """As the operator's role, which sees all of them: `thaw` must not speak of another's month."""
    other = await make_workflow(State.ICP_PROCESSING, domain="stranger.example")
    month = await database.admin.fetchval("SELECT spend_month(clock_timestamp())")
    for one in (operator, Operator(database, other)):
        await one.freeze()
        await one.freeze(month=month)
    async with database.operator.reading() as connection:
        own = await reconciliation.frozen_scopes(connection, till.organization_id)
        assert len(await reconciliation.frozen_scopes(connection)) == 4
    assert {(one.organization_id, one.workflow_id, one.month) for one in own} == {
        (till.organization_id, till.workflow.workflow_id, None),
        (till.organization_id, None, month),
    }


async def test_L16_an_overrun_freezes_the_month_of_its_attempt(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow, 1))
    hold = await hold_of(till, attempt_id)
    month = await database.admin.fetchval("SELECT month FROM organization_months")
    await turn_to_another_month(database)
    await till.authorize(an_ask(till.workflow, 2))
    await till.store(attempt_id, an_answer(hold + NANO))
    await till.settle(attempt_id)
    frozen = (await run_pass(database)).frozen
    assert {one.month for one in frozen if one.workflow_id is None} == {month}
    await assert_books_balance(database.admin)


async def test_freezes_need_a_reason_and_one_scope_and_their_audit_is_append_only(
    database: TenantDatabase, till: Till, operator: Operator
) -> None:
    with pytest.raises(BadInputError, match="freeze_has_a_reason"):
        await operator.freeze(reason=" ")
    month = await database.admin.fetchval("SELECT spend_month(clock_timestamp())")
    with pytest.raises(BadInputError, match="one scope at a time"):
        await operator.freeze(workflow_id=till.workflow.workflow_id, month=month)
    with pytest.raises(BadInputError, match="does not exist"):
        await operator.thaw(workflow_id=uuid4())
    await operator.freeze()
    for statement in ("UPDATE scope_freezes SET actor = 'x'", "DELETE FROM scope_freezes", "TRUNCATE scope_freezes"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
            await database.admin.execute(statement)


# Corrections and refunds -------------------------------------------------------------------------------------


async def test_L19_a_refund_is_a_linked_row_and_moves_both_scopes(
    database: TenantDatabase, till: Till, operator: Operator
) -> None:
    attempt_id = await till.paid(an_ask(till.workflow), an_answer("0.0005"))
    key = uuid4()
    for _ in range(2):
        assert await operator.correct(attempt_id, Decimal("-0.0002"), key=key) == Decimal("0.0003")
    [usage, refund] = await database.admin.fetch("SELECT * FROM ai_usage_ledger ORDER BY id")
    assert (refund["entry"], refund["corrects"], refund["cost"]) == ("correction", attempt_id, Decimal("-0.0002"))
    assert (refund["reason"], refund["actor"], refund["month"]) == ("invoice of May", "ada", usage["month"])
    assert (await till.counters()).spent_usd == Decimal("0.0003")
    assert await database.admin.fetchval("SELECT spent_usd FROM organization_months") == Decimal("0.0003")
    with pytest.raises(BadInputError, match="more back than was paid"):
        await operator.correct(attempt_id, Decimal("-0.000300001"))
    assert await operator.correct(attempt_id, Decimal("-0.0003")) == 0
    with pytest.raises(IdempotencyConflictError, match="already"):
        await operator.correct(attempt_id, Decimal("-0.0001"), key=key)
    with pytest.raises(IdempotencyConflictError, match="stands for the usage"):
        await operator.correct(attempt_id, Decimal("0.0001"), key=attempt_id)
    assert (await run_pass(database)).imbalances == ()


@pytest.mark.parametrize("amount", [Decimal(0), Decimal("0.0000000001"), Decimal(10) ** 11])
async def test_a_correction_is_exact_and_has_its_row(till: Till, operator: Operator, amount: Decimal) -> None:
    attempt_id = await till.paid(an_ask(till.workflow), an_answer("0.0005"))
    with pytest.raises(BadInputError, match="a correction needs an amount"):
        await operator.correct(attempt_id, amount)
    with pytest.raises(BadInputError, match="does not exist"):
        await operator.correct(uuid4(), Decimal(1))


async def test_L1_a_dearer_bill_after_the_freed_money_was_spent_is_an_overrun_and_freezes(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    first = an_ask(await make_workflow(State.ICP_PROCESSING), 1)
    probe = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    [decision] = await probe.authorize(an_ask(probe.workflow))
    workflow = await make_workflow(State.ICP_PROCESSING, cap_usd=decision.hold_usd)
    till, operator = Till(database.app, workflow), Operator(database, workflow)
    first = an_ask(workflow, 1)
    await till.paid(first, an_answer(NANO))
    await operator.correct(first.attempt_id, -NANO)
    [authorized] = await till.authorize(an_ask(workflow, 2))
    assert authorized.kind == "AUTHORIZED"  # all of the cap is held again
    assert await operator.correct(first.attempt_id, 2 * NANO) == 2 * NANO
    counters = await till.counters()
    assert (counters.spent_usd, counters.overrun_usd) == (2 * NANO, 2 * NANO)
    assert "passed what was allowed by $0.000000002" in (counters.frozen_reason or "")
    report = await run_pass(database)
    assert report.imbalances == ()
    assert {one.workflow_id for one in report.frozen} == {workflow.workflow_id, None}


async def test_a_dearer_bill_within_hold_and_cap_is_no_overrun(till: Till, operator: Operator) -> None:
    attempt_id = await till.paid(an_ask(till.workflow), an_answer("0.00001"))
    await operator.correct(attempt_id, Decimal("0.00002"))
    counters = await till.counters()
    assert (counters.spent_usd, counters.overrun_usd, counters.frozen_reason) == (Decimal("0.00003"), 0, None)


async def test_L16_a_correction_belongs_to_the_month_of_its_attempt(
    database: TenantDatabase, till: Till, operator: Operator
) -> None:
    attempt_id = await till.paid(an_ask(till.workflow, 1), an_answer("0.0005"))
    month = await database.admin.fetchval("SELECT month FROM organization_months")
    await turn_to_another_month(database)
    await till.authorize(an_ask(till.workflow, 2))
    await operator.correct(attempt_id, Decimal("-0.0002"))
    assert [line.month for line in await till.ledger()] == [month, month]
    months = await database.admin.fetch("SELECT month, spent_usd FROM organization_months ORDER BY month")
    assert [row["spent_usd"] for row in months] == [Decimal("0.0003"), 0]
    await assert_books_balance(database.admin)


async def test_L1_a_dearer_bill_after_others_took_the_months_room_is_an_overrun_of_the_month(
    database: TenantDatabase, till: Till, make_workflow: MakeWorkflow
) -> None:
    """The workflow has room, the organization's month has none: the cost is booked all the same."""
    other = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    operator = Operator(database, till.workflow)
    attempt_id = await till.paid(an_ask(till.workflow), an_answer(NANO))
    await operator.correct(attempt_id, -NANO)
    hold = await hold_of(till, attempt_id)
    await database.admin.execute("UPDATE plans SET month_cap_usd = $1", hold)
    [authorized] = await other.authorize(an_ask(other.workflow))
    assert authorized.kind == "AUTHORIZED"  # all of the month is held
    assert await operator.correct(attempt_id, 2 * NANO) == 2 * NANO
    month = (await database.admin.fetch("SELECT overrun_usd, frozen_reason FROM organization_months"))[0]
    assert month["overrun_usd"] == 2 * NANO
    assert month["frozen_reason"] is not None
    await assert_books_balance(database.admin)


async def test_L1_an_overrun_counts_from_the_cap_of_the_authorization_not_from_a_later_one(
    database: TenantDatabase, till: Till, operator: Operator
) -> None:
    """A lowered cap binds new authorizations only: a correction within the hold passes nothing."""
    attempt_id = await till.paid(an_ask(till.workflow), an_answer("0.0001"))
    await database.admin.execute("UPDATE intent_workflows SET cap_usd = 0.0001")
    await operator.correct(attempt_id, Decimal("0.0002"))
    counters = await till.counters()
    assert (counters.spent_usd, counters.overrun_usd, counters.frozen_reason) == (Decimal("0.0003"), 0, None)


async def test_an_operators_correction_resolves_a_write_off(
    database: TenantDatabase, till: Till, operator: Operator
) -> None:
    attempt_id = await unknown(till)
    hold = await hold_of(till, attempt_id)
    await run_pass(database, WRITING_OFF, saying(None))
    assert await operator.correct(attempt_id, Decimal("0.0001") - hold) == Decimal("0.0001")
    assert (await till.load(attempt_id)).state is AttemptState.SETTLED
    asked: list[str] = []
    assert done(await run_pass(database, WRITING_OFF, saying(cost("0.5"), asked))) == {}
    assert asked == []
    await assert_books_balance(database.admin)


@pytest.mark.parametrize("by_hand", ["0.0001", "0.0003", "0"])
async def test_an_answer_after_an_operators_correction_is_kept_and_booked_at_its_cost(
    database: TenantDatabase, till: Till, operator: Operator, by_hand: str
) -> None:
    attempt_id = await unknown(till)
    hold = await hold_of(till, attempt_id)
    await run_pass(database, WRITING_OFF, saying(None))
    await operator.correct(attempt_id, Decimal(by_hand) - hold)

    for _ in range(2):
        stored = await till.store(attempt_id, an_answer("0.0003"))
        assert (stored.state, stored.answer_body) == (AttemptState.SETTLED, an_answer("0.0003").body)
        assert (await till.settle(attempt_id))[0].cost_usd == Decimal("0.0003")
    rows = await database.admin.fetch("SELECT * FROM ai_usage_ledger ORDER BY id")
    assert [row["entry"] for row in rows] == ["write_off", "correction", "correction"]
    assert (rows[-1]["corrects"], rows[-1]["provider_cost_usd"]) == (attempt_id, Decimal("0.0003"))
    assert (await till.counters()).spent_usd == Decimal("0.0003")
    assert (await till.counters()).overrun_usd == 0
    with pytest.raises(IdempotencyConflictError, match="another answer"):
        await till.store(attempt_id, an_answer("0.0004"))
    assert (await run_pass(database)).imbalances == ()
    await assert_books_balance(database.admin)


async def test_the_whole_answer_takes_the_place_of_a_part_and_a_part_is_never_handed_out(
    database: TenantDatabase, till: Till, operator: Operator
) -> None:
    attempt_id = await sent(till)
    await till.store(attempt_id, UnknownOutcome(reason="cut", http_status=200, body='{"choices": [{"mess'))
    await run_pass(database, WRITING_OFF, saying(None))
    await operator.correct(attempt_id, Decimal("-0.0001"))
    async with database.app.transaction(till.organization_id) as connection:
        later = await walk(connection, till.workflow, [State.ICP_FAILED, State.ICP_PROCESSING])
    [anew] = await till.at(later).authorize(an_ask(later))
    assert anew.kind == "AUTHORIZED"
    whole = an_answer("0.0003")
    assert (await till.store(attempt_id, whole)).answer_body == whole.body
    assert (await till.counters()).spent_usd == Decimal("0.0003")
    await assert_books_balance(database.admin)


async def test_the_providers_word_that_nothing_was_billed_comes_after_an_operators_correction(
    database: TenantDatabase, till: Till, operator: Operator
) -> None:
    attempt_id = await unknown(till)
    await run_pass(database, WRITING_OFF, saying(None))
    await operator.correct(attempt_id, Decimal("-0.0001"))
    for reason in ("free", "free", "free, in other words"):
        stored = await till.store(attempt_id, NOT_BILLED.model_copy(update={"reason": reason}))
        assert stored.state is AttemptState.SETTLED
        assert (await till.counters()).spent_usd == 0
    await till.store(attempt_id, an_answer("0.0003"))
    assert (await till.counters()).spent_usd == Decimal("0.0003")
    await assert_books_balance(database.admin)


async def test_a_correction_takes_no_key_that_an_attempts_own_booking_needs(
    database: TenantDatabase, till: Till, operator: Operator
) -> None:
    paid = await till.paid(an_ask(till.workflow), an_answer("0.0005"))
    on_its_way = await till.sent(an_ask(till.workflow, 2))
    with pytest.raises(BadInputError, match="is that of an attempt"):
        await operator.correct(paid, Decimal("-0.0001"), key=on_its_way)
    await till.store(on_its_way, an_answer("0.0001"))
    assert (await till.settle(on_its_way))[0].cost_usd == Decimal("0.0001")
    await assert_books_balance(database.admin)


async def test_the_same_usage_after_a_refund_is_no_conflict(till: Till, operator: Operator) -> None:
    attempt_id = await till.paid(an_ask(till.workflow), an_answer("0.0005"))
    await operator.correct(attempt_id, Decimal("-0.0002"))
    async with till.database.transaction(till.organization_id) as connection:
        booked = await connection.fetchval(
            "SELECT record_usage_and_increment($1, $2, $3, 20, 30, 0.0005)", attempt_id, till.organization_id, MINI
        )
    assert booked == Decimal("0.0003")


async def test_L1_an_answer_that_costs_money_a_correction_freed_and_others_hold_is_an_overrun_and_freezes(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    probe = Till(database.app, await make_workflow(State.ICP_PROCESSING))
    [decision] = await probe.authorize(an_ask(probe.workflow))
    workflow = await make_workflow(State.ICP_PROCESSING, cap_usd=decision.hold_usd)
    till, operator = Till(database.app, workflow), Operator(database, workflow)
    attempt_id = await unknown(till)
    await run_pass(database, WRITING_OFF, saying(None))
    await operator.correct(attempt_id, -decision.hold_usd)
    [authorized] = await till.authorize(an_ask(workflow, 2))
    assert authorized.kind == "AUTHORIZED"  # all of the cap is held again

    await till.store(attempt_id, an_answer("0.0003"))
    counters = await till.counters()
    assert (counters.spent_usd, counters.overrun_usd) == (Decimal("0.0003"), Decimal("0.0003"))
    assert "passed what was allowed by $0.0003" in (counters.frozen_reason or "")
    await assert_books_balance(database.admin)


async def test_two_corrections_with_one_key_at_once_book_one(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.paid(an_ask(till.workflow), an_answer("0.0005"))
    operator, key = Operator(database, till.workflow), uuid4()
    booked = await asyncio.gather(*(operator.correct(attempt_id, Decimal("-0.0001"), key=key) for _ in range(4)))
    assert set(booked) == {Decimal("0.0004")}
    assert (await till.counters()).spent_usd == Decimal("0.0004")
    await assert_books_balance(database.admin)
