"""Temporal's side of a command: starting a run, sending it a decision, cancelling it, asking whether it is alive."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from commands.exits import CommandError, ExitCode, conflict, exit_code_of, unreachable
from config import Settings
from db.workflows import WorkflowRecord
from domain import errors
from domain.decisions import Decision
from domain.identifiers import temporal_workflow_id
from domain.progress import Progress, WorkflowRef
from domain.settings import StepSettings
from domain.states import State
from workflows.intent import INTENT_STATE, INTENT_WORKFLOW_ID, ORGANIZATION_ID, IntentInput, IntentWorkflow
from workflows.status_card import PARKED_PREFIX

ANSWER_SECONDS_MAX = 20.0
RETRIEVE_SECONDS = 0.1
TASK_WAITS_SECONDS_MAX = 8.0  # a workflow task that waits longer has no worker
METADATA_QUERY = "__temporal_workflow_metadata"
QUERY_SECONDS_MAX = 5.0

REPEAT = "then repeat the command, which is safe"


@dataclass(frozen=True)
class Run:
    """A run as the command line needs it; ``run_id`` is None where there is none."""

    run_id: str | None
    is_open: bool


def run_arguments(settings: Settings, record: WorkflowRecord) -> dict[str, Any]:
    """How the run of a row is started, by whichever command: always the same."""
    name = str(record.brief["organization"]["name"])
    timeouts = StepSettings.model_validate(record.settings).timeouts
    return {
        "arg": IntentInput(
            ref=WorkflowRef(workflow_id=record.workflow_id, organization_id=record.organization_id),
            queue=settings.task_queue,
            own_url=record.brief["organization"]["url"],
            organization_name=name,
            timeouts=timeouts,
        ),
        "id": temporal_workflow_id(record.organization_id, record.workflow_id),
        "task_queue": settings.task_queue,
        "task_timeout": timedelta(seconds=timeouts.workflow_task_seconds),
        "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
        "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
        "priority": Priority(fairness_key=str(record.organization_id)),
        "static_summary": f"{name} · {record.name}",
        "search_attributes": TypedSearchAttributes(
            [
                SearchAttributePair(ORGANIZATION_ID, str(record.organization_id)),
                SearchAttributePair(INTENT_WORKFLOW_ID, str(record.workflow_id)),
                SearchAttributePair(INTENT_STATE, str(record.state)),
            ]
        ),
    }


async def start_run(client: Client, settings: Settings, record: WorkflowRecord) -> str | None:
    """The id of the row's run, started now or open already."""
    try:
        handle = await client.start_workflow(IntentWorkflow.run, **run_arguments(settings, record))
    except WorkflowAlreadyStartedError as error:
        raise _has_ended(record) from error
    return handle.result_run_id


async def send(
    client: Client,
    settings: Settings,
    record: WorkflowRecord,
    update: str,
    decision: Decision,
    *,
    timeout_seconds: float = ANSWER_SECONDS_MAX,
) -> Progress:
    """A person's decision to the row's run, which is started if there is none; where the row stands afterwards.

    Raises the run's refusal with its exit code, and after the timeout that no worker answers.
    """
    operation = WithStartWorkflowOperation(IntentWorkflow.run, **run_arguments(settings, record))
    try:
        async with asyncio.timeout(timeout_seconds):
            progress: Progress = await client.execute_update_with_start_workflow(
                update,
                decision,
                start_workflow_operation=operation,
                id=str(decision.decision_id),
                result_type=Progress,
            )
    except WorkflowUpdateFailedError as error:
        raise refusal(error.cause) from error
    except WorkflowAlreadyStartedError as error:
        await _retrieve(operation)
        raise _has_ended(record) from error
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        await _retrieve(operation)
        raise no_worker(settings.task_queue) from error
    return progress


async def _retrieve(operation: WithStartWorkflowOperation[Any, Any]) -> None:
    """The SDK keeps the failure a second time, with the start; unseen it would be reported as lost."""
    with suppress(Exception, asyncio.CancelledError):
        async with asyncio.timeout(RETRIEVE_SECONDS):
            await operation.workflow_handle()


def no_worker(queue: str) -> CommandError:
    return unreachable(
        f"no worker answers on the queue {queue!r}: start one with `starter.py up` or `worker.py`, {REPEAT}",
        "NoWorkerError",
    )


def _has_ended(record: WorkflowRecord) -> CommandError:
    return conflict(
        f"the run of workflow {record.workflow_id} has ended in Temporal while its row is in {record.state}; "
        "look at it in the Temporal UI, then `starter.py cancel` it",
        current=record.state,
    )


def refusal(cause: BaseException | None) -> CommandError:
    """Why a run refused an update: our own errors travel as type and facts."""
    if not isinstance(cause, ApplicationError):
        return unreachable(f"the run did not take the decision: {cause}; look at it in the Temporal UI")
    kind, facts = cause.type or "ApplicationError", cause.details[0] if cause.details else {}
    return CommandError(kind, cause.message, _exit_code_of_kind(kind, facts), facts if isinstance(facts, dict) else {})


def _exit_code_of_kind(kind: str, facts: Any) -> ExitCode:
    if kind == errors.WorkflowTransitionError.__name__:
        is_missing = isinstance(facts, dict) and facts.get("reason") == "not_found"
        return ExitCode.NOT_FOUND if is_missing else ExitCode.CONFLICT
    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, errors.PipelineError):
        return exit_code_of(found("")) if found is not errors.WorkflowTransitionError else ExitCode.CONFLICT
    return ExitCode.DEFECT


async def describe(client: Client, record: WorkflowRecord) -> WorkflowExecutionDescription | None:
    """The latest run of a row, None when there never was one."""
    handle = client.get_workflow_handle(temporal_workflow_id(record.organization_id, record.workflow_id))
    try:
        return await handle.describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


async def run_of(client: Client, record: WorkflowRecord) -> Run:
    description = await describe(client, record)
    if description is None:
        return Run(None, is_open=False)
    return Run(description.run_id, is_open=description.status is WorkflowExecutionStatus.RUNNING)


async def waits_for_a_worker(client: Client, record: WorkflowRecord) -> bool:
    """Whether a workflow task of an open run has been waiting for longer than any worker would let it."""
    description = await describe(client, record)
    if description is None or description.status is not WorkflowExecutionStatus.RUNNING:
        return False
    pending = description.raw_description.pending_workflow_task
    if not pending.HasField("scheduled_time") or pending.HasField("started_time"):
        return False
    waited = datetime.now(UTC) - pending.scheduled_time.ToDatetime(tzinfo=UTC)
    return waited.total_seconds() > TASK_WAITS_SECONDS_MAX


async def is_parked(client: Client, record: WorkflowRecord) -> bool:
    """Whether the run's status card says that it waits for a retry; False when no worker answers."""
    handle = client.get_workflow_handle(temporal_workflow_id(record.organization_id, record.workflow_id))
    try:
        metadata = await handle.query(
            METADATA_QUERY, result_type=WorkflowMetadata, rpc_timeout=timedelta(seconds=QUERY_SECONDS_MAX)
        )
    except (RPCError, WorkflowQueryFailedError, WorkflowQueryRejectedError):
        return False
    return PARKED_PREFIX in metadata.current_details


async def cancel_run(client: Client, record: WorkflowRecord, reason: str) -> None:
    handle = client.get_workflow_handle(temporal_workflow_id(record.organization_id, record.workflow_id))
    await handle.cancel(reason=reason)


def is_terminal_message(record: WorkflowRecord) -> str:
    verb = "is finished" if record.state is State.COMPLETED else "was cancelled"
    return f"{record.name} ({record.workflow_id}) {verb}: nothing about it can be changed any more"
