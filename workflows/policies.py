"""Timeouts and retries of every activity, in one place.

Temporal owns all retries. A database activity is tried for ever: an outage pauses a run and heals. What is permanent
is listed once, in ``domain.errors.PERMANENT_ERROR_NAMES``, and is never tried again.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypedDict, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from domain.errors import PERMANENT_ERROR_NAMES
    from domain.settings import ActivityTimeouts

ActivitiesT = TypeVar("ActivitiesT")
RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")

PAYLOADS_TOO_LARGE = "PayloadsTooLarge"
LLM_QUEUE_SUFFIX = "-llm"
WEB_QUEUE_SUFFIX = "-web"
TOLD_SECONDS_MAX = 60.0


def _retries(timeouts: ActivityTimeouts) -> RetryPolicy:
    return RetryPolicy(
        initial_interval=timedelta(seconds=timeouts.retry_first_seconds),
        backoff_coefficient=2,
        maximum_interval=timedelta(seconds=timeouts.retry_longest_seconds),
        maximum_attempts=0,  # for ever
        non_retryable_error_types=[*PERMANENT_ERROR_NAMES, PAYLOADS_TOO_LARGE],
    )


async def in_database(
    method: Callable[[ActivitiesT, RequestT], Awaitable[ResultT]],
    request: RequestT,
    timeouts: ActivityTimeouts,
    summary: str,
) -> ResultT:
    """A short transaction, tried until the database is back; not torn away by a cancellation."""
    return await workflow.execute_activity_method(
        method,
        request,
        start_to_close_timeout=timedelta(seconds=timeouts.database_seconds),
        retry_policy=_retries(timeouts),
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary,
    )


async def at_provider(
    method: Callable[[ActivitiesT, RequestT], Awaitable[ResultT]],
    request: RequestT,
    timeouts: ActivityTimeouts,
    summary: str,
    *,
    queue: str,
) -> ResultT:
    """A paid call. Retries cover a dead worker or a database outage only: the request itself is never sent twice.
    A cancellation waits for its answer."""
    return await workflow.execute_activity_method(
        method,
        request,
        **_long(timeouts, queue + LLM_QUEUE_SUFFIX, timeouts.call_seconds),
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary,
    )


async def on_the_web(
    method: Callable[[ActivitiesT, RequestT], Awaitable[ResultT]],
    request: RequestT,
    timeouts: ActivityTimeouts,
    summary: str,
    *,
    queue: str,
) -> ResultT:
    """Crawling and publishing: unpaid, idempotent, tried until done; a cancellation doesn't wait for it."""
    return await workflow.execute_activity_method(
        method,
        request,
        **_long(timeouts, queue + WEB_QUEUE_SUFFIX, timeouts.web_seconds),
        cancellation_type=ActivityCancellationType.TRY_CANCEL,
        summary=summary,
    )


async def told_outside(
    method: Callable[[ActivitiesT, RequestT], Awaitable[ResultT]], request: RequestT, summary: str, *, queue: str
) -> ResultT:
    """Something that others may be told and nothing here hangs on: a few tries within a minute, then never mind."""
    return await workflow.execute_activity_method(
        method,
        request,
        task_queue=queue + WEB_QUEUE_SUFFIX,
        start_to_close_timeout=timedelta(seconds=TOLD_SECONDS_MAX / 4),
        schedule_to_close_timeout=timedelta(seconds=TOLD_SECONDS_MAX),
        retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
        cancellation_type=ActivityCancellationType.TRY_CANCEL,
        summary=summary,
    )


class _Long(TypedDict):
    task_queue: str
    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy


def _long(timeouts: ActivityTimeouts, queue: str, seconds: float) -> _Long:
    """Work of seconds to minutes on a queue of its own, watched by heartbeats so that a dead worker is noticed."""
    return _Long(
        task_queue=queue,
        start_to_close_timeout=timedelta(seconds=seconds),
        heartbeat_timeout=timedelta(seconds=timeouts.heartbeat_seconds),
        retry_policy=_retries(timeouts),
    )
