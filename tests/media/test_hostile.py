"""Files made to exhaust: each is stopped by the limit that is there for it, and the next upload passes."""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pytest

from models.spec import VideoInput
from tests.media.hostile_files import (
    Track,
    bmp_header,
    deflated,
    gif_header,
    jpeg_header,
    late_video,
    matroska,
    mp4,
    nested_boxes,
    nested_tags,
    titled,
)
from tests.synthesis import still
from worker.clock import Deadline, SystemClock
from worker.errors import DecodeTimeout, MediaError, MediaLimit, NoVideo, Undecodable
from worker.media.pool import DecodePool
from worker.media.sampling import Uniform
from worker.media.types import Decoded, DecodeRequest, Media
from worker.settings import DecodeSettings

CLOCK = SystemClock()
REQUEST = DecodeRequest(Uniform(4), VideoInput(frames=4, frame_rate_hz=8, height=32, width=32))
MiB = 1024 * 1024
GOOD = mp4(Track())
SOON_S = 25.0  # on any machine: less than a job may take


def decode(pool: DecodePool, file: BinaryIO, request: DecodeRequest = REQUEST) -> Decoded:
    file.flush()
    size = file.seek(0, io.SEEK_END)
    return pool.decode(Media(file, size, ""), request, Deadline.after(CLOCK, 30))


def decode_bytes(pool: DecodePool, data: bytes) -> Decoded:
    with open(os.memfd_create("upload"), "w+b") as file:
        file.write(data)
        return decode(pool, file)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(DecodeSettings(processes=1), CLOCK) as running:
        yield running


def test_what_is_written_here_is_media(pool: DecodePool) -> None:
    picture = still(64, 48, "mjpeg", shade=200)
    for data in (
        GOOD,
        matroska([picture] * 25),
        deflated(25, len(picture)),
        mp4(Track(), metadata=titled(10)),
    ):
        decoded = decode_bytes(pool, data)
        assert len(decoded.starts_s) >= 2
        assert decoded.clips.mean() > 150
        assert decoded.info.duration_s == pytest.approx(1.0, abs=0.05)


BOMBS: dict[str, tuple[Callable[[], bytes], dict[str, Any], type[MediaError], str | None]] = {
    "a canvas of 65535x65535, in GIF": (lambda: gif_header(65535, 65535), {}, MediaError, None),
    "30000x30000, in BMP": (lambda: bmp_header(30000, 30000), {}, MediaError, None),
    "65500x65500, in JPEG": (lambda: jpeg_header(65500, 65500), {}, MediaError, None),
    "a million pictures a second": (
        lambda: mp4(Track(samples=20_000, ticks_per_s=1_000_000)), {"max_packets": 10_000}, MediaLimit,
        "max_packets",
    ),
    "a billion pictures, in the header": (
        lambda: mp4(Track(samples=2, samples_said=10**9)), {}, MediaError, None,
    ),
    "four billion pictures, in the header": (
        lambda: mp4(Track(samples=2, samples_said=2**32 - 1)), {}, MediaError, None,
    ),
    "a thousand tracks": (lambda: mp4(*[Track()] * 1000), {}, MediaLimit, "max_streams"),
    "a day": (
        lambda: mp4(Track(samples=100, ticks=864, ticks_per_s=1)), {}, MediaLimit, "max_duration_s",
    ),
    "a hundred thousand nested boxes": (lambda: nested_boxes(100_000), {}, Undecodable, None),
    "pictures that inflate a thousandfold": (
        lambda: deflated(400, 9 * MiB), {"job_cpu_s": 1.0}, DecodeTimeout, "job_cpu_s",
    ),
    "a second that takes long": (
        lambda: deflated(200, 9 * MiB), {"cpu_s_per_media_s": 0.01}, DecodeTimeout, "cpu_s_per_media_s",
    ),
    "a title of 140 MB": (
        lambda: mp4(metadata=titled(140 * MiB)), {"memory_bytes": 128 * MiB}, MediaError, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_meets_its_limit(name: str) -> None:
    make, settings, error, words = BOMBS[name]
    data = make()
    with DecodePool(DecodeSettings(processes=1, **settings), CLOCK) as pool:
        begun_s = time.monotonic()
        with pytest.raises(error, match=words):
            decode_bytes(pool, data)
        assert time.monotonic() - begun_s < SOON_S
    with DecodePool(DecodeSettings(processes=1), CLOCK) as pool:
        assert decode_bytes(pool, GOOD).clips.any()


def outcome(pool: DecodePool, data: bytes) -> str:
    try:
        decode_bytes(pool, data)
    except MediaError as error:
        return error.reason
    return "decoded"


@pytest.mark.parametrize(
    "data",
    [mp4(Track(ticks=0)), mp4(Track(ticks=0, ticks_per_s=0)), mp4(Track(ticks_per_s=2**32 - 1))],
    ids=["none", "no-clock", "nanoseconds"],
)
def test_a_video_without_duration_ends(data: bytes, pool: DecodePool) -> None:
    assert outcome(pool, data) in ("decoded", "undecodable")


def test_nested_tags_are_not_followed(pool: DecodePool) -> None:
    assert outcome(pool, nested_tags(50_000)) in ("decoded", "undecodable", "media_limit")


@pytest.mark.parametrize(
    "head", [b"", b"\0\0\0\x14ftypisom\0\0\0\0isom", b"\x1a\x45\xdf\xa3"], ids=["zeros", "mp4", "mkv"]
)
def test_a_sparse_file_of_10_gb(head: bytes) -> None:
    """Larger than `fetch.max_bytes` allows; still, reading all of it would take longer than the job may."""
    settings = DecodeSettings(processes=1, job_timeout_s=3.0)
    with DecodePool(settings, CLOCK) as pool, tempfile.TemporaryFile() as file:
        file.write(head)
        file.truncate(10 * 1024 * MiB)
        begun_s = time.monotonic()
        with pytest.raises((Undecodable, NoVideo, DecodeTimeout)):
            decode(pool, file)
        assert time.monotonic() - begun_s < SOON_S


def test_tracks_that_do_not_show_within_the_probe() -> None:
    data = late_video(sound_bytes=1_000_000)
    with DecodePool(DecodeSettings(processes=1), CLOCK) as pool:
        assert decode_bytes(pool, data).clips.any()
    short = DecodeSettings(processes=1, probe_bytes=100_000)
    with DecodePool(short, CLOCK) as pool, pytest.raises((NoVideo, Undecodable)):
        decode_bytes(pool, data)


def test_the_worker_itself_does_not_grow(pool: DecodePool) -> None:
    """Whatever a decoder process swallows, it swallows alone."""

    def resident_bytes() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    bombs = [gif_header(65535, 65535), mp4(*[Track()] * 100), nested_boxes(1000), bmp_header(30000, 30000)]
    for bomb in bombs:
        with pytest.raises(MediaError):
            decode_bytes(pool, bomb)
    before = resident_bytes()
    for bomb in bombs * 10:
        with pytest.raises(MediaError):
            decode_bytes(pool, bomb)
    assert resident_bytes() - before < 4 * MiB
