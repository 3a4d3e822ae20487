"""Keyword data from DataForSEO Labs, or whatever speaks its envelope at another base URL.

One request, one outcome: nothing here retries, because each further request is an attempt with a hold of its own. The
provider keeps nothing to look a cost up by, so a request whose answer was lost stays unknown.
"""

import asyncio
import base64
import json
import re
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from math import isfinite
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
import structlog
from pydantic import SecretStr

from domain.errors import ConfigurationError
from domain.keyword_data import PROVIDER_NAME, Reply, Trouble, read_reply
from domain.money import Usage
from domain.spend import NotBilled, ProviderAnswer, UnknownOutcome

logger = structlog.get_logger(__name__)

CONNECT_TIMEOUT_SECONDS = 10.0
ANSWER_BYTES_MAX = 8_000_000  # a thousand rows with a year's volumes each
ANSWER_CHARACTERS_AT_ONCE = 50_000
REASON_CHARACTERS_MAX = 300
SECRET_CHARACTERS_MIN = 6
RATE_LIMIT_SECONDS = 20.0  # limits are by the minute, and no header says when one ends
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

# Failures before the first byte of a request is on the wire: the evidence that nothing was billed.
NOTHING_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)
# A client error that is no evidence: the provider may have begun.
_UNCLEAR_STATUSES = frozenset({408, 409, 425, 499})
_PERMANENT: Mapping[Trouble, bool] = {
    Trouble.REFUSED: True,
    Trouble.NO_MONEY: True,
    Trouble.RATE_LIMITED: False,
    Trouble.UNAVAILABLE: False,
}


class KeywordData:
    """One provider account. ``timeout_seconds`` bounds a request from connecting to the last byte."""

    def __init__(
        self,
        *,
        base_url: str,
        login: SecretStr,
        password: SecretStr,
        timeout_seconds: float,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        rate_limit_seconds: float = RATE_LIMIT_SECONDS,
    ) -> None:
        host = _checked_base_url(base_url)
        self._base_url = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._answer_bytes_max = answer_bytes_max
        self._rate_limit_seconds = rate_limit_seconds
        secrets = (_checked_credential(login, "login"), _checked_credential(password, "password"))
        self._token = _token(*secrets)
        # What is shorter would be found in any answer, and is no secret.
        self._secrets = _patterns([text for text in (self._token, *secrets) if len(text) >= SECRET_CHARACTERS_MIN])
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(timeout_seconds, connect=min(CONNECT_TIMEOUT_SECONDS, timeout_seconds)),
            headers={"Accept-Encoding": "identity"},  # so that the bound on bytes is one on text
            follow_redirects=False,  # a redirect followed is a request sent twice
            trust_env=host not in LOOPBACK_HOSTS,
        )
        # Of its own: the loop's threads may be at work for minutes, and an answer has to be stored at once.
        self._readers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-keyword-data")

    def __repr__(self) -> str:
        return f"KeywordData(base_url={self._base_url!r})"

    async def close(self) -> None:
        self._readers.shutdown(wait=False)
        await self._client.aclose()

    async def call(
        self, *, attempt_id: UUID, path: str, body: str, model: str
    ) -> ProviderAnswer | NotBilled | UnknownOutcome:
        """Sends ``body`` byte for byte, once, and says what came of it; never raises for a provider's answer.

        A cancellation closes the connection and is raised.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                status, headers, text = await self._post(attempt_id, path, body)
        except TimeoutError:
            return UnknownOutcome(reason=f"no complete answer within {self._timeout_seconds:g} s")
        except NOTHING_SENT as error:
            return NotBilled(reason=self._told(_one_line(error)), http_status=None, permanent=False)
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            return UnknownOutcome(reason=self._told(_one_line(error)))
        except Exception as error:  # nothing may lose what was paid for, our own mistakes included
            return UnknownOutcome(reason=self._unforeseen(error, attempt_id))
        try:
            return await self._read(status, headers, text, model)
        except Exception as error:
            reason = f"HTTP {status}: {self._unforeseen(error, attempt_id)}"
            return UnknownOutcome(reason=reason, http_status=status)

    async def _post(self, attempt_id: UUID, path: str, body: str) -> tuple[int, httpx2.Headers, str]:
        headers = {
            "Authorization": f"Basic {self._token}",
            "Content-Type": "application/json",
            "X-Client-Request-Id": str(attempt_id),
        }
        url = f"{self._base_url}{path}"
        async with self._client.stream("POST", url, content=body.encode(), headers=headers) as response:
            parts, size = [], 0
            async for part in response.aiter_bytes():
                size += len(part)
                if size > self._answer_bytes_max:
                    raise httpx2.ReadError(f"the answer is larger than {self._answer_bytes_max} bytes")
                parts.append(part)
            return response.status_code, response.headers, b"".join(parts).decode("utf-8", "replace")

    async def _read(
        self, status: int, headers: httpx2.Headers, text: str, model: str
    ) -> ProviderAnswer | NotBilled | UnknownOutcome:
        """A large answer takes its time to read; the worker's other calls and heartbeats go on meanwhile."""
        if len(text) <= ANSWER_CHARACTERS_AT_ONCE:
            return self._outcome(status, headers, text, model)
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, self._outcome, status, headers, text, model
        )

    def _unforeseen(self, error: Exception, attempt_id: UUID) -> str:
        """The reason to store; the place goes to the log, without the values that a whole traceback may show."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        logger.error("answer not read", of=str(attempt_id), error=self._told(_one_line(error)), place=place)
        return f"reading the answer failed with {type(error).__name__}"

    def _outcome(
        self, status: int, headers: httpx2.Headers, text: str, model: str
    ) -> ProviderAnswer | NotBilled | UnknownOutcome:
        reply = read_reply(text)
        is_ok = 200 <= status < 300
        if reply is not None and (reply.cost_usd or (is_ok and reply.trouble is None)):
            return self._answer(status, text, model, reply)
        if (is_ok and _is_free(reply)) or (not is_ok and status not in _UNCLEAR_STATUSES):
            return self._not_billed(status, headers, reply)
        reason = f"HTTP {status}: " + ("an answer that is no envelope" if reply is None else reply.told())
        return UnknownOutcome(reason=self._told(reason), http_status=status, body=self._redacted(text) or None)

    def _answer(self, status: int, text: str, model: str, reply: Reply) -> ProviderAnswer:
        """Also of a request that failed and was charged all the same: what it cost is booked, its judge refuses it."""
        return ProviderAnswer(
            http_status=status,
            body=self._redacted(text),
            model=model,
            generation_id=None,
            usage=Usage(prompt_tokens=0, completion_tokens=0, searches=reply.rows, cost_usd=reply.cost_usd),
        )

    def _not_billed(self, status: int, headers: httpx2.Headers, reply: Reply | None) -> NotBilled:
        told = f"HTTP {status}: {reply.told()}" if reply is not None else f"HTTP {status} {_status_words(status)}"
        retry_after = _retry_after_seconds(headers)
        if retry_after is None and reply is not None and reply.trouble is Trouble.RATE_LIMITED:
            retry_after = self._rate_limit_seconds
        return NotBilled(
            reason=self._told(f"{PROVIDER_NAME}: {told}"),
            http_status=status,
            permanent=_is_permanent(status, reply),
            retry_after_seconds=retry_after,
        )

    def _told(self, reason: str) -> str:
        told = " ".join(self._redacted(reason).split())
        return told if len(told) <= REASON_CHARACTERS_MAX else f"{told[:REASON_CHARACTERS_MAX]}…"

    def _redacted(self, text: str) -> str:
        """Without the account's credentials, in whatever way JSON writes them; an answer's figures stay."""
        secrets = self._secrets
        if secrets is None:
            return text
        if _is_json(text):
            return _JSON_STRING.sub(lambda found: secrets.sub("[key]", found[0]), text)
        return secrets.sub("[key]", text)


def _is_free(reply: Reply | None) -> bool:
    """The provider's word that nothing was charged, or a refusal before it began; else nobody knows."""
    if reply is None:
        return False
    return reply.cost_usd == 0 or (reply.cost_usd is None and reply.trouble not in (None, Trouble.UNAVAILABLE))


def _patterns(secrets: Sequence[str]) -> re.Pattern[str] | None:
    """Each secret as a whole word, plain and as JSON may escape it."""
    written = {form for secret in secrets for form in _forms(secret)}
    if not written:
        return None
    longest_first = sorted(written, key=lambda form: (-len(form), form))
    return re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(form) for form in longest_first)})(?!\w)")


_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _forms(secret: str) -> set[str]:
    forms = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return forms | {form.replace("/", "\\/") for form in forms}


def _is_permanent(status: int, reply: Reply | None) -> bool:
    """The internal code says it better than the status, which is 200 for most of what is refused."""
    if reply is not None and reply.trouble is not None:
        return _PERMANENT[reply.trouble]
    return 300 <= status < 500 and status != HTTPStatus.TOO_MANY_REQUESTS


def _token(login: str, password: str) -> str:
    return base64.b64encode(f"{login}:{password}".encode()).decode()


def _checked_base_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ConfigurationError(
            f"the keyword data provider's base URL is {base_url!r}; it must be an http or https address such as "
            "https://api.dataforseo.com/v3"
        )
    return parts.hostname


def _checked_credential(value: SecretStr, name: str) -> str:
    text = value.get_secret_value().strip()
    if not text:
        raise ConfigurationError(
            f"the keyword data provider's {name} is empty; set INFIN8_KEYWORD_DATA_{name.upper()} in the environment"
        )
    if not text.isprintable() or (name == "login" and ":" in text):
        raise ConfigurationError(f"the keyword data provider's {name} holds characters that none has; copy it again")
    return text


def _status_words(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())


def _retry_after_seconds(headers: httpx2.Headers) -> float | None:
    try:
        seconds = float(headers.get("retry-after") or "")
    except ValueError:
        return None
    return max(0.0, seconds) if isfinite(seconds) else None
