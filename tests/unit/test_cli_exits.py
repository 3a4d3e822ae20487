"""Every error a command can meet: its exit code, its one line, its object."""

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from commands import exits
from commands.exits import CommandError, ExitCode, conflict, not_found, report_of, unreachable
from commands.runs import refusal
from domain import errors
from domain.errors import BadInputError, PipelineError, WorkflowTransitionError
from domain.states import State
from sandbox.processes import LocalStackError


def transition_error(reason: str) -> WorkflowTransitionError:
    return WorkflowTransitionError(
        workflow_id=uuid4(),
        reason=reason,
        current_state=None if reason == "not_found" else State.ICP_FAILED,
        expected_state=State.SEED_REVIEW_PENDING,
        attempted_state=State.SEED_REVIEW_COMPLETED,
        current_version=4,
        expected_version=3,
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadInputError("x", "cap_usd"), ExitCode.BAD_INPUT),
        (errors.ConfigurationError("x"), ExitCode.BAD_INPUT),
        (errors.IdempotencyConflictError("x"), ExitCode.CONFLICT),
        (errors.ClaimLostError("x"), ExitCode.CONFLICT),
        (transition_error("conflict"), ExitCode.CONFLICT),
        (transition_error("terminal"), ExitCode.CONFLICT),
        (transition_error("not_found"), ExitCode.NOT_FOUND),
        (errors.DatabaseUnavailableError("x"), ExitCode.UNREACHABLE),
        (errors.ProviderUnavailableError("x"), ExitCode.UNREACHABLE),
        (LocalStackError("x"), ExitCode.UNREACHABLE),
        (RPCError("x", RPCStatusCode.UNAVAILABLE, b""), ExitCode.UNREACHABLE),
        (TimeoutError(), ExitCode.UNREACHABLE),
        (not_found("x"), ExitCode.NOT_FOUND),
        (unreachable("x"), ExitCode.UNREACHABLE),
        (conflict("x"), ExitCode.CONFLICT),
        (KeyError("x"), ExitCode.DEFECT),
    ],
)
def test_the_exit_code_of_an_error(error: Exception, code: ExitCode) -> None:
    report = report_of(error)
    assert report.exit_code is code
    assert report.message
    assert "\n" not in report.message


def test_every_error_of_ours_has_an_exit_code() -> None:
    for error in errors._walk(PipelineError):
        if error.__module__ != errors.__name__ or error is WorkflowTransitionError:
            continue
        assert report_of(error("x")).exit_code is not ExitCode.DEFECT, error


def test_a_message_of_several_lines_becomes_one() -> None:
    assert report_of(BadInputError("one\n  two\n")).message == "one two"


def test_the_object_of_a_conflict_names_the_three_states() -> None:
    shown = report_of(conflict("no", current=State.CREATED)).as_object()
    assert shown == {
        "error": "ConflictError",
        "message": "no",
        "current_state": "CREATED",
        "expected_state": None,
        "attempted_state": None,
    }
    shown = report_of(transition_error("conflict")).as_object()
    assert (shown["current_state"], shown["expected_state"], shown["attempted_state"]) == (
        "ICP_FAILED",
        "SEED_REVIEW_PENDING",
        "SEED_REVIEW_COMPLETED",
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (transition_error("conflict"), ExitCode.CONFLICT),
        (transition_error("not_found"), ExitCode.NOT_FOUND),
        (BadInputError("x", "approve"), ExitCode.BAD_INPUT),
        (errors.IdempotencyConflictError("x"), ExitCode.CONFLICT),
        (errors.CapReachedError("x", {"cap_usd": "1.00"}), ExitCode.BAD_INPUT),
        (errors.DatabaseUnavailableError("x"), ExitCode.UNREACHABLE),
    ],
)
def test_a_runs_refusal_keeps_type_facts_and_exit_code(error: PipelineError, code: ExitCode) -> None:
    found = refusal(ApplicationError(str(error), error.facts(), type=type(error).__name__))
    assert isinstance(found, CommandError)
    assert (found.exit_code, found.kind, found.facts) == (code, type(error).__name__, error.facts())
    assert str(found) == str(error)


def test_a_refusal_of_an_unknown_kind_is_a_defect() -> None:
    assert refusal(ApplicationError("x", type="PayloadsTooLarge")).exit_code is ExitCode.DEFECT
    assert refusal(None).exit_code is ExitCode.UNREACHABLE


def test_a_process_with_temporals_threads_ends_with_its_code_and_says_all() -> None:
    """Also when a thread would abort the interpreter's own end; buffered words are written."""
    script = (
        "import atexit, os, sys, temporalio.bridge.temporal_sdk_bridge\n"
        "from commands.exits import end_process\n"
        "atexit.register(os.abort)\n"
        "print('done')\n"
        "end_process(4)\n"
    )
    root = Path(exits.__file__).parents[1]
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (4, "done\n")
