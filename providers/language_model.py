"""Chat and embedding requests to an OpenAI-compatible provider: OpenRouter, OpenAI, Perplexity or any base URL.

One request, one outcome: nothing here retries, because each further request is an attempt with a hold of its own.
"""

import asyncio
import contextlib
import traceback
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, TypeGuard, cast
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
import openai
import structlog
from pydantic import SecretStr

from domain.errors import (
    BadInputError,
    ConfigurationError,
    InvalidModelOutputError,
    PipelineError,
    ProviderUnavailableError,
    RateLimitedError,
)
from domain.money import Usage
from domain.spend import NotBilled, ProviderAnswer, UnknownOutcome
from providers.chat_answers import (
    ChatStream,
    error_codes,
    error_message,
    finish_reason_of,
    json_text,
    looked_up_usage,
    parse_json,
    plain_text,
    readable_completion,
    usage_of,
)

logger = structlog.get_logger(__name__)

CONNECT_TIMEOUT_SECONDS = 10.0
LOOK_UP_TIMEOUT_SECONDS = 5.0
ANSWER_BYTES_MAX = 2_000_000
ANSWER_CHARACTERS_AT_ONCE = 50_000
UNPACKED_BYTES_AT_ONCE = 65_536
UNPACKED_CODINGS = frozenset({"gzip", "x-gzip", "deflate"})
REASON_CHARACTERS_MAX = 300
CALLBACK_TIMEOUT_SECONDS = 10.0
MODELS_TIMEOUT_SECONDS = 30.0
GENERATION_ID_HEADER = "x-generation-id"
NAME_CHARACTERS_MAX = 200
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

# The border: every exception class of the vendor's package and what it means here.
VENDOR_ERRORS: Mapping[type[Exception], type[PipelineError]] = {
    openai.OpenAIError: ProviderUnavailableError,
    openai.APIError: ProviderUnavailableError,
    openai.APIConnectionError: ProviderUnavailableError,
    openai.APITimeoutError: ProviderUnavailableError,
    openai.APIResponseValidationError: ProviderUnavailableError,
    openai.APIStatusError: ProviderUnavailableError,
    openai.BadRequestError: BadInputError,
    openai.AuthenticationError: ConfigurationError,
    openai.OAuthError: ConfigurationError,
    openai.PermissionDeniedError: ConfigurationError,
    openai.NotFoundError: ConfigurationError,
    openai.ConflictError: ProviderUnavailableError,
    openai.UnprocessableEntityError: BadInputError,
    openai.RateLimitError: RateLimitedError,
    openai.InternalServerError: ProviderUnavailableError,
    openai.LengthFinishReasonError: InvalidModelOutputError,
    openai.ContentFilterFinishReasonError: InvalidModelOutputError,
    openai.InvalidWebhookSignatureError: BadInputError,
    openai.WebSocketConnectionClosedError: ProviderUnavailableError,
    openai.WebSocketQueueFullError: ProviderUnavailableError,
}
# Failures before the first byte of a request is on the wire: the evidence that nothing was billed.
NOTHING_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)
# A client error that is no evidence: the provider may have begun (request timed out, conflict with itself).
_UNCLEAR_STATUSES = frozenset({408, 409, 425, 499})
_PERMANENT_CODES = frozenset({"insufficient_quota"})


@dataclass
class _Received:
    """What has arrived of an answer so far; complete or not, it is judged."""

    requested_model: str
    http_status: int | None = None
    headers: httpx2.Headers = field(default_factory=httpx2.Headers)
    generation_id: str | None = None
    parts: list[str] = field(default_factory=list)
    stream: ChatStream | None = None
    ended_early: str | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the status alone is the evidence that nothing was billed."""
        status = self.http_status or 0
        return status >= 300 and status not in _UNCLEAR_STATUSES

    @property
    def is_refused_before_it_began(self) -> bool:
        """A server's own failure (5xx) may come after the generation."""
        return self.is_refused and (self.http_status or 0) < 500

    @property
    def characters(self) -> int:
        return self.stream.characters if self.stream is not None else sum(map(len, self.parts))


@dataclass(frozen=True)
class _Reading:
    """What there is to be read in what arrived. ``body`` is the text to store: the JSON object, a stream put together
    to one, or whatever came; ``judged_body`` the same as an object that the judges can read."""

    is_object: bool
    body: str | None
    judged_body: str
    usage: Usage | None
    generation_id: str | None
    model: str | None
    finish_reason: str | None
    error: str | None
    error_codes: frozenset[str]


def _read(received: _Received) -> _Reading:
    text = "".join(received.parts)
    found = _answer_object(text, received.stream)
    answer = found or {}
    body = text or None if found is None else json_text(found)
    unreadable = {"object": "chat.completion", "choices": [], "unreadable": text}
    return _Reading(
        is_object=found is not None,
        body=body,
        judged_body=json_text(unreadable) if found is None or body is None else body,
        usage=usage_of(answer),
        generation_id=answer["id"] if isinstance(answer.get("id"), str) else None,
        model=_name(answer.get("model")),
        finish_reason=_name(finish_reason_of(answer)),
        error=error_message(answer),
        error_codes=frozenset(error_codes(answer)),
    )


def _name(value: Any) -> str | None:
    return plain_text(value)[:NAME_CHARACTERS_MAX] if value else None


def _answer_object(text: str, stream: ChatStream | None) -> dict[str, Any] | None:
    """The answer's JSON object, None when there is none to be read."""
    if stream is not None:
        return stream.completion() if stream.chunks else None
    try:
        value = parse_json(text)
    except ValueError:
        return None
    return readable_completion(value) if isinstance(value, dict) else None


@dataclass(frozen=True)
class _LookUp:
    """The provider's word on a generation. ``is_absent``: it knows none by that id, each time it was asked."""

    usage: Usage | None = None
    is_absent: bool = False


class LanguageModel:
    """One provider account. ``timeout_seconds`` bounds a request from connecting to the last byte; looking a cost up
    may add ``look_up_attempts`` times five seconds."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: SecretStr,
        timeout_seconds: float,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        look_up_attempts: int = 3,
        look_up_delay_seconds: float = 0.5,
    ) -> None:
        host = _checked_base_url(base_url)
        self._key = _checked_key(api_key)
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._look_up_attempts = look_up_attempts
        self._look_up_delay_seconds = look_up_delay_seconds
        self._client = _vendor_client(
            base_url, self._key, _http_client(timeout_seconds, answer_bytes_max, is_loopback=host in LOOPBACK_HOSTS)
        )
        # Of its own: the loop's threads may be at work for minutes, and an answer has to be stored at once.
        self._readers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-answer")

    def __repr__(self) -> str:
        return f"LanguageModel(base_url={self._base_url!r})"

    async def close(self) -> None:
        self._readers.shutdown(wait=False)
        await self._client.close()

    async def call(
        self, *, attempt_id: UUID, path: str, body: str, on_generation_id: Callable[[str], Awaitable[None]]
    ) -> ProviderAnswer | NotBilled | UnknownOutcome:
        """Sends ``body`` byte for byte, once, and says what came of it; never raises for a provider's answer.

        ``on_generation_id`` is awaited as soon as the provider's id for the generation is known, at most once.
        A cancellation closes the connection and is raised.
        """
        path, received = _checked_path(path), _Received(requested_model=_requested_model(body))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._receive(received, attempt_id, path, body, on_generation_id)
        except TimeoutError:
            received.ended_early = f"no complete answer within {self._timeout_seconds:g} s"
        except openai.APIStatusError as error:
            _take_head(received, error.response)
            received.parts = [error.response.text]
        except _CutAnswerError as error:
            _take_head(received, error.response)
            received.ended_early = str(error)
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError) as error:
            received.ended_early = _one_line(error)
            if _nothing_was_sent(error):
                return NotBilled(reason=self._redacted_line(received.ended_early), http_status=None, permanent=False)
        except Exception as error:  # nothing may lose what was paid for, our own mistakes included
            received.ended_early = self._unforeseen(error, attempt_id)
        try:
            return await self._outcome(received, on_generation_id)
        except Exception as error:
            status, reason = received.http_status, self._unforeseen(error, attempt_id)
            return UnknownOutcome(reason=f"HTTP {status}: {reason}" if status else reason, http_status=status)

    async def look_up_cost(self, generation_id: str) -> Usage | None:
        """What the provider booked for a generation; None while it has no figure, or where it keeps none."""
        return (await self._look_up(generation_id)).usage

    async def _look_up(self, generation_id: str) -> _LookUp:
        is_absent = self._look_up_attempts > 0
        for attempt in range(self._look_up_attempts):
            if attempt:
                await asyncio.sleep(self._look_up_delay_seconds)
            told = await self._look_up_once(generation_id)
            if told.usage is not None:
                return told
            is_absent = is_absent and told.is_absent
        return _LookUp(is_absent=is_absent)

    async def list_models(self) -> set[str]:
        """Names that the account may ask for. Raises ConfigurationError when the key or the address is refused,
        RateLimitedError or ProviderUnavailableError otherwise."""
        try:
            async with asyncio.timeout(min(self._timeout_seconds, MODELS_TIMEOUT_SECONDS)):
                response = await self._client.get("/models", cast_to=httpx2.Response)
            models = parse_json(response.text)["data"]
            return {plain_text(model["id"]) for model in models}
        except (openai.OpenAIError, httpx2.HTTPError, TimeoutError) as error:
            raise self._translated(error) from None
        except (ValueError, KeyError, TypeError):
            raise ConfigurationError(
                f"{self._base_url}/models did not answer with a list of models; check the provider's base URL"
            ) from None

    async def _receive(
        self,
        received: _Received,
        attempt_id: UUID,
        path: str,
        body: str,
        on_generation_id: Callable[[str], Awaitable[None]],
    ) -> None:
        async with self._posted(attempt_id, path, body) as response:
            _take_head(received, response)
            await _note_generation_id(received, response.headers.get(GENERATION_ID_HEADER), on_generation_id)
            if not _is_event_stream(response):
                async for part in response.aiter_text():
                    received.parts.append(part)
                return
            received.stream = ChatStream()
            async for event in httpx2.EventSource(response, max_event_size=None):
                received.stream.add(event.data)
                await _note_generation_id(received, received.stream.id, on_generation_id)
                if received.stream.is_done:
                    return
            if not received.stream.is_finished:
                received.ended_early = "the stream ended before the answer did"

    @contextlib.asynccontextmanager
    async def _posted(self, attempt_id: UUID, path: str, body: str) -> AsyncIterator[httpx2.Response]:
        # With ``stream=True`` and httpx2's own type the vendor hands out the response itself, unread.
        response = cast(
            httpx2.Response,
            await self._client.post(
                path,
                cast_to=httpx2.Response,
                content=body.encode(),
                options={
                    "headers": {"X-Client-Request-Id": str(attempt_id), "Content-Type": "application/json"},
                    "idempotency_key": str(attempt_id),
                },
                stream=True,
                stream_cls=openai.AsyncStream[Any],
            ),
        )
        try:
            yield response
        finally:
            await response.aclose()

    async def _outcome(
        self, received: _Received, on_generation_id: Callable[[str], Awaitable[None]]
    ) -> ProviderAnswer | NotBilled | UnknownOutcome:
        reading = await self._read(received)
        await _note_generation_id(received, received.headers.get(GENERATION_ID_HEADER), on_generation_id)
        if not received.is_refused:
            await _note_generation_id(received, reading.generation_id, on_generation_id)
        look_up = await self._looked_up(received) if reading.usage is None else _LookUp()
        usage = reading.usage or look_up.usage
        if received.is_refused and (_is_unbilled(received, look_up) if usage is None else _is_free(usage)):
            return NotBilled(
                reason=self._told(received, reading),
                http_status=received.http_status,
                permanent=_is_permanent(received, reading),
                retry_after_seconds=_retry_after_seconds(received.headers),
            )
        if usage is None:
            asked = "the provider gave no clear word on what it cost" if received.is_refused else ""
            return UnknownOutcome(
                reason=self._told(received, reading, asked),
                http_status=received.http_status,
                body=self._redacted(reading.body),
            )
        return self._answer(received, reading, usage)

    async def _read(self, received: _Received) -> _Reading:
        """A large answer takes its time to read; the worker's other calls and heartbeats go on meanwhile."""
        if received.characters <= ANSWER_CHARACTERS_AT_ONCE:
            return _read(received)
        return await asyncio.get_running_loop().run_in_executor(self._readers, _read, received)

    def _answer(self, received: _Received, reading: _Reading, usage: Usage) -> ProviderAnswer:
        return ProviderAnswer(
            http_status=received.http_status or 200,
            body=self._redacted(reading.judged_body) or "",
            model=reading.model or received.requested_model,
            generation_id=received.generation_id,
            usage=usage,
            finish_reason=reading.finish_reason,
        )

    async def _looked_up(self, received: _Received) -> _LookUp:
        """A refusal that proves itself needs no figure; one after the generation began (5xx with an id) might."""
        if received.generation_id is None or received.is_refused_before_it_began:
            return _LookUp()
        return await self._look_up(received.generation_id)

    async def _look_up_once(self, generation_id: str) -> _LookUp:
        try:
            async with asyncio.timeout(LOOK_UP_TIMEOUT_SECONDS):
                response = await self._client.get(
                    "/generation", cast_to=httpx2.Response, options={"params": {"id": generation_id}}
                )
            generation = parse_json(response.text)
            data = generation.get("data") if isinstance(generation, Mapping) else None
            return _LookUp(usage=looked_up_usage(data) if isinstance(data, Mapping) else None)
        except (openai.OpenAIError, httpx2.HTTPError, TimeoutError, ValueError) as error:
            logger.info("no figure for a generation", generation_id=generation_id, error=type(error).__name__)
            return _LookUp(is_absent=isinstance(error, openai.NotFoundError))
        except Exception as error:  # one odd answer must not keep the reconciler from the others
            self._unforeseen(error, generation_id)
            return _LookUp()

    def _unforeseen(self, error: Exception, of: UUID | str) -> str:
        """The reason to store; the place goes to the log, without the values that a whole traceback may show."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        logger.error("answer not read", of=str(of), error=self._redacted_line(_one_line(error)), place=place)
        return f"reading the answer failed with {type(error).__name__}"

    def _translated(self, error: Exception) -> PipelineError:
        meaning = _meaning_of(type(error))
        message = f"the language model's provider at {self._base_url} failed: {self._redacted(_one_line(error))}"
        if meaning is RateLimitedError and isinstance(error, openai.APIStatusError):
            return RateLimitedError(message, _retry_after_seconds(error.response.headers))
        if meaning is ConfigurationError:
            message += "; check the provider's base URL and key"
        return meaning(message)

    def _told(self, received: _Received, reading: _Reading, without_figure: str = "") -> str:
        parts = [
            f"HTTP {received.http_status}" if received.http_status else "",
            reading.error or "",
            received.ended_early or "",
            without_figure,
        ]
        if not any(parts[1:]) and (received.http_status or 300) < 300:
            parts.append("an answer with neither cost nor usage" if reading.is_object else "an answer that is not JSON")
        return self._redacted_line(": ".join(part for part in parts if part))

    def _redacted_line(self, text: str) -> str:
        line = " ".join((self._redacted(text) or "").split())
        return line if len(line) <= REASON_CHARACTERS_MAX else f"{line[:REASON_CHARACTERS_MAX]}…"

    def _redacted(self, text: str | None) -> str | None:
        """Some providers echo the key in their errors."""
        return text.replace(self._key.get_secret_value(), "[key]") if text else text


class _CutAnswerError(httpx2.ReadError):
    """An answer that is not read to its end; what its head says counts all the same."""

    def __init__(self, message: str, response: httpx2.Response) -> None:
        super().__init__(message)
        self.response = response


class _BoundedStream(httpx2.AsyncByteStream):
    """A response's bytes, unpacked, up to a bound on both sides of the packing; more raises _CutAnswerError."""

    def __init__(self, response: httpx2.Response, stream: httpx2.AsyncByteStream, bytes_max: int) -> None:
        self._response = response
        self._stream = stream
        self._bytes_max = bytes_max
        self._coding = response.headers.pop("content-encoding", "").strip().lower()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts_of = _parts_unpacked if self._coding in UNPACKED_CODINGS else _parts
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, as its first bytes say
        arrived = unpacked = 0
        try:
            async for part in self._stream:
                arrived += len(part)
                for piece in parts_of(part, unpacker):
                    unpacked += len(piece)
                    self._check_size(max(arrived, unpacked))
                    yield piece
                    await asyncio.sleep(0)  # a little that is packed may be a lot to read: others have their turn
                self._check_size(arrived)
        except zlib.error as error:
            raise _CutAnswerError(f"the answer is no {self._coding} ({error})", self._response) from None

    def _check_size(self, size: int) -> None:
        if size > self._bytes_max:
            raise _CutAnswerError(f"the answer is larger than {self._bytes_max} bytes", self._response)

    async def aclose(self) -> None:
        await self._stream.aclose()


def _parts(part: bytes, _: Any) -> Iterator[bytes]:
    yield part


def _parts_unpacked(part: bytes, unpacker: Any) -> Iterator[bytes]:
    piece = unpacker.decompress(part, UNPACKED_BYTES_AT_ONCE)
    while piece:
        yield piece
        piece = unpacker.decompress(unpacker.unconsumed_tail, UNPACKED_BYTES_AT_ONCE)


def _http_client(timeout_seconds: float, answer_bytes_max: int, *, is_loopback: bool) -> httpx2.AsyncClient:
    async def bound(response: httpx2.Response) -> None:
        response.encoding = "utf-8-sig"  # as JSON and event streams are; what a header calls it may be no charset
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _BoundedStream(response, response.stream, answer_bytes_max)

    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(timeout_seconds, connect=min(CONNECT_TIMEOUT_SECONDS, timeout_seconds)),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        headers={"Accept-Encoding": "identity"},
        follow_redirects=False,  # a redirect followed is a request sent twice
        trust_env=not is_loopback,
        event_hooks={"response": [bound]},
    )


def _vendor_client(base_url: str, key: SecretStr, http_client: httpx2.AsyncClient) -> openai.AsyncOpenAI:
    client = openai.AsyncOpenAI(
        base_url=base_url,
        api_key=key.get_secret_value(),
        timeout=http_client.timeout,
        max_retries=0,
        http_client=http_client,
    )
    # The vendor reads these from the environment; another provider has no business knowing them.
    client.organization = client.project = None
    return client


def _checked_base_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"the language model's base URL is {base_url!r}; it must be an http or https address such as "
            "https://openrouter.ai/api/v1"
        )
    return parts.hostname


def _checked_key(api_key: SecretStr) -> SecretStr:
    key = api_key.get_secret_value().strip()
    if not key:
        raise ConfigurationError("the language model's API key is empty; set it in the environment")
    if not key.isascii() or any(character.isspace() or not character.isprintable() for character in key):
        raise ConfigurationError("the language model's API key holds characters that no key has; copy it again")
    return SecretStr(key)


def _checked_path(path: str) -> str:
    if not path.startswith("/") or path.startswith("//"):
        raise BadInputError(f"the path {path!r} must be relative to the provider's base URL and start with one slash")
    return path


def _requested_model(body: str) -> str:
    try:
        request = parse_json(body)
    except ValueError:
        return ""
    return str(request.get("model") or "") if isinstance(request, Mapping) else ""


async def _note_generation_id(
    received: _Received, generation_id: str | None, on_generation_id: Callable[[str], Awaitable[None]]
) -> None:
    """Failing to store the id early must not lose the answer, which carries it too."""
    if received.generation_id is not None or not _is_generation_id(generation_id):
        return
    received.generation_id = generation_id
    try:
        async with asyncio.timeout(CALLBACK_TIMEOUT_SECONDS):
            await on_generation_id(generation_id)
    except Exception as error:  # whatever the caller's storage raises
        logger.warning("generation id not stored early", generation_id=generation_id, error=type(error).__name__)


def _is_generation_id(text: str | None) -> TypeGuard[str]:
    """Something to ask by: an address holds no megabyte, and the database no NUL."""
    return text is not None and 0 < len(text) < NAME_CHARACTERS_MAX and text.isprintable()


def _take_head(received: _Received, response: httpx2.Response) -> None:
    received.http_status, received.headers = response.status_code, response.headers


def _is_event_stream(response: httpx2.Response) -> bool:
    return bool(response.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream")


def _meaning_of(error: type[BaseException]) -> type[PipelineError]:
    return next((VENDOR_ERRORS[known] for known in error.__mro__ if known in VENDOR_ERRORS), ProviderUnavailableError)


def _nothing_was_sent(error: Exception) -> bool:
    return isinstance(error, NOTHING_SENT) or isinstance(error.__cause__, NOTHING_SENT)


def _is_permanent(received: _Received, reading: _Reading) -> bool:
    is_request_refused = received.is_refused_before_it_began and received.http_status != 429
    return is_request_refused or bool(reading.error_codes & _PERMANENT_CODES)


def _is_unbilled(received: _Received, look_up: _LookUp) -> bool:
    """Whether a refusal without a figure is evidence. One that may have come after the generation is where all of it
    is read and there is no generation by its id; that nobody could say is none."""
    if received.is_refused_before_it_began:
        return True
    return received.ended_early is None and (received.generation_id is None or look_up.is_absent)


def _is_free(usage: Usage) -> bool:
    """The provider's own word that it charged nothing."""
    if usage.cost_usd is not None:
        return usage.cost_usd == 0
    return usage.prompt_tokens == usage.completion_tokens == usage.searches == 0


def _one_line(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) and error.__cause__ else error
    return " ".join(f"{type(cause).__name__}: {cause}".rstrip(": ").split())


def _retry_after_seconds(headers: httpx2.Headers) -> float | None:
    """``retry-after-ms``, then ``Retry-After`` in seconds or as a date; None for anything else."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    stated = headers.get("retry-after")
    seconds = _number(stated)
    if seconds is not None:
        return max(0.0, seconds)
    return _seconds_until(stated, headers.get("date")) if stated else None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if isfinite(number) else None


def _seconds_until(date: str, now: str | None) -> float | None:
    """Between two HTTP dates, so that the provider's clock is compared with itself where it states one."""
    until = _http_date(date)
    if until is None:
        return None
    return max(0.0, (until - (_http_date(now) or datetime.now(UTC))).total_seconds())


def _http_date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError, TypeError):  # such as a time zone further away than any
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
