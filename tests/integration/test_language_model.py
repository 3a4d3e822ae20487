"""The language model's client against a real HTTP server: every outcome, exact figures, one request and no more."""

import asyncio
import gzip
import json
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from pydantic import SecretStr
from structlog.testing import capture_logs

from domain.errors import BadInputError, ConfigurationError, ProviderUnavailableError, RateLimitedError
from domain.language import Route, answer_object, chat_request
from domain.spend import NotBilled, ProviderAnswer, UnknownOutcome
from providers import language_model
from providers.chat_answers import ChatStream, parse_json
from providers.language_model import LanguageModel
from tests.integration.event_loop import STALL_SECONDS_MAX, largest_stall

KEY = "sk-test-canary-0123456789abcdef"
BODY = '{"model": "perplexity/sonar",  "messages":[{"role":"user","content":"Grüße ☃"}], "temperature": 0.30}'
USAGE = (
    '{"prompt_tokens": 31, "completion_tokens": 17, "cost": 0.000123456789012, '
    '"prompt_tokens_details": {"cached_tokens": 5}}'
)

Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Seen:
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Provider:
    """``respond`` answers the POSTs; ``generations`` the look-ups, in order, the last one again and again."""

    base_url: str = ""
    respond: Respond | None = None
    generations: list[tuple[int, str]] = field(default_factory=lambda: [(404, "{}")])
    models: tuple[int, str] = (200, '{"data": [{"id": "perplexity/sonar"}, {"id": "openai/gpt-4o-mini"}]}')
    posts: list[Seen] = field(default_factory=list)
    look_ups: list[str] = field(default_factory=list)
    look_up: Respond | None = None

    async def post(self, request: web.Request) -> web.StreamResponse:
        self.posts.append(Seen(request.path, request.headers.copy(), await request.read()))
        assert self.respond is not None
        return await self.respond(request)

    async def generation(self, request: web.Request) -> web.StreamResponse:
        self.look_ups.append(request.query["id"])
        if self.look_up is not None:
            return await self.look_up(request)
        status, text = self.generations.pop(0) if len(self.generations) > 1 else self.generations[0]
        return web.Response(status=status, text=text, content_type="application/json")

    async def list(self, _request: web.Request) -> web.Response:
        return web.Response(status=self.models[0], text=self.models[1], content_type="application/json")


@asynccontextmanager
async def serving(application: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    application = web.Application()
    application.router.add_get("/v1/generation", provider.generation)
    application.router.add_get("/v1/models", provider.list)
    application.router.add_post("/v1/{path:.*}", provider.post)
    async with serving(application) as address:
        provider.base_url = f"{address}/v1"
        yield provider


def client_of(provider: Provider, **changes: Any) -> LanguageModel:
    settings = {"timeout_seconds": 5.0, "look_up_delay_seconds": 0.01} | changes
    return LanguageModel(base_url=provider.base_url, api_key=SecretStr(KEY), **settings)


@pytest.fixture
async def model(provider: Provider) -> AsyncIterator[LanguageModel]:
    model = client_of(provider)
    yield model
    await model.close()


class Call:
    def __init__(self) -> None:
        self.attempt_id = uuid4()
        self.generation_ids: list[str] = []

    async def on_generation_id(self, generation_id: str) -> None:
        self.generation_ids.append(generation_id)

    async def by(self, model: LanguageModel, body: str = BODY) -> ProviderAnswer | NotBilled | UnknownOutcome:
        return await model.call(
            attempt_id=self.attempt_id,
            path="/chat/completions",
            body=body,
            on_generation_id=self.on_generation_id,
        )


def answering(status: int, text: str, headers: dict[str, str] | None = None) -> Respond:
    async def respond(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers={"Content-Type": "application/json", **(headers or {})})

    return respond


def streaming(
    *events: str, headers: dict[str, str] | None = None, ends: str = "cleanly", pause_seconds: float = 0
) -> Respond:
    """Server-sent events as given; ``ends`` cleanly, by ``cutting`` the connection or ``hanging``."""

    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **(headers or {})})
        await response.prepare(request)
        for event in events:
            await response.write(event.encode())
            await asyncio.sleep(pause_seconds)
        if ends == "cutting":
            assert request.transport is not None
            request.transport.abort()
        elif ends == "hanging":
            await asyncio.sleep(30)
        return response

    return respond


def chunk(content: str = "", **facts: Any) -> str:
    choice: dict[str, Any] = {"index": 0, "delta": {"content": content}, "finish_reason": facts.pop("finish", None)}
    return f"data: {json.dumps({'id': 'gen-7', 'model': 'perplexity/sonar', 'choices': [choice], **facts})}\n\n"


USAGE_CHUNK = f'data: {{"id":"gen-7","model":"perplexity/sonar","choices":[],"usage":{USAGE}}}\n\n'
DONE = "data: [DONE]\n\n"
GENERATION = (
    '{"data": {"id": "gen-7", "total_cost": 0.00042, "native_tokens_prompt": 9, "native_tokens_completion": 4}}'
)


def completion(usage: str | None = USAGE, **facts: Any) -> str:
    message = {"role": "assistant", "content": "hello"}
    value = {"id": "gen-7", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    text = json.dumps(value | facts)
    return f'{text[:-1]}, "usage": {usage}}}' if usage else text


# What is sent


async def test_the_stored_body_is_sent_byte_for_byte_once_under_the_attempts_uuid(
    provider: Provider, model: LanguageModel
) -> None:
    provider.respond = answering(500, "{}")
    call = Call()

    await call.by(model)

    (seen,) = provider.posts
    assert seen.body == BODY.encode()
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["X-Client-Request-Id"] == str(call.attempt_id)
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["Authorization"] == f"Bearer {KEY}"
    assert int(seen.headers["Content-Length"]) == len(BODY.encode())


async def test_a_request_of_the_domain_streams_and_is_answered_with_its_object(
    provider: Provider, model: LanguageModel
) -> None:
    request = chat_request(
        model="perplexity/sonar", route=Route(), system="s", user="u", schema_name="icp", schema={"type": "object"}
    )
    provider.respond = streaming(chunk('{"a": '), chunk("[1]}"), chunk(finish="stop"), USAGE_CHUNK, DONE)

    answer = await Call().by(model, request.body)

    assert isinstance(answer, ProviderAnswer)
    assert answer_object(answer.body) == {"a": [1]}
    assert json.loads(provider.posts[0].body)["stream"] is True


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(provider: Provider, model: LanguageModel, status: int) -> None:
    provider.respond = answering(status, "", {"Location": f"{provider.base_url}/elsewhere"})

    outcome = await Call().by(model)

    assert isinstance(outcome, NotBilled)
    assert outcome.permanent
    assert len(provider.posts) == 1


@pytest.mark.parametrize("path", ["https://elsewhere.example/x", "//elsewhere.example/x", "chat"])
async def test_the_key_goes_to_the_base_url_only(model: LanguageModel, provider: Provider, path: str) -> None:
    with pytest.raises(BadInputError, match="base URL"):
        await model.call(attempt_id=uuid4(), path=path, body=BODY, on_generation_id=Call().on_generation_id)
    assert provider.posts == []


# Answers


async def test_a_stream_is_put_together_into_one_completion(provider: Provider, model: LanguageModel) -> None:
    citations = ["https://a.example/1"]
    provider.respond = streaming(
        ": OPENROUTER PROCESSING\n\n",
        chunk("Hel"),
        chunk("lo ☃", citations=citations),
        chunk(finish="stop", search_results=[{"url": citations[0], "title": "A"}]),
        USAGE_CHUNK,
        DONE,
    )
    call = Call()

    answer = await call.by(model)

    assert isinstance(answer, ProviderAnswer)
    body = parse_json(answer.body)
    assert body["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hello ☃"}, "finish_reason": "stop"}
    ]
    assert (body["id"], body["model"], body["object"]) == ("gen-7", "perplexity/sonar", "chat.completion")
    assert body["citations"] == citations
    assert body["search_results"][0]["title"] == "A"
    assert body["usage"]["cost"] == Decimal("0.000123456789012")
    assert (answer.http_status, answer.model, answer.finish_reason) == (200, "perplexity/sonar", "stop")
    assert answer.generation_id == "gen-7"
    assert call.generation_ids == ["gen-7"]
    assert provider.look_ups == []


async def test_figures_stay_exact_and_round_up_to_the_nano_dollar(provider: Provider, model: LanguageModel) -> None:
    provider.respond = answering(200, completion())

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal("0.000123457")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.cached_tokens) == (31, 17, 5)
    assert "0.000123456789012" in answer.body


async def test_a_cost_that_a_float_would_change_is_booked_as_stated(provider: Provider, model: LanguageModel) -> None:
    stated = "12345.123456789"
    provider.respond = answering(200, completion(f'{{"prompt_tokens": 1, "completion_tokens": 1, "cost": {stated}}}'))

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal(stated)


async def test_the_generation_id_of_the_headers_is_told_before_the_first_chunk(
    provider: Provider, model: LanguageModel
) -> None:
    told = asyncio.Event()

    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Generation-Id": "gen-header"})
        await response.prepare(request)
        await asyncio.wait_for(told.wait(), 5)
        for event in (chunk("x", finish="stop"), USAGE_CHUNK, DONE):
            await response.write(event.encode())
        return response

    async def on_generation_id(generation_id: str) -> None:
        assert generation_id == "gen-header"
        told.set()

    provider.respond = respond
    answer = await model.call(
        attempt_id=uuid4(), path="/chat/completions", body=BODY, on_generation_id=on_generation_id
    )

    assert isinstance(answer, ProviderAnswer)
    assert answer.generation_id == "gen-header"


async def test_an_answer_is_not_lost_when_its_id_can_not_be_stored_early(
    provider: Provider, model: LanguageModel
) -> None:
    async def failing(_generation_id: str) -> None:
        raise ConnectionError("no database")

    provider.respond = answering(200, completion(), {"X-Generation-Id": "gen-9"})
    answer = await model.call(attempt_id=uuid4(), path="/chat/completions", body=BODY, on_generation_id=failing)

    assert isinstance(answer, ProviderAnswer)
    assert answer.generation_id == "gen-9"


async def test_usage_without_cost_is_an_answer(provider: Provider, model: LanguageModel) -> None:
    provider.respond = answering(200, completion('{"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}'))

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert answer.usage is not None
    assert answer.usage.cost_usd is None
    assert provider.look_ups == []


async def test_empty_content_is_an_answer(provider: Provider, model: LanguageModel) -> None:
    provider.respond = streaming(chunk(finish="stop"), USAGE_CHUNK, DONE)

    assert isinstance(await Call().by(model), ProviderAnswer)


async def test_missing_usage_is_looked_up_until_the_provider_has_it(provider: Provider, model: LanguageModel) -> None:
    provider.generations = [(404, "{}"), (200, '{"data": {"id": "gen-7", "total_cost": null}}'), (200, GENERATION)]
    provider.respond = streaming(chunk("x", finish="stop"), DONE)

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal("0.00042")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (9, 4)
    assert provider.look_ups == ["gen-7"] * 3


async def test_missing_usage_without_a_figure_is_unknown_with_its_body(
    provider: Provider, model: LanguageModel
) -> None:
    provider.respond = streaming(chunk("precious", finish="stop"), DONE)

    outcome = await Call().by(model)

    assert isinstance(outcome, UnknownOutcome)
    assert outcome.http_status == 200
    assert "precious" in (outcome.body or "")
    assert "neither cost nor usage" in outcome.reason
    assert len(provider.look_ups) == 3


@pytest.mark.parametrize("text", ["<html>busy</html>", "", "[1, 2]", '{"a": NaN}', "[" * 100_000])
async def test_an_answer_that_is_no_json_object_is_unknown(provider: Provider, model: LanguageModel, text: str) -> None:
    provider.respond = answering(200, text)

    outcome = await Call().by(model)

    assert isinstance(outcome, UnknownOutcome)
    assert outcome.body == (text or None)


async def test_an_unreadable_answer_with_a_figure_is_booked_and_can_be_judged(
    provider: Provider, model: LanguageModel
) -> None:
    provider.generations = [(200, GENERATION)]
    provider.respond = answering(200, "<html>", {"X-Generation-Id": "gen-7"})

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert json.loads(answer.body) == {"object": "chat.completion", "choices": [], "unreadable": "<html>"}
    assert answer.model == "perplexity/sonar"


@pytest.mark.parametrize("choices", [None, "x", [None], [{"message": "text"}]])
async def test_odd_choices_do_not_reach_the_judges(provider: Provider, model: LanguageModel, choices: Any) -> None:
    provider.respond = answering(200, completion(choices=choices))

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert json.loads(answer.body)["choices"] == []


async def test_a_stream_with_an_unreadable_chunk_loses_its_content_but_not_its_cost(
    provider: Provider, model: LanguageModel
) -> None:
    provider.respond = streaming(chunk("a"), "data: {broken\n\n", chunk("c", finish="stop"), USAGE_CHUNK, DONE)

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert json.loads(answer.body)["choices"] == []
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal("0.000123457")


# Refusals


@pytest.mark.parametrize(
    ("status", "body", "permanent"),
    [
        (400, '{"error": {"message": "bad"}}', True),
        (401, '{"error": {"message": "no key"}}', True),
        (402, "{}", True),
        (403, "{}", True),
        (404, "not json", True),
        (413, "{}", True),
        (422, "{}", True),
        (429, '{"error": {"message": "slow down"}}', False),
        (429, '{"error": {"code": "insufficient_quota", "message": "x"}}', True),
        (429, '{"error": {"type": "insufficient_quota", "message": "x"}}', True),
        (500, "{}", False),
        (502, "<html>", False),
        (503, "", False),
        (529, "{}", False),
    ],
)
async def test_a_refusal_is_not_billed(
    provider: Provider, model: LanguageModel, status: int, body: str, permanent: bool
) -> None:
    provider.respond = answering(status, body)

    outcome = await Call().by(model)

    assert isinstance(outcome, NotBilled)
    assert (outcome.http_status, outcome.permanent) == (status, permanent)
    assert outcome.reason.startswith(f"HTTP {status}")
    assert len(provider.posts) == 1


async def test_a_refusal_says_what_the_provider_said_in_one_short_line(
    provider: Provider, model: LanguageModel
) -> None:
    provider.respond = answering(400, json.dumps({"error": {"message": f"too\nlong {'x' * 5000}", "code": 400}}))

    outcome = await Call().by(model)

    assert isinstance(outcome, NotBilled)
    assert outcome.reason.startswith("HTTP 400: too long xxx")
    assert len(outcome.reason) < 310
    assert "\n" not in outcome.reason


@pytest.mark.parametrize("status", [408, 409])
async def test_a_status_that_is_no_evidence_is_unknown(provider: Provider, model: LanguageModel, status: int) -> None:
    provider.respond = answering(status, "{}")

    assert isinstance(await Call().by(model), UnknownOutcome)


@pytest.mark.parametrize("status", [429, 500, 502])
async def test_an_error_with_usage_is_booked(provider: Provider, model: LanguageModel, status: int) -> None:
    provider.respond = answering(status, f'{{"error": {{"message": "late"}}, "usage": {USAGE}}}')

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert answer.http_status == status
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal("0.000123457")


async def test_an_error_whose_usage_is_zero_is_not_billed(provider: Provider, model: LanguageModel) -> None:
    usage = '{"prompt_tokens": 0, "completion_tokens": 0, "cost": 0}'
    provider.respond = answering(429, f'{{"error": {{"message": "x"}}, "usage": {usage}}}', {"Retry-After": "3"})

    outcome = await Call().by(model)

    assert isinstance(outcome, NotBilled)
    assert outcome.retry_after_seconds == 3


async def test_a_server_error_after_the_generation_began_is_looked_up(provider: Provider, model: LanguageModel) -> None:
    provider.generations = [(200, GENERATION)]
    provider.respond = answering(502, "{}", {"X-Generation-Id": "gen-7"})

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert answer.http_status == 502
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal("0.00042")


NO_SUCH_GENERATION = (404, '{"error": {"message": "not found", "code": 404}}')
NO_FIGURE_YET = (200, '{"data": {"id": "gen-7", "total_cost": null}}')


@pytest.mark.parametrize(
    "told",
    [
        [(500, "oops")],
        [(429, "{}")],
        [(401, "{}")],
        [NO_FIGURE_YET],
        [(200, "{}")],
        [(200, "<html>")],
        [NO_SUCH_GENERATION, NO_SUCH_GENERATION, (500, "oops")],
        [(500, "oops"), NO_SUCH_GENERATION],
        [NO_FIGURE_YET, NO_SUCH_GENERATION],
    ],
)
async def test_a_server_error_of_a_generation_nobody_can_speak_for_is_unknown(
    provider: Provider, model: LanguageModel, told: list[tuple[int, str]]
) -> None:
    provider.generations = told
    provider.respond = answering(502, '{"error": {"message": "late"}}', {"X-Generation-Id": "gen-7"})
    call = Call()

    outcome = await call.by(model)

    assert isinstance(outcome, UnknownOutcome)
    assert outcome.http_status == 502
    assert outcome.reason == "HTTP 502: late: the provider gave no clear word on what it cost"
    assert "late" in (outcome.body or "")
    assert provider.look_ups == ["gen-7"] * 3
    assert call.generation_ids == ["gen-7"], "the reconciler asks again, by the id"


async def test_a_server_error_whose_look_up_hangs_is_unknown(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_model, "LOOK_UP_TIMEOUT_SECONDS", 0.05)
    model = client_of(provider, look_up_attempts=1)

    async def hanging(_request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    provider.look_up = hanging
    provider.respond = answering(503, "{}", {"X-Generation-Id": "gen-7"})
    try:
        assert isinstance(await Call().by(model), UnknownOutcome)
    finally:
        await model.close()


@pytest.mark.parametrize("headers", [{}, {"X-Generation-Id": "gen-7"}], ids=["no id", "no such generation"])
async def test_a_server_error_without_a_generation_is_not_billed(
    provider: Provider, model: LanguageModel, headers: dict[str, str]
) -> None:
    provider.generations = [NO_SUCH_GENERATION]
    provider.respond = answering(502, "{}", headers)

    assert isinstance(await Call().by(model), NotBilled)
    assert len(provider.look_ups) == (3 if headers else 0)


async def test_a_look_up_that_says_nothing_was_charged_is_evidence(provider: Provider, model: LanguageModel) -> None:
    provider.generations = [(200, '{"data": {"total_cost": 0}}')]
    provider.respond = answering(502, "{}", {"X-Generation-Id": "gen-7"})

    assert isinstance(await Call().by(model), NotBilled)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "-4"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"}, None),
        (
            {
                "Retry-After": "Sun, 06 Nov 1994 08:50:07 GMT",
                "Date": "Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
            },
            0.0,
        ),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:07 GMT", "Date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 30.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:07 GMT", "Date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        ({"retry-after-ms": "x", "Retry-After": "2"}, 2.0),
        ({}, None),
    ],
)
async def test_every_form_of_retry_after(
    provider: Provider, model: LanguageModel, headers: dict[str, str], seconds: float | None
) -> None:
    provider.respond = answering(429, "{}", headers)

    outcome = await Call().by(model)

    assert isinstance(outcome, NotBilled)
    assert outcome.retry_after_seconds == seconds


# HTTP 200 with an error


@pytest.mark.parametrize("in_a_stream", [False, True])
async def test_an_error_under_http_200_with_usage_is_booked(
    provider: Provider, model: LanguageModel, in_a_stream: bool
) -> None:
    text = f'{{"id": "gen-7", "error": {{"code": 502, "message": "upstream"}}, "usage": {USAGE}}}'
    provider.respond = streaming(chunk("par"), f"data: {text}\n\n") if in_a_stream else answering(200, text)

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal("0.000123457")
    assert json.loads(answer.body)["error"]["code"] == 502


@pytest.mark.parametrize("in_a_stream", [False, True])
async def test_an_error_under_http_200_without_any_figure_is_unknown(
    provider: Provider, model: LanguageModel, in_a_stream: bool
) -> None:
    text = '{"id": "gen-7", "error": {"code": 502, "message": "upstream"}}'
    headers = {"X-Generation-Id": "gen-7"}
    provider.respond = streaming(f"data: {text}\n\n", headers=headers) if in_a_stream else answering(200, text, headers)

    outcome = await Call().by(model)

    assert isinstance(outcome, UnknownOutcome)
    assert "upstream (code 502)" in outcome.reason
    assert set(provider.look_ups) == {"gen-7"}


async def test_an_error_under_http_200_is_booked_at_the_figure_looked_up(
    provider: Provider, model: LanguageModel
) -> None:
    provider.generations = [(200, GENERATION)]
    provider.respond = streaming('data: {"id": "gen-7", "error": {"code": 502, "message": "upstream"}}\n\n')

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal("0.00042")


# Cut, slow and absent


RUNNING_USAGE = {"prompt_tokens": 5, "completion_tokens": 1, "cost": {"total_cost": 0.001}}


@pytest.mark.parametrize("ends", ["cutting", "cleanly"])
@pytest.mark.parametrize(
    "events",
    [
        (),
        (": comment\n\n",),
        (chunk("a"),),
        (chunk("a"), chunk("b")),
        (chunk("a", usage=RUNNING_USAGE),),
        ('data: {"id"',),
    ],
    ids=["nothing", "a comment", "one chunk", "two chunks", "a running usage", "half a chunk"],
)
async def test_a_cut_stream_is_unknown(
    provider: Provider, model: LanguageModel, events: tuple[str, ...], ends: str
) -> None:
    provider.respond = streaming(*events, headers={"X-Generation-Id": "gen-7"}, ends=ends)

    outcome = await Call().by(model)

    assert isinstance(outcome, UnknownOutcome)
    assert provider.look_ups == ["gen-7"] * 3
    assert len(provider.posts) == 1


FINISH_WITHOUT_USAGE = chunk(finish="stop", usage=None)
ERROR_CHUNK = 'data: {"id": "gen-7", "error": {"code": 502, "message": "upstream"}, "choices": []}\n\n'


@pytest.mark.parametrize("ends", ["cutting", "cleanly"])
@pytest.mark.parametrize(
    "last",
    [(FINISH_WITHOUT_USAGE,), (ERROR_CHUNK,), (FINISH_WITHOUT_USAGE, DONE), (chunk("b"), DONE)],
    ids=["finish", "error", "finish and done", "done"],
)
async def test_a_running_usage_is_no_figure_however_the_stream_ends(
    provider: Provider, model: LanguageModel, last: tuple[str, ...], ends: str
) -> None:
    provider.respond = streaming(chunk("a", usage=RUNNING_USAGE), *last, ends=ends, pause_seconds=0.02)

    outcome = await Call().by(model)

    assert isinstance(outcome, UnknownOutcome)
    assert provider.look_ups == ["gen-7"] * 3
    kept = json.loads(outcome.body or "")
    assert kept["running_usage"] == RUNNING_USAGE
    assert "usage" not in kept


@pytest.mark.parametrize(
    "last",
    [
        (chunk(finish="stop", usage=json.loads(USAGE)),),
        (FINISH_WITHOUT_USAGE, USAGE_CHUNK),
        (ERROR_CHUNK, USAGE_CHUNK),
        (FINISH_WITHOUT_USAGE, USAGE_CHUNK, chunk(usage=None), DONE),
        (USAGE_CHUNK, DONE),
    ],
    ids=["with the end", "after the end", "after an error", "before an empty chunk", "before done"],
)
async def test_the_usage_at_the_end_is_the_final_one(
    provider: Provider, model: LanguageModel, last: tuple[str, ...]
) -> None:
    provider.respond = streaming(chunk("a", usage=RUNNING_USAGE), *last, ends="cutting", pause_seconds=0.02)

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal("0.000123457")
    assert provider.look_ups == []


async def test_a_cut_stream_is_booked_at_the_figure_looked_up(provider: Provider, model: LanguageModel) -> None:
    provider.generations = [(200, GENERATION)]
    provider.respond = streaming(chunk("half an ans"), ends="cutting", pause_seconds=0.05)

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal("0.00042")
    assert "half an ans" in answer.body
    assert answer.finish_reason is None


async def test_a_stream_cut_after_its_usage_is_an_answer(provider: Provider, model: LanguageModel) -> None:
    provider.respond = streaming(chunk("all", finish="stop"), USAGE_CHUNK, ends="cutting", pause_seconds=0.05)

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal("0.000123457")


async def test_a_stream_that_hangs_after_done_is_not_waited_for(provider: Provider, model: LanguageModel) -> None:
    provider.respond = streaming(chunk("all", finish="stop"), USAGE_CHUNK, DONE, ends="hanging")

    async with asyncio.timeout(2):
        assert isinstance(await Call().by(model), ProviderAnswer)


@pytest.mark.parametrize("events", [(), (chunk("a"),)], ids=["at once", "midway"])
async def test_a_hang_ends_at_the_timeout_as_unknown(provider: Provider, events: tuple[str, ...]) -> None:
    model = client_of(provider, timeout_seconds=0.3)
    provider.respond = streaming(*events, ends="hanging")
    try:
        async with asyncio.timeout(3):
            outcome = await Call().by(model)
    finally:
        await model.close()

    assert isinstance(outcome, UnknownOutcome)
    assert "0.3 s" in outcome.reason or "Timeout" in outcome.reason


async def test_a_stream_that_drips_for_ever_ends_at_the_timeout(provider: Provider) -> None:
    model = client_of(provider, timeout_seconds=0.4)
    provider.respond = streaming(*[chunk("a")] * 100, pause_seconds=0.05)
    try:
        outcome = await Call().by(model)
    finally:
        await model.close()

    assert isinstance(outcome, UnknownOutcome)
    assert "no complete answer within 0.4 s" in outcome.reason
    assert '"content": "aa' in (outcome.body or "")


async def test_a_server_that_hangs_up_without_a_word_is_unknown(provider: Provider, model: LanguageModel) -> None:
    async def respond(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    provider.respond = respond

    assert isinstance(await Call().by(model), UnknownOutcome)
    assert len(provider.posts) == 1


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:1/v1", "http://no-such-host.invalid/v1"])
async def test_nothing_sent_is_not_billed(base_url: str) -> None:
    model = LanguageModel(base_url=base_url, api_key=SecretStr(KEY), timeout_seconds=5)
    try:
        outcome = await Call().by(model)
    finally:
        await model.close()

    assert isinstance(outcome, NotBilled)
    assert (outcome.http_status, outcome.permanent) == (None, False)
    assert "ConnectError" in outcome.reason


@pytest.mark.parametrize("in_a_stream", [False, True])
async def test_an_answer_over_the_bound_is_not_read_to_its_end(provider: Provider, in_a_stream: bool) -> None:
    model = client_of(provider, answer_bytes_max=50_000)
    provider.respond = (
        streaming(*[chunk("x" * 10_000)] * 50) if in_a_stream else answering(200, completion(filler="x" * 500_000))
    )
    try:
        outcome = await Call().by(model)
    finally:
        await model.close()

    assert isinstance(outcome, UnknownOutcome)
    assert "larger than 50000 bytes" in outcome.reason
    assert len(outcome.body or "") < 60_000


async def test_a_cancelled_call_closes_its_connection(provider: Provider, model: LanguageModel) -> None:
    gone = asyncio.Event()
    began = asyncio.Event()

    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        began.set()
        try:
            while True:
                await response.write(chunk("a").encode())
                await asyncio.sleep(0.01)
        except (ConnectionError, asyncio.CancelledError):
            gone.set()
            raise

    provider.respond = respond
    call = asyncio.create_task(Call().by(model))
    await asyncio.wait_for(began.wait(), 5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(gone.wait(), 5)


async def test_a_stream_is_let_go_once_it_is_done(provider: Provider, model: LanguageModel) -> None:
    gone = asyncio.Event()

    async def respond(request: web.Request) -> web.StreamResponse:
        response = await streaming(chunk("x", finish="stop"), USAGE_CHUNK, DONE)(request)
        while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        gone.set()
        return response

    provider.respond = respond
    assert isinstance(await Call().by(model), ProviderAnswer)
    await asyncio.wait_for(gone.wait(), 3)


async def test_many_calls_at_once_share_the_client(provider: Provider, model: LanguageModel) -> None:
    provider.respond = streaming(chunk("x", finish="stop"), USAGE_CHUNK, DONE, pause_seconds=0.02)
    calls = [Call() for _ in range(60)]

    answers = await asyncio.gather(*(call.by(model) for call in calls))

    assert all(isinstance(answer, ProviderAnswer) for answer in answers)
    sent = {UUID(seen.headers["X-Client-Request-Id"]) for seen in provider.posts}
    assert sent == {call.attempt_id for call in calls}


# Answers written to do harm


def raw(status: int, body: bytes, **headers: str) -> Respond:
    async def respond(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={"Content-Type": "application/json"} | headers)

    return respond


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def with_field(text: str, name: str, value: str) -> str:
    return f'{text.rstrip()[:-1]}, "{name}": {value}}}'


@pytest.mark.parametrize("depth", [300, 900])
@pytest.mark.parametrize("name", ["x", "model", "id", "citations", "error"])
@pytest.mark.parametrize("in_a_stream", [False, True])
async def test_a_field_however_deep_does_not_lose_the_answer(
    provider: Provider, model: LanguageModel, depth: int, name: str, in_a_stream: bool
) -> None:
    last = with_field(USAGE_CHUNK.removeprefix("data: "), name, nested(depth))
    provider.respond = (
        streaming(chunk("hello", finish="stop"), f"data: {last}\n\n", DONE)
        if in_a_stream
        else answering(200, with_field(completion(), name, nested(depth)))
    )

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal("0.000123457")
    assert len(answer.model) <= 200
    assert nested(depth) in answer.body


@pytest.mark.parametrize("error", ['{"message": %s}', '{"code": %s, "type": %s}', "%s"])
async def test_an_error_however_deep_is_told(provider: Provider, model: LanguageModel, error: str) -> None:
    provider.respond = answering(429, f'{{"error": {error.replace("%s", nested(900))}}}')

    outcome = await Call().by(model)

    assert isinstance(outcome, NotBilled)
    assert outcome.reason.startswith("HTTP 429: ")


@pytest.mark.parametrize("depth", [3000, 100_000])
async def test_what_is_too_deep_to_read_is_kept_as_it_came(
    provider: Provider, model: LanguageModel, depth: int
) -> None:
    text = with_field(completion(), "x", nested(depth))
    provider.respond = answering(200, text)

    outcome = await Call().by(model)

    assert isinstance(outcome, UnknownOutcome)
    assert outcome.body == text


CHARSETS = ["hex", "base64", "zlib", "rot13", "idna", "undefined", "utf-16", "unicode_escape", "no-such", "utf-7"]


@pytest.mark.parametrize("charset", CHARSETS)
async def test_an_answer_is_utf_8_whatever_its_header_says(
    provider: Provider, model: LanguageModel, charset: str
) -> None:
    answers = []
    for text in (completion(greeting="Grüße ☃"), "\ufeff" + completion(greeting="Grüße ☃")):
        provider.respond = raw(200, text.encode(), **{"Content-Type": f"application/json; charset={charset}"})
        answers.append(await Call().by(model))
    headers = {"Content-Type": f"text/event-stream; charset={charset}"}
    events = (chunk("Grüße ☃", finish="stop"), USAGE_CHUNK, DONE)
    provider.respond = streaming(*events, headers=headers)
    answers.append(await Call().by(model))
    provider.respond = raw(429, b'{"error": {"message": "slow down"}}', **headers)
    refused = await Call().by(model)

    for answer in answers:
        assert isinstance(answer, ProviderAnswer)
        assert "Grüße ☃" in answer.body
    assert isinstance(refused, NotBilled)
    assert refused.reason == "HTTP 429: slow down"


async def test_bytes_that_are_no_text_do_not_lose_the_answer(provider: Provider, model: LanguageModel) -> None:
    provider.respond = raw(200, completion(content="@").encode().replace(b"@", b"\xff\xfe"))

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert "\ufffd" in answer.body


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate"])
@pytest.mark.parametrize("status", [200, 429])
async def test_a_packed_answer_that_nobody_asked_for_is_unpacked(
    provider: Provider, model: LanguageModel, coding: str, status: int
) -> None:
    pack = zlib.compress if coding == "deflate" else gzip.compress
    provider.respond = raw(status, pack(completion(filler="x" * 300_000).encode()), **{"Content-Encoding": coding})

    answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert answer.http_status == status
    assert provider.posts[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("body", [b"{}", gzip.compress(b"{" * 1000)[:-30], b""])
async def test_what_can_not_be_unpacked_is_unknown(provider: Provider, model: LanguageModel, body: bytes) -> None:
    provider.respond = raw(200, body, **{"Content-Encoding": "gzip", "X-Generation-Id": "gen-7"})

    assert isinstance(await Call().by(model), UnknownOutcome)
    assert provider.look_ups == ["gen-7"] * 3


BOMB = gzip.compress(b'{"x":"' + b"a" * 100_000_000 + b'"}', 9)
BOMB_OF_EVENTS = gzip.compress(chunk("a").encode() * 400_000, 9)


@pytest.mark.parametrize(
    ("status", "kind", "bomb", "content_type"),
    [
        (200, UnknownOutcome, BOMB, "application/json"),
        (200, UnknownOutcome, BOMB_OF_EVENTS, "text/event-stream"),
        (429, NotBilled, BOMB, "application/json"),
        (503, UnknownOutcome, BOMB, "application/json"),
    ],
)
async def test_a_packed_answer_is_bounded_by_what_it_unpacks_to(
    provider: Provider, model: LanguageModel, status: int, kind: type, bomb: bytes, content_type: str
) -> None:
    provider.respond = raw(status, bomb, **{"Content-Encoding": "gzip", "Content-Type": content_type})

    async with largest_stall() as stalls:
        outcome = await Call().by(model)

    assert isinstance(outcome, kind)
    assert isinstance(outcome, UnknownOutcome | NotBilled)
    assert "larger than 2000000 bytes" in outcome.reason
    assert outcome.http_status == status
    assert stalls[0] < STALL_SECONDS_MAX


async def test_what_follows_a_packed_answer_is_bounded_too(provider: Provider) -> None:
    model = client_of(provider, answer_bytes_max=50_000)
    provider.respond = raw(200, gzip.compress(b"{}") + b"\0" * 500_000, **{"Content-Encoding": "gzip"})
    try:
        outcome = await Call().by(model)
    finally:
        await model.close()

    assert isinstance(outcome, UnknownOutcome)
    assert "larger than 50000 bytes" in outcome.reason


@pytest.mark.parametrize("in_a_stream", [False, True])
async def test_reading_a_large_answer_leaves_the_others_their_turn(
    provider: Provider, model: LanguageModel, in_a_stream: bool
) -> None:
    text = with_field(completion(), "x", f"[{'0,' * 600_000}0]")
    provider.respond = streaming(f"data: {text}\n\n", DONE) if in_a_stream else answering(200, text)

    async with largest_stall() as stalls:
        outcome = await Call().by(model)

    assert isinstance(outcome, ProviderAnswer)
    assert stalls[0] < STALL_SECONDS_MAX


async def test_a_look_up_is_bounded_and_read_as_an_answer_is(provider: Provider, model: LanguageModel) -> None:
    bodies = [(BOMB, "gzip", "utf-8"), (GENERATION.encode(), "identity", "hex")]

    async def respond(_request: web.Request) -> web.Response:
        body, coding, charset = bodies.pop(0)
        headers = {"Content-Encoding": coding, "Content-Type": f"application/json; charset={charset}"}
        return web.Response(body=body, headers=headers)

    provider.look_up = respond

    async with largest_stall() as stalls:
        usage = await model.look_up_cost("gen-7")

    assert usage is not None
    assert usage.cost_usd == Decimal("0.00042")
    assert stalls[0] < STALL_SECONDS_MAX


async def test_the_id_in_an_answers_body_is_one_to_ask_by(provider: Provider, model: LanguageModel) -> None:
    provider.generations = [(200, GENERATION)]
    provider.respond = answering(200, completion(usage=None))
    call = Call()

    answer = await call.by(model)

    assert isinstance(answer, ProviderAnswer)
    assert (answer.generation_id, call.generation_ids) == ("gen-7", ["gen-7"])
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal("0.00042")


@pytest.mark.parametrize("identifier", ["g" * 70_000, "\x00", "\ud800", "", 7, [], {"a": 1}])
async def test_an_id_that_is_none_is_not_asked_by(provider: Provider, model: LanguageModel, identifier: Any) -> None:
    provider.respond = streaming(f"data: {json.dumps({'id': identifier, 'choices': []})}\n\n")
    call = Call()

    assert isinstance(await call.by(model), UnknownOutcome)
    assert (call.generation_ids, provider.look_ups) == ([], [])


# Our own mistakes


async def test_a_mistake_in_reading_an_answer_is_unknown_and_told(
    provider: Provider, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(_answer: Any) -> None:
        raise ZeroDivisionError(f"by {KEY}")

    monkeypatch.setattr(language_model, "usage_of", mistaken)
    provider.respond = answering(200, completion())

    with capture_logs() as logs:
        outcome = await Call().by(model)

    assert isinstance(outcome, UnknownOutcome)
    assert (outcome.http_status, outcome.reason) == (200, "HTTP 200: reading the answer failed with ZeroDivisionError")
    [logged] = [line for line in logs if line["log_level"] == "error"]
    assert logged["error"] == "ZeroDivisionError: by [key]"
    assert "test_language_model.py:" in logged["place"]


async def test_a_mistake_in_receiving_an_answer_leaves_what_arrived_to_be_judged(
    provider: Provider, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = ChatStream.add

    def mistaken(stream: ChatStream, data: str) -> None:
        if "second" in data:
            raise ZeroDivisionError
        add(stream, data)

    monkeypatch.setattr(ChatStream, "add", mistaken)
    provider.generations = [(200, GENERATION)]
    provider.respond = streaming(chunk("first"), chunk("second", finish="stop"), USAGE_CHUNK, DONE)

    with capture_logs() as logs:
        answer = await Call().by(model)

    assert isinstance(answer, ProviderAnswer)
    assert "first" in answer.body
    assert answer.usage is not None
    assert answer.usage.cost_usd == Decimal("0.00042")
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["answer not read"]


async def test_a_mistake_in_a_look_up_is_no_figure(
    provider: Provider, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(_generation: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(language_model, "looked_up_usage", mistaken)
    provider.generations = [(200, GENERATION)]

    assert await model.look_up_cost("gen-7") is None


# Secrets


async def test_the_key_is_nowhere_but_in_the_request(
    provider: Provider, model: LanguageModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}})
    outcomes = []
    for status in (200, 401, 500):
        provider.respond = answering(status, echo)
        outcomes.append(await Call().by(model))
    provider.models = (401, echo)
    with pytest.raises(ConfigurationError) as refused:
        await model.list_models()

    told = [repr(model), repr(model.__dict__["_key"]), repr(outcomes), str(refused.value), caplog.text]
    assert not any(KEY in text for text in told)
    assert "[key]" in repr(outcomes)


# Look-ups and models


async def test_a_look_up_with_the_accounts_own_key_adds_what_the_upstream_charges(
    provider: Provider, model: LanguageModel
) -> None:
    provider.generations = [
        (200, '{"data": {"total_cost": 0.0001, "is_byok": true, "upstream_inference_cost": 0.002}}')
    ]

    usage = await model.look_up_cost("gen-1")

    assert usage is not None
    assert usage.cost_usd == Decimal("0.0021")


@pytest.mark.parametrize("upstream", ["null", '"x"', "-1", "[]"])
@pytest.mark.parametrize("fee", ["0", "0.0001"])
async def test_a_look_up_with_the_accounts_own_key_and_without_the_upstreams_charge_is_no_figure(
    provider: Provider, model: LanguageModel, fee: str, upstream: str
) -> None:
    data = f'{{"total_cost": {fee}, "is_byok": true, "upstream_inference_cost": {upstream}, "tokens_prompt": 3}}'
    provider.generations = [(200, f'{{"data": {data}}}')]

    assert await model.look_up_cost("gen-1") is None


@pytest.mark.parametrize("answer", [(200, "[]"), (200, "{"), (500, ""), (200, '{"data": {"total_cost": "x"}}')])
async def test_a_look_up_without_a_figure_is_none(
    provider: Provider, model: LanguageModel, answer: tuple[int, str]
) -> None:
    provider.generations = [answer]

    assert await model.look_up_cost("gen/&?") is None
    assert provider.look_ups == ["gen/&?"] * 3


async def test_models_are_listed(model: LanguageModel) -> None:
    assert await model.list_models() == {"perplexity/sonar", "openai/gpt-4o-mini"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((401, "{}"), ConfigurationError),
        ((404, "{}"), ConfigurationError),
        ((429, "{}"), RateLimitedError),
        ((500, "{}"), ProviderUnavailableError),
        ((200, "<html>"), ConfigurationError),
        ((200, '{"data": [1]}'), ConfigurationError),
    ],
)
async def test_listing_models_fails_in_our_words(
    provider: Provider, model: LanguageModel, answer: tuple[int, str], error: type[Exception]
) -> None:
    provider.models = answer

    with pytest.raises(error, match=r"127\.0\.0\.1"):
        await model.list_models()


@pytest.mark.parametrize("base_url", ["", "openrouter.ai/api/v1", "ftp://x/v1", "https://"])
def test_a_base_url_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(ConfigurationError, match="base URL"):
        LanguageModel(base_url=base_url, api_key=SecretStr(KEY), timeout_seconds=5)


@pytest.mark.parametrize("key", ["", "  ", "sk a b", "sk-ü", "sk-\nX-Evil: 1"])
def test_a_key_that_is_none_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigurationError, match="API key") as refused:
        LanguageModel(base_url="https://a.example/v1", api_key=SecretStr(key), timeout_seconds=5)
    assert "Evil" not in str(refused.value)
