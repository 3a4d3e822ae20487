"""Clustering with meanings from a paid model: paid once, stored, and never replaced by another method unsaid."""

from decimal import Decimal
from typing import Any

import pytest

from domain import embedding_requests
from domain.decisions import Retry
from domain.settings import Embeddings, StepSettings, with_embeddings
from domain.states import State
from tests.workflows.conftest import Pipeline, Run, assert_books_balance

MODEL = "openai/text-embedding-3-small"
PATH = "/v1/embeddings"
ATTEMPTS = "SELECT * FROM spend_attempts WHERE workflow_id = $1 AND endpoint = 'embeddings' ORDER BY slot, claim, ask"
LATER = (State.ARTICLE_PENDING, State.ARTICLE_PROCESSING, State.ARTICLE_COMPLETED, State.PUBLISH_PENDING,
         State.PUBLISH_PROCESSING, State.COMPLETED, State.VALIDATION_FAILED)  # fmt: skip


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_requests, "BATCH_TEXTS_MAX", 25)


def steps_of(pipeline: Pipeline) -> StepSettings:
    steps = pipeline.settings.step_settings(auto_approve_seeds=True)
    return with_embeddings(steps, Embeddings.PROVIDER, MODEL)


async def vectors_of(run: Run) -> dict[str, int]:
    rows = await run.rows("SELECT text, cardinality(vector) AS size FROM keyword_vectors WHERE workflow_id = $1")
    return {row["text"]: row["size"] for row in rows}


async def approved(run: Run) -> set[str]:
    return {row["text"] for row in await run.rows("SELECT text FROM keywords WHERE workflow_id = $1")}


async def test_every_keyword_gets_its_vector_and_the_cost_is_in_the_ledger(pipeline: Pipeline) -> None:
    run = await pipeline.begin(steps=steps_of(pipeline), articles={"max": 1, "min": 1, "words": 400})
    await run.reaches(State.COMPLETED, seconds=60)

    vectors = await vectors_of(run)
    assert set(vectors) == await approved(run)
    assert set(vectors.values()) == {1536}
    attempts = await run.rows(ATTEMPTS)
    assert len(attempts) == -(-len(vectors) // 25) > 1
    assert {row["slot"] for row in attempts} == {f"embeddings:{number + 1}" for number in range(len(attempts))}
    assert {(row["state"], row["model"], row["step"]) for row in attempts} == {("SETTLED", MODEL, "clustering")}
    assert all(0 < row["computed_cost_usd"] <= row["hold_usd"] < Decimal("0.001") for row in attempts)
    await assert_books_balance(run)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"kind": "http_status", "status": 401}, "HTTP 401"),
        ({"kind": "empty_content"}, "the answer holds 0 embeddings of"),
    ],
)
async def test_without_vectors_the_step_waits_and_a_retry_goes_on(
    pipeline: Pipeline, rule: dict[str, Any], told: str
) -> None:
    """One batch is paid for before the provider fails, and is not paid for again."""
    await pipeline.faults(*({**rule, "path": PATH, "nth": nth} for nth in range(2, 12)))
    run = await pipeline.begin(steps=steps_of(pipeline), articles={"max": 1, "min": 1, "words": 400})
    progress = await run.reaches(State.CLUSTERING_FAILED)
    assert progress.failure is not None
    assert told in progress.failure.message
    kept = await vectors_of(run)
    assert 0 < len(kept) <= 25
    assert await run.rows("SELECT * FROM keyword_clusters WHERE workflow_id = $1") == []

    await pipeline.no_faults()
    before = {
        row["slot"] for row in await run.rows(ATTEMPTS) if row["state"] == "SETTLED" and not row["rejected_reason"]
    }
    await run.update("retry", Retry(**await run.decision()))
    await run.reaches(*LATER, seconds=60)
    assert set(kept) < set(await vectors_of(run)) == await approved(run)
    again = [
        row for row in await run.rows(ATTEMPTS) if row["claim"] == max(r["claim"] for r in await run.rows(ATTEMPTS))
    ]
    assert {row["slot"] for row in again}.isdisjoint(before)
    await run.reaches(State.COMPLETED, seconds=60)
    await assert_books_balance(run)
