"""Every crash-point cell of the fault bench: processes that die, or worse, around each commit of a paid call."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from sandbox.postgres import RunningPostgres
from tests.chaos.cells import Cell, Fault, Moment, Side, Trial, all_cells
from tests.chaos.checkers import BillLine, Findings, check_money_and_state
from tests.chaos.crash_bench import Zygote, run_cells
from tests.conftest import TenantDatabase


@pytest_asyncio.fixture(scope="module")
async def zygote() -> AsyncIterator[Zygote]:
    process = await Zygote.start()
    yield process
    await process.stop()


@pytest_asyncio.fixture
async def folder() -> AsyncIterator[Path]:
    """Short, because sockets lie in it."""
    path = Path(tempfile.mkdtemp(prefix="chaos-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_the_table_is_complete() -> None:
    assert len(set(all_cells())) == 6 * 8 * 2 * 2


@pytest.mark.parametrize("trial", Trial)
@pytest.mark.parametrize("fault", Fault)
async def test_every_moment_survives(
    fault: Fault, trial: Trial, zygote: Zygote, postgres: RunningPostgres, database: TenantDatabase, folder: Path
) -> None:
    cells = [cell for cell in all_cells() if (cell.fault, cell.trial) == (fault, trial)]
    report = await run_cells(cells, zygote=zygote, postgres=postgres, database=database, folder=folder)
    assert [f"{outcome.cell}: {trouble}" for outcome in report.outcomes for trouble in outcome.troubles] == []
    assert len(report.outcomes) == len(cells) == 16
    assert report.before.violations == []
    assert report.after.violations == []
    assert sum(report.resolved.values()) >= report.before.unknown_open


async def test_the_checkers_see_a_lie(
    zygote: Zygote, postgres: RunningPostgres, database: TenantDatabase, folder: Path
) -> None:
    """One cell that is sound, and then a bill and rows that are not."""
    cell = Cell(Fault.SIGKILL, Moment.STORING, Side.BEFORE, Trial.FIRST)
    report = await run_cells([cell], zygote=zygote, postgres=postgres, database=database, folder=folder)
    bill = report.bill
    assert report.outcomes[0].troubles == []
    assert report.before.unknown_open == sum(report.resolved.values()) == 1
    assert len(bill) == 2  # one asked for by the process that was killed, one by the next

    async def look(lines: list[BillLine]) -> Findings:
        return await check_money_and_state(database.admin, lines, may_be_unknown=True)

    async def violations(lines: list[BillLine]) -> list[str]:
        return (await look(lines)).violations

    assert await violations(bill) == []
    assert "sent twice" in (await violations([*bill, bill[0]]))[0]
    assert "no dispatched attempt" in (await violations([*bill, BillLine(uuid4(), bill[0].cost_usd)]))[0]
    dearer = [BillLine(line.attempt_id, line.cost_usd + Decimal("0.000000001")) for line in bill]
    assert "booked at" in (await violations(dearer))[0]
    far_dearer = await look([BillLine(line.attempt_id, line.cost_usd + 1) for line in bill])
    assert len([one for one in far_dearer.violations if "bill" in one]) == 3
    assert "beyond its cap" in far_dearer.violations[-1]
    assert 1 < far_dearer.overspend_usd < 2
    await database.admin.execute(
        "ALTER TABLE workflow_transitions DISABLE TRIGGER USER, DROP CONSTRAINT transition_is_legal"
    )
    await database.admin.execute("UPDATE workflow_transitions SET to_state = 'COMPLETED' WHERE seq = 1")
    lied = await look(bill)
    assert (lied.audit_gaps, lied.illegal_transitions) == (1, 1)
    assert "CREATED → COMPLETED is not legal" in lied.violations[1]
    await database.admin.execute("DELETE FROM workflow_transitions WHERE seq = 2")
    assert "for version" in (await violations(bill))[0]
