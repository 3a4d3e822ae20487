"""Step 5, validation: which clusters go on, and in plain words why the others fall."""

from collections.abc import Iterator, Sequence

import numpy as np

from domain.brief import ExistingPage
from domain.clustering import Cluster, Clustering, coherence
from domain.keyphrases import content_words
from domain.money import Frozen
from domain.settings import ClusteringSettings, ValidationSettings
from domain.similarity import METHOD, Matrix, similarity_matrix
from domain.verdict import Blocked, Completed, Level, Reason, verdict_of


class JudgedCluster(Frozen):
    """``hub`` names the cluster; ``reasons`` hold why it fell, and warnings."""

    hub: str
    is_valid: bool
    reasons: tuple[Reason, ...] = ()


class Validation(Frozen):
    clusters: tuple[JudgedCluster, ...]


class _Similarities:
    """Similarities by text, with all keywords of a clustering as the corpus."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = {text: position for position, text in enumerate(texts)}
        self._matrix = similarity_matrix(list(self._texts))

    def between(self, first: str, second: str) -> float:
        return float(self._matrix[self._texts[first], self._texts[second]])

    def among(self, texts: Sequence[str]) -> Matrix:
        positions = [self._texts[text] for text in texts]
        return self._matrix[np.ix_(positions, positions)]


def validate(
    clustering: Clustering,
    existing_pages: Sequence[ExistingPage],
    *,
    settings: ValidationSettings,
    clustering_settings: ClusteringSettings,
) -> Completed[Validation] | Blocked:
    """Judge every cluster, in the clustering's order; blocks when none is valid (VALIDATION_FAILED)."""
    similarities = _Similarities(_corpus(clustering))
    judged: list[JudgedCluster] = []
    standing: list[Cluster] = []
    for cluster in clustering.clusters:
        reasons = [
            *_size_reasons(cluster, clustering_settings),
            *_spoke_reasons(cluster, similarities, settings),
            *_coherence_reasons(cluster, similarities, settings),
            *_existing_page_reasons(cluster, existing_pages),
            *_cannibalization_reasons(cluster, standing, similarities, settings),
        ]
        is_valid = not any(reason.level is Level.BLOCK for reason in reasons)
        if is_valid:
            standing.append(cluster)
        judged.append(JudgedCluster(hub=cluster.hub, is_valid=is_valid, reasons=tuple(reasons)))
    return _verdict(Validation(clusters=tuple(judged)), settings)


def _corpus(clustering: Clustering) -> list[str]:
    clustered = [text for cluster in clustering.clusters for text in _texts(cluster)]
    return sorted({*clustered, *(leftover.text for leftover in clustering.leftovers)})


def _texts(cluster: Cluster) -> list[str]:
    return [cluster.hub, *(spoke.text for spoke in cluster.spokes)]


def _verdict(validation: Validation, settings: ValidationSettings) -> Completed[Validation] | Blocked:
    values = settings.model_dump(mode="json") | {"method": METHOD}
    fallen = [one for one in validation.clusters if not one.is_valid]
    if len(fallen) == len(validation.clusters):
        why = "; ".join(reason.message for one in fallen for reason in one.reasons[:1]) or "there is no cluster"
        reason = Reason(code="VALIDATION_FAILED", message=f"no cluster is valid: {why}")
        return Blocked(verdict=verdict_of([reason], values), output=validation.model_dump(mode="json"))
    reasons = [
        reason.model_copy(update={"level": Level.WARN, "subject": one.hub}) for one in fallen for reason in one.reasons
    ]
    return Completed[Validation](output=validation, verdict=verdict_of(reasons, values))


def _size_reasons(cluster: Cluster, settings: ClusteringSettings) -> Iterator[Reason]:
    count, least, most = len(cluster.spokes), settings.spokes_min, settings.spokes_max
    if not least <= count <= most:
        spokes = "1 spoke" if count == 1 else f"{count} spokes"
        message = f'"{cluster.hub}" falls, has {spokes} ({least} to {most} are needed)'
        yield Reason(code="CLUSTER_SIZE", message=message, subject=cluster.hub)


def _spoke_reasons(cluster: Cluster, similarities: _Similarities, settings: ValidationSettings) -> Iterator[Reason]:
    floor = settings.spoke_similarity_min
    for spoke in cluster.spokes:
        value = similarities.between(cluster.hub, spoke.text)
        if value < floor:
            message = f'"{cluster.hub}" falls, "{spoke.text}" is too far from it ({value:.2f}, at least {floor:.2f})'
            yield Reason(code="SPOKE_TOO_FAR", message=message, subject=spoke.text)


def _coherence_reasons(cluster: Cluster, similarities: _Similarities, settings: ValidationSettings) -> Iterator[Reason]:
    value = coherence(similarities.among(_texts(cluster)))
    least = settings.coherence_min
    if value < least:
        message = f'"{cluster.hub}" falls, its keywords hang together loosely ({value:.2f}, at least {least:.2f})'
        yield Reason(code="CLUSTER_INCOHERENT", message=message, subject=cluster.hub)


def _existing_page_reasons(cluster: Cluster, pages: Sequence[ExistingPage]) -> Iterator[Reason]:
    for page in pages:
        if content_words(page.keyword) == content_words(cluster.hub):
            message = f'"{cluster.hub}" falls, your page {page.url} is about it already'
            yield Reason(code="EXISTING_PAGE", message=message, subject=page.url)


def _cannibalization_reasons(
    cluster: Cluster, standing: Sequence[Cluster], similarities: _Similarities, settings: ValidationSettings
) -> Iterator[Reason]:
    for stronger in standing:
        is_alike = similarities.between(cluster.hub, stronger.hub) > settings.cannibalization_similarity_max
        has_same_words = content_words(cluster.hub) == content_words(stronger.hub)
        if has_same_words or (is_alike and cluster.intent is stronger.intent):
            message = f'"{cluster.hub}" falls, means the same as "{stronger.hub}"'
            yield Reason(code="CANNIBALIZATION", message=message, subject=stronger.hub)
