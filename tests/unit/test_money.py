"""Amounts, holds, costs and the outcome of an attempt: what needs no database."""

import ast
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from domain.errors import BadInputError
from domain.identifiers import attempt_id_of
from domain.money import (
    NANO_DOLLAR,
    ModelPrice,
    Usage,
    Usd,
    computed_cost,
    format_usd,
    prompt_token_bound,
    usage_fault,
    usd,
)
from domain.spend import (
    AttemptState,
    CallOutcome,
    NewAttempt,
    OutcomeKind,
    ProviderRequest,
    StoredAttempt,
    check_bounds,
    check_identity,
    outcome_of,
    request_hold,
)

ROOT = Path(__file__).parents[2]
MINI_PRICE = ModelPrice(
    price_id=uuid4(),
    model="openai/gpt-4o-mini",
    input_usd_per_million="0.15",
    cached_input_usd_per_million="0.075",
    output_usd_per_million="0.60",
)
SONAR_PRICE = ModelPrice(
    price_id=uuid4(),
    model="perplexity/sonar",
    input_usd_per_million=1,
    cached_input_usd_per_million=1,
    output_usd_per_million=1,
    usd_per_request="0.005",
)

amounts = st.decimals(min_value=0, max_value=10**10, places=9)
rates = st.decimals(min_value=0, max_value=10**6, places=9)
a_price = st.builds(
    ModelPrice,
    price_id=st.uuids(),
    model=st.just("m"),
    input_usd_per_million=rates,
    cached_input_usd_per_million=rates,
    output_usd_per_million=rates,
    usd_per_request=rates,
    usd_per_search=rates,
)


class Bill(BaseModel):
    amount: Usd


# Amounts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.1, 1.0, float("nan"), True, None, b"1", [1]])
def test_L11_what_is_not_exact_is_no_money(value: Any) -> None:
    with pytest.raises(TypeError, match="money must be str, int or Decimal"):
        usd(value)
    with pytest.raises(ValidationError):
        Bill(amount=value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "sNaN", "100000000000", "-1e11", "1e999"])
def test_L11_what_the_database_could_not_hold_is_no_money(value: str) -> None:
    with pytest.raises(ValueError, match="money must be finite"):
        usd(value)


@pytest.mark.parametrize("value", ["", "1,00", "$1", "one", "0x1"])
def test_text_that_is_no_amount_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        Bill(amount=value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.0000000001", "0.000000001"),
        ("0.000000001", "0.000000001"),
        ("1.0000000010000000001", "1.000000002"),
        ("-0.0000000019", "-0.000000001"),
        ("99999999999.999999999", "99999999999.999999999"),
        (3, "3"),
    ],
)
def test_L11_one_rounding_rule_up_to_the_next_nano_dollar(value: str | int, expected: str) -> None:
    assert usd(value) == Decimal(expected)


@given(amounts)
def test_L11_an_amount_survives_json(amount: Decimal) -> None:
    bill = Bill(amount=amount)
    assert bill.amount == amount
    assert Bill.model_validate_json(bill.model_dump_json()) == bill
    assert isinstance(bill.model_dump(mode="json")["amount"], str)


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=15))
def test_L11_rounding_goes_up_by_less_than_a_nano_dollar(amount: Decimal) -> None:
    assert 0 <= usd(amount) - amount < NANO_DOLLAR


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("1", "1.00"),
        ("1E+3", "1000.00"),
        ("0.10", "0.10"),
        ("0.000000001", "0.000000001"),
        ("0E-9", "0.00"),
    ],
)
def test_amounts_are_written_plainly(amount: str, text: str) -> None:
    assert format_usd(Decimal(amount)) == text


# Holds and costs ---------------------------------------------------------------------------------------------


@given(price=a_price, data=st.data())
def test_L2_usage_within_the_limits_never_costs_more_than_the_hold(price: ModelPrice, data: st.DataObject) -> None:
    body = data.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
    request = ProviderRequest(
        model="m",
        path="/",
        body=body,
        messages=data.draw(st.integers(0, 50)),
        max_tokens=data.draw(st.integers(0, 200_000)),
        searches=data.draw(st.integers(0, 5)),
    )
    bound = prompt_token_bound(len(body.encode()), request.messages)
    usage = Usage(
        prompt_tokens=data.draw(st.integers(0, bound)),
        completion_tokens=data.draw(st.integers(0, request.max_tokens)),
        cached_tokens=data.draw(st.integers(0, bound)),
        searches=data.draw(st.integers(0, request.searches)),
    )
    assert 0 <= computed_cost(price, usage) <= request_hold(price, request)


def test_known_costs() -> None:
    usage = Usage(prompt_tokens=1000, completion_tokens=500, cached_tokens=400)
    assert computed_cost(MINI_PRICE, usage) == Decimal("0.00042")  # 600 × 0.15 + 400 × 0.075 + 500 × 0.60
    assert computed_cost(SONAR_PRICE, usage) == Decimal("0.0065")  # 1500 tokens and the request's fee
    request = ProviderRequest(model="m", path="/", body="é" * 10, messages=2, max_tokens=700)
    assert request_hold(MINI_PRICE, request) == Decimal("0.0004374")  # (20 + 32 + 64) × 0.15 + 700 × 0.60


def test_more_cached_tokens_than_prompt_tokens_are_no_rebate() -> None:
    usage = Usage(prompt_tokens=100, completion_tokens=0, cached_tokens=10**6)
    assert computed_cost(MINI_PRICE, usage) == Decimal("0.0000075")


@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens", "cached_tokens", "searches", "cost_usd"])
def test_L12_a_negative_figure_is_no_usage(field: str) -> None:
    with pytest.raises(ValidationError):
        Usage.model_validate({"prompt_tokens": 1, "completion_tokens": 1, field: -1})


@pytest.mark.parametrize(
    ("figures", "is_credible"),
    [
        ({"cost_usd": "10000"}, True),
        ({"cost_usd": "10000.000000001"}, False),
        ({"cost_usd": "0.1", "completion_tokens": 10**9}, True),
        ({"cost_usd": "0.1", "completion_tokens": 10**19}, False),
        ({"completion_tokens": 10_000_000}, True),
        ({"completion_tokens": 10_000_001}, False),
        ({"prompt_tokens": 10_000_001}, False),
        ({"searches": 10_000_001}, False),
    ],
)
def test_L12_nobody_bills_that_much_for_one_request(figures: dict[str, Any], is_credible: bool) -> None:
    usage = Usage.model_validate({"prompt_tokens": 1, "completion_tokens": 1, **figures})
    assert (usage_fault(usage) is None) is is_credible


# Requests and identities -------------------------------------------------------------------------------------


def request_with(body: str, path: str = "/chat/completions", max_tokens: int = 700) -> ProviderRequest:
    return ProviderRequest(model="m", path=path, body=body, messages=1, max_tokens=max_tokens)


@pytest.mark.parametrize(
    ("body", "path", "max_tokens"),
    [
        ('{"model": "m", "max_tokens": 700}', "/chat/completions", 700),
        ('{"model": "m", "max_completion_tokens": 700, "n": 1}', "/chat/completions", 700),
        ('{"model": "m", "input": ["a"]}', "/embeddings", 0),
    ],
)
def test_L2_a_bounded_body_passes(body: str, path: str, max_tokens: int) -> None:
    check_bounds(request_with(body, path, max_tokens))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"model": "m"}', "limits its answer to nothing"),
        ('{"model": "m", "max_tokens": 701}', "must be 700 tokens"),
        ('{"model": "m", "max_tokens": null}', "must be 700 tokens"),
        ('{"model": "m", "max_tokens": 700, "max_completion_tokens": 9000}', "must be 700 tokens"),
        ('{"model": "m", "max_tokens": 700, "n": 2}', "asks for 2 answers"),
        ('{"model": "dearer", "max_tokens": 700}', "must name the model 'm'"),
        ('{"model": "m", "models": ["dearer"], "max_tokens": 700}', "and no other"),
        ('{"max_tokens": 700}', "must name the model 'm'"),
        ("[]", "one JSON object"),
        ("{", "not JSON"),
    ],
)
def test_L2_an_unbounded_body_is_refused(body: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        check_bounds(request_with(body))


@pytest.mark.parametrize("field", ["messages", "max_tokens", "searches"])
def test_L2_limits_are_not_negative(field: str) -> None:
    with pytest.raises(ValidationError):
        ProviderRequest.model_validate(
            {"model": "m", "path": "/", "body": "", "messages": 1, "max_tokens": 1, field: -1}
        )


@given(
    workflow_id=st.uuids(),
    step=st.sampled_from(["icp", "article"]),
    slot=st.sampled_from(["icp", "article:1:section:2"]),
    claim=st.integers(1, 99),
    ask=st.integers(1, 9),
)
def test_L5_attempt_ids_are_reproducible_and_differ_in_every_part(
    workflow_id: UUID, step: str, slot: str, claim: int, ask: int
) -> None:
    this = attempt_id_of(workflow_id, step, slot, claim, ask)
    assert this == attempt_id_of(UUID(str(workflow_id)), step, slot, claim, ask)
    others = {
        attempt_id_of(uuid4(), step, slot, claim, ask),
        attempt_id_of(workflow_id, f"{step}s", slot, claim, ask),
        attempt_id_of(workflow_id, step, f"{slot}1", claim, ask),
        attempt_id_of(workflow_id, step, slot, claim + 1, ask),
        attempt_id_of(workflow_id, step, slot, claim, ask + 1),
    }
    assert len(others | {this}) == 6


def test_L5_an_attempt_with_a_made_up_id_is_refused() -> None:
    workflow_id = uuid4()
    request = request_with("{}")
    facts = {"step": "icp", "slot": "icp", "claim": 2, "ask": 1, "slot_hash": "h", "request": request}
    check_identity(workflow_id, NewAttempt(attempt_id=attempt_id_of(workflow_id, "icp", "icp", 2, 1), **facts))
    with pytest.raises(BadInputError, match="is not the UUID of step icp"):
        check_identity(workflow_id, NewAttempt(attempt_id=uuid4(), **facts))


# Outcomes ----------------------------------------------------------------------------------------------------


def attempt_in(state: AttemptState, **facts: Any) -> StoredAttempt:
    return StoredAttempt(
        attempt_id=uuid4(), workflow_id=uuid4(), organization_id=uuid4(), step="icp", slot="icp", claim=2, ask=1,
        state=state, model="m", path="/", request_body="{}", hold_usd=Decimal(1), price_id=None, **facts,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("attempt", "kind"),
    [
        (attempt_in(AttemptState.ANSWERED, answer_body="{}"), OutcomeKind.ANSWERED),
        (attempt_in(AttemptState.SETTLED, answer_body="{}"), OutcomeKind.ANSWERED),
        (attempt_in(AttemptState.SETTLED), OutcomeKind.UNKNOWN),
        (attempt_in(AttemptState.UNKNOWN, answer_body="{}"), OutcomeKind.UNKNOWN),
        (attempt_in(AttemptState.WRITTEN_OFF), OutcomeKind.UNKNOWN),
        (attempt_in(AttemptState.NOT_BILLED), OutcomeKind.NOT_BILLED),
        (attempt_in(AttemptState.VOIDED, outcome={"reason": "claim lost"}), OutcomeKind.VOIDED),
        (attempt_in(AttemptState.VOIDED, outcome={"reason": "429", "permanent": False}), OutcomeKind.NOT_BILLED),
        (attempt_in(AttemptState.EXPIRED), OutcomeKind.EXPIRED),
    ],
)
def test_a_stored_attempt_says_what_became_of_it(attempt: StoredAttempt, kind: OutcomeKind) -> None:
    assert outcome_of(attempt).kind is kind


@pytest.mark.parametrize("state", [AttemptState.REFUSED, AttemptState.RESERVED, AttemptState.DISPATCHED])
def test_before_its_outcome_an_attempt_has_none(state: AttemptState) -> None:
    with pytest.raises(ValueError, match="has no outcome yet"):
        outcome_of(attempt_in(state))


def test_the_evidence_of_not_billed_is_handed_on() -> None:
    facts = {"reason": "HTTP 402", "permanent": True, "retry_after_seconds": 1.5}
    assert outcome_of(attempt_in(AttemptState.NOT_BILLED, outcome=facts)) == CallOutcome(
        kind=OutcomeKind.NOT_BILLED, reason="HTTP 402", permanent=True, retry_after_seconds=1.5
    )


# The key -----------------------------------------------------------------------------------------------------


def imported_modules(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_L4_one_module_talks_to_the_paid_provider_and_holds_its_key() -> None:
    files = [file for folder in ("domain", "db", "workflows", "activities", "providers") for file in
             sorted((ROOT / folder).rglob("*.py"))]  # fmt: skip
    vendors = {file.name for file in files if any(name.split(".")[0] == "openai" for name in imported_modules(file))}
    keys = {file.name for file in files if "api_key" in file.read_text(encoding="utf-8")}
    assert vendors == keys == {"language_model.py"}
