"""What people decide, as it travels from the command line to the run and into the database.

``expected_version`` is the version that was shown to the person: of two who decide at once one wins and the
other is told so. ``decision_id`` is what the person's command sent along; sending it twice is safe.
"""

from decimal import Decimal
from uuid import UUID

from domain.money import Frozen, Usd
from domain.seed_review import SeedDecision
from domain.states import State


class Decision(Frozen):
    decision_id: UUID
    actor: str
    expected_state: State
    expected_version: int


class ReviewSeeds(Decision):
    seeds: SeedDecision


class ReopenReview(Decision):
    pass


class Retry(Decision):
    accept_partial: bool = False


class ApproveArticles(Decision):
    """``hashes`` are the exact contents the person saw, by article; only these are published."""

    hashes: dict[UUID, str]


class RedoArticle(Decision):
    article_id: UUID
    note: str


class OverrideClusters(Decision):
    """Fallen clusters that go on all the same; ``reason`` is kept in the audit."""

    cluster_ids: tuple[UUID, ...]
    reason: str


class RaiseCap(Decision):
    cap_usd: Usd = Decimal(0)
