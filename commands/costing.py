"""What runs will cost and what they have cost: the forecast before a start, and the reports over the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Any

from commands.exits import CommandError, ExitCode
from commands.session import Session
from commands.terminal import dollars
from db import cost_reports
from db.cost_reports import CostLine, DriftKind, DriftRecord, SpendingRoom
from db.prices import prices_of
from db.workflows import WorkflowRecord
from domain.brief import CAP_USD_DEFAULT, Brief
from domain.errors import BadInputError
from domain.forecast import Forecast, ForecastLine, forecast, models_of
from domain.identifiers import organization_id_of
from domain.money import format_usd
from domain.settings import StepSettings
from domain.spend import CostKey

FIGURES = ("calls", "in", "out", "estimate $", "actual $", "of estimate")
NO_SUM = ""
MONTH_KEYS = f"{CostKey.MONTH},{CostKey.MODEL}"


# Before a start --------------------------------------------------------------------------------------------------


class CapScope(StrEnum):
    """Whose cap binds a run: its own (or its plan's, where the brief names none), a plan that allows a run nothing, or
    what is left of the organization's month."""

    WORKFLOW = "workflow"
    PLAN = "plan"
    MONTH = "month"


@dataclass(frozen=True)
class Estimate:
    """A forecast beside all that bounds it. ``scope`` and ``allowed_usd`` are of the cap that binds: the least one."""

    forecast: Forecast
    room: SpendingRoom

    @property
    def _caps(self) -> dict[CapScope, Decimal]:
        """Least first where two are equal."""
        nothing = {} if self.room.workflow_cap_usd else {CapScope.PLAN: Decimal(0)}
        return {**nothing, CapScope.WORKFLOW: self.forecast.cap_usd, CapScope.MONTH: self.room.month_left_usd}

    @property
    def scope(self) -> CapScope:
        return min(self._caps, key=self._caps.__getitem__)

    @property
    def allowed_usd(self) -> Decimal:
        return self._caps[self.scope]

    @property
    def at_most_usd(self) -> Decimal:
        return min(self.forecast.worst_usd, self.allowed_usd)

    @property
    def fits(self) -> bool:
        return self.forecast.expected_usd <= self.allowed_usd


async def estimate_of(
    session: Session, brief: Brief, settings: StepSettings, record: WorkflowRecord | None = None
) -> Estimate:
    """By the prices, plan and month of now; of a run that is there already (``record``) by the cap that it has now.
    Raises BadInputError for a model without a price, and for prices that make no amount of money."""
    organization_id = organization_id_of(brief.organization.url)
    workflow_id = None if record is None else record.workflow_id
    async with session.reading() as connection:
        prices = await prices_of(connection, models_of(settings))
        room = await cost_reports.spending_room(connection, organization_id, workflow_id=workflow_id)
    if record is not None:
        brief = brief.model_copy(update={"cap_usd": record.cap_usd})
    try:
        return Estimate(forecast(brief, settings, prices, room.workflow_cap_usd or CAP_USD_DEFAULT), room)
    except (ValueError, ArithmeticError) as error:
        message = "the prices in force make no credible amount: see `starter.py prices` for a rate that is far too high"
        raise BadInputError(message, "prices") from error


def forecast_words(found: Estimate) -> str:
    """For the line that names what a run will cost."""
    expected = f"forecast {dollars(found.forecast.expected_usd)}"
    if not found.fits:
        return f"{expected}, {_cap_words(found)} ends it earlier"
    return f"{expected}, at most {_dollars_up(found.at_most_usd)}"


def _cap_words(found: Estimate) -> str:
    allowed = dollars(found.allowed_usd)
    match found.scope:
        case CapScope.WORKFLOW:
            return f"the cap of {allowed}"
        case CapScope.PLAN:
            return f"the plan {found.room.plan_key}, which allows a run nothing,"
        case CapScope.MONTH:
            return f"the {allowed} left of the organization's month"


def over_cap_words(found: Estimate) -> str:
    """For a forecast that does not fit: one line with what to do."""
    expected = dollars(found.forecast.expected_usd)
    if found.scope is CapScope.WORKFLOW:
        allows = f"the cap allows ({dollars(found.allowed_usd)})"
    else:
        allows = f"is allowed: {_cap_words(found)}"
    return f"more is expected ({expected}) than {allows}; what is beyond it is not begun, {_remedy(found)}"


def _remedy(found: Estimate) -> str:
    room = found.room
    match found.scope:
        case CapScope.WORKFLOW:
            return "raise it with `starter.py raise-cap ID USD`"
        case CapScope.PLAN:
            return f"raise it with `starter.py plans set {room.plan_key} --workflow-cap USD`"
        case CapScope.MONTH if room.month_frozen_reason is not None:
            return f"the month is frozen ({room.month_frozen_reason}): see `starter.py thaw`"
        case CapScope.MONTH:
            return f"raise it with `starter.py plans set {room.plan_key} --month-cap USD`, or wait for the next month"


async def tell_forecast(session: Session, brief: Brief, settings: StepSettings) -> ExitCode:
    """``start --forecast``: what it would cost, step by step; starts nothing."""
    found = await estimate_of(session, brief, settings)
    if session.terminal.as_json:
        session.terminal.emit(forecast_object(found))
        return ExitCode.DONE
    _show_forecast(session, found.forecast)
    session.terminal.say(_bound_words(found))
    if not found.fits:
        session.terminal.note(f"note: {over_cap_words(found)}")
    return ExitCode.DONE


def _show_forecast(session: Session, found: Forecast) -> None:
    amounts = amount_columns([*found.lines, found])
    cells: list[tuple[object, ...]] = [
        (line.step, line.kind, line.model, line.calls, line.calls_max, *shown)
        for line, shown in zip(found.lines, amounts, strict=False)
    ]
    cells.append(("sum", "", "", sum(line.calls for line in found.lines), "", *amounts[-1]))
    figures = ("calls", "at most", "expected $", "worst $", "with every repair $")
    session.terminal.table(("step", "call", "model", *figures), cells, right=figures)


def amount_columns(figures: Sequence[Forecast | ForecastLine]) -> list[tuple[str, ...]]:
    """The three amounts of each, exact to the last digit and so adding up: every column as long as its longest."""
    rows = [(one.expected_usd, one.worst_usd, one.worst_with_repairs_usd) for one in figures]
    decimals = [max(_decimals(amount) for amount in column) for column in zip(*rows, strict=True)]
    return [tuple(f"{amount:.{places}f}" for amount, places in zip(row, decimals, strict=True)) for row in rows]


def _decimals(amount: Decimal) -> int:
    return len(format_usd(amount).partition(".")[2])


def _bound_words(found: Estimate) -> str:
    expected, worst = dollars(found.forecast.article_expected_usd), _dollars_up(found.forecast.article_worst_usd)
    each = f"{found.forecast.articles} × writing an article: {expected} expected, {worst} worst"
    if found.fits:
        return f"{each}; {_cap_words(found)} is never passed"
    return f"{each}; {_cap_words(found)} ends the run earlier"


def _dollars_up(amount: Decimal) -> str:
    """For what is said to be the most: rounded up, never below it."""
    return dollars(amount.quantize(Decimal("0.0001"), rounding=ROUND_CEILING))


def forecast_object(found: Estimate) -> dict[str, Any]:
    moving = {"own_usd", "month_spent_usd", "month_held_usd"}  # with every call, also of the run that is told of
    room = found.room.model_dump(mode="json", exclude=moving)
    return {
        **found.forecast.model_dump(mode="json"),
        "plan": {**room, "month_left_usd": format_usd(found.room.month_left_usd)},
        "binding_cap": {"scope": found.scope, "allowed_usd": format_usd(found.allowed_usd)},
        "at_most_usd": format_usd(found.at_most_usd),
        "fits": found.fits,
    }


# After -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CostFlags:
    """Which report: at most one; ``month`` ("YYYY-MM") alone sums that month's ledger by model."""

    by: str | None = None
    top: int | None = None
    waste: bool = False
    margin: bool = False
    drift: bool = False
    month: str | None = None

    @property
    def reports(self) -> int:
        return sum([self.by is not None, self.top is not None, self.waste, self.margin, self.drift])


async def report(session: Session, workflow: str | None, flags: CostFlags) -> ExitCode:
    """One report over all organizations, over one run where the report has one."""
    if flags.reports == 0 and flags.month is not None:
        flags = replace(flags, by=MONTH_KEYS)
    if flags.reports != 1:
        raise BadInputError("choose one report: --by KEYS, --top N, --waste, --margin or --drift; or --month alone")
    if workflow is not None and (flags.top is not None or flags.margin):
        raise BadInputError("--top and --margin are over all runs: leave the run out")
    month = parse_month(flags.month)
    workflow_id = (await session.find(workflow)).workflow_id if workflow is not None else None
    async with session.reading() as connection:
        if flags.by is not None:
            keys = cost_keys(flags.by)
            lines = await cost_reports.cost_breakdown(connection, keys, workflow_id=workflow_id, month=month)
            return _show_breakdown(session, keys, lines)
        if flags.top is not None:
            return _show_top(session, await cost_reports.top_workflows(connection, flags.top, month=month))
        if flags.waste:
            found = await cost_reports.wasted_spend(connection, workflow_id=workflow_id, month=month)
            return _show_waste(session, found)
        if flags.margin:
            return _show_margins(session, await cost_reports.margins(connection, month=month))
        drifts = await cost_reports.drift_records(connection, workflow_id=workflow_id, month=month)
    return _show_drift(session, drifts)


def parse_month(text: str | None) -> date | None:
    """First day of "YYYY-MM". Raises BadInputError for anything else."""
    if text is None:
        return None
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise BadInputError(f"--month is {text!r}: it must be a month such as 2026-01", "month") from None


def cost_keys(by: str) -> list[CostKey]:
    names = [name.strip() for name in by.split(",") if name.strip()]
    unknown = [name for name in names if name not in list(CostKey)]
    if unknown or not names:
        message = f"--by is {by!r}: it must be of {', '.join(CostKey)}, several by comma"
        raise CommandError("BadInputError", message, ExitCode.BAD_INPUT, {"field": "by"})
    return [CostKey(name) for name in dict.fromkeys(names)]


_FIELDS = {CostKey.WORKFLOW: "workflow_id"}
_JSON_FIELDS = {CostKey.WORKFLOW: {"workflow_id"}, CostKey.ORGANIZATION: {"organization_id", "organization"}}


def _show_breakdown(session: Session, keys: Sequence[CostKey], lines: Sequence[CostLine]) -> ExitCode:
    if session.terminal.as_json:
        chosen = {name for key in keys for name in _JSON_FIELDS.get(key, {key.value})}
        figures = {"attempts", "prompt_tokens", "cached_tokens", "completion_tokens", "hold_usd", "cost_usd"}
        session.terminal.emit([line.model_dump(mode="json", include=chosen | figures) for line in lines])
        return ExitCode.DONE
    cells = [
        (*(_cell(getattr(line, _FIELDS.get(key, key.value))) for key in keys), *_figures([line])) for line in lines
    ]
    cells.append(("sum", *[NO_SUM] * (len(keys) - 1), *_figures(lines)))
    session.terminal.table((*map(str, keys), *FIGURES), cells, right=FIGURES)
    return ExitCode.DONE


def _cell(value: object) -> str:
    return f"{value:%Y-%m}" if isinstance(value, date) else str(value)


def _figures(lines: Sequence[CostLine]) -> tuple[str, ...]:
    cost = sum((line.cost_usd for line in lines), Decimal(0))
    hold = sum((line.hold_usd for line in lines), Decimal(0))
    counts = (
        sum(line.attempts for line in lines),
        sum(line.prompt_tokens for line in lines),
        sum(line.completion_tokens for line in lines),
    )
    return (*map(str, counts), format_usd(hold), format_usd(cost), _percent(cost / hold if hold else None))


def _percent(share: Decimal | None) -> str:
    return "" if share is None else f"{share * 100:.0f} %"


def _show_top(session: Session, found: Sequence[cost_reports.WorkflowCost]) -> ExitCode:
    if session.terminal.as_json:
        session.terminal.emit([_top_object(one) for one in found])
        return ExitCode.DONE
    cells = [
        (
            one.organization,
            one.name,
            one.state,
            one.attempts,
            format_usd(one.hold_usd),
            format_usd(one.cost_usd),
            _percent(one.cost_usd / one.cap_usd),
            "" if one.cost_per_article_usd is None else dollars(one.cost_per_article_usd),
        )
        for one in found
    ]
    figures = ("calls", "estimate $", "actual $", "of its cap", "run's cost per article")
    session.terminal.table(("organization", "run", "state", *figures), cells, right=figures)
    return ExitCode.DONE


def _top_object(one: cost_reports.WorkflowCost) -> dict[str, Any]:
    each = one.cost_per_article_usd
    return {**one.model_dump(mode="json"), "cost_per_article_usd": None if each is None else f"{each:.9f}"}


def _show_waste(session: Session, found: cost_reports.Waste) -> ExitCode:
    if session.terminal.as_json:
        session.terminal.emit({**found.model_dump(mode="json"), "share": f"{found.share:.6f}"})
        return ExitCode.DONE
    cells: list[tuple[object, ...]] = [
        (line.kind.replace("_", " "), line.attempts, format_usd(line.cost_usd), format_usd(line.held_usd))
        for line in found.lines
    ]
    sums = (sum(line.attempts for line in found.lines), format_usd(found.cost_usd), format_usd(found.held_usd))
    cells.append(("sum", *sums))
    figures = ("calls", "paid $", "held $")
    session.terminal.table(("wasted", *figures), cells, right=figures)
    session.terminal.say(f"{found.share * 100:.1f} % of the {dollars(found.spent_usd)} spent")
    return ExitCode.DONE


def _show_margins(session: Session, found: Sequence[cost_reports.Margin]) -> ExitCode:
    if session.terminal.as_json:
        session.terminal.emit(
            [{**one.model_dump(mode="json"), "margin_usd": format_usd(one.margin_usd)} for one in found]
        )
        return ExitCode.DONE
    cells = [
        (
            _cell(one.month),
            one.organization,
            one.plan_key,
            *map(format_usd, (one.price_usd, one.cost_usd, one.margin_usd)),
        )
        for one in found
    ]
    figures = ("price $", "cost $", "margin $")
    session.terminal.table(("month", "organization", "plan", *figures), cells, right=figures)
    return ExitCode.DONE


def _show_drift(session: Session, found: Sequence[DriftRecord]) -> ExitCode:
    if session.terminal.as_json:
        session.terminal.emit([one.model_dump(mode="json") for one in found])
        return ExitCode.DONE
    cells = [
        (one.organization, one.slot, _drift_words(one), *map(_usd, (one.provider_cost_usd, one.computed_cost_usd)))
        for one in found
    ]
    figures = ("provider $", "computed $")
    session.terminal.table(("organization", "slot", "drift", *figures), cells, right=figures)
    if not found:
        session.terminal.say("no drift: every bill is what our prices say, every answer is of the model's route")
    return ExitCode.DONE


def _drift_words(one: DriftRecord) -> str:
    if one.kind is DriftKind.MODEL:
        return f"{one.answered_model} answered for {one.asked_model}"
    return f"{one.answered_model} is billed {_usd(one.drift_usd)} beside our price"


def _usd(amount: Decimal | None) -> str:
    return "" if amount is None else format_usd(amount)
