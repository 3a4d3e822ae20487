"""The brief: what a company tells about itself, checked whole before anything is started."""

from decimal import Decimal
from enum import StrEnum

from pydantic import Field

from domain.money import Frozen, Usd


class Organization(Frozen):
    name: str
    url: str
    description: str


class Voice(Frozen):
    tone: str = "plain"
    banned_phrases: tuple[str, ...] = ()


class ExistingPage(Frozen):
    url: str
    keyword: str


class ArticleLimits(Frozen):
    max: int = Field(default=3, ge=1, le=50)
    min: int = Field(default=1, ge=1)
    words: int = Field(default=1200, ge=300, le=5000)


class PublishTarget(StrEnum):
    FILES = "files"


class PublishMode(StrEnum):
    DRAFT = "draft"
    PUBLISH = "publish"


class Approval(StrEnum):
    PERSON = "person"
    AUTO = "auto"


class PublishPlan(Frozen):
    target: PublishTarget = PublishTarget.FILES
    mode: PublishMode = PublishMode.PUBLISH
    approval: Approval = Approval.PERSON


class Brief(Frozen):
    organization: Organization
    audiences: tuple[str, ...] = ()
    competitors: tuple[str, ...] = ()
    locale: str = "en-US"
    country: str = "US"
    voice: Voice = Voice()
    existing_pages: tuple[ExistingPage, ...] = ()
    articles: ArticleLimits = ArticleLimits()
    publish: PublishPlan = PublishPlan()
    cap_usd: Usd = Decimal("1.00")
