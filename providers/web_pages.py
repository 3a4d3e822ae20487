"""Reading a few pages of a web site: politely, by public addresses only, as the text that a visitor sees."""

import asyncio
import contextlib
import html
import itertools
import re
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import SplitResult, unquote, urldefrag, urljoin, urlsplit

import httpcore2
import httpx2
from protego import Protego

from domain.errors import ConfigurationError
from domain.identifiers import bare_domain
from domain.pages import KeptAnswer, Page, SiteRead, SkippedPage
from providers.addresses import (
    AddressRefusedError,
    BackendTransport,
    OneAddressBackend,
    PublicBackend,
    Resolver,
    checked_url,
    system_resolver,
)
from providers.page_text import PageText, UnreadableMarkupError, clean_text, decode_html, page_text

PAGE_BYTES_MAX = 2_000_000
ROBOTS_BYTES_MAX = 500_000
CRAWL_DELAY_SECONDS_MAX = 10.0
RETRY_AFTER_SECONDS_MAX = 20.0
CHILD_SITEMAPS_MAX = 2
KEPT_BYTES_MAX = 2_000_000
FRESH_SECONDS = 6 * 3600.0
SKIPPED_MAX = 30
REASON_CHARACTERS_MAX = 300
BOMB_RATIO = 30
CANDIDATES_MAX = 2_000
URL_CHARACTERS_MAX = 2_000
TEXT_WORDS_MIN = 20
HTML_TYPES = frozenset({"text/html", "application/xhtml+xml", ""})
READ_TYPES = HTML_TYPES | {"application/xml", "text/xml", "text/plain", "application/gzip", "application/x-gzip"}
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
# Answers that stay as they are for a while; others are asked anew.
HTTP_OK, NOT_MODIFIED = 200, 304
VALIDATOR_CHARACTERS_MAX = 300
KEPT_STATUSES = frozenset({200, 301, 308, 404, 410})

_NOT_A_PAGE = re.compile(
    r"\.(?:pdf|jpe?g|png|gif|svg|webp|ico|css|js|json|xml|zip|gz|mp[34]|mov|docx?|xlsx?|pptx?|csv|rss|atom)$",
    re.IGNORECASE,
)
_SITEMAP = re.compile(r"\.xml(?:\.gz)?$", re.IGNORECASE)
_LOCATION = re.compile(r"<loc>\s{0,50}(?:<!\[CDATA\[)?\s{0,50}([^\s<\]]{1,2000})", re.IGNORECASE)
_PRODUCT_WORDS = """
    product products feature features solution solutions platform pricing plans use-cases how-it-works
"""
_GUIDE_WORDS = """
    guide guides blog resources learn compare customers case-studies faq integrations
"""
_LAST_WORDS = """
    legal privacy terms cookies imprint impressum login signin signup register account cart checkout search tag author
    careers jobs press status unsubscribe
"""
_RANKS = {
    word: rank for rank, words in ((0, _PRODUCT_WORDS), (1, _GUIDE_WORDS), (3, _LAST_WORDS)) for word in words.split()
}
_RANK_OF_OTHERS = 2


class UnreadableError(Exception):
    """A page or a site that can't be read; ``str(error)`` says in one line why."""


class AnswerCache(Protocol):
    """Keeps answers between readings; ``store`` with the same facts again only renews the time of fetching."""

    async def load(self, url: str) -> KeptAnswer | None: ...

    async def store(self, answer: KeptAnswer) -> None: ...


class NoCache:
    async def load(self, url: str) -> KeptAnswer | None:  # noqa: ARG002 -- it keeps nothing
        return None

    async def store(self, answer: KeptAnswer) -> None:
        pass


@dataclass(frozen=True)
class _Fetched:
    """``url`` is the public address that answered, after redirects; ``is_cut`` when only its beginning was read."""

    url: str
    status: int
    content_type: str
    charset: str | None
    body: bytes
    is_cut: bool = False


@dataclass
class _Reading:
    """One site being read. ``is_override`` was decided by the site asked for and stays for all of it."""

    site: str
    is_override: bool
    pages_max: int
    on_progress: Callable[[], None]
    cache: AnswerCache = field(default_factory=NoCache)
    asks_again: bool = False
    skipped: list[SkippedPage] = field(default_factory=list)
    robots: dict[str, Protego] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    pages: list[Page] = field(default_factory=list)

    def skip(self, url: str, reason: str) -> None:
        if len(self.skipped) < SKIPPED_MAX:
            plain = clean_text(reason)[:REASON_CHARACTERS_MAX]
            self.skipped.append(SkippedPage(url=url[:URL_CHARACTERS_MAX], reason=plain))


class WebPages:
    """Reads sites one page at a time each, several sites at once.

    ``site_overrides`` maps a host suffix to the base address that stands in for its sites, for the sandbox:
    ``{".example": "http://127.0.0.1:8123/sites"}`` reads ``https://acme.example/pricing`` from
    ``http://127.0.0.1:8123/sites/acme/pricing``. Whatever is returned names the public address.
    """

    def __init__(
        self,
        *,
        user_agent: str,
        timeout_seconds: float = 15.0,
        site_seconds_max: float = 120.0,
        page_bytes_max: int = PAGE_BYTES_MAX,
        redirects_max: int = 5,
        per_host_delay_seconds: float = 1.0,
        parallel_max: int = 8,
        site_overrides: Mapping[str, str] | None = None,
        resolver: Resolver = system_resolver,
        network: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._user_agent = user_agent
        # Groups of a robots.txt are for the product's name, not for words of its explanation.
        self._robot_name = user_agent.partition("/")[0].split()[0]
        self._timeout_seconds = timeout_seconds
        self._site_seconds_max = site_seconds_max
        self._page_bytes_max = page_bytes_max
        self._redirects_max = redirects_max
        self._per_host_delay_seconds = per_host_delay_seconds
        self._parallel = asyncio.Semaphore(parallel_max)
        self._hosts = _HostTurns()
        connecting = network or httpcore2.AnyIOBackend()
        self._public = BackendTransport(PublicBackend(resolver, connecting))
        self._overrides = [_Override(suffix, base, connecting) for suffix, base in (site_overrides or {}).items()]

    async def close(self) -> None:
        for transport in (self._public, *(override.transport for override in self._overrides)):
            await transport.aclose()

    async def read_site(
        self,
        url: str,
        *,
        pages_max: int,
        on_progress: Callable[[], None] = lambda: None,
        cache: AnswerCache | None = None,
        asks_again: bool = False,
    ) -> SiteRead:
        """The home page and the most telling pages of the same site, at most ``pages_max``; never raises for what a
        site does, but says so in ``failure`` when there is no page. ``on_progress`` is called after each request.

        What ``cache`` holds is not fetched while it is fresh, and under a condition (ETag, Last-Modified) after that,
        or at once with ``asks_again``. Errors of the cache are raised.
        """
        url = url.strip() if "//" in url else f"https://{url.strip()}"
        try:
            site = bare_domain(url)
        except ValueError as error:
            return SiteRead(site=url, failure=f"{url!r} is not a web address ({error})")
        is_override = self._override_of(site) is not None
        reading = _Reading(site, is_override, pages_max, on_progress, cache or NoCache(), asks_again or is_override)
        failure: str | None = None
        try:
            async with self._parallel, asyncio.timeout(self._site_seconds_max):
                await self._read(reading, url)
        except TimeoutError:
            failure = f"{site} was not read within {self._site_seconds_max:g} s"
        except (UnreadableError, AddressRefusedError) as error:
            failure = str(error)
        if failure is not None and reading.pages:
            reading.skip(url, failure)
        pages, skipped = tuple(reading.pages), tuple(reading.skipped)
        return SiteRead(site=site, pages=pages, failure=None if pages else failure, skipped=skipped)

    async def _read(self, reading: _Reading, url: str) -> None:
        home = await self._fetch_allowed(reading, url)
        text = await self._page_text(home)
        self._keep(reading, home, text)
        if len(reading.pages) < reading.pages_max:
            await self._read_more(reading, home.url, text.links)
        if not reading.pages:
            raise UnreadableError(f"{home.url} {_why_without_text(home, text)}")

    async def _read_more(self, reading: _Reading, home_url: str, links: tuple[str, ...]) -> None:
        tries_left = 2 * reading.pages_max
        for url in _candidates(home_url, [*links, *await self._sitemap_urls(reading, home_url)]):
            if len(reading.pages) >= reading.pages_max or tries_left == 0:
                return
            if _page_key(url) not in reading.seen:
                tries_left -= 1
                await self._try_page(reading, home_url, url)

    async def _try_page(self, reading: _Reading, home_url: str, url: str) -> None:
        """A page beside the home page that can't be read is passed over, with the reason noted."""
        reading.seen.add(_page_key(url))
        try:
            fetched = await self._fetch_allowed(reading, url)
            if not _is_same_site(fetched.url, home_url):
                raise UnreadableError(f"{url} leads to another site ({bare_domain(fetched.url)})")
            self._keep(reading, fetched, await self._page_text(fetched))
        except (UnreadableError, AddressRefusedError) as error:
            reading.skip(url, str(error))

    def _keep(self, reading: _Reading, fetched: _Fetched, text: PageText) -> None:
        keys = {_page_key(fetched.url)}
        canonical = _same_site_url(fetched.url, text.canonical_url or "")
        if canonical is not None:
            keys.add(_page_key(canonical))
        same = next((page for page in reading.pages if _page_key(page.url) in keys), None)
        reading.seen |= keys
        if same is not None or text.content_text in reading.texts:
            reading.skip(fetched.url, f"is the same as {same.url if same else 'a page that was read'}")
        elif len(text.content_text.split()) < TEXT_WORDS_MIN or not text.passages:
            reading.skip(fetched.url, _why_without_text(fetched, text))
        else:
            if fetched.is_cut:
                reading.skip(fetched.url, f"only its first {len(fetched.body)} bytes were read: it is larger")
            reading.texts.add(text.content_text)
            reading.pages.append(
                Page(
                    url=fetched.url,
                    title=text.title,
                    headings=text.headings,
                    passages=text.passages,
                    content_text=text.content_text,
                )
            )

    async def _page_text(self, fetched: _Fetched) -> PageText:
        if fetched.content_type not in HTML_TYPES:
            raise UnreadableError(f"{fetched.url} is not an HTML page but {clean_text(fetched.content_type)[:60]}")
        try:
            # Off the event loop: a large page keeps a processor busy for a while.
            return await asyncio.to_thread(_text_of_page, fetched)
        except UnreadableMarkupError as error:
            raise UnreadableError(f"{fetched.url} can't be parsed: {error}") from error
        except Exception as error:  # whatever a parser makes of a hostile page
            raise UnreadableError(f"{fetched.url} can't be parsed ({type(error).__name__})") from error

    async def _sitemap_urls(self, reading: _Reading, home_url: str) -> list[str]:
        robots = await self._robots(reading, urlsplit(home_url))
        stated = [url for url in robots.sitemaps if _is_same_site(url, home_url)][:CHILD_SITEMAPS_MAX]
        found: list[str] = []
        for url in stated or [urljoin(home_url, "/sitemap.xml")]:
            found += await self._locations(reading, url)
        children = [url for url in found if _SITEMAP.search(urlsplit(url).path) and _is_same_site(url, home_url)]
        for child in sorted(dict.fromkeys(children), key=_sitemap_rank)[:CHILD_SITEMAPS_MAX]:
            found += await self._locations(reading, child)
        return found

    async def _locations(self, reading: _Reading, url: str) -> list[str]:
        """Addresses of a sitemap or of an index of sitemaps; none where it can't be read, which is no loss."""
        try:
            fetched = await self._fetch_allowed(reading, url)
            text = decode_html(_inflated(fetched.body, self._page_bytes_max), fetched.charset)
        except (UnreadableError, AddressRefusedError, ValueError, zlib.error):
            return []
        found = itertools.islice(_LOCATION.finditer(text), CANDIDATES_MAX)
        return [html.unescape(location[1]) for location in found]

    async def _fetch_allowed(self, reading: _Reading, url: str) -> _Fetched:
        """A successful answer, redirects followed, each hop's address and robots.txt checked."""
        fetched = await self._follow(reading, url, obeys_robots=True, bytes_max=self._page_bytes_max)
        if fetched.status >= 300 or fetched.status < 200:
            raise UnreadableError(f"{fetched.url} answers with HTTP {fetched.status}")
        return fetched

    async def _follow(self, reading: _Reading, url: str, *, obeys_robots: bool, bytes_max: int) -> _Fetched:
        visited: set[str] = set()
        for _ in range(self._redirects_max + 1):
            parts = checked_url(urldefrag(url).url)
            url = _public_url(parts)
            if url in visited:
                raise UnreadableError(f"{url} redirects in a loop")
            visited.add(url)
            if obeys_robots:
                await self._check_robots(reading, parts)
            fetched, location = await self._get(reading, parts, bytes_max)
            if location is None:
                return fetched
            url = _joined(url, location)
        raise UnreadableError(f"{url} is one redirect too many: more than {self._redirects_max}")

    async def _check_robots(self, reading: _Reading, parts: SplitResult) -> None:
        robots = await self._robots(reading, parts)
        if not robots.can_fetch(_public_url(parts), self._robot_name):
            raise UnreadableError(f"robots.txt of {parts.netloc} does not allow {parts.path or '/'} to be read")

    async def _robots(self, reading: _Reading, parts: SplitResult) -> Protego:
        """Rules of an origin. Absent (4xx) means everything is allowed, unreadable that nothing is (RFC 9309)."""
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in reading.robots:
            url = f"{origin}/robots.txt"
            fetched = await self._follow(reading, url, obeys_robots=False, bytes_max=ROBOTS_BYTES_MAX)
            if fetched.status >= 500 or fetched.status == 429:
                raise UnreadableError(f"{url} answers with HTTP {fetched.status}: reading the site is not allowed then")
            rules = decode_html(fetched.body, fetched.charset) if 200 <= fetched.status < 300 else ""
            reading.robots[origin] = await asyncio.to_thread(Protego.parse, rules)
        return reading.robots[origin]

    async def _get(self, reading: _Reading, parts: SplitResult, bytes_max: int) -> tuple[_Fetched, str | None]:
        """An address's answer, and where it redirects to: kept, or fetched."""
        url = _public_url(parts)
        kept = await reading.cache.load(url)
        if kept is not None and kept.is_fresh and not reading.asks_again:
            return _of_kept(kept)
        answer = await self._fetch(reading, parts, bytes_max, kept)
        if answer.status == NOT_MODIFIED and kept is not None:
            answer = kept.model_copy(update={"fresh_seconds": answer.fresh_seconds})
        if _may_be_kept(answer, bytes_max):
            await reading.cache.store(answer)
        return _of_kept(answer, is_cut=len(answer.body) >= bytes_max)

    async def _fetch(
        self, reading: _Reading, parts: SplitResult, bytes_max: int, kept: KeptAnswer | None
    ) -> KeptAnswer:
        """One request; a second one where the host asks for patience."""
        answer, wait_seconds = await self._ask(reading, parts, bytes_max, kept)
        if wait_seconds is None:
            return answer
        await asyncio.sleep(wait_seconds)
        answer, _ = await self._ask(reading, parts, bytes_max, kept)
        return answer

    async def _ask(
        self, reading: _Reading, parts: SplitResult, bytes_max: int, kept: KeptAnswer | None
    ) -> tuple[KeptAnswer, float | None]:
        url = _public_url(parts)
        override = self._override_of(parts.netloc) if reading.is_override else None
        if reading.is_override and override is None:
            raise AddressRefusedError(f"{url} is refused: a stand-in site may not lead to another address")
        transport, target = (self._public, url) if override is None else (override.transport, override.target(parts))
        delay_seconds = 0.0 if override else self._delay_seconds(reading, parts)
        try:
            async with (
                self._hosts.turn(bare_domain(url), delay_seconds),
                asyncio.timeout(self._timeout_seconds),
                self._answer(transport, target, _conditions(kept)) as response,
            ):
                return await _received(url, response, bytes_max), _patience(response)
        except TimeoutError:
            raise UnreadableError(f"{url} did not answer within {self._timeout_seconds:g} s") from None
        except _NETWORK_ERRORS as error:
            raise UnreadableError(f"{url} can't be reached: {_network_reason(error)}") from error
        finally:
            reading.on_progress()

    @contextlib.asynccontextmanager
    async def _answer(
        self, transport: BackendTransport, url: str, conditions: Mapping[str, str]
    ) -> AsyncIterator[httpx2.Response]:
        seconds = self._timeout_seconds
        accepted = {"Accept": "text/html,*/*;q=0.5", "Accept-Encoding": "gzip", **conditions}
        request = httpx2.Request(
            "GET",
            url,
            headers={"User-Agent": self._user_agent, **accepted},
            extensions={"timeout": {"connect": seconds, "read": seconds, "write": seconds, "pool": seconds}},
        )
        response = await transport.handle_async_request(request)
        try:
            yield response
        finally:
            await response.aclose()

    def _delay_seconds(self, reading: _Reading, parts: SplitResult) -> float:
        robots = reading.robots.get(f"{parts.scheme}://{parts.netloc}")
        asked = float(robots.crawl_delay(self._robot_name) or 0) if robots else 0.0
        return max(self._per_host_delay_seconds, min(asked, CRAWL_DELAY_SECONDS_MAX))

    def _override_of(self, host: str) -> "_Override | None":
        return next((override for override in self._overrides if override.covers(host)), None)


class _Override:
    """A suffix of host names whose sites stand under another address."""

    def __init__(self, suffix: str, base_url: str, network: httpcore2.AsyncNetworkBackend) -> None:
        parts = urlsplit(base_url)
        if not suffix.startswith(".") or parts.scheme != "http" or not parts.hostname or parts.port is None:
            raise ConfigurationError(
                f"the site override {suffix!r}: {base_url!r} must map a suffix such as '.example' to an http address "
                "with a port"
            )
        self._suffix = suffix
        self._base_url = base_url.rstrip("/")
        self.transport = BackendTransport(OneAddressBackend(parts.hostname, parts.port, network))

    def covers(self, host: str) -> bool:
        return host.endswith(self._suffix)

    def target(self, parts: SplitResult) -> str:
        if ".." in unquote(parts.path).split("/") or "\\" in unquote(parts.path):
            raise AddressRefusedError(f"{_public_url(parts)} is refused: its path leads out of the site")
        name = bare_domain(parts.netloc).removesuffix(self._suffix)
        query = f"?{parts.query}" if parts.query else ""
        return f"{self._base_url}/{name}{parts.path or '/'}{query}"


class _HostTurns:
    """One request to a host at a time, and no sooner than its delay after the last began: over all readings of this
    process, whoever they are for."""

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}

    @contextlib.asynccontextmanager
    async def turn(self, name: str, delay_seconds: float) -> AsyncIterator[None]:
        host = self._hosts.setdefault(name, _Host())
        host.users += 1
        try:
            async with host.lock:
                await asyncio.sleep(host.free_at - time.monotonic())
                host.free_at = time.monotonic() + delay_seconds
                yield
        finally:
            host.users -= 1
            self._forget_idle()

    def _forget_idle(self) -> None:
        now = time.monotonic()
        for name in [name for name, host in self._hosts.items() if not host.users and host.free_at <= now]:
            del self._hosts[name]


@dataclass
class _Host:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    free_at: float = 0.0
    users: int = 0


_NETWORK_ERRORS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.UnsupportedProtocol,
    httpx2.HTTPError,
    httpx2.InvalidURL,
)


async def _received(url: str, response: httpx2.Response, bytes_max: int) -> KeptAnswer:
    """The answer as it may be kept. The body is read up to the bound, and only of what may be a page or a sitemap."""
    media_type, _, _ = response.headers.get("content-type", "").partition(";")
    location = response.headers.get("location") if response.status_code in REDIRECT_STATUSES else None
    content_type = media_type.strip().lower()
    is_read = location is None and response.status_code == HTTP_OK and content_type in READ_TYPES
    return KeptAnswer(
        url=url,
        status=response.status_code,
        location=location,
        content_type=content_type,
        charset=response.charset_encoding,
        body=await _body(url, response, bytes_max) if is_read else b"",
        etag=_validator(response, "etag"),
        last_modified=_validator(response, "last-modified"),
        fresh_seconds=_fresh_seconds(response.headers.get("cache-control", "")),
    )


async def _body(url: str, response: httpx2.Response, bytes_max: int) -> bytes:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > bytes_max:
            if len(body) > BOMB_RATIO * max(1, response.num_bytes_downloaded):
                raise UnreadableError(f"{url} is larger than {bytes_max} bytes when unpacked, out of very few")
            break
    return bytes(body[:bytes_max])


def _inflated(body: bytes, bytes_max: int) -> bytes:
    """A sitemap that is a gzip file, unpacked up to the bound."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    return zlib.decompressobj(wbits=31).decompress(body, bytes_max)


def _validator(response: httpx2.Response, name: str) -> str | None:
    value = response.headers.get(name, "").strip()
    return value if 0 < len(value) <= VALIDATOR_CHARACTERS_MAX and value.isascii() and value.isprintable() else None


def _conditions(kept: KeptAnswer | None) -> dict[str, str]:
    if kept is None:
        return {}
    conditions = {"If-None-Match": kept.etag, "If-Modified-Since": kept.last_modified}
    return {name: value for name, value in conditions.items() if value}


def _fresh_seconds(cache_control: str) -> float:
    """How long an answer is good without asking: some hours, none where the site wants to be asked, and below zero
    where it does not want its answer kept."""
    said = cache_control.lower()
    if "no-store" in said:
        return -1.0
    if "no-cache" in said or re.search(r"(?:max-age|s-maxage)\s*=\s*\"?0*\"?(?:\D|$)", said):
        return 0.0
    return FRESH_SECONDS


def _may_be_kept(answer: KeptAnswer, bytes_max: int) -> bool:
    is_robots_or_page = answer.status < 400 or urlsplit(answer.url).path == "/robots.txt"
    has_room = len(answer.body) < min(bytes_max, KEPT_BYTES_MAX)
    return answer.status in KEPT_STATUSES and is_robots_or_page and has_room and answer.fresh_seconds >= 0


def _of_kept(kept: KeptAnswer, *, is_cut: bool = False) -> tuple[_Fetched, str | None]:
    return _Fetched(kept.url, kept.status, kept.content_type, kept.charset, kept.body, is_cut), kept.location


def _patience(response: httpx2.Response) -> float | None:
    """Seconds to wait before a second try, where a busy host names a short while."""
    if response.status_code not in (429, 503):
        return None
    stated = response.headers.get("retry-after", "").strip()
    seconds = float(stated) if stated.isascii() and stated.isdigit() and len(stated) < 4 else None
    return seconds if seconds is not None and seconds <= RETRY_AFTER_SECONDS_MAX else None


def _network_reason(error: Exception) -> str:
    said = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in said:
        _, _, why = said.partition("certificate verify failed: ")
        return f"its TLS certificate is not valid ({why.partition(' (_ssl')[0] or said})"
    return f"TLS fails ({said})" if "SSL" in said or "TLS" in said else said


def _why_without_text(fetched: _Fetched, text: PageText) -> str:
    if fetched.is_cut:
        return f"has no readable text in its first {len(fetched.body)} bytes"
    why = "its text is drawn by scripts, which are not run" if text.has_scripts else "it says too little"
    return f"has no readable text: {why}"


def _sitemap_rank(url: str) -> tuple[int, str]:
    """Sitemaps of pages and products before those of posts, tags, pictures."""
    words = urlsplit(url).path.lower()
    is_telling = any(word in words for word in ("page", "product", "solution", "main", "static"))
    is_last = any(word in words for word in ("tag", "author", "categor", "image", "video", "news"))
    return (2 if is_last else 0 if is_telling else 1), url


def _text_of_page(fetched: _Fetched) -> PageText:
    return page_text(decode_html(fetched.body, fetched.charset), fetched.url)


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise UnreadableError(f"{url} redirects to {location[:200]!r}, which is not a web address") from error


def _public_url(parts: SplitResult) -> str:
    return parts._replace(path=parts.path or "/", fragment="").geturl()


def _page_key(url: str) -> str:
    """The same for addresses that differ in scheme, ``www.``, trailing slash or index page only."""
    parts = urlsplit(url)
    path = re.sub(r"/(?:index\.(?:html?|php))?$", "", unquote(parts.path))
    return f"{bare_domain(url)}{path}?{parts.query}"


def _candidates(home_url: str, links: list[str]) -> list[str]:
    """Pages of the same site, the most telling first, always in the same order."""
    found: dict[str, tuple[int, int, str]] = {}
    for link in links[:CANDIDATES_MAX]:
        url = _same_site_url(home_url, link)
        if url is not None and _page_key(url) != _page_key(home_url):
            path = urlsplit(url).path
            found.setdefault(_page_key(url), (_rank(path), path.strip("/").count("/"), url))
    return [url for _, _, url in sorted(found.values(), key=lambda entry: entry[:2])]


def _same_site_url(home_url: str, link: str) -> str | None:
    try:
        url = urldefrag(urljoin(home_url, link.strip())).url
        parts = urlsplit(url)
        same_site = parts.scheme in ("http", "https") and bare_domain(url) == bare_domain(home_url)
    except ValueError:
        return None
    if not same_site or parts.query or len(url) > URL_CHARACTERS_MAX or _NOT_A_PAGE.search(parts.path):
        return None
    return _public_url(parts)


def _rank(path: str) -> int:
    """0 what is sold, 1 guides, 2 anything else, 3 legal pages and forms, which decide wherever they occur."""
    segments = path.lower().strip("/").split("/")
    words = {word for segment in segments for word in (segment, *re.split(r"[-_.]", segment))}
    ranks = {_RANKS[word] for word in words if word in _RANKS}
    if _RANKS["legal"] in ranks:
        return _RANKS["legal"]
    return min(ranks, default=_RANK_OF_OTHERS)


def _is_same_site(url: str, other: str) -> bool:
    try:
        return bare_domain(url) == bare_domain(other)
    except ValueError:
        return False
