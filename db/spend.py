"""The money core: authorize, dispatch, store the outcome, settle.

Every function works inside a transaction that its caller opened with ``Database.transaction(organization_id)`` and
takes locks in one order (workflow, organization month, attempts): spend on one workflow per transaction. The rules
are in ``db/functions``; rows of another organization behave as if they did not exist.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from db.errors import translated_errors
from db.pool import Connection
from domain.errors import BadInputError
from domain.money import usage_fault
from domain.spend import (
    AskRoute,
    CostKey,
    CostSum,
    Decision,
    LedgerLine,
    NewAttempt,
    NotBilled,
    OpenHold,
    ProviderAnswer,
    Settlement,
    StoredAttempt,
    UnknownOutcome,
    WorkflowSpend,
    check_bounds,
    check_identity,
    check_route,
)
from domain.spend import outcome_of as outcome_of  # noqa: PLC0414  re-exported: callers read the money core here


async def authorize(
    connection: Connection,
    workflow_id: UUID,
    organization_id: UUID,
    attempts: Sequence[NewAttempt],
    *,
    expires_after_seconds: float,
    call_deadline_seconds: float,
) -> list[Decision]:
    """One decision per attempt, in order; for a UUID that was decided before, the first decision.

    Raises ClaimLostError when a new attempt's claim is lost, IdempotencyConflictError when a UUID was decided for
    another ask, BadInputError for a request whose body allows more than it states and an unknown workflow. All or
    nothing: an error leaves no decision behind.
    """
    for attempt in attempts:
        check_identity(workflow_id, attempt)
        check_bounds(attempt.request)
        check_route(attempt)
    with translated_errors():
        rows = await connection.fetch(
            "SELECT kind, goes_on_with, hold_usd, refusal, model FROM authorize_attempts($1, $2, $3, $4, $5)",
            workflow_id,
            organization_id,
            [_ask_facts(attempt) for attempt in attempts],
            expires_after_seconds,
            call_deadline_seconds,
        )
    return [_decision(row) for row in rows]


async def decisions(connection: Connection, attempt_ids: Collection[UUID]) -> dict[UUID, Decision]:
    """The decisions that were made before, by the UUID that was asked for; without locks."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT attempt_id, CASE state WHEN 'REFUSED' THEN 'REFUSED' ELSE 'AUTHORIZED' END AS kind,
                attempt_id AS goes_on_with, hold_usd, refusal, model
            FROM spend_attempts WHERE attempt_id = ANY ($1)
            UNION ALL
            SELECT attempt_id, 'REUSED', reused_attempt_id, 0, NULL, NULL FROM spend_reuses WHERE attempt_id = ANY ($1)
            """,
            list(attempt_ids),
        )
    return {row["attempt_id"]: _decision(row) for row in rows}


async def dispatch(
    connection: Connection, workflow_id: UUID, organization_id: UUID, attempt_id: UUID
) -> tuple[bool, StoredAttempt]:
    """True exactly once in the life of an attempt: commit, then send the stored request.

    False: don't send; the attempt says why (see ``outcome_of``; a REFUSED one has no outcome). Raises BadInputError
    when it does not exist for the workflow.
    """
    with translated_errors():
        send_now = await connection.fetchval(
            "SELECT dispatch_attempt($1, $2, $3)", workflow_id, organization_id, attempt_id
        )
    return bool(send_now), await _stored(connection, attempt_id)


async def record_generation_id(
    connection: Connection, organization_id: UUID, attempt_id: UUID, generation_id: str
) -> None:
    """The provider's id for what it generates, as soon as it is known."""
    with translated_errors():
        await connection.execute(
            "SELECT record_generation_id($1, $2, $3)", attempt_id, organization_id, _storable(generation_id)
        )


async def store_answer(
    connection: Connection, organization_id: UUID, attempt_id: UUID, answer: ProviderAnswer
) -> StoredAttempt:
    """Stored before anybody parses it; on an UNKNOWN or written-off attempt booked in the same transaction.

    An answer without a figure to book by leaves the attempt UNKNOWN with its body kept and its hold held. The same
    answer again changes nothing, another one raises IdempotencyConflictError.
    """
    fault = "an answer with neither cost nor usage" if answer.usage is None else usage_fault(answer.usage)
    if answer.usage is None or fault:
        unknown = UnknownOutcome(reason=fault or "", http_status=answer.http_status, body=answer.body)
        return await store_unknown(connection, organization_id, attempt_id, unknown)
    with translated_errors():
        await connection.execute(
            "SELECT store_answer($1, $2, $3, $4, $5, $6, $7, $8)",
            attempt_id,
            organization_id,
            answer.http_status,
            _storable(answer.body),
            _storable(answer.model),
            _storable(answer.generation_id),
            _storable(answer.finish_reason),
            answer.usage.model_dump(mode="json"),
        )
    return await _stored(connection, attempt_id)


async def store_not_billed(
    connection: Connection, organization_id: UUID, attempt_id: UUID, evidence: NotBilled
) -> StoredAttempt:
    """A ledger row of $0 with the evidence, and the hold is free again."""
    outcome = {
        "reason": _storable(evidence.reason),
        "permanent": evidence.permanent,
        "retry_after_seconds": evidence.retry_after_seconds,
    }
    with translated_errors():
        await connection.execute(
            "SELECT store_not_billed($1, $2, $3, $4)", attempt_id, organization_id, outcome, evidence.http_status
        )
    return await _stored(connection, attempt_id)


async def store_unknown(
    connection: Connection, organization_id: UUID, attempt_id: UUID, unknown: UnknownOutcome
) -> StoredAttempt:
    """The hold stays held until the cost is known or written off; whatever came of the body is kept."""
    with translated_errors():
        await connection.execute(
            "SELECT store_unknown($1, $2, $3, $4, $5)",
            attempt_id,
            organization_id,
            {"reason": _storable(unknown.reason)},
            unknown.http_status,
            _storable(unknown.body),
        )
    return await _stored(connection, attempt_id)


async def settle(connection: Connection, organization_id: UUID, attempt_ids: Sequence[UUID]) -> list[Settlement]:
    """What each attempt is booked at, in order; booked once, whoever settles and however often.

    Raises IdempotencyConflictError for an attempt whose cost is not known yet or that was never sent.
    """
    with translated_errors():
        rows = await connection.fetch(
            "SELECT settled_attempt_id AS attempt_id, cost_usd, overrun_usd FROM settle_attempts($1, $2)",
            organization_id,
            list(attempt_ids),
        )
    return [Settlement(**row) for row in rows]


async def settle_answered(connection: Connection, workflow_id: UUID, organization_id: UUID) -> list[Settlement]:
    """Books every attempt of a workflow that is answered and not settled, also when the workflow has ended."""
    with translated_errors():
        rows = await connection.fetch(
            "SELECT settled_attempt_id AS attempt_id, cost_usd, overrun_usd FROM settle_answered($1, $2)",
            workflow_id,
            organization_id,
        )
    return [Settlement(**row) for row in rows]


async def reject(connection: Connection, organization_id: UUID, attempt_id: UUID, reason: str) -> None:
    """The answer is paid for and never handed out again; the first reason stays."""
    with translated_errors():
        await connection.execute("SELECT reject_answer($1, $2, $3)", attempt_id, organization_id, _storable(reason))


async def write_off(connection: Connection, organization_id: UUID, attempt_id: UUID) -> Settlement:
    """Books an UNKNOWN attempt at its hold; what it is booked at when that was done, or its cost known, before.

    A late answer corrects it by a linked ledger row. The operator's role alone may.
    """
    with translated_errors():
        cost_usd = await connection.fetchval("SELECT write_off_attempt($1, $2)", attempt_id, organization_id)
    return Settlement(attempt_id=attempt_id, cost_usd=cost_usd)


async def expire_attempts(connection: Connection, organization_id: UUID) -> int:
    """How many RESERVED attempts past their expiry, by the database's clock, were released."""
    with translated_errors():
        expired: int = await connection.fetchval("SELECT expire_attempts($1)", organization_id)
    return expired


async def load_attempt(connection: Connection, attempt_id: UUID) -> StoredAttempt | None:
    """None when it does not exist for the transaction's organization."""
    with translated_errors():
        row = await connection.fetchrow(
            """
            SELECT attempt_id, workflow_id, organization_id, step, slot, claim, ask, state, endpoint, model, path,
                request_body, hold_usd, price_id, generation_id, http_status, answer_body, usage, outcome,
                rejected_reason
            FROM spend_attempts WHERE attempt_id = $1
            """,
            attempt_id,
        )
    return None if row is None else StoredAttempt(**row)


async def in_flight(connection: Connection, workflow_id: UUID) -> list[OpenHold]:
    """Attempts of a workflow whose hold is not resolved, the oldest first."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT attempt_id, step, slot, claim, ask, state, model, hold_usd, authorized_at, expires_at,
                call_deadline_at
            FROM spend_attempts
            WHERE workflow_id = $1 AND state IN ('RESERVED', 'DISPATCHED', 'ANSWERED', 'UNKNOWN')
            ORDER BY authorized_at, attempt_id
            """,
            workflow_id,
        )
    return [OpenHold(**row) for row in rows]


async def spend_of(connection: Connection, workflow_id: UUID) -> WorkflowSpend | None:
    """None when the workflow does not exist for the transaction's organization."""
    with translated_errors():
        row = await connection.fetchrow(
            """
            SELECT id AS workflow_id, cap_usd, spent_usd, held_usd, overrun_usd, frozen_reason
            FROM intent_workflows WHERE id = $1
            """,
            workflow_id,
        )
    return None if row is None else WorkflowSpend(**row)


async def ledger_lines(connection: Connection, workflow_id: UUID | None = None) -> list[LedgerLine]:
    """Of one workflow or of all that the transaction sees, in the order they were booked."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT ledger.id AS ledger_id, ledger.idempotency_key, ledger.attempt_id, ledger.workflow_id,
                ledger.organization_id, ledger.month, ledger.entry, ledger.corrects, ledger.step, ledger.slot,
                ledger.model, ledger.prompt_tokens, ledger.cached_tokens, ledger.completion_tokens, ledger.searches,
                ledger.cost, ledger.computed_cost_usd, ledger.provider_cost_usd, ledger.drift_usd, ledger.price_id,
                attempt.downgraded_from, ledger.reason, ledger.actor, ledger.created_at
            FROM ai_usage_ledger AS ledger
            JOIN spend_attempts AS attempt USING (attempt_id, organization_id)
            WHERE $1::uuid IS NULL OR ledger.workflow_id = $1
            ORDER BY ledger.id
            """,
            workflow_id,
        )
    return [LedgerLine(**row) for row in rows]


async def cost_sums(connection: Connection, by: Collection[CostKey]) -> list[CostSum]:
    """Sums over the ledger rows that the transaction sees, grouped by every key given, the dearest first."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT
                CASE WHEN 'month' = ANY ($1) THEN month END AS month,
                CASE WHEN 'model' = ANY ($1) THEN model END AS model,
                CASE WHEN 'step' = ANY ($1) THEN step END AS step,
                CASE WHEN 'slot' = ANY ($1) THEN slot END AS slot,
                CASE WHEN 'workflow' = ANY ($1) THEN workflow_id END AS workflow_id,
                CASE WHEN 'organization' = ANY ($1) THEN organization_id END AS organization_id,
                count(DISTINCT attempt_id) AS attempts, sum(prompt_tokens)::bigint AS prompt_tokens,
                sum(completion_tokens)::bigint AS completion_tokens, sum(cost) AS cost_usd
            FROM ai_usage_ledger
            GROUP BY 1, 2, 3, 4, 5, 6
            ORDER BY cost_usd DESC, 1, 2, 3, 4, 5, 6
            """,
            [str(key) for key in by],
        )
    return [CostSum(**row) for row in rows]


async def _stored(connection: Connection, attempt_id: UUID) -> StoredAttempt:
    attempt = await load_attempt(connection, attempt_id)
    if attempt is None:
        raise BadInputError(f"attempt {attempt_id} does not exist for this organization", "attempt_id")
    return attempt


def _ask_facts(attempt: NewAttempt) -> dict[str, Any]:
    request = attempt.request
    return {
        "attempt_id": str(attempt.attempt_id),
        "step": attempt.step,
        "slot": attempt.slot,
        "claim": attempt.claim,
        "ask": attempt.ask,
        "slot_hash": attempt.slot_hash,
        "endpoint": request.endpoint,
        "model": request.model,
        "path": request.path,
        "request_body": request.body,
        "message_count": request.messages,
        "max_tokens": request.max_tokens,
        "searches": request.searches,
        "route": None if attempt.route is None else _route_facts(attempt.route),
    }


def _route_facts(route: AskRoute) -> dict[str, Any]:
    requests = [{"model": request.model, "request_body": request.body} for request in route.requests]
    return {"downgrade_share": str(route.downgrade_share), "requests": requests}


def _decision(row: asyncpg.Record) -> Decision:
    return Decision(
        kind=row["kind"],
        attempt_id=row["goes_on_with"],
        hold_usd=row["hold_usd"],
        refusal=row["refusal"],
        model=row["model"],
    )


def _storable(text: str | None) -> str | None:
    """Postgres stores neither NUL nor lone surrogates; an answer must not be lost to one."""
    if text is None:
        return None
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
