"""Tells an address of the operator's what happened: one JSON object by POST, with a key to know a repetition by."""

from typing import Any
from urllib.parse import urlsplit

import httpx2
from pydantic import SecretStr

from domain.errors import ConfigurationError, ProviderUnavailableError

TIMEOUT_SECONDS = 10.0


class Webhook:
    """``url`` may hold a token in its path: no message and no log shows more of it than the host."""

    def __init__(self, url: SecretStr, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(url.get_secret_value())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError("INFIN8_REMINDER_WEBHOOK_URL must be an http or https address with a host")
        self._url = url
        self._host = parts.hostname
        self._http = httpx2.AsyncClient(timeout=timeout_seconds, follow_redirects=False)

    async def post(self, value: dict[str, Any], *, key: str) -> None:
        """Raises ProviderUnavailableError unless the answer is 2xx."""
        try:
            answer = await self._http.post(self._url.get_secret_value(), json=value, headers={"Idempotency-Key": key})
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ProviderUnavailableError(
                f"the webhook at {self._host} does not answer ({type(error).__name__}); check its address"
            ) from None
        if not answer.is_success:
            raise ProviderUnavailableError(
                f"the webhook at {self._host} answered {answer.status_code} instead of 2xx; check its address"
            )

    async def close(self) -> None:
        await self._http.aclose()
