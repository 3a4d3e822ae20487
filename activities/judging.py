"""What every judge of a stored answer does around its own rules."""

from uuid import UUID

from activities.case import load_case, progress_of
from activities.state import block_step
from db import spend, transitions
from db.pool import Connection
from domain.errors import InvalidModelOutputError
from domain.progress import ClaimRef, Failure, Judged, JudgedKind
from domain.states import processing_state
from domain.verdict import Blocked, Verdict


async def answer_of(connection: Connection, claim: ClaimRef, attempt_id: UUID) -> str:
    """Raw body of a stored answer, as the provider sent it."""
    attempt = await spend.load_attempt(connection, attempt_id)
    if attempt is None or attempt.answer_body is None:
        raise InvalidModelOutputError(f"attempt {attempt_id} of step {claim.step} has no stored answer to judge")
    return attempt.answer_body


async def reject(connection: Connection, claim: ClaimRef, attempt_id: UUID, message: str) -> None:
    """A rejected answer is never handed out again. Who has lost the claim rejects nothing: what the answer was worth
    has been decided, and the step may stand on it."""
    locked = await transitions.lock_workflow(connection, claim.workflow_id, claim.organization_id)
    if locked is not None and (locked.state, locked.version) == (processing_state(claim.step), claim.claim):
        await spend.reject(connection, claim.organization_id, attempt_id, message)


def failure_of(verdict: Verdict, *, type_: str = "BlockedByVerdict") -> Failure:
    """The verdict's reasons as a failure: the first in full, the others counted."""
    messages = [reason.message for reason in verdict.reasons]
    more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
    return Failure(type=type_, message=f"{messages[0]}{more}" if messages else "blocked", reasons=verdict.reasons)


async def block_with(connection: Connection, claim: ClaimRef, blocked: Blocked, attempt_id: UUID | None = None) -> bool:
    """X_FAILED with the verdict, and the answer marked rejected, in the caller's transaction.

    Returns False for a replay: then all of it was written with the first try, and nothing may be written now.
    """
    failure = failure_of(blocked.verdict)
    is_first = await block_step(connection, claim, failure, blocked.output, blocked.verdict)
    if is_first and attempt_id is not None:
        await spend.reject(connection, claim.organization_id, attempt_id, failure.message)
    return is_first


async def judged(connection: Connection, claim: ClaimRef, kind: JudgedKind) -> Judged:
    """A judgement that moved the row: with where it stands now."""
    progress = await progress_of(connection, await load_case(connection, claim.workflow_id))
    return Judged(kind=kind, progress=progress)
