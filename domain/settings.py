"""Settings of the steps, resolved once when a workflow starts and stored with it.

A rolling deploy therefore changes no verdict.
"""

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
    """

    database_seconds: float = 10
    call_seconds: float = 180
    web_seconds: float = 300
    heartbeat_seconds: float = 20
    heartbeat_every_seconds: float = 5
    retry_first_seconds: float = 0.2
    retry_longest_seconds: float = 15
    workflow_task_seconds: float = 10
    sticky_seconds: float = 10


class IcpSettings(Frozen):
    route: Route = Route(max_tokens=700, temperature=0.3)
    passage_characters_max: int = 12_000
    evidence_share_min: float = 0.6


class CompetitorSettings(Frozen):
    """``max_tokens`` holds labels for ten competitors and an intent for each of ``keywords_max`` keywords."""

    route: Route = Route(max_tokens=2400, temperature=0.2)
    discovery_max: int = 5
    pages_per_site_max: int = 6
    keywords_max: int = 60


class SeedReviewSettings(Frozen):
    approved_min: int = 2
    approved_max: int = 100


class ClusteringSettings(Frozen):
    """``threshold`` (mean similarity at which two groups are joined) and ``spoke_similarity_min`` (least similarity of
    a spoke to its hub) belong to the similarity in use, character TF-IDF; tuned with ``bench/clustering.py``."""

    threshold: float = 0.15
    spoke_similarity_min: float = 0.08
    spokes_min: int = 2
    spokes_max: int = 12


class ValidationSettings(Frozen):
    """Floors are those of clustering, which they check; ``cannibalization_similarity_max`` is that of two hubs."""

    spoke_similarity_min: float = 0.08
    coherence_min: float = 0.12
    cannibalization_similarity_max: float = 0.6


class ArticleSettings(Frozen):
    outline_route: Route = Route(max_tokens=900, temperature=0.3)
    section_route: Route = Route(models=("openai/gpt-4o-mini", "perplexity/sonar"), max_tokens=900, temperature=0.5)
    parallel_max: int = 3
    passage_characters_max: int = 6_000
    section_passage_characters_max: int = 3_500
    term_coverage_min: float = 0.6
    keyword_density_max: float = 0.04
    sibling_similarity_max: float = 0.06


class StepSettings(Frozen):
    spend: SpendSettings = SpendSettings()
    timeouts: ActivityTimeouts = ActivityTimeouts()
    icp: IcpSettings = IcpSettings()
    competitor: CompetitorSettings = CompetitorSettings()
    seed_review: SeedReviewSettings = SeedReviewSettings()
    clustering: ClusteringSettings = ClusteringSettings()
    validation: ValidationSettings = ValidationSettings()
    article: ArticleSettings = ArticleSettings()
    auto_approve_seeds: bool = False
    is_demo_text: bool = False
