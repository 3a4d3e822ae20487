"""What a run makes of errors: lost transitions to load again after, failures to park on, cancellation to obey."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from domain.errors import ClaimLostError, WorkflowTransitionError
    from domain.progress import Failure
    from domain.verdict import Reason

ResultT = TypeVar("ResultT")
LOST = frozenset({WorkflowTransitionError.__name__, ClaimLostError.__name__})


class StepFailedError(Exception):
    """A step can't go on by itself: X_FAILED with this failure, and a person decides."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def is_cancelled() -> bool:
    """Cancellation was asked for, also where an awaited activity swallowed it by giving its result."""
    return workflow.cancellation_reason() is not None


def stop_if_cancelled() -> None:
    if is_cancelled():
        raise asyncio.CancelledError


def is_cancellation(error: BaseException) -> bool:
    return is_cancelled() and (isinstance(error, asyncio.CancelledError) or is_cancelled_exception(error))


async def all_of(awaitables: Iterable[Awaitable[ResultT]]) -> list[ResultT]:
    """Results in order, when *every* one has ended: a plain gather raises with the first error and leaves the others
    in flight, and what is in flight may be spending money. Raises the first error then, or the cancellation."""
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    ended: list[ResultT] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        ended.append(result)
    return ended


def root_cause(error: BaseException) -> BaseException:
    """Through Temporal's envelopes to what an activity or child raised."""
    while isinstance(error, ActivityError | ChildWorkflowError) and error.cause is not None:
        error = error.cause
    return error


def is_lost(error: BaseException) -> bool:
    """The row moved on without this run: its progress has to be loaded again."""
    cause = root_cause(error)
    return isinstance(cause, ApplicationError) and cause.type in LOST


def failure_of(error: BaseException) -> Failure:
    cause = root_cause(error)
    kind = (cause.type if isinstance(cause, ApplicationError) else None) or type(cause).__name__
    message = getattr(cause, "message", None) or str(cause) or kind
    return Failure(type=kind, message=message, reasons=(Reason(code=kind, message=message),))
