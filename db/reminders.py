"""Who waits for a person since when, and how often that was said."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from db.errors import translated_errors
from db.pool import Connection
from domain.money import Frozen
from domain.progress import WorkflowRef
from domain.reminders import Waiting, reminder_id_of
from domain.states import State


class WaitingWorkflow(Frozen):
    """A row in a state that a person leads out of; ``last_reason`` is that of the transition into it."""

    workflow_id: UUID
    waiting: Waiting
    last_reason: str | None


async def record_reminder(
    connection: Connection, ref: WorkflowRef, *, state: State, version: int, number: int, waiting_since: datetime
) -> None:
    """Once per wait and number; the same again changes nothing."""
    with translated_errors():
        await connection.execute(
            """
            INSERT INTO reminders (reminder_id, workflow_id, organization_id, state, version, number, waiting_since)
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
            """,
            reminder_id_of(ref.workflow_id, version, number),
            ref.workflow_id,
            ref.organization_id,
            state,
            version,
            number,
            waiting_since,
        )


async def load_waiting(connection: Connection, workflow_ids: Sequence[UUID]) -> list[WaitingWorkflow]:
    """Those of the workflows that stand in a state to wait in, the longest waiting first."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT workflow.id AS workflow_id, transition.at AS since, transition.reason AS last_reason,
                count(reminder.reminder_id) AS reminders, max(reminder.reminded_at) AS reminded_at
            FROM intent_workflows AS workflow
            JOIN workflow_transitions AS transition
                ON transition.workflow_id = workflow.id AND transition.organization_id = workflow.organization_id
                AND transition.seq = workflow.version
            LEFT JOIN reminders AS reminder
                ON reminder.workflow_id = workflow.id AND reminder.organization_id = workflow.organization_id
                AND reminder.version = workflow.version
            WHERE workflow.id = ANY ($1) AND (workflow.state IN ('SEED_REVIEW_PENDING', 'PUBLISH_PENDING')
                OR workflow.state LIKE '%\\_FAILED')
            GROUP BY workflow.id, transition.at, transition.reason ORDER BY transition.at, workflow.id
            """,
            list(workflow_ids),
        )
    return [
        WaitingWorkflow(
            workflow_id=row["workflow_id"],
            waiting=Waiting(since=row["since"], reminders=row["reminders"], reminded_at=row["reminded_at"]),
            last_reason=row["last_reason"],
        )
        for row in rows
    ]


async def waiting_ids(operator_connection: Connection, limit: int) -> list[UUID]:
    """Workflows of all organizations in a state to wait in, the longest waiting first."""
    with translated_errors():
        rows = await operator_connection.fetch(
            """
            SELECT workflow.id FROM intent_workflows AS workflow
            JOIN workflow_transitions AS transition
                ON transition.workflow_id = workflow.id AND transition.organization_id = workflow.organization_id
                AND transition.seq = workflow.version
            WHERE workflow.state IN ('SEED_REVIEW_PENDING', 'PUBLISH_PENDING') OR workflow.state LIKE '%\\_FAILED'
            ORDER BY transition.at, workflow.id LIMIT $1
            """,
            limit,
        )
    return [row["id"] for row in rows]
