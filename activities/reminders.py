"""Reminders of what waits for a person: recorded first, then told to a webhook where one is set."""

import structlog
from temporalio import activity

from activities.case import load_case, progress_of
from db import reminders
from db.pool import Database
from domain.money import Frozen
from domain.progress import Progress, WorkflowRef
from domain.reminders import Reminder, WaitsFor
from providers.webhook import Webhook

log = structlog.get_logger("reminders")


class Remind(Frozen):
    """``version`` is that of the wait, ``number`` counts its reminders from 1."""

    ref: WorkflowRef
    version: int
    number: int
    waiting_for: WaitsFor | None


class ReminderActivities:
    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="remind")
    async def remind(self, remind: Remind) -> Progress:
        """Recorded once per wait and number, and only while the workflow still waits at that version."""
        ref = remind.ref
        async with self._database.transaction(ref.organization_id) as connection:
            case = await load_case(connection, ref.workflow_id)
            progress = await progress_of(connection, case)
            if progress.version != remind.version or progress.waiting is None:
                return progress
            await reminders.record_reminder(
                connection,
                ref,
                state=progress.state,
                version=remind.version,
                number=remind.number,
                waiting_since=progress.waiting.since,
            )
            progress = await progress_of(connection, case)
        log.warning(
            "waits for a person",
            workflow_id=str(ref.workflow_id),
            name=progress.name,
            state=progress.state,
            waiting_for=remind.waiting_for,
            waiting_since=None if progress.waiting is None else progress.waiting.since.isoformat(),
            reminder=remind.number,
        )
        return progress


class WebhookActivities:
    def __init__(self, webhook: Webhook | None) -> None:
        self._webhook = webhook

    @activity.defn(name="post_reminder")
    async def post_reminder(self, reminder: Reminder) -> bool:
        """Whether it was sent: False where no webhook is set. Raises ProviderUnavailableError to be tried again."""
        if self._webhook is None:
            return False
        await self._webhook.post(reminder.model_dump(mode="json"), key=str(reminder.reminder_id))
        return True
