"""Exact amounts, prices, holds and costs.

US dollars are ``Decimal`` here, ``NUMERIC(20,9)`` in Postgres and strings in JSON; a float is an error.
"""

from decimal import ROUND_CEILING, Decimal, localcontext
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

NANO_DOLLAR = Decimal("0.000000001")
MILLION = Decimal(1_000_000)
TOKENS_PER_MESSAGE = 16
TOKENS_PER_REQUEST = 64
AMOUNT_USD_MAX = Decimal(100_000_000_000)  # NUMERIC(20,9) holds what is below it
COST_USD_CREDIBLE_MAX = Decimal(10_000)  # of one request
TOKENS_CREDIBLE_MAX = 10_000_000  # of one request, where no cost is stated beside them
COUNT_MAX = 10**15  # where one is: what the ledger's columns hold, with room
_DIGITS = 60  # products of counts and rates stay exact


def usd(value: str | int | Decimal) -> Decimal:
    """The one rounding rule: up to the next nano-dollar, in the house's favour. A float raises TypeError."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise TypeError(f"money must be str, int or Decimal, got {type(value).__name__} {value!r}")
    amount = Decimal(value)
    if not amount.is_finite() or abs(amount) >= AMOUNT_USD_MAX:
        raise ValueError(f"money must be finite and below {AMOUNT_USD_MAX} USD, got {value!r}")
    return amount.quantize(NANO_DOLLAR, rounding=ROUND_CEILING)


def _parse_usd(value: Any) -> Decimal:
    try:
        return usd(value)
    except (TypeError, ArithmeticError) as error:
        raise ValueError(str(error) or f"not an amount of money: {value!r}") from error


def format_usd(amount: Decimal) -> str:
    """Plain decimal notation without an exponent, at least two decimals, no further trailing zeros."""
    text = f"{amount:f}"
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


Usd = Annotated[Decimal, BeforeValidator(_parse_usd), PlainSerializer(format_usd, return_type=str)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelPrice(Frozen):
    """One dated row of ``model_prices``; US dollars per million tokens, per request, per search."""

    price_id: UUID
    model: str
    input_usd_per_million: Usd
    cached_input_usd_per_million: Usd
    output_usd_per_million: Usd
    usd_per_request: Usd = Decimal(0)
    usd_per_search: Usd = Decimal(0)


class Usage(Frozen):
    """What the provider says was used. ``cost_usd`` is its own figure, None where it gives none."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    cached_tokens: int = Field(default=0, ge=0)
    searches: int = Field(default=0, ge=0)
    cost_usd: Annotated[Usd, Field(ge=0)] | None = None


def usage_fault(usage: Usage) -> str | None:
    """Why a usage is no figure to book by, None when it is one: nobody's single request costs that much."""
    if usage.cost_usd is not None and usage.cost_usd > COST_USD_CREDIBLE_MAX:
        return f"a cost of ${format_usd(usage.cost_usd)} for one request is not credible"
    count = max(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.searches)
    if count > (TOKENS_CREDIBLE_MAX if usage.cost_usd is None else COUNT_MAX):
        return f"{count} tokens or searches in one request are not credible"
    return None


def prompt_token_bound(request_bytes: int, messages: int) -> int:
    """Most tokens a byte-level tokenizer can make of messages, schema and tools of that many UTF-8 bytes."""
    return request_bytes + TOKENS_PER_MESSAGE * messages + TOKENS_PER_REQUEST


def hold_for(price: ModelPrice, *, prompt_tokens: int, completion_tokens: int, searches: int = 0) -> Decimal:
    """The most a request can cost: dearest input rate, all of ``max_tokens``, request and search fees.

    ``request_hold`` in the database is the same rule and decides; this one forecasts.
    """
    with localcontext(prec=_DIGITS):
        input_rate = max(price.input_usd_per_million, price.cached_input_usd_per_million)
        tokens = prompt_tokens * input_rate + completion_tokens * price.output_usd_per_million
        return usd(tokens / MILLION + price.usd_per_request + searches * price.usd_per_search)


def computed_cost(price: ModelPrice, usage: Usage) -> Decimal:
    """What the usage costs by our own price row; ``usage_cost`` in the database is the same rule and books."""
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    fresh = usage.prompt_tokens - cached
    with localcontext(prec=_DIGITS):
        tokens = (
            fresh * price.input_usd_per_million
            + cached * price.cached_input_usd_per_million
            + usage.completion_tokens * price.output_usd_per_million
        )
        return usd(tokens / MILLION + price.usd_per_request + usage.searches * price.usd_per_search)
