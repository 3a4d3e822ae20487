"""What runs will cost and what they have cost: the forecast before a start, and the reports over the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from typing import Any

from commands.exits import CommandError, ExitCode
from commands.session import Session
from commands.terminal import dollars
from db import cost_reports
from db.cost_reports import CostLine, DriftKind, DriftRecord
from db.prices import prices_of
from domain.brief import Brief
from domain.errors import BadInputError
from domain.forecast import Forecast, ForecastLine, forecast, models_of
from domain.money import format_usd
from domain.settings import StepSettings
from domain.spend import CostKey

FIGURES = ("calls", "in", "out", "estimate $", "actual $", "of estimate")
NO_SUM = ""


# Before a start --------------------------------------------------------------------------------------------------


async def forecast_of(session: Session, brief: Brief, settings: StepSettings) -> Forecast:
    """By the prices in force now. Raises BadInputError for a model without one."""
    async with session.reading() as connection:
        prices = await prices_of(connection, models_of(settings))
    return forecast(brief, settings, prices)


def forecast_words(found: Forecast) -> str:
    """For the line that names a run's cap."""
    if not found.fits:
        return f"forecast {dollars(found.expected_usd)}, the cap of {dollars(found.cap_usd)} ends it earlier"
    return f"forecast {dollars(found.expected_usd)}, at most {dollars(found.at_most_usd)}"


def over_cap_words(found: Forecast) -> str:
    """For a forecast that does not fit."""
    expected, cap = dollars(found.expected_usd), dollars(found.cap_usd)
    return (
        f"more is expected ({expected}) than the cap allows ({cap}); what is beyond it is not begun, "
        "raise it with `starter.py raise-cap ID USD`"
    )


async def tell_forecast(session: Session, brief: Brief, settings: StepSettings) -> ExitCode:
    """``start --forecast``: what it would cost, step by step; starts nothing."""
    found = await forecast_of(session, brief, settings)
    if session.terminal.as_json:
        session.terminal.emit(forecast_object(found))
        return ExitCode.DONE
    cells: list[tuple[object, ...]] = [
        (line.step, line.kind, line.model, line.calls, line.calls_max, *_three(line)) for line in found.lines
    ]
    cells.append(("sum", "", "", sum(line.calls for line in found.lines), "", *_three(found)))
    figures = ("calls", "at most", "expected $", "worst $", "with every repair $")
    session.terminal.table(("step", "call", "model", *figures), cells, right=figures)
    each = f"{dollars(found.article_expected_usd)} expected, {dollars(found.article_worst_usd)} worst"
    session.terminal.say(f"{found.articles} × article: {each}; the cap of {dollars(found.cap_usd)} is never passed")
    if not found.fits:
        session.terminal.note(f"note: {over_cap_words(found)}")
    return ExitCode.DONE


def _three(figures: Forecast | ForecastLine) -> tuple[str, ...]:
    amounts = (figures.expected_usd, figures.worst_usd, figures.worst_with_repairs_usd)
    return tuple(format_usd(amount.quantize(Decimal("0.0001"), rounding=ROUND_CEILING)) for amount in amounts)


def forecast_object(found: Forecast) -> dict[str, Any]:
    return {**found.model_dump(mode="json"), "at_most_usd": format_usd(found.at_most_usd), "fits": found.fits}


# After -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CostFlags:
    """Which report: at most one. ``month`` is "YYYY-MM"."""

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
    if flags.reports != 1:
        raise BadInputError("choose one report: --by KEYS, --top N, --waste, --margin or --drift")
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
    figures = ("calls", "estimate $", "actual $", "of its cap", "an article")
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
