from __future__ import annotations

import ipaddress
import socket
import subprocess
import sys
import threading
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
        ("64:ff9b:1::808:808", False),  # NAT64 of a local network, whatever is inside
        ("192.88.99.1", False),  # relays of 6to4
        ("fec0::1", False),  # site-local
        ("3fff::1", False),  # documentation
        ("2606:4700::5efe:a00:1", False),  # ISATAP of 10.0.0.1
        ("2606:4700::200:5efe:808:808", False),
        ("2606:4700::5eff:a00:1", True),
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


def test_addresses_need_no_lookup(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    assert resolver.resolve("8.8.8.8", 443, 0) == ["8.8.8.8"]
    assert resolver.resolve("2606:4700::1111", 443, 0) == ["2606:4700::1111"]
    with pytest.raises(SourceForbidden):
        resolver.resolve("fe80::1%lo", 443, 0)


def test_lookups_that_hang_do_not_take_up_those_that_come_after(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are few at a time, and whoever waits for a place has nothing left behind."""
    go_on, asked = threading.Event(), []

    def hang(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        go_on.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    for index in range(10):
        with pytest.raises(HostUnavailable, match="not resolved"):
            resolver.resolve(f"{index}.example", 443, 0.01)
    assert asked == [f"{index}.example" for index in range(8)]
    go_on.set()
    assert resolver.resolve("last.example", 443, 5) == []
    assert asked[8:] == ["last.example"]


HANGING = """
import socket, time
from worker.errors import HostUnavailable
from worker.media.addresses import Resolver
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
try:
    Resolver(allow_private=False).resolve("slow.example", 443, 0.05)
except HostUnavailable:
    print("in time")
"""


def test_a_lookup_that_hangs_does_not_keep_the_program_from_ending() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGING], timeout=20, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "in time\n")


def test_a_resolver_that_does_not_answer(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(0.5))
    begun = time.monotonic()
    with pytest.raises(HostUnavailable, match="not resolved"):
        resolver.resolve("slow.example", 443, 0.1)
    assert time.monotonic() - begun < 0.4
