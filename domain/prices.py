"""Prices as a person writes them into a file, checked whole before anything is stored."""

import re
from collections.abc import Hashable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NoReturn

import yaml
from pydantic import AwareDatetime

from domain.errors import BadInputError
from domain.money import Frozen, Usd, format_usd

FILE_CHARACTERS_MAX = 1_000_000
VALUE_CHARACTERS_SHOWN = 60
RATES = (
    "input_usd_per_million",
    "cached_input_usd_per_million",
    "output_usd_per_million",
    "usd_per_request",
    "usd_per_search",
)
# Far above any model or data provider there is, and low enough that every hold of a request is an amount of money.
RATE_USD_CREDIBLE_MAX = {
    "input_usd_per_million": Decimal(10_000),
    "cached_input_usd_per_million": Decimal(10_000),
    "output_usd_per_million": Decimal(10_000),
    "usd_per_request": Decimal(100),
    "usd_per_search": Decimal(100),
}
REQUIRED = ("model", "input_usd_per_million", "output_usd_per_million")
FIELDS = ("model", *RATES, "effective_from", "aliases")
EXAMPLE = "a list of prices, each with model, input_usd_per_million and output_usd_per_million"

_RATE = re.compile(r"\d{1,40}(\.\d{1,9})?")
_NAME = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class NewPrice(Frozen):
    """US dollars per million tokens, per request, per search; ``effective_from`` None is the moment it is stored."""

    model: str
    input_usd_per_million: Usd
    cached_input_usd_per_million: Usd
    output_usd_per_million: Usd
    usd_per_request: Usd = Decimal(0)
    usd_per_search: Usd = Decimal(0)
    effective_from: AwareDatetime | None = None
    aliases: tuple[str, ...] = ()


def parse_prices(text: str, *, source: str) -> tuple[NewPrice, ...]:
    """The prices in a YAML or JSON text: one, a list, or a list under ``prices``. ``source`` is the file's name.

    A rate is taken as it is written, digit by digit, in quotes or not. Cached input costs what input costs unless it
    is given. Raises BadInputError with one line that names the field, the value and the rule.
    """
    try:
        entries = _entries(_loaded(text))
        prices = tuple(_price(entry, f"prices[{number}]") for number, entry in enumerate(entries, start=1))
        _refuse_twice(prices)
    except BadInputError as error:
        raise BadInputError(f"{source}: {error}", error.field) from error
    return prices


class _Loader(yaml.BaseLoader):
    """Every value is the text that stands there; a key stands once; no aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not supported", self.get_mark())
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the field {twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _loaded(text: str) -> Any:
    if len(text) > FILE_CHARACTERS_MAX:
        raise BadInputError(f"the file has {len(text)} characters; at most {FILE_CHARACTERS_MAX} are read")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 -- makes texts, lists and dictionaries only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise BadInputError(f"{where}this is neither YAML nor JSON: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadInputError(f"this is neither YAML nor JSON: {' '.join(str(error).split())}") from error


def _entries(value: Any) -> list[Any]:
    if isinstance(value, dict) and set(value) == {"prices"}:
        value = value["prices"]
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not value:
        raise BadInputError(f"there are no prices in it: it must be {EXAMPLE}")
    return value


def _price(entry: Any, where: str) -> NewPrice:
    if not isinstance(entry, dict):
        _refuse(where, entry, f"must be a group of fields: {', '.join(FIELDS)}")
    for name in entry:
        if name not in FIELDS:
            raise BadInputError(f"{where}.{name} is not a field of a price; known are {', '.join(FIELDS)}", str(name))
    for name in REQUIRED:
        if name not in entry:
            raise BadInputError(f"{where}.{name} is missing: it is required", name)
    rates = {name: _rate(entry[name], name, f"{where}.{name}") for name in RATES if name in entry}
    rates.setdefault("cached_input_usd_per_million", rates["input_usd_per_million"])
    return NewPrice(
        model=_name(entry["model"], f"{where}.model"),
        effective_from=_moment(entry["effective_from"], f"{where}.effective_from")
        if "effective_from" in entry
        else None,
        aliases=_aliases(entry.get("aliases", []), f"{where}.aliases"),
        **rates,
    )


def _rate(value: Any, name: str, field: str) -> Decimal:
    if not isinstance(value, str) or not _RATE.fullmatch(value):
        _refuse(field, value, "must be an amount of US dollars such as 0.15, with at most 9 decimals")
    most = RATE_USD_CREDIBLE_MAX[name]
    if Decimal(value) > most:
        unit = name.removeprefix("usd_").rpartition("per_")[2]
        unit = "million tokens" if unit == "million" else unit
        _refuse(field, value, f"is not credible; give US dollars per {unit}, at most {format_usd(most)}")
    return Decimal(value)


def _name(value: Any, field: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        _refuse(field, value, "must be a model's name without spaces, such as openai/gpt-4o-mini")
    return value


def _aliases(value: Any, field: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        _refuse(field, value, "must be a list of names")
    return tuple(_name(alias, f"{field}[{number}]") for number, alias in enumerate(value, start=1))


def _moment(value: Any, field: str) -> datetime:
    rule = "must be a date (its beginning in UTC) or a time with a zone, such as 2026-01-31T00:00:00Z"
    try:
        if _DATE.fullmatch(value):
            day = date.fromisoformat(value)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        moment = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        _refuse(field, value, rule)
    if moment.tzinfo is None:
        _refuse(field, value, rule)
    return moment.astimezone(UTC)


def _refuse_twice(prices: tuple[NewPrice, ...]) -> None:
    seen: set[tuple[str, datetime | None]] = set()
    for price in prices:
        key = (price.model, price.effective_from)
        if key in seen:
            raise BadInputError(f"{price.model} stands in it twice with the same effective_from", "model")
        seen.add(key)


def _refuse(field: str, value: object, rule: str) -> NoReturn:
    text = repr(value)
    shown = text if len(text) <= VALUE_CHARACTERS_SHOWN else f"{text[:VALUE_CHARACTERS_SHOWN]}…"
    raise BadInputError(f"{field} is {shown}: it {rule}", field)
