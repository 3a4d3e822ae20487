"""Prices of models: dated rows of ``model_prices``, found by the exact alias map, added and never changed."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg

from db.errors import translated_errors
from db.pool import Connection
from domain.money import Frozen, ModelPrice, Usage, Usd, computed_cost, format_usd
from domain.prices import RATES, NewPrice


class PriceRow(ModelPrice):
    """A price with its period. ``is_used``: an attempt or a ledger row that the connection sees points at it."""

    effective_from: datetime
    effective_until: datetime | None
    is_in_force: bool
    is_used: bool
    aliases: tuple[str, ...]


class PriceOutcome(StrEnum):
    ADDED = "added"
    EXISTING = "existing"
    REPLACED = "replaced"


class AddedPrice(Frozen):
    """``ended_price_id`` is the price whose period ends where this one begins, None when there was none."""

    model: str
    price_id: UUID
    outcome: PriceOutcome
    ended_price_id: UUID | None
    effective_from: datetime
    effective_until: datetime | None
    aliases_added: tuple[str, ...] = ()


class Recomputed(Frozen):
    """A ledger row beside what its usage costs by its price row. Both costs are None where there is no usage (nothing
    was billed, written off, a person's correction) or no price (an answer of a model without one)."""

    ledger_id: int
    idempotency_key: UUID
    workflow_id: UUID
    entry: str
    step: str
    slot: str
    model: str
    usage: Usage
    price: ModelPrice | None
    cost_usd: Usd
    provider_cost_usd: Usd | None
    stored_usd: Usd | None
    recomputed_usd: Usd | None

    @property
    def is_equal(self) -> bool:
        return self.stored_usd == self.recomputed_usd


async def canonical_model(connection: Connection, model: str) -> str:
    """The name that prices and ledger use for a model; a name without an alias is its own."""
    with translated_errors():
        name: str = await connection.fetchval("SELECT canonical_model($1)", model)
    return name


async def price_of(connection: Connection, model: str, at: datetime | None = None) -> ModelPrice | None:
    """The price row in force at a time (aware; now by the database's clock when not given), None when unknown."""
    with translated_errors():
        row = await connection.fetchrow(
            """
            SELECT price_id, model, input_usd_per_million, cached_input_usd_per_million, output_usd_per_million,
                usd_per_request, usd_per_search
            FROM price_at(canonical_model($1), coalesce($2, clock_timestamp()))
            WHERE price_id IS NOT NULL
            """,
            model,
            at,
        )
    return None if row is None else ModelPrice(**row)


async def prices_of(connection: Connection, models: Iterable[str]) -> dict[str, ModelPrice]:
    """The prices in force now by the names that were asked for; a model without one is left out."""
    found = {model: await price_of(connection, model) for model in models}
    return {model: price for model, price in found.items() if price is not None}


async def list_prices(connection: Connection) -> list[PriceRow]:
    """By model, then by time. Only the operator's role sees the use that every organization made of them."""
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT price_id, model, input_usd_per_million, cached_input_usd_per_million, output_usd_per_million,
                usd_per_request, usd_per_search, effective_from, effective_until,
                effective_from <= now() AND coalesce(now() < effective_until, true) AS is_in_force,
                EXISTS (SELECT FROM spend_attempts AS attempt WHERE attempt.price_id = price.price_id)
                    OR EXISTS (SELECT FROM ai_usage_ledger AS ledger WHERE ledger.price_id = price.price_id)
                    AS is_used,
                ARRAY(SELECT alias FROM model_aliases AS names WHERE names.model = price.model ORDER BY alias)
                    AS aliases
            FROM model_prices AS price ORDER BY model, effective_from
            """
        )
    return [PriceRow(**row) for row in rows]


async def add_price(connection: Connection, price: NewPrice, *, actor: str) -> AddedPrice:
    """Adds a price and its aliases; the price that runs at its time ends there. As the operator's role alone.

    Raises BadInputError when it would change what was, or may have been, charged already.
    """
    facts = {name: format_usd(getattr(price, name)) for name in RATES}
    moment = None if price.effective_from is None else price.effective_from.isoformat()
    with translated_errors():
        row = await connection.fetchrow(
            """
            SELECT price_id, outcome, ended_price_id, effective_from, effective_until FROM add_model_price($1, $2)
            """,
            {"model": price.model, **facts, "effective_from": moment},
            actor,
        )
    assert row is not None  # noqa: S101 -- the function returns one row
    aliases = tuple([alias for alias in price.aliases if await add_alias(connection, alias, price.model, actor=actor)])
    return AddedPrice(model=price.model, aliases_added=aliases, **row)


async def add_alias(connection: Connection, alias: str, model: str, *, actor: str) -> bool:
    """Whether the name is new; raises BadInputError when it stands for another model. As the operator's role alone."""
    with translated_errors():
        is_new: bool = await connection.fetchval("SELECT add_model_alias($1, $2, $3)", alias, model, actor)
    return is_new


async def recompute(
    connection: Connection, *, workflow_id: UUID | None = None, ledger_key: UUID | int | None = None
) -> list[Recomputed]:
    """Ledger rows recomputed from what they store, in the order they were booked.

    Of a workflow, of one row (``ledger_key``: its number, its idempotency key or its attempt), or of all.
    """
    key = ledger_key if isinstance(ledger_key, UUID) else None
    number = ledger_key if isinstance(ledger_key, int) else None
    with translated_errors():
        rows = await connection.fetch(
            """
            SELECT ledger.id AS ledger_id, ledger.idempotency_key, ledger.workflow_id, ledger.entry, ledger.step,
                ledger.slot, ledger.model, ledger.prompt_tokens, ledger.cached_tokens, ledger.completion_tokens,
                ledger.searches, ledger.cost, ledger.provider_cost_usd, ledger.computed_cost_usd, ledger.price_id,
                price.model AS price_model, price.input_usd_per_million, price.cached_input_usd_per_million,
                price.output_usd_per_million, price.usd_per_request, price.usd_per_search
            FROM ai_usage_ledger AS ledger LEFT JOIN model_prices AS price USING (price_id)
            WHERE ($1::uuid IS NULL OR ledger.workflow_id = $1)
                AND ($2::uuid IS NULL OR $2 IN (ledger.idempotency_key, ledger.attempt_id))
                AND ($3::bigint IS NULL OR ledger.id = $3)
            ORDER BY ledger.id
            """,
            workflow_id,
            key,
            number,
        )
    return [_recomputed(row) for row in rows]


def _recomputed(row: asyncpg.Record) -> Recomputed:
    usage = Usage(
        prompt_tokens=row["prompt_tokens"],
        cached_tokens=row["cached_tokens"],
        completion_tokens=row["completion_tokens"],
        searches=row["searches"],
    )
    price = _price(row)
    has_usage = usage != Usage(prompt_tokens=0, completion_tokens=0) or row["computed_cost_usd"] is not None
    return Recomputed(
        usage=usage,
        price=price,
        cost_usd=row["cost"],
        stored_usd=row["computed_cost_usd"],
        recomputed_usd=computed_cost(price, usage) if price is not None and has_usage else None,
        **{name: row[name] for name in ("ledger_id", "idempotency_key", "workflow_id", "entry", "step", "slot")},
        model=row["model"],
        provider_cost_usd=row["provider_cost_usd"],
    )


def _price(row: asyncpg.Record) -> ModelPrice | None:
    if row["price_id"] is None:
        return None
    return ModelPrice(price_id=row["price_id"], model=row["price_model"], **{name: row[name] for name in RATES})
