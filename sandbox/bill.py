"""The sandbox's own books: its price table, its token count and the file of what it charged.

Nothing here is shared with the pipeline's money code, because the pipeline's ledger is checked against this bill.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

_NANO_DOLLAR = Decimal("0.000000001")
_TOKEN = re.compile(r"[^\W\d_]{1,12}|\d{1,3}|[^\w\s]{1,4}|_|\s{2,}")
_TOKENS_PER_MESSAGE = 4


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens and per request, as the providers publish them."""

    input_usd_per_million: Decimal
    output_usd_per_million: Decimal
    usd_per_request: Decimal = Decimal(0)


PRICES: Mapping[str, Price] = {
    "perplexity/sonar": Price(Decimal(1), Decimal(1), Decimal("0.005")),
    "openai/gpt-4o-mini": Price(Decimal("0.15"), Decimal("0.60")),
    "openai/text-embedding-3-small": Price(Decimal("0.02"), Decimal(0)),
}


def price_of(model: str) -> Price | None:
    """The price of a model under its full name or the bare one (``gpt-4o-mini``); None for an unknown model."""
    bare = {name.partition("/")[2]: price for name, price in PRICES.items()}
    return PRICES.get(model) or bare.get(model)


def cost_of(price: Price, *, prompt_tokens: int, completion_tokens: int) -> Decimal:
    """US dollars, rounded up to the nano-dollar."""
    tokens = prompt_tokens * price.input_usd_per_million + completion_tokens * price.output_usd_per_million
    return round_up(tokens / 1_000_000 + price.usd_per_request)


def round_up(amount: Decimal) -> Decimal:
    return amount.quantize(_NANO_DOLLAR, rounding=ROUND_CEILING)


def cost_above_any_hold(*, request_bytes: int, messages: int, max_tokens: int) -> Decimal:
    """More than the most that the dearest model could charge for a request of that size."""
    prompt_bound = request_bytes + 16 * messages + 64
    dearest = max(cost_of(price, prompt_tokens=prompt_bound, completion_tokens=max_tokens) for price in PRICES.values())
    return round_up(dearest * 2 + Decimal("0.01"))


def count_tokens(text: str) -> int:
    """Deterministic, near a byte-pair tokenizer's count, and never more than the text has bytes."""
    return len(_TOKEN.findall(text))


def count_prompt_tokens(contents: Iterable[str], schema: str) -> int:
    """Tokens of the messages' texts and of the schema (JSON text), with a few for each message's frame."""
    texts = list(contents)
    return sum(count_tokens(text) + _TOKENS_PER_MESSAGE for text in texts) + count_tokens(schema)


def cut_to_tokens(text: str, tokens_max: int) -> tuple[str, bool]:
    """The text, or its beginning that has ``tokens_max`` tokens, and whether it was cut."""
    tokens = list(_TOKEN.finditer(text))
    if len(tokens) <= tokens_max:
        return text, False
    return text[: tokens[tokens_max - 1].end()], True


@dataclass(frozen=True)
class BillLine:
    """One charged request. ``cost_usd`` is an exact decimal as text, ``at`` an ISO time in UTC."""

    request_id: str
    client_request_id: str | None
    path: str
    model: str
    cost_usd: str
    at: str
    prompt_tokens: int
    completion_tokens: int

    def facts(self) -> dict[str, Any]:
        return asdict(self)


class Bill:
    """An append-only file, one fsynced JSON line per charge; a line torn by a kill was never charged.

    Raises ValueError when a whole line of the file can't be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lines = _read_whole_lines(path)

    def charge(self, line: BillLine) -> None:
        """Returns once the line is on disk."""
        with self._path.open("ab") as file:
            file.write(json.dumps(line.facts(), ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._lines.append(line)

    @property
    def lines(self) -> tuple[BillLine, ...]:
        return tuple(self._lines)

    def find(self, request_id: str) -> BillLine | None:
        return next((line for line in self._lines if line.request_id == request_id), None)


def _read_whole_lines(path: Path) -> list[BillLine]:
    if not path.exists():
        path.touch()
        _fsync_folder(path.parent)
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    return [_parse_line(path, number, text) for number, text in enumerate(whole.splitlines(), start=1)]


def _parse_line(path: Path, number: int, text: bytes) -> BillLine:
    try:
        return BillLine(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise ValueError(f"line {number} of the bill {path} can't be read ({error}): remove the file") from error


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
