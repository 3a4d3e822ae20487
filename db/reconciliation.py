"""What the reconciler and the operator do to the books: by the operator's role, through functions, a row at a time.

Lists are read over all tenants (``Database.reading()``); every change is made inside a transaction of the row's
organization (``Database.transaction(organization_id)``) and decided under the row's lock.
"""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from db import spend
from db.errors import translated_errors
from db.pool import Connection
from domain.money import Frozen, usage_fault
from domain.reconciliation import (
    NAMED_MAX,
    BooksState,
    Drift,
    DueAttempt,
    FrozenScope,
    Imbalance,
    LookedUp,
    LookUp,
    OpenAttempt,
    Recomputed,
    ReconcileSettings,
    Resolution,
    ResolutionKind,
    is_whole_answer,
    open_attempt,
    open_sums,
)
from domain.states import State

_THAW = "SELECT thaw_scope($1, $2, $3, $4, $5, $6)"
_FREEZE = "SELECT freeze_scope($1, $2, $3, $4, $5, $6)"
INCOMPLETE = "its cost was looked up; the answer itself did not arrive whole"


# What is due -----------------------------------------------------------------------------------------------------


async def due_attempts(
    operator: Connection, settings: ReconcileSettings, kinds: Sequence[ResolutionKind]
) -> list[DueAttempt]:
    """The attempts of all tenants for which one of these is due now, the longest overdue first."""
    with translated_errors():
        rows = await operator.fetch(
            """
            SELECT attempt_id, organization_id, kind
            FROM (
                SELECT attempt.attempt_id, attempt.organization_id, attempt.authorized_at,
                    due_resolution(attempt, clock_timestamp(), $1, $2, $3) AS kind
                FROM spend_attempts AS attempt
                WHERE state IN ('RESERVED', 'DISPATCHED', 'ANSWERED', 'UNKNOWN')
            ) AS looked_at
            WHERE kind = ANY ($4)
            ORDER BY authorized_at, attempt_id LIMIT $5
            """,
            *_graces(settings),
            [str(kind) for kind in kinds],
            settings.attempts_max,
        )
    return [DueAttempt(**row) for row in rows]


async def due_look_ups(operator: Connection, settings: ReconcileSettings) -> list[LookUp]:
    """Costs to ask the provider for now, those first that were never asked for; once more before a write-off."""
    with translated_errors():
        rows = await operator.fetch(
            """
            SELECT attempt_id, organization_id, generation_id
            FROM spend_attempts
            WHERE state IN ('UNKNOWN', 'WRITTEN_OFF') AND generation_id IS NOT NULL
                AND (state = 'UNKNOWN' OR call_deadline_at + make_interval(secs => $3) > clock_timestamp())
                AND (
                    looked_up_at IS NULL
                    OR looked_up_at + make_interval(secs => least($1 * power(2, least(look_ups, 30) - 1), $2))
                        <= clock_timestamp()
                    OR state = 'UNKNOWN' AND call_deadline_at + make_interval(secs => $4) <= clock_timestamp()
                )
            ORDER BY looked_up_at NULLS FIRST, attempt_id LIMIT $5
            """,
            settings.look_up_every_seconds,
            settings.look_up_every_seconds_max,
            settings.late_look_up_seconds,
            settings.write_off_after_seconds,
            settings.look_ups_max,
        )
    return [LookUp(**row) for row in rows]


# What is done about it -------------------------------------------------------------------------------------------


async def reconcile(
    connection: Connection, organization_id: UUID, attempt_id: UUID, settings: ReconcileSettings
) -> Resolution | None:
    """Does what is due for the attempt by the database's clock; None when nothing is, whoever did it before."""
    with translated_errors():
        row = await connection.fetchrow(
            "SELECT * FROM reconcile_attempt($1, $2, $3, $4, $5)", attempt_id, organization_id, *_graces(settings)
        )
    return _resolution(row)


async def book_looked_up(connection: Connection, looked_up: LookedUp) -> Resolution | None:
    """Books the provider's figure once; without one, or with one that makes no sense, the asking is noted.

    An answer that was kept without a figure can be handed out again from now on, unless it is not whole.
    """
    usage = looked_up.usage
    facts = None if usage is None or usage_fault(usage) else usage.model_dump(mode="json")
    with translated_errors():
        row = await connection.fetchrow(
            "SELECT * FROM book_looked_up_cost($1, $2, $3)", looked_up.attempt_id, looked_up.organization_id, facts
        )
    resolution = _resolution(row)
    if resolution is not None and resolution.kind in (ResolutionKind.LATE, ResolutionKind.CORRECTED):
        await _reject_incomplete(connection, looked_up)
    return resolution


async def _reject_incomplete(connection: Connection, looked_up: LookedUp) -> None:
    attempt = await spend.load_attempt(connection, looked_up.attempt_id)
    if attempt is None or attempt.answer_body is None:
        return
    if not is_whole_answer(attempt.answer_body, attempt.request_body):
        await spend.reject(connection, looked_up.organization_id, looked_up.attempt_id, INCOMPLETE)


def _graces(settings: ReconcileSettings) -> tuple[float, float, float]:
    return settings.call_grace_seconds, settings.settle_grace_seconds, settings.write_off_after_seconds


def _resolution(row: asyncpg.Record | None) -> Resolution | None:
    return None if row is None or row["kind"] is None else Resolution(**row)


# What is left ----------------------------------------------------------------------------------------------------


async def books_state(operator: Connection, settings: ReconcileSettings, *, whole: bool) -> BooksState:
    """What is open and why, drift and frozen scopes of all tenants; counters compared with their rows, ``whole``: of
    every scope, else of the workflows that changed within the report's window."""
    window = settings.report_window_seconds
    opened = await _open_attempts(operator, settings)
    return BooksState(
        open_sums=open_sums(opened),
        open_attempts=tuple(opened[:NAMED_MAX]),
        drift=await _drift(operator, window, settings.drift_tolerance_share),
        frozen=tuple((await frozen_scopes(operator))[:NAMED_MAX]),
        imbalances=tuple(await imbalances(operator, None if whole else window)),
    )


async def _open_attempts(operator: Connection, settings: ReconcileSettings) -> list[OpenAttempt]:
    with translated_errors():
        now: datetime = await operator.fetchval("SELECT clock_timestamp()")
        rows = await operator.fetch(
            """
            SELECT attempt_id, workflow_id, organization_id, state, hold_usd, generation_id, look_ups, expires_at,
                call_deadline_at, answered_at
            FROM spend_attempts
            WHERE state IN ('RESERVED', 'DISPATCHED', 'ANSWERED', 'UNKNOWN')
            ORDER BY authorized_at, attempt_id
            """
        )
    return [open_attempt(dict(row), settings, now) for row in rows]


async def _drift(operator: Connection, window_seconds: float, tolerance_share: Decimal) -> Drift:
    with translated_errors():
        row = await operator.fetchrow(
            """
            SELECT count(*) AS rows, coalesce(sum(provider_cost_usd), 0) AS provider_usd,
                coalesce(sum(computed_cost_usd), 0) AS computed_usd
            FROM ai_usage_ledger
            WHERE drift_usd <> 0 AND abs(drift_usd) > $2 * computed_cost_usd
                AND created_at > clock_timestamp() - make_interval(secs => $1)
            """,
            window_seconds,
            tolerance_share,
        )
    return Drift() if row is None else Drift(**row)


async def imbalances(operator: Connection, window_seconds: float | None) -> list[Imbalance]:
    """Workflows whose counters are not the sums of their rows, of those that changed within the window; without one
    of all, and months too."""
    with translated_errors():
        rows = await operator.fetch(_WORKFLOW_IMBALANCES, window_seconds)
        if window_seconds is None:
            rows += await operator.fetch(_MONTH_IMBALANCES)
    return [Imbalance(**row) for row in rows[:NAMED_MAX]]


_WORKFLOW_IMBALANCES = """
    SELECT organization_id, 'workflow ' || workflow.id AS scope, spent_usd, spent_in_rows_usd, held_usd,
        held_in_rows_usd
    FROM intent_workflows AS workflow,
        LATERAL (SELECT coalesce(sum(cost), 0) AS spent_in_rows_usd
                 FROM ai_usage_ledger AS ledger
                 WHERE ledger.workflow_id = workflow.id
                    AND ledger.organization_id = workflow.organization_id) AS booked,
        LATERAL (SELECT coalesce(sum(hold_usd), 0) AS held_in_rows_usd FROM spend_attempts AS attempt
                 WHERE attempt.workflow_id = workflow.id
                    AND attempt.organization_id = workflow.organization_id
                    AND attempt.state IN ('RESERVED', 'DISPATCHED', 'ANSWERED', 'UNKNOWN')) AS open
    WHERE ($1::double precision IS NULL OR updated_at > clock_timestamp() - make_interval(secs => $1))
        AND (spent_usd, held_usd) IS DISTINCT FROM (spent_in_rows_usd, held_in_rows_usd)
"""
_MONTH_IMBALANCES = """
    SELECT organization_id, 'month ' || to_char(month, 'YYYY-MM') AS scope, spent_usd, spent_in_rows_usd, held_usd,
        held_in_rows_usd
    FROM organization_months AS scope,
        LATERAL (SELECT coalesce(sum(cost), 0) AS spent_in_rows_usd FROM ai_usage_ledger AS ledger
                 WHERE (ledger.organization_id, ledger.month) = (scope.organization_id, scope.month)) AS booked,
        LATERAL (SELECT coalesce(sum(hold_usd), 0) AS held_in_rows_usd FROM spend_attempts AS attempt
                 WHERE (attempt.organization_id, attempt.month) = (scope.organization_id, scope.month)
                    AND attempt.state IN ('RESERVED', 'DISPATCHED', 'ANSWERED', 'UNKNOWN')) AS open
    WHERE (spent_usd, held_usd) IS DISTINCT FROM (spent_in_rows_usd, held_in_rows_usd)
"""


# What an operator does -------------------------------------------------------------------------------------------


async def correct_ledger(
    connection: Connection,
    organization_id: UUID,
    *,
    original: UUID,
    key: UUID,
    amount_usd: Decimal,
    reason: str,
    actor: str,
) -> Decimal:
    """A linked row that adds ``amount_usd`` (a refund is negative) to what ``original`` booked; the attempt's cost
    with it. The same key again: the first result.

    Raises BadInputError for an unknown row, an amount of 0 or one that takes more back than was paid,
    IdempotencyConflictError when the key stands for something else.
    """
    with translated_errors():
        booked: Decimal = await connection.fetchval(
            "SELECT correct_ledger($1, $2, $3, $4, $5, $6)", organization_id, original, key, amount_usd, reason, actor
        )
    return booked


async def organization_of_row(operator: Connection, idempotency_key: UUID) -> UUID | None:
    """Whose ledger row it is; only the operator's role sees all organizations."""
    with translated_errors():
        organization_id: UUID | None = await operator.fetchval(
            "SELECT organization_id FROM ai_usage_ledger WHERE idempotency_key = $1", idempotency_key
        )
    return organization_id


async def recompute_cost(connection: Connection, idempotency_key: UUID) -> Recomputed | None:
    """A ledger row's cost computed anew from the usage and the price row it names; None when there is no such row."""
    with translated_errors():
        row = await connection.fetchrow(
            """
            SELECT idempotency_key, computed_cost_usd AS computed_usd,
                CASE WHEN computed_cost_usd IS NOT NULL THEN usage_cost(price, jsonb_build_object(
                    'prompt_tokens', prompt_tokens, 'cached_tokens', cached_tokens,
                    'completion_tokens', completion_tokens, 'searches', searches)) END AS recomputed_usd
            FROM ai_usage_ledger LEFT JOIN model_prices AS price USING (price_id)
            WHERE idempotency_key = $1
            """,
            idempotency_key,
        )
    return None if row is None else Recomputed(**row)


async def thaw_scope(
    connection: Connection,
    organization_id: UUID,
    *,
    workflow_id: UUID | None = None,
    month: date | None = None,
    decision_id: UUID,
    actor: str,
    reason: str,
) -> str | None:
    """Lets a workflow, or a month of the organization, authorize again; why it was frozen, None when it was not.

    Raises BadInputError for a scope that does not exist and without a reason.
    """
    return await _change_freeze(_THAW, connection, organization_id, workflow_id, month, decision_id, actor, reason)


async def freeze_scope(
    connection: Connection,
    organization_id: UUID,
    *,
    workflow_id: UUID | None = None,
    month: date | None = None,
    decision_id: UUID,
    actor: str,
    reason: str,
) -> str:
    """No new authorizations for a workflow, or for a month of the organization; why it is frozen now."""
    frozen = await _change_freeze(_FREEZE, connection, organization_id, workflow_id, month, decision_id, actor, reason)
    return frozen or ""


async def _change_freeze(statement: str, connection: Connection, *arguments: Any) -> str | None:
    with translated_errors():
        reason: str | None = await connection.fetchval(statement, *arguments)
    return reason


async def frozen_scopes(connection: Connection, organization_id: UUID | None = None) -> list[FrozenScope]:
    """Of one organization, or of all that the transaction sees."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT organization_id, id AS workflow_id, NULL::date AS month, frozen_reason AS reason
            FROM intent_workflows WHERE frozen_reason IS NOT NULL AND ($1::uuid IS NULL OR organization_id = $1)
            UNION ALL
            SELECT organization_id, NULL, month, frozen_reason
            FROM organization_months WHERE frozen_reason IS NOT NULL AND ($1::uuid IS NULL OR organization_id = $1)
            """,
            organization_id,
        )
    return [FrozenScope(**row) for row in rows]


# Rows to compare with Temporal's runs ----------------------------------------------------------------------------


class RowState(Frozen):
    """A workflow's row, and for how long it has not changed by the database's clock."""

    workflow_id: UUID
    organization_id: UUID
    state: State
    unchanged_seconds: float


async def row_states(operator: Connection, workflow_ids: Sequence[UUID]) -> list[RowState]:
    """Of all tenants: the rows that are not at their end, and these whatever their state."""
    with translated_errors():
        rows = await operator.fetch(
            """
            SELECT id AS workflow_id, organization_id, state,
                extract(epoch FROM clock_timestamp() - updated_at)::double precision AS unchanged_seconds
            FROM intent_workflows
            WHERE state NOT IN ('COMPLETED', 'CANCELLED') OR id = ANY ($1)
            ORDER BY created_at, id
            """,
            list(workflow_ids),
        )
    return [RowState(**row) for row in rows]
