"""Reading a few pages of a web site: politely, by public addresses only, as the text that a visitor sees."""

import asyncio
import contextlib
import html
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urldefrag, urljoin, urlsplit

import httpcore2
import httpx2
from protego import Protego

from domain.errors import ConfigurationError
from domain.identifiers import bare_domain
from domain.pages import Page, SiteRead
from providers.addresses import (
    AddressRefusedError,
    BackendTransport,
    OneAddressBackend,
    PublicBackend,
    Resolver,
    checked_url,
    system_resolver,
)
from providers.page_text import PageText, decode_html, page_text

PAGE_BYTES_MAX = 2_000_000
ROBOTS_BYTES_MAX = 500_000
CRAWL_DELAY_SECONDS_MAX = 10.0
CHILD_SITEMAPS_MAX = 2
CANDIDATES_MAX = 2_000
URL_CHARACTERS_MAX = 2_000
TEXT_WORDS_MIN = 20
HTML_TYPES = frozenset({"text/html", "application/xhtml+xml", ""})
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})

_NOT_A_PAGE = re.compile(
    r"\.(?:pdf|jpe?g|png|gif|svg|webp|ico|css|js|json|xml|zip|gz|mp[34]|mov|docx?|xlsx?|pptx?|csv|rss|atom)$",
    re.IGNORECASE,
)
_LOCATION = re.compile(r"<loc>\s*(?:<!\[CDATA\[)?\s*(.*?)\s*(?:\]\]>)?\s*</loc>", re.IGNORECASE | re.DOTALL)
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


@dataclass(frozen=True)
class _Fetched:
    """``url`` is the public address that answered, after redirects."""

    url: str
    status: int
    content_type: str
    charset: str | None
    body: bytes


@dataclass
class _Reading:
    """One site being read. ``is_override`` was decided by the site asked for and stays for all of it."""

    site: str
    is_override: bool
    pages_max: int
    on_progress: Callable[[], None]
    robots: dict[str, Protego] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    pages: list[Page] = field(default_factory=list)


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
        self._timeout_seconds = timeout_seconds
        self._site_seconds_max = site_seconds_max
        self._page_bytes_max = page_bytes_max
        self._redirects_max = redirects_max
        self._per_host_delay_seconds = per_host_delay_seconds
        self._parallel = asyncio.Semaphore(parallel_max)
        self._pauses = _HostPauses()
        connecting = network or httpcore2.AnyIOBackend()
        self._public = BackendTransport(PublicBackend(resolver, connecting))
        self._overrides = [_Override(suffix, base, connecting) for suffix, base in (site_overrides or {}).items()]

    async def close(self) -> None:
        for transport in (self._public, *(override.transport for override in self._overrides)):
            await transport.aclose()

    async def read_site(self, url: str, *, pages_max: int, on_progress: Callable[[], None] = lambda: None) -> SiteRead:
        """The home page and the most telling pages of the same site, at most ``pages_max``; never raises for what a
        site does, but says so in ``failure`` when there is no page. ``on_progress`` is called after each request."""
        url = url.strip() if "//" in url else f"https://{url.strip()}"
        try:
            site = bare_domain(url)
        except ValueError as error:
            return SiteRead(site=url, failure=f"{url!r} is not a web address ({error})")
        reading = _Reading(site, self._override_of(site) is not None, pages_max, on_progress)
        failure: str | None = None
        try:
            async with self._parallel, asyncio.timeout(self._site_seconds_max):
                await self._read(reading, url)
        except TimeoutError:
            failure = f"{site} was not read within {self._site_seconds_max:g} s"
        except (UnreadableError, AddressRefusedError) as error:
            failure = str(error)
        return SiteRead(site=site, pages=tuple(reading.pages), failure=None if reading.pages else failure)

    async def _read(self, reading: _Reading, url: str) -> None:
        home = await self._fetch_allowed(reading, url)
        text = await self._page_text(home)
        self._keep(reading, home, text)
        if len(reading.pages) < reading.pages_max:
            await self._read_more(reading, home.url, text.links)
        if not reading.pages:
            raise UnreadableError(f"{home.url} has no readable text; its text may be drawn by scripts")

    async def _read_more(self, reading: _Reading, home_url: str, links: tuple[str, ...]) -> None:
        tries_left = 2 * reading.pages_max
        for url in _candidates(home_url, [*links, *await self._sitemap_urls(reading, home_url)]):
            if len(reading.pages) >= reading.pages_max or tries_left == 0:
                return
            if _page_key(url) not in reading.seen:
                tries_left -= 1
                await self._try_page(reading, home_url, url)

    async def _try_page(self, reading: _Reading, home_url: str, url: str) -> None:
        """A page beside the home page that can't be read is passed over."""
        reading.seen.add(_page_key(url))
        try:
            fetched = await self._fetch_allowed(reading, url)
            if _is_same_site(fetched.url, home_url):
                self._keep(reading, fetched, await self._page_text(fetched))
        except (UnreadableError, AddressRefusedError):
            return

    def _keep(self, reading: _Reading, fetched: _Fetched, text: PageText) -> None:
        keys = {_page_key(fetched.url)}
        canonical = _same_site_url(fetched.url, text.canonical_url or "")
        if canonical is not None:
            keys.add(_page_key(canonical))
        is_new = text.content_text not in reading.texts and not (keys & {_page_key(page.url) for page in reading.pages})
        reading.seen |= keys
        if is_new and len(text.content_text.split()) >= TEXT_WORDS_MIN and text.passages:
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
            raise UnreadableError(f"{fetched.url} is not an HTML page but {fetched.content_type}")
        try:
            # Off the event loop: a large page keeps a processor busy for a while.
            return await asyncio.to_thread(_text_of_page, fetched)
        except Exception as error:  # whatever a parser makes of a hostile page
            raise UnreadableError(f"{fetched.url} can't be parsed ({type(error).__name__})") from error

    async def _sitemap_urls(self, reading: _Reading, home_url: str) -> list[str]:
        robots = await self._robots(reading, urlsplit(home_url))
        stated = [url for url in robots.sitemaps if _is_same_site(url, home_url)]
        found = await self._locations(reading, (stated or [urljoin(home_url, "/sitemap.xml")])[0])
        children = [url for url in found if url.endswith(".xml") and _is_same_site(url, home_url)]
        for child in children[:CHILD_SITEMAPS_MAX]:
            found += await self._locations(reading, child)
        return found

    async def _locations(self, reading: _Reading, url: str) -> list[str]:
        try:
            fetched = await self._fetch_allowed(reading, url)
        except (UnreadableError, AddressRefusedError):
            return []
        text = decode_html(fetched.body, fetched.charset)
        return [html.unescape(location) for location in _LOCATION.findall(text)[:CANDIDATES_MAX]]

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
        if not robots.can_fetch(_public_url(parts), self._user_agent):
            raise UnreadableError(f"robots.txt of {parts.netloc} does not allow {parts.path or '/'} to be read")

    async def _robots(self, reading: _Reading, parts: SplitResult) -> Protego:
        """Rules of an origin. Absent (4xx) means everything is allowed, unreadable that nothing is (RFC 9309)."""
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in reading.robots:
            url = f"{origin}/robots.txt"
            fetched = await self._follow(reading, url, obeys_robots=False, bytes_max=ROBOTS_BYTES_MAX)
            if fetched.status >= 500 or fetched.status == 429:
                raise UnreadableError(f"{url} answers with HTTP {fetched.status}: reading the site is not allowed then")
            rules = decode_html(fetched.body, fetched.charset) if fetched.status < 300 else ""
            reading.robots[origin] = Protego.parse(rules)
        return reading.robots[origin]

    async def _get(self, reading: _Reading, parts: SplitResult, bytes_max: int) -> tuple[_Fetched, str | None]:
        """One request: the answer, and where it redirects to."""
        url = _public_url(parts)
        override = self._override_of(parts.netloc) if reading.is_override else None
        if reading.is_override and override is None:
            raise AddressRefusedError(f"{url} is refused: a stand-in site may not lead to another address")
        if override is None:
            await self._pauses.wait(parts.netloc, self._delay_seconds(reading, parts))
        transport, target = (self._public, url) if override is None else (override.transport, override.target(parts))
        try:
            async with asyncio.timeout(self._timeout_seconds), self._answer(transport, target) as response:
                return await _received(url, response, bytes_max)
        except TimeoutError:
            raise UnreadableError(f"{url} did not answer within {self._timeout_seconds:g} s") from None
        except _NETWORK_ERRORS as error:
            raise UnreadableError(f"{url} can't be reached: {error or type(error).__name__}") from error
        finally:
            reading.on_progress()

    @contextlib.asynccontextmanager
    async def _answer(self, transport: BackendTransport, url: str) -> AsyncIterator[httpx2.Response]:
        seconds = self._timeout_seconds
        request = httpx2.Request(
            "GET",
            url,
            headers={"User-Agent": self._user_agent, "Accept": "text/html,*/*;q=0.5", "Accept-Encoding": "gzip"},
            extensions={"timeout": {"connect": seconds, "read": seconds, "write": seconds, "pool": seconds}},
        )
        response = await transport.handle_async_request(request)
        try:
            yield response
        finally:
            await response.aclose()

    def _delay_seconds(self, reading: _Reading, parts: SplitResult) -> float:
        robots = reading.robots.get(f"{parts.scheme}://{parts.netloc}")
        asked = float(robots.crawl_delay(self._user_agent) or 0) if robots else 0.0
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


class _HostPauses:
    """Lets requests to one host start no closer together than its delay."""

    def __init__(self) -> None:
        self._free_at: dict[str, float] = {}

    async def wait(self, host: str, delay_seconds: float) -> None:
        now = time.monotonic()
        self._free_at = {known: at for known, at in self._free_at.items() if at > now}
        starts_at = max(now, self._free_at.get(host, now))
        self._free_at[host] = starts_at + delay_seconds
        await asyncio.sleep(starts_at - now)


_NETWORK_ERRORS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.UnsupportedProtocol,
    httpx2.HTTPError,
    httpx2.InvalidURL,
)


async def _received(url: str, response: httpx2.Response, bytes_max: int) -> tuple[_Fetched, str | None]:
    location = response.headers.get("location")
    if response.status_code in REDIRECT_STATUSES and location:
        return _Fetched(url, response.status_code, "", None, b""), location
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > bytes_max:
            raise UnreadableError(f"{url} is larger than {bytes_max} bytes")
    media_type, _, _ = response.headers.get("content-type", "").partition(";")
    return (
        _Fetched(url, response.status_code, media_type.strip().lower(), response.charset_encoding, bytes(body)),
        None,
    )


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
