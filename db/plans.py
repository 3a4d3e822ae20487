"""Plans and who has them, changed by an operator with an audit row each; and the alerts that caps gave."""

from uuid import UUID

from db.errors import translated_errors
from db.pool import Connection
from domain.money import format_usd
from domain.plans import OrganizationPlan, Plan, PlanChange, PlanChangeRecord, SpendAlert

FOUND_MAX = 6
PREFIX_CHARACTERS_MIN = 4


async def list_plans(connection: Connection) -> list[Plan]:
    """By key; ``organizations`` counts those that the connection sees."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT plan_key, workflow_cap_usd, month_cap_usd, price_usd_per_month,
                (SELECT count(*) FROM organizations WHERE organizations.plan_key = plans.plan_key) AS organizations
            FROM plans ORDER BY plan_key
            """
        )
    return [Plan(**row) for row in rows]


async def set_plan(connection: Connection, plan_key: str, change: PlanChange, *, decision_id: UUID, actor: str) -> Plan:
    """Makes a plan, or changes the fields that were set; the plan as it is then. As the operator's role alone.

    The same decision again changes nothing.
    """
    amounts = {name: getattr(change, name) for name in change.model_fields_set}
    facts = {name: None if amount is None else format_usd(amount) for name, amount in amounts.items()}
    with translated_errors():
        row = await connection.fetchrow(
            """
            SELECT plan_key, workflow_cap_usd, month_cap_usd, price_usd_per_month FROM set_plan($1, $2, $3, $4)
            """,
            plan_key,
            facts,
            decision_id,
            actor,
        )
    assert row is not None  # noqa: S101 -- the function returns one row
    return Plan(**dict(row))


async def plan_history(connection: Connection, plan_key: str) -> list[PlanChangeRecord]:
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT plan_key, is_new, from_workflow_cap_usd, from_month_cap_usd, from_price_usd_per_month,
                to_workflow_cap_usd, to_month_cap_usd, to_price_usd_per_month, actor, at
            FROM plan_changes WHERE plan_key = $1 ORDER BY at
            """,
            plan_key,
        )
    return [PlanChangeRecord(**row) for row in rows]


async def find_organizations(operator_connection: Connection, text: str) -> list[OrganizationPlan]:
    """Organizations with this domain or name, or whose id begins with the text, at most FOUND_MAX."""
    digits = text.replace("-", "").lower()
    is_prefix = len(digits) >= PREFIX_CHARACTERS_MIN and all(character in "0123456789abcdef" for character in digits)
    with translated_errors():
        rows = await operator_connection.fetch(
            """
            SELECT organization_id, domain, name, plan_key FROM organizations
            WHERE domain = lower($1) OR lower(name) = lower($1)
                OR ($2 <> '' AND starts_with(replace(organization_id::text, '-', ''), $2))
            ORDER BY domain LIMIT $3
            """,
            text,
            digits if is_prefix else "",
            FOUND_MAX,
        )
    return [OrganizationPlan(**row) for row in rows]


async def assign_plan(
    connection: Connection, organization_id: UUID, plan_key: str, *, decision_id: UUID, actor: str
) -> str:
    """Gives the transaction's organization a plan; the key of the one it had. As the operator's role alone.

    Raises BadInputError for an unknown plan or organization. The same decision again changes nothing.
    """
    with translated_errors():
        before: str = await connection.fetchval(
            "SELECT assign_plan($1, $2, $3, $4)", organization_id, plan_key, decision_id, actor
        )
    return before


async def list_alerts(
    connection: Connection, *, organization_id: UUID | None = None, workflow_id: UUID | None = None, limit: int = 100
) -> list[SpendAlert]:
    """The youngest first; of one organization, of one workflow (its own and those of its organization's months are
    not mixed), or of all that the connection sees."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT alert.alert_id, alert.organization_id, organization.domain, alert.workflow_id,
                workflow.name AS workflow_name, alert.month, alert.threshold_percent, alert.round, alert.cap_usd,
                alert.spent_usd, alert.held_usd, alert.is_refusal, alert.attempt_id, alert.at
            FROM spend_alerts AS alert
            JOIN organizations AS organization USING (organization_id)
            LEFT JOIN intent_workflows AS workflow
                ON workflow.id = alert.workflow_id AND workflow.organization_id = alert.organization_id
            WHERE ($1::uuid IS NULL OR alert.organization_id = $1) AND ($2::uuid IS NULL OR alert.workflow_id = $2)
            ORDER BY alert.at DESC, alert.threshold_percent DESC LIMIT $3
            """,
            organization_id,
            workflow_id,
            limit,
        )
    return [SpendAlert(**row) for row in rows]
