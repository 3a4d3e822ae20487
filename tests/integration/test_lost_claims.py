"""A worker that was stopped and wakes when others have gone on: what it decided once is not decided again."""

import json
from typing import Any
from uuid import UUID

from activities.article import NOTHING_PLANNED, ArticleActivities
from activities.judging import block_with, reject
from activities.validation import ValidationActivities
from domain.progress import JudgedKind
from domain.states import State, Step
from domain.verdict import Blocked, Level, Reason, verdict_of
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase, walk
from tests.integration.money_cases import Till, an_answer, an_ask
from tests.integration.test_cluster_overrides import (
    HUBS,
    claim_of,
    decision,
    load,
    made,
    rows_of,
    valid_hubs,
    validate,
)

NO = Blocked(verdict=verdict_of([Reason(code="no", message="not good enough")]), output={})


async def moved(database: TenantDatabase, workflow: MadeWorkflow, *states: State) -> MadeWorkflow:
    """From where its row stands through these states."""
    progress = await load(database, workflow)
    stands = MadeWorkflow(workflow.workflow_id, workflow.organization_id, progress.state, progress.version)
    async with database.app.transaction(workflow.organization_id) as connection:
        return await walk(connection, stands, list(states))


async def outputs_of(database: TenantDatabase, workflow: MadeWorkflow) -> list[dict[str, Any]]:
    rows = await database.admin.fetch(
        "SELECT * FROM step_outputs WHERE workflow_id = $1 ORDER BY step, claim", workflow.workflow_id
    )
    return [dict(row) for row in rows]


async def test_a_blocked_validation_that_wakes_late_leaves_the_clusters_as_a_later_one_judged_them(
    database: TenantDatabase,
) -> None:
    """By then its clusters are taken again, so that it would find none of them valid."""
    first = await made(database)
    await validate(database, first)
    second = await made(database)
    old = claim_of(second)
    assert (await validate(database, second)).state is State.VALIDATION_FAILED
    await moved(database, first, State.CANCELLED)
    retried = await moved(database, second, State.VALIDATION_PROCESSING)
    assert (await validate(database, retried)).state is State.VALIDATION_COMPLETED
    third = await made(database)
    failed = await validate(database, third)
    taken = [row.cluster_id for row in await rows_of(database, third)]
    ours = await ValidationActivities(database.app).override_clusters(decision(failed, *taken))
    overridden = await validate(
        database, MadeWorkflow(third.workflow_id, third.organization_id, ours.state, ours.version)
    )
    assert overridden.state is State.VALIDATION_COMPLETED
    rows, outputs = await rows_of(database, second), await outputs_of(database, second)

    late = await ValidationActivities(database.app).validate_clusters(old)

    assert late.kind is JudgedKind.BLOCKED, "what that claim came to"
    assert late.progress is not None
    assert late.progress.state is State.VALIDATION_COMPLETED, "and where the row stands since"
    assert await rows_of(database, second) == rows
    assert await outputs_of(database, second) == outputs
    assert await valid_hubs(database, second) == list(HUBS)


async def test_articles_without_a_single_one_planned_are_blocked(database: TenantDatabase) -> None:
    workflow = await made(database, State.ARTICLE_PROCESSING)
    activities, claim = ArticleActivities(database.app), claim_of(workflow, Step.ARTICLE)
    plan = await activities.plan_articles(claim)
    assert (plan.to_write, plan.total) == ((), 0)
    end = await activities.complete_articles(claim)
    assert end.kind is JudgedKind.BLOCKED
    assert end.progress is not None
    assert end.progress.state is State.ARTICLE_FAILED
    assert end.progress.failure is not None
    (reason,) = end.progress.failure.reasons
    assert (reason.code, reason.level) == (NOTHING_PLANNED, Level.BLOCK)
    assert "override" in reason.message
    cluster = (await rows_of(database, workflow))[0]
    async with database.app.transaction(workflow.organization_id) as connection:
        await connection.execute(
            "UPDATE keyword_clusters SET is_valid = false, reasons = $2 WHERE cluster_id = $1",
            cluster.cluster_id,
            [Reason(code="EXISTING_PAGE", message="x", subject="https://harborline.example/x").model_dump(mode="json")],
        )
    progress = await ValidationActivities(database.app).override_clusters(decision(end.progress, cluster.cluster_id))
    again = await activities.plan_articles(progress.claim_of(Step.ARTICLE))
    assert cluster.hub in [task.keyword for task in again.to_write], "the remedy that it names helps"


async def paid(database: TenantDatabase, workflow: MadeWorkflow, *asks: int) -> list[UUID]:
    till = Till(database.app, workflow)
    return [
        await till.paid(an_ask(workflow, ask, slot=f"slot {ask}"), an_answer(body=json.dumps({"ask": ask})))
        for ask in asks
    ]


async def rejected(database: TenantDatabase) -> dict[UUID, str]:
    rows = await database.admin.fetch(
        "SELECT attempt_id, rejected_reason FROM spend_attempts WHERE rejected_reason IS NOT NULL"
    )
    return {row["attempt_id"]: row["rejected_reason"] for row in rows}


async def test_who_has_lost_the_claim_rejects_no_answer(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    workflow = await make_workflow(State.ICP_PROCESSING)
    claim = claim_of(workflow, Step.ICP)
    bad, good = await paid(database, workflow, 1, 2)
    async with database.app.transaction(workflow.organization_id) as connection:
        await reject(connection, claim, bad, "not JSON")
    async with database.app.transaction(workflow.organization_id) as connection:
        await walk(connection, workflow, [State.ICP_COMPLETED])
        await reject(connection, claim, good, "not JSON")
    assert await rejected(database) == {bad: "not JSON"}


async def test_a_block_that_was_made_before_rejects_no_other_answer(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    workflow = await make_workflow(State.ICP_PROCESSING)
    claim = claim_of(workflow, Step.ICP)
    first, other = await paid(database, workflow, 1, 2)
    for attempt_id, is_first in ((first, True), (other, False)):
        async with database.app.transaction(workflow.organization_id) as connection:
            assert await block_with(connection, claim, NO, attempt_id) is is_first
    assert await rejected(database) == {first: "not good enough"}
