"""The language model's client against a real HTTP server: every outcome, exact figures, one request and no more."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from pydantic import SecretStr

from domain.errors import BadInputError, ConfigurationError, ProviderUnavailableError, RateLimitedError
from domain.language import Route, answer_object, chat_request
from domain.spend import NotBilled, ProviderAnswer, UnknownOutcome
from providers.chat_answers import parse_json
from providers.language_model import LanguageModel

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

    async def post(self, request: web.Request) -> web.StreamResponse:
        self.posts.append(Seen(request.path, request.headers.copy(), await request.read()))
        assert self.respond is not None
        return await self.respond(request)

    async def generation(self, request: web.Request) -> web.Response:
        self.look_ups.append(request.query["id"])
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


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "-4"}, 0.0),
        ({"Retry-After": "soon"}, None),
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
