"""Connecting to public addresses only, so that a web address from outside can't reach into our own network.

The address that was checked is the one that is connected to: a name that resolves anew in between changes nothing.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore2
import httpx2

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

DEFAULT_PORTS = {"http": 80, "https": 443}
ADDRESSES_TRIED_MAX = 4
_REFUSED_IPV4 = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's own metadata service on a public address
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Only 2000::/3 is given out as global unicast; within it, ranges that tunnel to IPv4 or are set aside.
_GLOBAL_IPV6 = ip_network("2000::/3")
_REFUSED_IPV6 = tuple(
    ip_network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48")
)
_HOST_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER_LABEL = re.compile(r"\d+|0x[0-9a-f]*")


class AddressRefusedError(Exception):
    """``str(error)`` says in one line which address was refused and why."""


def is_public(address: str) -> bool:
    """Whether an IP address may be connected to: not private, loopback, link-local, shared, metadata, multicast,
    reserved, nor one that carries an IPv4 address inside."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return parsed.is_global and not any(parsed in network for network in _REFUSED_IPV4)
    return _is_public_ipv6(parsed)


def _is_public_ipv6(address: IPv6Address) -> bool:
    if address.scope_id is not None or address not in _GLOBAL_IPV6:
        return False
    return address.is_global and not any(address in network for network in _REFUSED_IPV6)


def checked_url(url: str) -> SplitResult:
    """The parts of an address that may be asked for: http or https, a host name, the default port, no credentials.

    Raises AddressRefusedError for anything else, IP addresses in any notation included.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise AddressRefusedError(f"{url!r} is not a web address ({error})") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise AddressRefusedError(f"{url!r} is refused: only http and https are read")
    if parts.username is not None or parts.password is not None or "\\" in parts.netloc:
        raise AddressRefusedError(f"an address with credentials for {host!r} is refused")
    if port not in (None, DEFAULT_PORTS[parts.scheme]):
        raise AddressRefusedError(f"{url!r} is refused: only the default port is read")
    return parts._replace(netloc=checked_host(host))


def checked_host(host: str) -> str:
    """A public host name in ASCII, lower case. Raises AddressRefusedError, for IP addresses too."""
    try:
        name = host.rstrip(".").encode("idna").decode().lower() if not host.isascii() else host.rstrip(".").lower()
    except UnicodeError as error:
        raise AddressRefusedError(f"{host!r} is not a host name") from error
    labels = name.split(".")
    if ":" in name or _NUMBER_LABEL.fullmatch(labels[-1]):
        raise AddressRefusedError(f"the IP address {host!r} is refused: a site is read by its name")
    if len(labels) < 2 or len(name) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise AddressRefusedError(f"{host!r} is not the name of a public host")
    return name


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Every address of a host by the system's resolver, in its order. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class PublicBackend(httpcore2.AsyncNetworkBackend):
    """Resolves a host, checks every address it has, and connects to one of exactly those."""

    def __init__(self, resolver: Resolver, network: httpcore2.AsyncNetworkBackend) -> None:
        self._resolver = resolver
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the backend's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        failure: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in (await self._public_addresses(host, port))[:ADDRESSES_TRIED_MAX]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _public_addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"the name {host} can't be resolved") from error
        refused = next((address for address in addresses if not is_public(address)), None)
        if refused is not None:
            raise AddressRefusedError(f"{host} resolves to {refused}, which is not a public address")
        return addresses

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


class OneAddressBackend(httpcore2.AsyncNetworkBackend):
    """Connects to the one host and port that an operator named, and to nothing else."""

    def __init__(self, host: str, port: int, network: httpcore2.AsyncNetworkBackend) -> None:
        self._allowed = (host, port)
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the backend's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        if (host, port) != self._allowed:
            raise AddressRefusedError(f"{host}:{port} is not the address named for these sites")
        return await self._network.connect_tcp(host, port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


class BackendTransport(httpx2.AsyncBaseTransport):
    """An httpx2 transport over a network backend of ours; no proxies, no environment."""

    def __init__(self, backend: httpcore2.AsyncNetworkBackend) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            network_backend=backend, max_connections=20, max_keepalive_connections=5, keepalive_expiry=5.0
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        response = await self._pool.handle_async_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx2.Response(
            status_code=response.status, headers=response.headers, stream=_Stream(response), request=request
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> Any:
        async for part in self._response.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._response.aclose()
