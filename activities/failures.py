"""Errors on their way from an activity to a run: the class name is the type, the facts are the details."""

from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from domain.errors import PermanentError, PipelineError, TransientError


class FailureInterceptor(Interceptor):
    """Wraps every activity of a worker."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _FailureInbound(next)


class _FailureInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except PipelineError as error:
            # The causes of an outage are told in its one line. With their stack traces a failure is longer than the
            # server shows of a pending activity, which then says "Failure exceeds size limit" instead.
            cause = None if isinstance(error, TransientError) else error
            raise ApplicationError(
                str(error),
                error.facts(),
                type=type(error).__name__,
                non_retryable=isinstance(error, PermanentError),
            ) from cause
