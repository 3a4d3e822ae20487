"""An organization's workflows don't write the same twice, unless a person says so."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from domain.decisions import ApproveArticles, OverrideClusters, ReviewSeeds
from domain.progress import Progress
from domain.seed_review import SeedDecision, SeedDecisionKind
from domain.settings import StepSettings, ValidationSettings
from domain.states import State
from tests.workflows.conftest import Pipeline, Run

SHORT: dict[str, Any] = {"articles": {"max": 1, "min": 1, "words": 400}}


def comparing(pipeline: Pipeline, *, auto_approve: bool = True, **changes: Any) -> StepSettings:
    steps = pipeline.settings.step_settings(auto_approve_seeds=auto_approve)
    return steps.model_copy(update={"validation": ValidationSettings(compares_workflows=True, **changes)})


async def clusters_of(run: Run) -> list[dict[str, Any]]:
    rows = await run.rows(
        "SELECT cluster_id, hub, is_valid, reasons FROM keyword_clusters WHERE workflow_id = $1 ORDER BY position"
    )
    return [dict(row) for row in rows]


def codes(cluster: dict[str, Any]) -> set[str]:
    return {reason["code"] for reason in cluster["reasons"]}


async def override(run: Run, *cluster_ids: UUID, reason: str = "another audience") -> Progress:
    decision = OverrideClusters(**await run.decision(), cluster_ids=cluster_ids, reason=reason)
    return await run.update("override_clusters", decision)


async def test_of_two_workflows_at_once_exactly_one_keeps_the_hub(pipeline: Pipeline) -> None:
    """Both validate at once; one hub falls and names the other workflow."""
    hold = {"publish": {"approval": "person"}, **SHORT}
    steps = comparing(pipeline, auto_approve=False)
    runs = [
        await pipeline.begin(auto_approve=False, steps=steps, audiences=[whom], **hold)
        for whom in ("controllers", "accountants")
    ]
    for run in runs:
        await run.reaches(State.SEED_REVIEW_PENDING)
    decisions = [
        ReviewSeeds(**await run.decision(), seeds=SeedDecision(kind=SeedDecisionKind.APPROVE_ALL)) for run in runs
    ]
    await asyncio.gather(*[run.update("review_seeds", one) for run, one in zip(runs, decisions, strict=True)])
    ends = await asyncio.gather(*[run.reaches(State.PUBLISH_PENDING, State.VALIDATION_FAILED) for run in runs])
    names = [(await run.progress()).name for run in runs]
    written = [
        {row["keyword"] for row in await run.rows("SELECT keyword FROM articles WHERE workflow_id = $1")}
        for run in runs
    ]
    assert not written[0] & written[1], "no hub is written twice"
    assert State.PUBLISH_PENDING in [end.state for end in ends], "one of them goes on"
    fell = [[one for one in await clusters_of(run) if "CANNIBALIZES_WORKFLOW" in codes(one)] for run in runs]
    assert [bool(one) for one in fell].count(True) == 1, "exactly one fell, the later"
    later = 0 if fell[0] else 1
    (fallen,) = [one for one in fell[later] if one["hub"] in written[1 - later]]
    (reason,) = [one for one in fallen["reasons"] if one["code"] == "CANNIBALIZES_WORKFLOW"]
    assert f'your workflow {names[1 - later]} has "{fallen["hub"]}" already' in reason["message"]


async def test_a_fallen_validation_goes_on_after_an_override(pipeline: Pipeline) -> None:
    first = await pipeline.begin(steps=comparing(pipeline), articles={"max": 9, "min": 1, "words": 300})
    # From here on its subjects are taken; nobody waits for the articles.
    await first.reaches(State.ARTICLE_PENDING, State.ARTICLE_PROCESSING)
    second = await pipeline.begin(steps=comparing(pipeline), audiences=["warehouses"], **SHORT)
    parked = await second.reaches(State.VALIDATION_FAILED)
    assert parked.failure is not None
    assert parked.failure.reasons[0].code == "VALIDATION_FAILED"
    assert (await first.progress()).name in parked.failure.message
    fallen = [one for one in await clusters_of(second) if codes(one) <= {"CANNIBALIZES_WORKFLOW", "HOME_PAGE_TOO"}]
    await override(second, fallen[0]["cluster_id"], reason="it is for warehouses")
    done = await second.reaches(State.COMPLETED)
    assert done.articles.done == 1
    (article,) = await second.rows("SELECT keyword, cluster_id FROM articles WHERE workflow_id = $1")
    assert article["cluster_id"] == fallen[0]["cluster_id"]
    (audit,) = await second.rows("SELECT hub, actor, reason, overridden FROM cluster_overrides WHERE workflow_id = $1")
    assert (audit["hub"], audit["actor"], audit["reason"]) == (
        article["keyword"],
        "reviewer@tests",
        "it is for warehouses",
    )
    assert {one["code"] for one in audit["overridden"]} >= {"CANNIBALIZES_WORKFLOW"}
    (output,) = await second.rows("SELECT verdict FROM step_outputs WHERE workflow_id = $1 AND step = 'article'")
    said = f'"{article["keyword"]}" was overridden by reviewer@tests: it is for warehouses'
    assert [one["message"] for one in output["verdict"]["reasons"]].count(said) == 1
    moves = await second.rows("SELECT from_state, actor, reason FROM workflow_transitions WHERE workflow_id = $1")
    await first.handle.cancel()
    assert ("VALIDATION_FAILED", "reviewer@tests", "override: it is for warehouses") in {
        tuple(row.values()) for row in moves
    }


async def test_the_same_brief_again_is_told_and_does_the_same(pipeline: Pipeline) -> None:
    """Somebody asked for it on purpose: another cap or target makes it no other research."""
    hold = {"publish": {"approval": "person"}, **SHORT}
    first = await pipeline.begin(steps=comparing(pipeline), **hold)
    await first.reaches(State.PUBLISH_PENDING)
    again = await pipeline.begin(steps=comparing(pipeline), cap_usd="2.00", **hold)
    await again.reaches(State.PUBLISH_PENDING)
    before, after = await clusters_of(first), await clusters_of(again)
    assert [(one["hub"], one["is_valid"]) for one in after] == [(one["hub"], one["is_valid"]) for one in before]
    name = (await first.progress()).name
    told = [reason for one in after for reason in one["reasons"] if reason["code"] == "REPEATS_WORKFLOW"]
    assert {reason["level"] for reason in told} == {"warn"}
    assert f"your workflow {name}, of the same brief, has" in told[0]["message"]


async def test_before_publishing_an_override_adds_the_clusters_articles(pipeline: Pipeline) -> None:
    page = {"url": "https://harborline.example/known", "keyword": "three way matching"}
    changes = {"publish": {"approval": "person"}, **SHORT}
    run = await pipeline.begin(steps=comparing(pipeline), existing_pages=[page], **changes)
    await run.reaches(State.PUBLISH_PENDING)
    rows = await clusters_of(run)
    fallen = [one for one in rows if not one["is_valid"]]
    if not fallen:
        pytest.fail(f"no cluster fell: {[one['hub'] for one in rows]}")
    before = await run.rows("SELECT article_id, keyword, accepted_revision FROM articles WHERE workflow_id = $1")
    assert fallen[0]["hub"] not in {row["keyword"] for row in before}
    await override(run, fallen[0]["cluster_id"])
    await run.reaches(State.ARTICLE_PENDING, State.ARTICLE_PROCESSING, State.PUBLISH_PENDING)
    await run.reaches(State.PUBLISH_PENDING)
    after = await run.rows("SELECT article_id, keyword, accepted_revision FROM articles WHERE workflow_id = $1")
    assert fallen[0]["hub"] in {row["keyword"] for row in after}
    revisions = {row["article_id"]: row["accepted_revision"] for row in after}
    assert all(revisions[row["article_id"]] == row["accepted_revision"] for row in before), "nothing is written twice"
    positions = await run.rows("SELECT position FROM articles WHERE workflow_id = $1 ORDER BY position")
    assert [row["position"] for row in positions] == list(range(len(positions)))


async def test_an_override_is_refused_where_it_can_do_nothing(pipeline: Pipeline) -> None:
    run = await pipeline.begin(publish={"approval": "person"}, **SHORT)
    await run.reaches(State.PUBLISH_PENDING)
    rows = await clusters_of(run)
    valid = next(one for one in rows if one["is_valid"])
    facts = await run.decision()
    facts["expected_version"] -= 1
    with pytest.raises(WorkflowUpdateFailedError) as stale:
        await run.update("override_clusters", OverrideClusters(**facts, cluster_ids=(valid["cluster_id"],), reason="x"))
    assert isinstance(stale.value.cause, ApplicationError)
    assert stale.value.cause.type == "WorkflowTransitionError"
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await override(run, valid["cluster_id"])
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "BadInputError"
    assert "is valid: there is nothing to override" in refused.value.cause.message
    assert not await run.rows("SELECT 1 FROM cluster_overrides WHERE workflow_id = $1")
    assert (await run.progress()).state is State.PUBLISH_PENDING
    (approved,) = await run.rows(
        "SELECT article_id, content_hash FROM articles JOIN article_revisions USING (article_id) WHERE workflow_id = $1"
    )
    hashes = {approved["article_id"]: approved["content_hash"]}
    await run.update("approve_articles", ApproveArticles(**await run.decision(), hashes=hashes))
    await run.reaches(State.COMPLETED)
    with pytest.raises((WorkflowUpdateFailedError, Exception)):
        await override(run, valid["cluster_id"])
    assert not await run.rows("SELECT 1 FROM cluster_overrides WHERE workflow_id = $1")


async def test_other_organizations_and_cancelled_workflows_take_nothing(pipeline: Pipeline) -> None:
    stopped = await pipeline.begin(steps=comparing(pipeline), publish={"approval": "person"}, **SHORT)
    await stopped.reaches(State.PUBLISH_PENDING)
    await stopped.handle.cancel()
    await stopped.reaches(State.CANCELLED)
    again = await pipeline.begin(steps=comparing(pipeline), publish={"approval": "person"}, **SHORT)
    await again.reaches(State.PUBLISH_PENDING)
    reasons = {code for one in await clusters_of(again) for code in codes(one)}
    assert "CANNIBALIZES_WORKFLOW" not in reasons
