"""The long fault bench: several worker processes, hundreds of workflows, a seeded schedule of faults, one table.

    python -m tests.chaos.run --minutes 10 --seed 7

Each row of the table is a segment of the run with a database, a queue and workers of its own: a batch of workflows
without faults, then a stream of workflows under its faults, then the same batch again. Exits 1 on any violation and
prints each, or when a full run recovered too slowly or came to too little; the same seed draws the same schedule
(which instruction a fault hits is the machine's business).
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from domain.errors import DatabaseUnavailableError
from domain.states import State
from tests.chaos.checkers import Findings
from tests.chaos.holds import install_holds
from tests.chaos.mending import finish, look_at_all
from tests.chaos.postgres_proxy import postgres_proxy
from tests.chaos.stack import HEARTBEAT_SECONDS, Stack, begin, crew_of, running_stack, seeded, set_faults
from tests.chaos.strikes import (
    Scene,
    Strike,
    cancel_a_run,
    kill,
    kill_at_a_crash_point,
    kill_while_publishing,
    make_a_zombie,
    restart_postgres,
    restart_temporal,
    take_all_connections,
    terminate_sessions,
    trouble_the_network,
)
from tests.workflows.conftest import Run
from worker import EXIT_UNREACHABLE

WORKERS = 3
IN_FLIGHT = 8
BATCHES, BATCH_RUNS = 3, 4  # before and after the faults of a row; their medians give its rate
FINISH_SECONDS = 180.0
SMALL_CAP_SHARE = 0.06  # of the workflows: their cap is too small, so that they park and a person raises it
SMALL_CAP_USD = "0.03"
RECOVERY_SECONDS_WANTED = HEARTBEAT_SECONDS + 5
RATE_WANTED = 0.95
PROVIDER_FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "slow", "seconds": 0.6, "probability": 0.05},
    {"kind": "http_status", "status": 503, "probability": 0.02},
    {"kind": "http_status", "status": 429, "seconds": 1, "probability": 0.02},
    {"kind": "bill_then_drop", "probability": 0.02},
    {"kind": "bill_then_drop", "where": "before_headers", "probability": 0.01},
    {"kind": "drop_before_billing", "probability": 0.01},
    {"kind": "hang", "seconds": 4, "probability": 0.005},
    {"kind": "hang", "seconds": 4, "where": "after_headers", "probability": 0.005},
    {"kind": "ok_with_error_body", "probability": 0.01},
    {"kind": "empty_content", "probability": 0.01},
    {"kind": "fenced_json", "probability": 0.02},
    {"kind": "truncated_json", "probability": 0.02},
    {"kind": "usage_missing", "probability": 0.02},
    {"kind": "cost_missing", "probability": 0.02},
    {"kind": "cost_unlike", "probability": 0.02},
)
# An attempt keeps the reason why it was unknown when its cost is learnt; "permanent" is in a refusal's outcome.
EVER_UNKNOWN = """
SELECT count(*) FROM spend_attempts
WHERE dispatched_at IS NOT NULL AND (state IN ('UNKNOWN', 'WRITTEN_OFF') OR NOT outcome ? 'permanent')
"""
PROGRESS_AT = """
SELECT workflow_id, at, slot || ' ' || what AS step FROM spend_attempts,
    unnest(ARRAY[authorized_at, dispatched_at, answered_at, settled_at],
        ARRAY['authorized', 'dispatched', 'answered', 'settled']) AS moment (at, what)
UNION ALL SELECT workflow_id, at, to_state FROM workflow_transitions
UNION ALL SELECT workflow_id, updated_at, 'article stored' FROM articles
UNION ALL SELECT workflow_id, updated_at, 'publication stored' FROM publications
"""


@dataclass(frozen=True)
class Segment:
    """``weight`` is its share of the time; its strikes are drawn with equal chances."""

    name: str
    weight: float
    strikes: tuple[Strike, ...]


SEGMENTS = (
    Segment("repeated kills", 0.2, (kill,)),
    Segment("crash points", 0.15, (kill_at_a_crash_point,)),
    Segment("Postgres restart", 0.12, (restart_postgres, kill)),
    Segment("Temporal restart", 0.12, (restart_temporal, kill)),
    Segment("zombie", 0.1, (make_a_zombie, kill)),
    Segment("network", 0.1, (trouble_the_network, terminate_sessions, take_all_connections, kill)),
    Segment("publish", 0.08, (kill_while_publishing,)),
    Segment(
        "everything",
        0.13,
        (
            kill,
            kill,
            kill_at_a_crash_point,
            restart_postgres,
            restart_temporal,
            make_a_zombie,
            trouble_the_network,
            terminate_sessions,
            take_all_connections,
            kill_while_publishing,
            cancel_a_run,
        ),
    ),
)

FULL_MINUTES, RUNS_MIN, KILLS_MIN = 10, 200, 60  # what a full run has to come to
SHORT_MINUTES = 3  # less than that is no time for every segment
SHORT = ("repeated kills", "everything")


@dataclass
class Row:
    """What one segment came to."""

    name: str
    runs: int = 0
    faults: int = 0
    kills: int = 0
    completed: int = 0
    cancelled: int = 0
    acted: int = 0
    findings: Findings = field(default_factory=Findings)
    unknown: int = 0
    resolved: Counter[str] = field(default_factory=Counter)
    recoveries: list[float] = field(default_factory=list)
    standstills: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)  # seconds that a batch of workflows took
    after: list[float] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)  # the pauses that took longer than wanted

    @property
    def ratio(self) -> float:
        return median(self.before) / median(self.after)


@dataclass
class SegmentRun:
    """One segment on its way."""

    segment: Segment
    seed: int
    scene: Scene
    row: Row
    number: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def batches(self, times: int, size: int) -> list[float]:
        """Seconds that so many workflows take together when nothing goes wrong, time after time."""
        await self.scene.pipeline.no_faults()
        return [await self._batch(size) for _ in range(times)]

    async def _batch(self, size: int) -> float:
        began = time.monotonic()
        runs = [await self._begin(number) for number in range(size)]
        await asyncio.gather(*(self._finish(run) for run in runs))
        return time.monotonic() - began

    async def under_faults(self, seconds: float) -> None:
        """A stream of workflows, and strike after strike, for so long; then all of them end."""
        await set_faults(self.scene.stack.sandbox.url, *PROVIDER_FAULTS, seed=self.seed)
        until = time.monotonic() + seconds
        feeding = asyncio.create_task(self._feed(until))
        draws = seeded(self.seed, self.segment.name, "strikes")
        while time.monotonic() < until:
            await asyncio.sleep(draws.uniform(1.0, 4.0))
            strike = draws.choice(self.segment.strikes)
            await strike(self.scene, random.Random(draws.random()))
            await self._still_manned()
        await feeding
        await asyncio.gather(*self.tasks)

    async def _still_manned(self) -> None:
        """A worker that ended is started again, as its supervisor would. One that found no server when it started says
        so and leaves; any other end is a finding."""
        for slot, child in enumerate(self.scene.slots):
            code = child.process.poll()
            if code is None:
                continue
            if code != EXIT_UNREACHABLE or "worker up" in child.log:
                self.row.findings.note(f"a worker ended by itself with {code}: {child.tail[-600:].strip()}")
            self.scene.slots[slot] = self.scene.start_worker(slot)

    async def all_up(self) -> None:
        for slot in range(WORKERS):
            while "worker up" not in self.scene.slots[slot].log:
                await self._still_manned()
                await asyncio.sleep(0.1)

    async def _feed(self, until: float) -> None:
        draws = seeded(self.seed, self.segment.name, "workflows")
        while time.monotonic() < until:
            if len(self.scene.open_runs) >= IN_FLIGHT:
                await asyncio.sleep(0.1)
                continue
            cap = {"cap_usd": SMALL_CAP_USD} if draws.random() < SMALL_CAP_SHARE else {}
            run = await self._begin(draws.randrange(8), **cap)
            self.tasks.append(asyncio.create_task(self._finish(run)))

    async def _begin(self, number: int, **changes: Any) -> Run:
        """Tried until the servers are there, as a person would."""
        while True:
            try:
                run = await begin(self.scene.pipeline, number, **changes)
            except (DatabaseUnavailableError, ConnectionError, OSError, RuntimeError, TimeoutError):
                await asyncio.sleep(0.3)
                continue
            self.scene.open_runs.append(run)
            self.row.runs += 1
            return run

    async def _finish(self, run: Run) -> None:
        try:
            actions = await finish(run, FINISH_SECONDS)
        except AssertionError as trouble:
            self.row.findings.note(f"does not end: {trouble}")
            return
        finally:
            self.scene.open_runs.remove(run)
        self.row.actions += actions
        self.row.acted += bool(actions)

    async def measure(self) -> None:
        """After everything has ended."""
        admin = self.scene.pipeline.database.admin
        count = "SELECT count(*) FROM intent_workflows WHERE state = $1"
        self.row.completed = await admin.fetchval(count, State.COMPLETED)
        self.row.cancelled = await admin.fetchval(count, State.CANCELLED)
        self.row.faults, self.row.kills = len(self.scene.struck), self.scene.kills
        await self._measure_recoveries()
        earlier = self.row.findings.violations
        self.row.findings, self.row.resolved = await look_at_all(self.scene.pipeline, self.scene.stack.strangers)
        self.row.findings.violations[:0] = earlier
        self.row.unknown = await admin.fetchval(EVER_UNKNOWN)

    async def _measure_recoveries(self) -> None:
        """Seconds of every pause between two steps of a run in which a fault struck: from the last fault's end to the
        step that followed (what recovery takes), and from the first one's (how long the run stood still)."""
        steps: dict[Any, list[tuple[datetime, str]]] = {}
        for row in await self.scene.pipeline.database.admin.fetch(PROGRESS_AT):
            if row["at"] is not None:
                steps.setdefault(row["workflow_id"], []).append((row["at"], row["step"]))
        struck = sorted((at, fault) for fault, at in self.scene.struck)
        for workflow_id, of_run in steps.items():
            for (earlier, left), (later, reached) in pairwise(sorted(of_run)):
                within = [(at, fault) for at, fault in struck if earlier < at < later]
                if not within:
                    continue
                recovery = (later - within[-1][0]).total_seconds()
                self.row.recoveries.append(recovery)
                self.row.standstills.append((later - within[0][0]).total_seconds())
                if recovery > RECOVERY_SECONDS_WANTED:
                    faults = ", ".join(f"{fault} at {at:%H:%M:%S.%f}" for at, fault in within)
                    self.row.slow.append(
                        f"{workflow_id} {recovery:.2f} s: {left} at {earlier:%H:%M:%S.%f}, {faults}, "
                        f"then {reached} at {later:%H:%M:%S.%f}"
                    )


async def run_segment(stack: Stack, segment: Segment, *, seed: int, seconds: float, batches: int) -> Row:
    row = Row(segment.name)
    async with AsyncExitStack() as exits:
        pipeline = await exits.enter_async_context(stack.pipeline())
        await install_holds(pipeline.database.admin)
        folder = stack.folder / f"p{len(list(stack.folder.iterdir()))}"
        proxy = await exits.enter_async_context(postgres_proxy(folder, stack.postgres.socket_dir))
        crew = await exits.enter_async_context(crew_of(pipeline, stack.folder / pipeline.database.name))
        scene = Scene(stack, pipeline, crew, proxy)
        await scene.man(WORKERS)
        on_its_way = SegmentRun(segment, seed, scene, row)
        await on_its_way.batches(1, WORKERS)  # the first run of a process is slower than the others
        row.before = await on_its_way.batches(batches, BATCH_RUNS)
        await on_its_way.under_faults(seconds)
        await on_its_way.all_up()
        row.after = await on_its_way.batches(batches, BATCH_RUNS)
        await on_its_way.measure()
    return row


# The report ---------------------------------------------------------------------------------------------------------

COLUMNS = (
    "cell",
    "runs",
    "faults",
    "kills",
    "completed",
    "cancelled",
    "by a person",
    "overspend $",
    "double settlements",
    "lost $",
    "audit gaps",
    "illegal transitions",
    "duplicate publishes",
    "all violations",
    "UNKNOWN created",
    "resolved",
    "written off above bill $",
    "recovery p50 s",
    "p99 s",
    "longest standstill s",
    "rate after ÷ before",
)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def cells_of(row: Row) -> list[str]:
    findings = row.findings
    return [
        row.name,
        *map(str, (row.runs, row.faults, row.kills, row.completed, row.cancelled, row.acted)),
        f"{findings.overspend_usd.normalize():f}",
        str(findings.double_settlements),
        f"{findings.lost_usd.normalize():f}",
        *map(str, (findings.audit_gaps, findings.illegal_transitions, findings.duplicate_publishes)),
        *map(str, (len(findings.violations), row.unknown, row.unknown - findings.unknown_open)),
        f"{findings.written_off_above_bill_usd:.4f}",
        f"{percentile(row.recoveries, 0.5):.2f}",
        f"{percentile(row.recoveries, 0.99):.2f}",
        f"{max(row.standstills, default=0.0):.2f}",
        f"{row.ratio:.2f}",
    ]


def total_of(rows: Sequence[Row]) -> Row:
    total = Row("**all**")
    for row in rows:
        for name in ("runs", "faults", "kills", "completed", "cancelled", "acted", "unknown"):
            setattr(total, name, getattr(total, name) + getattr(row, name))
        total.before += row.before
        total.after += row.after
        for name in (
            "overspend_usd",
            "double_settlements",
            "lost_usd",
            "audit_gaps",
            "illegal_transitions",
            "duplicate_publishes",
            "written_off_above_bill_usd",
            "unknown_open",
        ):
            setattr(total.findings, name, getattr(total.findings, name) + getattr(row.findings, name))
        total.findings.violations += row.findings.violations
        total.recoveries += row.recoveries
        total.standstills += row.standstills
    return total


def report(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cells_of(row)) + " |" for row in [*rows, total_of(rows)]]
    return "\n".join(lines)


async def bench(*, minutes: float, seed: int, only: str | None) -> list[Row]:
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    rows: list[Row] = []
    names = SHORT if only is None and minutes < SHORT_MINUTES else [segment.name for segment in SEGMENTS]
    chosen = [segment for segment in SEGMENTS if segment.name == (only or segment.name) and segment.name in names]
    share = sum(segment.weight for segment in chosen)
    batches = BATCHES if minutes >= 5 else 1
    try:
        async with running_stack(folder) as stack:
            for segment in chosen:
                began, seconds = time.monotonic(), minutes * 60 * segment.weight / share
                say(f"{datetime.now(UTC):%H:%M:%S} {segment.name}: {seconds:.0f} s of faults")
                row = await run_segment(stack, segment, seed=seed, seconds=seconds, batches=batches)
                rows.append(row)
                say(f"  {row.runs} runs in {time.monotonic() - began:.0f} s; {dict(row.resolved)}")
                for action, times in Counter(action.split(" [")[0].split(":")[0] for action in row.actions).items():
                    say(f"  parked in {action}: {times}, finished by what the card said")
                for pause in row.slow:
                    say(f"  slow {pause}")
                for violation in row.findings.violations:
                    say(f"  VIOLATION {violation}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Faults by the hundred; the books, the audit and the pages must agree."
    )
    parser.add_argument("--minutes", type=float, default=10, help="of faults; what is open is finished after them")
    parser.add_argument("--seed", type=int, default=None, help="of the schedule; drawn and printed when not given")
    parser.add_argument("--only", choices=[segment.name for segment in SEGMENTS], help="one segment alone")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    say(f"seed {seed}: python -m tests.chaos.run --minutes {arguments.minutes:g} --seed {seed}")
    rows = asyncio.run(bench(minutes=arguments.minutes, seed=seed, only=arguments.only))
    say(report(rows))
    total = total_of(rows)
    violations = total.findings.violations
    say(f"seed {seed}: {len(violations)} violations, recovery p99 wanted: {RECOVERY_SECONDS_WANTED:g} s")
    is_slow = arguments.minutes >= FULL_MINUTES and percentile(total.recoveries, 0.99) > RECOVERY_SECONDS_WANTED
    if is_slow:
        say("recovery took longer than is wanted")
    if total.ratio < RATE_WANTED:
        say(f"the rate after the faults is below {RATE_WANTED:g} of before: is something else running on this machine?")
    too_few = arguments.minutes >= FULL_MINUTES and (total.runs < RUNS_MIN or total.kills < KILLS_MIN)
    if too_few:
        say(f"too few: {total.runs} runs of {RUNS_MIN}, {total.kills} kills of {KILLS_MIN}")
    return 1 if violations or is_slow or too_few else 0


if __name__ == "__main__":
    sys.exit(main())
