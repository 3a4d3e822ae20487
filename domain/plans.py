"""Plans: what an organization may spend and what it pays, and the alerts on the way to a cap."""

import re
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from uuid import UUID

from domain.errors import BadInputError
from domain.money import Frozen, Usd

AMOUNT_USD_MAX = Decimal(1_000_000)
DECIMALS_MAX = 9
NO_CAP = "none"
_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")


class Plan(Frozen):
    """A cap of 0 or None refuses every authorization; ``workflow_cap_usd`` is that of workflows which name none."""

    plan_key: str
    workflow_cap_usd: Usd | None
    month_cap_usd: Usd | None
    price_usd_per_month: Usd
    organizations: int = 0


class PlanChange(Frozen):
    """What to change of a plan: the fields that were set. Use ``model_fields_set`` to tell None from left alone."""

    workflow_cap_usd: Usd | None = None
    month_cap_usd: Usd | None = None
    price_usd_per_month: Usd | None = None


class PlanChangeRecord(Frozen):
    """A row of the audit of one plan."""

    plan_key: str
    is_new: bool
    from_workflow_cap_usd: Usd | None
    from_month_cap_usd: Usd | None
    from_price_usd_per_month: Usd | None
    to_workflow_cap_usd: Usd | None
    to_month_cap_usd: Usd | None
    to_price_usd_per_month: Usd
    actor: str
    at: datetime


class OrganizationPlan(Frozen):
    organization_id: UUID
    domain: str
    name: str
    plan_key: str


class SpendAlert(Frozen):
    """A scope (a workflow, or with ``month`` the organization's month) came to ``threshold_percent`` of its cap.

    ``round`` counts the raises of the cap that alerts were written before; ``is_refusal``: the cap refused an ask.
    """

    alert_id: UUID
    organization_id: UUID
    domain: str
    workflow_id: UUID | None
    workflow_name: str | None
    month: date | None
    threshold_percent: int
    round: int
    cap_usd: Usd
    spent_usd: Usd
    held_usd: Usd
    is_refusal: bool
    attempt_id: UUID
    at: datetime


def parse_plan_key(text: str) -> str:
    """Raises BadInputError unless it is a word of small letters, digits, hyphens and underscores."""
    if not _KEY.fullmatch(text):
        raise BadInputError(f"the plan {text!r} must be 1 to 50 small letters, digits, - and _", "plan")
    return text


def parse_plan_cap(text: str, field: str) -> Decimal | None:
    """US dollars, 0 included; None for ``none``. Raises BadInputError naming ``field``."""
    return None if text.strip().lower() == NO_CAP else parse_plan_amount(text, field, f", or {NO_CAP!r}")


def parse_plan_amount(text: str, field: str, alternative: str = "") -> Decimal:
    """US dollars from 0 on, exactly as written. Raises BadInputError naming ``field``."""
    rule = (
        f"must be US dollars from 0 to {AMOUNT_USD_MAX:f} with at most {DECIMALS_MAX} decimals, such as 50{alternative}"
    )
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        raise BadInputError(f"{field} is {text!r}: it {rule}", field) from None
    if not amount.is_finite() or not 0 <= amount <= AMOUNT_USD_MAX or amount != round(amount, DECIMALS_MAX):
        raise BadInputError(f"{field} is {text!r}: it {rule}", field)
    return abs(amount)
