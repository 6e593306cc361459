from __future__ import annotations

import ipaddress
import socket
import time

import pytest

from worker.errors import HostUnavailable, SourceError, SourceForbidden, SourceMissing
from worker.media.addresses import Resolver, is_public


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("64:ff9b::808:808", True),  # NAT64 of 8.8.8.8
        ("2002:808:808::1", True),  # 6to4 of 8.8.8.8
        ("127.0.0.1", False),
        ("127.255.255.254", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # metadata of clouds
        ("100.64.0.1", False),  # carrier-grade NAT
        ("192.0.2.1", False),  # documentation
        ("198.18.0.1", False),  # benchmarks
        ("224.0.0.1", False),  # multicast
        ("240.0.0.1", False),  # reserved
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),  # metadata of clouds
        ("ff02::1", False),
        ("2001:db8::1", False),
        ("2001::1", False),  # Teredo
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("::127.0.0.1", False),
        ("64:ff9b::7f00:1", False),  # NAT64 of 127.0.0.1
        ("64:ff9b:1::a00:1", False),
        ("2002:7f00:1::", False),  # 6to4 of 127.0.0.1
        ("2002:a9fe:a9fe::", False),  # 6to4 of 169.254.169.254
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.fixture
def resolver() -> Resolver:
    return Resolver(allow_private=False)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "::1", "localhost"]
)
def test_ways_to_write_loopback(host: str, resolver: Resolver) -> None:
    with pytest.raises(SourceForbidden, match="private address"):
        resolver.resolve(host, 443, 5)


def test_private_addresses_by_permission() -> None:
    assert Resolver(allow_private=True).resolve("127.0.0.1", 443, 5) == ["127.0.0.1"]


def test_one_private_address_among_public_ones_is_enough(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 443)) for host in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    with pytest.raises(SourceForbidden, match=r"10\.0\.0\.1"):
        resolver.resolve("example.com", 443, 5)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), SourceMissing),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), HostUnavailable),
        (UnicodeError("label too long"), SourceForbidden),
    ],
)
def test_names_that_do_not_resolve(
    failure: Exception, error: type[SourceError], resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(error, match=r"nowhere\.example"):
        resolver.resolve("nowhere.example", 443, 5)


def test_a_resolver_that_does_not_answer(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(0.5))
    begun = time.monotonic()
    with pytest.raises(HostUnavailable, match="not resolved"):
        resolver.resolve("slow.example", 443, 0.1)
    assert time.monotonic() - begun < 0.4
