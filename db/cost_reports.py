"""What was spent on what: estimate against actual, waste, the dearest workflows, margin, drift.

Every report reads what its connection sees: one organization in a tenant's transaction, all of them as the operator.
Amounts come from the ledger; ``hold_usd`` beside them is what the calls were estimated at most.
"""

from collections.abc import Collection
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from db.errors import translated_errors
from db.pool import Connection
from domain.money import Frozen, Usd
from domain.spend import CostKey
from domain.states import State

DRIFT_SHARE_MAX = Decimal("0.01")
DRIFT_USD_MAX = Decimal("0.000001")


class CostLine(Frozen):
    """A sum; of the keys those are set that were asked for. ``hold_usd`` is the estimate: the holds of the attempts
    that were booked, ``cost_usd`` the actual."""

    month: date | None = None
    organization_id: UUID | None = None
    organization: str | None = None
    workflow_id: UUID | None = None
    step: str | None = None
    slot: str | None = None
    model: str | None = None
    attempts: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    hold_usd: Usd
    cost_usd: Usd

    @property
    def actual_share(self) -> Decimal | None:
        """Actual over estimate, None where nothing was estimated."""
        return self.cost_usd / self.hold_usd if self.hold_usd else None


class WasteKind(StrEnum):
    """An attempt is counted once, under the first that fits. ``late``: its answer came when the run had gone on."""

    WRITTEN_OFF = "written_off"
    REJECTED = "rejected"
    LATE = "late"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class WasteLine(Frozen):
    """``cost_usd`` was paid for nothing; ``held_usd`` may have been: its cost is not known yet."""

    kind: WasteKind
    attempts: int
    cost_usd: Usd
    held_usd: Usd


class Waste(Frozen):
    lines: tuple[WasteLine, ...]
    cost_usd: Usd
    held_usd: Usd
    spent_usd: Usd

    @property
    def share(self) -> Decimal:
        """Of all that was spent, 0 to 1."""
        return self.cost_usd / self.spent_usd if self.spent_usd else Decimal(0)


class WorkflowCost(Frozen):
    workflow_id: UUID
    organization: str
    name: str
    state: State
    cap_usd: Usd
    attempts: int
    hold_usd: Usd
    cost_usd: Usd
    articles_passed: int

    @property
    def cost_per_article_usd(self) -> Decimal | None:
        return self.cost_usd / self.articles_passed if self.articles_passed else None


class Margin(Frozen):
    """``price_usd`` is what the organization's plan cost at the month's end (now, in the current month)."""

    organization_id: UUID
    organization: str
    month: date
    plan_key: str
    price_usd: Usd
    cost_usd: Usd

    @property
    def margin_usd(self) -> Decimal:
        return self.price_usd - self.cost_usd


class DriftKind(StrEnum):
    COST = "cost"
    MODEL = "model"


class DriftRecord(Frozen):
    """A ledger row whose provider billed otherwise than our price says (``cost``), or that a model outside the
    route answered (``model``). ``drift_usd`` is the provider's figure less the computed one."""

    kind: DriftKind
    idempotency_key: UUID
    workflow_id: UUID
    organization: str
    step: str
    slot: str
    asked_model: str
    answered_model: str
    provider_cost_usd: Usd | None
    computed_cost_usd: Usd | None
    drift_usd: Usd | None
    cost_usd: Usd
    created_at: datetime


class SpendingRoom(Frozen):
    """What an organization's plan and its current month still allow a workflow. A cap of None allows nothing; what the
    workflow itself has spent and holds (``own_usd``) is not counted against it."""

    plan_key: str
    workflow_cap_usd: Usd | None
    month_cap_usd: Usd | None
    month_spent_usd: Usd
    month_held_usd: Usd
    own_usd: Usd
    month_frozen_reason: str | None

    @property
    def month_left_usd(self) -> Decimal:
        if self.month_cap_usd is None or self.month_frozen_reason is not None:
            return Decimal(0)
        return max(self.month_cap_usd - self.month_spent_usd - self.month_held_usd + self.own_usd, Decimal(0))


async def spending_room(
    connection: Connection, organization_id: UUID, *, workflow_id: UUID | None = None
) -> SpendingRoom:
    """Of the current month. An organization that is not there yet has the plan that new ones are given, unspent.
    ``workflow_id`` is the workflow that is asked for, once it has a row."""
    with translated_errors():
        row = await connection.fetchrow(
            """
            SELECT plan.plan_key, plan.workflow_cap_usd, plan.month_cap_usd,
                coalesce(month.spent_usd, 0) AS month_spent_usd, coalesce(month.held_usd, 0) AS month_held_usd,
                (SELECT coalesce(sum(coalesce(
                    (SELECT sum(ledger.cost) FROM ai_usage_ledger AS ledger
                     WHERE ledger.attempt_id = attempt.attempt_id
                        AND ledger.organization_id = attempt.organization_id),
                    attempt.hold_usd)), 0)
                 FROM spend_attempts AS attempt
                 WHERE attempt.workflow_id = $2 AND attempt.organization_id = $1
                    AND attempt.month = spend_month(clock_timestamp())
                    AND attempt.state NOT IN ('REFUSED', 'VOIDED', 'EXPIRED')) AS own_usd,
                month.frozen_reason AS month_frozen_reason
            FROM plans AS plan
            LEFT JOIN organizations AS organization ON organization.organization_id = $1
            LEFT JOIN organization_months AS month
                ON month.organization_id = $1 AND month.month = spend_month(clock_timestamp())
            WHERE plan.plan_key = coalesce(organization.plan_key, 'default')
            """,
            organization_id,
            workflow_id,
        )
    assert row is not None  # noqa: S101 -- the plan of new organizations is shipped, and no plan is ever removed
    return SpendingRoom(**row)


async def cost_breakdown(
    connection: Connection, by: Collection[CostKey], *, workflow_id: UUID | None = None, month: date | None = None
) -> list[CostLine]:
    """Sums of the ledger by every key given (none: one sum), the dearest first."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT
                CASE WHEN 'month' = ANY ($1) THEN ledger.month END AS month,
                CASE WHEN 'organization' = ANY ($1) THEN ledger.organization_id END AS organization_id,
                CASE WHEN 'organization' = ANY ($1) THEN organization.domain END AS organization,
                CASE WHEN 'workflow' = ANY ($1) THEN ledger.workflow_id END AS workflow_id,
                CASE WHEN 'step' = ANY ($1) THEN ledger.step END AS step,
                CASE WHEN 'slot' = ANY ($1) THEN ledger.slot END AS slot,
                CASE WHEN 'model' = ANY ($1) THEN ledger.model END AS model,
                count(DISTINCT ledger.attempt_id) AS attempts,
                sum(ledger.prompt_tokens)::bigint AS prompt_tokens,
                sum(ledger.cached_tokens)::bigint AS cached_tokens,
                sum(ledger.completion_tokens)::bigint AS completion_tokens,
                sum(CASE WHEN ledger.entry = 'correction' THEN 0 ELSE attempt.hold_usd END) AS hold_usd,
                sum(ledger.cost) AS cost_usd
            FROM ai_usage_ledger AS ledger
            JOIN spend_attempts AS attempt USING (attempt_id, organization_id)
            JOIN organizations AS organization USING (organization_id)
            WHERE ($2::uuid IS NULL OR ledger.workflow_id = $2) AND ($3::date IS NULL OR ledger.month = $3)
            GROUP BY 1, 2, 3, 4, 5, 6, 7
            ORDER BY cost_usd DESC, 1, 2, 4, 5, 6, 7
            """,
            [str(key) for key in by],
            workflow_id,
            month,
        )
    return [CostLine(**row) for row in rows]


async def wasted_spend(connection: Connection, *, workflow_id: UUID | None = None, month: date | None = None) -> Waste:
    """What was paid and served nothing: answers that were rejected or came too late, costs that were written off, all
    that workflows spent that were cancelled; and what attempts of unknown cost hold. Each attempt counts once."""
    with translated_errors():
        rows = await connection.fetch(
            """
            WITH booked AS (
                SELECT attempt.attempt_id, attempt.state, attempt.rejected_reason, attempt.hold_usd,
                    workflow.state AS workflow_state,
                    attempt.state = 'SETTLED' AND attempt.outcome IS NOT NULL AND NOT EXISTS (
                        SELECT FROM spend_reuses AS reuse
                        WHERE reuse.reused_attempt_id = attempt.attempt_id
                            AND reuse.organization_id = attempt.organization_id) AS is_late,
                    (SELECT coalesce(sum(cost), 0) FROM ai_usage_ledger AS ledger
                     WHERE ledger.attempt_id = attempt.attempt_id
                        AND ledger.organization_id = attempt.organization_id) AS cost_usd
                FROM spend_attempts AS attempt JOIN intent_workflows AS workflow
                    ON workflow.id = attempt.workflow_id AND workflow.organization_id = attempt.organization_id
                WHERE ($1::uuid IS NULL OR attempt.workflow_id = $1) AND ($2::date IS NULL OR attempt.month = $2)
                    AND attempt.state NOT IN ('REFUSED', 'RESERVED', 'VOIDED', 'EXPIRED')
            )
            SELECT
                CASE
                    WHEN state = 'UNKNOWN' THEN 'unknown'
                    WHEN state = 'WRITTEN_OFF' THEN 'written_off'
                    WHEN rejected_reason IS NOT NULL THEN 'rejected'
                    WHEN is_late THEN 'late'
                    WHEN workflow_state = 'CANCELLED' THEN 'cancelled'
                END AS kind,
                count(*) FILTER (WHERE cost_usd > 0 OR state = 'UNKNOWN') AS attempts, sum(cost_usd) AS cost_usd,
                sum(CASE WHEN state = 'UNKNOWN' THEN hold_usd ELSE 0 END) AS held_usd
            FROM booked GROUP BY 1
            """,
            workflow_id,
            month,
        )
    found = {row["kind"]: row for row in rows}
    lines = tuple(
        WasteLine(**found[kind]) if kind in found else WasteLine(kind=kind, attempts=0, cost_usd=0, held_usd=0)
        for kind in WasteKind
    )
    return Waste(
        lines=lines,
        cost_usd=sum((line.cost_usd for line in lines), Decimal(0)),
        held_usd=sum((line.held_usd for line in lines), Decimal(0)),
        spent_usd=sum((row["cost_usd"] for row in rows), Decimal(0)),
    )


async def top_workflows(connection: Connection, limit: int, *, month: date | None = None) -> list[WorkflowCost]:
    """The workflows that cost most (in a month), with what an article of each came to."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT workflow.id AS workflow_id, organization.domain AS organization, workflow.name, workflow.state,
                workflow.cap_usd, spent.attempts, spent.hold_usd, spent.cost_usd,
                (SELECT count(*) FROM articles
                 WHERE articles.workflow_id = workflow.id AND articles.organization_id = workflow.organization_id
                    AND articles.accepted_revision IS NOT NULL
                ) AS articles_passed
            FROM (
                SELECT ledger.workflow_id, organization_id, count(DISTINCT ledger.attempt_id) AS attempts,
                    sum(ledger.cost) AS cost_usd,
                    sum(CASE WHEN ledger.entry = 'correction' THEN 0 ELSE attempt.hold_usd END) AS hold_usd
                FROM ai_usage_ledger AS ledger JOIN spend_attempts AS attempt USING (attempt_id, organization_id)
                WHERE $2::date IS NULL OR ledger.month = $2
                GROUP BY ledger.workflow_id, organization_id
            ) AS spent
            JOIN intent_workflows AS workflow
                ON workflow.id = spent.workflow_id AND workflow.organization_id = spent.organization_id
            JOIN organizations AS organization ON organization.organization_id = spent.organization_id
            ORDER BY spent.cost_usd DESC, workflow.id LIMIT $1
            """,
            limit,
            month,
        )
    return [WorkflowCost(**row) for row in rows]


async def margins(connection: Connection, *, month: date | None = None) -> list[Margin]:
    """Per organization and month since it began (or of one month): its plan's price less the month's cost, the
    thinnest first. Plan and price are those in force at the month's end, so a later change rewrites no past month."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT organization.organization_id, organization.domain AS organization, lived.month, plan.plan_key,
                price.price_usd, coalesce(spent.spent_usd, 0) AS cost_usd
            FROM organizations AS organization
            CROSS JOIN LATERAL (
                SELECT first::date AS month, (first + interval '1 month') AT TIME ZONE 'UTC' AS ends_at
                FROM generate_series(
                    least(
                        spend_month(organization.created_at),
                        (SELECT min(spent.month) FROM organization_months AS spent
                         WHERE spent.organization_id = organization.organization_id)
                    )::timestamp,
                    spend_month(clock_timestamp())::timestamp, interval '1 month') AS first
            ) AS lived
            CROSS JOIN LATERAL plan_key_at(organization.organization_id, lived.ends_at) AS plan (plan_key)
            CROSS JOIN LATERAL plan_price_at(plan.plan_key, lived.ends_at) AS price (price_usd)
            LEFT JOIN organization_months AS spent
                ON spent.organization_id = organization.organization_id AND spent.month = lived.month
            WHERE $1::date IS NULL OR lived.month = $1
            ORDER BY lived.month DESC, price.price_usd - coalesce(spent.spent_usd, 0), organization.domain
            """,
            month,
        )
    return [Margin(**row) for row in rows]


async def drift_records(
    connection: Connection,
    *,
    share_max: Decimal = DRIFT_SHARE_MAX,
    usd_max: Decimal = DRIFT_USD_MAX,
    workflow_id: UUID | None = None,
    month: date | None = None,
) -> list[DriftRecord]:
    """Ledger rows beyond the tolerance, the youngest first: provider and computed cost differ by more than
    ``share_max`` of the computed one and by more than ``usd_max``; or no model of the step's route answered."""
    with translated_errors():
        rows = await connection.fetch(
            """
            WITH routed AS (
                SELECT ledger.*, attempt.model AS asked_model, organization.domain AS organization,
                    CASE ledger.step
                        WHEN 'icp' THEN workflow.settings #> '{icp,route,models}'
                        WHEN 'competitor' THEN workflow.settings #> '{competitor,route,models}'
                        WHEN 'article' THEN CASE WHEN ledger.slot LIKE '%:outline'
                            THEN workflow.settings #> '{article,outline_route,models}'
                            ELSE workflow.settings #> '{article,section_route,models}' END
                    END AS route
                FROM ai_usage_ledger AS ledger
                JOIN spend_attempts AS attempt USING (attempt_id, organization_id)
                JOIN intent_workflows AS workflow
                    ON workflow.id = ledger.workflow_id AND workflow.organization_id = ledger.organization_id
                JOIN organizations AS organization ON organization.organization_id = ledger.organization_id
                WHERE ($3::uuid IS NULL OR ledger.workflow_id = $3) AND ($4::date IS NULL OR ledger.month = $4)
                    AND (ledger.drift_usd <> 0 OR ledger.model <> attempt.model)
            )
            SELECT kind, idempotency_key, workflow_id, organization, step, slot, asked_model, model AS answered_model,
                provider_cost_usd, computed_cost_usd, drift_usd, cost AS cost_usd, created_at
            FROM routed CROSS JOIN unnest(ARRAY['cost', 'model']) AS kind
            WHERE CASE kind
                WHEN 'cost' THEN abs(drift_usd) > $2 AND abs(drift_usd) > $1 * computed_cost_usd
                ELSE model <> asked_model AND NOT EXISTS (
                    SELECT FROM jsonb_array_elements_text(route) AS one (name) WHERE canonical_model(one.name) = model)
                END
            ORDER BY created_at DESC, id DESC, kind
            """,
            share_max,
            usd_max,
            workflow_id,
            month,
        )
    return [DriftRecord(**row) for row in rows]
