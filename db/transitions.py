"""The one way a workflow's state changes: ``advance_workflow`` in the database, and what is built on it."""

from datetime import datetime
from uuid import UUID

from db.errors import translated_errors
from db.pool import Connection
from domain.errors import ClaimLostError, WorkflowTransitionError
from domain.identifiers import run_transition_id
from domain.money import Frozen
from domain.states import STEPS, State, Step, completed_state, is_terminal, pending_state, processing_state


class Advance(Frozen):
    """One transition as its caller expects it to go. Actor, reason and ``run_id`` (Temporal's) are recorded only."""

    workflow_id: UUID
    organization_id: UUID
    expected_state: State
    expected_version: int
    next_state: State
    transition_id: UUID
    actor: str
    reason: str | None = None
    run_id: str | None = None


class Advanced(Frozen):
    """``version`` is the one this transition made, now or, for a replay, at its first try; ``current_…`` is where the
    row stands now. After a replay nothing may be written: what belongs to the transition was written with it."""

    version: int
    replayed: bool
    current_state: State
    current_version: int


class LockedWorkflow(Frozen):
    state: State
    version: int


class BeginResult(Frozen):
    """``claim`` is the version at which X_PROCESSING was entered."""

    claim: int
    state: State
    version: int
    already_begun: bool


class TransitionRecord(Frozen):
    """A row of the audit."""

    transition_id: UUID
    seq: int
    from_state: State
    to_state: State
    expected_version: int
    actor: str
    reason: str | None
    run_id: str | None
    at: datetime


async def lock_workflow(connection: Connection, workflow_id: UUID, organization_id: UUID) -> LockedWorkflow | None:
    """Hold the row to the end of the transaction; None when the organization has no such workflow."""
    row = await connection.fetchrow("SELECT state, version FROM lock_workflow($1, $2)", workflow_id, organization_id)
    return None if row is None else LockedWorkflow(state=row["state"], version=row["version"])


async def advance(connection: Connection, transition: Advance) -> Advanced:
    """Make one transition in the caller's transaction, or find that it was made before.

    Raises WorkflowTransitionError with the row's true state, IdempotencyConflictError when the transition's id stands
    for another one. After either the transaction is lost.
    """
    locked = await lock_workflow(connection, transition.workflow_id, transition.organization_id)
    version = await _advance_workflow(connection, transition)
    if locked is not None and locked.version != transition.expected_version:
        return Advanced(version=version, replayed=True, current_state=locked.state, current_version=locked.version)
    return Advanced(version=version, replayed=False, current_state=transition.next_state, current_version=version)


async def _advance_workflow(connection: Connection, transition: Advance) -> int:
    with translated_errors():
        version: int = await connection.fetchval(
            "SELECT advance_workflow($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            transition.workflow_id,
            transition.organization_id,
            transition.expected_state,
            transition.expected_version,
            transition.next_state,
            transition.transition_id,
            transition.actor,
            transition.reason,
            transition.run_id,
        )
    return version


async def check_claim(connection: Connection, workflow_id: UUID, organization_id: UUID, step: Step, claim: int) -> None:
    """Lock the row and raise ClaimLostError unless it is still X_PROCESSING at the claim's version."""
    locked = await lock_workflow(connection, workflow_id, organization_id)
    if locked is None:
        raise ClaimLostError(
            f"workflow {workflow_id} does not exist for this organization: claim {claim} holds nothing"
        )
    if (locked.state, locked.version) != (processing_state(step), claim):
        raise ClaimLostError(
            f"claim {claim} on step {step} of workflow {workflow_id} was lost: "
            f"it is in {locked.state} at version {locked.version}; load its progress and go on from there"
        )


async def begin_step(
    connection: Connection,
    workflow_id: UUID,
    organization_id: UUID,
    step: Step,
    *,
    actor: str,
    reason: str | None = None,
    run_id: str | None = None,
) -> BeginResult:
    """All hops from the state before a step into its X_PROCESSING, in the caller's transaction.

    A row that is there already gives its claim. From any other state WorkflowTransitionError: a failed step is entered
    again by a person's decision, not by this.
    """
    locked = await lock_workflow(connection, workflow_id, organization_id)
    processing = processing_state(step)
    if locked is not None and locked.state is processing:
        return BeginResult(claim=locked.version, state=processing, version=locked.version, already_begun=True)
    locked = _may_begin(workflow_id, step, locked)
    state, version = locked.state, locked.version
    for following in _hops(state, step):
        transition = Advance(
            workflow_id=workflow_id,
            organization_id=organization_id,
            expected_state=state,
            expected_version=version,
            next_state=following,
            transition_id=run_transition_id(workflow_id, version, following),
            actor=actor,
            reason=reason,
            run_id=run_id,
        )
        state, version = following, await _advance_workflow(connection, transition)
    return BeginResult(claim=version, state=state, version=version, already_begun=False)


def _state_before(step: Step) -> State:
    return State.CREATED if step is STEPS[0] else completed_state(STEPS[STEPS.index(step) - 1])


def _hops(state: State, step: Step) -> list[State]:
    pending, processing = pending_state(step), processing_state(step)
    return [processing] if state is pending else [pending, processing]


def _may_begin(workflow_id: UUID, step: Step, locked: LockedWorkflow | None) -> LockedWorkflow:
    if locked is None:
        raise _begin_refused(workflow_id, step, "not_found", None)
    if locked.state not in (_state_before(step), pending_state(step)):
        raise _begin_refused(workflow_id, step, "terminal" if is_terminal(locked.state) else "conflict", locked)
    return locked


def _begin_refused(
    workflow_id: UUID, step: Step, reason: str, locked: LockedWorkflow | None
) -> WorkflowTransitionError:
    return WorkflowTransitionError(
        workflow_id=workflow_id,
        reason=reason,
        current_state=locked.state if locked else None,
        expected_state=pending_state(step),
        attempted_state=processing_state(step),
        current_version=locked.version if locked else None,
    )


async def list_transitions(connection: Connection, workflow_id: UUID) -> list[TransitionRecord]:
    """The audit of one workflow, oldest first."""
    rows = await connection.fetch(
        """
        SELECT transition_id, seq, from_state, to_state, expected_version, actor, reason, run_id, at
        FROM workflow_transitions WHERE workflow_id = $1 ORDER BY seq
        """,
        workflow_id,
    )
    return [TransitionRecord(**row) for row in rows]
