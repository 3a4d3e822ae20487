"""Step 4: the same keywords give the same clusters, whatever their order, and none is lost."""

import itertools
import random
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.clustering import Clustering, Keyword, average_linkage, cluster
from domain.keyphrases import Intent
from domain.settings import ClusteringSettings
from domain.similarity import similarity, similarity_matrix
from domain.verdict import Blocked, Completed, Level

SETTINGS = ClusteringSettings()
APPROVAL = ("invoice approval workflow", "invoice approval software", "invoice approval process")
PORTAL = ("supplier portal", "supplier portal software", "supplier portal login page")
KEYWORDS = [
    *(Keyword(text=text, volume=900 - position) for position, text in enumerate(APPROVAL)),
    *(Keyword(text=text, volume=500 - position) for position, text in enumerate(PORTAL)),
    Keyword(text="zebra crossing", volume=10_000),
]

words = st.sampled_from("invoice approval software workflow supplier portal payment matching order fraud audit".split())  # noqa: SIM905
keyword_texts = st.lists(words, min_size=1, max_size=4).map(" ".join)
keywords = st.lists(
    st.builds(
        Keyword,
        text=keyword_texts,
        volume=st.none() | st.integers(0, 3),
        score=st.sampled_from([0.0, 1.5]),
        intent=st.sampled_from(Intent),
    ),
    max_size=30,
    unique_by=lambda keyword: keyword.text,
)


def clustered(given_keywords: list[Keyword], chosen: ClusteringSettings = SETTINGS) -> Clustering:
    result = cluster(given_keywords, chosen)
    if isinstance(result, Blocked):
        return Clustering.model_validate(result.output)
    return result.output


def texts_of(clustering: Clustering) -> list[str]:
    members = [text for one in clustering.clusters for text in (one.hub, *(spoke.text for spoke in one.spokes))]
    return [*members, *(leftover.text for leftover in clustering.leftovers)]


def test_keywords_about_one_thing_stand_together() -> None:
    result = cluster(KEYWORDS, SETTINGS)
    assert isinstance(result, Completed)
    groups = [{one.hub, *(spoke.text for spoke in one.spokes)} for one in result.output.clusters]
    assert groups == [set(APPROVAL), set(PORTAL)]
    assert [leftover.text for leftover in result.output.leftovers] == ["zebra crossing"]
    assert result.output.leftovers[0].code == "NO_NEIGHBOUR"
    assert result.verdict.level is Level.PASS
    assert result.verdict.values["threshold"] == SETTINGS.threshold


def test_the_most_searched_is_the_hub() -> None:
    assert [one.hub for one in clustered(KEYWORDS).clusters] == ["invoice approval workflow", "supplier portal"]
    raised = [*KEYWORDS[:-1], Keyword(text="invoice approval process steps", volume=2000)]
    assert clustered(raised).clusters[0].hub == "invoice approval process steps"


def test_without_volume_the_score_decides_then_the_centre_then_the_text() -> None:
    scored = [Keyword(text=text, score=float(position)) for position, text in enumerate(APPROVAL)]
    assert clustered(scored).clusters[0].hub == APPROVAL[2]
    central = [Keyword(text=text) for text in ("red invoice approval", "invoice approval", "blue invoice approval")]
    assert clustered(central).clusters[0].hub == "invoice approval"
    equal = [Keyword(text=text) for text in ("invoice c", "invoice b", "invoice a")]
    assert clustered(equal).clusters[0].hub == "invoice a"


def test_a_known_volume_stands_above_an_unknown_one() -> None:
    mixed = [Keyword(text=APPROVAL[0], score=99.0), *(Keyword(text=text, volume=1) for text in APPROVAL[1:])]
    assert clustered(mixed).clusters[0].hub == APPROVAL[2]


def test_intents_are_not_mixed() -> None:
    other = [Keyword(text=f"how to {text}", intent=Intent.INFORMATIONAL) for text in APPROVAL]
    commercial = [Keyword(text=text, intent=Intent.COMMERCIAL) for text in APPROVAL]
    clustering = clustered([*other, *commercial])
    assert {one.intent for one in clustering.clusters} == {Intent.INFORMATIONAL, Intent.COMMERCIAL}
    for one in clustering.clusters:
        assert {spoke.text.startswith("how to") for spoke in one.spokes} == {one.hub.startswith("how to")}


def test_a_group_of_two_is_left_over_with_its_reason() -> None:
    clustering = clustered([*KEYWORDS, Keyword(text="payment fraud"), Keyword(text="payment fraud prevention")])
    reasons = {leftover.text: leftover for leftover in clustering.leftovers}
    assert reasons["payment fraud"].code == "GROUP_TOO_SMALL"
    assert reasons["payment fraud"].reason == "its group has 2 keywords; a cluster needs 3"


def test_a_keyword_far_from_the_hub_is_left_over_with_its_reason() -> None:
    strict = ClusteringSettings(spoke_similarity_min=0.45)
    chain = [
        Keyword(text="invoice approval", volume=9),
        *(Keyword(text=text) for text in (*APPROVAL, "approval limits")),
    ]
    reasons = {leftover.text: leftover for leftover in clustered(chain, strict).leftovers}
    assert reasons["approval limits"].code == "FAR_FROM_HUB"
    assert '"invoice approval"' in reasons["approval limits"].reason


def test_every_spoke_is_as_near_as_the_settings_ask() -> None:
    for one in clustered(KEYWORDS).clusters:
        corpus = [keyword.text for keyword in KEYWORDS]
        for spoke in one.spokes:
            assert spoke.similarity == similarity(one.hub, spoke.text, corpus)
            assert spoke.similarity >= SETTINGS.spoke_similarity_min


def test_a_large_group_is_split() -> None:
    colours = ("red", "blue", "green", "black", "white")
    things = ("bicycle", "umbrella", "keyboard", "trousers", "notebook")
    many = [Keyword(text=f"{colour} {thing} shop") for colour in colours for thing in things]
    clustering = clustered(many)
    assert sorted(texts_of(clustering)) == sorted(keyword.text for keyword in many)
    assert clustering.clusters
    assert all(SETTINGS.spokes_min <= len(one.spokes) <= SETTINGS.spokes_max for one in clustering.clusters)


def test_a_large_group_of_spellings_is_split_too() -> None:
    syllables = itertools.product(("Ab", "ab", "AB"), ("cd", "Cd", "CD"), ("ef", "EF", "Ef"))
    many = [Keyword(text=f"{first}-{second} {third}") for first, second, third in syllables]
    clustering = clustered(many)
    assert sorted(texts_of(clustering)) == sorted(keyword.text for keyword in many)
    assert all(len(one.spokes) <= SETTINGS.spokes_max for one in clustering.clusters)


@pytest.mark.parametrize("texts", [(), ("one",), ("invoice", "zebra", "cloud"), ("a b", "a b c")])
def test_no_cluster_blocks(texts: tuple[str, ...]) -> None:
    result = cluster([Keyword(text=text) for text in texts], SETTINGS)
    assert isinstance(result, Blocked)
    assert result.verdict.reasons[0].code == "CLUSTERS_NONE"
    assert f"{len(texts)} keywords" in result.verdict.reasons[0].message
    assert sorted(texts_of(Clustering.model_validate(result.output))) == sorted(texts)


def test_a_text_given_twice_blocks() -> None:
    result = cluster([*KEYWORDS, KEYWORDS[0]], SETTINGS)
    assert isinstance(result, Blocked)
    assert result.verdict.reasons[0].code == "KEYWORD_TWICE"


@settings(deadline=None)
@given(keywords, st.randoms(use_true_random=False))
def test_every_keyword_comes_out_once_and_the_order_plays_no_part(chosen: list[Keyword], order: random.Random) -> None:
    clustering = clustered(chosen)
    assert sorted(texts_of(clustering)) == sorted(keyword.text for keyword in chosen)
    shuffled = list(chosen)
    order.shuffle(shuffled)
    assert cluster(shuffled, SETTINGS) == cluster(chosen, SETTINGS)
    intents = {keyword.text: keyword.intent for keyword in chosen}
    for one in clustering.clusters:
        assert {intents[spoke.text] for spoke in one.spokes} == {one.intent}
        assert SETTINGS.spokes_min <= len(one.spokes) <= SETTINGS.spokes_max
        assert all(spoke.similarity >= SETTINGS.spoke_similarity_min for spoke in one.spokes)


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), max_size=12))
def test_similarities_are_symmetric_and_bounded_for_any_text(texts: list[str]) -> None:
    matrix = similarity_matrix(texts)
    assert matrix.shape == (len(texts), len(texts))
    assert np.array_equal(matrix, matrix.T)
    assert np.array_equal(np.diag(matrix), np.ones(len(texts)))
    assert not len(texts) or (matrix.min() >= 0 and matrix.max() <= 1)


def test_similarities_are_these_on_every_machine() -> None:
    matrix = similarity_matrix(["invoice approval", "invoice approvals", "approval limits", "zebra"])
    assert matrix[0].tolist() == [1.0, 1.0, 0.424683, 0.0]


def test_average_linkage_joins_by_the_mean_of_all_pairs() -> None:
    similarities = np.array([[1.0, 0.9, 0.5, 0.0], [0.9, 1.0, 0.1, 0.0], [0.5, 0.1, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert average_linkage(similarities, 0.3) == [[0, 1, 2], [3]]
    assert average_linkage(similarities, 0.31) == [[0, 1], [2], [3]]
    assert average_linkage(similarities, 0.95) == [[0], [1], [2], [3]]
    assert average_linkage(np.zeros((0, 0)), 0.5) == []


def test_a_thousand_keywords_take_seconds() -> None:
    chosen = random.Random(7)
    vocabulary = ["".join(chosen.choices("abcdefghijklmnop", k=7)) for _ in range(300)]
    many = {" ".join(chosen.sample(vocabulary, 3)) for _ in range(1000)}
    began = time.perf_counter()
    clustered([Keyword(text=text, volume=len(text)) for text in many])
    assert time.perf_counter() - began < 10


def naive_linkage(similarities: Any, threshold: float) -> list[list[int]]:
    """The definition, without any of the bookkeeping."""
    groups = [[position] for position in range(len(similarities))]
    while len(groups) > 1:
        pairs = [
            (-round(float(similarities[np.ix_(one, other)].mean()), 6), one[0], other[0], one, other)
            for one, other in itertools.combinations(sorted(groups), 2)
        ]
        mean, _, _, one, other = min(pairs)
        if -mean < threshold:
            break
        groups = [group for group in groups if group not in (one, other)] + [sorted(one + other)]
    return sorted(groups)


@settings(deadline=None)
@given(
    st.integers(0, 14), st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 20]), st.sampled_from([0.0, 0.3, 0.5, 0.7])
)
def test_average_linkage_is_its_definition(count: int, seed: int, values: int, threshold: float) -> None:
    """Also where many similarities are equal."""
    drawn = np.random.default_rng(seed).integers(0, values + 1, (count, count)) / values
    symmetric = np.triu(drawn, 1) + np.triu(drawn, 1).T + np.eye(count)
    assert average_linkage(symmetric, threshold) == naive_linkage(symmetric, threshold)


def test_what_is_equally_alike_is_cut_into_clusters_rather_than_left_alone() -> None:
    trades = [f"{first}{second}" for first in "abcde" for second in "fghijk"]
    many = [Keyword(text=f"invoice approval software {trade}", volume=9) for trade in trades]
    clustering = clustered(many)
    assert len(clustering.leftovers) <= len(many) / 4
    assert all(len(one.spokes) <= SETTINGS.spokes_max for one in clustering.clusters)
    assert sorted(texts_of(clustering)) == sorted(keyword.text for keyword in many)


def test_a_thousand_keywords_that_are_all_alike_take_seconds() -> None:
    many = [Keyword(text=f"invoice approval software {number:04}") for number in range(1000)]
    began = time.perf_counter()
    clustering = clustered(many)
    assert time.perf_counter() - began < 20
    assert sorted(texts_of(clustering)) == sorted(keyword.text for keyword in many)
