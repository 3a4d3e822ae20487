"""Factories and checks that the tests of the money core share."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from db import spend
from db.pool import Database
from domain.identifiers import attempt_id_of
from domain.money import Usage
from domain.spend import (
    Decision,
    LedgerLine,
    NewAttempt,
    NotBilled,
    ProviderAnswer,
    ProviderRequest,
    Settlement,
    StoredAttempt,
    UnknownOutcome,
    WorkflowSpend,
)
from tests.conftest import AdminSession, MadeWorkflow

MINI = "openai/gpt-4o-mini"
SONAR = "perplexity/sonar"
NANO = Decimal("0.000000001")
NOT_BILLED = NotBilled(reason="HTTP 429", http_status=429, permanent=False, retry_after_seconds=2.0)
DROPPED = UnknownOutcome(reason="the connection broke")

# Every scope whose counters are not what its rows say, or that passed its cap by more than the recorded overrun.
IMBALANCES = """
WITH held AS (
    SELECT workflow_id, organization_id, month,
        sum(CASE WHEN state IN ('RESERVED', 'DISPATCHED', 'ANSWERED', 'UNKNOWN') THEN hold_usd ELSE 0 END) AS held_usd,
        sum(overrun_usd) AS overrun_usd
    FROM spend_attempts GROUP BY workflow_id, organization_id, month
), booked AS (
    SELECT workflow_id, organization_id, month, sum(cost) AS spent_usd
    FROM ai_usage_ledger GROUP BY workflow_id, organization_id, month
), scopes AS (
    SELECT 'workflow ' || id AS scope, spent_usd, held_usd, overrun_usd, authorized_cap_usd AS cap_usd,
        (SELECT coalesce(sum(held.held_usd), 0) FROM held WHERE workflow_id = id) AS held_in_rows,
        (SELECT coalesce(sum(held.overrun_usd), 0) FROM held WHERE workflow_id = id) AS overrun_in_rows,
        (SELECT coalesce(sum(booked.spent_usd), 0) FROM booked WHERE workflow_id = id) AS spent_in_rows
    FROM intent_workflows
    UNION ALL
    SELECT 'month ' || month, spent_usd, held_usd, overrun_usd, cap_usd,
        (SELECT coalesce(sum(held.held_usd), 0) FROM held WHERE (held.organization_id, held.month)
            = (organization_months.organization_id, organization_months.month)),
        (SELECT coalesce(sum(held.overrun_usd), 0) FROM held WHERE (held.organization_id, held.month)
            = (organization_months.organization_id, organization_months.month)),
        (SELECT coalesce(sum(booked.spent_usd), 0) FROM booked WHERE (booked.organization_id, booked.month)
            = (organization_months.organization_id, organization_months.month))
    FROM organization_months
)
SELECT * FROM scopes
WHERE spent_usd <> spent_in_rows OR held_usd <> held_in_rows OR overrun_usd <> overrun_in_rows
    OR held_usd < 0 OR spent_usd < 0 OR spent_usd + held_usd > coalesce(cap_usd, 0) + overrun_usd
"""
# Every attempt whose ledger rows are not the ones that its state asks for. A write-off is corrected once, and once more
# by an answer that contradicts; a person corrects as often as need be.
MISBOOKED = """
SELECT attempt.attempt_id, attempt.state, count(ledger.id) FILTER (WHERE ledger.entry <> 'correction') AS settlements
FROM spend_attempts AS attempt LEFT JOIN ai_usage_ledger AS ledger USING (attempt_id, organization_id)
GROUP BY attempt.attempt_id, attempt.organization_id, attempt.state
HAVING count(ledger.id) FILTER (WHERE ledger.entry <> 'correction') > 1
    OR count(ledger.id) FILTER (WHERE ledger.entry = 'correction' AND ledger.reason IS NULL) > 2
    OR attempt.state IN ('SETTLED', 'NOT_BILLED', 'WRITTEN_OFF') AND count(ledger.id) = 0
    OR attempt.state IN ('REFUSED', 'RESERVED', 'DISPATCHED', 'ANSWERED', 'UNKNOWN', 'EXPIRED')
        AND count(ledger.id) > 0
"""


async def assert_books_balance(admin: AdminSession) -> None:
    """L1, L8, L9 and L10 over the whole database, from one snapshot each."""
    assert [dict(row) for row in await admin.fetch(IMBALANCES)] == []
    assert [dict(row) for row in await admin.fetch(MISBOOKED)] == []


def chat(model: str = MINI, *, max_tokens: int = 1000, text: str = "Who buys this?", **more: Any) -> ProviderRequest:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": max_tokens, **more}
    return ProviderRequest(
        model=model, path="/chat/completions", body=json.dumps(body), messages=1, max_tokens=max_tokens
    )


def an_ask(
    workflow: MadeWorkflow,
    ask: int = 1,
    *,
    slot: str = "icp",
    step: str = "icp",
    claim: int | None = None,
    slot_hash: str = "same question",
    request: ProviderRequest | None = None,
) -> NewAttempt:
    claim = workflow.version if claim is None else claim
    return NewAttempt(
        attempt_id=attempt_id_of(workflow.workflow_id, step, slot, claim, ask),
        step=step,
        slot=slot,
        claim=claim,
        ask=ask,
        slot_hash=slot_hash,
        request=request or chat(),
    )


def an_answer(
    cost_usd: str | Decimal | None = "0.0001",
    *,
    prompt_tokens: int = 20,
    completion_tokens: int = 30,
    model: str = MINI,
    body: str = '{"choices": []}',
    cached_tokens: int = 0,
) -> ProviderAnswer:
    usage = Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cached_tokens=cached_tokens,
        cost_usd=None if cost_usd is None else Decimal(cost_usd),
    )
    return ProviderAnswer(http_status=200, body=body, model=model, generation_id="gen-1", usage=usage)


@dataclass(frozen=True)
class Till:
    """The money core as one organization's worker uses it: every call a transaction of its own."""

    database: Database
    workflow: MadeWorkflow

    def at(self, workflow: MadeWorkflow) -> "Till":
        return Till(self.database, workflow)

    def using(self, database: Database) -> "Till":
        return Till(database, self.workflow)

    @property
    def organization_id(self) -> UUID:
        return self.workflow.organization_id

    async def authorize(
        self, *attempts: NewAttempt, expires_after_seconds: float = 900, call_deadline_seconds: float = 120
    ) -> list[Decision]:
        async with self.database.transaction(self.organization_id) as connection:
            return await spend.authorize(
                connection,
                self.workflow.workflow_id,
                self.organization_id,
                attempts,
                expires_after_seconds=expires_after_seconds,
                call_deadline_seconds=call_deadline_seconds,
            )

    async def dispatch(self, attempt_id: UUID) -> tuple[bool, StoredAttempt]:
        async with self.database.transaction(self.organization_id) as connection:
            return await spend.dispatch(connection, self.workflow.workflow_id, self.organization_id, attempt_id)

    async def store(self, attempt_id: UUID, result: ProviderAnswer | NotBilled | UnknownOutcome) -> StoredAttempt:
        async with self.database.transaction(self.organization_id) as connection:
            match result:
                case ProviderAnswer():
                    return await spend.store_answer(connection, self.organization_id, attempt_id, result)
                case NotBilled():
                    return await spend.store_not_billed(connection, self.organization_id, attempt_id, result)
                case UnknownOutcome():
                    return await spend.store_unknown(connection, self.organization_id, attempt_id, result)

    async def settle(self, *attempt_ids: UUID) -> list[Settlement]:
        async with self.database.transaction(self.organization_id) as connection:
            return await spend.settle(connection, self.organization_id, attempt_ids)

    async def reject(self, attempt_id: UUID, reason: str = "not JSON") -> None:
        async with self.database.transaction(self.organization_id) as connection:
            await spend.reject(connection, self.organization_id, attempt_id, reason)

    async def write_off(self, attempt_id: UUID) -> Settlement:
        async with self.database.transaction(self.organization_id) as connection:
            return await spend.write_off(connection, self.organization_id, attempt_id)

    async def expire(self) -> int:
        async with self.database.transaction(self.organization_id) as connection:
            return await spend.expire_attempts(connection, self.organization_id)

    async def load(self, attempt_id: UUID) -> StoredAttempt:
        async with self.database.transaction(self.organization_id) as connection:
            attempt = await spend.load_attempt(connection, attempt_id)
        assert attempt is not None
        return attempt

    async def counters(self) -> WorkflowSpend:
        async with self.database.transaction(self.organization_id) as connection:
            counters = await spend.spend_of(connection, self.workflow.workflow_id)
        assert counters is not None
        return counters

    async def ledger(self) -> list[LedgerLine]:
        async with self.database.transaction(self.organization_id) as connection:
            return await spend.ledger_lines(connection, self.workflow.workflow_id)

    async def sent(self, attempt: NewAttempt) -> UUID:
        """Authorized and dispatched: in the provider's hands."""
        [decision] = await self.authorize(attempt)
        assert decision.kind == "AUTHORIZED", decision
        send_now, _ = await self.dispatch(attempt.attempt_id)
        assert send_now
        return attempt.attempt_id

    async def paid(self, attempt: NewAttempt, answer: ProviderAnswer | None = None) -> UUID:
        """The whole life of one paid call."""
        attempt_id = await self.sent(attempt)
        await self.store(attempt_id, answer or an_answer())
        await self.settle(attempt_id)
        return attempt_id
