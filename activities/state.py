"""The guarded transitions of the state column: beginning and failing a step, the gates, decisions, cancellation."""

from typing import Any
from uuid import UUID

from temporalio import activity

from activities.case import Case, load_case, progress_of
from db import articles, outputs, spend, transitions, workflows
from db.pool import Connection, Database
from db.transitions import Advance, Advanced
from domain.decisions import Decision, RaiseCap, RedoArticle, ReopenReview, Retry
from domain.errors import BadInputError
from domain.identifiers import decision_transition_id, run_transition_id
from domain.money import Frozen
from domain.progress import ACCEPT_PARTIAL, ClaimRef, Failure, Progress, WorkflowRef
from domain.spend import AttemptState, UnknownOutcome
from domain.states import (
    State,
    Status,
    Step,
    completed_state,
    failed_state,
    is_terminal,
    pending_state,
    processing_state,
    status_of,
    step_of,
)
from domain.verdict import Level, Verdict

RUN_ACTOR = "run"


class BeginStep(Frozen):
    ref: WorkflowRef
    step: Step


class OpenGate(Frozen):
    ref: WorkflowRef
    step: Step


class FailStep(Frozen):
    claim: ClaimRef
    failure: Failure
    output: dict[str, Any] | None = None
    verdict: Verdict | None = None


class CancelWorkflow(Frozen):
    ref: WorkflowRef
    reason: str


class Decide(Frozen):
    """A person's decision about one workflow."""

    ref: WorkflowRef


class DecideRetry(Decide):
    decision: Retry


class DecideReopen(Decide):
    decision: ReopenReview


class DecideRaiseCap(Decide):
    decision: RaiseCap


class DecideRedo(Decide):
    decision: RedoArticle


def run_id() -> str | None:
    """Temporal's run id of the workflow this activity works for."""
    return activity.info().workflow_run_id if activity.in_activity() else None


async def advance_claim(
    connection: Connection, claim: ClaimRef, next_state: State, *, reason: str | None = None
) -> Advanced:
    """A run's own transition out of X_PROCESSING at its claim."""
    return await transitions.advance(
        connection,
        Advance(
            workflow_id=claim.workflow_id,
            organization_id=claim.organization_id,
            expected_state=processing_state(claim.step),
            expected_version=claim.claim,
            next_state=next_state,
            transition_id=run_transition_id(claim.workflow_id, claim.claim, next_state),
            actor=RUN_ACTOR,
            reason=reason,
            run_id=run_id(),
        ),
    )


async def complete_step(connection: Connection, claim: ClaimRef, output: dict[str, Any], verdict: Verdict) -> bool:
    """The advance first, then the outputs, in the caller's transaction.

    Returns False for a replay: then everything that belongs to the transition was written with it, and nothing may
    be written now.
    """
    advanced = await advance_claim(connection, claim, completed_state(claim.step), reason=verdict.level)
    if not advanced.replayed:
        await outputs.store_output(connection, claim, output, verdict)
    return not advanced.replayed


async def block_step(
    connection: Connection, claim: ClaimRef, failure: Failure, output: dict[str, Any] | None, verdict: Verdict
) -> bool:
    """The verdict says no: X_FAILED with its reasons, in the caller's transaction.

    Returns False for a replay, after which nothing may be written: as ``complete_step``.
    """
    advanced = await advance_claim(connection, claim, failed_state(claim.step), reason=failure.message)
    if not advanced.replayed:
        await workflows.set_failure(connection, claim.workflow_id, failure.model_dump(mode="json"))
        await outputs.store_output(connection, claim, output or {}, verdict)
    return not advanced.replayed


async def decide(
    connection: Connection,
    ref: WorkflowRef,
    decision: Decision,
    next_state: State,
    *,
    reason: str | None = None,
) -> bool:
    """A person's transition; returns whether it was a replay of one already made."""
    advanced = await transitions.advance(
        connection,
        Advance(
            workflow_id=ref.workflow_id,
            organization_id=ref.organization_id,
            expected_state=decision.expected_state,
            expected_version=decision.expected_version,
            next_state=next_state,
            transition_id=decision_transition_id(ref.workflow_id, str(decision.decision_id)),
            actor=decision.actor,
            reason=reason,
            run_id=run_id(),
        ),
    )
    return advanced.replayed


class StateActivities:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def _progress(self, connection: Connection, workflow_id: UUID) -> Progress:
        return await progress_of(connection, await load_case(connection, workflow_id))

    @activity.defn(name="load_progress")
    async def load_progress(self, ref: WorkflowRef) -> Progress:
        async with self._database.transaction(ref.organization_id) as connection:
            return await self._progress(connection, ref.workflow_id)

    @activity.defn(name="begin_step")
    async def begin_step(self, begin: BeginStep) -> Progress:
        """All hops of a step's start in one transaction; the version that comes back is the claim."""
        ref = begin.ref
        async with self._database.transaction(ref.organization_id) as connection:
            await transitions.begin_step(
                connection, ref.workflow_id, ref.organization_id, begin.step, actor=RUN_ACTOR, run_id=run_id()
            )
            return await self._progress(connection, ref.workflow_id)

    @activity.defn(name="open_gate")
    async def open_gate(self, gate: OpenGate) -> Progress:
        """COMPETITOR_COMPLETED → SEED_REVIEW_PENDING, ARTICLE_COMPLETED → PUBLISH_PENDING."""
        ref = gate.ref
        async with self._database.transaction(ref.organization_id) as connection:
            case = await load_case(connection, ref.workflow_id)
            if case.state is not pending_state(gate.step):
                await self._open(connection, case, gate.step)
            return await self._progress(connection, ref.workflow_id)

    async def _open(self, connection: Connection, case: Case, step: Step) -> None:
        before = State.COMPETITOR_COMPLETED if step is Step.SEED_REVIEW else State.ARTICLE_COMPLETED
        await transitions.advance(
            connection,
            Advance(
                workflow_id=case.workflow_id,
                organization_id=case.organization_id,
                expected_state=before,
                expected_version=case.version,
                next_state=pending_state(step),
                transition_id=run_transition_id(case.workflow_id, case.version, pending_state(step)),
                actor=RUN_ACTOR,
                run_id=run_id(),
            ),
        )

    @activity.defn(name="fail_step")
    async def fail_step(self, fail: FailStep) -> Progress:
        claim = fail.claim
        async with self._database.transaction(claim.organization_id) as connection:
            verdict = fail.verdict or _verdict_of(fail.failure)
            await block_step(connection, claim, fail.failure, fail.output, verdict)
            return await self._progress(connection, claim.workflow_id)

    @activity.defn(name="cancel_workflow")
    async def cancel_workflow(self, cancel: CancelWorkflow) -> Progress:
        """Books what has been answered and closes the row; a terminal row stays as it is."""
        ref = cancel.ref
        async with self._database.transaction(ref.organization_id) as connection:
            await cancel_row(connection, ref, actor=RUN_ACTOR, reason=cancel.reason)
            return await self._progress(connection, ref.workflow_id)

    @activity.defn(name="cancel_own_run")
    async def cancel_own_run(self, ref: WorkflowRef) -> None:
        """Asks Temporal to cancel the run that this activity works for."""
        info = activity.info()
        handle = activity.client().get_workflow_handle(info.workflow_id or "", run_id=info.workflow_run_id)
        await handle.cancel(reason=f"the row of workflow {ref.workflow_id} is CANCELLED")

    @activity.defn(name="retry_step")
    async def retry_step(self, decide_retry: DecideRetry) -> Progress:
        """X_FAILED → X_PROCESSING: a person asked for it. Articles that failed or were not begun are planned again."""
        ref, decision = decide_retry.ref, decide_retry.decision
        async with self._database.transaction(ref.organization_id) as connection:
            step = _failed_step(decision.expected_state)
            reason = ACCEPT_PARTIAL if decision.accept_partial else "retry"
            replayed = await decide(connection, ref, decision, processing_state(step), reason=reason)
            if step is Step.ARTICLE and not replayed and not decision.accept_partial:
                await articles.plan_again(connection, ref.workflow_id)
            return await self._progress(connection, ref.workflow_id)

    @activity.defn(name="reopen_review")
    async def reopen_review(self, decide_reopen: DecideReopen) -> Progress:
        """After a failed clustering or validation: back to the seeds."""
        ref, decision = decide_reopen.ref, decide_reopen.decision
        async with self._database.transaction(ref.organization_id) as connection:
            await decide(connection, ref, decision, State.SEED_REVIEW_PENDING, reason="reopened")
            return await self._progress(connection, ref.workflow_id)

    @activity.defn(name="raise_cap")
    async def raise_cap(self, decide_raise: DecideRaiseCap) -> Progress:
        ref, decision = decide_raise.ref, decide_raise.decision
        async with self._database.transaction(ref.organization_id) as connection:
            await workflows.raise_cap(
                connection,
                ref.workflow_id,
                ref.organization_id,
                decision.cap_usd,
                actor=decision.actor,
                decision_id=decision.decision_id,
            )
            return await self._progress(connection, ref.workflow_id)

    @activity.defn(name="redo_article")
    async def redo_article(self, decide_redo: DecideRedo) -> Progress:
        """PUBLISH_PENDING → ARTICLE_PENDING for one article; its accepted version stays until the new one passes."""
        ref, decision = decide_redo.ref, decide_redo.decision
        async with self._database.transaction(ref.organization_id) as connection:
            ours = await articles.load_articles(connection, ref.workflow_id)
            if decision.article_id not in [article.article_id for article in ours]:
                raise BadInputError(f"article {decision.article_id} is not one of this workflow's; see `articles`")
            replayed = await decide(connection, ref, decision, State.ARTICLE_PENDING, reason=f"redo: {decision.note}")
            if not replayed:
                await articles.begin_revision(connection, decision.article_id, note=decision.note)
            return await self._progress(connection, ref.workflow_id)


def _failed_step(state: State) -> Step:
    step = step_of(state)
    if status_of(state) is not Status.FAILED or step is None:
        raise BadInputError(f"only a failed step can be run again, and {state} is none; see `starter.py status`")
    return step


def _verdict_of(failure: Failure) -> Verdict:
    return Verdict(level=Level.BLOCK, reasons=failure.reasons)


async def cancel_row(connection: Connection, ref: WorkflowRef, *, actor: str, reason: str) -> None:
    """From whatever state the locked row is in; RESERVED holds are voided by the transition itself."""
    locked = await transitions.lock_workflow(connection, ref.workflow_id, ref.organization_id)
    if locked is None or is_terminal(locked.state):
        return
    await spend.settle_answered(connection, ref.workflow_id, ref.organization_id)
    await _give_up_on_dead_calls(connection, ref)
    await transitions.advance(
        connection,
        Advance(
            workflow_id=ref.workflow_id,
            organization_id=ref.organization_id,
            expected_state=locked.state,
            expected_version=locked.version,
            next_state=State.CANCELLED,
            transition_id=run_transition_id(ref.workflow_id, locked.version, State.CANCELLED),
            actor=actor,
            reason=reason,
            run_id=run_id(),
        ),
    )


async def _give_up_on_dead_calls(connection: Connection, ref: WorkflowRef) -> None:
    """A run awaits its calls before it closes the row: what is in flight still was with a worker that died. Its hold
    stays; should the answer arrive all the same, it is booked at once."""
    for hold in await spend.in_flight(connection, ref.workflow_id):
        if hold.state is AttemptState.DISPATCHED:
            unknown = UnknownOutcome(reason="the workflow was cancelled and no worker reported on this call")
            await spend.store_unknown(connection, ref.organization_id, hold.attempt_id, unknown)
