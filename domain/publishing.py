"""What a publisher is asked to do, and what it answers."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from pydantic import Field

from domain.assembly import Document, content_hash, relink
from domain.brief import Organization, PublishMode
from domain.money import Frozen


class PublicationState(StrEnum):
    """UNPUBLISHING: somebody takes it back and the target has not confirmed that yet."""

    PENDING = "PENDING"
    PUBLISHED = "PUBLISHED"
    UNCHANGED = "UNCHANGED"
    FAILED = "FAILED"
    UNPUBLISHING = "UNPUBLISHING"
    UNPUBLISHED = "UNPUBLISHED"


STANDING = frozenset({PublicationState.PUBLISHED, PublicationState.UNCHANGED})


class PublicationRequest(Frozen):
    """One article for one target.

    ``content_hash`` is the hash that was approved. ``published_at`` (aware UTC) has to be a stored time, so that a
    repeated request writes the same page; without it the page carries no date. ``domain`` is the organization's bare
    domain, ``workflow_name`` tells its workflows apart for people. ``addresses`` are those of published siblings by
    slug, for targets that give a page its address themselves.
    """

    publication_id: UUID
    workflow_id: UUID
    workflow_name: str
    article_id: UUID
    slug: str
    document: Document
    content_hash: str
    mode: PublishMode
    is_demo_text: bool
    organization: Organization
    domain: str
    published_at: datetime | None = None
    addresses: dict[str, str] = Field(default_factory=dict)


class PublicationRecord(Protocol):
    """What is stored of a publication, in the hands of a publisher: its memory and its arbiter.

    Of several publishers at work on one publication the first to ``keep`` an id at the target wins, whatever the
    target shows to whom and when.
    """

    @property
    def external_id(self) -> str | None:
        """The page's id at the target as far as it is recorded."""

    @property
    def confirmed_mode(self) -> PublishMode | None:
        """How the page has stood at the target, as it was meant to: what differs since was done by somebody. None when
        it never stood."""

    async def check(self) -> None:
        """Before every effect. Raises ClaimLostError when this publication is no longer ours to carry out."""

    async def keep(self, external_id: str, *, instead_of: str | None) -> str:
        """Records the id unless another than ``instead_of`` is recorded; the id that counts from now on. A page that
        takes the place of another has not stood yet."""


class Publisher(Protocol):
    """A place to publish to. Whatever a person has to mend is FAILED with the reason and what to do; TransientError
    says that trying again later may work, and trying again is always safe."""

    async def publish(self, request: PublicationRequest, record: PublicationRecord) -> "PublicationResult":
        """One page with this content, however often it is asked for."""

    async def relink(self, request: PublicationRequest, record: PublicationRecord) -> "PublicationResult":
        """Draws the links of a page that stands anew. Makes no page, and leaves alone what a person changed."""

    async def unpublish(self, request: PublicationRequest, record: PublicationRecord) -> "PublicationResult":
        """Takes back what was published by us and nothing else: UNPUBLISHED, also when it had gone already."""

    async def finish(self, workflow_id: UUID, site: "SiteDescription") -> str:
        """What belongs to all of a workflow's pages together; where they can be looked at."""


class PublicationResult(Frozen):
    """``url`` is where the page can be opened; ``reason`` says in one line why it failed, or what is worth knowing."""

    state: PublicationState
    external_id: str | None = None
    url: str | None = None
    reason: str | None = None


class PublishedArticle(Frozen):
    """A published article as index, sitemap and manifest list it; ``hub_slug`` is None where no hub is known."""

    article_id: UUID
    slug: str
    title: str
    description: str
    keyword: str
    role: str
    word_count: int
    content_hash: str
    hub_slug: str | None = None


class SiteDescription(Frozen):
    """Everything a workflow has published, in the plan's order."""

    workflow_name: str
    organization: Organization
    domain: str
    locale: str
    mode: PublishMode
    is_demo_text: bool
    articles: tuple[PublishedArticle, ...]


def publication_request(
    *,
    publication_id: UUID,
    workflow_id: UUID,
    workflow_name: str,
    article_id: UUID,
    document: Document,
    content_hash: str,
    mode: PublishMode,
    is_demo_text: bool,
    organization: Organization,
    domain: str,
    available_slugs: Mapping[str, str] | Collection[str],
    published_at: datetime | None = None,
    addresses: Mapping[str, str] | None = None,
) -> PublicationRequest:
    """``available_slugs`` are the slugs that will stand published (a mapping gives their titles too): links to
    others are dropped, which leaves the content hash as it is."""
    titles = available_slugs if isinstance(available_slugs, Mapping) else None
    return PublicationRequest(
        publication_id=publication_id,
        workflow_id=workflow_id,
        workflow_name=workflow_name,
        article_id=article_id,
        slug=document.slug,
        document=relink(document, available_slugs, titles=titles),
        content_hash=content_hash,
        mode=mode,
        is_demo_text=is_demo_text,
        organization=organization,
        domain=domain,
        published_at=published_at,
        addresses=dict(addresses or {}),
    )


def site_description(
    *,
    workflow_name: str,
    organization: Organization,
    domain: str,
    documents: Sequence[Document],
    is_demo_text: bool,
    mode: PublishMode = PublishMode.PUBLISH,
) -> SiteDescription:
    """``documents`` in the plan's order."""
    hubs = {document.keyword: document.slug for document in documents if document.role == "hub"}
    return SiteDescription(
        workflow_name=workflow_name,
        organization=organization,
        domain=domain,
        locale=documents[0].locale if documents else "en-US",
        mode=mode,
        is_demo_text=is_demo_text,
        articles=tuple(_published(document, hubs) for document in documents),
    )


def _published(document: Document, hubs: Mapping[str, str]) -> PublishedArticle:
    return PublishedArticle(
        article_id=document.article_id,
        slug=document.slug,
        title=document.title,
        description=document.meta_description,
        keyword=document.keyword,
        role=document.role,
        word_count=document.word_count,
        content_hash=content_hash(document),
        hub_slug=hubs.get(document.hub_keyword or ""),
    )
