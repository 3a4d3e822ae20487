"""The seven steps, end to end, and what people do on the way."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from itertools import pairwise
from uuid import uuid4

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from activities.state import DecideRedo, StateActivities
from domain.decisions import ApproveArticles, RaiseCap, RedoArticle, ReopenReview, Retry, ReviewSeeds
from domain.progress import WorkflowRef
from domain.seed_review import SeedDecision, SeedDecisionKind
from domain.states import State
from tests.workflows.conftest import Pipeline, Run

Check = Callable[[Run], Awaitable[None]]


async def test_a_brief_becomes_published_articles(pipeline: Pipeline, books_balance: Check) -> None:
    run = await pipeline.begin()
    await run.reaches(State.COMPLETED)
    progress = await run.handle.result()
    assert progress.state is State.COMPLETED
    assert progress.articles.done == 2
    published = await run.rows("SELECT slug, state, published_url FROM publications WHERE workflow_id = $1")
    assert [row["state"] for row in published] == ["PUBLISHED", "PUBLISHED"]
    for row in published:
        (page,) = pipeline.output_dir.rglob(f"{row['slug']}.html")
        text = page.read_text()
        assert "Demo text" in text
        assert "Harborline" in text
    await books_balance(run)


async def test_the_history_is_gapless_and_folds_to_the_state(pipeline: Pipeline) -> None:
    run = await pipeline.begin()
    await run.reaches(State.COMPLETED)
    audit = await run.rows("SELECT * FROM workflow_transitions WHERE workflow_id = $1 ORDER BY seq")
    assert [row["seq"] for row in audit] == list(range(1, len(audit) + 1))
    assert all(before["to_state"] == after["from_state"] for before, after in pairwise(audit))
    assert audit[-1]["to_state"] == State.COMPLETED


async def test_a_person_selects_the_seeds(pipeline: Pipeline, books_balance: Check) -> None:
    run = await pipeline.begin(auto_approve=False)
    await run.reaches(State.SEED_REVIEW_PENDING)
    shown = [
        row["text"] for row in await run.rows("SELECT text FROM keywords WHERE workflow_id = $1 ORDER BY position")
    ]
    seeds = SeedDecision(kind=SeedDecisionKind.SELECT, drop=(shown[0],), add=("supplier statement reconciliation",))
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=seeds))
    await run.reaches(State.COMPLETED)
    rows = await run.rows("SELECT text, decision, decided_by, added_by FROM keywords WHERE workflow_id = $1")
    decided = {row["text"]: row["decision"] for row in rows}
    assert decided.pop(shown[0]) == "dropped"
    assert set(decided.values()) == {"approved"}
    assert decided["supplier statement reconciliation"] == "approved"
    assert {row["decided_by"] for row in rows} == {"reviewer@tests"}
    await books_balance(run)


async def test_of_two_reviewers_one_wins_and_the_other_is_told(pipeline: Pipeline) -> None:
    run = await pipeline.begin(auto_approve=False)
    await run.reaches(State.SEED_REVIEW_PENDING)
    seeds = SeedDecision(kind=SeedDecisionKind.APPROVE_ALL)
    first, second = ReviewSeeds(**await run.decision(), seeds=seeds), ReviewSeeds(**await run.decision(), seeds=seeds)
    await run.update("review_seeds", first)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await run.update("review_seeds", second)
    cause = refused.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "WorkflowTransitionError"
    assert cause.details[0]["expected_state"] == State.SEED_REVIEW_PENDING


async def test_the_same_decision_twice_is_one(pipeline: Pipeline) -> None:
    run = await pipeline.begin(auto_approve=False)
    await run.reaches(State.SEED_REVIEW_PENDING)
    review = ReviewSeeds(**await run.decision(), seeds=SeedDecision(kind=SeedDecisionKind.APPROVE_ALL))
    await run.update("review_seeds", review)
    await run.update("review_seeds", review)
    await run.reaches(State.COMPLETED)


async def test_rejected_seeds_run_the_competitor_step_again(pipeline: Pipeline, books_balance: Check) -> None:
    run = await pipeline.begin(auto_approve=False)
    await run.reaches(State.SEED_REVIEW_PENDING)
    seeds = SeedDecision(kind=SeedDecisionKind.REJECT, feedback="too generic, go deeper")
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=seeds))
    progress = await run.reaches(State.SEED_REVIEW_PENDING)
    assert progress.review_feedback == "too generic, go deeper"
    approve = SeedDecision(kind=SeedDecisionKind.APPROVE_ALL)
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=approve))
    await run.reaches(State.COMPLETED)
    await books_balance(run)


async def test_articles_wait_for_approval_by_their_exact_content(pipeline: Pipeline, books_balance: Check) -> None:
    run = await pipeline.begin(publish={"approval": "person"})
    await run.reaches(State.PUBLISH_PENDING)
    hashes = await _hashes(run)
    wrong = dict.fromkeys(hashes, "0" * 64)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await run.update("approve_articles", ApproveArticles(**await run.decision(), hashes=wrong))
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "BadInputError"
    only = dict(list(hashes.items())[:1])
    await run.update("approve_articles", ApproveArticles(**await run.decision(), hashes=only))
    await run.reaches(State.COMPLETED)
    published = await run.rows("SELECT article_id FROM publications WHERE workflow_id = $1")
    assert [row["article_id"] for row in published] == list(only)
    await books_balance(run)


async def test_an_article_is_written_anew_before_it_is_published(pipeline: Pipeline, books_balance: Check) -> None:
    run = await pipeline.begin(publish={"approval": "person"})
    before = await run.reaches(State.PUBLISH_PENDING)
    article_id = next(iter(await _hashes(run)))
    redo = RedoArticle(**await run.decision(), article_id=article_id, note="more about exceptions")
    await run.update("redo_article", redo)
    after = await run.reaches(State.PUBLISH_PENDING)
    assert after.version > before.version
    rows = await run.rows("SELECT article_id, revision, state FROM articles WHERE workflow_id = $1")
    assert {row["state"] for row in rows} == {"PASSED"}
    assert [row["revision"] for row in rows if row["article_id"] == article_id] == [2]
    await run.update("approve_articles", ApproveArticles(**await run.decision(), hashes=await _hashes(run)))
    await run.reaches(State.COMPLETED)
    await books_balance(run)


async def test_a_redo_that_is_carried_out_again_begins_no_further_revision(pipeline: Pipeline) -> None:
    """Its reply was lost, or its worker died after the commit: Temporal tries the activity again."""
    run = await pipeline.begin(publish={"approval": "person"})
    await run.reaches(State.PUBLISH_PENDING)
    article_id = next(iter(await _hashes(run)))
    redo = RedoArticle(**await run.decision(), article_id=article_id, note="more about exceptions")
    activities = StateActivities(pipeline.database.app)
    progress = [await activities.redo_article(DecideRedo(ref=run.ref, decision=redo)) for _ in range(2)]
    assert progress[0] == progress[1]
    rows = await run.rows("SELECT article_id, revision FROM articles WHERE workflow_id = $1")
    assert [row["revision"] for row in rows if row["article_id"] == article_id] == [2]
    await run.handle.terminate("the test ends")


async def test_a_cap_that_is_too_low_parks_and_is_raised(pipeline: Pipeline, books_balance: Check) -> None:
    run = await pipeline.begin(cap_usd="0.04")
    parked = await run.reaches(State.ARTICLE_FAILED)
    assert parked.failure is not None
    assert any(reason.code == "cap_reached" for reason in parked.failure.reasons)
    await books_balance(run)
    await run.update("raise_cap", RaiseCap(**await run.decision(), cap_usd=Decimal("1.00")))
    await run.update("retry", Retry(**await run.decision()))
    done = await run.reaches(State.COMPLETED)
    assert done.cap_usd == Decimal("1.00")
    await books_balance(run)


async def test_what_passed_can_be_accepted_as_the_whole(pipeline: Pipeline, books_balance: Check) -> None:
    """The cap covers one of two articles; the other is listed as not begun, and a person goes on without it."""
    run = await pipeline.begin(cap_usd="0.07")
    parked = await run.reaches(State.ARTICLE_FAILED)
    assert (parked.articles.done, parked.articles.not_begun) == (1, 1)
    await run.update("retry", Retry(**await run.decision(), accept_partial=True))
    done = await run.reaches(State.COMPLETED)
    assert done.spent_usd == parked.spent_usd
    assert (done.articles.done, done.articles.not_begun) == (1, 1)
    assert len(await run.rows("SELECT 1 FROM publications WHERE workflow_id = $1")) == 1
    await books_balance(run)


async def test_a_cap_that_covers_nothing_fails_the_first_step(pipeline: Pipeline, books_balance: Check) -> None:
    run = await pipeline.begin(cap_usd="0.000000001")
    parked = await run.reaches(State.ICP_FAILED)
    assert parked.failure is not None
    assert parked.failure.type == "CapReachedError"
    assert parked.spent_usd == 0
    await books_balance(run)


async def test_a_refused_key_parks_and_a_retry_goes_on(pipeline: Pipeline, books_balance: Check) -> None:
    await pipeline.faults({"kind": "http_status", "status": 401, "path": "/v1/chat"})
    run = await pipeline.begin()
    parked = await run.reaches(State.ICP_FAILED)
    assert parked.failure is not None
    assert parked.failure.type == "ProviderUnavailableError"
    await pipeline.no_faults()
    await run.update("retry", Retry(**await run.decision()))
    await run.reaches(State.COMPLETED)
    await books_balance(run)


async def test_an_invalid_answer_is_booked_and_asked_again(pipeline: Pipeline, books_balance: Check) -> None:
    await pipeline.faults({"kind": "invalid_json", "schema": "icp", "count": 1})
    run = await pipeline.begin()
    await run.reaches(State.COMPLETED)
    asks = await run.rows(
        "SELECT ask, state, rejected_reason FROM spend_attempts WHERE workflow_id = $1 AND slot = 'icp'"
    )
    assert [row["state"] for row in asks] == ["SETTLED", "SETTLED"]
    assert sum(row["rejected_reason"] is not None for row in asks) == 1
    await books_balance(run)


async def test_an_answer_that_stays_invalid_blocks_the_step(pipeline: Pipeline, books_balance: Check) -> None:
    await pipeline.faults({"kind": "schema_violation", "schema": "icp"})
    run = await pipeline.begin()
    await run.reaches(State.ICP_FAILED)
    await books_balance(run)
    await pipeline.no_faults()
    await run.update("retry", Retry(**await run.decision()))
    await run.reaches(State.COMPLETED)
    await books_balance(run)


async def test_an_unknown_outcome_keeps_its_hold_and_the_run_goes_on(pipeline: Pipeline, books_balance: Check) -> None:
    await pipeline.faults(
        {"kind": "bill_then_drop", "schema": "icp", "count": 1, "where": "before_headers"},
        {"kind": "http_status", "status": 404, "path": "/v1/generation"},
    )
    run = await pipeline.begin()
    done = await run.reaches(State.COMPLETED)
    assert done.held_usd > 0
    await books_balance(run)


async def test_failed_clustering_leads_back_to_the_seeds(pipeline: Pipeline) -> None:
    run = await pipeline.begin(auto_approve=False)
    await run.reaches(State.SEED_REVIEW_PENDING)
    shown = [
        row["text"] for row in await run.rows("SELECT text FROM keywords WHERE workflow_id = $1 ORDER BY position")
    ]
    seeds = SeedDecision(kind=SeedDecisionKind.SELECT, approve=(shown[0],), add=("zebra stripes in winter",))
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=seeds))
    parked = await run.reaches(State.CLUSTERING_FAILED, State.VALIDATION_FAILED)
    assert parked.failure is not None
    await run.update("reopen_review", ReopenReview(**await run.decision()))
    await run.reaches(State.SEED_REVIEW_PENDING)
    everything = SeedDecision(kind=SeedDecisionKind.APPROVE_ALL)
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=everything))
    await run.reaches(State.COMPLETED)


async def test_a_row_without_a_run_is_known_to_nobody_else(pipeline: Pipeline) -> None:
    missing = WorkflowRef(workflow_id=uuid4(), organization_id=uuid4())
    run = await pipeline.create()
    stranger = Run(pipeline, missing, run.brief)
    handle = await stranger.start()
    with pytest.raises(WorkflowFailureError):
        await handle.result()


async def test_search_attributes_and_the_card_tell_where_it_stands(pipeline: Pipeline) -> None:
    run = await pipeline.begin(auto_approve=False)
    progress = await run.reaches(State.SEED_REVIEW_PENDING)
    for _ in range(100):  # the row is committed a moment before the run shows it
        description = await run.handle.describe()
        attributes = {pair.key.name: pair.value for pair in description.typed_search_attributes}
        if attributes.get("IntentState") == State.SEED_REVIEW_PENDING:
            break
        await asyncio.sleep(0.05)
    assert attributes["IntentState"] == State.SEED_REVIEW_PENDING
    assert attributes["CostUsd"] == float(progress.spent_usd)
    assert description.status is WorkflowExecutionStatus.RUNNING


async def _hashes(run: Run) -> dict[object, str]:
    rows = await run.rows(
        """
        SELECT articles.article_id, content_hash FROM articles JOIN article_revisions USING (article_id)
        WHERE workflow_id = $1 AND article_revisions.revision = accepted_revision ORDER BY position
        """
    )
    return {row["article_id"]: row["content_hash"] for row in rows}
