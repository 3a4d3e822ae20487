"""Allowing more money, and ending a run for good: possible with an open run and without one."""

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import uuid4

from commands.deciding import decided, record_of
from commands.exits import CommandError, ExitCode, conflict, unreachable
from commands.runs import cancel_run, is_terminal_message, run_of, send, waits_for_a_worker
from commands.session import Session
from commands.snapshot import take_snapshot
from commands.starting import cap_of
from commands.terminal import dollars
from db.overview import FoundWorkflow
from db.workflows import WorkflowRecord
from db.workflows import raise_cap as raise_cap_of_row
from domain.decisions import RaiseCap
from domain.errors import BadInputError, WorkflowTransitionError
from domain.money import format_usd
from domain.progress import Progress, WorkflowRef
from domain.states import State, is_terminal

if TYPE_CHECKING:
    from temporalio.client import Client

POLL_SECONDS = 0.3
ASK_SECONDS = 3.0
RAISE_SECONDS_MAX = 6.0


async def raise_cap(session: Session, workflow: str, amount: str) -> ExitCode:
    cap_usd = cap_of(amount, "USD")
    found = await session.find(workflow)
    record = await record_of(session, found)
    _check_raise(record, cap_usd)
    decision = RaiseCap(
        decision_id=uuid4(),
        actor=session.actor,
        expected_state=record.state,
        expected_version=record.version,
        cap_usd=cap_usd,
    )
    progress = await _raise(session, found, record, decision)
    words = f"✔ the cap is {dollars(progress.cap_usd)} now, spent are {dollars(progress.spent_usd)}"
    return decided(session, progress, words, {"cap_usd": format_usd(progress.cap_usd)})


def _check_raise(record: WorkflowRecord, cap_usd: Decimal) -> None:
    if is_terminal(record.state):
        kind = WorkflowTransitionError.__name__
        raise conflict(is_terminal_message(record), current=record.state, kind=kind)
    if cap_usd < record.cap_usd:
        now = format_usd(record.cap_usd)
        raise BadInputError(f"the cap can only be raised: it is ${now} now, asked for was ${cap_usd:f}", "cap_usd")


async def _raise(session: Session, found: FoundWorkflow, record: WorkflowRecord, decision: RaiseCap) -> Progress:
    """Through the open run, which shows it at once; else, or when no worker answers, in the database alone. The same
    decision by both ways raises once."""
    client = await session.client()
    if (await run_of(client, record)).is_open:
        try:
            return await send(
                client, session.settings, record, "raise_cap", decision, timeout_seconds=RAISE_SECONDS_MAX
            )
        except CommandError as error:
            if error.kind != "NoWorkerError":
                raise
            session.terminal.note("no worker answers: raised in the database, where every authorization looks")
    async with session.transaction(record.organization_id) as connection:
        await raise_cap_of_row(
            connection,
            record.workflow_id,
            record.organization_id,
            decision.cap_usd,
            decision_id=decision.decision_id,
            actor=decision.actor,
        )
    return (await take_snapshot(session, found)).progress


async def cancel(session: Session, workflow: str, reason: str) -> ExitCode:
    found = await session.find(workflow)
    record = await record_of(session, found)
    if is_terminal(record.state):
        kind = WorkflowTransitionError.__name__
        raise conflict(
            is_terminal_message(record), current=record.state, expected=None, attempted=State.CANCELLED, kind=kind
        )
    client = await session.client()
    if (await run_of(client, record)).is_open:
        await cancel_run(client, record, f"{reason} (by {session.actor})")
        session.terminal.say("cancelling: nothing new is asked, what is in flight is finished and booked …")
        progress = await _cancelled(session, client, found, record)
    else:
        progress = await _cancel_row(session, found, reason)
    words = f"✔ cancelled; spent were {dollars(progress.spent_usd)} of {dollars(progress.cap_usd)}"
    return decided(session, progress, words, {"spent_usd": format_usd(progress.spent_usd)})


async def _cancelled(session: Session, client: "Client", found: FoundWorkflow, record: WorkflowRecord) -> Progress:
    """Waits until the row is CANCELLED; raises when it was COMPLETED first, or when no worker can close it."""
    asked = asyncio.get_running_loop().time()
    while True:
        now = await record_of(session, found)
        if is_terminal(now.state):
            break
        if asyncio.get_running_loop().time() - asked > ASK_SECONDS:
            asked = asyncio.get_running_loop().time()
            if await waits_for_a_worker(client, record):
                raise unreachable(
                    "the cancellation is recorded and no worker runs to carry it out: start one with "
                    "`starter.py up` or `worker.py`, nothing else is needed",
                    "NoWorkerError",
                )
        await asyncio.sleep(POLL_SECONDS)
    if now.state is State.COMPLETED:
        raise conflict(is_terminal_message(now), current=now.state, attempted=State.CANCELLED)
    return (await take_snapshot(session, found)).progress


async def _cancel_row(session: Session, found: FoundWorkflow, reason: str) -> Progress:
    """A row without an open run is closed here."""
    from activities.state import cancel_row

    ref = WorkflowRef(workflow_id=found.workflow_id, organization_id=found.organization_id)
    async with session.transaction(found.organization_id) as connection:
        await cancel_row(connection, ref, actor=session.actor, reason=reason)
    return (await take_snapshot(session, found)).progress
