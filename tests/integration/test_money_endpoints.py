"""Keyword data and embeddings live the life of every paid call: held, sent once, stored, booked.

The provider's own bill is the oracle."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr
from temporalio.testing import ActivityEnvironment

from activities.spend import PaidCall, PaidCallActivities
from db import prices, reconciliation, spend
from domain.keyword_data import KeywordEndpoint, Market, difficulty_request, phrase_request, site_request
from domain.money import Usage
from domain.progress import ClaimRef
from domain.reconciliation import LookedUp, ReconcileSettings
from domain.spend import (
    CallOutcome,
    CostKey,
    Endpoint,
    NewAttempt,
    OutcomeKind,
    ProviderAnswer,
    ProviderRequest,
    UnknownOutcome,
    request_hold,
)
from domain.states import State, Step
from providers.keyword_data import KeywordData
from providers.language_model import LanguageModel
from sandbox.server import RunningSandbox, start_sandbox_server
from tests.conftest import MakeWorkflow, TenantDatabase, walk
from tests.integration.money_cases import Till, an_ask, assert_books_balance

US = Market(location_code=2840, language_code="en")
SITE = site_request("payloom.example", US, 100)
AT_ONCE = ReconcileSettings(call_grace_seconds=0, settle_grace_seconds=0, write_off_after_seconds=0)


def embeddings(*texts: str) -> ProviderRequest:
    model = "openai/text-embedding-3-small"
    body = json.dumps({"model": model, "input": list(texts), "encoding_format": "base64"}, ensure_ascii=False)
    return ProviderRequest(
        endpoint=Endpoint.EMBEDDINGS,
        model=model,
        path="/embeddings",
        body=body,
        messages=len(texts),
        max_tokens=0,
    )


REQUESTS = [
    SITE,
    phrase_request(KeywordEndpoint.KEYWORD_SUGGESTIONS, "invoice approval", US, 30),
    phrase_request(KeywordEndpoint.RELATED_KEYWORDS, "invoice approval", US, 1),
    difficulty_request(["invoice approval", "three-way matching"], US),
    embeddings("invoice approval", "早期払い", "x" * 5000),
]


@pytest_asyncio.fixture
async def till(database: TenantDatabase, make_workflow: MakeWorkflow) -> Till:
    return Till(database.app, await make_workflow(State.COMPETITOR_PROCESSING))


def ask_of(till: Till, request: ProviderRequest, ask: int = 1, *, slot: str = "keyword_data:a") -> NewAttempt:
    return an_ask(till.workflow, ask, step="competitor", slot=slot, slot_hash=slot, request=request)


@dataclass
class Provider:
    server: RunningSandbox
    model: LanguageModel
    keyword_data: KeywordData

    async def faults(self, *rules: dict[str, Any]) -> None:
        async with httpx2.AsyncClient() as http:
            answer = await http.post(f"{self.server.url}/faults", json={"seed": 7, "rules": list(rules)})
            answer.raise_for_status()

    async def bill(self) -> dict[UUID, Decimal]:
        async with httpx2.AsyncClient() as http:
            lines = (await http.get(f"{self.server.url}/bill")).json()
        charged = {UUID(line["client_request_id"]): Decimal(line["cost_usd"]) for line in lines}
        assert len(charged) == len(lines), "a request was sent twice under one UUID"
        return charged

    async def call(self, till: Till, attempt: NewAttempt) -> CallOutcome:
        calls = PaidCallActivities(till.database, self.model, 1, is_sandbox=False, keyword_data=self.keyword_data)
        claim = ClaimRef(
            workflow_id=till.workflow.workflow_id,
            organization_id=till.organization_id,
            step=Step.COMPETITOR,
            claim=till.workflow.version,
        )
        paid = PaidCall(claim=claim, attempt_id=attempt.attempt_id)
        return await ActivityEnvironment().run(calls.call_provider, paid)


@asynccontextmanager
async def provider_at(folder: Path, timeout_seconds: float = 10) -> AsyncIterator[Provider]:
    server = await start_sandbox_server(folder)
    key = SecretStr("sandbox")
    model = LanguageModel(base_url=f"{server.url}/v1", api_key=key, timeout_seconds=timeout_seconds)
    data = KeywordData(base_url=f"{server.url}/v3", login=key, password=key, timeout_seconds=timeout_seconds)
    yield Provider(server, model, data)
    await model.close()
    await data.close()
    await server.stop()


@pytest_asyncio.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with provider_at(tmp_path / "sandbox") as provider:
        yield provider


# Authorized ----------------------------------------------------------------------------------------------------------


async def test_the_database_holds_what_the_rule_says(database: TenantDatabase, till: Till) -> None:
    """A base for the task and a price for each row asked for; bytes as the bound of an embedding's tokens."""
    for number, request in enumerate(REQUESTS):
        [decision] = await till.authorize(ask_of(till, request, slot=f"slot {number}"))
        async with database.app.transaction(till.organization_id) as connection:
            price = await prices.price_of(connection, request.model)
        assert price is not None
        assert decision.hold_usd == request_hold(price, request) > 0
        stored = await till.load(decision.attempt_id)
        assert (stored.endpoint, stored.path, stored.request_body) == (request.endpoint, request.path, request.body)
    [first] = await till.authorize(ask_of(till, SITE, slot="slot 0"))
    assert first.hold_usd == Decimal("0.02")
    await assert_books_balance(database.admin)


async def test_the_database_reads_the_rows_from_the_body_itself(database: TenantDatabase, till: Till) -> None:
    """Whoever calls it without the code's own check gets no smaller hold."""
    facts = spend._ask_facts(ask_of(till, SITE)) | {"searches": 0}
    bodies = [SITE.body, '[{"target": "a.example"}]', '[{"limit": 7}, {"keywords": ["a", "b"]}]']
    async with database.app.transaction(till.organization_id) as connection:
        for ask, (body, rows) in enumerate(zip(bodies, [100, 1000, 9], strict=True), start=1):
            attempt = ask_of(till, SITE, ask)
            asked = {**facts, "ask": ask, "attempt_id": str(attempt.attempt_id), "request_body": body}
            hold = await connection.fetchval(
                "SELECT hold_usd FROM authorize_attempts($1, $2, $3, 900, 120)",
                till.workflow.workflow_id, till.organization_id, [asked],
            )  # fmt: skip
            assert hold == Decimal("0.01") + rows * Decimal("0.0001")


async def test_an_attempts_endpoint_never_changes(database: TenantDatabase, till: Till) -> None:
    [decision] = await till.authorize(ask_of(till, SITE))
    with pytest.raises(asyncpg.PostgresError, match="never changes"):
        await database.admin.execute(
            "UPDATE spend_attempts SET endpoint = 'chat' WHERE attempt_id = $1", decision.attempt_id
        )


async def test_the_edge_of_the_cap_holds_for_a_burst(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    """Twenty-five holds of $0.02 at once under a cap of $0.10: five are let through, whoever comes first."""
    workflow = await make_workflow(State.COMPETITOR_PROCESSING, cap_usd=Decimal("0.10"))
    till = Till(database.app, workflow)
    asks = [ask_of(till, SITE, slot=f"keyword_data:{number}") for number in range(25)]
    decided = [decision for [decision] in await asyncio.gather(*(till.authorize(ask) for ask in asks))]
    assert sorted(decision.kind for decision in decided) == ["AUTHORIZED"] * 5 + ["REFUSED"] * 20
    refusals = [decision.refusal for decision in decided if decision.refusal]
    assert all(refusal.scope == "workflow" and "cap of $0.10 is reached" in refusal.message for refusal in refusals)
    assert (await till.counters()).held_usd == Decimal("0.10")
    await assert_books_balance(database.admin)


async def test_an_endpoint_without_a_price_is_refused(till: Till) -> None:
    path = SITE.path.replace("keywords_for_site", "keyword_ideas")
    request = SITE.model_copy(update={"model": "dataforseo/keyword_ideas", "path": path})
    [decision] = await till.authorize(ask_of(till, request))
    assert decision.refusal is not None
    assert "no price is known for the model dataforseo/keyword_ideas" in decision.refusal.message


# Called --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", REQUESTS)
async def test_what_is_booked_is_what_was_billed(
    database: TenantDatabase, till: Till, provider: Provider, request_: ProviderRequest
) -> None:
    attempt = ask_of(till, request_)
    [decision] = await till.authorize(attempt)
    assert (await provider.call(till, attempt)).kind is OutcomeKind.ANSWERED
    assert (await provider.call(till, attempt)).kind is OutcomeKind.ANSWERED  # the stored outcome; nothing is sent
    [settled] = await till.settle(attempt.attempt_id)
    assert {attempt.attempt_id: settled.cost_usd} == await provider.bill()
    [line] = await till.ledger()
    assert line.model == request_.model
    assert 0 < settled.cost_usd <= decision.hold_usd
    assert line.provider_cost_usd == line.computed_cost_usd == settled.cost_usd
    assert line.drift_usd == 0
    await assert_books_balance(database.admin)


@pytest.mark.parametrize(
    ("rule", "kind", "charged"),
    [
        ({"kind": "internal_error", "code": 40202, "where": "before_headers"}, OutcomeKind.NOT_BILLED, False),
        ({"kind": "internal_error", "code": 50000}, OutcomeKind.NOT_BILLED, False),
        ({"kind": "internal_error", "code": 40101, "charged": True}, OutcomeKind.ANSWERED, True),
        ({"kind": "http_status", "status": 500}, OutcomeKind.NOT_BILLED, False),
        ({"kind": "http_status", "status": 402}, OutcomeKind.NOT_BILLED, False),
        ({"kind": "drop_before_billing"}, OutcomeKind.UNKNOWN, False),
        ({"kind": "bill_then_drop", "where": "before_headers"}, OutcomeKind.UNKNOWN, True),
        ({"kind": "bill_then_drop", "where": "mid_body"}, OutcomeKind.UNKNOWN, True),
        ({"kind": "invalid_json"}, OutcomeKind.UNKNOWN, True),
        ({"kind": "slow", "seconds": 0.05}, OutcomeKind.ANSWERED, True),
        ({"kind": "empty_content"}, OutcomeKind.ANSWERED, True),
        ({"kind": "cost_missing"}, OutcomeKind.ANSWERED, True),
        ({"kind": "cost_unlike"}, OutcomeKind.ANSWERED, True),
        ({"kind": "ok_with_error_body"}, OutcomeKind.UNKNOWN, False),
    ],
)
async def test_under_every_fault_no_cost_is_lost_or_booked_twice(
    database: TenantDatabase, till: Till, provider: Provider, rule: dict[str, Any], kind: OutcomeKind, charged: bool
) -> None:
    await provider.faults({**rule, "path": "/v3/"})
    attempt = ask_of(till, SITE)
    [decision] = await till.authorize(attempt)
    assert (await provider.call(till, attempt)).kind is kind
    assert (await provider.call(till, attempt)).kind is kind
    bill = await provider.bill()
    assert len(bill) == charged
    counters = await till.counters()
    match kind:
        case OutcomeKind.ANSWERED:
            [settled] = await till.settle(attempt.attempt_id)
            assert settled.cost_usd == bill[attempt.attempt_id]
        case OutcomeKind.NOT_BILLED:
            assert (counters.spent_usd, counters.held_usd) == (0, 0)
        case OutcomeKind.UNKNOWN:
            assert counters.held_usd == decision.hold_usd >= sum(bill.values())
    await assert_books_balance(database.admin)


async def test_a_cost_unlike_the_price_is_a_drift(till: Till, provider: Provider) -> None:
    await provider.faults({"kind": "cost_unlike", "path": "/v3/"})
    attempt = ask_of(till, SITE)
    await till.authorize(attempt)
    await provider.call(till, attempt)
    await till.settle(attempt.attempt_id)
    [line] = await till.ledger()
    assert line.cost == line.provider_cost_usd
    assert line.drift_usd is not None
    assert line.drift_usd < 0


async def test_an_overrun_is_booked_in_full_and_freezes(
    database: TenantDatabase, till: Till, provider: Provider
) -> None:
    await provider.faults({"kind": "overbill", "path": "/v3/"})
    attempt = ask_of(till, SITE)
    [decision] = await till.authorize(attempt)
    await provider.call(till, attempt)
    [settled] = await till.settle(attempt.attempt_id)
    assert {attempt.attempt_id: settled.cost_usd} == await provider.bill()
    assert settled.overrun_usd == settled.cost_usd - decision.hold_usd > 0
    assert (await till.counters()).frozen_reason is not None
    [refused] = await till.authorize(ask_of(till, SITE, slot="another"))
    assert refused.refusal is not None
    assert refused.refusal.scope == "frozen"
    await assert_books_balance(database.admin)


async def test_without_an_account_nothing_is_sent_and_the_hold_is_free_again(till: Till, provider: Provider) -> None:
    attempt = ask_of(till, SITE)
    await till.authorize(attempt)
    provider.keyword_data = None  # type: ignore[assignment]
    outcome = await provider.call(till, attempt)
    assert (outcome.kind, outcome.permanent) == (OutcomeKind.NOT_BILLED, True)
    assert "INFIN8_KEYWORD_DATA_LOGIN" in outcome.reason
    assert (await till.counters()).held_usd == 0
    assert await provider.bill() == {}


# Resolved ------------------------------------------------------------------------------------------------------------


async def test_an_unknown_is_written_off_and_a_late_answer_corrects_it(
    database: TenantDatabase, till: Till, provider: Provider
) -> None:
    """There is nothing to look a cost up by: the deadline decides, and the answer may still come."""
    await provider.faults({"kind": "bill_then_drop", "path": "/v3/"})
    attempt = ask_of(till, SITE)
    [decision] = await till.authorize(attempt, call_deadline_seconds=0)
    assert (await provider.call(till, attempt)).kind is OutcomeKind.UNKNOWN
    async with database.operator.reading() as connection:
        assert await reconciliation.due_look_ups(connection, AT_ONCE) == []
    async with database.operator.transaction(till.organization_id) as connection:
        resolution = await reconciliation.reconcile(connection, till.organization_id, attempt.attempt_id, AT_ONCE)
    assert resolution is not None
    assert (resolution.kind, resolution.booked_usd) == ("WRITTEN_OFF", decision.hold_usd)
    await assert_books_balance(database.admin)

    [(_, billed)] = (await provider.bill()).items()
    usage = Usage(prompt_tokens=0, completion_tokens=0, searches=25, cost_usd=billed)
    late = ProviderAnswer(http_status=200, body="{}", model=SITE.model, generation_id=None, usage=usage)
    await till.store(attempt.attempt_id, late)
    assert sum(line.cost for line in await till.ledger()) == billed
    assert [line.entry for line in await till.ledger()] == ["write_off", "correction"]
    await assert_books_balance(database.admin)


async def test_embeddings_kept_without_a_figure_are_handed_out_once_it_is_known(
    database: TenantDatabase, till: Till
) -> None:
    """Their answer has no reason why it ended; that it holds one for every text says that it is whole."""
    attempt = ask_of(till, embeddings("invoice approval"), slot="embeddings:0")
    await till.sent(attempt)
    body = '{"object": "list", "data": [{"index": 0, "embedding": [0.5, 1.0]}]}'
    await till.store(attempt.attempt_id, UnknownOutcome(reason="neither cost nor usage", http_status=200, body=body))
    usage = Usage(prompt_tokens=3, completion_tokens=0, cost_usd=Decimal("0.0000001"))
    looked_up = LookedUp(attempt_id=attempt.attempt_id, organization_id=till.organization_id, usage=usage)
    async with database.operator.transaction(till.organization_id) as connection:
        resolution = await reconciliation.book_looked_up(connection, looked_up)
    assert resolution is not None
    assert (await till.load(attempt.attempt_id)).rejected_reason is None
    async with database.app.transaction(till.organization_id) as connection:
        later = await walk(connection, till.workflow, [State.COMPETITOR_FAILED, State.COMPETITOR_PROCESSING])
    again = ask_of(till.at(later), embeddings("invoice approval"), slot="embeddings:0")
    [decision] = await till.at(later).authorize(again)
    assert (decision.kind, decision.attempt_id) == ("REUSED", attempt.attempt_id)
    await assert_books_balance(database.admin)


async def test_costs_are_shown_by_the_endpoint_as_the_model(till: Till, provider: Provider) -> None:
    for request in REQUESTS:
        attempt = ask_of(till, request, slot=request.model)
        await till.authorize(attempt)
        await provider.call(till, attempt)
        await till.settle(attempt.attempt_id)
    async with till.database.transaction(till.organization_id) as connection:
        sums = await spend.cost_sums(connection, [CostKey.STEP, CostKey.MODEL])
    assert {(line.step, line.model) for line in sums} == {("competitor", request.model) for request in REQUESTS}
    assert sum(line.cost_usd for line in sums) == sum((await provider.bill()).values())


async def test_every_booked_row_is_recomputed_from_its_rows_and_its_price(
    database: TenantDatabase, till: Till, provider: Provider
) -> None:
    for request in REQUESTS:
        attempt = ask_of(till, request, slot=request.model)
        await till.authorize(attempt)
        await provider.call(till, attempt)
        await till.settle(attempt.attempt_id)
    async with database.operator.reading() as connection:
        rows = await prices.recompute(connection)
    assert len(rows) == len(REQUESTS)
    assert all(row.is_equal and row.recomputed_usd is not None for row in rows)
    assert all(row.cost_usd == row.recomputed_usd for row in rows)


async def test_a_crash_between_sending_and_storing_never_sends_again(till: Till, provider: Provider) -> None:
    """The worker dies after DISPATCHED: whoever runs the call again finds an unknown, and the bill has one line."""
    attempt = ask_of(till, SITE)
    await till.authorize(attempt)
    send_now, _ = await till.dispatch(attempt.attempt_id)
    assert send_now
    async with httpx2.AsyncClient(auth=("sandbox", "sandbox")) as http:
        headers = {"X-Client-Request-Id": str(attempt.attempt_id)}
        await http.post(f"{provider.server.url}/v3{SITE.path}", content=SITE.body.encode(), headers=headers)
    outcomes = [await provider.call(till, attempt) for _ in range(3)]
    assert {outcome.kind for outcome in outcomes} == {OutcomeKind.UNKNOWN}
    assert list(await provider.bill()) == [attempt.attempt_id]
