"""Waiting for a person: since when, what for, and when to say so again."""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid5

from domain.money import Frozen
from domain.seed_review import times
from domain.settings import ReminderSettings
from domain.states import State, Status, status_of

REOPENED = "reopened"


class WaitsFor(StrEnum):
    """What a person is asked for."""

    REVIEW = "review"
    APPROVAL = "approval"
    RETRY = "retry"
    REOPEN = "reopen"


class Waiting(Frozen):
    """``since`` is when the workflow came into its present state; ``reminded_at`` is the latest reminder."""

    since: datetime
    reminders: int = 0
    reminded_at: datetime | None = None

    @property
    def words(self) -> str:
        reminded = f", reminded {times(self.reminders)}" if self.reminders else ""
        return f"waiting since {self.since:%Y-%m-%d %H:%M} UTC{reminded}"


class Reminder(Frozen):
    """What a webhook is told, as JSON: ids, names and the command that goes on; nothing secret."""

    event: str = "reminder"
    reminder_id: UUID
    workflow_id: UUID
    organization_id: UUID
    organization: str
    name: str
    state: State
    waiting_for: WaitsFor | None
    waiting_since: datetime
    reminded_at: datetime
    number: int
    reminders_max: int
    next_command: str


def is_waiting(state: State) -> bool:
    """In a state that only a person, or an automatic decision, leads out of."""
    return status_of(state) in (Status.WAITING, Status.FAILED)


def waits_for(
    state: State,
    *,
    approves_seeds: bool = False,
    publishes: bool = False,
    last_reason: str | None = None,
    is_a_verdict: bool = True,
) -> WaitsFor | None:
    """None when nobody is asked: ``approves_seeds`` and ``publishes`` say what was decided beforehand. A step that
    failed by no verdict (``is_a_verdict``) is run again: the review is as good as it was."""
    match state:
        case State.SEED_REVIEW_PENDING:
            return None if approves_seeds and last_reason != REOPENED else WaitsFor.REVIEW
        case State.PUBLISH_PENDING:
            return None if publishes else WaitsFor.APPROVAL
        case State.CLUSTERING_FAILED | State.VALIDATION_FAILED if is_a_verdict:
            return WaitsFor.REOPEN
    return WaitsFor.RETRY if status_of(state) is Status.FAILED else None


def next_reminder_at(waiting: Waiting, settings: ReminderSettings) -> datetime | None:
    """None when it was said often enough. What fell into an outage is said once, not over and over."""
    if waiting.reminders >= settings.reminders_max:
        return None
    if waiting.reminded_at is None:
        return waiting.since + timedelta(seconds=settings.first_after_seconds)
    return waiting.reminded_at + timedelta(seconds=settings.every_seconds)


def reminder_id_of(workflow_id: UUID, version: int, number: int) -> UUID:
    """The same for a reminder that is tried again: ``version`` is that of the wait, ``number`` counts from 1."""
    return uuid5(workflow_id, f"reminder:{version}:{number}")
