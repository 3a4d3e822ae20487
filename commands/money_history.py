"""Who decided what about money, when and why: of a run, of plans, of prices."""

from collections.abc import Sequence
from datetime import UTC
from decimal import Decimal

from commands.exits import ExitCode, not_found
from commands.session import Session
from commands.terminal import counted
from db.money_decisions import MoneyDecision, MoneyDecisionKind, money_decisions, price_changes
from db.plans import list_plans, plan_history
from db.prices import canonical_model
from domain.money import format_usd
from domain.plans import NO_CAP, PlanChangeRecord, parse_plan_key

TIME = "%Y-%m-%d %H:%M:%S"
PLAN_AMOUNTS = {
    MoneyDecisionKind.PLAN_WORKFLOW_CAP: "workflow cap",
    MoneyDecisionKind.PLAN_MONTH_CAP: "month cap",
    MoneyDecisionKind.PLAN_PRICE: "price a month",
}


async def run_history(session: Session, workflow: str) -> ExitCode:
    """``history ID --money``: every decision about money that bears on a run."""
    found = await session.find(workflow)
    async with session.transaction(found.organization_id) as connection:
        decisions = await money_decisions(connection, found.workflow_id)
    if session.terminal.as_json:
        session.terminal.emit([{**one.model_dump(mode="json"), "what": decision_words(one)} for one in decisions])
        return ExitCode.DONE
    cells = [(f"{one.at.astimezone():{TIME}}", one.actor, decision_words(one), one.reason) for one in decisions]
    session.terminal.table(("at", "who", "what", "reason"), cells)
    session.terminal.say(f"{counted(len(decisions), 'decision')} about money; {found.name} is in {found.state}")
    return ExitCode.DONE


def decision_words(one: MoneyDecision) -> str:
    """One line: what was decided, from what to what."""
    scope = f"the organization's month {one.month:%Y-%m}" if one.month else "the run"
    match one.kind:
        case MoneyDecisionKind.CAP_RAISED:
            return f"raised the run's cap {_from_to(one.from_usd, one.to_usd)}"
        case MoneyDecisionKind.FROZEN:
            return f"froze {scope}"
        case MoneyDecisionKind.THAWED:
            return f"thawed {scope}"
        case MoneyDecisionKind.CORRECTED:
            return f"corrected by $ {_amount(one.to_usd)}, ledger row {one.ledger_id}"
        case MoneyDecisionKind.PLAN_GIVEN:
            return f"gave the organization the plan {one.to_plan}, until then {one.from_plan}"
        case _:
            return f"changed the plan {one.to_plan}: {PLAN_AMOUNTS[one.kind]} {_from_to(one.from_usd, one.to_usd)}"


def _from_to(before: Decimal | None, after: Decimal | None) -> str:
    return f"from $ {_amount(before)} to $ {_amount(after)}"


def _amount(amount: Decimal | None) -> str:
    return NO_CAP if amount is None else format_usd(amount)


# Plans and prices ------------------------------------------------------------------------------------------------


async def plans_history(session: Session, plan: str | None) -> ExitCode:
    """``plans history``: who made or changed a plan, from what to what."""
    wanted = None if plan is None else parse_plan_key(plan)
    async with session.reading() as connection:
        keys = [one.plan_key for one in await list_plans(connection) if wanted in (None, one.plan_key)]
        changes = [change for key in keys for change in await plan_history(connection, key)]
    if not keys:
        raise not_found(f"there is no plan {plan}; see `starter.py plans`")
    changes.sort(key=lambda change: change.at)
    if session.terminal.as_json:
        session.terminal.emit([change.model_dump(mode="json") for change in changes])
        return ExitCode.DONE
    _show_plan_changes(session, changes)
    return ExitCode.DONE


def _show_plan_changes(session: Session, changes: Sequence[PlanChangeRecord]) -> None:
    cells = [
        (f"{one.at.astimezone():{TIME}}", one.actor, one.plan_key, "made" if one.is_new else "changed", *_changed(one))
        for one in changes
    ]
    session.terminal.table(("at", "who", "plan", "", "workflow cap $", "month cap $", "price $/month"), cells)
    if not changes:
        session.terminal.say("nobody has changed a plan since it was shipped")


def _changed(one: PlanChangeRecord) -> tuple[str, ...]:
    pairs = (
        (one.from_workflow_cap_usd, one.to_workflow_cap_usd),
        (one.from_month_cap_usd, one.to_month_cap_usd),
        (one.from_price_usd_per_month, one.to_price_usd_per_month),
    )
    return tuple(
        _amount(after) if one.is_new or before == after else f"{_amount(before)} → {_amount(after)}"
        for before, after in pairs
    )


async def prices_history(session: Session, model: str | None) -> ExitCode:
    """``prices history``: who added, ended or replaced which price."""
    async with session.reading() as connection:
        name = None if model is None else await canonical_model(connection, model)
        changes = await price_changes(connection, name)
    if session.terminal.as_json:
        session.terminal.emit([change.model_dump(mode="json") for change in changes])
        return ExitCode.DONE
    cells = [
        (
            f"{one.at.astimezone():{TIME}}",
            one.actor,
            one.action,
            one.model,
            f"{one.effective_from.astimezone(UTC):{TIME}}",
        )
        for one in changes
    ]
    session.terminal.table(("at", "who", "", "model", "from (UTC)"), cells)
    if not changes:
        session.terminal.say(f"nobody has changed a price{f' of {name}' if name else ''} since it was shipped")
    return ExitCode.DONE
