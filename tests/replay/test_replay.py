"""Today's workflow code replays what earlier code did: no run that is open when a new version comes gets stuck."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

import worker
from tests.replay.record import BYTES_MAX, FOLDER, SHAPES
from workflows.article import ArticleWorkflow
from workflows.intent import IntentWorkflow

STORED = sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz"))
RECORD_ANEW = (
    "Runs that are open would get stuck. Guard the change with workflow.patched; or, if no run of the old code can be "
    "open, record the histories anew: python -m tests.replay.record"
)

# What makes a shape that shape: names of activities, updates and events that its history has.
MARKS: dict[str, set[str]] = {
    "complete": {"generate_icp", "apply_seed_review", "approve_automatically", "finish_site", "publish_articles"},
    "complete.article": {"judge_outline", "judge_sections", "assemble_article"},
    "approved_by_persons": {"review_seeds", "approve_articles"},
    "rejected_seeds": {"review_seeds", "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED"},
    "raised_cap": {"raise_cap", "retry", "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED"},
    "redone_article": {"redo_article", "approve_articles"},
    "cancelled_in_a_call": {"EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED", "cancel_workflow"},
    "cancelled_in_an_article": {"EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED", "cancel_workflow"},
    "cancelled_in_an_article.article": {"EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED"},
    "unknown_outcome": {"authorize", "call_provider"},
    "unknown_outcome.article": {"authorize", "call_provider"},
    "reopened_review": {"review_seeds", "reopen_review", "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED"},
    "refused_key": {"fail_step", "retry", "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED"},
    "asked_to_wait": {"EVENT_TYPE_TIMER_FIRED"},
    "repaired_article.article": {"assemble_article"},
    "lost_claim": {"EVENT_TYPE_ACTIVITY_TASK_FAILED", "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED"},
}
# How often an activity occurs at least, where once would be any other shape.
TIMES = {
    "rejected_seeds": ("analyze_competitors", 2),
    "raised_cap": ("complete_articles", 2),
    "redone_article": ("plan_articles", 3),
    "unknown_outcome": ("authorize", 3),
    "unknown_outcome.article": ("authorize", 3),
    "asked_to_wait": ("authorize", 4),
    "repaired_article.article": ("assemble_article", 2),
    "lost_claim": ("load_progress", 2),
}


@cache
def stored(name: str) -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))
    return recorded


def history_of(recorded: dict[str, Any]) -> WorkflowHistory:
    return WorkflowHistory.from_json(recorded["workflow_id"], recorded["history"])


def replayer() -> Replayer:
    return Replayer(
        workflows=[IntentWorkflow, ArticleWorkflow],
        data_converter=pydantic_data_converter,
        workflow_runner=worker.workflow_runner(),
        interceptors=worker.interceptors(),
    )


@pytest.mark.parametrize("name", STORED)
async def test_a_stored_history_replays(name: str) -> None:
    result = await replayer().replay_workflow(history_of(stored(name)), raise_on_replay_failure=False)
    if result.replay_failure is not None:
        pytest.fail(f"{name} does not replay: {result.replay_failure}\n{RECORD_ANEW}", pytrace=False)


async def test_a_history_that_differs_is_noticed() -> None:
    recorded = json.loads(json.dumps(stored("complete")))
    scheduled = next(
        event["activityTaskScheduledEventAttributes"]
        for event in recorded["history"]["events"]
        if event.get("activityTaskScheduledEventAttributes", {}).get("activityType", {}).get("name") == "generate_icp"
    )
    scheduled["activityType"]["name"] = "generate_something_else"
    result = await replayer().replay_workflow(history_of(recorded), raise_on_replay_failure=False)
    assert result.replay_failure is not None


@pytest.mark.parametrize("name", sorted({*SHAPES, *MARKS}))
def test_every_shape_is_stored_and_is_what_it_says(name: str) -> None:
    assert name in STORED, f"no history of {name}: python -m tests.replay.record {name.partition('.')[0]}"
    happened = list(_names(stored(name)["history"]["events"]))
    assert MARKS.get(name, set()) <= set(happened)
    activity, times = TIMES.get(name, ("", 0))
    assert happened.count(activity) >= times


def _names(events: list[dict[str, Any]]) -> list[str]:
    names = [str(event["eventType"]) for event in events]
    for event in events:
        scheduled = event.get("activityTaskScheduledEventAttributes", {})
        accepted = event.get("workflowExecutionUpdateAcceptedEventAttributes", {})
        names.append(str(scheduled.get("activityType", {}).get("name")))
        names.append(str(accepted.get("acceptedRequest", {}).get("input", {}).get("name")))
    return names


def test_histories_are_small_and_say_nothing_of_where_they_were_recorded() -> None:
    root = str(Path(worker.__file__).parent)
    for name in STORED:
        packed = (FOLDER / f"{name}.json.gz").read_bytes()
        assert len(packed) <= BYTES_MAX
        text = gzip.decompress(packed).decode()
        assert root not in text
        assert "stackTrace" not in text
