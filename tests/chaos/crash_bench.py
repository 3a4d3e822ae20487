"""Runs cells of the crash-point row in child processes, a few beside each other, and says what each came to."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from db.workflows import NewWorkflow, create_workflow
from domain.brief import brief_from_mapping, brief_hash, normalized
from domain.identifiers import bare_domain, organization_id_of, workflow_id_of
from domain.progress import WorkflowRef
from domain.settings import SpendSettings, StepSettings
from domain.states import State
from sandbox.postgres import RunningPostgres, socket_dsn
from sandbox.processes import EXEC_TIED
from sandbox.server import RunningSandbox, start_sandbox_server
from tests.chaos.cells import Cell, Failpoint, Fault, Moment, Side, Trial, failpoints_of
from tests.chaos.checkers import BillLine, Findings, bill_lines, check_money_and_state
from tests.chaos.crash_child import ACTIVITY_FAILED, CANCELLED, DONE
from tests.chaos.mending import reconcile_until_closed
from tests.conftest import MadeWorkflow, TenantDatabase, walk

ROOT = Path(__file__).parents[2]
KILLED = -9
CHILDREN_MAX = 5
CHILD_SECONDS_MAX = 30.0
HANG_SECONDS = 0.6  # how long a child waits for the provider where it is going to hang
PATIENT_SECONDS = 5.0
DESCRIPTION = (
    "{name} sells accounts payable automation to mid-size distributors whose finance teams receive many supplier "
    "invoices and want to approve, match and pay them on time without manual work."
)
_numbers = itertools.count(1)


@dataclass
class Outcome:
    """What became of one cell: how its processes ended, how often a fault struck, and what is wrong with it."""

    cell: Cell
    ref: WorkflowRef
    codes: list[int] = field(default_factory=list)
    strikes: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


@dataclass
class Zygote:
    """The process that forks the children; one line to it, one line back when the child has ended."""

    process: asyncio.subprocess.Process
    waiting: dict[int, asyncio.Future[int]] = field(default_factory=dict)

    @classmethod
    async def start(cls) -> "Zygote":
        tie = [str(os.getpid()), "9", "-1", "-1"]
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-I", "-S", str(EXEC_TIED), *tie, sys.executable, "-m", "tests.chaos.crash_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            start_new_session=True,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        zygote = cls(process)
        zygote.reading = asyncio.create_task(zygote._read())
        return zygote

    reading: asyncio.Task[None] = field(init=False)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            ended = json.loads(line)
            self.waiting.pop(ended["lane"]).set_result(ended["code"])

    async def child(self, lane: int, facts: dict[str, Any]) -> int:
        """The exit code of a child that was told these facts."""
        assert self.process.stdin is not None
        self.waiting[lane] = ended = asyncio.get_running_loop().create_future()
        self.process.stdin.write((json.dumps({"lane": lane, **facts}) + "\n").encode())
        await self.process.stdin.drain()
        return await asyncio.wait_for(ended, CHILD_SECONDS_MAX)

    async def stop(self) -> None:
        self.process.kill()
        await self.process.wait()
        self.reading.cancel()


@dataclass
class Lane:
    """Cells one after the other, with a provider of their own."""

    number: int
    zygote: Zygote
    postgres: RunningPostgres
    database: TenantDatabase
    sandbox: RunningSandbox
    folder: Path

    async def run(self, cell: Cell) -> Outcome:
        number = next(_numbers)
        outcome = Outcome(cell, await self._workflow(number, cell))
        await self._set_faults(cell)
        journal = self.folder / f"{number}.jsonl"
        for child_number in range(CHILDREN_MAX):
            failpoints = failpoints_of(cell)
            point = failpoints[child_number] if child_number < len(failpoints) else None
            is_over = cell.trial is Trial.RETRY and outcome.codes[-1:] == [CANCELLED]
            code = await self._child(outcome, journal, f"cell-{number}-{child_number}", point, cancels=is_over)
            outcome.codes.append(code)
            if code not in (DONE, ACTIVITY_FAILED, CANCELLED, KILLED):
                break
            if code == DONE and child_number >= len(failpoints) - 1:
                break
        await self._judge(outcome, journal)
        return outcome

    async def _child(
        self, outcome: Outcome, journal: Path, name: str, point: Failpoint | None, *, cancels: bool
    ) -> int:
        cell = outcome.cell
        hangs = cell.fault is Fault.PROVIDER_HANG
        return await self.zygote.child(
            self.number,
            {
                "dsn": self.database.app_dsn,
                "proxied_dsn": socket_dsn(self.folder / "s", "infin8_app", self.database.name),
                "admin_dsn": self.database.admin_dsn,
                "socket_dir": str(self.postgres.socket_dir),
                "sandbox_url": self.sandbox.url,
                "journal": str(journal),
                "scratch": str(self.folder / "s"),
                "name": name,
                "ref": outcome.ref.model_dump(mode="json"),
                "failpoint": point.facts() if point else None,
                "cancels": cancels,
                "has_side_call": hangs,
                "call_timeout_seconds": HANG_SECONDS if hangs else PATIENT_SECONDS,
                "hang_is_billed": cell.trial is Trial.RETRY,
            },
        )

    async def _workflow(self, number: int, cell: Cell) -> WorkflowRef:
        """A row in CREATED, of an organization of its own."""
        brief = brief_from_mapping(
            {
                "organization": {
                    "name": f"Cell {number}",
                    "url": f"https://cell-{number}.example",
                    "description": DESCRIPTION.format(name=f"Cell {number}"),
                },
                "cap_usd": "1.00",
            }
        )
        organization_id = organization_id_of(brief.organization.url)
        name = f"{cell} {uuid4()}"
        settings = StepSettings(is_demo_text=True, spend=SpendSettings(call_timeout_seconds=1))
        new = NewWorkflow(
            workflow_id=workflow_id_of(organization_id, name),
            organization_id=organization_id,
            domain=bare_domain(brief.organization.url),
            organization_name=brief.organization.name,
            name=name,
            brief=normalized(brief),
            brief_hash=brief_hash(brief),
            settings=settings.model_dump(mode="json"),
            started_by="bench",
            cap_usd=Decimal("1.00"),
        )
        async with self.database.app.transaction(organization_id) as connection:
            await create_workflow(connection, new)
            await walk(connection, MadeWorkflow(new.workflow_id, organization_id), [State.ICP_PENDING])
        return WorkflowRef(workflow_id=new.workflow_id, organization_id=organization_id)

    async def _set_faults(self, cell: Cell) -> None:
        """A fault that strikes while a request is out needs a provider that takes its time."""
        in_flight = (cell.moment, cell.side) == (Moment.SENDING, Side.AFTER)
        rules = [{"kind": "slow", "seconds": 0.3, "count": 2, "path": "/v1/chat"}] if in_flight else []
        async with httpx2.AsyncClient() as http:
            (await http.post(f"{self.sandbox.url}/faults", json={"rules": rules})).raise_for_status()

    async def bill(self) -> list[BillLine]:
        async with httpx2.AsyncClient() as http:
            return bill_lines((await http.get(f"{self.sandbox.url}/bill")).json())

    def _facts(self, journal: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in journal.read_text().splitlines()]

    async def _judge(self, outcome: Outcome, journal: Path) -> None:
        """The cell was struck as often as it says, and its work is done."""
        facts = self._facts(journal)
        outcome.strikes = [fact["struck"] for fact in facts if "struck" in fact]
        wanted = [str(point.fault) for point in failpoints_of(outcome.cell)]
        if outcome.strikes != wanted:
            outcome.troubles.append(f"struck by {outcome.strikes}, wanted {wanted}")
        if outcome.codes[-1:] != [DONE]:
            outcome.troubles.append(f"its processes ended {outcome.codes}: {[f for f in facts if 'failed' in f]}")
        state = await self.database.admin.fetchval(
            "SELECT state FROM intent_workflows WHERE id = $1", outcome.ref.workflow_id
        )
        ends_cancelled = outcome.cell.fault is Fault.CANCELLATION and outcome.cell.trial is Trial.RETRY
        wanted_state = State.CANCELLED if ends_cancelled else State.ICP_COMPLETED
        if state != wanted_state:
            outcome.troubles.append(f"is in {state}, wanted {wanted_state}")


@dataclass
class Report:
    """``before`` is what was found when every cell had ended, ``after`` when the reconciler had closed the rest."""

    outcomes: list[Outcome]
    bill: list[BillLine]
    before: Findings
    after: Findings
    resolved: Counter[str]


async def run_cells(
    cells: Sequence[Cell],
    *,
    zygote: Zygote,
    postgres: RunningPostgres,
    database: TenantDatabase,
    folder: Path,
    lanes: int = 4,
) -> Report:
    """Every cell, ``lanes`` at a time, each lane with a provider of its own."""
    waiting = list(reversed(cells))
    outcomes: list[Outcome] = []

    async def work(lane: Lane) -> None:
        while waiting:
            outcomes.append(await lane.run(waiting.pop()))

    async with AsyncExitStack() as exits:
        made: list[Lane] = []
        for number in range(lanes):
            lane_folder = folder / str(number)
            lane_folder.mkdir()
            sandbox = await start_sandbox_server(lane_folder)
            exits.push_async_callback(sandbox.stop)
            made.append(Lane(number, zygote, postgres, database, sandbox, lane_folder))
        await asyncio.gather(*(work(lane) for lane in made))
        bill = [line for lane in made for line in await lane.bill()]
        before = await check_money_and_state(database.admin, bill, may_be_unknown=True)
        resolved = await reconcile_until_closed(database.operator, [lane.sandbox.url for lane in made])
        bill = [line for lane in made for line in await lane.bill()]
    after = await check_money_and_state(database.admin, bill, may_be_unknown=False)
    return Report(outcomes, bill, before, after, resolved)
