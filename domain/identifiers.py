"""Every identifier is a UUID derived from what it names, so a retry, restart or replay derives the same one."""

from typing import NewType
from urllib.parse import urlsplit
from uuid import NAMESPACE_DNS, UUID, uuid5

OrganizationId = NewType("OrganizationId", UUID)
WorkflowId = NewType("WorkflowId", UUID)
AttemptId = NewType("AttemptId", UUID)
TransitionId = NewType("TransitionId", UUID)
ArticleId = NewType("ArticleId", UUID)
Claim = NewType("Claim", int)


def bare_domain(url: str) -> str:
    """Host of a URL in lower case, without port and a leading ``www.``."""
    host = (urlsplit(url if "//" in url else f"//{url}").hostname or "").rstrip(".")
    return host.removeprefix("www.")


def organization_id_of(url: str) -> OrganizationId:
    return OrganizationId(uuid5(NAMESPACE_DNS, bare_domain(url)))


def workflow_id_of(organization_id: UUID, name: str) -> WorkflowId:
    return WorkflowId(uuid5(organization_id, name))


def attempt_id_of(workflow_id: UUID, step: str, slot: str, claim: int, ask: int) -> AttemptId:
    """One HTTP request to a paid provider: unique per ask of a slot under a claim."""
    return AttemptId(uuid5(workflow_id, f"{step}/{slot}/{claim}/{ask}"))


def run_transition_id(workflow_id: UUID, expected_version: int, next_state: str) -> TransitionId:
    """A transition that a run makes by itself."""
    return TransitionId(uuid5(workflow_id, f"{expected_version}:{next_state}"))


def decision_transition_id(workflow_id: UUID, update_id: str) -> TransitionId:
    """A transition that a person decided; ``update_id`` is what the person's command sent along."""
    return TransitionId(uuid5(workflow_id, f"decision:{update_id}"))


def article_id_of(workflow_id: UUID, keyword: str) -> ArticleId:
    return ArticleId(uuid5(workflow_id, f"article:{keyword}"))


def publication_id_of(article_id: UUID, target: str) -> UUID:
    return uuid5(article_id, f"publication:{target}")


def page_id_of(workflow_id: UUID, url: str) -> UUID:
    return uuid5(workflow_id, f"page:{url}")


def cited_page_id_of(article_id: UUID, url: str) -> UUID:
    return uuid5(article_id, f"cited:{url}")


def temporal_workflow_id(organization_id: UUID, workflow_id: UUID) -> str:
    return f"intent/{organization_id}/{workflow_id}"
