"""Step 4, clustering: keywords to hubs and spokes.

Average linkage over the similarities of `domain.similarity`, each intent by itself. The input's order plays no part:
ties are broken by volume, then by text.
"""

from collections.abc import Sequence

import numpy as np

from domain.keyphrases import Intent
from domain.money import Frozen
from domain.settings import ClusteringSettings
from domain.similarity import METHOD, Matrix, similarity_matrix
from domain.verdict import Blocked, Completed, Level, Reason, verdict_of

SPLIT_STEP = 0.02


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


def cluster(keywords: Sequence[Keyword], settings: ClusteringSettings) -> Completed[Clustering] | Blocked:
    """Clusters with the most searched first. Blocks when there is none (CLUSTERS_NONE) or a text comes twice
    (KEYWORD_TWICE)."""
    ordered = sorted(keywords, key=_rank)
    texts = [keyword.text for keyword in ordered]
    values = settings.model_dump(mode="json") | {"method": METHOD, "keywords": len(keywords)}
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        reason = Reason(code="KEYWORD_TWICE", message=f"the keyword {twice!r} is given twice", subject=twice)
        return Blocked(verdict=verdict_of([reason], values))
    clustering = _clustering(ordered, similarity_matrix(texts), settings)
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


def _clustering(keywords: list[Keyword], similarities: Matrix, settings: ClusteringSettings) -> Clustering:
    clusters: list[tuple[int, Cluster]] = []
    leftovers: dict[int, Leftover] = {}
    pending = [[index for index, keyword in enumerate(keywords) if keyword.intent is intent] for intent in Intent]
    while pending:
        for group in _groups(pending.pop(), similarities, settings):
            hub = _hub(group, keywords, similarities)
            far = [index for index in group if similarities[hub, index] < settings.spoke_similarity_min]
            near = [index for index in group if index not in far]
            if len(far) > settings.spokes_min:
                pending.append(far)
            else:
                leftovers |= {index: _far(keywords[index].text, keywords[hub].text) for index in far}
            if len(near) > settings.spokes_min:
                clusters.append((hub, _cluster(hub, near, keywords, similarities)))
            else:
                leftovers |= {index: _small(keywords[index].text, near, settings) for index in near}
    return Clustering(
        clusters=tuple(one for _, one in sorted(clusters, key=lambda pair: pair[0])),
        leftovers=tuple(leftovers[index] for index in sorted(leftovers)),
        method=METHOD,
        threshold=settings.threshold,
    )


def _far(text: str, hub: str) -> Leftover:
    return Leftover(text=text, code="FAR_FROM_HUB", reason=f'is alike to others of its group, but not to "{hub}"')


def _small(text: str, group: list[int], settings: ClusteringSettings) -> Leftover:
    if len(group) == 1:
        return Leftover(text=text, code="NO_NEIGHBOUR", reason="no other keyword of its intent is alike enough")
    reason = f"its group has {len(group)} keywords; a cluster needs {settings.spokes_min + 1}"
    return Leftover(text=text, code="GROUP_TOO_SMALL", reason=reason)


def _groups(members: list[int], similarities: Matrix, settings: ClusteringSettings) -> list[list[int]]:
    """Groups of indices by average linkage; one that is too large is drawn again at a higher threshold."""
    if not members:
        return []
    groups: list[list[int]] = []
    pending = [(members, settings.threshold)]
    while pending:
        group, threshold = pending.pop()
        for part in average_linkage(similarities[np.ix_(group, group)], threshold):
            indices = [group[position] for position in part]
            if len(indices) <= settings.spokes_max + 1:
                groups.append(indices)
            elif threshold < 1.0:
                pending.append((indices, min(1.0, round(threshold + SPLIT_STEP, 6))))
            else:
                size = settings.spokes_max + 1
                groups.extend(indices[start : start + size] for start in range(0, len(indices), size))
    return groups


def average_linkage(similarities: Matrix, threshold: float) -> list[list[int]]:
    """Groups (sorted positions) after joining the two most alike groups for as long as their mean similarity is at
    least the threshold; of equal pairs the one with the smallest positions is joined."""
    count = len(similarities)
    groups: dict[int, list[int]] = {position: [position] for position in range(count)}
    sums = similarities.copy()
    sizes = np.ones(count)
    means = np.round(similarities, 6)
    np.fill_diagonal(means, -1.0)
    while len(groups) > 1:
        left, right = divmod(int(np.argmax(means)), count)
        if means[left, right] < threshold:
            break
        left, right = min(left, right), max(left, right)
        groups[left] = sorted(groups[left] + groups.pop(right))
        sums[left] += sums[right]
        sums[:, left] = sums[left]
        sizes[left] += sizes[right]
        row = np.round(sums[left] / (sizes[left] * sizes), 6)
        row[means[left] < 0] = -1.0
        row[left] = row[right] = -1.0
        means[left] = means[:, left] = row
        means[right] = means[:, right] = -1.0
    return sorted(groups.values())


def _cluster(hub: int, group: list[int], keywords: list[Keyword], similarities: Matrix) -> Cluster:
    spokes = [
        Spoke(text=keywords[index].text, similarity=float(similarities[hub, index])) for index in group if index != hub
    ]
    return Cluster(
        hub=keywords[hub].text,
        intent=keywords[hub].intent,
        spokes=tuple(sorted(spokes, key=lambda spoke: (-spoke.similarity, spoke.text))),
        coherence=coherence(similarities[np.ix_(group, group)]),
    )


def _hub(group: list[int], keywords: list[Keyword], similarities: Matrix) -> int:
    """Highest volume (score where none is known), then most central, then by text."""

    def rank(index: int) -> tuple[float, float, float, str]:
        by_volume, by_score, text = _rank(keywords[index])
        centrality = round(float(np.sum(similarities[index, group])), 6)
        return (by_volume, by_score, -centrality, text)

    return min(group, key=rank)


def coherence(similarities: Matrix) -> float:
    """Mean similarity of all pairs of a group, from its square matrix."""
    count = len(similarities)
    pairs = count * (count - 1)
    return round(float((np.sum(similarities) - np.trace(similarities)) / pairs), 6) if pairs else 1.0
