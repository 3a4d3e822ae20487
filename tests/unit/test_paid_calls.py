"""What follows an outcome of a paid call: which model is asked next, after what wait, and when a slot ends."""

from random import Random
from uuid import uuid4

import pytest
from temporalio import workflow

from domain.language import Route
from domain.progress import CallKind, ClaimRef, Judged, JudgedKind, Slot
from domain.settings import SpendSettings, StepSettings
from domain.spend import CallOutcome, OutcomeKind
from domain.states import Step
from workflows.paid_calls import (
    CallContext,
    SlotEnd,
    _Asking,
    _end_exhausted,
    _take_judgement,
    _take_trouble,
    _wait_seconds,
)

SONAR, MINI = "perplexity/sonar", "openai/gpt-4o-mini"
SLOT = Slot(kind=CallKind.ICP)


@pytest.fixture(autouse=True)
def _seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "random", lambda: Random(7))


def asking(**facts: int) -> _Asking:
    route = Route(models=(SONAR, MINI), max_tokens=700)
    return _Asking(slot=SLOT, route=route, repairs_left=facts.pop("repairs_left", 2), **facts)


@pytest.mark.parametrize(
    ("ask", "asked_for", "seconds"),
    [(2, None, 1.0), (4, None, 4.0), (99, None, 20.0), (2, 7.0, 7.0), (2, -3.0, 0.0), (2, 86_400.0, 120.0)],
)
def test_a_wait_is_the_providers_within_bounds_or_grows(ask: int, asked_for: float | None, seconds: float) -> None:
    outcome = CallOutcome(kind=OutcomeKind.NOT_BILLED, retry_after_seconds=asked_for)
    assert seconds <= _wait_seconds(asking(ask=ask), outcome) <= seconds * 1.25


@pytest.mark.parametrize(
    ("kind", "permanent", "next_model", "waits"),
    [
        (OutcomeKind.NOT_BILLED, False, MINI, True),
        (OutcomeKind.NOT_BILLED, True, MINI, False),
        (OutcomeKind.UNKNOWN, False, MINI, False),
        (OutcomeKind.EXPIRED, False, SONAR, False),  # the provider was never asked
        (OutcomeKind.VOIDED, False, SONAR, False),
    ],
)
def test_trouble_moves_the_route_where_the_provider_had_a_part_in_it(
    kind: OutcomeKind, permanent: bool, next_model: str, waits: bool
) -> None:
    one, ends = asking(), dict[str, SlotEnd]()
    _take_trouble(one, CallOutcome(kind=kind, permanent=permanent), ends)
    assert (one.ask, one.spec().model, one.wait_seconds > 0) == (2, next_model, waits)
    assert ends == {}


def test_a_refusal_for_good_ends_the_slot_at_the_routes_last_model_only() -> None:
    one, ends = asking(), dict[str, SlotEnd]()
    refused = CallOutcome(kind=OutcomeKind.NOT_BILLED, permanent=True, reason="HTTP 401")
    _take_trouble(one, refused, ends)
    assert ends == {}
    _take_trouble(one, refused, ends)
    failure = ends[SLOT.name].failure
    assert failure is not None
    assert "the provider refused" in failure.message


@pytest.mark.parametrize(("repairs_left", "next_model"), [(2, SONAR), (1, MINI)])
def test_the_last_repair_goes_to_the_routes_next_model(repairs_left: int, next_model: str) -> None:
    one = asking(repairs_left=repairs_left)
    _take_judgement(one, Judged(kind=JudgedKind.ASK_AGAIN, message="not JSON"), {})
    assert (one.spec().model, one.spec().feedback, one.ask) == (next_model, "not JSON", 2)


@pytest.mark.parametrize("asks_max", [1, 4])
def test_a_slot_is_asked_as_often_as_the_settings_allow(asks_max: int) -> None:
    claim = ClaimRef(workflow_id=uuid4(), organization_id=uuid4(), step=Step.ICP, claim=2)
    settings = StepSettings(spend=SpendSettings(asks_max=asks_max))
    context = CallContext(claim=claim, settings=settings, queue="q", summary="a call")
    ends: dict[str, SlotEnd] = {}
    _end_exhausted(context, {SLOT.name: asking(ask=asks_max)}, ends)
    assert ends == {}
    _end_exhausted(context, {SLOT.name: asking(ask=asks_max + 1)}, ends)
    assert list(ends) == [SLOT.name]
