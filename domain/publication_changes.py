"""Taking back what stands published, and putting it out again: what is asked for, and what came of it."""

from enum import StrEnum
from uuid import UUID, uuid5

from domain.money import Frozen
from domain.progress import WorkflowRef
from domain.publishing import STANDING, PublicationState

REASON_CHARACTERS_MAX = 1_000


class ChangeKind(StrEnum):
    UNPUBLISH = "unpublish"
    REPUBLISH = "republish"


class ChangeEvent(StrEnum):
    UNPUBLISH_ASKED = "UNPUBLISH_ASKED"
    UNPUBLISHED = "UNPUBLISHED"
    REPUBLISH_ASKED = "REPUBLISH_ASKED"
    REPUBLISHED = "REPUBLISHED"
    CHANGE_FAILED = "CHANGE_FAILED"


class PublicationChange(Frozen):
    """A person's wish about published articles of a workflow that has ended."""

    ref: WorkflowRef
    change_id: UUID
    kind: ChangeKind
    article_ids: tuple[UUID, ...]
    actor: str
    reason: str


class ChangedArticle(Frozen):
    """How an article stands after a change; ``is_done`` when that is what was asked for."""

    article_id: UUID
    slug: str
    state: PublicationState
    is_done: bool
    published_url: str | None = None
    reason: str | None = None


def event_id_of(change_id: UUID, publication_id: UUID, event: ChangeEvent) -> UUID:
    return uuid5(change_id, f"{publication_id}/{event}")


def state_asked_for(kind: ChangeKind) -> PublicationState:
    """While the change is at work."""
    return PublicationState.UNPUBLISHING if kind is ChangeKind.UNPUBLISH else PublicationState.PENDING


def is_reached(kind: ChangeKind, state: PublicationState) -> bool:
    return state is PublicationState.UNPUBLISHED if kind is ChangeKind.UNPUBLISH else state in STANDING


def may_change(kind: ChangeKind, state: PublicationState, *, was_taken_back: bool) -> bool:
    """Whether a publication is to be worked on. What never stood is not put out this way: nobody approved that after
    the workflow had ended."""
    if is_reached(kind, state):
        return False
    return kind is ChangeKind.UNPUBLISH or was_taken_back
