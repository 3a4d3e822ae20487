"""What refuses a workflow's calls: the refusals of one claim, and the scopes as they are now."""

from uuid import UUID

from db.errors import translated_errors
from db.pool import Connection
from domain.refusals import RefusedAsk, Standing


async def load_standing(connection: Connection, workflow_id: UUID, claim: int) -> Standing | None:
    """With the asks that were refused under ``claim``; None when the organization has no such workflow."""
    with translated_errors():
        row = await connection.fetchrow(
            """
            SELECT plan.plan_key, plan.workflow_cap_usd AS plan_workflow_cap_usd,
                plan.month_cap_usd AS plan_month_cap_usd,
                coalesce(month.spent_usd + month.held_usd, 0) AS month_used_usd,
                workflow.frozen_reason IS NOT NULL OR month.frozen_reason IS NOT NULL AS is_frozen
            FROM intent_workflows AS workflow
            JOIN organizations AS organization ON organization.organization_id = workflow.organization_id
            JOIN plans AS plan ON plan.plan_key = organization.plan_key
            LEFT JOIN organization_months AS month ON month.organization_id = workflow.organization_id
                AND month.month = spend_month(clock_timestamp())
            WHERE workflow.id = $1
            """,
            workflow_id,
        )
        if row is None:
            return None
        asks = await connection.fetch(
            """
            SELECT refusal ->> 'scope' AS scope, (refusal ->> 'cap_usd')::numeric AS cap_usd, max(hold_usd) AS hold_usd,
                month = spend_month(clock_timestamp()) AS is_this_month,
                (price_at(canonical_model(model), clock_timestamp())).price_id IS NOT NULL AS has_price
            FROM spend_attempts
            WHERE workflow_id = $1 AND claim = $2 AND state = 'REFUSED'
            GROUP BY 1, 2, 4, 5 ORDER BY 1, 2, 4, 5
            """,
            workflow_id,
            claim,
        )
    return Standing(**row, asks=tuple(RefusedAsk(**ask) for ask in asks))
