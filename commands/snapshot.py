"""One look at a workflow: its row with everything that people are shown of it, read in one transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from activities.case import load_case, progress_of
from commands.session import Session
from db import outputs, transitions
from db.keywords import KeywordRow, load_keywords
from db.outputs import StepOutput
from db.overview import ArticleOverview, FoundWorkflow, StepCost, article_overview, database_time, step_costs
from db.pool import Connection
from db.transitions import TransitionRecord
from db.workflows import WorkflowRecord
from domain.brief import Brief
from domain.progress import ACCEPT_PARTIAL, Progress
from domain.reminders import WaitsFor, waits_for
from domain.states import State, Step, is_terminal, step_of

# Steps whose result is a stored output; the others' stand in tables of their own.
STEPS_WITH_OUTPUT = (Step.ICP, Step.COMPETITOR, Step.CLUSTERING, Step.VALIDATION)


@dataclass(frozen=True)
class Snapshot:
    """``now`` is the database's clock; outputs are each step's newest."""

    record: WorkflowRecord
    brief: Brief
    progress: Progress
    audit: tuple[TransitionRecord, ...]
    outputs: dict[Step, StepOutput]
    keywords: tuple[KeywordRow, ...]
    articles: tuple[ArticleOverview, ...]
    costs: dict[str, StepCost]
    now: datetime

    @property
    def state(self) -> State:
        return self.record.state

    @property
    def calls(self) -> int:
        return sum(cost.calls for cost in self.costs.values())

    @property
    def downgraded_calls(self) -> int:
        """Of the calls, those that went to a cheaper model than was asked for."""
        return sum(cost.downgraded_calls for cost in self.costs.values())

    @property
    def step(self) -> Step | None:
        """The step it is in; for a cancelled workflow the one it was cancelled in."""
        if self.state is State.CANCELLED and self.audit:
            return step_of(self.audit[-1].from_state)
        return step_of(self.state)

    def output(self, step: Step) -> dict[str, Any]:
        found = self.outputs.get(step)
        return found.output if found else {}

    @property
    def waits_for(self) -> WaitsFor | None:
        """What a person is asked for; None when nobody is."""
        progress = self.progress
        return waits_for(
            self.state,
            approves_seeds=progress.settings.auto_approve_seeds,
            publishes=progress.auto_publish,
            last_reason=progress.last_reason,
            is_a_verdict=progress.is_judged,
        )

    @property
    def is_at_rest(self) -> bool:
        """Nothing moves until a person acts, or for ever."""
        return is_terminal(self.state) or self.waits_for is not None

    @property
    def accepted_partial(self) -> bool:
        return self.progress.last_reason == ACCEPT_PARTIAL


async def take_snapshot(session: Session, found: FoundWorkflow) -> Snapshot:
    async with session.transaction(found.organization_id) as connection:
        return await read_snapshot(connection, found)


async def read_snapshot(connection: Connection, found: FoundWorkflow) -> Snapshot:
    """Raises WorkflowTransitionError(not_found) when the row is not this organization's."""
    id_ = found.workflow_id
    case = await load_case(connection, id_)
    stored = [await outputs.latest_output(connection, id_, step) for step in STEPS_WITH_OUTPUT]
    return Snapshot(
        record=case.record,
        brief=case.brief,
        progress=await progress_of(connection, case),
        audit=tuple(await transitions.list_transitions(connection, id_)),
        outputs={output.step: output for output in stored if output is not None},
        keywords=tuple(await load_keywords(connection, id_)),
        articles=tuple(await article_overview(connection, id_)),
        costs=await step_costs(connection, id_),
        now=await database_time(connection),
    )
