"""Plans and their caps, who has which, and the alerts on the way to a cap."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import uuid4

from commands.exits import CommandError, ExitCode
from commands.operating import find_organization, operator_transaction
from commands.session import Session
from commands.terminal import dollars
from db.money_decisions import OrganizationPlanChange, organization_plan_changes
from db.plans import assign_plan, list_alerts, list_plans, set_plan
from db.pool import Connection
from db.workflows import load_workflow
from domain.errors import BadInputError
from domain.money import format_usd
from domain.plans import (
    NO_CAP,
    Plan,
    PlanChange,
    SpendAlert,
    parse_plan_amount,
    parse_plan_cap,
    parse_plan_key,
)
from domain.states import is_terminal

TIME = "%Y-%m-%d %H:%M:%S"
USED_UP_PERCENT = 100
AMOUNTS = ("workflow cap $", "month cap $", "price $/month")


async def list_(session: Session) -> ExitCode:
    async with session.reading() as connection:
        plans = await list_plans(connection)
    if session.terminal.as_json:
        session.terminal.emit([plan.model_dump(mode="json") for plan in plans])
        return ExitCode.DONE
    cells = [(plan.plan_key, *_amounts(plan), plan.organizations) for plan in plans]
    session.terminal.table(("plan", *AMOUNTS, "organizations"), cells, right=(*AMOUNTS, "organizations"))
    return ExitCode.DONE


def _amounts(plan: Plan) -> tuple[str, ...]:
    caps = (plan.workflow_cap_usd, plan.month_cap_usd)
    return (*(NO_CAP if cap is None else format_usd(cap) for cap in caps), format_usd(plan.price_usd_per_month))


async def set_(
    session: Session, plan: str, *, workflow_cap: str | None, month_cap: str | None, price: str | None
) -> ExitCode:
    """Makes a plan or changes what is given of one; binds from the next authorization on."""
    key, change = parse_plan_key(plan), _change(workflow_cap, month_cap, price)
    async with operator_transaction(session) as connection:
        changed = await set_plan(connection, key, change, decision_id=uuid4(), actor=session.actor)
    if session.terminal.as_json:
        session.terminal.emit(changed.model_dump(mode="json", exclude={"organizations"}))
        return ExitCode.DONE
    workflow_cap_usd, month_cap_usd, price_usd = _amounts(changed)
    session.terminal.say(
        f"✔ plan {key}: workflow cap $ {workflow_cap_usd}, month cap $ {month_cap_usd}, price $ {price_usd} a month"
    )
    for name, cap in (("workflow", changed.workflow_cap_usd), ("month", changed.month_cap_usd)):
        if not cap:
            session.terminal.note(f"note: with no {name} cap above 0 nothing is authorized for its organizations")
    return ExitCode.DONE


def _change(workflow_cap: str | None, month_cap: str | None, price: str | None) -> PlanChange:
    given: dict[str, Decimal | None] = {}
    if workflow_cap is not None:
        given["workflow_cap_usd"] = parse_plan_cap(workflow_cap, "--workflow-cap")
    if month_cap is not None:
        given["month_cap_usd"] = parse_plan_cap(month_cap, "--month-cap")
    if price is not None:
        given["price_usd_per_month"] = parse_plan_amount(price, "--price")
    if not given:
        raise BadInputError("say what to set: --workflow-cap, --month-cap or --price")
    return PlanChange.model_validate(given)


async def plan(session: Session, organization: str, new_plan: str | None) -> ExitCode:
    """Which plan an organization has, and who changed it; with ``new_plan`` gives it that one."""
    found = await find_organization(session, organization)
    facts: dict[str, Any] = {
        "organization_id": str(found.organization_id),
        "domain": found.domain,
        "plan": found.plan_key,
    }
    if new_plan is not None:
        async with operator_transaction(session, found.organization_id) as connection:
            before = await assign_plan(
                connection,
                found.organization_id,
                parse_plan_key(new_plan),
                decision_id=uuid4(),
                actor=session.actor,
            )
        facts |= {"plan": new_plan, "before": before}
    async with session.reading() as connection:
        changes = await organization_plan_changes(connection, found.organization_id)
    if session.terminal.as_json:
        session.terminal.emit({**facts, "changes": [change.model_dump(mode="json") for change in changes]})
    else:
        was = f", until now {facts['before']}" if facts.get("before", new_plan) != new_plan else ""
        session.terminal.say(f"✔ {found.domain} has the plan {facts['plan']}{was}")
        for change in changes:
            session.terminal.say(f"  {_change_words(change)}", "dim")
    return ExitCode.DONE


def _change_words(change: OrganizationPlanChange) -> str:
    at = f"{change.at.astimezone():{TIME}}"
    return f"{at}  {change.actor} gave it {change.to_plan_key}, until then {change.from_plan_key}"


# Alerts ----------------------------------------------------------------------------------------------------------


async def alerts(session: Session, workflow: str | None, organization: str | None, limit: int) -> ExitCode:
    """The youngest first: of one workflow, of one organization, or of all."""
    if workflow is not None and organization is not None:
        raise CommandError("BadInputError", "give a workflow or --org, not both", ExitCode.BAD_INPUT)
    of_workflow = await session.find(workflow) if workflow is not None else None
    of_organization = await find_organization(session, organization) if organization is not None else None
    async with session.reading() as connection:
        found = await list_alerts(
            connection,
            workflow_id=of_workflow.workflow_id if of_workflow else None,
            organization_id=of_organization.organization_id if of_organization else None,
            limit=limit,
        )
        ended = {alert.workflow_id for alert in found if await _has_ended(connection, alert)}
    _show(session, [(alert, alert_words(alert, has_ended=alert.workflow_id in ended)) for alert in found])
    return ExitCode.DONE


async def _has_ended(connection: Connection, alert: SpendAlert) -> bool:
    """About a workflow that spends no more: nothing has to be done about its cap."""
    if alert.workflow_id is None or alert.threshold_percent < USED_UP_PERCENT:
        return False
    record = await load_workflow(connection, alert.workflow_id)
    return record is not None and is_terminal(record.state)


def _show(session: Session, found: Sequence[tuple[SpendAlert, str]]) -> None:
    if session.terminal.as_json:
        session.terminal.emit([{**alert.model_dump(mode="json"), "message": words} for alert, words in found])
        return
    cells = [(f"{alert.at.astimezone():{TIME}}", f"{alert.threshold_percent} %", words) for alert, words in found]
    session.terminal.table(("at", "of its cap", ""), cells, right=("of its cap",))
    if not found:
        session.terminal.say("no scope has come to half of its cap yet")


def alert_words(alert: SpendAlert, *, has_ended: bool = False) -> str:
    """One line: which scope, its figures, and what to do where it is used up and its workflow has not ended."""
    if alert.workflow_id is not None:
        scope, remedy = f"{alert.domain} · {alert.workflow_name}", f"starter.py raise-cap {alert.workflow_id} USD"
    else:
        scope, remedy = (
            f"{alert.domain} in {alert.month:%Y-%m}",
            "give its plan a higher month cap: starter.py plans set",
        )
    used = f"spent {dollars(alert.spent_usd)}, held {dollars(alert.held_usd)} of {dollars(alert.cap_usd)}"
    end = "; the next call did not fit" if alert.is_refusal else ""
    asks = alert.threshold_percent == USED_UP_PERCENT and not has_ended
    return f"{scope}: {used}{end}{f'; {remedy}' if asks else ''}"
