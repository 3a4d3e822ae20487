"""Where a workflow stands, as runs, people and the command line see it. Small: ids and facts, never content."""

from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import Field

from domain.budget import BudgetSlice
from domain.errors import CapReachedError
from domain.money import Frozen, Usd
from domain.refusals import Standing
from domain.reminders import Waiting
from domain.settings import StepSettings
from domain.states import State, Status, Step, status_of
from domain.verdict import Reason

CAP_REACHED = "cap_reached"
MONEY_CODES = frozenset({CAP_REACHED, CapReachedError.__name__})
BLOCKED_BY_VERDICT = "BlockedByVerdict"


class WorkflowRef(Frozen):
    workflow_id: UUID
    organization_id: UUID


class ClaimRef(WorkflowRef):
    """The right to work on a step: the row's version when it entered X_PROCESSING."""

    step: Step
    claim: int

    @property
    def workflow(self) -> WorkflowRef:
        return WorkflowRef(workflow_id=self.workflow_id, organization_id=self.organization_id)


class Failure(Frozen):
    """Why a step stands in X_FAILED. ``help`` is the command that goes on from here."""

    type: str
    message: str
    reasons: tuple[Reason, ...] = ()
    help: str = ""

    @property
    def is_about_money(self) -> bool:
        """An authorization was refused, or would have been: which scope did is with the attempts (``Standing``)."""
        return not MONEY_CODES.isdisjoint((self.type, *(reason.code for reason in self.reasons)))

    @property
    def is_a_verdict(self) -> bool:
        """A judge read what there is and said no: the same again would be judged the same."""
        return self.type == BLOCKED_BY_VERDICT


class ArticleCounts(Frozen):
    planned: int = 0
    done: int = 0
    failed: int = 0
    not_begun: int = 0


class Progress(Frozen):
    """The row as a run needs it.

    ``budget`` is what the cap did not cover, ``last_reason`` is the reason of the last transition, ``review_feedback``
    what a reviewer said who rejected the seeds, None when nobody did. ``waiting`` is set in the states that a person
    leads out of; ``standing`` where money stopped it: what refuses now.
    """

    workflow_id: UUID
    organization_id: UUID
    name: str
    organization_name: str
    state: State
    version: int
    cap_usd: Usd
    spent_usd: Usd
    held_usd: Usd
    failure: Failure | None = None
    articles: ArticleCounts = ArticleCounts()
    budget: BudgetSlice | None = None
    last_reason: str | None = None
    review_feedback: str | None = None
    settings: StepSettings
    auto_publish: bool = False
    started_by: str = ""
    waiting: Waiting | None = None
    standing: Standing | None = None

    @property
    def is_judged(self) -> bool:
        """What failed it is a verdict, or nothing that is known."""
        return self.failure is None or self.failure.is_a_verdict

    @property
    def needs_money(self) -> bool:
        """Parked, and a refused authorization is why."""
        return status_of(self.state) is Status.FAILED and self.failure is not None and self.failure.is_about_money

    @property
    def ref(self) -> WorkflowRef:
        return WorkflowRef(workflow_id=self.workflow_id, organization_id=self.organization_id)

    def claim_of(self, step: Step) -> ClaimRef:
        return ClaimRef(
            workflow_id=self.workflow_id, organization_id=self.organization_id, step=step, claim=self.version
        )


class CallKind(StrEnum):
    """What a paid request is for; each kind has one builder of its request and one judge of its answer."""

    ICP = "icp"
    COMPETITOR_DISCOVERY = "competitor_discovery"
    COMPETITOR_LABELS = "competitor_labels"
    KEYWORD_DATA = "keyword_data"
    EMBEDDINGS = "embeddings"
    ARTICLE_OUTLINE = "article_outline"
    ARTICLE_SECTION = "article_section"
    ARTICLE_REPAIR = "article_repair"


class Slot(Frozen):
    """The named call of a step; stays the same over its asks. ``subject`` and ``part`` tell calls of one kind apart:
    the domain and the endpoint of keyword data, the number of a batch of texts."""

    kind: CallKind
    subject: str | None = None
    part: str | None = None
    article_id: UUID | None = None
    revision: int = 1
    section: int | None = None
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As it stands in ``spend_attempts.slot``: "icp", "article:{id}:1:section:3", "keyword_data:{domain}:…"."""
        if self.article_id is None:
            return ":".join(part for part in (self.kind.value, self.subject, self.part) if part is not None)
        part = self.kind.value.removeprefix("article_")
        tail = "" if self.section is None else f":{self.section}"
        return f"article:{self.article_id}:{self.revision}:{part}{tail}"


class CallSpec(Frozen):
    """One ask of a slot: which model of its route, and the validator's message when an answer was rejected."""

    slot: Slot
    ask: int
    model: str
    feedback: str | None = None


class JudgedKind(StrEnum):
    ACCEPTED = "accepted"
    BLOCKED = "blocked"
    ASK_AGAIN = "ask_again"


class Judged(Frozen):
    """What a judge said of one answer. ``facts`` is small and for the workflow (URLs found, section numbers)."""

    kind: JudgedKind
    message: str = ""
    facts: dict[str, Any] = Field(default_factory=dict)
    progress: Progress | None = None


ACCEPT_PARTIAL = "accept_partial"
ZERO = Decimal(0)
