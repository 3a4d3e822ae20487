"""MaintenanceWorkflow: what nobody else will do: leave no hold open, and no row without its run.

A Schedule starts it every minute or so (``workflows/schedule.py``). It keeps nothing: a pass that dies is followed
by the next, which looks at everything again.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from workflows.failures import failure_of, is_cancelled
from workflows.policies import LLM_QUEUE_SUFFIX, ActivitiesT, RequestT, ResultT, in_database

with workflow.unsafe.imports_passed_through():
    from activities.reconciliation import (
        CloseBooks,
        ConsistencyActivities,
        LookUpActivities,
        LookUpCosts,
        Pass,
        ReconciliationActivities,
        Resolved,
    )
    from domain.money import Frozen
    from domain.reconciliation import LookedUp, ReconciliationReport, RunsReport, report_lines
    from domain.settings import ActivityTimeouts

WORKFLOW_NAME = "MaintenanceWorkflow"


class Maintain(Frozen):
    """``queue`` is the workflows' task queue; costs are looked up on the paid calls' queue beside it, if a worker takes
    that up within ``worker_seconds``."""

    queue: str
    timeouts: ActivityTimeouts = ActivityTimeouts()
    worker_seconds: float = 30


@workflow.defn(name=WORKFLOW_NAME)
class MaintenanceWorkflow:
    @workflow.run
    async def run(self, maintain: Maintain) -> ReconciliationReport:
        timeouts = maintain.timeouts
        resolved = await in_database(ReconciliationActivities.resolve_due, Pass(), timeouts, "what is due")
        looked_up, trouble = await self._look_up(maintain, resolved)
        close = CloseBooks(resolved=resolved, looked_up=tuple(looked_up), trouble=trouble)
        money = await in_database(ReconciliationActivities.close_books, close, timeouts, "book and report")
        runs, runs_trouble = await self._compare(maintain)
        report = ReconciliationReport(money=money, runs=runs, runs_trouble=runs_trouble)
        workflow.set_current_details("\n".join(f"- {line}" for line in report_lines(report)))
        return report

    async def _look_up(self, maintain: Maintain, resolved: Resolved) -> tuple[list[LookedUp], str]:
        """What the provider says. It is asked again by the next pass: an outage of its own holds nothing else up."""
        if not resolved.look_ups:
            return [], ""
        request = LookUpCosts(look_ups=resolved.look_ups)
        summary = f"look up {len(resolved.look_ups)} costs"
        found, trouble = await _once(
            LookUpActivities.look_up_costs,
            request,
            summary,
            maintain,
            queue=maintain.queue + LLM_QUEUE_SUFFIX,
            seconds=maintain.timeouts.call_seconds,
        )
        return found or [], trouble

    async def _compare(self, maintain: Maintain) -> tuple[RunsReport | None, str]:
        return await _once(
            ConsistencyActivities.compare_runs,
            Pass(),
            "compare rows with runs",
            maintain,
            queue=maintain.queue,
            seconds=maintain.timeouts.web_seconds,
        )


async def _once(
    method: Callable[[ActivitiesT, RequestT], Awaitable[ResultT]],
    request: RequestT,
    summary: str,
    maintain: Maintain,
    *,
    queue: str,
    seconds: float,
) -> tuple[ResultT | None, str]:
    """The result, or why there is none."""
    try:
        result = await workflow.execute_activity_method(
            method,
            request,
            task_queue=queue,
            start_to_close_timeout=timedelta(seconds=seconds),
            schedule_to_start_timeout=timedelta(seconds=maintain.worker_seconds),
            heartbeat_timeout=timedelta(seconds=maintain.timeouts.heartbeat_seconds),
            retry_policy=RetryPolicy(maximum_attempts=1),
            summary=summary,
        )
    except ActivityError as error:
        if is_cancelled():
            raise
        return None, failure_of(error).message
    return result, ""
