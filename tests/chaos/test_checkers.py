"""The bench's checkers see every lie: each violation that its report can name is made here, and nothing else is found.

Rows are forged as only a superuser can, with the triggers off; the database itself would refuse them.
"""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from domain.states import State
from tests.chaos.checkers import BillLine, Findings, check_money_and_state, check_published
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase
from tests.integration.money_cases import DROPPED, NANO, NOT_BILLED, Till, an_answer, an_ask

COST = Decimal("0.0001")
SLUG = "invoice-matching"


@pytest.fixture
async def till(database: TenantDatabase, make_workflow: MakeWorkflow) -> Till:
    return Till(database.app, await make_workflow(State.ICP_PROCESSING))


async def forge(database: TenantDatabase, statement: str, *arguments: object) -> None:
    async with database.admin.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(statement, *arguments)


async def look(database: TenantDatabase, bill: Sequence[BillLine] = (), *, may_be_unknown: bool = False) -> Findings:
    return await check_money_and_state(database.admin, bill, may_be_unknown=may_be_unknown)


async def unknown(till: Till, ask: int = 1) -> UUID:
    attempt_id = await till.sent(an_ask(till.workflow, ask))
    await till.store(attempt_id, DROPPED)
    return attempt_id


async def written_off(database: TenantDatabase, till: Till, ask: int = 1) -> tuple[UUID, Decimal]:
    attempt_id = await unknown(till, ask)
    return attempt_id, (await till.using(database.operator).write_off(attempt_id)).cost_usd


# Money -----------------------------------------------------------------------------------------------------------


async def test_sound_books_are_no_violation_and_a_write_off_is_counted(database: TenantDatabase, till: Till) -> None:
    paid = await till.paid(an_ask(till.workflow, 1), an_answer(COST))
    await till.store(await till.sent(an_ask(till.workflow, 2)), NOT_BILLED)
    lost, hold = await written_off(database, till, 3)
    await till.authorize(an_ask(till.workflow, 4), expires_after_seconds=0)
    await till.expire()
    findings = await look(database, [BillLine(paid, COST), BillLine(lost, COST)])
    assert findings.violations == []
    assert (findings.attempts, findings.written_off_above_bill_usd) == (4, hold - COST)


@pytest.mark.parametrize("state", ["RESERVED", "DISPATCHED", "ANSWERED"])
async def test_what_is_left_open_is_a_violation_and_its_bill_is_lost(
    database: TenantDatabase, till: Till, state: str
) -> None:
    attempt = an_ask(till.workflow)
    await till.authorize(attempt)
    bill = [] if state == "RESERVED" else [BillLine(attempt.attempt_id, COST)]
    if bill:
        await till.dispatch(attempt.attempt_id)
    if state == "ANSWERED":
        await till.store(attempt.attempt_id, an_answer(COST))
    findings = await look(database, bill)
    assert [f"is left {state}" in violation for violation in findings.violations] == [True]
    assert findings.lost_usd == sum(line.cost_usd for line in bill)


async def test_an_unknown_is_a_violation_when_it_should_be_resolved(database: TenantDatabase, till: Till) -> None:
    await unknown(till)
    before, after = await look(database, may_be_unknown=True), await look(database)
    assert (before.violations, before.unknown_open) == ([], 1)
    assert ["is left UNKNOWN" in violation for violation in after.violations] == [True]


async def test_a_hold_and_a_write_off_below_the_bill_are_lost_money(database: TenantDatabase, till: Till) -> None:
    held = await unknown(till, 1)
    lost, hold = await written_off(database, till, 2)
    bill = [BillLine(held, hold + NANO), BillLine(lost, hold + 2 * NANO)]
    findings = await look(database, bill, may_be_unknown=True)
    assert len(findings.violations) == 2
    assert any(" holds $" in violation for violation in findings.violations)
    assert any(" is written off at $" in violation for violation in findings.violations)
    assert findings.lost_usd == 3 * NANO


@pytest.mark.parametrize("difference", [NANO, -NANO])
async def test_a_booking_unlike_the_bill_is_a_violation_either_way(
    database: TenantDatabase, till: Till, difference: Decimal
) -> None:
    paid = await till.paid(an_ask(till.workflow), an_answer(COST))
    findings = await look(database, [BillLine(paid, COST + difference)])
    assert ["booked at" in violation for violation in findings.violations] == [True]
    assert findings.lost_usd == max(difference, Decimal(0))


async def test_a_second_settlement_of_one_attempt_is_counted(database: TenantDatabase, till: Till) -> None:
    paid = await till.paid(an_ask(till.workflow), an_answer(COST))
    await forge(
        database,
        """
        INSERT INTO ai_usage_ledger (idempotency_key, attempt_id, workflow_id, organization_id, month, entry, step,
            slot, model, prompt_tokens, completion_tokens, cost)
        SELECT $1, attempt_id, workflow_id, organization_id, month, entry, step, slot, model, 0, 0, 0
        FROM ai_usage_ledger
        """,
        uuid4(),
    )
    findings = await look(database, [BillLine(paid, COST)])
    assert findings.double_settlements == 1
    assert any("was settled 2 times" in violation for violation in findings.violations)


@pytest.mark.parametrize("table", ["intent_workflows", "organization_months"])
@pytest.mark.parametrize("counter", ["spent_usd", "held_usd"])
async def test_a_counter_that_is_not_the_sum_of_its_rows_is_a_violation(
    database: TenantDatabase, till: Till, table: str, counter: str
) -> None:
    paid = await till.paid(an_ask(till.workflow), an_answer(COST))
    await forge(database, f"UPDATE {table} SET {counter} = {counter} + 0.000000001")
    findings = await look(database, [BillLine(paid, COST)])
    assert ["the counters are off" in violation for violation in findings.violations] == [True]
    assert findings.overspend_usd == 0


async def test_what_passes_a_cap_is_overspend_to_the_nano_dollar(database: TenantDatabase, till: Till) -> None:
    paid = await till.paid(an_ask(till.workflow), an_answer(COST))
    await database.admin.execute("ALTER TABLE intent_workflows DROP CONSTRAINT workflow_within_cap")
    await forge(database, "UPDATE intent_workflows SET authorized_cap_usd = $1", COST - 2 * NANO)
    findings = await look(database, [BillLine(paid, COST)])
    assert findings.overspend_usd == 2 * NANO
    assert len(findings.violations) == 1


# State -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lie",
    [
        "DELETE FROM workflow_transitions",
        "DELETE FROM workflow_transitions WHERE seq = 1",
        "UPDATE intent_workflows SET version = version + 1",
        "UPDATE intent_workflows SET state = 'ICP_FAILED'",
        "UPDATE workflow_transitions SET from_state = 'ICP_FAILED' WHERE seq = 2",
    ],
)
async def test_an_audit_that_does_not_lead_to_the_row_is_a_gap(database: TenantDatabase, till: Till, lie: str) -> None:
    assert till.workflow.version == 2
    assert (await look(database)).audit_gaps == 0
    await forge(database, lie)
    findings = await look(database)
    assert (findings.audit_gaps, len(findings.violations)) == (1, 1)


async def test_edges_that_are_not_legal_are_counted_though_the_audit_has_no_gap(
    database: TenantDatabase, till: Till
) -> None:
    """CREATED → ICP_COMPLETED → ICP_PROCESSING: gapless, and folding to the row's state."""
    await forge(database, "UPDATE workflow_transitions SET to_state = 'ICP_COMPLETED' WHERE seq = 1")
    await forge(database, "UPDATE workflow_transitions SET from_state = 'ICP_COMPLETED' WHERE seq = 2")
    findings = await look(database)
    assert (findings.audit_gaps, findings.illegal_transitions, len(findings.violations)) == (0, 2, 2)


# Pages -----------------------------------------------------------------------------------------------------------


async def publication(database: TenantDatabase, workflow: MadeWorkflow, state: str) -> None:
    article_id = uuid4()
    await forge(
        database,
        """
        INSERT INTO articles (article_id, workflow_id, organization_id, cluster_id, position, keyword, role, state)
        VALUES ($1, $2, $3, $1, 0, 'invoice matching', 'hub', 'PASSED')
        """,
        article_id, workflow.workflow_id, workflow.organization_id,
    )  # fmt: skip
    await forge(
        database,
        """
        INSERT INTO publications (publication_id, article_id, workflow_id, organization_id, target, mode, slug,
            content_hash, state, claim)
        VALUES ($1, $1, $2, $3, 'files', 'publish', $4, 'hash', $5, 1)
        """,
        article_id, workflow.workflow_id, workflow.organization_id, SLUG, state,
    )  # fmt: skip


def write_page(folder: Path, workflow: MadeWorkflow, site: str = "harborline.example") -> None:
    path = folder / site / f"run-{workflow.workflow_id.hex[:8]}"
    path.mkdir(parents=True, exist_ok=True)
    (path / f"{SLUG}.html").write_text("<p>page</p>", encoding="utf-8")
    (path / "index.html").write_text("<p>index</p>", encoding="utf-8")


async def pages_checked(database: TenantDatabase, folder: Path) -> Findings:
    findings = Findings()
    await check_published(findings, database.admin, folder)
    return findings


@pytest.mark.parametrize(
    ("state", "pages", "is_sound", "duplicates"),
    [
        ("PUBLISHED", 1, True, 0),
        ("UNCHANGED", 1, True, 0),
        ("PUBLISHED", 0, False, 0),
        ("PUBLISHED", 2, False, 1),
        ("PENDING", 0, True, 0),
        ("PENDING", 1, True, 0),
        ("FAILED", 2, False, 1),
        ("UNPUBLISHED", 0, True, 0),
        ("UNPUBLISHED", 1, False, 1),
    ],
)
async def test_a_page_stands_once_where_it_is_published_and_nowhere_else(
    database: TenantDatabase, till: Till, tmp_path: Path, state: str, pages: int, is_sound: bool, duplicates: int
) -> None:
    await publication(database, till.workflow, state)
    for site in range(pages):
        write_page(tmp_path, till.workflow, f"site-{site}.example")
    findings = await pages_checked(database, tmp_path)
    assert (findings.violations == [], findings.duplicate_publishes) == (is_sound, duplicates)


async def test_a_page_that_no_article_stands_for_is_a_violation(
    database: TenantDatabase, till: Till, tmp_path: Path
) -> None:
    write_page(tmp_path, till.workflow)
    findings = await pages_checked(database, tmp_path)
    assert (len(findings.violations), findings.duplicate_publishes) == (1, 1)


async def test_one_runs_page_does_not_stand_for_anothers_of_the_same_slug(
    database: TenantDatabase, till: Till, make_workflow: MakeWorkflow, tmp_path: Path
) -> None:
    """The bench starts the same briefs again and again, so that slugs repeat."""
    other = await make_workflow(State.ICP_PROCESSING)
    for workflow in (till.workflow, other):
        await publication(database, workflow, "PUBLISHED")
    write_page(tmp_path, other, "site-1.example")
    write_page(tmp_path, other, "site-2.example")
    findings = await pages_checked(database, tmp_path)
    assert (len(findings.violations), findings.duplicate_publishes) == (2, 1)
