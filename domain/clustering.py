"""Step 4, clustering: keywords to hubs and spokes.

Average linkage over the similarities of `domain.similarity`, each intent by itself. The input's order plays no part:
ties are broken by volume, then by text.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from domain.embeddings import Vector
from domain.keyphrases import Intent
from domain.money import Frozen
from domain.settings import ClusteringSettings
from domain.similarity import Matrix, method_of, similarities
from domain.verdict import Blocked, Completed, Level, Reason, verdict_of

SPLIT_STEP = 0.02
NO_VECTORS: Mapping[str, Vector] = {}


class Keyword(Frozen):
    """``volume`` is searches a month, None where unknown; ``score`` then stands in for it."""

    text: str
    volume: int | None = None
    score: float = 0.0
    intent: Intent = Intent.INFORMATIONAL


class Spoke(Frozen):
    """``similarity`` is that to the hub, 0 to 1."""

    text: str
    similarity: float


class Cluster(Frozen):
    """``coherence`` is the mean similarity of all pairs in it."""

    hub: str
    intent: Intent
    spokes: tuple[Spoke, ...]
    coherence: float = 0.0


class Leftover(Frozen):
    """``code`` is machine-readable, ``reason`` one plain line."""

    text: str
    reason: str
    code: str = "NO_NEIGHBOUR"


class Clustering(Frozen):
    """Every keyword stands in it exactly once: as a hub, a spoke or a leftover."""

    clusters: tuple[Cluster, ...]
    leftovers: tuple[Leftover, ...]
    method: str
    threshold: float


def cluster(
    keywords: Sequence[Keyword], settings: ClusteringSettings, vectors: Mapping[str, Vector] = NO_VECTORS
) -> Completed[Clustering] | Blocked:
    """Clusters with the most searched first; ``vectors`` are those of ``settings.embedding_model`` by text, where the
    settings use embeddings. Blocks when there is no cluster (CLUSTERS_NONE) or a text comes twice (KEYWORD_TWICE).

    Raises BadInputError for a keyword without a vector.
    """
    ordered = sorted(keywords, key=_rank)
    texts = [keyword.text for keyword in ordered]
    values = settings.model_dump(mode="json") | {"method": method_of(settings), "keywords": len(keywords)}
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        reason = Reason(code="KEYWORD_TWICE", message=f"the keyword {twice!r} is given twice", subject=twice)
        return Blocked(verdict=verdict_of([reason], values))
    clustering = _clustering(ordered, similarities(texts, vectors, settings), settings)
    reasons = _reasons(clustering, len(keywords), settings)
    verdict = verdict_of(reasons, values)
    if verdict.level is Level.BLOCK:
        return Blocked(verdict=verdict, output=clustering.model_dump(mode="json"))
    return Completed[Clustering](output=clustering, verdict=verdict)


def _rank(keyword: Keyword) -> tuple[float, float, str]:
    """Most searched first; the score decides where no volume is known, then the text."""
    return (-(keyword.volume if keyword.volume is not None else -1), -keyword.score, keyword.text)


def _reasons(clustering: Clustering, count: int, settings: ClusteringSettings) -> list[Reason]:
    if clustering.clusters:
        return []
    size = settings.spokes_min + 1
    message = f"none of the {count} keywords stand together in a group of {size} or more; approve more that are alike"
    return [Reason(code="CLUSTERS_NONE", message=message)]


def _clustering(keywords: list[Keyword], matrix: Matrix, settings: ClusteringSettings) -> Clustering:
    clusters: list[tuple[int, Cluster]] = []
    leftovers: dict[int, Leftover] = {}
    pending = [[index for index, keyword in enumerate(keywords) if keyword.intent is intent] for intent in Intent]
    while pending:
        for group in _groups(pending.pop(), matrix, settings):
            hub = _hub(group, keywords, matrix)
            far = [index for index in group if matrix[hub, index] < settings.spoke_similarity_min]
            near = [index for index in group if index not in far]
            if len(far) > settings.spokes_min:
                pending.append(far)
            else:
                leftovers |= {index: _far(keywords[index].text, keywords[hub].text) for index in far}
            if len(near) > settings.spokes_min:
                clusters.append((hub, _cluster(hub, near, keywords, matrix)))
            else:
                leftovers |= {index: _small(keywords[index].text, near, settings) for index in near}
    return Clustering(
        clusters=tuple(one for _, one in sorted(clusters, key=lambda pair: pair[0])),
        leftovers=tuple(leftovers[index] for index in sorted(leftovers)),
        method=method_of(settings),
        threshold=settings.threshold,
    )


def _far(text: str, hub: str) -> Leftover:
    return Leftover(text=text, code="FAR_FROM_HUB", reason=f'is alike to others of its group, but not to "{hub}"')


def _small(text: str, group: list[int], settings: ClusteringSettings) -> Leftover:
    if len(group) == 1:
        return Leftover(text=text, code="NO_NEIGHBOUR", reason="no other keyword of its intent is alike enough")
    reason = f"its group has {len(group)} keywords; a cluster needs {settings.spokes_min + 1}"
    return Leftover(text=text, code="GROUP_TOO_SMALL", reason=reason)


class _Group(NamedTuple):
    """Positions in order; ``mean`` is the similarity at which its two parts were joined."""

    members: list[int]
    mean: float = 1.0
    parts: tuple["_Group", ...] = ()


def _groups(members: list[int], matrix: Matrix, settings: ClusteringSettings) -> list[list[int]]:
    """Groups of indices by average linkage, none larger than a cluster may be."""
    sizes = settings.spokes_min + 1, settings.spokes_max + 1
    linked = _linked(matrix[np.ix_(members, members)], settings.threshold)
    pieces = [piece for group in linked for piece in _pieces(group, settings.threshold, sizes)]
    return [sorted(members[position] for position in piece) for piece in pieces]


def _pieces(group: _Group, threshold: float, sizes: tuple[int, int]) -> list[list[int]]:
    """A group that is too large is cut at a higher threshold. Where that leaves most of it alone, for all of it is
    equally alike ("crm for dentists", "crm for lawyers", …), neighbours in the order of joining are kept together."""
    size_min, size_max = sizes
    if len(group.members) <= size_max:
        return [group.members]
    finer = round(threshold + SPLIT_STEP, 6)
    pieces = [piece for part in _parts(group, finer) for piece in _pieces(part, finer, sizes)] if threshold < 1 else []
    kept = sum(len(piece) for piece in pieces if len(piece) >= size_min)
    return pieces if 2 * kept >= len(group.members) else _slices(_joining_order(group), size_max)


def _parts(group: _Group, threshold: float) -> list[_Group]:
    found, pending = [], [group]
    while pending:
        one = pending.pop()
        if one.mean >= threshold or not one.parts:
            found.append(one)
        else:
            pending.extend(reversed(one.parts))
    return found


def _joining_order(group: _Group) -> list[int]:
    return [position for one in _parts(group, math.inf) for position in one.members]


def _slices(positions: list[int], size_max: int) -> list[list[int]]:
    """As few as possible, of equal size."""
    count = -(-len(positions) // size_max)
    bounds = [len(positions) * number // count for number in range(count + 1)]
    return [positions[start:end] for start, end in itertools.pairwise(bounds)]


def average_linkage(matrix: Matrix, threshold: float) -> list[list[int]]:
    """Groups (sorted positions) after joining the two most alike groups for as long as their mean similarity is at
    least the threshold; of equal pairs the one with the smallest positions is joined."""
    return [group.members for group in _linked(matrix, threshold)]


def _linked(matrix: Matrix, threshold: float) -> list[_Group]:
    groups = {position: _Group([position]) for position in range(len(matrix))}
    links = _Links(matrix)
    while len(groups) > 1:
        left, right, mean = links.best()
        if mean < threshold:
            break
        parts = groups[left], groups.pop(right)
        groups[left] = _Group(sorted(parts[0].members + parts[1].members), mean, parts)
        links.join(left, right)
    return sorted(groups.values(), key=lambda group: group.members)


class _Links:
    """Mean similarities between groups, and of each group its best link: a join looks at few rows again. Groups that
    are gone stand at -1."""

    def __init__(self, matrix: Matrix) -> None:
        count = len(matrix)
        self._sums = matrix.copy()
        self._means = np.round(matrix, 6)
        np.fill_diagonal(self._means, -1.0)
        self._sizes = np.ones(count)
        self._is_gone = np.zeros(count, dtype=bool)
        self._nearest = np.argmax(self._means, axis=1) if count else np.zeros(0, dtype=np.int64)
        self._nearest_mean = self._means[np.arange(count), self._nearest]

    def best(self) -> tuple[int, int, float]:
        """The two groups (smaller position first) with the largest mean, and the mean."""
        left = int(np.argmax(self._nearest_mean))
        right = int(self._nearest[left])
        return min(left, right), max(left, right), float(self._nearest_mean[left])

    def join(self, left: int, right: int) -> None:
        self._sums[left] += self._sums[right]
        self._sums[:, left] = self._sums[left]
        self._sizes[left] += self._sizes[right]
        self._is_gone[right] = True
        row = np.round(self._sums[left] / (self._sizes[left] * self._sizes), 6)
        row[self._is_gone] = row[left] = -1.0
        self._means[left] = self._means[:, left] = row
        self._means[right] = self._means[:, right] = -1.0
        self._look_again(left, right, row)

    def _look_again(self, left: int, right: int, row: Matrix) -> None:
        """Groups whose best link was to one of the two, or may now be to the joined one."""
        is_better = (row > self._nearest_mean) | ((row == self._nearest_mean) & (left < self._nearest))
        self._nearest[is_better] = left
        self._nearest_mean[is_better] = row[is_better]
        stale = np.isin(self._nearest, (left, right)) & ~is_better
        stale[[left, right]] = True
        positions = np.flatnonzero(stale)
        self._nearest[positions] = np.argmax(self._means[positions], axis=1)
        self._nearest_mean[positions] = self._means[positions, self._nearest[positions]]


def _cluster(hub: int, group: list[int], keywords: list[Keyword], matrix: Matrix) -> Cluster:
    spokes = [Spoke(text=keywords[index].text, similarity=float(matrix[hub, index])) for index in group if index != hub]
    return Cluster(
        hub=keywords[hub].text,
        intent=keywords[hub].intent,
        spokes=tuple(sorted(spokes, key=lambda spoke: (-spoke.similarity, spoke.text))),
        coherence=coherence(matrix[np.ix_(group, group)]),
    )


def _hub(group: list[int], keywords: list[Keyword], matrix: Matrix) -> int:
    """Highest volume (score where none is known), then most central, then by text."""

    def rank(index: int) -> tuple[float, float, float, str]:
        by_volume, by_score, text = _rank(keywords[index])
        centrality = round(math.fsum(matrix[index, group]), 6)
        return (by_volume, by_score, -centrality, text)

    return min(group, key=rank)


def coherence(matrix: Matrix) -> float:
    """Mean similarity of all pairs of a group, from its square matrix."""
    count = len(matrix)
    pairs = count * (count - 1)
    return round((math.fsum(matrix.flat) - math.fsum(np.diag(matrix))) / pairs, 6) if pairs else 1.0
