"""How much is done for the pictures that are wanted: containers opened, bytes copied, memory kept.

Counts, not times: they are the same on every machine.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt
import pytest

from models.spec import VideoInput
from tests.synthesis import Video, moving_square, number_of
from worker.clock import Deadline, SystemClock
from worker.media.container import DecodeLimits, open_media, video_stream
from worker.media.decode import decode, decode_file
from worker.media.picture import PictureWriter
from worker.media.planner import plan_decode
from worker.media.pool import DecodePool
from worker.media.sampling import Uniform
from worker.media.track import Pictures, PlanFailed, scan
from worker.media.types import DecodeRequest, Media
from worker.settings import DecodeSettings

PAIRS = VideoInput(frames=2, frame_rate_hz=5, height=64, width=100)
SMALL = VideoInput(frames=1, frame_rate_hz=1, height=112, width=112)
MANY = VideoInput(frames=16, frame_rate_hz=16, height=112, width=112)


@pytest.mark.parametrize(
    ("container", "times"),
    [
        ("mp4", 1),  # its index knows every packet
        ("matroska", 2),
        ("mpegts", 2),
    ],
)
def test_a_complete_index_saves_opening_again(
    container: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Video(duration_s=2, container=container, start_s=0.48).write(tmp_path / "video")
    opened: list[BinaryIO] = []

    @contextmanager
    def counted(file: BinaryIO, limits: DecodeLimits) -> Iterator[av.container.InputContainer]:
        opened.append(file)
        with open_media(file, limits) as media:
            yield media

    monkeypatch.setattr("worker.media.decode.open_media", counted)
    result = decode_file(path, DecodeRequest(Uniform(2), PAIRS))
    assert len(opened) == times
    assert [number_of(picture) for picture in result.clips[0]] == [0, 5]


class Unseekable:
    """A container whose index promises what it does not keep."""

    def __init__(self, container: av.container.InputContainer, seek: Callable[..., None]) -> None:
        self.demux = container.demux
        self.seek = seek


def _refuse(*_: object, **__: object) -> None:
    raise OSError("Operation not permitted")


def _stay(*_: object, **__: object) -> None:
    """At the end, where nothing follows."""


@pytest.mark.parametrize("seek", [_refuse, _stay])
def test_a_jump_that_fails_is_left_to_the_next_plan(seek: Callable[..., None], tmp_path: Path) -> None:
    path = Video(duration_s=1).write(tmp_path / "video")
    limits = DecodeLimits()
    with path.open("rb") as file, open_media(file, limits) as media:
        stream = video_stream(media, limits)
        timeline = scan(media, stream, limits)
        container: Any = Unseekable(media, seek)
        plan = plan_decode(timeline, np.array([0.4]))
        with pytest.raises(PlanFailed):
            list(Pictures(container, stream, timeline, limits, at_end=True).run(plan))


def test_pictures_are_written_into_the_memory_that_was_given(tmp_path: Path) -> None:
    path = Video(duration_s=2, size=(320, 240), picture=moving_square).write(tmp_path / "video")
    given: list[npt.NDArray[np.uint8]] = []

    def allocate(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        given.append(np.zeros(shape, np.uint8))
        return given[-1]

    with path.open("rb") as file:
        result = decode(file, DecodeRequest(Uniform(4), SMALL), DecodeLimits(), allocate)
    assert len(given) == 1
    assert result.clips.nbytes == given[0].nbytes == len(result.starts_s) * 112 * 112 * 3
    assert np.shares_memory(result.clips, given[0])


def test_a_picture_is_copied_once_at_the_models_size() -> None:
    """libav scales into a picture of its own; from there 37,632 bytes go to their place, without a stop."""
    frame = av.VideoFrame.from_ndarray(np.full((720, 1280, 3), 90, np.uint8), "rgb24").reformat(
        format="yuv420p"
    )
    target = np.zeros((112, 112, 3), np.uint8)
    writer = PictureWriter(SMALL, None)
    writer.write(frame, target)  # sets up the scaler
    tracemalloc.start()
    writer.write(frame, target)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < target.nbytes / 4
    assert abs(int(target[56, 56, 0]) - 90) <= 2


def test_uploads_leave_no_memory_behind(tmp_path: Path) -> None:
    """Else honest uploads run into the limit, and fail for what lay there before them."""
    video = Video(duration_s=1, size=(1280, 720)).write(tmp_path / "large.mp4")
    clock = SystemClock()
    with DecodePool(DecodeSettings(processes=1), clock) as pool, video.open("rb") as file:
        upload, request = Media(file, video.stat().st_size, ""), DecodeRequest(Uniform(8), MANY)
        resident = []
        for _ in range(5):
            pool.decode(upload, request, Deadline.after(clock, 20.0))
            resident.append(_settled_bytes(pool))
    assert resident[-1] < resident[0] + 16 * 2**20


def _settled_bytes(pool: DecodePool) -> int:
    """A decoder process tidies up after it has answered: the least of half a second."""
    (decoder,) = pool._idle.queue
    assert decoder is not None
    sizes = []
    for _ in range(10):
        time.sleep(0.05)
        sizes.append(_resident_bytes(decoder.pid))
    return min(sizes)


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
