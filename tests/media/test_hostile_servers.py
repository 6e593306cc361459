"""Web servers that never come to an end, or not to the one that they announce."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import time
from collections.abc import Callable

import pytest
import trustme

from tests.media.servers import Answer, response, serving
from tests.media.test_fetch_http import BODY, contexts, fetched
from worker.errors import HostUnavailable, SourceError, SourceForbidden, SourceMissing, SourceTooLarge

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


def repeating(head: bytes, part: bytes) -> Answer:
    def answer(_: str, connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(part)

    return answer


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), HostUnavailable),
        (repeating(b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 100), HostUnavailable),
        (repeating(OK, b"x-more: y\r\n" * 100), HostUnavailable),
        (repeating(OK + b"x-long: ", b"y" * 1000), HostUnavailable),
        (repeating(CHUNKED, b"1\r\nx\r\n" * 100), SourceTooLarge),
        (repeating(CHUNKED, b"1;" + b"x" * 1000), HostUnavailable),  # a chunk's extension
        (repeating(CHUNKED + b"0\r\n", b"x-trailer: y\r\n" * 100), HostUnavailable),
        (response(BODY, transfer_encoding="gzip, chunked"), HostUnavailable),
        (response(BODY, content_encoding="br"), SourceForbidden),
        (response(BODY, content_encoding="identity, gzip"), SourceForbidden),
        (
            lambda _, connection: connection.sendall(
                OK + b"content-length: 5\r\ncontent-length: 7\r\n\r\n" + BODY
            ),
            HostUnavailable,
        ),
        (
            lambda _, connection: connection.sendall(CHUNKED + b"ffffffffffffffffffff\r\n" + BODY),
            HostUnavailable,
        ),
        (lambda _, connection: connection.sendall(CHUNKED + b"-1\r\n" + BODY), HostUnavailable),
    ],
    ids=[
        *("continue", "hints", "headers", "header", "tiny-chunks", "extension", "trailers", "gzip-transfer"),
        *("brotli", "two-encodings", "two-lengths", "huge-chunk", "negative-chunk"),
    ],
)
def test_answers_without_end_or_sense(answer: Answer, error: type[SourceError]) -> None:
    begun_s = time.monotonic()
    with serving(answer) as port, pytest.raises(error) as raised:
        fetched(f"http://127.0.0.1:{port}/", total_timeout_s=1.0, max_bytes=10_000)
    assert type(raised.value) is error
    assert time.monotonic() - begun_s < 4


def test_as_many_redirects_as_the_setting_allows() -> None:
    def answer(head: str, connection: socket.socket) -> None:
        step = int(head.split()[1].strip("/"))
        if step == 0:
            response(BODY)(head, connection)
        else:
            response(b"", "302 Found", location=f"/{step - 1}")(head, connection)

    with serving(answer) as port:
        assert fetched(f"http://127.0.0.1:{port}/3", max_redirects=3) == BODY
        with pytest.raises(SourceForbidden, match="max_redirects = 2"):
            fetched(f"http://127.0.0.1:{port}/3", max_redirects=2)
        with pytest.raises(SourceForbidden, match="max_redirects = 0"):
            fetched(f"http://127.0.0.1:{port}/1", max_redirects=0)


@pytest.mark.parametrize(
    "host", ["127。0。0。1", "127.0.0.1.", "①②⑦.0.0.1", "[::ffff:7f00:1]", "0", "0x7f.1"]
)
def test_loopback_by_other_spellings(host: str) -> None:
    """Of full stops, digits and addresses; a public name cannot come of any."""
    with pytest.raises((SourceForbidden, SourceMissing)):
        fetched(f"https://{host}/", allow_private_addresses=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def expired(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    authority.issue_cert("localhost", not_after=past).configure_cert(server)
    authority.configure_trust(client)
    return server, client


def outdated(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A client that takes nothing below TLS 1.3 stands for one of tomorrow."""
    server, client = contexts(authority, "localhost")
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    return server, client


@pytest.mark.parametrize("problem", [expired, outdated])
def test_tls_that_is_too_old(
    problem: Callable[[trustme.CA], tuple[ssl.SSLContext, ssl.SSLContext]], authority: trustme.CA
) -> None:
    server, client = problem(authority)
    with serving(response(BODY), server) as port, pytest.raises(HostUnavailable, match=r"TLS|reached"):
        fetched(f"https://localhost:{port}/", client)


def test_a_handshake_that_is_never_finished() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts by its backlog, and says nothing
        begun_s = time.monotonic()
        with pytest.raises(HostUnavailable):
            fetched(f"https://127.0.0.1:{listener.getsockname()[1]}/", total_timeout_s=0.5)
        assert time.monotonic() - begun_s < 3


def test_a_server_that_takes_no_more_connections() -> None:
    """Its queue is full, so that nothing answers."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        begun_s = time.monotonic()
        with pytest.raises(HostUnavailable, match="did not answer in time"):
            fetched(f"http://127.0.0.1:{port}/", connect_timeout_s=0.3)
        assert time.monotonic() - begun_s < 3
