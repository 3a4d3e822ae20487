"""What a gate says: what is wrong, where it stands in the checked text, and what to do about it."""

from collections.abc import Iterable

from domain.money import Frozen
from domain.verdict import Level, Reason

EXCERPT_CHARACTERS_MAX = 80


class Span(Frozen):
    """Characters ``start`` up to ``end`` (excluded) of the checked text; ``line`` counts from 1."""

    line: int
    start: int
    end: int


class Finding(Frozen):
    """``code`` is stable; ``message`` and ``fix`` are parts of one line, without a full stop; ``section`` is the number
    of the H2 section that can mend it (None: none can); ``excerpt`` is what stands at ``span``."""

    code: str
    message: str
    fix: str
    level: Level = Level.BLOCK
    span: Span | None = None
    excerpt: str = ""
    section: int | None = None

    @property
    def line(self) -> int | None:
        return self.span.line if self.span else None

    def as_reason(self) -> Reason:
        """The finding as a verdict carries it: ``subject`` names the section that a repair may write anew."""
        subject = f"section:{self.section}" if self.section else None
        message = f"{self.message}: {self.fix}." if self.fix else f"{self.message}."
        return Reason(code=self.code, message=message, subject=subject, level=self.level)


def blocking(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level is Level.BLOCK]


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Blocks first, then warnings, each from the first line to the last; what has no line comes last."""
    return sorted(
        findings,
        key=lambda one: (one.level is not Level.BLOCK, one.span is None, one.span.start if one.span else 0, one.code),
    )


def shortened(text: str, characters_max: int = EXCERPT_CHARACTERS_MAX) -> str:
    """The text as one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= characters_max else f"{line[: characters_max - 1].rstrip()}…"
