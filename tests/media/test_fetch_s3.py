"""Against moto's server: the real protocol over a real socket."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from tests.media.servers import dripping, response, serving, silent
from tests.object_store import KEYS, object_store
from worker.clock import Deadline, SystemClock
from worker.errors import (
    DigestMismatch,
    HostUnavailable,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceTooLarge,
    SourceUnavailable,
)
from worker.media.source import MediaSource
from worker.settings import FetchSettings

CLOCK = SystemClock()
BODY = bytes(range(256)) * 4000  # about a megabyte: several chunks


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with object_store("uploads") as store:
        for key in ("clip.mp4", "a folder/Ünï + code?#%20.mp4"):
            store.client.put_object(Bucket="uploads", Key=key, Body=BODY)
        yield store.endpoint


@contextmanager
def source(endpoint: str, **settings: Any) -> Iterator[MediaSource]:
    chosen = {
        "s3_endpoint_url": endpoint,
        "s3_buckets": ("uploads", "no-such-*"),
        **{name: SecretStr(value) for name, value in KEYS.items()},
        "max_bytes": 2_000_000,
        **settings,
    }
    found = MediaSource(FetchSettings(**chosen), CLOCK)
    yield found
    found.close()


def fetched(endpoint: str, uri: str, sha256: str | None = None, **settings: Any) -> bytes:
    with source(endpoint, **settings) as found:
        media = found.fetch(uri, None, sha256, Deadline.after(CLOCK, 20))
        with media.file as file:
            return file.read()


@pytest.mark.parametrize("key", ["clip.mp4", "a folder/Ünï + code?#%20.mp4"])
def test_objects_come_over(key: str, endpoint: str) -> None:
    assert fetched(endpoint, f"s3://uploads/{key}") == BODY


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("s3://uploads/missing.mp4", SourceMissing),
        ("s3://no-such-bucket/clip.mp4", SourceMissing),
        ("s3://others/clip.mp4", SourceForbidden),
        ("s3://uploads--use1-az9--x-s3/clip.mp4", SourceForbidden),  # boto3 takes the host from such a name
        ("s3://uploads/", SourceForbidden),
        ("s3://uploads", SourceForbidden),
        ("s3:///clip.mp4", SourceForbidden),
        ("s3:uploads/clip.mp4", SourceForbidden),
        ("s3://key:planted@uploads/clip.mp4", SourceForbidden),
        ("s3://not a bucket/clip.mp4", SourceForbidden),
        ("s3://../clip.mp4", SourceForbidden),
        ("s3://uploads/../other/clip.mp4", SourceForbidden),
    ],
)
def test_uris_that_lead_nowhere(uri: str, error: type[SourceError], endpoint: str) -> None:
    with pytest.raises(error) as raised:
        fetched(endpoint, uri)
    assert type(raised.value) is error
    assert "planted" not in str(raised.value)


def test_size_and_digest_are_checked(endpoint: str) -> None:
    with pytest.raises(SourceTooLarge):
        fetched(endpoint, "s3://uploads/clip.mp4", max_bytes=1000)
    with pytest.raises(DigestMismatch):
        fetched(endpoint, "s3://uploads/clip.mp4", "ab" * 32)


def error_body(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>planted</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        ("403 Forbidden", "AccessDenied", SourceForbidden),
        ("403 Forbidden", "InvalidObjectState", SourceMissing),
        ("403 Forbidden", "InvalidAccessKeyId", SourceUnavailable),
        ("403 Forbidden", "SignatureDoesNotMatch", SourceUnavailable),
        ("400 Bad Request", "ExpiredToken", SourceUnavailable),
        ("503 Slow Down", "SlowDown", SourceUnavailable),
        ("500 Internal Server Error", "InternalError", SourceUnavailable),
        ("418 Teapot", "Unheard", SourceUnavailable),
    ],
)
def test_answers_that_are_errors(status: str, code: str, error: type[SourceError]) -> None:
    with serving(response(error_body(code), status)) as port, pytest.raises(error, match=code) as raised:
        fetched(f"http://127.0.0.1:{port}", "s3://uploads/clip.mp4")
    assert type(raised.value) is error
    assert "planted" not in str(raised.value)


def test_a_store_that_breaks_off() -> None:
    with serving(response(b"short", content_length="1000")) as port, pytest.raises(SourceUnavailable):
        fetched(f"http://127.0.0.1:{port}", "s3://uploads/clip.mp4")


def test_a_store_that_says_nothing_is_systemic() -> None:
    stop = threading.Event()
    with serving(silent(stop)) as port:
        with pytest.raises(SourceUnavailable) as raised:
            fetched(f"http://127.0.0.1:{port}", "s3://uploads/clip.mp4", read_timeout_s=0.2)
        stop.set()
    assert raised.value.systemic
    assert not isinstance(raised.value, HostUnavailable)


def test_a_store_that_sends_byte_by_byte() -> None:
    stop = threading.Event()
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n"
    with serving(dripping(head, stop)) as port:
        with pytest.raises(SourceUnavailable, match="total_timeout_s"):
            fetched(f"http://127.0.0.1:{port}", "s3://uploads/clip.mp4", total_timeout_s=0.5)
        stop.set()


def test_no_store_at_all() -> None:
    with pytest.raises(SourceUnavailable):
        fetched("http://127.0.0.1:9", "s3://uploads/clip.mp4")


def test_without_credentials(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    nothing: dict[str, Any] = {"s3_access_key": SecretStr(""), "s3_secret_key": SecretStr("")}
    with pytest.raises(SourceUnavailable, match="credentials"):
        fetched(endpoint, "s3://uploads/clip.mp4", **nothing)


def test_boto3_is_not_imported_at_the_start() -> None:
    code = "import sys, worker.media.source; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
