"""The one place that writes to the terminal: text for people, JSON for scripts, never both."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_WITHOUT_TERMINAL = 110
WIDTH_MAX = 140
PIPE_TABLE_WIDTH = 1_000  # a table in a pipe is as wide as its content: nothing is cut or folded


class Terminal:
    """``as_json``: only ``emit`` and ``error`` write. Colours and movement are for terminals that can show them."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    @cached_property
    def console(self) -> "Console":
        from rich.console import Console

        width = None if sys.stdout.isatty() else PIPE_TABLE_WIDTH
        return Console(file=sys.stdout, markup=False, emoji=False, highlight=False, width=width)

    @property
    def is_live(self) -> bool:
        """A person watches, on a terminal that can redraw a line."""
        return not self.as_json and self.console.is_terminal and not self.console.is_dumb_terminal

    @property
    def can_ask(self) -> bool:
        return not self.as_json and sys.stdin.isatty() and sys.stdout.isatty()

    @property
    def width(self) -> int:
        return min(shutil.get_terminal_size((WIDTH_WITHOUT_TERMINAL, 24)).columns, WIDTH_MAX)

    def say(self, text: str = "", style: str = "") -> None:
        if not self.as_json:
            with _reader_may_leave():
                self.console.print(text, style=style or None, soft_wrap=True)
                sys.stdout.flush()

    def note(self, text: str) -> None:
        """Beside the result, on standard error; nothing under ``--json``."""
        if not self.as_json:
            sys.stderr.write(f"{text}\n")

    def emit(self, value: Any) -> None:
        """The one JSON value of a command."""
        self._write(json.dumps(value, ensure_ascii=False, indent=2, default=str))

    def emit_line(self, value: Any) -> None:
        """One of many JSON values, a line each."""
        self._write(json.dumps(value, ensure_ascii=False, default=str))

    def _write(self, text: str) -> None:
        with _reader_may_leave():
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
        """Aligned columns; those named in ``right`` to the right. Long cells fold, nothing is cut."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*("" if cell is None else str(cell) for cell in row))
        if not self.as_json:
            with _reader_may_leave():
                self.console.print(table)

    def error(self, message: str, facts: dict[str, Any]) -> None:
        """One line for a person, one object for a script."""
        text = json.dumps(facts, ensure_ascii=False, default=str) if self.as_json else f"starter: {message}"
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """What reads our output may have seen enough (``| head``): the work goes on, unheard."""
    try:
        yield
    except (BrokenPipeError, SystemExit):  # the latter is how rich says the former
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def dollars(amount: Decimal) -> str:
    """Four decimals, more only where fewer would show nothing of an amount; the exact figure is in the JSON."""
    shown = amount.quantize(Decimal("0.0001"), rounding=ROUND_HALF_UP)
    if amount and not shown:
        return f"${amount.normalize():f}"
    if shown == shown.quantize(Decimal("0.01")):
        return f"${shown:.2f}"
    return f"${shown:.4f}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    return f"{hours} h" if hours < 48 else f"{round(seconds / 86400)} days"


def counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
