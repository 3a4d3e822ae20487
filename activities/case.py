"""One workflow's row with its brief and settings as types: what most activities load first."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict

from activities.budget import load_budget
from db import articles, refusals, reminders, transitions, workflows
from db.pool import Connection
from db.transitions import TransitionRecord
from db.workflows import WorkflowRecord
from domain.brief import Approval, Brief
from domain.errors import WorkflowTransitionError
from domain.progress import ClaimRef, Failure, Progress
from domain.reminders import Waiting, is_waiting
from domain.settings import StepSettings
from domain.states import State, Step


class Case(BaseModel):
    model_config = ConfigDict(frozen=True)

    record: WorkflowRecord
    brief: Brief
    settings: StepSettings

    @property
    def workflow_id(self) -> UUID:
        return self.record.workflow_id

    @property
    def organization_id(self) -> UUID:
        return self.record.organization_id

    def claim_of(self, step: Step) -> ClaimRef:
        """The claim that is held while the row is in the step's X_PROCESSING."""
        return ClaimRef(
            workflow_id=self.workflow_id, organization_id=self.organization_id, step=step, claim=self.version
        )

    @property
    def state(self) -> State:
        return self.record.state

    @property
    def version(self) -> int:
        return self.record.version


async def load_case(connection: Connection, workflow_id: UUID) -> Case:
    """Raises WorkflowTransitionError(not_found) when the organization has no such workflow."""
    record = await workflows.load_workflow(connection, workflow_id)
    if record is None:
        raise WorkflowTransitionError(
            workflow_id=workflow_id,
            reason="not_found",
            current_state=None,
            expected_state=State.CREATED,
            attempted_state=State.CREATED,
        )
    return Case(
        record=record,
        brief=Brief.model_validate(record.brief),
        settings=StepSettings.model_validate(record.settings),
    )


async def progress_of(connection: Connection, case: Case) -> Progress:
    """Where the workflow stands, with what the last transition said."""
    audit = await transitions.list_transitions(connection, case.workflow_id)
    record = case.record
    progress = Progress(
        workflow_id=record.workflow_id,
        organization_id=record.organization_id,
        name=record.name,
        organization_name=case.brief.organization.name,
        state=record.state,
        version=record.version,
        cap_usd=record.cap_usd,
        spent_usd=record.spent_usd,
        held_usd=record.held_usd,
        failure=None if record.failure is None else Failure.model_validate(record.failure),
        articles=await articles.count_articles(connection, record.workflow_id),
        budget=await load_budget(connection, case),
        last_reason=audit[-1].reason if audit else None,
        review_feedback=_review_feedback(audit),
        settings=case.settings,
        auto_publish=case.brief.publish.approval is Approval.AUTO,
        started_by=record.started_by,
        waiting=await _waiting(connection, case),
    )
    if not progress.needs_money:
        return progress
    standing = await refusals.load_standing(connection, record.workflow_id, record.version - 1)
    return progress.model_copy(update={"standing": standing})


async def _waiting(connection: Connection, case: Case) -> Waiting | None:
    if not is_waiting(case.state):
        return None
    found = await reminders.load_waiting(connection, [case.workflow_id])
    return found[0].waiting if found else None


def _review_feedback(audit: list[TransitionRecord]) -> str | None:
    rejected = (State.SEED_REVIEW_PENDING, State.COMPETITOR_PENDING)
    said = [record.reason for record in audit if (record.from_state, record.to_state) == rejected]
    return said[-1] if said else None
