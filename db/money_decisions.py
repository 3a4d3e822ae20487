"""What people decided about money, with who and why: caps, freezes, corrections, plans and prices. Only read here."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from db.errors import translated_errors
from db.pool import Connection
from domain.money import Frozen, Usd


class MoneyDecisionKind(StrEnum):
    CAP_RAISED = "cap_raised"
    FROZEN = "frozen"
    THAWED = "thawed"
    CORRECTED = "corrected"
    PLAN_GIVEN = "plan_given"
    PLAN_WORKFLOW_CAP = "plan_workflow_cap"
    PLAN_MONTH_CAP = "plan_month_cap"
    PLAN_PRICE = "plan_price"


class MoneyDecision(Frozen):
    """``month`` is set where the organization's month was frozen or thawed instead of the run; ``ledger_id`` is the row
    that a correction is, ``to_usd`` its amount. A plan's cap of None allows nothing. ``reason`` is None where none is
    asked for."""

    at: datetime
    actor: str
    kind: MoneyDecisionKind
    month: date | None
    ledger_id: int | None
    from_usd: Usd | None
    to_usd: Usd | None
    from_plan: str | None
    to_plan: str | None
    reason: str | None


class OrganizationPlanChange(Frozen):
    from_plan_key: str
    to_plan_key: str
    actor: str
    at: datetime


class PriceChange(Frozen):
    """``action`` is ``added``, ``ended`` or ``replaced``, from ``effective_from`` on."""

    model: str
    action: str
    effective_from: datetime
    actor: str
    at: datetime


async def money_decisions(connection: Connection, workflow_id: UUID) -> list[MoneyDecision]:
    """Those that bear on one workflow, the oldest first: of itself, of the months that it asked in, and while it ran of
    its organization's plan."""
    with translated_errors():
        rows = await connection.fetch(
            """
            WITH run AS (
                SELECT id, organization_id, created_at,
                    CASE WHEN state IN ('COMPLETED', 'CANCELLED') THEN updated_at ELSE 'infinity' END AS ended_at
                FROM intent_workflows WHERE id = $1
            ), given AS (
                SELECT change.* FROM organization_plan_changes AS change JOIN run USING (organization_id)
                WHERE change.at BETWEEN run.created_at AND run.ended_at
            ), had AS (
                SELECT plan_key FROM organizations JOIN run USING (organization_id)
                UNION SELECT from_plan_key FROM given
                UNION SELECT to_plan_key FROM given
                UNION SELECT plan_key_at(run.organization_id, run.ended_at) FROM run
            )
            SELECT change.at, change.actor, 'cap_raised' AS kind, NULL::date AS month, NULL::bigint AS ledger_id,
                change.from_usd, change.to_usd, NULL AS from_plan, NULL AS to_plan, NULL AS reason
            FROM cap_changes AS change JOIN run ON run.id = change.workflow_id
                AND run.organization_id = change.organization_id
            UNION ALL
            SELECT change.at, change.actor, CASE change.action WHEN 'freeze' THEN 'frozen' ELSE 'thawed' END,
                change.month, NULL, NULL, NULL, NULL, NULL, change.reason
            FROM scope_freezes AS change JOIN run USING (organization_id)
            WHERE change.workflow_id = run.id OR change.month IN (
                SELECT attempt.month FROM spend_attempts AS attempt
                WHERE attempt.workflow_id = run.id AND attempt.organization_id = run.organization_id)
            UNION ALL
            SELECT ledger.created_at, ledger.actor, 'corrected', NULL, ledger.id, NULL, ledger.cost, NULL, NULL,
                ledger.reason
            FROM ai_usage_ledger AS ledger JOIN run ON run.id = ledger.workflow_id
                AND run.organization_id = ledger.organization_id
            WHERE ledger.actor IS NOT NULL
            UNION ALL
            SELECT at, actor, 'plan_given', NULL, NULL, NULL, NULL, from_plan_key, to_plan_key, NULL FROM given
            UNION ALL
            SELECT change.at, change.actor, amount.kind, NULL, NULL, amount.from_usd, amount.to_usd, NULL,
                change.plan_key, NULL
            FROM run CROSS JOIN plan_changes AS change
            CROSS JOIN LATERAL (VALUES
                ('plan_workflow_cap', change.from_workflow_cap_usd, change.to_workflow_cap_usd),
                ('plan_month_cap', change.from_month_cap_usd, change.to_month_cap_usd),
                ('plan_price', change.from_price_usd_per_month, change.to_price_usd_per_month)
            ) AS amount (kind, from_usd, to_usd)
            WHERE change.plan_key IN (SELECT plan_key FROM had) AND change.at BETWEEN run.created_at AND run.ended_at
                AND amount.from_usd IS DISTINCT FROM amount.to_usd
            ORDER BY at, kind
            """,
            workflow_id,
        )
    return [MoneyDecision(**row) for row in rows]


async def organization_plan_changes(connection: Connection, organization_id: UUID) -> list[OrganizationPlanChange]:
    """The oldest first."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT from_plan_key, to_plan_key, actor, at FROM organization_plan_changes
            WHERE organization_id = $1 ORDER BY at
            """,
            organization_id,
        )
    return [OrganizationPlanChange(**row) for row in rows]


async def price_changes(connection: Connection, model: str | None = None) -> list[PriceChange]:
    """Of one model by its canonical name, or of all; the oldest first."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT model, action, effective_from, actor, at FROM price_changes
            WHERE $1::text IS NULL OR model = $1 ORDER BY at, action DESC
            """,
            model,
        )
    return [PriceChange(**row) for row in rows]
