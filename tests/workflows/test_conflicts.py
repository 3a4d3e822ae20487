"""Somebody else moves the row, or two act at once: the run notices, goes on or parks, and says who was first."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from activities.state import cancel_row
from db.transitions import Advance, advance, lock_workflow
from domain.decisions import ApproveArticles, Decision, RaiseCap, RedoArticle, ReopenReview, Retry, ReviewSeeds
from domain.seed_review import SeedDecision, SeedDecisionKind
from domain.states import State
from tests.conftest import MadeWorkflow, legal_path, walk
from tests.workflows.conftest import BRIEF, Pipeline, Run, running_workers
from workflows.article import article_workflow_id

Check = Callable[[Run], Awaitable[None]]
SHORT: dict[str, Any] = {"articles": {"max": 1, "min": 1, "words": 400}}
ANSWER_SECONDS = 10.0
EVERYTHING = SeedDecision(kind=SeedDecisionKind.APPROVE_ALL)


# Somebody else ------------------------------------------------------------------------------------------------------


async def moved(run: Run, *states: State) -> None:
    """Somebody else makes these transitions, all of them in one transaction."""
    async with run.pipeline.database.app.transaction(run.ref.organization_id) as connection:
        locked = await lock_workflow(connection, run.ref.workflow_id, run.ref.organization_id)
        assert locked is not None
        state, version = locked.state, locked.version
        for following in states:
            step = Advance(
                workflow_id=run.ref.workflow_id,
                organization_id=run.ref.organization_id,
                expected_state=state,
                expected_version=version,
                next_state=following,
                transition_id=uuid4(),
                actor="somebody else",
            )
            version = (await advance(connection, step)).version
            state = following


async def cancelled_by_row(run: Run) -> None:
    """As the command line does it for a row without an open run."""
    async with run.pipeline.database.app.transaction(run.ref.organization_id) as connection:
        await cancel_row(connection, run.ref, actor="somebody else", reason="not wanted any more")


async def in_flight(run: Run, slot: str, *, claim: int | None = None) -> UUID:
    """The attempt of a slot, once it is on its way to the provider."""
    for _ in range(800):
        rows = await run.rows(
            "SELECT attempt_id, slot, claim FROM spend_attempts WHERE workflow_id = $1 AND state = 'DISPATCHED'"
        )
        for row in rows:
            if slot in row["slot"] and claim in (None, row["claim"]):
                return UUID(str(row["attempt_id"]))
        await asyncio.sleep(0.02)
    raise AssertionError(f"no request of {slot} was sent under claim {claim}")


async def ended(run: Run) -> WorkflowExecutionStatus:
    """How the latest Temporal run of a workflow ended."""
    with suppress(WorkflowFailureError):
        await asyncio.wait_for(run.handle.result(), ANSWER_SECONDS)
    status = (await run.handle.describe()).status
    assert status is not None
    return status


async def refusal(run: Run, update: str, decision: Decision) -> ApplicationError:
    """The error a decision is refused with, in time."""
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await asyncio.wait_for(run.update(update, decision), ANSWER_SECONDS)
    cause = refused.value.cause
    assert isinstance(cause, ApplicationError), cause
    return cause


async def card(run: Run) -> str:
    """What the Temporal UI shows of the run."""
    metadata = await run.handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return str(metadata.current_details)


async def card_with(run: Run, words: str) -> str:
    """The card, once it says so."""
    for _ in range(400):
        text = await card(run)
        if words in text:
            return text
        await asyncio.sleep(0.05)
    raise AssertionError(f"{words!r} is not on the card: {text}")


@asynccontextmanager
async def right_behind(run: Run, state: State, act: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Does something in the first moment after the row enters a state, before anybody else can."""
    admin = run.pipeline.database.admin
    await admin.execute(
        """
        CREATE FUNCTION hold_here() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$
        """
    )
    await admin.execute(
        f"CREATE TRIGGER hold BEFORE UPDATE ON intent_workflows FOR EACH ROW WHEN (NEW.state = '{state}') "
        "EXECUTE FUNCTION hold_here()"
    )
    async with admin.connection() as gate:
        await gate.execute("SELECT pg_advisory_lock(1)")
        yield
        await _waiters(gate, "advisory", 1)
        acting = asyncio.create_task(act())
        await _waiters(gate, "transactionid", 1)
        await gate.execute("SELECT pg_advisory_unlock(1)")
        await acting


async def _waiters(connection: Any, kind: str, number: int) -> None:
    """Until so many sessions of this database wait for a lock of the kind."""
    for _ in range(1000):
        waiting = await connection.fetchval(
            """
            SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE locktype = $1 AND NOT granted AND datname = current_database()
            """,
            kind,
        )
        if waiting >= number:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"nobody waits for a lock ({kind})")


# The row moves behind the run's back --------------------------------------------------------------------------------


async def test_a_row_cancelled_behind_its_back_ends_the_run(pipeline: Pipeline, books_balance: Check) -> None:
    """What is in flight is answered and booked all the same, and nothing new is asked."""
    await pipeline.faults({"kind": "slow", "seconds": 1.0, "schema": "competitor_labels"})
    run = await pipeline.begin(**SHORT)
    attempt_id = await in_flight(run, "competitor_labels")
    await cancelled_by_row(run)
    assert await ended(run) is WorkflowExecutionStatus.CANCELED
    assert (await run.progress()).state is State.CANCELLED
    attempts = {row["attempt_id"]: row["state"] for row in await run.rows(_ATTEMPTS)}
    assert attempts[attempt_id] == "SETTLED"
    assert len(attempts) == 2  # ICP and labels
    await books_balance(run)


async def test_a_lost_claim_is_noticed_and_the_run_goes_on(pipeline: Pipeline, books_balance: Check) -> None:
    """The same state, entered again, is another claim. The answer that was paid for is not paid for again."""
    await pipeline.faults({"kind": "slow", "seconds": 1.0, "schema": "icp"})
    run = await pipeline.begin(**SHORT)
    attempt_id = await in_flight(run, "icp")
    await moved(run, State.ICP_FAILED, State.ICP_PROCESSING)
    await run.reaches(State.COMPLETED)
    attempts = [row for row in await run.rows(_ATTEMPTS) if row["slot"] == "icp"]
    assert [(row["attempt_id"], row["state"]) for row in attempts] == [(attempt_id, "SETTLED")]
    reuses = await run.rows("SELECT reused_attempt_id FROM spend_reuses WHERE workflow_id = $1 AND slot = 'icp'")
    assert reuses == [{"reused_attempt_id": attempt_id}]
    await books_balance(run)


async def test_three_lost_transitions_park_and_a_retry_wakes(pipeline: Pipeline, books_balance: Check) -> None:
    """The card says what happened and what helps; until then nothing more is asked."""
    run = await _parked_by_conflicts(pipeline)
    asked = await run.rows(_ATTEMPTS)
    await pipeline.no_faults()
    text = await card(run)
    assert "parked: three lost transitions in a row" in text
    assert f"starter.py retry {run.ref.workflow_id}" in text
    assert await run.rows(_ATTEMPTS) == asked
    await run.update("retry", Retry(**await run.decision()))
    await run.reaches(State.COMPLETED)
    await books_balance(run)


async def test_any_decision_wakes_a_parked_run(pipeline: Pipeline, books_balance: Check) -> None:
    """Whoever decides has looked; a parked run that did not notice would stand still behind a row that moved."""
    run = await _parked_by_conflicts(pipeline)
    await pipeline.no_faults()
    await run.update("raise_cap", RaiseCap(**await run.decision(cap_usd=Decimal(2))))
    await run.reaches(State.COMPLETED)
    await books_balance(run)


async def _parked_by_conflicts(pipeline: Pipeline) -> Run:
    """Each time the run waits for the provider, somebody else fails the step and begins it again."""
    await pipeline.faults(
        {"kind": "slow", "seconds": 0.7, "schema": "icp"},
        {"kind": "bill_then_drop", "where": "before_headers", "schema": "icp"},
    )
    run = await pipeline.begin(**SHORT)
    for _ in range(3):
        progress = await run.reaches(State.ICP_PROCESSING)
        await in_flight(run, "icp", claim=progress.version)
        await moved(run, State.ICP_FAILED, State.ICP_PROCESSING)
    version = (await run.progress()).version

    async def is_idle() -> bool:
        description = await run.handle.describe()
        claims = {row["claim"] for row in await run.rows(_ATTEMPTS)}
        return not description.raw_description.pending_activities and version not in claims

    for _ in range(3):  # an activity ends and the next is scheduled: idle is what stays so
        for _ in range(400):
            if await is_idle():
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
    assert await is_idle()
    assert (await run.handle.describe()).status is WorkflowExecutionStatus.RUNNING
    return run


async def test_a_gate_that_is_passed_by_somebody_else_ends_no_run(pipeline: Pipeline) -> None:
    """The automatic review comes second: the row was sent back to the competitors in between."""
    run = await pipeline.create(**SHORT)

    async def sent_back() -> None:
        await moved(run, State.COMPETITOR_PENDING)

    async with right_behind(run, State.SEED_REVIEW_PENDING, sent_back):
        await run.start()
    await run.reaches(State.COMPLETED)
    assert await ended(run) is WorkflowExecutionStatus.COMPLETED


async def test_a_run_that_waits_for_a_person_learns_that_its_row_is_closed(pipeline: Pipeline) -> None:
    run = await pipeline.begin(auto_approve=False, **SHORT)
    await run.reaches(State.SEED_REVIEW_PENDING)
    review = ReviewSeeds(**await run.decision(), seeds=EVERYTHING)
    await cancelled_by_row(run)
    refused = await refusal(run, "review_seeds", review)
    assert refused.details[0]["current_state"] == State.CANCELLED
    assert await ended(run) is WorkflowExecutionStatus.CANCELED


async def test_what_the_database_refuses_for_good_parks_the_run_and_a_retry_goes_on(
    pipeline: Pipeline, books_balance: Check
) -> None:
    """Not even the failure of the step can be written: the run waits, with the cause on its card."""
    await pipeline.faults({"kind": "slow", "seconds": 1.0, "schema": "icp"})
    run = await pipeline.begin(**SHORT)
    await in_flight(run, "icp")
    await pipeline.database.admin.execute("REVOKE EXECUTE ON FUNCTION advance_workflow FROM infin8_app")
    text = await card_with(run, "parked: ")
    assert "permission denied for function advance_workflow" in text
    assert f"starter.py retry {run.ref.workflow_id}" in text
    assert (await run.handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await pipeline.database.admin.execute("GRANT EXECUTE ON FUNCTION advance_workflow TO infin8_app")
    await run.update("retry", Retry(**await run.decision()))
    await run.reaches(State.COMPLETED)
    assert len([row for row in await run.rows(_ATTEMPTS) if row["slot"] == "icp"]) == 1
    await books_balance(run)


async def test_a_person_who_saw_a_later_version_than_the_run_gets_through(pipeline: Pipeline) -> None:
    """Somebody else moved the row while the run waited: it learns of that by the decision."""
    run = await pipeline.begin(auto_approve=False, **SHORT)
    await run.reaches(State.SEED_REVIEW_PENDING)
    await moved(
        run,
        State.SEED_REVIEW_COMPLETED,
        State.CLUSTERING_PENDING,
        State.CLUSTERING_PROCESSING,
        State.CLUSTERING_FAILED,
    )
    await run.update("reopen_review", ReopenReview(**await run.decision()))
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=EVERYTHING))
    await run.reaches(State.COMPLETED)


async def test_a_retry_of_a_failed_step_that_is_parked_by_conflicts_runs_it(pipeline: Pipeline) -> None:
    """One retry is enough, whatever the run was parked for."""
    run = await _parked_by_conflicts(pipeline)
    await pipeline.no_faults()
    await moved(run, State.ICP_FAILED)
    await run.update("retry", Retry(**await run.decision()))
    await run.reaches(State.COMPLETED)


# Children -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1.5, 9.0])
async def test_an_older_child_of_a_terminated_parent_ends_first(
    pipeline: Pipeline, books_balance: Check, seconds: float
) -> None:
    """The new parent meets a living child of the same id, whose call in flight takes its time."""
    await pipeline.faults({"kind": "slow", "seconds": seconds, "schema": "article_outline", "count": 1})
    run = await pipeline.begin(**SHORT)
    attempt_id = await in_flight(run, ":outline")
    await run.handle.terminate("a test pulled the plug")
    await run.start()
    await run.reaches(State.COMPLETED)
    outlines = [row for row in await run.rows(_ATTEMPTS) if ":outline" in row["slot"]]
    assert [(row["attempt_id"], row["state"]) for row in outlines] == [(attempt_id, "SETTLED")]
    await books_balance(run)


@pytest.mark.parametrize("schema", ["article_outline", "article_section"])
async def test_one_child_cancelled_alone_is_written_again(
    pipeline: Pipeline, books_balance: Check, schema: str
) -> None:
    """What it had paid for is judged and kept by its successor; the other article is not disturbed."""
    await pipeline.faults({"kind": "slow", "seconds": 1.5, "schema": schema})
    run = await pipeline.begin()
    await in_flight(run, schema.replace("article_", ":"))
    progress = await run.progress()
    (first, *_) = await run.rows("SELECT article_id FROM articles WHERE workflow_id = $1 ORDER BY position")
    child = pipeline.client.get_workflow_handle(
        article_workflow_id(run.temporal_id, first["article_id"], progress.version)
    )
    await child.cancel()
    await run.reaches(State.COMPLETED)
    twice = await run.rows(
        """
        SELECT slot FROM spend_attempts WHERE workflow_id = $1 AND state = 'SETTLED' AND rejected_reason IS NULL
        GROUP BY slot HAVING count(*) > 1
        """
    )
    assert twice == []
    await books_balance(run)


# Updates and the run's life -----------------------------------------------------------------------------------------


async def test_a_decision_starts_the_run_that_its_row_lacks(pipeline: Pipeline, books_balance: Check) -> None:
    """It reaches the run before its progress is loaded, and waits for that."""
    run = await _without_a_run(pipeline)
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=EVERYTHING))
    await run.reaches(State.COMPLETED)
    await books_balance(run)


async def test_a_stale_decision_before_the_progress_is_loaded_is_refused_by_the_database(pipeline: Pipeline) -> None:
    run = await _without_a_run(pipeline)
    stale = {**await run.decision(), "expected_version": 1}
    refused = await refusal(run, "review_seeds", ReviewSeeds(**stale, seeds=EVERYTHING))
    assert refused.type == "WorkflowTransitionError"
    assert refused.details[0]["current_state"] == State.SEED_REVIEW_PENDING
    assert (await run.progress()).state is State.SEED_REVIEW_PENDING


async def test_a_decision_waits_for_a_worker(idle_pipeline: Pipeline) -> None:
    """Sent while no worker runs: the update is there when one comes."""
    async with running_workers(idle_pipeline):
        run = await idle_pipeline.begin(auto_approve=False, **SHORT)
        await run.reaches(State.SEED_REVIEW_PENDING)
    review = ReviewSeeds(**await run.decision(), seeds=EVERYTHING)
    deciding = asyncio.create_task(run.update("review_seeds", review))
    async with running_workers(idle_pipeline):
        progress = await asyncio.wait_for(deciding, 30)
        assert progress.version > review.expected_version
        await run.reaches(State.COMPLETED)


async def _without_a_run(pipeline: Pipeline) -> Run:
    run = await pipeline.begin(auto_approve=False, **SHORT)
    await run.reaches(State.SEED_REVIEW_PENDING)
    await run.handle.terminate("a test pulled the plug")
    return run


DECISIONS = ["review_seeds", "reopen_review", "retry", "approve_articles", "redo_article"]


async def _decision(run: Run, update: str, **changes: Any) -> Decision:
    facts = {**await run.decision(), **changes}
    articles = await run.rows("SELECT article_id FROM articles WHERE workflow_id = $1 ORDER BY position")
    article_id = articles[0]["article_id"] if articles else uuid4()
    match update:
        case "review_seeds":
            return ReviewSeeds(**facts, seeds=EVERYTHING)
        case "reopen_review":
            return ReopenReview(**facts)
        case "retry":
            return Retry(**facts)
        case "approve_articles":
            return ApproveArticles(**facts, hashes={article_id: "0" * 64})
        case "redo_article":
            return RedoArticle(**facts, article_id=article_id, note="shorter")
        case _:
            return RaiseCap(**facts, cap_usd=Decimal(2))


STATE_FOR = {
    "review_seeds": State.SEED_REVIEW_PENDING,
    "reopen_review": State.CLUSTERING_FAILED,
    "retry": State.ICP_FAILED,
    "approve_articles": State.PUBLISH_PENDING,
    "redo_article": State.PUBLISH_PENDING,
}


async def test_every_decision_about_a_cancelled_workflow_is_refused(pipeline: Pipeline) -> None:
    """Each starts a run, which ends at once, and says where the row stands."""
    run = await pipeline.begin(publish={"approval": "person"}, **SHORT)
    await run.reaches(State.PUBLISH_PENDING)
    await run.handle.cancel()
    assert await ended(run) is WorkflowExecutionStatus.CANCELED
    for update in DECISIONS:
        decision = await _decision(run, update, expected_state=STATE_FOR[update])
        refused = await refusal(run, update, decision)
        assert refused.type == "WorkflowTransitionError", update
        assert refused.details[0]["current_state"] == State.CANCELLED
        assert refused.details[0]["reason"] == "terminal"
        await ended(run)
    refused = await refusal(run, "raise_cap", await _decision(run, "raise_cap"))
    assert refused.type == "BadInputError"
    assert "CANCELLED" in refused.message
    assert (await run.progress()).cap_usd == Decimal(1)


async def test_a_decision_about_a_completed_workflow_starts_no_run(pipeline: Pipeline) -> None:
    run = await pipeline.begin(**SHORT)
    await run.handle.result()
    for update in DECISIONS:
        with pytest.raises(WorkflowAlreadyStartedError):
            await run.update(update, await _decision(run, update, expected_state=STATE_FOR[update]))


async def test_a_completed_row_without_a_run_refuses_and_the_run_ends(pipeline: Pipeline) -> None:
    """As after the retention of Temporal's history has passed."""
    run = await pipeline.create(**SHORT)
    made = MadeWorkflow(run.ref.workflow_id, run.ref.organization_id)
    async with pipeline.database.app.transaction(run.ref.organization_id) as connection:
        await walk(connection, made, legal_path(State.COMPLETED))
    decision = await _decision(run, "retry", expected_state=State.ICP_FAILED)
    refused = await refusal(run, "retry", decision)
    assert refused.details[0]["current_state"] == State.COMPLETED
    assert await ended(run) is WorkflowExecutionStatus.COMPLETED


# Decisions out of date, out of place, twice -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "updates", [("review_seeds",), ("approve_articles", "redo_article"), ("reopen_review",), ("retry",)]
)
async def test_a_decision_of_another_version_is_refused(pipeline: Pipeline, updates: tuple[str, ...]) -> None:
    run = await _standing_for(pipeline, updates[0])
    progress = await run.progress()
    for update, version in product(updates, (progress.version - 1, progress.version + 1)):
        refused = await refusal(run, update, await _decision(run, update, expected_version=version))
        assert refused.type == "WorkflowTransitionError"
        assert refused.details[0]["current_state"] == progress.state
        assert refused.details[0]["expected_version"] == version
    assert (await run.progress()).version == progress.version


async def test_a_cap_is_raised_whatever_has_happened_since_and_never_lowered(pipeline: Pipeline) -> None:
    """It is no transition: a decision that was made looking at an earlier version still allows more money."""
    run = await pipeline.begin(auto_approve=False, **SHORT)
    await run.reaches(State.SEED_REVIEW_PENDING)
    stale = {**await run.decision(), "expected_version": 1}
    progress = await run.update("raise_cap", RaiseCap(**stale, cap_usd=Decimal(2)))
    assert progress.cap_usd == Decimal(2)
    refused = await refusal(run, "raise_cap", RaiseCap(**await run.decision(), cap_usd=Decimal("1.50")))
    assert refused.type == "BadInputError"
    assert "can only be raised" in refused.message
    assert (await run.progress()).cap_usd == Decimal(2)


async def test_a_retry_of_what_has_not_failed_is_refused(pipeline: Pipeline) -> None:
    """Each at once, and the run takes the right decision afterwards."""
    run = await pipeline.begin(auto_approve=False, **SHORT)
    await run.reaches(State.SEED_REVIEW_PENDING)
    for state in (State.SEED_REVIEW_PENDING, State.ICP_PROCESSING, State.CREATED, State.ICP_FAILED):
        refused = await refusal(run, "retry", Retry(**{**await run.decision(), "expected_state": state}))
        assert refused.type in ("WorkflowTransitionError", "BadInputError"), state
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=EVERYTHING))
    await run.reaches(State.COMPLETED)


async def test_a_decision_sent_twice_at_once_is_one(pipeline: Pipeline, books_balance: Check) -> None:
    """The person's command repeats its request, because the answer to the first was lost."""
    run = await _standing_for(pipeline, "retry")
    await pipeline.no_faults()
    retry = Retry(**await run.decision())
    answers = await asyncio.gather(
        run.update("retry", retry),
        run.update("retry", retry),
    )
    assert min(answer.version for answer in answers) == retry.expected_version + 1
    await run.reaches(State.COMPLETED)
    retried = await run.rows(
        "SELECT seq FROM workflow_transitions WHERE workflow_id = $1 AND from_state = 'ICP_FAILED'"
    )
    assert len(retried) == 1
    await books_balance(run)


async def test_two_reviewers_at_once_one_wins(pipeline: Pipeline) -> None:
    run = await pipeline.begin(auto_approve=False, **SHORT)
    await run.reaches(State.SEED_REVIEW_PENDING)
    reviews = [ReviewSeeds(**await run.decision(), seeds=EVERYTHING) for _ in range(5)]
    ends = await asyncio.gather(*[run.update("review_seeds", one) for one in reviews], return_exceptions=True)
    refused = [end for end in ends if isinstance(end, WorkflowUpdateFailedError)]
    assert len(refused) == 4
    for end in refused:
        assert isinstance(end.cause, ApplicationError)
        assert end.cause.type == "WorkflowTransitionError"
    await run.reaches(State.COMPLETED)


async def test_the_first_workflows_of_an_organization_are_created_at_once(idle_pipeline: Pipeline) -> None:
    """Nobody is told that the domain is another organization's."""
    for number in range(8):
        organization = {**BRIEF["organization"], "url": f"https://harborline-{number}.example"}
        runs = await asyncio.gather(*[idle_pipeline.create(organization=organization) for _ in range(10)])
        assert {(await run.progress()).state for run in runs} == {State.CREATED}


async def test_an_article_of_another_workflow_is_not_redone(pipeline: Pipeline) -> None:
    """Of the same organization, so that row-level security has nothing against it."""
    runs = [await pipeline.begin(publish={"approval": "person"}, **SHORT) for _ in range(2)]
    for run in runs:
        await run.reaches(State.PUBLISH_PENDING)
    (theirs,) = await runs[1].rows("SELECT article_id FROM articles WHERE workflow_id = $1")
    redo = RedoArticle(**await runs[0].decision(), article_id=theirs["article_id"], note="shorter")
    refused = await refusal(runs[0], "redo_article", redo)
    assert refused.type == "BadInputError"
    after = await runs[1].rows("SELECT state, revision FROM articles WHERE workflow_id = $1")
    assert after == [{"state": "PASSED", "revision": 1}]
    assert (await runs[0].progress()).state is State.PUBLISH_PENDING


async def _standing_for(pipeline: Pipeline, update: str) -> Run:
    """A run that waits for just this decision."""
    match update:
        case "review_seeds":
            run = await pipeline.begin(auto_approve=False, **SHORT)
        case "approve_articles" | "redo_article":
            run = await pipeline.begin(publish={"approval": "person"}, **SHORT)
        case "retry":
            await pipeline.faults({"kind": "http_status", "status": 401, "path": "/v1/chat"})
            run = await pipeline.begin(**SHORT)
        case _:
            return await _with_failed_clustering(pipeline)
    await run.reaches(STATE_FOR[update])
    return run


async def _with_failed_clustering(pipeline: Pipeline) -> Run:
    run = await pipeline.begin(auto_approve=False, **SHORT)
    await run.reaches(State.SEED_REVIEW_PENDING)
    (shown, *_) = await run.rows("SELECT text FROM keywords WHERE workflow_id = $1 ORDER BY position")
    seeds = SeedDecision(kind=SeedDecisionKind.SELECT, approve=(shown["text"],), add=("zebra stripes in winter",))
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=seeds))
    await run.reaches(State.CLUSTERING_FAILED, State.VALIDATION_FAILED)
    return run


_ATTEMPTS = "SELECT attempt_id, slot, claim, ask, state FROM spend_attempts WHERE workflow_id = $1 ORDER BY claim, ask"
