"""Against servers that behave and servers that do not."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import pytest
import trustme

from tests.media.servers import Answer, dripping, endless, response, serving, silent
from worker.clock import Deadline, SystemClock
from worker.errors import (
    DeadlineExceeded,
    HostUnavailable,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceTooLarge,
)
from worker.media import addresses
from worker.media.source import MediaSource
from worker.settings import FetchSettings

CLOCK = SystemClock()
BODY = b"some media" * 1000


@contextmanager
def source(context: ssl.SSLContext | None = None, **settings: Any) -> Iterator[MediaSource]:
    chosen = {"allow_private_addresses": True, "allow_http": True, "max_bytes": 100_000, **settings}
    found = MediaSource(FetchSettings(**chosen), CLOCK, context)
    yield found
    found.close()


def fetched(uri: str, context: ssl.SSLContext | None = None, seconds: float = 10, **settings: Any) -> bytes:
    with source(context, **settings) as found:
        media = found.fetch(uri, None, None, Deadline.after(CLOCK, seconds))
        with media.file as file:
            return file.read()


def test_a_body_comes_over() -> None:
    with serving(response(BODY)) as port:
        assert fetched(f"http://127.0.0.1:{port}/clip.mp4?x=1#part") == BODY


def test_what_is_asked_for() -> None:
    heads: list[str] = []

    def answer(head: str, connection: socket.socket) -> None:
        heads.append(head)
        response(BODY)(head, connection)

    with serving(answer) as port:
        fetched(f"http://localhost:{port}/a%20clip.mp4?x=1#part")
    assert heads[0].startswith("GET /a%20clip.mp4?x=1 HTTP/1.1\r\n")
    assert f"host: localhost:{port}\r\n" in heads[0].lower()
    assert "accept-encoding: identity\r\n" in heads[0].lower()


def test_a_body_without_a_length_and_one_in_chunks() -> None:
    plain = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + BODY
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    for data, body in ((plain, BODY), (chunked, b"abcde")):
        with serving(lambda _, connection, data=data: connection.sendall(data)) as port:  # type: ignore[misc]
            assert fetched(f"http://127.0.0.1:{port}/") == body


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (response(b"", "404 Not Found"), SourceMissing),
        (response(b"", "410 Gone"), SourceMissing),
        (response(b"", "403 Forbidden"), SourceForbidden),
        (response(b"", "401 Unauthorized"), SourceForbidden),
        (response(b"", "204 No Content"), SourceForbidden),
        (response(b"", "206 Partial Content"), SourceForbidden),
        (response(b"", "429 Too Many Requests"), HostUnavailable),
        (response(b"", "500 Internal Server Error"), HostUnavailable),
        (response(b"", "503 Service Unavailable"), HostUnavailable),
        (response(BODY, content_length="20000"), HostUnavailable),  # more than comes
        (response(BODY, content_length="minus one"), HostUnavailable),
        (response(BODY, content_length="200000"), SourceTooLarge),
        (response(bytes(100_001)), SourceTooLarge),
        (response(gzip.compress(BODY), content_encoding="gzip"), SourceForbidden),
        (endless, SourceTooLarge),
        (lambda _, connection: connection.sendall(b"SSH-2.0-OpenSSH\r\n"), HostUnavailable),
        (
            lambda _, connection: connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000),
            HostUnavailable,
        ),
        (lambda _, connection: None, HostUnavailable),  # hangs up
    ],
    ids=lambda value: None if isinstance(value, type) else "answer",
)
def test_answers_that_are_errors(answer: Answer, error: type[SourceError]) -> None:
    with serving(answer) as port, pytest.raises(error) as raised:
        fetched(f"http://127.0.0.1:{port}/")
    assert type(raised.value) is error


def test_a_length_that_is_too_small_cuts_the_body() -> None:
    with serving(response(BODY, content_length="10")) as port:
        assert fetched(f"http://127.0.0.1:{port}/") == BODY[:10]


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"],
    ids=["first-line", "headers", "body"],
)
def test_a_server_that_sends_byte_by_byte(head: bytes) -> None:
    """Each byte comes well within the read time-out: only the total ends it."""
    stop = threading.Event()
    with serving(dripping(head, stop)) as port:
        begun = time.monotonic()
        with pytest.raises(HostUnavailable):
            fetched(f"http://127.0.0.1:{port}/", total_timeout_s=0.5)
        assert time.monotonic() - begun < 2
        stop.set()


def test_a_server_that_says_nothing() -> None:
    stop = threading.Event()
    with serving(silent(stop)) as port:
        with pytest.raises(HostUnavailable, match="in time"):
            fetched(f"http://127.0.0.1:{port}/", read_timeout_s=0.2)
        stop.set()


def test_the_upload_s_deadline_ends_a_fetch() -> None:
    stop = threading.Event()
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"
    with serving(dripping(head, stop)) as port:
        with pytest.raises(DeadlineExceeded):
            fetched(f"http://127.0.0.1:{port}/", seconds=0.3)
        stop.set()


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(HostUnavailable, match="reached"):
        fetched(f"http://127.0.0.1:{port}/")


def test_redirects_are_followed() -> None:
    def answer(head: str, connection: socket.socket) -> None:
        if head.startswith("GET /old"):
            response(b"gone there", "302 Found", location="/new?x=1")(head, connection)
        else:
            assert head.startswith("GET /new?x=1 ")
            response(BODY)(head, connection)

    with serving(answer) as port:
        assert fetched(f"http://127.0.0.1:{port}/old") == BODY


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://2130706434/",
        "file:///etc/passwd",
        "ftp://example.com/",
        "http://user:planted@127.0.0.1/",
        "http://",
        "http://[",
    ],
)
def test_redirects_to_where_nobody_may_go(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first server stands for a public one."""
    monkeypatch.setattr(addresses, "is_public", lambda address: str(address) == "127.0.0.1")
    with (
        serving(response(b"", "302 Found", location=location)) as port,
        pytest.raises(SourceForbidden) as raised,
    ):
        fetched(f"http://127.0.0.1:{port}/", allow_private_addresses=False)
    assert "planted" not in str(raised.value)


def test_redirects_without_end() -> None:
    answer = response(b"", "302 Found", location="/again")
    with serving(answer) as port, pytest.raises(SourceForbidden, match="redirects"):
        fetched(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://example.com/", "allow_http"),
        ("https://user:planted@example.com/", "credentials"),
        ("https://user@example.com/", "credentials"),
        ("https:///clip.mp4", "no valid host"),
        ("https://127.0.0.1/", "private"),
        ("https://localhost/", "private"),
        ("https://[::1]/", "private"),
        ("https://2130706433/", "private"),
        ("https://[fe80::1%25lo]/", "valid host"),
        ("https://exa mple.com/", "valid host"),
        ("https://example.com:99999/", "99999"),
        ("https://example.com:planted/", "not a valid URL"),
        ("https://user:planted@exa\x00mple.com/", "not a valid URL"),
        ("https://" + "a" * 300 + ".com/", "valid name"),
    ],
)
def test_urls_that_are_refused(uri: str, words: str) -> None:
    with pytest.raises(SourceForbidden, match=words) as raised:
        fetched(uri, allow_http=False, allow_private_addresses=False)
    assert "planted" not in str(raised.value)


def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the name would resolve to loopback the second time. It is not asked twice."""
    answers = iter(["93.184.216.34", "127.0.0.1", "127.0.0.1"])
    connected: list[str] = []

    def resolve(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), 443))]

    def connect(_: object, host: str, *__: object) -> None:
        connected.append(host)
        raise httpcore.ConnectError("as far as this goes")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    with pytest.raises(HostUnavailable):
        fetched("https://rebind.example/", allow_private_addresses=False)
    assert connected == ["93.184.216.34"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def contexts(authority: trustme.CA, host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(server, client)"""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def test_tls(authority: trustme.CA) -> None:
    server, client = contexts(authority, "localhost")
    with serving(response(BODY), server) as port:
        assert fetched(f"https://localhost:{port}/", client) == BODY


@pytest.mark.parametrize("problem", ["another-host", "unknown-authority", "no-tls"])
def test_tls_that_cannot_be_trusted(problem: str, authority: trustme.CA) -> None:
    server: ssl.SSLContext | None
    server, client = contexts(authority, "example.com" if problem == "another-host" else "localhost")
    if problem == "unknown-authority":
        client = ssl.create_default_context()
    if problem == "no-tls":
        server = None
    with serving(response(BODY), server) as port, pytest.raises(HostUnavailable):
        fetched(f"https://localhost:{port}/", client)


def test_https_does_not_fall_back_to_http(authority: trustme.CA) -> None:
    server, client = contexts(authority, "localhost")
    answer = response(b"", "302 Found", location="http://localhost/")
    with serving(answer, server) as port, pytest.raises(SourceForbidden, match="allow_http"):
        fetched(f"https://localhost:{port}/", client, allow_http=False)
