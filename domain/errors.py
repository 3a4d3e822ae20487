"""Every error this project raises on purpose.

    PipelineError
    ├── PermanentError                 trying again changes nothing; a person has to act
    │   ├── WorkflowTransitionError    illegal or lost transition (409; 404 when the row is not found)
    │   ├── ClaimLostError             another run holds the step: nothing may be spent, stored or completed
    │   ├── CapReachedError            an authorization was refused
    │   ├── IdempotencyConflictError   the same key came again with other facts
    │   ├── InvalidModelOutputError    the model's answer stayed invalid after its repairs
    │   ├── BadInputError              a brief, an argument, a file
    │   └── ConfigurationError         settings, credentials, migrations
    └── TransientError                 trying again later may work
        ├── DatabaseUnavailableError
        ├── ProviderUnavailableError
        └── RateLimitedError           carries the delay that was asked for

The class name is Temporal's error type. ``PERMANENT_ERROR_NAMES`` is the one list of what is never retried.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from domain.states import State


class PipelineError(Exception):
    """``str(error)`` is one clear line: what is wrong, which value, what to do."""

    def facts(self) -> dict[str, Any]:
        """Machine-readable facts, JSON-serializable, beside the message."""
        return {}


class PermanentError(PipelineError):
    pass


class TransientError(PipelineError):
    pass


class WorkflowTransitionError(PermanentError):
    """A refused transition with the true state of the row, like HTTP's 409 (404 for ``not_found``).

    ``reason`` is ``illegal``, ``conflict``, ``terminal`` or ``not_found``.
    """

    def __init__(
        self,
        *,
        workflow_id: UUID,
        reason: str,
        current_state: State | None,
        expected_state: State,
        attempted_state: State,
        current_version: int | None = None,
        expected_version: int | None = None,
    ) -> None:
        self.workflow_id = workflow_id
        self.reason = reason
        self.current_state = current_state
        self.expected_state = expected_state
        self.attempted_state = attempted_state
        self.current_version = current_version
        self.expected_version = expected_version
        super().__init__(self._message())

    def _message(self) -> str:
        if self.reason == "not_found":
            return f"workflow {self.workflow_id} does not exist for this organization; see `starter.py list`"
        return (
            f"workflow {self.workflow_id} can't go {self.expected_state} → {self.attempted_state} ({self.reason}): "
            f"it is in {self.current_state} at version {self.current_version}, "
            f"expected was version {self.expected_version}; look at `starter.py status {self.workflow_id}`"
        )

    @property
    def http_status(self) -> int:
        return 404 if self.reason == "not_found" else 409

    def facts(self) -> dict[str, Any]:
        return {
            "workflow_id": str(self.workflow_id),
            "reason": self.reason,
            "current_state": self.current_state,
            "expected_state": self.expected_state,
            "attempted_state": self.attempted_state,
            "current_version": self.current_version,
            "expected_version": self.expected_version,
        }


class ClaimLostError(PermanentError):
    """The row is no longer X_PROCESSING at the claim's version."""


class CapReachedError(PermanentError):
    """An authorization was refused; ``details`` are the figures of the scope that refused."""

    def __init__(self, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details = details or {}

    def facts(self) -> dict[str, Any]:
        return self.details


class IdempotencyConflictError(PermanentError):
    pass


class InvalidModelOutputError(PermanentError):
    pass


class BadInputError(PermanentError):
    """``field`` names the input at fault where there is one."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field

    def facts(self) -> dict[str, Any]:
        return {"field": self.field} if self.field else {}


class ConfigurationError(PermanentError):
    pass


class DatabaseUnavailableError(TransientError):
    pass


class ProviderUnavailableError(TransientError):
    pass


class RateLimitedError(TransientError):
    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


def _walk(root: type[PipelineError]) -> Iterator[type[PipelineError]]:
    yield root
    for child in root.__subclasses__():
        yield from _walk(child)


PERMANENT_ERROR_NAMES: tuple[str, ...] = tuple(error.__name__ for error in _walk(PermanentError))
