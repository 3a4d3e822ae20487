"""The one place where the database's errors become ours.

Functions in ``db/functions`` refuse with SQLSTATEs of their own (class ``IN``) and the facts as JSON in DETAIL:

    IN001  WorkflowTransitionError   DETAIL = the facts of the class
    IN002  IdempotencyConflictError
    IN003  ClaimLostError
    IN004  BadInputError             DETAIL = {"field": …} or none
    IN005  CapReachedError           DETAIL = its details

Constraint violations are told apart by the constraint's name, everything else by SQLSTATE class.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import asyncpg

from domain.errors import (
    BadInputError,
    CapReachedError,
    ClaimLostError,
    ConfigurationError,
    DatabaseUnavailableError,
    IdempotencyConflictError,
    PipelineError,
    WorkflowTransitionError,
)
from domain.states import State

DATABASE_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

CONSTRAINTS: dict[str, tuple[type[PipelineError], str]] = {
    "workflow_name_unique": (
        IdempotencyConflictError,
        "the organization already has a workflow of this name with another brief; choose another name",
    ),
    "intent_workflows_pkey": (IdempotencyConflictError, "a workflow with this id exists already"),
    "workflow_cap_positive": (BadInputError, "the cap of a workflow must be above 0"),
    "workflow_failure_only_when_failed": (
        BadInputError,
        "a failure can be noted on a workflow in a FAILED state only; advance it first",
    ),
}

# SQLSTATEs, or their first characters, after which the same call may succeed later.
PASSING_SQLSTATES = (
    "08",  # connection lost or refused
    "25006",  # read-only: a standby that was the primary a moment ago
    "25P03",  # our own time limit on an idle transaction
    "25P04",
    "26",  # a prepared statement that a pooler or a reconnect forgot
    "40",  # rolled back: deadlock, serialization
    "53",  # out of connections, memory or disk
    "55006",
    "55P03",  # lock not available in time
    "57",  # cancelled by a time limit, shut down, starting up
    "58",  # the server's own I/O
    "72",
    "F0001",
    "XX",  # internal to the server
)
BAD_INPUT_SQLSTATES = ("21", "22")


def translate(error: BaseException) -> PipelineError:
    """The error of ``domain.errors`` for one of asyncpg's, or of the network's, that a call ended with."""
    if isinstance(error, asyncpg.PostgresError):
        return _translate_sqlstate(error)
    if isinstance(error, asyncpg.DataError):  # asyncpg's own, for an argument it can't encode
        return BadInputError(f"the database can't store this value: {_line(error)}")
    if isinstance(error, asyncpg.OutdatedSchemaCacheError):
        return _unavailable(error)
    if _is_misuse(error):
        return ConfigurationError(f"the database client was used wrongly: {_line(error)}; this is a defect, report it")
    return _unavailable(error)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Errors of the database leave the block as errors of ``domain.errors``; all others pass."""
    try:
        yield
    except DATABASE_ERRORS as error:
        raise translate(error) from error


def _translate_sqlstate(error: asyncpg.PostgresError) -> PipelineError:
    sqlstate: str = error.sqlstate or ""
    if sqlstate in _REFUSALS:
        return _REFUSALS[sqlstate](str(error.args[0]), _facts(error))
    if sqlstate.startswith("23"):
        return _translate_constraint(error)
    if sqlstate.startswith(PASSING_SQLSTATES):
        return _unavailable(error)
    if sqlstate.startswith(BAD_INPUT_SQLSTATES):
        return BadInputError(f"the database refused a value: {_line(error)}")
    return ConfigurationError(
        f"the database refused the statement ({sqlstate or 'no SQLSTATE'}): {_line(error)}; "
        "check its role and that the migrations of this version were applied"
    )


def _translate_constraint(error: asyncpg.PostgresError) -> PipelineError:
    name = error.constraint_name or ""
    if name in CONSTRAINTS:
        kind, message = CONSTRAINTS[name]
        return kind(message)
    message = f"the database refused a row that breaks the rule {name or 'without a name'}: {_line(error)}"
    if isinstance(error, asyncpg.UniqueViolationError):
        return IdempotencyConflictError(message)
    return BadInputError(message)


def _transition_refused(message: str, facts: dict[str, Any]) -> PipelineError:
    try:
        current = facts["current_state"]
        return WorkflowTransitionError(
            workflow_id=UUID(facts["workflow_id"]),
            reason=facts["reason"],
            current_state=None if current is None else State(current),
            expected_state=State(facts["expected_state"]),
            attempted_state=State(facts["attempted_state"]),
            current_version=facts["current_version"],
            expected_version=facts["expected_version"],
        )
    except (ValueError, TypeError, AttributeError):  # asked for with a state or an id that is none
        return BadInputError(message)


_REFUSALS: dict[str, Callable[[str, dict[str, Any]], PipelineError]] = {
    "IN001": _transition_refused,
    "IN002": lambda message, _facts: IdempotencyConflictError(message),
    "IN003": lambda message, _facts: ClaimLostError(message),
    "IN004": lambda message, facts: BadInputError(message, facts.get("field")),
    "IN005": CapReachedError,
}


def _facts(error: asyncpg.PostgresError) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(error.detail) if error.detail else {}
    return facts


def _is_misuse(error: BaseException) -> bool:
    """asyncpg has one class for a lost connection and for a wrong call; only its words tell them apart."""
    if isinstance(error, asyncpg.InternalClientError):
        return isinstance(error, asyncpg.TargetServerAttributeNotMatched)
    if not isinstance(error, asyncpg.InterfaceError):
        return False
    return not any(word in str(error) for word in ("closed", "closing", "released"))


def _unavailable(error: BaseException) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(
        f"the database is not available ({_line(error)}); check that Postgres runs and the DSN is right"
    )


def _line(error: BaseException) -> str:
    lines = str(error).split("\n")
    return lines[0] or type(error).__name__
