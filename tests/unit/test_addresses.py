"""Which addresses may be connected to, and which web addresses may be asked for."""

import ipaddress
from typing import Any

import httpcore2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.addresses import AddressRefusedError, OneAddressBackend, checked_host, checked_url, is_public

NOT_PUBLIC = """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1
    127.255.255.254 168.63.129.16 169.254.0.1 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192
    192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1
    239.255.255.250 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8
    ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1 2001::1 2001:0:7f00:1::
    2001:db8::1 2002:7f00:1::1 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0
    fec0::1 ff02::1 2606:4700::1%eth0 localhost 0x7f.1 2130706433 127.1 010.0.0.1
"""


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001::1"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    NOT_PUBLIC.split(),
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@given(st.integers(0, 2**32 - 1))
def test_no_ipv4_address_that_python_calls_private_is_public(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert not is_public(str(address))
    assert not is_public(f"::ffff:{address}")
    assert not is_public(str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1)))
    assert not is_public(str(ipaddress.IPv6Address((0x64FF9B << 96) | number)))


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("https://Acme.Example/a?b=1", "https://acme.example/a?b=1"),
        ("http://acme.example:80/", "http://acme.example/"),
        ("https://acme.example:443", "https://acme.example"),
        ("https://acme.example./x", "https://acme.example/x"),
        ("https://müller.example/", "https://xn--mller-kva.example/"),
    ],
)
def test_web_addresses_that_may_be_asked_for(url: str, checked: str) -> None:
    assert checked_url(url).geturl() == checked


@pytest.mark.parametrize(
    "url",
    [
        "",
        "acme.example",
        "ftp://acme.example/",
        "file:///etc/passwd",
        "data:text/html,x",
        "http://",
        "http://127.0.0.1/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://017700000001/",
        "http://a.0x1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://127.0.0.1./",
        "http://①②⑦.⓪.⓪.①/",
        "http://１２７。0。0。1/",
        "http://localhost/",
        "http://localhost./",
        "http://intranet/",
        "http://user@acme.example/",
        "http://user:pw@acme.example/",
        "http://@acme.example/",
        "http://acme.example\\@127.0.0.1/",
        "http://127.0.0.1\\@acme.example/",
        "http://acme.example:8080/",
        "http://acme.example:0/",
        "https://acme.example:80/",
        "http://acme.example:99999/",
        "http://acme.example:x/",
        "http://acme..example/",
        "http://-acme.example/",
        "http://ac me.example/",
        "http://acme.example%2f@x/",
        "http://ac%6de.example/",
        "http://[bad/",
        f"http://{'a' * 64}.example/",
    ],
)
def test_web_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(AddressRefusedError) as refused:
        checked_url(url)
    assert "\n" not in str(refused.value)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(AddressRefusedError) as refused:
        checked_url("https://user:hunter22@acme.example/")
    assert "hunter22" not in str(refused.value)


@given(st.text(max_size=60))
def test_a_host_is_a_plain_public_name_or_refused(host: str) -> None:
    try:
        name = checked_host(host)
    except AddressRefusedError:
        return
    assert name == name.lower()
    assert name.isascii()
    assert "." in name
    assert not name.rsplit(".", 1)[1].isdigit()


class NoNetwork(httpcore2.AsyncNetworkBackend):
    async def connect_tcp(self, host: str, port: int, *_arguments: Any, **_options: Any) -> Any:
        raise ConnectionRefusedError(f"{host}:{port} was reached")


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 81), ("127.0.0.2", 80), ("localhost", 80), ("8.8.8.8", 80)])
async def test_the_one_address_that_was_named_is_the_only_one(host: str, port: int) -> None:
    backend = OneAddressBackend("127.0.0.1", 80, NoNetwork())

    with pytest.raises(AddressRefusedError):
        await backend.connect_tcp(host, port)
    with pytest.raises(ConnectionRefusedError, match=r"127\.0\.0\.1:80 was reached"):
        await backend.connect_tcp("127.0.0.1", 80)
