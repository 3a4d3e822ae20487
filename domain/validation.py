"""Step 5, validation: which clusters go on, and in plain words why the others fall.

A cluster is compared with the others of its workflow, with what the organization's other workflows write about, and
with the pages it has. Everything it was compared with is stored with the verdict, which can so be computed again.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from urllib.parse import unquote, urlsplit

import numpy as np

from domain.brief import ExistingPage
from domain.clustering import NO_VECTORS, Cluster, Clustering, coherence
from domain.embeddings import Vector
from domain.keyphrases import Intent, content_words, intent_of
from domain.money import Frozen
from domain.pages import Page
from domain.settings import ClusteringSettings, Embeddings, ValidationSettings
from domain.similarity import Matrix, method_of, similarities, similarity_matrix
from domain.verdict import Blocked, Completed, Level, Reason, verdict_of

SUBJECTS_MAX = 3_000
SUBJECTS_PER_COMPARISON = 300
OVERRIDDEN = "OVERRIDDEN"
# A person may know better what goes together and what is the same. A hub without spokes is no cluster for anybody.
OVERRIDABLE = frozenset(
    {
        *("SPOKE_TOO_FAR", "CLUSTER_INCOHERENT", "CANNIBALIZATION", "CANNIBALIZES_WORKFLOW"),
        *("EXISTING_PAGE", "OWN_SITE_PAGE"),
    }
)
_SEGMENTS = re.compile(r"\s+[|\-–—·•»:]+\s+|\s*[|»·•]\s*|:\s+")


class TakenBy(StrEnum):
    WORKFLOW = "workflow"
    PAGE = "page"
    SITE = "site"


class TakenSubject(Frozen):
    """What the organization has on a subject already. ``place`` is the name of a workflow or the URL of a page;
    ``intent`` is None where only its words count. ``is_home`` is a home page, which is about everything a bit.
    ``is_repeated``: the workflow has the very same brief, so that somebody asked for the same on purpose."""

    by: TakenBy
    text: str
    place: str
    intent: Intent | None = None
    is_home: bool = False
    is_repeated: bool = False


class Override(Frozen):
    """A person let a cluster go on: ``set_aside`` are (code, subject) of the reasons that were shown."""

    hub: str
    actor: str
    reason: str
    set_aside: tuple[tuple[str, str | None], ...]


class JudgedCluster(Frozen):
    """``hub`` names the cluster; ``reasons`` hold why it fell, and warnings."""

    hub: str
    is_valid: bool
    reasons: tuple[Reason, ...] = ()


class Validation(Frozen):
    """``taken`` and ``overrides`` are all the facts beside the clustering that the verdict rests on."""

    clusters: tuple[JudgedCluster, ...]
    taken: tuple[TakenSubject, ...] = ()
    overrides: tuple[Override, ...] = ()


class _Similarities:
    """Similarities by text, with all keywords of a clustering as the corpus."""

    def __init__(self, texts: Sequence[str], vectors: Mapping[str, Vector], settings: ClusteringSettings) -> None:
        self._texts = {text: position for position, text in enumerate(texts)}
        self._matrix = similarities(list(self._texts), vectors, settings)

    def between(self, first: str, second: str) -> float:
        return float(self._matrix[self._texts[first], self._texts[second]])

    def among(self, texts: Sequence[str]) -> Matrix:
        positions = [self._texts[text] for text in texts]
        return self._matrix[np.ix_(positions, positions)]


def taken_by_pages(
    existing_pages: Sequence[ExistingPage], own_pages: Sequence[Page], *, brands: Collection[str] = ()
) -> tuple[TakenSubject, ...]:
    """Pages the brief names, by their keywords; crawled pages of the own site by their titles, first headings and the
    words of their addresses, without the words that are the organization's name."""
    named = [
        TakenSubject(by=TakenBy.PAGE, text=page.keyword, place=page.url, intent=intent_of(page.keyword))
        for page in existing_pages
    ]
    brand_words = [content_words(brand) for brand in brands]
    read = [
        TakenSubject(by=TakenBy.SITE, text=text, place=page.url, is_home=urlsplit(page.url).path in ("", "/"))
        for page in own_pages
        for text in _names_of(page)
        if content_words(text) and content_words(text) not in brand_words
    ]
    return tuple(dict.fromkeys([*named, *read]))


def _names_of(page: Page) -> list[str]:
    last = [part for part in urlsplit(page.url).path.split("/") if part][-1:]
    words = [re.sub(r"[-_+.]+", " ", re.sub(r"\.\w{2,5}$", "", unquote(part))) for part in last]
    return [*_SEGMENTS.split(page.title), *page.headings[:1], *words]


def validate(
    clustering: Clustering,
    taken: Sequence[TakenSubject] = (),
    overrides: Sequence[Override] = (),
    *,
    settings: ValidationSettings,
    clustering_settings: ClusteringSettings,
    vectors: Mapping[str, Vector] = NO_VECTORS,
) -> Completed[Validation] | Blocked:
    """Judge every cluster, in the clustering's order; blocks when none is valid (VALIDATION_FAILED).

    ``vectors`` are those of the clustering's model by text, as far as there are; texts of ``taken`` that have none are
    compared by their letters. Raises BadInputError for a keyword of the clustering without a vector.
    """
    unique = tuple(dict.fromkeys(taken))
    facts = unique[:SUBJECTS_MAX]
    known = _Similarities(_corpus(clustering), vectors, clustering_settings)
    rivals = _Rivals(clustering, facts, vectors, settings, clustering_settings)
    judged: list[JudgedCluster] = []
    standing: list[Cluster] = []
    for cluster in clustering.clusters:
        reasons = [
            *_size_reasons(cluster, clustering_settings),
            *_spoke_reasons(cluster, known, settings),
            *_coherence_reasons(cluster, known, settings),
            *dict.fromkeys(rivals.reasons(cluster)),
            *_cannibalization_reasons(cluster, standing, known, settings),
        ]
        one = overridden(
            JudgedCluster(hub=cluster.hub, is_valid=not _blocks(reasons), reasons=tuple(reasons)), overrides
        )
        if one.is_valid:
            standing.append(cluster)
        judged.append(one)
    used = tuple(one for one in overrides if one.hub in {cluster.hub for cluster in clustering.clusters})
    validation = Validation(clusters=tuple(judged), taken=facts, overrides=used)
    return _verdict(validation, settings, clustering_settings, len(unique) - len(facts))


def _blocks(reasons: Sequence[Reason]) -> bool:
    return any(reason.level is Level.BLOCK for reason in reasons)


def overridden(cluster: JudgedCluster, overrides: Sequence[Override]) -> JudgedCluster:
    """The cluster with what people set aside turned into warnings that say who and why."""
    reasons = list(cluster.reasons)
    for override in [one for one in overrides if one.hub == cluster.hub]:
        aside = set(override.set_aside)
        reasons = [
            reason.model_copy(update={"level": Level.WARN})
            if reason.code in OVERRIDABLE and (reason.code, reason.subject) in aside
            else reason
            for reason in reasons
        ]
        message = f"overridden by {override.actor}: {override.reason}"
        reasons.append(Reason(code=OVERRIDDEN, message=message, subject=cluster.hub, level=Level.WARN))
    return JudgedCluster(hub=cluster.hub, is_valid=not _blocks(reasons), reasons=tuple(reasons))


def not_overridable(reasons: Sequence[Reason]) -> list[Reason]:
    """Reasons of a fallen cluster that nobody can set aside."""
    return [reason for reason in reasons if reason.level is Level.BLOCK and reason.code not in OVERRIDABLE]


def _corpus(clustering: Clustering) -> list[str]:
    clustered = [text for cluster in clustering.clusters for text in _texts(cluster)]
    return sorted({*clustered, *(leftover.text for leftover in clustering.leftovers)})


def _texts(cluster: Cluster) -> list[str]:
    return [cluster.hub, *(spoke.text for spoke in cluster.spokes)]


def _verdict(
    validation: Validation, settings: ValidationSettings, clustering_settings: ClusteringSettings, not_compared: int
) -> Completed[Validation] | Blocked:
    values = settings.model_dump(mode="json") | {
        "method": method_of(clustering_settings),
        "spokes_min": clustering_settings.spokes_min,
        "spokes_max": clustering_settings.spokes_max,
        "compared": len(validation.taken),
        "not_compared": not_compared,
    }
    fallen = [one for one in validation.clusters if not one.is_valid]
    if len(fallen) == len(validation.clusters):
        firsts = (reason.message for one in fallen for reason in one.reasons if reason.level is Level.BLOCK)
        why = "; ".join(firsts) or "there is no cluster"
        reason = Reason(code="VALIDATION_FAILED", message=f"no cluster is valid: {why}")
        return Blocked(verdict=verdict_of([reason], values), output=validation.model_dump(mode="json"))
    reasons = [
        reason.model_copy(update={"level": Level.WARN, "subject": one.hub})
        for one in validation.clusters
        for reason in one.reasons
        if not one.is_valid or reason.level is Level.WARN
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


class _Rivals:
    """What is taken already, held against each hub: by the similarity in use, by letters for a text without vector."""

    def __init__(
        self,
        clustering: Clustering,
        taken: Sequence[TakenSubject],
        vectors: Mapping[str, Vector],
        settings: ValidationSettings,
        clustering_settings: ClusteringSettings,
    ) -> None:
        self._taken = taken
        self._settings = settings
        hubs = [cluster.hub for cluster in clustering.clusters]
        with_intent = dict.fromkeys(subject.text for subject in taken if subject.intent is not None)
        uses_vectors = clustering_settings.embeddings is not Embeddings.NONE
        self._is_by_letters = {text: uses_vectors and text not in vectors for text in with_intent}
        corpus = _corpus(clustering)
        self._alike: dict[tuple[str, str], float] = {}
        for is_by_letters in (False, True):
            texts = [text for text, by_letters in self._is_by_letters.items() if by_letters is is_by_letters]
            for start in range(0, len(texts), SUBJECTS_PER_COMPARISON):
                part = sorted({*corpus, *texts[start : start + SUBJECTS_PER_COMPARISON]})
                matrix = similarity_matrix(part) if is_by_letters else similarities(part, vectors, clustering_settings)
                at = {text: position for position, text in enumerate(part)}
                for hub in hubs:
                    for text in texts[start : start + SUBJECTS_PER_COMPARISON]:
                        self._alike[hub, text] = float(matrix[at[hub], at[text]])

    def reasons(self, cluster: Cluster) -> Iterator[Reason]:
        words = content_words(cluster.hub)
        for subject in self._taken:
            alike = self._alike.get((cluster.hub, subject.text))
            has_same_words = content_words(subject.text) == words
            is_same = subject.intent is cluster.intent and alike is not None and alike > self._alike_max(subject.text)
            if has_same_words or is_same:
                yield _taken_reason(cluster.hub, subject, None if has_same_words else alike)

    def _alike_max(self, text: str) -> float:
        settings = self._settings
        letters, mixed = settings.cannibalization_letters_max, settings.cannibalization_similarity_max
        return letters if self._is_by_letters[text] else mixed


def _taken_reason(hub: str, subject: TakenSubject, alike: float | None) -> Reason:
    how = "" if alike is None else f" (similarity {alike:.2f})"
    if subject.is_repeated:
        message = f'your workflow {subject.place}, of the same brief, has "{subject.text}" already{how}'
        about = f"{subject.place}: {subject.text}"
        return Reason(code="REPEATS_WORKFLOW", message=message, subject=about, level=Level.WARN)
    if subject.by is TakenBy.WORKFLOW:
        message = f'"{hub}" falls, your workflow {subject.place} has "{subject.text}" already{how}'
        return Reason(code="CANNIBALIZES_WORKFLOW", message=message, subject=f"{subject.place}: {subject.text}")
    if subject.by is TakenBy.PAGE:
        message = f'"{hub}" falls, your page {subject.place} is about it already{how}'
        return Reason(code="EXISTING_PAGE", message=message, subject=subject.place)
    if subject.is_home:
        message = f'your home page {subject.place} speaks of "{subject.text}" too'
        return Reason(code="HOME_PAGE_TOO", message=message, subject=subject.place, level=Level.WARN)
    message = f'"{hub}" falls, your page {subject.place} is about it already ("{subject.text}")'
    return Reason(code="OWN_SITE_PAGE", message=message, subject=subject.place)


def _cannibalization_reasons(
    cluster: Cluster, standing: Sequence[Cluster], similarities: _Similarities, settings: ValidationSettings
) -> Iterator[Reason]:
    for stronger in standing:
        is_alike = similarities.between(cluster.hub, stronger.hub) > settings.cannibalization_similarity_max
        has_same_words = content_words(cluster.hub) == content_words(stronger.hub)
        if has_same_words or (is_alike and cluster.intent is stronger.intent):
            message = f'"{cluster.hub}" falls, means the same as "{stronger.hub}"'
            yield Reason(code="CANNIBALIZATION", message=message, subject=stronger.hub)
