from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.clock import Deadline, SystemClock
from worker.errors import (
    DeadlineExceeded,
    DigestMismatch,
    SourceError,
    SourceForbidden,
    SourceMissing,
    SourceTooLarge,
)
from worker.media.source import MediaSource
from worker.media.types import Media
from worker.settings import FetchSettings

CLOCK = SystemClock()
BODY = b"some media" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(BODY)
    (folder / "a #? name.mp4").write_bytes(BODY)
    (folder / "sub").mkdir()
    (tmp_path / "outside.mp4").write_bytes(BODY)
    (tmp_path / "root-but-not-quite").mkdir()
    (tmp_path / "root-but-not-quite" / "clip.mp4").write_bytes(BODY)
    (folder / "inside.mp4").symlink_to("clip.mp4")
    (folder / "escape.mp4").symlink_to("../outside.mp4")
    (folder / "way-out").symlink_to("..")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture
def source(root: Path) -> Iterator[MediaSource]:
    found = MediaSource(FetchSettings(file_roots=(root,), max_bytes=20_000), CLOCK)
    yield found
    found.close()


def fetch(
    source: MediaSource, uri: str, inline: bytes | None = None, sha256: str | None = None, seconds: float = 5
) -> Media:
    return source.fetch(uri, inline, sha256, Deadline.after(CLOCK, seconds))


@pytest.mark.parametrize("name", ["clip.mp4", "sub/../clip.mp4", "inside.mp4", "a%20%23%3F%20name.mp4"])
def test_files_under_a_root(name: str, root: Path, source: MediaSource) -> None:
    media = fetch(source, f"file://{root}/{name}")
    with media.file as file:
        assert file.read() == BODY
    assert (media.size_bytes, media.sha256) == (len(BODY), SHA256)


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("file://{root}/missing.mp4", SourceMissing),
        ("file://{root}/clip.mp4/below", SourceMissing),
        ("file://{root}", SourceForbidden),  # a folder
        ("file://{root}/sub", SourceForbidden),
        ("file://{root}/pipe", SourceForbidden),
        ("file://{root}/../outside.mp4", SourceForbidden),
        ("file://{root}/%2e%2e/outside.mp4", SourceForbidden),
        ("file://{root}/escape.mp4", SourceForbidden),
        ("file://{root}/way-out/outside.mp4", SourceForbidden),
        ("file://{root}-but-not-quite/clip.mp4", SourceForbidden),
        ("file://{root}/clip.mp4%00.txt", SourceForbidden),
        ("file://{root}/clip.mp4?x=1", SourceForbidden),
        ("file://host/etc/passwd", SourceForbidden),
        ("file:///etc/passwd", SourceForbidden),
        ("file:///dev/zero", SourceForbidden),
        ("file:///proc/self/environ", SourceForbidden),
        ("file:clip.mp4", SourceForbidden),
        ("file://[", SourceForbidden),
        ("ftp://host/clip.mp4", SourceForbidden),
        ("clip.mp4", SourceForbidden),
        ("", SourceForbidden),
        ("data:video/mp4;base64,AAAA", SourceForbidden),
    ],
)
def test_what_is_not_read(uri: str, error: type[SourceError], root: Path, source: MediaSource) -> None:
    with pytest.raises(error) as raised:
        fetch(source, uri.format(root=root))
    assert type(raised.value) is error


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://u:planted@host/x",
        "planted",
        "sftp+planted@host:22/",
        "file://u:planted@host/etc/passwd",
        "file://[planted/x",
        "file://u:planted\uff0f@host/x",  # urllib quotes what is not allowed in a host
        "http://u:planted@host/",
        "http://host:planted/",
    ],
)
def test_no_part_of_a_uri_that_may_hold_credentials_is_shown(uri: str, source: MediaSource) -> None:
    with pytest.raises(SourceForbidden) as raised:
        fetch(source, uri)
    assert "planted" not in str(raised.value)


def test_a_path_that_no_file_can_have(root: Path, source: MediaSource) -> None:
    with pytest.raises(SourceForbidden):
        fetch(source, f"file://{root}/\ud800.mp4")


def test_without_roots_no_file_is_read(root: Path) -> None:
    source = MediaSource(FetchSettings(), CLOCK)
    with pytest.raises(SourceForbidden, match="file_roots"):
        fetch(source, f"file://{root}/clip.mp4")


def test_a_link_that_is_changed_between_the_look_and_the_opening(
    root: Path, source: MediaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = os.open

    def swap(path: str, *args: int) -> int:
        if path.endswith("inside.mp4"):
            (root / "inside.mp4").unlink()
            (root / "inside.mp4").symlink_to("../outside.mp4")
        return real_open(path, *args)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(SourceForbidden):
        fetch(source, f"file://{root}/inside.mp4")


def test_an_unreadable_file(root: Path, source: MediaSource, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = os.open

    def denied(path: str, *args: int) -> int:
        if path.endswith("clip.mp4"):
            raise PermissionError(13, "Permission denied")
        return real_open(path, *args)

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(SourceForbidden, match="Permission denied"):
        fetch(source, f"file://{root}/clip.mp4")


def test_inline_bytes(source: MediaSource) -> None:
    media = fetch(source, "inline:", BODY, SHA256)
    with media.file as file:
        assert file.read() == BODY


def test_inline_without_bytes(source: MediaSource) -> None:
    with pytest.raises(SourceMissing):
        fetch(source, "inline:")


def test_the_digest_is_checked(source: MediaSource) -> None:
    with pytest.raises(DigestMismatch) as raised:
        fetch(source, "inline:", BODY, "ab" * 32)
    assert "ab" * 32 in str(raised.value)
    assert SHA256 in str(raised.value)
    fetch(source, "inline:", BODY, SHA256.upper()).close()


def test_the_size_is_bounded(root: Path, source: MediaSource) -> None:
    fetch(source, "inline:", bytes(20_000)).close()
    with pytest.raises(SourceTooLarge, match="20000"):
        fetch(source, "inline:", bytes(20_001))
    (root / "large.mp4").write_bytes(bytes(20_001))
    with pytest.raises(SourceTooLarge, match="20001"):
        fetch(source, f"file://{root}/large.mp4")


def test_a_sparse_file_of_a_terabyte(root: Path, source: MediaSource) -> None:
    with (root / "sparse.mp4").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(SourceTooLarge):
        fetch(source, f"file://{root}/sparse.mp4")


def test_a_deadline_that_has_passed(root: Path, source: MediaSource) -> None:
    with pytest.raises(DeadlineExceeded):
        fetch(source, f"file://{root}/clip.mp4", seconds=0)


def test_a_full_disk_is_the_service_s_fault(source: MediaSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(SourceError, match="No space left") as raised:
        fetch(source, "inline:", BODY)
    assert raised.value.retriable
    assert raised.value.systemic


def test_a_disk_that_fills_up_is_the_service_s_fault(
    source: MediaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the buffer still holds cannot be written on closing either."""
    file = open("/dev/full", "wb")  # noqa: SIM115 - the spool closes it
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: file)
    with pytest.raises(SourceError, match="No space left") as raised:
        fetch(source, "inline:", BODY[:100])
    assert raised.value.systemic
    assert file.closed


def test_the_file_has_no_name(source: MediaSource) -> None:
    with fetch(source, "inline:", BODY).file as file:
        assert os.fstat(file.fileno()).st_nlink == 0


def test_no_descriptor_is_left(root: Path, source: MediaSource) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for name in ("missing", "escape.mp4", "pipe"):
        with pytest.raises(SourceError):
            fetch(source, f"file://{root}/{name}")
    with pytest.raises(DigestMismatch):
        fetch(source, "inline:", BODY, "ab" * 32)
    assert len(os.listdir("/proc/self/fd")) == before
