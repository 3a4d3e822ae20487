"""What a step's deterministic judgement says, and what follows from it."""

from enum import StrEnum
from typing import Any, Generic, TypeVar

from pydantic import Field

from domain.money import Frozen


class Level(StrEnum):
    PASS = "pass"  # noqa: S105 -- a verdict, not a secret
    WARN = "warn"
    BLOCK = "block"


class Reason(Frozen):
    """``code`` is machine-readable and stable, ``message`` one clear line, ``subject`` what it is about."""

    code: str
    message: str
    subject: str | None = None
    level: Level = Level.BLOCK


class Verdict(Frozen):
    """Stored with the output it judges; ``values`` are the settings it used, so that it can be recomputed offline."""

    level: Level
    reasons: tuple[Reason, ...] = ()
    values: dict[str, Any] = Field(default_factory=dict)


def verdict_of(reasons: list[Reason], values: dict[str, Any] | None = None) -> Verdict:
    """The worst level among the reasons; pass when there is none."""
    levels = {reason.level for reason in reasons}
    level = Level.BLOCK if Level.BLOCK in levels else Level.WARN if Level.WARN in levels else Level.PASS
    return Verdict(level=level, reasons=tuple(reasons), values=values or {})


OutputT = TypeVar("OutputT")


class Completed(Frozen, Generic[OutputT]):
    """The answer is good: pass or warn."""

    output: OutputT
    verdict: Verdict


class Blocked(Frozen):
    """The answer must not go on; ``output`` is what there is of it, for people to look at."""

    verdict: Verdict
    output: dict[str, Any] | None = None


class AskAgain(Frozen):
    """The answer is rejected and asked anew with this message (the validator's words)."""

    message: str
