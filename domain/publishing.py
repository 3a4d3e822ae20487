"""What a publisher is asked to do, and what it answers."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.assembly import Document
from domain.brief import Organization, PublishMode
from domain.money import Frozen


class PublicationState(StrEnum):
    PENDING = "PENDING"
    PUBLISHED = "PUBLISHED"
    UNCHANGED = "UNCHANGED"
    FAILED = "FAILED"


class PublicationRequest(Frozen):
    """One article for one target. ``content_hash`` is the hash that was approved; ``published_at`` (aware UTC) is a
    stored time, so that a repeated request writes the same page; ``site_name`` names the workflow for people."""

    publication_id: UUID
    workflow_id: UUID
    article_id: UUID
    slug: str
    document: Document
    content_hash: str
    mode: PublishMode
    is_demo_text: bool
    organization: Organization
    published_at: datetime | None = None
    site_name: str | None = None


class PublicationResult(Frozen):
    """``url`` is where the page can be opened; ``reason`` says in one line why it failed, None otherwise."""

    state: PublicationState
    external_id: str | None = None
    url: str | None = None
    reason: str | None = None


class PublishedArticle(Frozen):
    """A published article as index, sitemap and manifest list it; ``hub_slug`` is None for a hub."""

    article_id: UUID
    slug: str
    title: str
    description: str
    keyword: str
    role: str
    word_count: int
    content_hash: str
    mode: PublishMode
    published_at: datetime | None = None
    hub_slug: str | None = None


class SiteDescription(Frozen):
    """What a workflow has published, in the plan's order."""

    organization: Organization
    locale: str
    is_demo_text: bool
    articles: tuple[PublishedArticle, ...]
    site_name: str | None = None


def published_article(request: PublicationRequest, *, hub_slug: str | None = None) -> PublishedArticle:
    """The entry of a published request."""
    document = request.document
    return PublishedArticle(
        article_id=request.article_id,
        slug=request.slug,
        title=document.title,
        description=document.meta_description,
        keyword=document.keyword,
        role=document.role,
        word_count=document.word_count,
        content_hash=request.content_hash,
        mode=request.mode,
        published_at=request.published_at,
        hub_slug=hub_slug,
    )
