"""A loopback server that stands in for the paid providers and for the web, and keeps its own books.

It speaks OpenAI's and OpenRouter's HTTP (chat completions with and without streaming, embeddings, models, a
generation's cost), charges every answer on its own fsynced bill before the answer's body is complete, misbehaves on
command (``sandbox/faults.py``) and serves the invented sites. Run as a process it prints its URL and serves until
SIGTERM or SIGINT:

    python -m sandbox.server --state-dir FOLDER --port 0
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import web
from pydantic import ValidationError

from sandbox import keyword_data
from sandbox.answers import Blocks, UnanswerableRequestError, answer_for
from sandbox.bill import PRICES, Bill
from sandbox.completions import (
    Answer,
    Origin,
    RefusedRequestError,
    as_event,
    as_json,
    chat_answer,
    completion_object,
    embedding,
    embedding_answer,
    inputs_of,
    messages_of,
    model_facts,
    schema_of,
    stream_parts,
    text_of,
    with_fault,
)
from sandbox.faults import FaultKind, FaultPlan, FaultPoint, FaultRule, Faults, FaultTarget
from sandbox.site_files import BUILT_IN_SITES, CONTENT_TYPES, find_page, site_texts

REFUSED_KEY = "wrong-key"
_REQUEST_BYTES_MAX = 16 * 1024 * 1024
_BIG_BODY_BYTES = 32 * 1024 * 1024
_PLAIN_ANSWER = "This is the sandbox: it answers the steps of the pipeline, which ask for a JSON schema."
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class RunningSandbox:
    """``url`` has no trailing slash; the OpenAI base URL is ``url + "/v1"``."""

    url: str
    instance_id: str
    _runner: web.AppRunner

    async def stop(self) -> None:
        await self._runner.cleanup()


class SandboxServer:
    """The handlers and what they share: bill, faults in force, folders of sites."""

    def __init__(self, bill: Bill, sites_dirs: Sequence[Path]) -> None:
        self.instance_id = uuid4().hex
        self._bill = bill
        self._faults = Faults()
        self._sites_dirs = tuple(sites_dirs)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=_REQUEST_BYTES_MAX, middlewares=[_errors_as_json])
        application.add_routes(
            [
                web.post("/v1/chat/completions", self.chat),
                web.post("/v1/embeddings", self.embeddings),
                web.get("/v1/models", self.models),
                web.get("/v1/generation", self.generation),
                web.post("/v3/dataforseo_labs/google/{endpoint}/live", self.keyword_data),
                web.get("/bill", self.show_bill),
                web.get("/identity", self.identity),
                web.get("/faults", self.show_faults),
                web.post("/faults", self.set_faults),
                web.delete("/faults", self.clear_faults),
                web.get("/sites/{site}", self.site_page),
                web.get("/sites/{site}/{page:.*}", self.site_page),
            ]
        )
        return application

    # -- the provider -------------------------------------------------------------------------------------------

    async def chat(self, request: web.Request) -> web.StreamResponse:
        _check_key(request)
        body = await _read_json(request)
        schema_name, schema = schema_of(body)
        fault, dropped = await self._misbehave(request, model=str(body.get("model")), schema=schema_name)
        if dropped is not None:
            return dropped
        messages = messages_of(body)
        content = self._content_for(schema_name, messages)
        answer = chat_answer(_origin_of(request), body, messages=messages, schema=schema, content=content)
        answer = with_fault(answer, fault, request_bytes=len(await request.read()), messages=len(messages))
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        parts = stream_parts(answer, wants_usage) if body.get("stream") else [as_json(completion_object(answer))]
        return await self._charge_and_send(request, answer, parts, bool(body.get("stream")), fault)

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        _check_key(request)
        body = await _read_json(request)
        fault, dropped = await self._misbehave(request, model=str(body.get("model")), schema=None)
        if dropped is not None:
            return dropped
        texts = inputs_of(body)
        answer = embedding_answer(_origin_of(request), body, texts)
        answer = with_fault(answer, fault, request_bytes=len(await request.read()), messages=len(texts))
        is_empty = fault is not None and fault.kind is FaultKind.EMPTY_CONTENT
        vectors = [] if is_empty else [embedding(place, text, body) for place, text in enumerate(texts)]
        value = {"object": "list", "model": answer.model, "data": vectors}
        usage = answer.usage()
        if usage is not None:
            del usage["completion_tokens"]
        whole = as_json(value if usage is None else {**value, "usage": usage})
        return await self._charge_and_send(request, answer, [whole], False, fault)

    async def keyword_data(self, request: web.Request) -> web.StreamResponse:
        endpoint, body = request.match_info["endpoint"], await request.read()
        refusal = keyword_data.refusal_of_login(request.headers.get("Authorization", ""))
        task = refusal or keyword_data.task_of(endpoint, body)
        if isinstance(task, keyword_data.Refusal):
            return web.json_response(keyword_data.refused(task), status=task.status)
        model = f"dataforseo/{endpoint}"
        fault, dropped = await self._misbehave(request, model=model, schema=None)
        if dropped is not None:
            return dropped
        if fault is not None and fault.kind is FaultKind.INTERNAL_ERROR:
            return self._failed_task(request, endpoint, task, fault)
        rows = keyword_data.rows_of(endpoint, task, lambda: site_texts(self._sites_dirs))
        if fault is not None and fault.kind is FaultKind.EMPTY_CONTENT:
            rows = []
        answer = keyword_data.charged_answer(_origin_of(request), endpoint, len(rows))
        answer = keyword_data.with_cost_fault(answer, fault, request_bytes=len(body))
        whole = as_json(keyword_data.envelope(answer, endpoint, task, rows))
        if fault is not None and fault.kind in (FaultKind.INVALID_JSON, FaultKind.TRUNCATED_JSON):
            whole = whole[: len(whole) // 2]
        return await self._charge_and_send(request, answer, [whole], False, fault)

    def _failed_task(
        self, request: web.Request, endpoint: str, task: dict[str, Any], fault: FaultRule
    ) -> web.StreamResponse:
        code = fault.code or 50000
        if fault.where is FaultPoint.BEFORE_HEADERS:
            return web.json_response(keyword_data.refused(keyword_data.Refusal(200, code)))
        answer = keyword_data.charged_answer(_origin_of(request), endpoint, 0) if fault.charged else None
        if answer is not None:
            self._bill.charge(answer.bill_line())
        headers = {} if fault.seconds is None else {"Retry-After": f"{fault.seconds:g}"}
        return web.json_response(keyword_data.failed_task(endpoint, task, code, answer), headers=headers)

    async def models(self, request: web.Request) -> web.StreamResponse:
        _check_key(request)
        _, dropped = await self._misbehave(request, model=None, schema=None)
        return dropped or web.json_response({"object": "list", "data": [model_facts(*item) for item in PRICES.items()]})

    async def generation(self, request: web.Request) -> web.StreamResponse:
        _check_key(request)
        _, dropped = await self._misbehave(request, model=None, schema=None)
        if dropped is not None:
            return dropped
        request_id = request.query.get("id", "")
        line = self._bill.find(request_id)
        if line is None:
            raise RefusedRequestError(404, f"there is no generation {request_id!r}", "not_found")
        facts = {
            "id": line.request_id,
            "total_cost": float(line.cost_usd),
            "tokens_prompt": line.prompt_tokens,
            "tokens_completion": line.completion_tokens,
            "model": line.model,
        }
        return web.json_response({"data": facts})

    def _content_for(self, schema_name: str | None, messages: Sequence[dict[str, Any]]) -> str:
        if schema_name is None:
            return _PLAIN_ANSWER
        user_text = "\n".join(text_of(message) for message in messages if message.get("role") == "user")
        try:
            value = answer_for(schema_name, Blocks.of(user_text), lambda: site_texts(self._sites_dirs))
        except UnanswerableRequestError as error:
            raise RefusedRequestError(400, str(error), "invalid_request_error") from error
        except (KeyError, TypeError, AttributeError) as error:
            message = f"a data block for {schema_name} lacks what the answer is made of ({error!r})"
            raise RefusedRequestError(400, message, "invalid_request_error") from error
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    # -- misbehaviour -------------------------------------------------------------------------------------------

    async def _misbehave(
        self, request: web.Request, *, model: str | None, schema: str | None
    ) -> tuple[FaultRule | None, web.StreamResponse | None]:
        """Waits, and either answers in the place of the handler or names the fault that the answer will have."""
        key = (
            request.headers.get("X-Client-Request-Id")
            or hashlib.sha256(request.path_qs.encode() + await request.read()).hexdigest()
        )
        wait_seconds, fault = self._faults.decide(FaultTarget(request.path, key, model, schema))
        await asyncio.sleep(wait_seconds)
        if fault is None:
            return None, None
        return fault, await _answer_before_billing(request, fault)

    async def _charge_and_send(
        self, request: web.Request, answer: Answer, parts: Sequence[bytes], is_stream: bool, fault: FaultRule | None
    ) -> web.StreamResponse:
        self._bill.charge(answer.bill_line())
        point = _drop_point(fault)
        if fault is not None and point is FaultPoint.BEFORE_HEADERS:
            return await _drop(request, fault)
        response = web.StreamResponse(headers={"X-Generation-Id": answer.request_id, "Cache-Control": "no-store"})
        response.content_type = "text/event-stream" if is_stream else "application/json"
        response.content_length = None if is_stream else sum(map(len, parts))
        with contextlib.suppress(ConnectionError):  # it is charged, whether or not anyone reads it
            await response.prepare(request)
            if fault is not None and point is FaultPoint.AFTER_HEADERS:
                return await _drop(request, fault, response)
            halves = _halved(parts) if point is FaultPoint.MID_BODY else (parts, [])
            for part in halves[0]:
                await response.write(part)
            if fault is not None and point is FaultPoint.MID_BODY:
                return await _drop(request, fault, response)
            await response.write_eof()
        return response

    async def show_faults(self, _request: web.Request) -> web.Response:
        return web.json_response(self._faults.facts())

    async def set_faults(self, request: web.Request) -> web.Response:
        try:
            self._faults = Faults(FaultPlan.model_validate(await _read_json(request)))
        except ValidationError as error:
            raise RefusedRequestError(400, f"the faults can't be read: {error}", "invalid_faults") from error
        return web.json_response(self._faults.facts())

    async def clear_faults(self, _request: web.Request) -> web.Response:
        self._faults = Faults()
        return web.json_response(self._faults.facts())

    # -- books and sites ----------------------------------------------------------------------------------------

    async def show_bill(self, _request: web.Request) -> web.Response:
        return web.json_response([line.facts() for line in self._bill.lines])

    async def identity(self, _request: web.Request) -> web.Response:
        return web.json_response({"service": "infin8-sandbox", "instance_id": self.instance_id})

    async def site_page(self, request: web.Request) -> web.StreamResponse:
        fault, answered = await self._misbehave(request, model=None, schema=None)
        if answered is not None:
            return answered
        file = find_page(self._sites_dirs, request.match_info["site"], request.match_info.get("page", ""))
        if file is None:
            return web.Response(status=404, text="<h1>Not found</h1>", content_type="text/html")
        content_type = CONTENT_TYPES[file.suffix]
        content = await asyncio.to_thread(file.read_bytes)
        if fault is not None and fault.kind is FaultKind.WRONG_ENCODING:
            content = content.decode().encode("utf-16")
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={"ETag": tag})
        return web.Response(body=content, content_type=content_type, charset="utf-8", headers={"ETag": tag})


# -- requests -------------------------------------------------------------------------------------------------------


@web.middleware
async def _errors_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedRequestError as error:
        return web.json_response(_error_object(error.status, str(error), error.code), status=error.status)


def _error_object(status: int, message: str, code: str) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _check_key(request: web.Request) -> None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise RefusedRequestError(401, "no API key was sent", "invalid_api_key")
    if key.strip() == REFUSED_KEY:
        raise RefusedRequestError(401, "the API key is not valid", "invalid_api_key")


def _origin_of(request: web.Request) -> Origin:
    return Origin(path=request.path, client_request_id=request.headers.get("X-Client-Request-Id"))


async def _read_json(request: web.Request) -> dict[str, Any]:
    try:
        value = json.loads(await request.read())
    except ValueError as error:
        raise RefusedRequestError(400, f"the body is not JSON ({error})", "invalid_json") from error
    if not isinstance(value, dict):
        raise RefusedRequestError(400, "the body must be a JSON object", "invalid_json")
    return value


# -- faults ---------------------------------------------------------------------------------------------------------


async def _answer_before_billing(request: web.Request, fault: FaultRule) -> web.StreamResponse | None:
    """The answer of a fault that leaves nothing charged; None for the other faults."""
    match fault.kind:
        case FaultKind.HTTP_STATUS:
            return _status_response(fault)
        case FaultKind.OK_WITH_ERROR_BODY:
            return _error_in_ok(fault)
        case FaultKind.DROP_BEFORE_BILLING:
            return await _drop(request, fault)
        case FaultKind.HANG if fault.where in (None, FaultPoint.BEFORE_HEADERS):
            return await _drop(request, fault)
        case FaultKind.REDIRECT_LOOP:
            hop = int(request.query.get("hop", "0")) + 1
            return web.Response(status=302, headers={"Location": f"?hop={hop}"})
        case FaultKind.BIG_BODY:
            return await _big_body(request)
    return None


def _status_response(fault: FaultRule) -> web.Response:
    headers = {}
    if fault.status in (429, 503):
        headers["Retry-After"] = f"{1 if fault.seconds is None else fault.seconds:g}"
    body = _error_object(fault.status, f"the sandbox was told to answer {fault.status}", "injected_fault")
    return web.json_response(body, status=fault.status, headers=headers)


def _error_in_ok(fault: FaultRule) -> web.Response:
    body = {"error": {"code": 502, "message": "the model's host did not answer", "type": "server_error"}}
    if fault.where is FaultPoint.MID_BODY:
        return web.Response(body=as_event(body) + b"data: [DONE]\n\n", content_type="text/event-stream")
    return web.json_response(body)


def _drop_point(fault: FaultRule | None) -> FaultPoint | None:
    if fault is None or fault.kind not in (FaultKind.BILL_THEN_DROP, FaultKind.HANG):
        return None
    return fault.where or FaultPoint.MID_BODY


async def _drop(
    request: web.Request, fault: FaultRule, response: web.StreamResponse | None = None
) -> web.StreamResponse:
    """Closes the connection without finishing the answer; a hang holds it open first."""
    if fault.kind is FaultKind.HANG:
        await _hold_open(request, 60.0 if fault.seconds is None else fault.seconds)
    if request.transport is not None:
        # after bytes were sent: an orderly close, because a reset could destroy what the client has not read yet
        request.transport.abort() if response is None else request.transport.close()
    return response or web.Response(status=500)


async def _hold_open(request: web.Request, seconds: float) -> None:
    """Until the time is up or the client has gone."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while request.transport is not None:  # noqa: ASYNC110 -- aiohttp tells of a lost client in no other way
                await asyncio.sleep(0.05)


def _halved(parts: Sequence[bytes]) -> tuple[Sequence[bytes], Sequence[bytes]]:
    if len(parts) > 1:
        middle = len(parts) // 2
        return parts[:middle], parts[middle:]
    middle = len(parts[0]) // 2
    return [parts[0][:middle]], [parts[0][middle:]]


async def _big_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type = "text/html"
    chunk = b"<p>" + b"much more than anyone would want to read " * 1600 + b"</p>\n"
    with contextlib.suppress(ConnectionError):
        await response.prepare(request)
        for _ in range(_BIG_BODY_BYTES // len(chunk)):
            await response.write(chunk)
        await response.write_eof()
    return response


# -- running --------------------------------------------------------------------------------------------------------


async def start_sandbox_server(
    state_dir: Path, *, port: int = 0, host: str = "127.0.0.1", sites_dirs: Sequence[Path] = ()
) -> RunningSandbox:
    """Serves until ``stop()``; ``state_dir`` keeps the bill between runs, port 0 chooses a free one.

    ``sites_dirs`` are further folders of sites (``NAME/index.html`` …), which go before the built-in ones.
    Raises OSError when the port is taken.
    """
    server = SandboxServer(Bill(state_dir / "bill.jsonl"), [*sites_dirs, BUILT_IN_SITES])
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, reuse_address=True)
        await site.start()
    except BaseException:
        await runner.cleanup()
        raise
    bound_port = runner.addresses[0][1]
    return RunningSandbox(url=f"http://{host}:{bound_port}", instance_id=server.instance_id, _runner=runner)


async def _serve(arguments: argparse.Namespace) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    sandbox = await start_sandbox_server(
        arguments.state_dir, port=arguments.port, host=arguments.host, sites_dirs=arguments.sites_dir
    )
    sys.stdout.write(f"{sandbox.url}\n")
    sys.stdout.flush()
    await ended.wait()
    await sandbox.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the sandbox's providers and sites until SIGTERM or Ctrl-C.")
    parser.add_argument("--state-dir", type=Path, required=True, help="folder of the bill")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--sites-dir", type=Path, action="append", default=[], help="a further folder of sites")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
