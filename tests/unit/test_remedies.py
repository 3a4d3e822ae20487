"""Which commands finish a run that money stopped, by what refuses it now."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from domain.budget import BudgetSlice
from domain.progress import BLOCKED_BY_VERDICT, ArticleCounts, Failure, Progress
from domain.refusals import RefusalScope, RefusedAsk, Standing
from domain.reminders import WaitsFor, waits_for
from domain.settings import StepSettings
from domain.states import State
from domain.verdict import Reason
from workflows.status_card import next_command, status_card

ID = UUID(int=7)
BY_CAP = Failure(
    type="CapReachedError", message="refused", reasons=(Reason(code="cap_reached", message="refused", subject="icp"),)
)


def parked(
    standing: Standing | None,
    *,
    state: State = State.ICP_FAILED,
    failure: Failure | None = BY_CAP,
    cap: str = "1.00",
    spent: str = "0.10",
    **more: Any,
) -> Progress:
    facts = {"workflow_id": ID, "organization_id": UUID(int=8), "name": "spring", "organization_name": "Harborline"}
    amounts = {"cap_usd": cap, "spent_usd": spent, "held_usd": "0"}
    return Progress.model_validate(
        {**facts, **amounts, "state": state, "version": 3, "failure": failure, "settings": StepSettings(), **more}
        | {"standing": standing}
    )


def ask(scope: RefusalScope, cap: str | None = None, hold: str = "0.02", **more: bool) -> RefusedAsk:
    cap_usd = None if cap is None else Decimal(cap)
    facts = {"is_this_month": True, "has_price": True} | more
    return RefusedAsk(scope=scope, cap_usd=cap_usd, hold_usd=Decimal(hold), **facts)


def standing(*asks: RefusedAsk, plan: str | None = "1.00", month: str | None = "50", used: str = "0.10",
             frozen: bool = False) -> Standing:  # fmt: skip
    return Standing(
        plan_key="tiny",
        plan_workflow_cap_usd=None if plan is None else Decimal(plan),
        plan_month_cap_usd=None if month is None else Decimal(month),
        month_used_usd=Decimal(used),
        is_frozen=frozen,
        asks=asks,
    )


WORKFLOW, PLAN, MONTH = RefusalScope.WORKFLOW, RefusalScope.PLAN, RefusalScope.MONTH
FROZEN, PRICE = RefusalScope.FROZEN, RefusalScope.PRICE


@pytest.mark.parametrize(
    ("now", "commands"),
    [
        (standing(ask(WORKFLOW, "1.00")), [f"raise-cap {ID} 2.00"]),
        (standing(ask(WORKFLOW, "0.50")), []),
        (standing(ask(MONTH, "0.11"), month="0.11"), ["plans set tiny --month-cap 1.00"]),
        (standing(ask(MONTH, "0.11"), month="0.11", used="0.73"), ["plans set tiny --month-cap 1.63"]),
        (
            standing(ask(MONTH, "50", hold="60"), month="50"),
            ["plans set tiny --month-cap 60.10", f"raise-cap {ID} 60.10"],
        ),
        (standing(ask(MONTH, "0.11"), month="70"), []),
        (standing(ask(MONTH, "50", is_this_month=False), used="0"), []),
        (standing(ask(MONTH, "0"), month="0"), ["plans set tiny --month-cap 1.00"]),
        (standing(ask(MONTH), month=None), ["plans set tiny --month-cap 1.00"]),
        (standing(ask(PLAN, "0"), plan="0"), ["plans set tiny --workflow-cap 1.00"]),
        (standing(ask(PLAN), plan=None), ["plans set tiny --workflow-cap 1.00"]),
        (standing(ask(PLAN, "0.11"), plan="0.11"), ["plans set tiny --workflow-cap 1.00"]),
        (standing(ask(PLAN, "0.11"), plan="0.50"), []),
        (standing(ask(PLAN), plan=None, month=None), ["plans set tiny --workflow-cap 1.00 --month-cap 1.00"]),
        (standing(ask(FROZEN, "1.00"), frozen=True), [f"thaw {ID} --reason TEXT"]),
        (standing(ask(FROZEN, "1.00")), []),
        (standing(ask(PRICE, "1.00", hold="0", has_price=False)), ["prices add FILE"]),
        (standing(ask(PRICE, "1.00", hold="0")), []),
    ],
)
def test_each_scope_has_its_command_while_it_refuses(now: Standing, commands: list[str]) -> None:
    wanted = [*commands, f"retry {ID}"]
    assert next_command(parked(now)) == " && ".join(f"starter.py {command}" for command in wanted)


def test_what_refuses_at_once_is_named_at_once() -> None:
    """An overrun froze it and broke both caps; another model has no price."""
    asks = (ask(FROZEN, "0.20"), ask(PRICE, "0.20", hold="0", has_price=False))
    now = standing(*asks, month="0.20", used="0.25", frozen=True)
    commands = (
        "prices add FILE", f"thaw {ID} --reason TEXT", "plans set tiny --month-cap 0.40", f"raise-cap {ID} 0.40",
        f"retry {ID}",
    )  # fmt: skip
    progress = parked(now, cap="0.20", spent="0.25")
    assert next_command(progress) == " && ".join(f"starter.py {command}" for command in commands)


def test_a_cap_is_not_raised_above_its_plans_where_less_will_do() -> None:
    now = standing(ask(WORKFLOW, "0.60"), plan="1.00")
    assert f"raise-cap {ID} 1.00 &&" in next_command(parked(now, cap="0.60", spent="0.59"))
    short = standing(ask(WORKFLOW, "0.60", hold="0.50"), plan="1.00")
    assert f"raise-cap {ID} 1.20 &&" in next_command(parked(short, cap="0.60", spent="0.59"))


def test_articles_that_the_cap_keeps_from_beginning_need_it_raised_whatever_else_refuses() -> None:
    budget = BudgetSlice(articles=2, expected_usd=Decimal("0.03"), cap_usd=Decimal("1.07"))
    counts = ArticleCounts(planned=3, done=1, failed=1, not_begun=1)
    progress = parked(
        standing(ask(MONTH, "0.11"), month="0.11"), state=State.ARTICLE_FAILED, budget=budget, articles=counts
    )
    assert next_command(progress) == (
        f"starter.py plans set tiny --month-cap 1.07 && starter.py raise-cap {ID} 1.07 && starter.py retry {ID}"
    )
    assert "the cap does not cover 2 articles" in status_card(progress)


def test_without_its_standing_a_refusal_is_taken_for_the_workflows() -> None:
    """Progress of a history that was written before there was one."""
    assert next_command(parked(None)) == f"starter.py raise-cap {ID} 2.00 && starter.py retry {ID}"


@pytest.mark.parametrize("state", [State.CLUSTERING_FAILED, State.VALIDATION_FAILED])
@pytest.mark.parametrize(
    ("failure", "command", "wanted"),
    [
        (BY_CAP, f"starter.py plans set tiny --month-cap 1.00 && starter.py retry {ID}", WaitsFor.RETRY),
        (Failure(type="ProviderUnavailableError", message="m"), f"starter.py retry {ID}", WaitsFor.RETRY),
        (Failure(type=BLOCKED_BY_VERDICT, message="m"), f"starter.py review {ID} --reopen", WaitsFor.REOPEN),
        (None, f"starter.py review {ID} --reopen", WaitsFor.REOPEN),
    ],
)
def test_a_review_is_reopened_for_a_verdict_alone(
    state: State, failure: Failure | None, command: str, wanted: WaitsFor
) -> None:
    progress = parked(standing(ask(MONTH, "0.11"), month="0.11"), state=state, failure=failure)
    assert next_command(progress) == command
    assert waits_for(state, is_a_verdict=progress.is_judged) is wanted
