"""What the tests of WordPress share: a record in memory, requests, and a network that loses or spoils answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
from pydantic import SecretStr

from domain.assembly import Document, content_hash
from domain.brief import PublishMode
from domain.errors import ClaimLostError
from domain.publishing import STANDING, PublicationRequest, PublicationResult
from domain.wordpress import WordPressSite, WordPressSites
from providers.wordpress import WordPressPublisher
from tests.unit.quality.samples import SAMPLES
from tests.unit.test_publishing import AP_NAMES, request_of
from tests.wordpress.real_site import RealSite
from tests.wordpress.stand_in import StandInSite

AnySite = StandInSite | RealSite
OPEN: list[WordPressPublisher] = []  # closed after each test
DOCUMENTS = [SAMPLES[name].document() for name in AP_NAMES]
HUB, SPOKE, OTHER_SPOKE = DOCUMENTS
ODD = "Fish & “chips” — 5 < 6 > 4 \\ 100% 😀 [gallery] 'it’s' &amp; naïve 日本"


class LostError(Exception):
    """Stands for a process that dies."""


@dataclass
class Memory:
    """A publication's row without a database: compare and set, and what may go wrong."""

    external_id: str | None = None
    confirmed_mode: PublishMode | None = None
    dies_at_keep: int = 0
    checks: int = 0
    newest: object = None

    async def check(self) -> None:
        self.checks += 1

    async def keep(self, external_id: str, *, instead_of: str | None) -> str:
        if self.dies_at_keep:
            self.dies_at_keep -= 1
            raise LostError
        if self.external_id == instead_of:
            self.confirmed_mode = None if instead_of else self.confirmed_mode
            self.external_id = external_id
        return self.external_id or ""

    def note(self, result: PublicationResult, mode: PublishMode = PublishMode.PUBLISH) -> PublicationResult:
        if result.state in STANDING:
            self.confirmed_mode = mode
        return result


@dataclass
class Spoil:
    """A request whose answer is lost (``lose``), never sent (``refuse``) or replaced by ``answer``."""

    matches: Callable[[httpx2.Request], bool]
    kind: str = "lose"
    answer: Callable[[httpx2.Request], httpx2.Response] | None = None
    times: int = 1


@dataclass
class SpoiledNetwork(httpx2.AsyncBaseTransport):
    spoils: list[Spoil]
    sent: list[httpx2.Request] = field(default_factory=list)
    real: httpx2.AsyncHTTPTransport = field(default_factory=httpx2.AsyncHTTPTransport)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        spoil = next((one for one in self.spoils if one.times > 0 and one.matches(request)), None)
        if spoil is None:
            return await self.real.handle_async_request(request)
        spoil.times -= 1
        if spoil.kind == "refuse":
            raise httpx2.ConnectError("refused", request=request)
        if spoil.answer is not None:
            return spoil.answer(request)
        response = await self.real.handle_async_request(request)
        await response.aread()
        await response.aclose()
        raise httpx2.ReadError("the answer was lost", request=request)

    async def aclose(self) -> None:
        await self.real.aclose()


@dataclass
class Attempt:
    """One of several attempts on the same record: as soon as a later one begins, an older one may have no effects.

    ``stalls_after_check`` is where a worker stands still that is given up meanwhile: just before a request.
    """

    memory: Memory
    stalls_after_check: Callable[[], Awaitable[object]] | None = None

    def __post_init__(self) -> None:
        self.memory.newest = self

    @property
    def external_id(self) -> str | None:
        return self.memory.external_id

    @property
    def confirmed_mode(self) -> PublishMode | None:
        return self.memory.confirmed_mode

    async def check(self) -> None:
        if self.memory.newest is not self:
            raise ClaimLostError("a later attempt has begun")
        if self.stalls_after_check:
            stall, self.stalls_after_check = self.stalls_after_check, None
            await stall()

    async def keep(self, external_id: str, *, instead_of: str | None) -> str:
        return await self.memory.keep(external_id, instead_of=instead_of)


def creates(request: httpx2.Request) -> bool:
    return request.method == "POST" and b'"title"' in request.content and b'"status":"draft"' in _tight(request)


def sets_live(request: httpx2.Request) -> bool:
    return request.method == "POST" and b'"status":"publish"' in _tight(request)


def _tight(request: httpx2.Request) -> bytes:
    return request.content.replace(b'": "', b'":"')


def publisher(site: AnySite, role: str = "editor", *spoils: Spoil, **changes: Any) -> WordPressPublisher:
    facts = {"url": site.url, "user": role, "application_password": SecretStr(site.passwords.get(role, "wrong one"))}
    network = SpoiledNetwork(list(spoils))
    sites = WordPressSites(default=WordPressSite(**{**facts, **changes}))
    made = WordPressPublisher(sites, transport=network, timeout_seconds=20)
    OPEN.append(made)
    return made


def request(document: Document = HUB, **changes: Any) -> PublicationRequest:
    return request_of(document, **changes)


def changed(document: Document = HUB, words: str = "was entirely rewritten") -> Document:
    return document.model_copy(update={"html": document.html.replace("</p>", f" {words}</p>", 1)})


def odd() -> Document:
    """A document whose texts hold everything that something on the way may spoil."""
    from html import escape

    html = f"<h1>{escape(ODD)}</h1>\n<p>{escape(ODD, quote=False)}</p>\n<ul>\n<li>one</li>\n<li>two [video]</li>\n</ul>"
    return HUB.model_copy(update={"title": ODD, "meta_description": ODD, "html": html})


def hash_of(document: Document) -> str:
    return content_hash(document)
