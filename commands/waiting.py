"""What waits for a person: since when, what for, how often that was said, and the command that goes on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from activities.case import load_case, progress_of
from commands.exits import ExitCode
from commands.session import Session, shortest_id
from commands.terminal import counted, duration
from db.overview import database_time
from db.pool import Connection
from db.reminders import WaitingWorkflow, load_waiting, waiting_ids
from db.workflows import WorkflowRecord, load_workflow
from domain.brief import Approval
from domain.progress import Failure
from domain.reminders import WaitsFor, waits_for


@dataclass(frozen=True)
class Waits:
    """A row that a person is asked about."""

    record: WorkflowRecord
    wait: WaitingWorkflow
    waits_for: WaitsFor
    now: datetime

    @property
    def seconds(self) -> float:
        return max((self.now - self.wait.waiting.since).total_seconds(), 0.0)


async def list_waiting(session: Session, limit: int) -> ExitCode:
    async with session.reading() as connection:
        waits = await waits_of(connection, await waiting_ids(connection, limit))
        commands = [await _command(connection, one) for one in waits]
    if session.terminal.as_json:
        session.terminal.emit([_object(session, one, command) for one, command in zip(waits, commands, strict=True)])
        return ExitCode.DONE
    if not waits:
        session.terminal.say("nothing waits for a person")
        return ExitCode.DONE
    columns = ("id", "organization", "name", "waits for", "since", "for", "reminded", "to go on")
    cells = [_cells(one, command) for one, command in zip(waits, commands, strict=True)]
    session.terminal.table(columns, cells, right=("reminded",))
    session.terminal.say(f"{counted(len(waits), 'run waits', 'runs wait')} for a person")
    return ExitCode.DONE


async def waits_of(connection: Connection, workflow_ids: Sequence[UUID]) -> list[Waits]:
    """Those of the workflows that a person is asked about, the longest waiting first; what decides by itself is left
    out."""
    now = await database_time(connection)
    found = []
    for wait in await load_waiting(connection, workflow_ids):
        record = await load_workflow(connection, wait.workflow_id)
        asked = None if record is None else asked_for(record, wait.last_reason)
        if record is not None and asked is not None:
            found.append(Waits(record, wait, asked, now))
    return found


def asked_for(record: WorkflowRecord, last_reason: str | None) -> WaitsFor | None:
    return waits_for(
        record.state,
        approves_seeds=bool(record.settings.get("auto_approve_seeds")),
        publishes=record.brief.get("publish", {}).get("approval") == Approval.AUTO,
        last_reason=last_reason,
        is_a_verdict=record.failure is None or Failure.model_validate(record.failure).is_a_verdict,
    )


def waiting_facts(waits: Waits | None) -> dict[str, Any]:
    """The fields of ``list --json``; null and 0 for what waits for nobody."""
    waiting = None if waits is None else waits.wait.waiting
    return {
        "waiting_for": None if waits is None else waits.waits_for,
        "waiting_since": None if waiting is None else waiting.since.isoformat(),
        "reminders": 0 if waiting is None else waiting.reminders,
    }


def _object(session: Session, waits: Waits, command: str) -> dict[str, Any]:
    record, reminded_at = waits.record, waits.wait.waiting.reminded_at
    return {
        "workflow_id": str(record.workflow_id),
        "organization_id": str(record.organization_id),
        "organization": _organization(record),
        "name": record.name,
        "state": record.state,
        "version": record.version,
        **waiting_facts(waits),
        "waiting_seconds": round(waits.seconds, 3),
        "reminded_at": None if reminded_at is None else reminded_at.isoformat(),
        "next_command": command,
        "ui_url": session.ui_url(record.organization_id, record.workflow_id),
    }


def _cells(waits: Waits, command: str) -> tuple[object, ...]:
    record, waiting = waits.record, waits.wait.waiting
    id_ = shortest_id(record.workflow_id)
    return (
        id_,
        _organization(record),
        record.name,
        f"{waits.waits_for} ({record.state})",
        f"{waiting.since.astimezone():%Y-%m-%d %H:%M}",
        duration(waits.seconds),
        waiting.reminders or "",
        command.replace(str(record.workflow_id), id_),
    )


async def _command(connection: Connection, waits: Waits) -> str:
    """The same that the status card names."""
    from workflows.status_card import next_command

    return next_command(await progress_of(connection, await load_case(connection, waits.record.workflow_id)))


def _organization(record: WorkflowRecord) -> str:
    return str(record.brief.get("organization", {}).get("name", ""))
