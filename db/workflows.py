"""Rows of ``intent_workflows`` and their organizations: created, found, read; never advanced here."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from db.errors import translated_errors
from db.pool import Connection
from domain.errors import BadInputError, IdempotencyConflictError
from domain.money import Frozen, Usd
from domain.states import State


class NewWorkflow(Frozen):
    """``cap_usd`` None takes the workflow cap of the organization's plan."""

    workflow_id: UUID
    organization_id: UUID
    domain: str
    organization_name: str
    name: str
    brief: dict[str, Any]
    brief_hash: str
    settings: dict[str, Any]
    started_by: str
    cap_usd: Usd | None = None


class WorkflowRecord(Frozen):
    """A row of ``intent_workflows``; the field ``workflow_id`` is its column ``id``."""

    workflow_id: UUID
    organization_id: UUID
    name: str
    brief: dict[str, Any]
    brief_hash: str
    settings: dict[str, Any]
    started_by: str
    state: State
    version: int
    failure: dict[str, Any] | None
    cap_usd: Usd
    spent_usd: Usd
    held_usd: Usd
    overrun_usd: Usd
    frozen_reason: str | None
    created_at: datetime
    updated_at: datetime


async def create_workflow(connection: Connection, new: NewWorkflow) -> bool:
    """Commit-ready CREATED row and its organization; True when the same workflow exists already.

    Raises IdempotencyConflictError when the name was used with another brief, BadInputError for a cap not above 0, or
    for none where the plan allows a workflow nothing.
    """
    with translated_errors():
        await _ensure_organization(connection, new)
        if new.cap_usd is None:
            await _check_plan(connection, new.organization_id)
        if await _insert_workflow(connection, new):
            return False
    row = await connection.fetchrow("SELECT name, brief_hash FROM intent_workflows WHERE id = $1", new.workflow_id)
    if row is None or (row["name"], row["brief_hash"]) != (new.name, new.brief_hash):
        raise IdempotencyConflictError(
            f"the organization {new.domain} already has a workflow named {new.name!r} with another brief; "
            "choose another name"
        )
    return True


async def _check_plan(connection: Connection, organization_id: UUID) -> None:
    plan = await connection.fetchrow(
        """
        SELECT plan_key, coalesce(workflow_cap_usd, 0) > 0 AS allows_some
        FROM plans JOIN organizations USING (plan_key) WHERE organization_id = $1
        """,
        organization_id,
    )
    if plan is not None and not plan["allows_some"]:
        raise BadInputError(
            f"the brief names no cap and the plan {plan['plan_key']} allows a workflow nothing; give it one: "
            f"starter.py plans set {plan['plan_key']} --workflow-cap USD",
            "cap_usd",
        )


async def _ensure_organization(connection: Connection, new: NewWorkflow) -> None:
    await connection.execute(
        """
        INSERT INTO organizations (organization_id, domain, name) VALUES ($1, $2, $3)
        ON CONFLICT (organization_id) DO NOTHING
        """,
        new.organization_id,
        new.domain,
        new.organization_name,
    )


async def _insert_workflow(connection: Connection, new: NewWorkflow) -> bool:
    inserted = await connection.fetchval(
        """
        INSERT INTO intent_workflows
            (id, organization_id, name, brief, brief_hash, settings, started_by, cap_usd)
        SELECT $1, organization_id, $3, $4, $5, $6, $7, coalesce($8, plan.workflow_cap_usd)
        FROM organizations JOIN plans AS plan USING (plan_key)
        WHERE organization_id = $2
        ON CONFLICT DO NOTHING
        RETURNING id
        """,
        new.workflow_id,
        new.organization_id,
        new.name,
        new.brief,
        new.brief_hash,
        new.settings,
        new.started_by,
        new.cap_usd,
    )
    return inserted is not None


async def load_workflow(connection: Connection, workflow_id: UUID) -> WorkflowRecord | None:
    """None when the row does not exist for the transaction's organization."""
    row = await connection.fetchrow(
        """
        SELECT id AS workflow_id, organization_id, name, brief, brief_hash, settings, started_by, state, version,
            failure, cap_usd, spent_usd, held_usd, overrun_usd, frozen_reason, created_at, updated_at
        FROM intent_workflows WHERE id = $1
        """,
        workflow_id,
    )
    return None if row is None else WorkflowRecord(**row)


async def is_demo(connection: Connection, workflow_id: UUID) -> bool:
    """Whether the workflow was started with the sandbox; False for a row that the organization does not have."""
    return bool(
        await connection.fetchval(
            "SELECT coalesce((settings ->> 'is_demo_text')::boolean, false) FROM intent_workflows WHERE id = $1",
            workflow_id,
        )
    )


async def find_organization(operator_connection: Connection, workflow_id: UUID) -> UUID | None:
    """Whose workflow it is; only the operator's role sees all organizations."""
    organization_id: UUID | None = await operator_connection.fetchval(
        "SELECT organization_id FROM intent_workflows WHERE id = $1", workflow_id
    )
    return organization_id


async def list_workflows(connection: Connection, limit: int) -> list[WorkflowRecord]:
    """The youngest first."""
    rows = await connection.fetch(
        """
        SELECT id AS workflow_id, organization_id, name, brief, brief_hash, settings, started_by, state, version,
            failure, cap_usd, spent_usd, held_usd, overrun_usd, frozen_reason, created_at, updated_at
        FROM intent_workflows ORDER BY created_at DESC, id LIMIT $1
        """,
        limit,
    )
    return [WorkflowRecord(**row) for row in rows]


async def set_failure(connection: Connection, workflow_id: UUID, failure: dict[str, Any] | None) -> None:
    """Note why a workflow is in X_FAILED, after the transition into it; leaving the state clears it.

    ``failure`` is {"type", "message", "reasons"}. Raises BadInputError in any other state and when there is no row.
    """
    with translated_errors():
        status = await connection.execute(
            "UPDATE intent_workflows SET failure = $2 WHERE id = $1", workflow_id, failure
        )
    if status != "UPDATE 1":
        raise BadInputError(f"workflow {workflow_id} does not exist for this organization", field="workflow_id")


async def raise_cap(
    connection: Connection,
    workflow_id: UUID,
    organization_id: UUID,
    cap_usd: Decimal,
    *,
    decision_id: UUID,
    actor: str,
) -> Decimal:
    """The cap now in force. The same decision again, or a figure already in force, changes nothing.

    Raises BadInputError for a lower cap, a workflow that has ended or does not exist, IdempotencyConflictError when the
    decision raised to another figure before.
    """
    with translated_errors():
        cap: Decimal = await connection.fetchval(
            "SELECT raise_workflow_cap($1, $2, $3, $4, $5)", workflow_id, organization_id, cap_usd, decision_id, actor
        )
    return cap
