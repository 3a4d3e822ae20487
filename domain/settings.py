"""Settings of the steps, resolved once when a workflow starts and stored with it.

A rolling deploy therefore changes no verdict.
"""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from domain.language import Route
from domain.money import Frozen


class SpendSettings(Frozen):
    """From ``downgrade_share`` of the workflow's cap on (spent and held) asks go to the cheaper model of their route;
    above 1 they never do."""

    asks_max: int = 4
    repairs_max: int = 2
    expires_after_seconds: int = 900
    call_timeout_seconds: int = 120
    downgrade_share: float = Field(default=0.8, ge=0)


class ActivityTimeouts(Frozen):
    """How long activities may take, and how often a dead worker is looked for; seconds.

    They travel with the workflow's input, because the first activity needs them before anything is loaded.
    ``publish_patience_seconds`` is how long a place to publish to may be unreachable until a person has to act.
    """

    database_seconds: float = 10
    call_seconds: float = 180
    web_seconds: float = 300
    heartbeat_seconds: float = 20
    heartbeat_every_seconds: float = 5
    retry_first_seconds: float = 0.2
    retry_longest_seconds: float = 15
    publish_patience_seconds: float = 900
    workflow_task_seconds: float = 10
    sticky_seconds: float = 10


class IcpSettings(Frozen):
    route: Route = Route(max_tokens=700, temperature=0.3)
    passage_characters_max: int = 12_000
    evidence_share_min: float = 0.6


class KeywordDataSettings(Frozen):
    """What a keyword data provider is asked, where there is an account: ``endpoints`` by their names at DataForSEO Labs
    (keywords_for_site, keyword_suggestions, related_keywords, bulk_keyword_difficulty). Every row asked for is held,
    and every row returned is paid. Keywords that stand on no crawled page are added up to ``keywords_added_max``, when
    at least ``relevance_min`` of their words are words of the market."""

    is_enabled: bool = False
    endpoints: tuple[str, ...] = ("keywords_for_site", "bulk_keyword_difficulty")
    sites_max: int = Field(default=10, ge=0, le=50)
    rows_per_site_max: int = Field(default=100, ge=1, le=1000)
    phrases_max: int = Field(default=2, ge=0, le=20)
    rows_per_phrase_max: int = Field(default=50, ge=1, le=1000)
    keywords_added_max: int = Field(default=30, ge=0, le=300)
    relevance_min: float = Field(default=0.6, ge=0, le=1)
    asks_max: int = Field(default=2, ge=1, le=10)


class CompetitorSettings(Frozen):
    """``max_tokens`` holds labels for ten competitors and an intent for each of ``keywords_max`` keywords."""

    route: Route = Route(max_tokens=2400, temperature=0.2)
    discovery_max: int = 5
    pages_per_site_max: int = 6
    keywords_max: int = 60
    keyword_data: KeywordDataSettings = KeywordDataSettings()


class SeedReviewSettings(Frozen):
    """After ``rejections_max`` rejections a reviewer decides with what there is."""

    approved_min: int = 2
    approved_max: int = 100
    rejections_max: int = Field(default=5, ge=0)


class ReminderSettings(Frozen):
    """While a workflow waits for a person: the first reminder, then one after each further stretch of waiting, at most
    ``reminders_max``; 0 reminds nobody."""

    first_after_seconds: float = Field(default=86_400, gt=0)
    every_seconds: float = Field(default=172_800, gt=0)
    reminders_max: int = Field(default=5, ge=0, le=100)


class Embeddings(StrEnum):
    """Where meanings come from beside the letters: nowhere, a model in the worker, or a paid one."""

    NONE = "none"
    LOCAL = "local"
    PROVIDER = "provider"


class ClusteringSettings(Frozen):
    """``threshold`` (mean similarity at which two groups are joined) and ``spoke_similarity_min`` (least similarity of
    a spoke to its hub) belong to the similarity in use: these to character TF-IDF alone, those with ``embeddings`` are
    set by ``with_embeddings``. Tuned with ``bench/clustering.py``. ``embedding_model`` is the exact name under which
    vectors are stored; ``embedding_weight`` is its share of a similarity, the letters have the rest."""

    threshold: float = 0.15
    spoke_similarity_min: float = 0.08
    spokes_min: int = 2
    spokes_max: int = 12
    embeddings: Embeddings = Embeddings.NONE
    embedding_model: str | None = None
    embedding_weight: float = Field(default=0.7, ge=0, le=1)


class ValidationSettings(Frozen):
    """Floors are those of clustering, which they check; ``cannibalization_similarity_max`` is that of two hubs. They
    too belong to the similarity in use; ``cannibalization_letters_max`` is that of letters alone, for what no vector is
    stored of. Without ``compares_workflows`` an organization's other workflows may have the same hubs."""

    spoke_similarity_min: float = 0.08
    coherence_min: float = 0.12
    cannibalization_similarity_max: float = 0.6
    cannibalization_letters_max: float = 0.6
    compares_workflows: bool = True


class ArticleSettings(Frozen):
    outline_route: Route = Route(max_tokens=900, temperature=0.3)
    section_route: Route = Route(models=("openai/gpt-4o-mini", "perplexity/sonar"), max_tokens=900, temperature=0.5)
    parallel_max: int = 3
    passage_characters_max: int = 6_000
    section_passage_characters_max: int = 3_500
    term_coverage_min: float = 0.6
    keyword_density_max: float = 0.04
    sibling_similarity_max: float = 0.06
    title_pixels_min: float = 400
    title_pixels_max: float = 600
    description_characters_min: int = 120
    description_characters_max: int = 156
    headings_min: int = 4
    headings_max: int = 12
    section_words_max: int = 300
    paragraph_words_max: int = 150
    sentence_words_max: int = 20
    long_sentences_share_max: float = 0.25
    flesch_min: float = 45
    flesch_max: float = 75
    cited_share_min: float = 0.6
    claim_coverage_min: float = 0.6
    source_domains_min: int = 3


class StepSettings(Frozen):
    spend: SpendSettings = SpendSettings()
    timeouts: ActivityTimeouts = ActivityTimeouts()
    icp: IcpSettings = IcpSettings()
    competitor: CompetitorSettings = CompetitorSettings()
    seed_review: SeedReviewSettings = SeedReviewSettings()
    reminders: ReminderSettings = ReminderSettings()
    clustering: ClusteringSettings = ClusteringSettings()
    validation: ValidationSettings = ValidationSettings()
    article: ArticleSettings = ArticleSettings()
    auto_approve_seeds: bool = False
    is_demo_text: bool = False


_CLUSTERING_WITH_EMBEDDINGS = {"threshold": 0.18, "spoke_similarity_min": 0.08}
_VALIDATION_WITH_EMBEDDINGS = {
    "spoke_similarity_min": 0.08,
    "coherence_min": 0.14,
    "cannibalization_similarity_max": 0.7,
}


def with_embeddings(steps: StepSettings, embeddings: Embeddings, model: str | None) -> StepSettings:
    """Embeddings of this model, and the figures that belong to them; figures that somebody set stay."""
    chosen = {"embeddings": embeddings, "embedding_model": None if embeddings is Embeddings.NONE else model}
    figures = ({}, {}) if embeddings is Embeddings.NONE else (_CLUSTERING_WITH_EMBEDDINGS, _VALIDATION_WITH_EMBEDDINGS)
    of_clustering, of_validation = figures
    clustering, validation = steps.clustering, steps.validation
    return steps.model_copy(
        update={
            "clustering": clustering.model_copy(update=_unset(of_clustering, clustering.model_fields_set) | chosen),
            "validation": validation.model_copy(update=_unset(of_validation, validation.model_fields_set)),
        }
    )


def _unset(figures: Mapping[str, float], given: set[str]) -> dict[str, object]:
    return {name: value for name, value in figures.items() if name not in given}
