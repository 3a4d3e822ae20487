"""What a step produced under a claim, with the verdict that drove its transition."""

from typing import Any
from uuid import UUID

from db.pool import Connection
from domain.money import Frozen
from domain.progress import ClaimRef
from domain.states import Step
from domain.verdict import Verdict


class StepOutput(Frozen):
    step: Step
    claim: int
    output: dict[str, Any]
    verdict: Verdict


async def store_output(connection: Connection, claim: ClaimRef, output: dict[str, Any], verdict: Verdict) -> None:
    """Idempotent: the first output of a claim stays."""
    await connection.execute(
        """
        INSERT INTO step_outputs (workflow_id, organization_id, step, claim, output, verdict)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (workflow_id, organization_id, step, claim) DO NOTHING
        """,
        claim.workflow_id,
        claim.organization_id,
        claim.step,
        claim.claim,
        output,
        verdict.model_dump(mode="json"),
    )


async def latest_output(connection: Connection, workflow_id: UUID, step: Step) -> StepOutput | None:
    """The newest output of a step, blocked ones included."""
    row = await connection.fetchrow(
        """
        SELECT step, claim, output, verdict FROM step_outputs
        WHERE workflow_id = $1 AND step = $2 ORDER BY claim DESC LIMIT 1
        """,
        workflow_id,
        step,
    )
    return None if row is None else StepOutput.model_validate(dict(row))
