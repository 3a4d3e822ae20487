"""The keyword data client by real HTTP: against a provider that answers anything, and against the sandbox's."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from aiohttp import web
from pydantic import SecretStr
from structlog.testing import capture_logs

from domain.errors import ConfigurationError
from domain.keyword_data import (
    KeywordEndpoint,
    Market,
    difficulty_request,
    phrase_request,
    read_keywords,
    site_request,
)
from domain.spend import NotBilled, ProviderAnswer, ProviderRequest, UnknownOutcome
from providers import keyword_data
from providers.keyword_data import NOTHING_SENT, KeywordData
from sandbox.server import RunningSandbox, start_sandbox_server
from tests.integration.event_loop import STALL_SECONDS_MAX, largest_stall

LOGIN, PASSWORD = "someone@company.example", "p4ssw0rd-of-the-account"
TOKEN = base64.b64encode(f"{LOGIN}:{PASSWORD}".encode()).decode()
US = Market(location_code=2840, language_code="en")
REQUEST = site_request("payloom.example", US, 20)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Provider:
    """Answers every request with ``answer``, or as ``handler`` does; keeps what was asked."""

    url: str = ""
    status: int = 200
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    handler: Handler | None = None
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def post(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path, dict(request.headers), await request.read()))
        if self.handler is not None:
            return await self.handler(request)
        return web.Response(status=self.status, text=self.text, headers=self.headers, content_type="application/json")


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", provider.post)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v3"
    yield provider
    await runner.cleanup()


@asynccontextmanager
async def client_of(url: str, **changes: Any) -> AsyncIterator[KeywordData]:
    settings: dict[str, Any] = {"timeout_seconds": 5.0, "rate_limit_seconds": 7.0, **changes}
    client = KeywordData(base_url=url, login=SecretStr(LOGIN), password=SecretStr(PASSWORD), **settings)
    yield client
    await client.close()


async def asked(
    url: str, request: ProviderRequest = REQUEST, **changes: Any
) -> ProviderAnswer | NotBilled | UnknownOutcome:
    async with client_of(url, **changes) as client:
        return await client.call(attempt_id=uuid4(), path=request.path, body=request.body, model=request.model)


def envelope(code: int = 20000, cost: Any = 0.012, top: int = 20000, **task: Any) -> str:
    one = {"status_code": code, "status_message": "Said.", "cost": cost, "result": [{"items": [{"keyword": "a b"}]}]}
    return json.dumps({"status_code": top, "status_message": "Said.", "cost": cost, "tasks": [{**one, **task}]})


async def test_the_request_is_sent_as_it_was_stored(provider: Provider) -> None:
    provider.text = envelope()
    attempt_id = uuid4()
    async with client_of(provider.url) as client:
        answer = await client.call(attempt_id=attempt_id, path=REQUEST.path, body=REQUEST.body, model=REQUEST.model)
    [(path, headers, body)] = provider.seen
    assert path == "/v3/dataforseo_labs/google/keywords_for_site/live"
    assert body.decode() == REQUEST.body
    assert headers["Authorization"] == f"Basic {TOKEN}"
    assert headers["X-Client-Request-Id"] == str(attempt_id)
    assert isinstance(answer, ProviderAnswer)
    assert answer.body == provider.text
    assert answer.model == "dataforseo/keywords_for_site"
    assert answer.usage is not None
    assert (answer.usage.cost_usd, answer.usage.searches) == (Decimal("0.012"), 1)


@pytest.mark.parametrize(
    ("status", "text", "permanent", "told"),
    [
        (401, '{"status_code": 40100, "status_message": "Not authorized.", "cost": 0}', True, "code 40100"),
        (402, '{"status_code": 40200, "status_message": "Payment Required.", "tasks": null}', True, "no money left"),
        (404, "<h1>Not here</h1>", True, "HTTP 404 Not Found"),
        (403, "", True, "HTTP 403"),
        (429, "", False, "HTTP 429"),
        (500, '{"status_code": 50000, "status_message": "Internal Error."}', False, "code 50000"),
        (502, "<html>bad gateway</html>", False, "HTTP 502"),
        (504, "", False, "HTTP 504"),
        (302, "", True, "HTTP 302"),
        (200, '{"status_code": 40202, "status_message": "Too fast.", "cost": 0, "tasks": null}', False, "too many"),
        (200, '{"status_code": 40100, "status_message": "Not authorized.", "tasks": null}', True, "refused"),
        (200, envelope(40501, 0, result=None), True, "code 40501"),
        (200, envelope(40210, 0, result=None), True, "no money left"),
        (200, envelope(50000, 0, result=None), False, "code 50000"),
        (200, envelope(40101, 0, result=None), False, "code 40101"),
    ],
)  # fmt: skip
async def test_what_was_refused_cost_nothing(
    provider: Provider, status: int, text: str, permanent: bool, told: str
) -> None:
    provider.status, provider.text = status, text
    outcome = await asked(provider.url)
    assert isinstance(outcome, NotBilled), outcome
    assert outcome.permanent is permanent
    assert told in outcome.reason
    assert outcome.http_status == status
    assert len(provider.seen) == 1  # also a redirect is not followed, and nothing is tried again


@pytest.mark.parametrize(
    "text",
    [
        envelope(50401, None, result=None),
        envelope(50000, "0.02", result=None),
        envelope(50000, -1, result=None),
        '{"status_code": 20000, "cost": 1e99999999999999999999, "tasks": [{"status_code": 20000}]}',
    ],
)
async def test_a_failure_that_states_no_cost_is_no_evidence_that_it_was_free(provider: Provider, text: str) -> None:
    provider.text = text
    assert isinstance(await asked(provider.url), UnknownOutcome)


async def test_credentials_go_in_every_form_and_figures_stay(provider: Provider) -> None:
    told = envelope(20000, 0.01, data={"auth": f"{LOGIN}:1234/56"}, result=[{"items": [], "volume": 1234567}])
    provider.text = told.replace("/", "\\/")
    client = KeywordData(
        base_url=provider.url, login=SecretStr(LOGIN), password=SecretStr("1234/56"), timeout_seconds=5
    )
    answer = await client.call(attempt_id=uuid4(), path=REQUEST.path, body=REQUEST.body, model=REQUEST.model)
    await client.close()
    assert isinstance(answer, ProviderAnswer)
    assert answer.body is not None
    task = json.loads(answer.body)["tasks"][0]
    assert task["data"]["auth"] == "[key]:[key]"
    assert task["result"][0]["volume"] == 1234567


async def test_a_password_of_digits_breaks_no_figure(provider: Provider) -> None:
    provider.text = envelope(result=[{"items": [{"keyword": "123456", "keyword_info": {"search_volume": 123456}}]}])
    client = KeywordData(base_url=provider.url, login=SecretStr(LOGIN), password=SecretStr("123456"), timeout_seconds=5)
    answer = await client.call(attempt_id=uuid4(), path=REQUEST.path, body=REQUEST.body, model=REQUEST.model)
    await client.close()
    assert isinstance(answer, ProviderAnswer)
    assert answer.body is not None
    (item,) = json.loads(answer.body)["tasks"][0]["result"][0]["items"]
    assert item == {"keyword": "[key]", "keyword_info": {"search_volume": 123456}}


@pytest.mark.parametrize(
    ("status", "text", "cost"),
    [
        (200, envelope(40101, 0.01, result=None), "0.01"),
        (200, envelope(50000, 0.0101), "0.0101"),
        (500, envelope(50000, 0.01), "0.01"),
        (200, envelope(40102, 0, result=None), "0"),
        (200, envelope(20000, 0), "0"),
    ],
)
async def test_what_was_charged_is_an_answer_whatever_it_says(
    provider: Provider, status: int, text: str, cost: str
) -> None:
    provider.status, provider.text = status, text
    answer = await asked(provider.url)
    assert isinstance(answer, ProviderAnswer), answer
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal(cost)


async def test_an_answer_without_a_cost_states_its_rows(provider: Provider) -> None:
    provider.text = envelope(20000, None)
    answer = await asked(provider.url)
    assert isinstance(answer, ProviderAnswer)
    assert answer.usage is not None
    assert (answer.usage.cost_usd, answer.usage.searches) == (None, 1)


@pytest.mark.parametrize(
    ("status", "text"),
    [(200, "not JSON"), (200, ""), (200, '{"error": {"code": 502}}'), (200, envelope()[:80]), (200, "[]"),
     (408, ""), (425, "later"), (202, "{}")],
)  # fmt: skip
async def test_what_says_nothing_is_unknown_and_kept(provider: Provider, status: int, text: str) -> None:
    provider.status, provider.text = status, text
    outcome = await asked(provider.url)
    assert isinstance(outcome, UnknownOutcome), outcome
    assert outcome.http_status == status
    assert outcome.body == (text or None)


async def test_a_limit_by_the_minute_says_how_long_to_wait(provider: Provider) -> None:
    provider.text = '{"status_code": 40202, "status_message": "Too fast.", "cost": 0, "tasks": null}'
    by_code = await asked(provider.url)
    provider.headers = {"Retry-After": "3"}
    by_header = await asked(provider.url)
    assert isinstance(by_code, NotBilled)
    assert isinstance(by_header, NotBilled)
    assert (by_code.retry_after_seconds, by_header.retry_after_seconds) == (7.0, 3.0)


async def test_time_outs_drops_and_floods_are_unknown(provider: Provider) -> None:
    async def hang(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async def drop(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 1000
        await response.prepare(request)
        await response.write(b'{"status_code": 20000')
        assert request.transport is not None
        request.transport.close()
        return response

    provider.handler = hang
    late = await asked(provider.url, timeout_seconds=0.3)
    provider.handler = drop
    dropped = await asked(provider.url)
    provider.handler = half
    cut = await asked(provider.url)
    provider.handler, provider.text = None, "x" * 100_000
    flooded = await asked(provider.url, answer_bytes_max=1000)
    assert isinstance(late, UnknownOutcome)
    assert isinstance(dropped, UnknownOutcome)
    assert isinstance(cut, UnknownOutcome)
    assert isinstance(flooded, UnknownOutcome)
    assert "0.3 s" in late.reason
    assert "larger than 1000 bytes" in flooded.reason
    assert len(provider.seen) == 4


async def test_reading_a_large_answer_leaves_the_others_their_turn(provider: Provider) -> None:
    provider.text = envelope(result=[{"items": [""] * 1_900_000}])
    async with largest_stall() as stalls:
        assert isinstance(await asked(provider.url), ProviderAnswer)
    assert stalls[0] < STALL_SECONDS_MAX


async def test_a_mistake_in_reading_an_answer_is_unknown_and_told(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(_text: str) -> None:
        raise ZeroDivisionError(f"by {PASSWORD}")

    monkeypatch.setattr(keyword_data, "read_reply", mistaken)
    provider.text = envelope()
    with capture_logs() as logs:
        outcome = await asked(provider.url)
    assert isinstance(outcome, UnknownOutcome)
    assert (outcome.http_status, outcome.reason) == (200, "HTTP 200: reading the answer failed with ZeroDivisionError")
    assert [(line["log_level"], line["error"]) for line in logs] == [("error", "ZeroDivisionError: by [key]")]


async def test_where_nobody_listens_nothing_was_billed(unused_tcp_port: int) -> None:
    outcome = await asked(f"http://127.0.0.1:{unused_tcp_port}/v3")
    assert isinstance(outcome, NotBilled)
    assert (outcome.permanent, outcome.http_status) == (False, None)


def walk(root: type[BaseException]) -> set[type[BaseException]]:
    return {root}.union(*(walk(child) for child in root.__subclasses__()))


def test_only_failures_before_the_first_byte_are_evidence() -> None:
    known = {error for error in walk(httpx2.TransportError) if error.__module__.startswith("httpx2")}
    perhaps = {"ReadError", "WriteError", "CloseError", "ReadTimeout", "WriteTimeout", "RemoteProtocolError"}
    assert set(NOTHING_SENT) <= known
    assert perhaps.isdisjoint(error.__name__ for error in NOTHING_SENT)


async def test_the_account_is_told_to_nobody(provider: Provider) -> None:
    echo = f"bad password {PASSWORD} of {LOGIN} ({TOKEN})"
    async with client_of(provider.url) as client:
        provider.status, provider.text = 500, json.dumps({"status_code": 50000, "status_message": echo})
        refused = await client.call(attempt_id=uuid4(), path=REQUEST.path, body=REQUEST.body, model=REQUEST.model)
        provider.status, provider.text = 200, echo
        unknown = await client.call(attempt_id=uuid4(), path=REQUEST.path, body=REQUEST.body, model=REQUEST.model)
        provider.text = envelope(status_message=echo)
        answer = await client.call(attempt_id=uuid4(), path=REQUEST.path, body=REQUEST.body, model=REQUEST.model)
        told = [repr(client), repr(refused), repr(unknown), repr(answer), repr(vars(client))]
    assert isinstance(refused, NotBilled)
    assert isinstance(unknown, UnknownOutcome)
    assert isinstance(answer, ProviderAnswer)
    for text in told[:4]:
        assert not any(secret in text for secret in (PASSWORD, TOKEN, LOGIN)), text


@pytest.mark.parametrize(
    "url", ["", "ftp://a.example/v3", "api.dataforseo.com/v3", "https://u:p@a.example/v3", "https://"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="base URL"):
        KeywordData(base_url=url, login=SecretStr("a"), password=SecretStr("b"), timeout_seconds=1)


@pytest.mark.parametrize(("login", "password", "name"), [("", "b", "LOGIN"), ("a", " ", "PASSWORD")])
def test_half_an_account_is_refused(login: str, password: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"INFIN8_KEYWORD_DATA_{name}"):
        KeywordData(
            base_url="https://a.example", login=SecretStr(login), password=SecretStr(password), timeout_seconds=1
        )


@pytest.mark.parametrize(("login", "password"), [("a:b", "c"), ("a", "b\nc")])
def test_an_account_that_would_change_the_header_is_refused(login: str, password: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        KeywordData(
            base_url="https://a.example", login=SecretStr(login), password=SecretStr(password), timeout_seconds=1
        )
    assert "holds characters that none has" in str(refused.value)


# The sandbox's stand-in ----------------------------------------------------------------------------------------------


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    running = await start_sandbox_server(tmp_path / "state")
    yield running
    await running.stop()


async def bill_of(sandbox: RunningSandbox) -> list[dict[str, Any]]:
    async with httpx2.AsyncClient() as http:
        return list((await http.get(f"{sandbox.url}/bill")).json())


@pytest.mark.parametrize(
    "request_",
    [
        site_request("payloom.example", US, 20),
        site_request("nobody-knows-it.example", US, 20),
        phrase_request(KeywordEndpoint.KEYWORD_SUGGESTIONS, "invoice approval", US, 10),
        phrase_request(KeywordEndpoint.RELATED_KEYWORDS, "invoice approval", US, 5),
        difficulty_request(["invoice approval", "three-way matching", "早期払い"], US),
    ],
)
async def test_the_stand_in_answers_bills_and_repeats_itself(
    sandbox: RunningSandbox, request_: ProviderRequest
) -> None:
    first, second = await asked(f"{sandbox.url}/v3", request_), await asked(f"{sandbox.url}/v3", request_)
    assert isinstance(first, ProviderAnswer)
    assert isinstance(second, ProviderAnswer)
    keywords = read_keywords(first.body)
    assert keywords
    assert keywords == read_keywords(second.body)
    assert first.usage is not None
    assert 0 < first.usage.searches <= request_.searches
    assert first.usage.cost_usd == Decimal("0.01") + Decimal("0.0001") * first.usage.searches
    assert [Decimal(line["cost_usd"]) for line in await bill_of(sandbox)] == [first.usage.cost_usd] * 2


async def test_the_stand_in_refuses_what_the_provider_would(sandbox: RunningSandbox) -> None:
    url = f"{sandbox.url}/v3"
    bad = REQUEST.model_copy(update={"body": '[{"target": "https://www.payloom.example", "location_code": 2840}]'})
    two = REQUEST.model_copy(update={"body": "[{}, {}]"})
    gone = REQUEST.model_copy(update={"path": "/dataforseo_labs/google/no_such/live"})
    codes = [(await asked(url, request)).reason for request in (bad, two, gone)]  # type: ignore[union-attr]
    assert ["40501" in codes[0], "40000" in codes[1], "40400" in codes[2]] == [True] * 3
    client = KeywordData(base_url=url, login=SecretStr("wrong-login"), password=SecretStr("x"), timeout_seconds=5)
    refused = await client.call(attempt_id=uuid4(), path=REQUEST.path, body=REQUEST.body, model=REQUEST.model)
    await client.close()
    assert isinstance(refused, NotBilled)
    assert (refused.http_status, refused.permanent) == (401, True)
    assert await bill_of(sandbox) == []
