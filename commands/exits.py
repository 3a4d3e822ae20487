"""How a command ends: its exit code, and the one line or object that says why."""

import contextlib
import os
import sys
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NoReturn

from domain.errors import (
    ClaimLostError,
    IdempotencyConflictError,
    PermanentError,
    PipelineError,
    WorkflowTransitionError,
)
from domain.states import State


class ExitCode(IntEnum):
    DONE = 0
    DEFECT = 1
    BAD_INPUT = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNREACHABLE = 5
    RUN_FAILED = 6
    INTERRUPTED = 130


class CommandError(Exception):
    """A command can't do what was asked. ``kind`` is what ``--json`` shows as ``error``."""

    def __init__(self, kind: str, message: str, exit_code: ExitCode, facts: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.exit_code = exit_code
        self.facts = facts or {}


@dataclass(frozen=True)
class Report:
    """An error as people and scripts are told of it."""

    exit_code: ExitCode
    kind: str
    message: str
    facts: dict[str, Any] = field(default_factory=dict)

    def as_object(self) -> dict[str, Any]:
        return {"error": self.kind, "message": self.message, **self.facts}


def not_found(message: str) -> CommandError:
    return CommandError("NotFoundError", message, ExitCode.NOT_FOUND)


def unreachable(message: str, kind: str = "UnreachableError") -> CommandError:
    return CommandError(kind, message, ExitCode.UNREACHABLE)


def conflict(
    message: str,
    *,
    current: State | None = None,
    expected: State | None = None,
    attempted: State | None = None,
    kind: str = "ConflictError",
) -> CommandError:
    """Every conflict names the three states, null where there is none."""
    facts = {"current_state": current, "expected_state": expected, "attempted_state": attempted}
    return CommandError(kind, message, ExitCode.CONFLICT, facts)


def report_of(error: BaseException) -> Report:
    """What any error that leaves a command means; one that nobody expected is a defect."""
    if isinstance(error, CommandError):
        return Report(error.exit_code, error.kind, _one_line(error), error.facts)
    if isinstance(error, PipelineError):
        return Report(exit_code_of(error), type(error).__name__, _one_line(error), error.facts())
    if type(error).__module__.startswith("temporalio."):
        message = f"Temporal answered with an error: {_one_line(error)}; check it with `starter.py doctor`"
        return Report(ExitCode.UNREACHABLE, type(error).__name__, message)
    if type(error).__name__ == "LocalStackError":
        return Report(ExitCode.UNREACHABLE, "LocalStackError", _one_line(error))
    if isinstance(error, TimeoutError):
        message = "a needed server did not answer in time; check with `starter.py doctor`"
        return Report(ExitCode.UNREACHABLE, "TimeoutError", message)
    hint = "this is a defect, or this machine; INFIN8_LOG_LEVEL=DEBUG shows where"
    return Report(ExitCode.DEFECT, type(error).__name__, f"{type(error).__name__}: {_one_line(error)} ({hint})")


def exit_code_of(error: PipelineError) -> ExitCode:
    if isinstance(error, WorkflowTransitionError):
        return ExitCode.NOT_FOUND if error.reason == "not_found" else ExitCode.CONFLICT
    if isinstance(error, IdempotencyConflictError | ClaimLostError):
        return ExitCode.CONFLICT
    return ExitCode.BAD_INPUT if isinstance(error, PermanentError) else ExitCode.UNREACHABLE


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


TEMPORAL_THREADS = "temporalio.bridge.temporal_sdk_bridge"


def end_process(code: int) -> NoReturn:
    """Ends with this code, whatever native threads do.

    Temporal's own threads outlive the event loop. One that wakes while the interpreter is being taken down aborts the
    process, and a command that was done would exit with 134; so the interpreter is not taken down where they run.
    """
    if TEMPORAL_THREADS not in sys.modules:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read it has left
            stream.flush()
    os._exit(code)
