"""Prices of models: listed, added from a file, and any booked cost recomputed from the price it was booked by."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from commands.exits import CommandError, ExitCode, not_found
from commands.operating import operator_transaction
from commands.session import Session
from commands.terminal import counted
from db.prices import AddedPrice, PriceOutcome, PriceRow, Recomputed, add_price, list_prices, recompute
from domain.errors import BadInputError
from domain.money import format_usd
from domain.prices import NewPrice, parse_prices

RATE_COLUMNS = ("in $/M", "cached $/M", "out $/M", "$/request", "$/search or row")
COST_COLUMNS = ("in", "cached", "out", "searches or rows", "booked $", "provider $", "stored $", "recomputed $")
LEDGER_NUMBER_DIGITS_MAX = 18


async def list_(session: Session) -> ExitCode:
    """Every price with its period, and whether anything was charged by it."""
    async with session.reading() as connection:
        prices = await list_prices(connection)
    if session.terminal.as_json:
        session.terminal.emit([price.model_dump(mode="json") for price in prices])
        return ExitCode.DONE
    cells = [(price.model, *_rates(price), *_period(price), _standing(price)) for price in prices]
    session.terminal.table(("model", *RATE_COLUMNS, "from (UTC)", "until", ""), cells, right=RATE_COLUMNS)
    for model, aliases in {price.model: price.aliases for price in prices}.items():
        if aliases:
            session.terminal.say(f"{model} is also called {', '.join(aliases)}", "dim")
    return ExitCode.DONE


def _rates(price: PriceRow) -> tuple[str, ...]:
    rates = (price.input_usd_per_million, price.cached_input_usd_per_million, price.output_usd_per_million)
    return tuple(format_usd(rate) for rate in (*rates, price.usd_per_request, price.usd_per_search))


def _period(price: PriceRow) -> tuple[str, str]:
    return _moment(price.effective_from), _moment(price.effective_until) if price.effective_until else ""


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def _standing(price: PriceRow) -> str:
    when = "in force" if price.is_in_force else "ended" if price.effective_until and _is_past(price) else "to come"
    return f"{when}, {'used' if price.is_used else 'not used'}"


def _is_past(price: PriceRow) -> bool:
    return price.effective_until is not None and price.effective_until <= datetime.now(UTC)


async def add(session: Session, path: Path) -> ExitCode:
    """All prices of a file or none."""
    new = read_prices(path)
    async with operator_transaction(session) as connection:
        added = [await add_price(connection, price, actor=session.actor) for price in new]
    if session.terminal.as_json:
        session.terminal.emit([one.model_dump(mode="json") for one in added])
        return ExitCode.DONE
    for one in added:
        session.terminal.say(_added_words(one))
    return ExitCode.DONE


def read_prices(path: Path) -> tuple[NewPrice, ...]:
    """Raises BadInputError with one line before anything is stored."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadInputError(f"there is no file {path}") from None
    except UnicodeDecodeError:
        raise BadInputError(f"{path} is not a text in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise BadInputError(f"{path} can't be read: {error.strerror}") from None
    return parse_prices(text, source=str(path))


def _added_words(added: AddedPrice) -> str:
    since = _moment(added.effective_from)
    aliases = f"; also called {', '.join(added.aliases_added)}" if added.aliases_added else ""
    if added.outcome is PriceOutcome.EXISTING:
        return f"✔ {added.model} has this price from {since} already{aliases}"
    instead = ", instead of the one planned for then" if added.outcome is PriceOutcome.REPLACED else ""
    ended = "; the price before ends there" if added.ended_price_id else ""
    return f"✔ {added.model} has a price from {since} UTC{instead}{ended}{aliases}"


# Recomputing -----------------------------------------------------------------------------------------------------


async def recompute_(session: Session, ledger: str | None, workflow: str | None) -> ExitCode:
    """Booked costs beside what usage and price row say; 4 when one differs."""
    if (ledger is None) == (workflow is None):
        raise BadInputError("give one ledger row (number, idempotency key or attempt) or --workflow ID")
    found = await session.find(workflow) if workflow is not None else None
    key = None if ledger is None else _ledger_key(ledger)
    async with session.reading() as connection:
        rows = await recompute(connection, workflow_id=found.workflow_id if found else None, ledger_key=key)
    if not rows and ledger is not None:
        raise not_found(f"no ledger row has the number, idempotency key or attempt {ledger}; see `starter.py costs`")
    _show(session, rows)
    differing = [row for row in rows if not row.is_equal]
    if differing:
        keys = [str(row.idempotency_key) for row in differing]
        message = f"{counted(len(differing), 'row')} of {len(rows)} recomputed otherwise, the first is {keys[0]}"
        raise CommandError("RecomputedDiffersError", message, ExitCode.CONFLICT, {"idempotency_keys": keys})
    return ExitCode.DONE


def _ledger_key(text: str) -> UUID | int:
    if text.isascii() and text.isdigit() and len(text) <= LEDGER_NUMBER_DIGITS_MAX:
        return int(text)
    try:
        return UUID(text)
    except ValueError:
        raise BadInputError(f"{text!r} is neither the number nor the key of a ledger row", "ledger") from None


def _show(session: Session, rows: Sequence[Recomputed]) -> None:
    if session.terminal.as_json:
        session.terminal.emit([_object(row) for row in rows])
        return
    cells = [
        (
            row.ledger_id,
            row.slot,
            row.model,
            row.usage.prompt_tokens,
            row.usage.cached_tokens,
            row.usage.completion_tokens,
            row.usage.searches,
            *(_usd(amount) for amount in (row.cost_usd, row.provider_cost_usd, row.stored_usd, row.recomputed_usd)),
            "" if row.is_equal else "DIFFERS",
        )
        for row in rows
    ]
    session.terminal.table(("row", "slot", "model", *COST_COLUMNS, ""), cells, right=COST_COLUMNS)
    equal = sum(row.is_equal for row in rows)
    session.terminal.say(f"{equal} of {counted(len(rows), 'row')} recomputed to the nano-dollar")


def _object(row: Recomputed) -> dict[str, Any]:
    return {**row.model_dump(mode="json"), "is_equal": row.is_equal}


def _usd(amount: Decimal | None) -> str:
    return "" if amount is None else format_usd(amount)
