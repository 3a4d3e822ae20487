"""Prices of models: dated rows of ``model_prices``, found by the exact alias map."""

from datetime import datetime

from db.errors import translated_errors
from db.pool import Connection
from domain.money import ModelPrice


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
