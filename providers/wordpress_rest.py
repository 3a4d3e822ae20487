"""WordPress's REST API as one site speaks it: requests, and what each kind of bad answer means.

Credentials go to the site that the operator named and nowhere else: no redirect is followed, and none is sent before
the site has shown, without them, that it has the API. A POST whose answer was lost is an outage like any other: whoever
called looks first and then tries again.
"""

import asyncio
import base64
import json
import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from domain.errors import ProviderUnavailableError, RateLimitedError
from domain.wordpress import WordPressSite

ANSWER_BYTES_MAX = 5_000_000
TEXT_CHARACTERS_SHOWN = 160
RETRY_AFTER_SECONDS_MAX = 300.0
LOCAL_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
_TRANSIENT = frozenset({408, 425, 429})


class RefusedError(Exception):
    """The site won't do it, and trying again changes nothing; the message says why and what a person can do."""


class NotFoundError(Exception):
    """There is no such post."""


class SiteSession:
    """One site for the time of one task. ``open`` has to come first."""

    def __init__(self, http: httpx2.AsyncClient, site: WordPressSite, *, task_seconds_max: float) -> None:
        self._http = http
        self._site = site
        self._host = urlsplit(site.url).netloc
        self._root = ""
        self._is_pretty = True
        self._task_seconds_max = task_seconds_max

    async def open(self) -> None:
        """Finds the API, as pretty or plain permalinks have it."""
        for is_pretty in (True, False):
            self._is_pretty = is_pretty
            self._root = f"{self._site.url}/wp-json" if is_pretty else f"{self._site.url}/"
            response, body = await self._send("GET", "/", {}, None, with_credentials=False)
            if await self._is_api(response, body):
                return
        raise RefusedError(
            f"{self._site.url} does not answer as a WordPress REST API: check the address, and that no plugin or "
            f"firewall closes {self._site.url}/wp-json/; then retry"
        )

    async def _is_api(self, response: httpx2.Response, body: bytes) -> bool:
        self._raise_outage(response, body)
        self._raise_redirect(response)
        facts = _json_of(body)
        if isinstance(facts, dict) and response.status_code == 200 and "wp/v2" in facts.get("namespaces", ()):
            self._check_credentials_are_taken(facts)
            return True
        if response.status_code in (401, 403) and isinstance(facts, dict) and "code" in facts:
            self._check_credentials_are_safe()  # the API is there, for those who are logged in
            return True
        return False

    def _check_credentials_are_taken(self, facts: Mapping[str, Any]) -> None:
        offered = facts.get("authentication")
        if not isinstance(offered, dict) or "application-passwords" not in offered:
            hint = "" if self._site.url.startswith("https://") else " Without https WordPress takes none."
            raise RefusedError(
                f"{self._site.url} takes no application passwords: it needs https, WordPress 5.6 or newer, and no "
                f"plugin that switches them off.{hint} Change that, then retry"
            )

    def _check_credentials_are_safe(self) -> None:
        if not self._site.url.startswith("https://") and urlsplit(self._site.url).hostname not in LOCAL_HOSTS:
            raise RefusedError(f"{self._site.url} would get the password in the clear: give its https:// address")

    # One request ------------------------------------------------------------------------------------------------

    async def get(self, path: str, **parameters: str) -> Any:
        return await self._call("GET", path, parameters, None)

    async def post(self, path: str, **fields: str) -> Any:
        return await self._call("POST", path, {"context": "edit"}, fields)

    async def delete(self, path: str, **parameters: str) -> Any:
        return await self._call("DELETE", path, parameters, None)

    async def _call(self, method: str, path: str, parameters: Mapping[str, str], fields: Any) -> Any:
        response, body = await self._send(method, path, parameters, fields, with_credentials=True)
        self._raise_outage(response, body)
        self._raise_redirect(response)
        facts = _json_of(body)
        if response.status_code >= 400:
            raise self._refusal(response, facts, body)
        if facts is None:
            raise ProviderUnavailableError(
                f"{self._host} answered {method} {path} with {_kind_of(response)} that is no JSON "
                f"({_shown(body)}): a maintenance, cache or security page perhaps"
            )
        return facts

    async def _send(
        self, method: str, path: str, parameters: Mapping[str, str], fields: Any, *, with_credentials: bool
    ) -> tuple[httpx2.Response, bytes]:
        url, query = self._address(path, parameters)
        headers = {"Accept": "application/json", "Cache-Control": "no-cache"}
        if with_credentials:
            headers["Authorization"] = self._authorization()
        try:
            async with (
                asyncio.timeout(self._task_seconds_max),
                self._http.stream(method, url, params=query, json=fields, headers=headers) as response,
            ):
                return response, await _body_of(response)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise RefusedError(f"{self._site.url} is no address that can be asked: set the site's URL") from error
        except (httpx2.HTTPError, TimeoutError, OSError) as error:
            if _is_bad_certificate(error):
                raise RefusedError(f"the certificate of {self._host} is not valid: renew it, then retry") from error
            what = "did not answer in time" if _is_timeout(error) else "can't be reached"
            raise ProviderUnavailableError(f"{self._host} {what} ({method} {path}: {type(error).__name__})") from error

    def _address(self, path: str, parameters: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        if self._is_pretty:
            return f"{self._root}{path}", dict(parameters)
        return self._root, {"rest_route": path, **parameters}

    def _authorization(self) -> str:
        pair = f"{self._site.user}:{self._site.application_password.get_secret_value()}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    # What an answer means ---------------------------------------------------------------------------------------

    def _raise_outage(self, response: httpx2.Response, body: bytes) -> None:
        status = response.status_code
        if status == 429:
            delay = _retry_after(response)
            raise RateLimitedError(f"{self._host} asks to come back later (429)", delay)
        if status >= 500 or status in _TRANSIENT:
            raise ProviderUnavailableError(f"{self._host} answered {status} ({_shown(body)})")

    def _raise_redirect(self, response: httpx2.Response) -> None:
        if 300 <= response.status_code < 400:
            target = urljoin(str(response.url), response.headers.get("location", ""))
            parts = urlsplit(target)
            raise RefusedError(
                f"{self._site.url} redirects its API to {parts.scheme}://{parts.netloc}{parts.path}, and credentials "
                "follow no redirect: set the site's URL to where it leads (INFIN8_WORDPRESS_URL), then retry"
            )

    def _refusal(self, response: httpx2.Response, facts: Any, body: bytes) -> Exception:
        code = str(facts.get("code", "")) if isinstance(facts, dict) else ""
        status = _refused_status(facts) or response.status_code
        said = self._without_password(_text(facts["message"]) if _has_message(facts) else _shown(body))
        user = self._site.user
        if status == 401:
            return RefusedError(
                f"{self._host} refused the credentials of {user} ({said}): check user and application password, and "
                "that the web server passes the Authorization header on; then retry"
            )
        if status in (404, 410) and code in ("rest_post_invalid_id", "rest_already_trashed"):
            return NotFoundError(said)
        if status == 403 and code:
            return RefusedError(
                f"{self._host} does not let {user} do that ({said}): give that user the role Author or Editor, "
                "or set another user; then retry"
            )
        if status == 403:
            return RefusedError(f"{self._host} answered 403 ({said}): a firewall or security plugin; let us in, retry")
        return RefusedError(f"{self._host} answered {status} {code} ({said}); mend that and retry")

    def _without_password(self, text: str) -> str:
        secret = self._site.application_password.get_secret_value()
        for spelling in (secret, secret.replace(" ", "")):
            text = text.replace(spelling, "[redacted]") if len(spelling) >= 6 else text
        return text


async def _body_of(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise RefusedError(f"{response.url.host} answers with more than {ANSWER_BYTES_MAX} bytes: not an API")
    return bytes(body)


def _json_of(body: bytes) -> Any:
    """None for what is no JSON object or list; a byte order mark is forgiven, as browsers do."""
    try:
        value = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _has_message(facts: Any) -> bool:
    return isinstance(facts, dict) and isinstance(facts.get("message"), str)


def _refused_status(facts: Any) -> int | None:
    """WordPress refuses a parameter that its user may not use with 400, and says 401 or 403 inside."""
    try:
        inner = [detail["data"]["status"] for detail in facts["data"]["details"].values()]
    except (KeyError, TypeError, AttributeError):
        return None
    return next((status for status in inner if status in (401, 403)), None)


def _kind_of(response: httpx2.Response) -> str:
    return response.headers.get("content-type", "something").partition(";")[0][:40] or "something"


def _shown(body: bytes) -> str:
    text = body[:5_000].decode("utf-8", errors="replace")
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    return _text(title[1] if title else text) or "no text"


def _text(html: str) -> str:
    """One short line of a message that may hold markup."""
    text = " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= TEXT_CHARACTERS_SHOWN else f"{text[:TEXT_CHARACTERS_SHOWN]}…"


def _retry_after(response: httpx2.Response) -> float | None:
    value = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(value) if value[:1].isdigit() else _seconds_until(value)
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


def _seconds_until(date: str) -> float:
    moment = parsedate_to_datetime(date)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime.now(UTC)).total_seconds()


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, httpx2.TimeoutException | TimeoutError)


def _is_bad_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
