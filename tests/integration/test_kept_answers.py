"""What was fetched is kept per organization: the next reading asks under a condition, or not at all."""

import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from activities.sites import OrganizationCache, ReadSite, SiteActivities
from db import pages
from domain.pages import KeptAnswer
from domain.progress import ClaimRef, WorkflowRef
from domain.states import State, Step
from providers import web_pages
from providers.web_pages import WebPages
from sandbox.server import start_sandbox_server
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase
from tests.integration.test_web_pages import PUBLIC, Loopback, Sites, page, reader_of, resolving, serving

SITE = "http://acme.test/"


@dataclass
class Memory:
    """A cache whose clock the test sets."""

    kept: dict[str, KeptAnswer] = field(default_factory=dict)
    age_seconds: float = 0

    async def load(self, url: str) -> KeptAnswer | None:
        found = self.kept.get(url)
        return None if found is None else found.model_copy(update={"age_seconds": self.age_seconds})

    async def store(self, answer: KeptAnswer) -> None:
        self.kept[answer.url] = answer


@dataclass
class Conditional(Sites):
    """Answers 304 where the condition holds; ``sent`` are paths whose whole page went out."""

    sent: list[str] = field(default_factory=list)
    conditions: list[dict[str, str]] = field(default_factory=list)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        known = {
            name: request.headers[name] for name in ("If-None-Match", "If-Modified-Since") if name in request.headers
        }
        self.conditions.append(known)
        answer = self.answers.get(request.path)
        headers = answer[1] if isinstance(answer, tuple) else {}
        tag, date = headers.get("ETag"), headers.get("Last-Modified")
        if known and (known.get("If-None-Match", tag) == tag) and (known.get("If-Modified-Since", date) == date):
            self.asked.append(request.path)
            return web.Response(status=304)
        self.sent.append(request.path)
        return await super().respond(request)


@pytest.fixture
async def sites() -> AsyncIterator[Conditional]:
    sites = Conditional()
    async with serving(sites):
        yield sites


def public_reader(sites: Sites, **changes: Any) -> WebPages:
    return reader_of(sites, resolver=resolving(PUBLIC), network=Loopback(sites.port), **changes)


def fill(sites: Sites, **headers: str) -> None:
    for path, links in (("/", ["/pricing"]), ("/pricing", [])):
        sites.answers[path] = (200, headers, page(path, links=links))


async def read(reader: WebPages, cache: Memory, **options: Any) -> list[str]:
    site = await reader.read_site(SITE, pages_max=2, cache=cache, **options)
    assert site.failure is None, site.failure
    return [one.url for one in site.pages]


async def test_fresh_answers_are_not_asked_for(sites: Conditional) -> None:
    fill(sites, ETag='"1"')
    reader, cache = public_reader(sites), Memory()
    first = await read(reader, cache)
    asked = len(sites.asked)
    cache.age_seconds = 3_600
    assert await read(reader, cache) == first
    await reader.close()
    # A sitemap that is not there is asked for anew: only robots.txt and pages are known to be absent.
    assert sites.asked[asked:] == ["/sitemap.xml"]


@pytest.mark.parametrize("headers", [{"ETag": 'W/"a1"'}, {"Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT"}])
async def test_stale_answers_are_asked_for_under_their_condition(sites: Conditional, headers: dict[str, str]) -> None:
    fill(sites, **headers)
    reader, cache = public_reader(sites), Memory()
    first = await read(reader, cache)
    sites.sent.clear()
    cache.age_seconds = 90_000
    assert await read(reader, cache) == first
    assert "/" not in sites.sent
    assert "/pricing" not in sites.sent
    sites.answers["/"] = (
        200,
        {**headers, "ETag": '"new"', "Last-Modified": "now"},
        page("Changed", links=["/pricing"]),
    )
    await read(reader, cache)
    assert "/" in sites.sent
    await reader.close()


async def test_asking_again_asks_for_what_is_fresh_too(sites: Conditional) -> None:
    fill(sites, ETag='"1"')
    reader, cache = public_reader(sites), Memory()
    await read(reader, cache)
    asked, sent = len(sites.asked), len(sites.sent)
    await read(reader, cache, asks_again=True)
    await reader.close()
    assert {"/", "/pricing"} <= set(sites.asked[asked:])
    assert not {"/", "/pricing"} & set(sites.sent[sent:])


@pytest.mark.parametrize(
    ("control", "is_kept", "is_fresh"),
    [
        ("no-store", False, False),
        ("private, no-cache", True, False),
        ("public, max-age=0, must-revalidate", True, False),
        ("max-age=60", True, True),
        ("", True, True),
    ],
)
async def test_what_a_site_wants_kept(sites: Conditional, control: str, is_kept: bool, is_fresh: bool) -> None:
    fill(sites, **{"Cache-Control": control})
    reader, cache = public_reader(sites), Memory()
    await read(reader, cache)
    await reader.close()
    assert (SITE in cache.kept) is is_kept
    if is_kept:
        assert cache.kept[SITE].is_fresh is is_fresh


@pytest.mark.parametrize(
    ("answer", "headers"),
    [
        ((500, {}, "oops"), {}),
        ((404, {}, "gone"), {}),
        ((302, {"Location": "/x"}, ""), {}),
        ((200, {}, "x" * 3_000_000), {}),
    ],
)
async def test_errors_and_what_is_too_large_are_not_kept(
    sites: Conditional, answer: Any, headers: dict[str, str]
) -> None:
    sites.answers["/"] = answer
    reader, cache = public_reader(sites), Memory()
    await reader.read_site(SITE, pages_max=1, cache=cache)
    await reader.close()
    assert SITE not in cache.kept


async def test_hostile_validators_are_not_sent_back(sites: Conditional) -> None:
    fill(sites, ETag="x" * 5_000)
    reader, cache = public_reader(sites), Memory()
    await read(reader, cache)
    cache.age_seconds = 1e9
    sites.conditions.clear()
    await read(reader, cache)
    await reader.close()
    assert not any(sites.conditions)


async def test_a_sitemap_in_gzip_is_read_and_a_bomb_is_not(sites: Conditional) -> None:
    fill(sites)
    many = "".join(f"<url><loc>http://acme.test/p{number}</loc></url>" for number in range(3))
    sites.answers |= {
        "/robots.txt": "User-agent: *\nSitemap: http://acme.test/index.xml\nCrawl-delay: 0",
        "/index.xml": "<sitemapindex><sitemap><loc>http://acme.test/pages.xml.gz</loc></sitemap>"
        "<sitemap><loc>http://acme.test/bomb.xml.gz</loc></sitemap></sitemapindex>",
        "/pages.xml.gz": (
            200,
            {"Content-Type": "application/gzip"},
            gzip.compress(f"<urlset>{many}</urlset>".encode()),
        ),
        "/bomb.xml.gz": (200, {"Content-Type": "application/gzip"}, gzip.compress(b"<loc>" * 30_000_000)),
        "/p0": page("Telling page of the map"),
    }
    reader = public_reader(sites)
    site = await reader.read_site(SITE, pages_max=3)
    await reader.close()
    assert "http://acme.test/p0" in [one.url for one in site.pages]


async def test_every_page_left_out_says_why(sites: Conditional) -> None:
    links = ["/gone", "/file", "/loop", "/thin", "/app", "/away", "/secret", "/same", "/deep", "/good"]
    sites.answers |= {
        "/": page("Acme", links=links),
        "/file": (200, {"Content-Type": "application/pdf"}, "%PDF"),
        "/loop": (302, {"Location": "/loop"}, ""),
        "/thin": "<p>Too little.</p>",
        "/app": "<div id=root></div><script>draw()</script>",
        "/away": (302, {"Location": "http://other.test/"}, ""),
        "/same": page("Acme", links=links),
        "/deep": "<div>" * 5_000,
        "/good": page("Good"),
        "/robots.txt": "User-agent: research\nDisallow: /\n\nUser-agent: *\nDisallow: /secret",
    }
    reader = public_reader(sites)
    site = await reader.read_site(SITE, pages_max=9)
    await reader.close()
    assert [one.url for one in site.pages] == [SITE, "http://acme.test/good"]
    reasons = {one.url.rpartition("/")[2]: one.reason for one in site.skipped}
    for path, words in {
        "gone": "HTTP 404",
        "file": "not an HTML page but application/pdf",
        "loop": "redirects in a loop",
        "thin": "it says too little",
        "app": "drawn by scripts",
        "away": "leads to another site (other.test)",
        "secret": "robots.txt of acme.test does not allow /secret",
        "same": "is the same as a page that was read",
        "deep": "nested more than 1000 deep",
    }.items():
        assert words in reasons[path], (path, reasons)


async def test_a_large_page_is_read_to_its_bound_and_says_so(sites: Conditional) -> None:
    sites.answers["/"] = page("Large") + "<!--" + "x" * 3_000_000
    reader = public_reader(sites)
    site = await reader.read_site(SITE, pages_max=1)
    await reader.close()
    assert len(site.pages) == 1
    assert site.skipped[0].reason == "only its first 2000000 bytes were read: it is larger"


async def test_a_busy_host_is_asked_once_more_after_the_while_it_names(sites: Conditional) -> None:
    fill(sites)
    answers = iter([(503, {"Retry-After": "0"}, ""), (200, {}, page("Back"))])
    respond = sites.respond

    async def busy_first(request: web.Request) -> web.StreamResponse:
        if request.path == "/":
            sites.answers["/"] = next(answers, (200, {}, page("Back")))
        return await respond(request)

    sites.respond = busy_first  # type: ignore[method-assign]
    other = Sites(answers=sites.answers)
    other.respond = busy_first  # type: ignore[method-assign]
    async with serving(other):
        reader = public_reader(other)
        site = await reader.read_site(SITE, pages_max=1)
        await reader.close()
    assert [one.title for one in site.pages] == ["Back"]


# In Postgres


def claim_of(workflow: MadeWorkflow) -> ClaimRef:
    return ClaimRef(
        workflow_id=workflow.workflow_id,
        organization_id=workflow.organization_id,
        step=Step.ICP,
        claim=workflow.version,
    )


async def test_a_second_workflow_of_the_organization_fetches_nothing(
    sites: Conditional, database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    fill(sites, ETag='"1"')
    reader = public_reader(sites)
    activities = SiteActivities(database.app, reader, 1)
    first, second = [await make_workflow(State.ICP_PROCESSING) for _ in "ab"]
    other = await make_workflow(State.ICP_PROCESSING, domain="ledgerpilot.example")
    fetched = []
    for workflow in (first, second, other):
        sites.sent.clear()
        request = ReadSite(claim=claim_of(workflow), url=SITE, is_own_site=True, pages_max=2)
        result = await activities.read_site(request)
        assert (result.pages_read, result.failure) == (2, None)
        fetched.append([path for path in sites.sent if path in ("/", "/pricing", "/robots.txt")])
    await reader.close()
    assert len(fetched[0]) == 3
    assert fetched[1] == []
    assert len(fetched[2]) == 3, "another organization has a cache of its own"


async def test_kept_answers_read_back_as_they_were(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    workflow = await make_workflow(State.ICP_PROCESSING)
    ref = WorkflowRef(workflow_id=workflow.workflow_id, organization_id=workflow.organization_id)
    cache = OrganizationCache(database.app, ref)
    url = "https://acme.example/ü?" + "x" * 1_900
    answer = KeptAnswer(
        url=url, status=200, content_type="text/html", charset="utf-8", body=b"\x00\xff" * 500_000, etag='"1"',
        last_modified="yesterday", fresh_seconds=60,
    )  # fmt: skip
    await cache.store(answer)
    await cache.store(answer.model_copy(update={"body": b"newer"}))
    found = await cache.load(url)
    assert found is not None
    assert found.body == b"newer"
    assert found.is_fresh
    assert 0 <= found.age_seconds < 30
    assert await cache.load("https://acme.example/other") is None
    await database.admin.execute("UPDATE kept_answers SET fetched_at = now() - interval '31 days'")
    stale = await cache.load(url)
    assert stale is not None
    assert not stale.is_fresh
    await cache.store(KeptAnswer(url="https://acme.example/", status=200))
    assert await cache.load(url) is None, "what is old is given up"


async def test_what_was_left_out_is_stored_with_the_reading(
    sites: Conditional, database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    sites.answers["/"] = page("Acme", links=["/gone"])
    reader = public_reader(sites)
    workflow = await make_workflow(State.ICP_PROCESSING)
    request = ReadSite(claim=claim_of(workflow), url=SITE, is_own_site=True, pages_max=2)
    await SiteActivities(database.app, reader, 1).read_site(request)
    await reader.close()
    async with database.app.transaction(workflow.organization_id) as connection:
        (stored,) = await pages.load_latest_reads(connection, workflow.workflow_id)
    assert stored.site == "acme.test"
    assert [(one.url, one.reason) for one in stored.skipped] == [
        ("http://acme.test/gone", "http://acme.test/gone answers with HTTP 404")
    ]


async def test_the_sandbox_sends_its_sites_once(tmp_path: Path) -> None:
    """Stand-in sites are asked each time, so that an edit is seen, and sent only when they changed."""
    server = await start_sandbox_server(tmp_path / "sandbox")
    cache = Memory()
    reader = WebPages(user_agent="Test/1.0", site_overrides={".example": f"{server.url}/sites"})
    try:
        first = await reader.read_site("https://harborline.example", pages_max=3, cache=cache)
        kept = dict(cache.kept)
        cache.kept = {url: answer.model_copy(update={"body": answer.body + b" "}) for url, answer in kept.items()}
        again = await reader.read_site("https://harborline.example", pages_max=3, cache=cache)
    finally:
        await reader.close()
        await server.stop()
    assert first.pages == again.pages
    assert all(cache.kept[url].body == kept[url].body + b" " for url in kept if kept[url].etag), "304: ours is used"


def test_a_certificate_that_is_not_valid_is_named_as_the_reason() -> None:
    said = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)"
    assert web_pages._network_reason(OSError(said)) == "its TLS certificate is not valid (certificate has expired)"
    assert web_pages._network_reason(OSError("[SSL: WRONG_VERSION_NUMBER] wrong version")).startswith("TLS fails")
    assert web_pages._network_reason(OSError()) == "OSError"
