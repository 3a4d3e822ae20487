"""Records the histories that ``test_replay.py`` replays, one of every shape, on servers of its own:

    python -m tests.replay.record [SHAPE …]

Needed when the workflows' code changes what it does and no run of the old code may be open any more. A change that
has to live with such runs is guarded by ``workflow.patched`` instead, and the old histories stay.
"""

import asyncio
import gzip
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import SecretStr
from temporalio.client import WorkflowFailureError, WorkflowHistory

import worker
from config import Settings
from db.migrate import migrate
from db.pool import Database
from db.transitions import Advance, advance, lock_workflow
from domain.decisions import RaiseCap, RedoArticle, ReopenReview, Retry, ReviewSeeds
from domain.seed_review import SeedDecision, SeedDecisionKind
from domain.states import State
from sandbox.postgres import remove_postgres, start_postgres
from sandbox.server import start_sandbox_server
from sandbox.temporal import start_temporal
from tests.conftest import AdminSession, TenantDatabase, create_database
from tests.workflows.conftest import FAST, Pipeline, Run, running_workers
from workflows.intent import SEARCH_ATTRIBUTES

FOLDER = Path(__file__).parent / "histories"
BYTES_MAX = 400_000
SHORT: dict[str, Any] = {"articles": {"max": 1, "min": 1, "words": 400}}
EVERYTHING = SeedDecision(kind=SeedDecisionKind.APPROVE_ALL)
PATIENCE_SECONDS = 60.0


# The shapes ---------------------------------------------------------------------------------------------------------


async def complete(pipeline: Pipeline) -> Run:
    return await pipeline.begin()


async def approved_by_persons(pipeline: Pipeline) -> Run:
    run = await pipeline.begin(auto_approve=False, publish={"approval": "person"}, **SHORT)
    await _approve_seeds(run)
    await _approve_articles(run)
    return run


async def rejected_seeds(pipeline: Pipeline) -> Run:
    run = await pipeline.begin(auto_approve=False, **SHORT)
    await run.reaches(State.SEED_REVIEW_PENDING)
    rejected = SeedDecision(kind=SeedDecisionKind.REJECT, feedback="too generic, go deeper")
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=rejected))
    await _approve_seeds(run)
    return run


async def raised_cap(pipeline: Pipeline) -> Run:
    """Parked on its cap, which was raised, and retried."""
    run = await pipeline.begin(cap_usd="0.04")
    await run.reaches(State.ARTICLE_FAILED)
    await run.update("raise_cap", RaiseCap(**await run.decision(), cap_usd=Decimal(1)))
    await run.update("retry", Retry(**await run.decision()))
    return run


async def redone_article(pipeline: Pipeline) -> Run:
    run = await pipeline.begin(publish={"approval": "person"}, **SHORT)
    await run.reaches(State.PUBLISH_PENDING)
    (article,) = await run.rows("SELECT article_id FROM articles WHERE workflow_id = $1")
    redo = RedoArticle(**await run.decision(), article_id=article["article_id"], note="more about exceptions")
    await run.update("redo_article", redo)
    await _approve_articles(run)
    return run


async def cancelled_in_a_call(pipeline: Pipeline) -> Run:
    """The request was in flight, and its answer awaited."""
    await pipeline.faults({"kind": "slow", "seconds": 1, "schema": "icp"})
    run = await pipeline.begin(**SHORT)
    await _in_flight(run, "icp")
    await run.handle.cancel()
    return run


async def cancelled_in_an_article(pipeline: Pipeline) -> Run:
    await pipeline.faults({"kind": "slow", "seconds": 1, "schema": "article_section"})
    run = await pipeline.begin(**SHORT)
    await _in_flight(run, ":section")
    await run.handle.cancel()
    return run


async def unknown_outcome(pipeline: Pipeline) -> Run:
    """Billed, and the connection dropped: once for the ICP and once for a section."""
    await pipeline.faults(
        *[
            {"kind": "bill_then_drop", "where": "before_headers", "schema": schema, "count": 1}
            for schema in ("icp", "article_section")
        ]
    )
    return await pipeline.begin(**SHORT)


async def reopened_review(pipeline: Pipeline) -> Run:
    run = await pipeline.begin(auto_approve=False, **SHORT)
    await run.reaches(State.SEED_REVIEW_PENDING)
    (shown, *_) = await run.rows("SELECT text FROM keywords WHERE workflow_id = $1 ORDER BY position")
    seeds = SeedDecision(kind=SeedDecisionKind.SELECT, approve=(shown["text"],), add=("zebra stripes in winter",))
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=seeds))
    await run.reaches(State.CLUSTERING_FAILED, State.VALIDATION_FAILED)
    await run.update("reopen_review", ReopenReview(**await run.decision()))
    await _approve_seeds(run)
    return run


async def refused_key(pipeline: Pipeline) -> Run:
    await pipeline.faults({"kind": "http_status", "status": 401, "path": "/v1/chat"})
    run = await pipeline.begin(**SHORT)
    await run.reaches(State.ICP_FAILED)
    await pipeline.no_faults()
    await run.update("retry", Retry(**await run.decision()))
    return run


async def asked_to_wait(pipeline: Pipeline) -> Run:
    """HTTP 429 with Retry-After, then an answer that has to be asked for again."""
    await pipeline.faults(
        {"kind": "http_status", "status": 429, "seconds": 0.2, "schema": "icp", "nth": 1},
        {"kind": "schema_violation", "schema": "icp", "nth": 2},
    )
    return await pipeline.begin(**SHORT)


async def repaired_article(pipeline: Pipeline) -> Run:
    """A gate so strict that sections are repaired, whether or not that is enough."""
    steps = pipeline.settings.step_settings(auto_approve_seeds=True)
    strict = steps.article.model_copy(update={"keyword_density_max": 0.001})
    run = await pipeline.begin(steps=steps.model_copy(update={"article": strict}), **SHORT)
    await run.reaches(State.ARTICLE_FAILED, State.COMPLETED)
    if (await run.progress()).state is State.ARTICLE_FAILED:
        await run.handle.cancel()
    return run


async def lost_claim(pipeline: Pipeline) -> Run:
    """Somebody else failed the step and began it again."""
    await pipeline.faults({"kind": "slow", "seconds": 1, "schema": "icp"})
    run = await pipeline.begin(**SHORT)
    await _in_flight(run, "icp")
    await _moved(run, State.ICP_FAILED, State.ICP_PROCESSING)
    return run


SHAPES: Mapping[str, Callable[[Pipeline], Awaitable[Run]]] = {
    shape.__name__: shape
    for shape in (
        complete,
        approved_by_persons,
        rejected_seeds,
        raised_cap,
        redone_article,
        cancelled_in_a_call,
        cancelled_in_an_article,
        unknown_outcome,
        reopened_review,
        refused_key,
        asked_to_wait,
        repaired_article,
        lost_claim,
    )
}


async def _approve_seeds(run: Run) -> None:
    await run.reaches(State.SEED_REVIEW_PENDING)
    await run.update("review_seeds", ReviewSeeds(**await run.decision(), seeds=EVERYTHING))


async def _approve_articles(run: Run) -> None:
    from activities.publish import accepted_articles
    from domain.decisions import ApproveArticles

    await run.reaches(State.PUBLISH_PENDING)
    async with run.pipeline.database.app.transaction(run.ref.organization_id) as connection:
        accepted = await accepted_articles(connection, run.ref.workflow_id)
    hashes = {article.row.article_id: article.content_hash for article in accepted}
    await run.update("approve_articles", ApproveArticles(**await run.decision(), hashes=hashes))


async def _in_flight(run: Run, slot: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            rows = await run.rows("SELECT slot FROM spend_attempts WHERE workflow_id = $1 AND state = 'DISPATCHED'")
            if any(slot in row["slot"] for row in rows):
                return
            await asyncio.sleep(0.02)


async def _moved(run: Run, *states: State) -> None:
    async with run.pipeline.database.app.transaction(run.ref.organization_id) as connection:
        for following in states:
            locked = await lock_workflow(connection, run.ref.workflow_id, run.ref.organization_id)
            assert locked is not None
            step = Advance(
                workflow_id=run.ref.workflow_id,
                organization_id=run.ref.organization_id,
                expected_state=locked.state,
                expected_version=locked.version,
                next_state=following,
                transition_id=uuid4(),
                actor="somebody else",
            )
            await advance(connection, step)


# Recording ----------------------------------------------------------------------------------------------------------


async def record(names: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    async with recording_pipeline() as pipeline, running_workers(pipeline):
        for name in names:
            await pipeline.no_faults()
            run = await SHAPES[name](pipeline)
            with suppress(WorkflowFailureError):
                await asyncio.wait_for(run.handle.result(), PATIENCE_SECONDS)
            history = await run.handle.fetch_history()
            _store(name, history)
            child = await _longest_child(pipeline, history)
            if child is not None:
                _store(f"{name}.article", child)


@asynccontextmanager
async def recording_pipeline() -> AsyncIterator[Pipeline]:
    folder = Path(tempfile.mkdtemp(prefix="infin8-record-"))
    async with AsyncExitStack() as exits:
        exits.callback(shutil.rmtree, folder, ignore_errors=True)
        exits.callback(remove_postgres, folder)
        postgres = await start_postgres(folder, durable=False)
        exits.push_async_callback(postgres.stop, immediate=True)
        temporal = await start_temporal(
            folder, database_file=folder / "temporal.db", search_attributes=SEARCH_ATTRIBUTES, ui=False
        )
        exits.callback(temporal.kill)
        sandbox = await start_sandbox_server(folder / "sandbox")
        exits.push_async_callback(sandbox.stop)
        name = await create_database(postgres)
        await migrate(postgres.admin_dsn(name))
        app_dsn, operator_dsn = postgres.dsn("infin8_app", name), postgres.dsn("infin8_operator", name)
        app = await Database.connect(app_dsn, size_max=20)
        exits.push_async_callback(app.close)
        operator = await Database.connect(operator_dsn, size_min=0, size_max=2)
        exits.push_async_callback(operator.close)
        admin_dsn = postgres.admin_dsn(name)
        database = TenantDatabase(name, app_dsn, operator_dsn, admin_dsn, app, operator, AdminSession(admin_dsn))
        settings = Settings(
            _env_file=None,
            state_dir=folder / "state",
            output_dir=folder / "published",
            postgres_dsn=SecretStr(app_dsn),
            TEMPORAL_ADDRESS=temporal.address,
            sandbox_url=sandbox.url,
            task_queue="recording",
            timeouts=FAST,
            llm_api_key=None,
            OPENROUTER_API_KEY=None,
            OPENAI_API_KEY=None,
        )
        yield Pipeline(database, await worker.connect_temporal(settings), settings, sandbox, settings.output_dir)


async def _longest_child(pipeline: Pipeline, history: WorkflowHistory) -> WorkflowHistory | None:
    """Articles of one run differ little: the one that most happened to."""
    children = [
        event.child_workflow_execution_started_event_attributes.workflow_execution
        for event in history.events
        if event.HasField("child_workflow_execution_started_event_attributes")
    ]
    histories = [
        await pipeline.client.get_workflow_handle(child.workflow_id, run_id=child.run_id).fetch_history()
        for child in children
    ]
    return max(histories, key=lambda one: len(one.events), default=None)


def _store(name: str, history: WorkflowHistory) -> None:
    recorded = {"workflow_id": history.workflow_id, "history": _scrubbed(history.to_json_dict())}
    packed = gzip.compress(json.dumps(recorded, separators=(",", ":")).encode(), 9, mtime=0)
    if len(packed) > BYTES_MAX:
        raise ValueError(f"the history of {name} has {len(packed)} bytes, more than {BYTES_MAX}: record less")
    (FOLDER / f"{name}.json.gz").write_bytes(packed)
    sys.stdout.write(f"{name}: {len(history.events)} events, {len(packed)} bytes\n")


def _scrubbed(value: Any) -> Any:
    """Without what tells of the machine it was recorded on, and is not looked at when it is replayed."""
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, dict):
        return {key: _scrubbed(item) for key, item in value.items() if key not in ("stackTrace", "identity")}
    return value


def main() -> None:
    names = sys.argv[1:] or list(SHAPES)
    unknown = [name for name in names if name not in SHAPES]
    if unknown:
        sys.exit(f"no such shape: {', '.join(unknown)}; there are {', '.join(SHAPES)}")
    asyncio.run(record(names))


if __name__ == "__main__":
    main()
