"""A burst of calls at the edge of a $1.00 cap: this money core beside the usual check-then-call.

    .venv/bin/python bench/edge_of_cap.py

Each call costs up to $0.25 and is billed that much; N of them ask at the same moment, over 40 connections to a real
Postgres. "overspent" is what the provider billed above the cap. Prints one row per N and way of doing it, and the
ratio of both bills.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

import asyncpg
from rich.console import Console
from rich.table import Table

from db import spend
from db.migrate import migrate
from db.pool import Database
from db.transitions import begin_step
from db.workflows import NewWorkflow, create_workflow
from domain.identifiers import attempt_id_of, organization_id_of
from domain.money import Usage, format_usd
from domain.spend import DecisionKind, NewAttempt, ProviderAnswer, ProviderRequest
from domain.states import Step
from sandbox.postgres import RunningPostgres, remove_postgres, start_postgres

CAP_USD = Decimal("1.00")
COST_USD = Decimal("0.25")
BURSTS = (20, 100, 500)
CALL_SECONDS = 0.02
CONNECTIONS = 40
MODEL = "perplexity/sonar"
TOKENS_OF_COST = 245_000  # beside the request's fee of $0.005, at $1 per million


@dataclass(frozen=True)
class Burst:
    """What one burst came to. ``billed_usd`` is the provider's own sum."""

    calls: int
    sent: int
    billed_usd: Decimal
    booked_usd: Decimal
    seconds: float

    @property
    def overspent_usd(self) -> Decimal:
        return max(self.billed_usd - CAP_USD, Decimal(0))


def request_of_exact_cost() -> ProviderRequest:
    """A request whose hold is COST_USD to the nano-dollar."""

    def body(max_tokens: int) -> str:
        return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Why?"}], "max_tokens": max_tokens})

    prompt_bound = len(body(TOKENS_OF_COST)) + 16 + 64
    max_tokens = TOKENS_OF_COST - prompt_bound
    return ProviderRequest(
        model=MODEL, path="/chat/completions", body=body(max_tokens), messages=1, max_tokens=max_tokens
    )


async def new_workflow(database: Database) -> tuple[UUID, UUID, int]:
    """Workflow, organization and claim of a fresh workflow at work on its first step."""
    domain = f"{uuid4()}.example"
    organization_id = organization_id_of(domain)
    workflow = NewWorkflow(
        workflow_id=uuid4(),
        organization_id=organization_id,
        domain=domain,
        organization_name="bench",
        name="bench",
        brief={},
        brief_hash="bench",
        settings={},
        started_by="bench",
        cap_usd=CAP_USD,
    )
    async with database.transaction(organization_id) as connection:
        await create_workflow(connection, workflow)
        begun = await begin_step(connection, workflow.workflow_id, organization_id, Step.ICP, actor="bench")
    return workflow.workflow_id, organization_id, begun.claim


async def governed_burst(database: Database, calls: int) -> Burst:
    workflow_id, organization_id, claim = await new_workflow(database)
    request = request_of_exact_cost()
    bill: list[Decimal] = []

    async def call(ask: int) -> None:
        attempt_id = attempt_id_of(workflow_id, "icp", "icp", claim, ask)
        attempt = NewAttempt(
            attempt_id=attempt_id, step="icp", slot="icp", claim=claim, ask=ask, slot_hash=str(ask), request=request
        )
        async with database.transaction(organization_id) as connection:
            [decision] = await spend.authorize(
                connection, workflow_id, organization_id, [attempt], expires_after_seconds=60, call_deadline_seconds=60
            )
        if decision.kind is not DecisionKind.AUTHORIZED:
            return
        async with database.transaction(organization_id) as connection:
            send_now, _ = await spend.dispatch(connection, workflow_id, organization_id, attempt_id)
        assert send_now
        await asyncio.sleep(CALL_SECONDS)
        bill.append(COST_USD)
        usage = Usage(prompt_tokens=1, completion_tokens=1, cost_usd=COST_USD)
        answer = ProviderAnswer(http_status=200, body="{}", model=MODEL, generation_id=None, usage=usage)
        async with database.transaction(organization_id) as connection:
            await spend.store_answer(connection, organization_id, attempt_id, answer)
            await spend.settle(connection, organization_id, [attempt_id])

    began = time.perf_counter()
    await asyncio.gather(*(call(ask) for ask in range(1, calls + 1)))
    seconds = time.perf_counter() - began
    async with database.transaction(organization_id) as connection:
        counters = await spend.spend_of(connection, workflow_id)
    assert counters is not None
    return Burst(calls, len(bill), sum(bill, Decimal(0)), counters.spent_usd, seconds)


async def naive_burst(database: Database, calls: int) -> Burst:
    """Read what was spent, compare, call, add: each statement right by itself."""
    bill: list[Decimal] = []
    anyone = uuid4()

    async def call() -> None:
        async with database.transaction(anyone) as connection:
            spent_usd = await connection.fetchval("SELECT spent_usd FROM naive_budget")
        if spent_usd + COST_USD > CAP_USD:
            return
        await asyncio.sleep(CALL_SECONDS)
        bill.append(COST_USD)
        async with database.transaction(anyone) as connection:
            await connection.execute("UPDATE naive_budget SET spent_usd = spent_usd + $1", COST_USD)

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(calls)))
    seconds = time.perf_counter() - began
    async with database.transaction(anyone) as connection:
        booked_usd = await connection.fetchval("SELECT spent_usd FROM naive_budget")
        await connection.execute("UPDATE naive_budget SET spent_usd = 0")
    return Burst(calls, len(bill), sum(bill, Decimal(0)), booked_usd, seconds)


async def prepare(server: RunningPostgres) -> Database:
    await migrate(server.admin_dsn("postgres"))
    admin = await asyncpg.connect(server.admin_dsn("postgres"))
    await admin.execute(
        """
        CREATE TABLE naive_budget (spent_usd numeric(20, 9) NOT NULL);
        INSERT INTO naive_budget VALUES (0);
        GRANT SELECT, UPDATE ON naive_budget TO infin8_app
        """
    )
    await admin.close()
    # Connections are opened beforehand and the last caller of 500 waits for its turn: both are no part of the figure.
    return await Database.connect(
        server.dsn("infin8_app", "postgres"), size_min=CONNECTIONS, size_max=CONNECTIONS, acquire_timeout_seconds=60
    )


def row_of(way: str, burst: Burst) -> list[str]:
    return [
        str(burst.calls),
        way,
        str(burst.sent),
        f"${format_usd(burst.billed_usd)}",
        f"${format_usd(burst.booked_usd)}",
        f"${format_usd(burst.overspent_usd)}",
        f"{burst.seconds:.2f} s",
    ]


async def bench(database: Database) -> Table:
    table = Table(title=f"calls of ${COST_USD} at the edge of a ${CAP_USD} cap")
    for heading in ("N", "way", "sent", "billed", "booked", "overspent", "time", "billed ÷ ours"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for calls in BURSTS:
        ours = await governed_burst(database, calls)
        naive = await naive_burst(database, calls)
        assert ours.overspent_usd == 0
        assert ours.booked_usd == ours.billed_usd
        table.add_row(*row_of("authorize, call, settle", ours), "1")
        table.add_row(*row_of("check, then call", naive), f"{naive.billed_usd / ours.billed_usd:.0f}")
    return table


async def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="infin8-bench-"))
    try:
        server = await start_postgres(folder)
        try:
            database = await prepare(server)
            try:
                table = await bench(database)
            finally:
                await database.close()
        finally:
            await server.stop()
        Console(width=110).print(table)
    finally:
        remove_postgres(folder)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main())
