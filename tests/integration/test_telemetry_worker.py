"""Log lines of a real worker, every workflow task a replay."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import structlog
from temporalio import activity, workflow
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from sandbox.temporal import find_binary
from telemetry import TelemetryInterceptor, configure_logging

QUEUE = "telemetry-test"


@activity.defn(name="write")
async def write(number: int) -> int:
    structlog.get_logger("ours").info("writing", number=number)
    activity.logger.info("by temporal's logger")
    return number


@workflow.defn(name="TelemetryWorkflow", sandboxed=False)
class TelemetryWorkflow:
    @workflow.run
    async def run(self) -> int:
        total = 0
        for number in range(3):
            workflow.logger.info("before %d", number, extra={"step": "ICP"})
            total += await workflow.execute_activity(write, number, schedule_to_close_timeout=timedelta(seconds=10))
        return total


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging(json=True, level="INFO", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


async def test_lines_name_their_workflow_and_are_not_repeated_on_replay(stream: io.StringIO) -> None:
    async with (
        await WorkflowEnvironment.start_local(dev_server_existing_path=str(find_binary())) as environment,
        Worker(
            environment.client,
            task_queue=QUEUE,
            workflows=[TelemetryWorkflow],
            activities=[write],
            interceptors=[TelemetryInterceptor()],
            max_cached_workflows=0,
            workflow_runner=UnsandboxedWorkflowRunner(),
        ),
    ):
        result = await environment.client.execute_workflow("TelemetryWorkflow", id="telemetry-1", task_queue=QUEUE)

    assert result == 3
    events: list[dict[str, Any]] = [json.loads(line) for line in stream.getvalue().splitlines()]
    of_workflow = [event for event in events if event["event"].startswith("before")]
    of_activity = [event for event in events if event["event"] in ("writing", "by temporal's logger")]
    assert [event["event"] for event in of_workflow] == ["before 0", "before 1", "before 2"]
    assert len(of_activity) == 6
    for event in of_workflow + of_activity:
        assert event["workflow_id"] == "telemetry-1"
        assert event["run_id"]
    assert {(event["activity"], event["attempt"]) for event in of_activity} == {("write", 1)}
    assert {event["step"] for event in of_workflow} == {"ICP"}
