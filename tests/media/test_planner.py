"""Which packets are decoded, and that the pictures are those of a reference decode."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.spec import VideoInput
from tests.media.test_timeline import Packet, regular, timeline
from tests.synthesis import Video, moving_square, number_of
from worker.errors import MediaLimit
from worker.media.container import DecodeLimits
from worker.media.decode import decode_file
from worker.media.planner import plan_decode, plans
from worker.media.sampling import At, Snapped, Uniform, clip_times_s
from worker.media.types import DecodeRequest

# Shown 0 1 2 3 4 5 6, coded I0 P3 B1 B2 | I6 b4 b5: the last two are shown before their keyframe.
OPEN_GOP: list[Packet] = [
    (time / 10, index / 10 - 0.2, 0.1, time in (0, 6)) for index, time in enumerate((0, 3, 1, 2, 6, 4, 5))
]


@pytest.mark.parametrize(
    ("packets", "times_s", "segments", "wanted"),
    [
        (regular(20, {0, 5, 10, 15}), (0.0,), [(0, 0)], [0]),
        (regular(20, {0, 5, 10, 15}), (0.2, 0.3), [(0, 3)], [2, 3]),
        (regular(20, {0, 5, 10, 15}), (0.2, 1.7), [(0, 2), (15, 17)], [2, 17]),
        (regular(20, {0, 5, 10, 15}), (0.2, 0.6), [(0, 2), (5, 6)], [2, 6]),  # 3 and 4 are left out
        (regular(20, {0, 5, 10, 15}), (0.29, 0.31), [(0, 3)], [2, 3]),  # between two: the earlier one
        (regular(20, {0, 5, 10, 15}), (9.0,), [(15, 19)], [19]),  # after the end: the last one stays
        (regular(20, {0}), (0.3, 1.2), [(0, 12)], [3, 12]),
        (regular(20, set()), (1.2,), [(0, 12)], [12]),
        (OPEN_GOP, (0.1,), [(0, 2)], [2]),
        (OPEN_GOP, (0.5,), [(0, 6)], [6]),  # shown before the second keyframe, but stored after it
        (OPEN_GOP, (0.6,), [(4, 4)], [4]),
    ],
)
def test_plan(
    packets: list[Packet], times_s: tuple[float, ...], segments: list[tuple[int, int]], wanted: list[int]
) -> None:
    plan = plan_decode(timeline(packets), np.array(times_s))
    assert [(segment.first, segment.last) for segment in plan.segments] == segments
    assert np.flatnonzero(plan.wanted).tolist() == wanted
    assert plan.packets == sum(last - first + 1 for first, last in segments)


def test_each_further_plan_trusts_less() -> None:
    lean, jumping, whole = plans(timeline(regular(20, {0, 5, 10, 15})), np.array([1.7]))
    assert [plan.packets for plan in (lean, jumping, whole)] == [3, 3, 20]
    assert [plan.lean for plan in (lean, jumping, whole)] == [True, False, False]
    assert [int(plan.wanted.sum()) for plan in (lean, jumping, whole)] == [1, 20, 20]


def test_made_up_times_are_not_planned_with() -> None:
    no_times: list[Packet] = [(None, index / 10, 0.1, index == 0) for index in range(20)]
    (whole,) = plans(timeline(no_times), np.array([1.7]))
    assert (whole.packets, whole.lean) == (20, False)


SIZE = (160, 128)
AS_CODED = VideoInput(frames=4, frame_rate_hz=12.5, height=SIZE[1], width=SIZE[0])  # the loop filter is on


def reference(data: bytes) -> npt.NDArray[np.uint8]:
    """(F, H, W, 3): every picture, decoded one after another."""
    with av.open(io.BytesIO(data), "r") as container:
        frames = [
            frame.reformat(*SIZE, "rgb24", interpolation="BILINEAR") for frame in container.decode(video=0)
        ]
        return np.stack([frame.to_ndarray() for frame in frames])


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    codec=st.sampled_from(["libx264", "libx265", "libvpx-vp9", "mpeg4"]),
    gop=st.sampled_from([1, 7, 25, 250]),
    b_frames=st.integers(0, 4),
    starts=st.lists(st.integers(0, 60), min_size=1, max_size=4, unique=True),
)
def test_pictures_are_those_of_a_reference_decode(
    codec: str, gop: int, b_frames: int, starts: list[int], tmp_path: Path
) -> None:
    options = {
        "libx264": (("bf", str(b_frames)), ("preset", "veryfast")),
        "libx265": (("x265-params", f"bframes={b_frames}:log-level=none"), ("preset", "ultrafast")),
        "libvpx-vp9": (("deadline", "realtime"), ("cpu-used", "8"), ("auto-alt-ref", "1")),
        "mpeg4": (("bf", str(min(1, b_frames))),),
    }[codec]
    video = Video(duration_s=3, size=SIZE, codec=codec, gop=gop, picture=moving_square, options=options)
    data = video.make()
    path = tmp_path / "video.mp4"
    path.write_bytes(data)
    result = decode_file(path, DecodeRequest(At(tuple(start / 25 for start in starts)), AS_CODED))
    every = reference(data)
    numbers = np.rint(clip_times_s(result.starts_s, AS_CODED) * 25).astype(int)
    assert np.array_equal(result.clips, every[numbers])


def test_what_nobody_wants_or_leans_on_is_not_decoded(tmp_path: Path) -> None:
    """The picture at 2 s is the 51st; of those before it two in three are B pictures."""
    options = (("bf", "2"), ("b-pyramid", "none"), ("b-adapt", "0"), ("sc_threshold", "0"))
    path = Video(duration_s=3, gop=250, options=options).write(tmp_path / "video.mp4")
    one = VideoInput(frames=1, frame_rate_hz=1, height=64, width=100)
    result = decode_file(path, DecodeRequest(At((2.0,)), one), DecodeLimits(max_frames=21))
    assert number_of(result.clips[0, 0]) == 50
    with pytest.raises(MediaLimit):
        decode_file(path, DecodeRequest(At((2.0,)), one), DecodeLimits(max_frames=15))


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_far_clips_are_sought(container: str, tmp_path: Path) -> None:
    video = Video(duration_s=24, size=(64, 48), gop=25, container=container, start_s=0.48)
    path = video.write(tmp_path / "video")
    one = VideoInput(frames=2, frame_rate_hz=5, height=64, width=100)
    result = decode_file(path, DecodeRequest(At((0.4, 7.2, 19.0, 22.6)), one))
    found = [[number_of(picture) for picture in clip] for clip in result.clips]
    assert found == [[10, 15], [180, 185], [475, 480], [565, 570]]


def test_clips_move_to_keyframes_that_are_near(tmp_path: Path) -> None:
    """Keyframes at 0, 2, 4, ... s. Exact clips start at 0, 2.33, 4.67, ... and at 7 s."""
    path = Video(duration_s=8, gop=50).write(tmp_path / "video.mp4")
    clip = VideoInput(frames=5, frame_rate_hz=5, height=64, width=100)
    exact = decode_file(path, DecodeRequest(Uniform(4), clip))
    snapped = decode_file(path, DecodeRequest(Snapped(Uniform(4), 0.5), clip))
    assert exact.starts_s == pytest.approx((0, 7 / 3, 14 / 3, 7))
    assert snapped.starts_s == pytest.approx((0, 2, 14 / 3, 7))
    assert snapped.pts_s[1, 0] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("starts_s", "tolerance_s", "last_s", "moved_s"),
    [
        ((0.1, 0.9), 0.2, 2.0, (0.0, 1.0)),
        ((0.3, 0.7), 0.2, 2.0, (0.3, 0.7)),  # none is near
        ((0.9, 1.1), 0.2, 2.0, (1.0,)),  # both at the same one
        ((0.9,), 0.2, 0.9, (0.9,)),  # a clip would not fit behind it
        ((), 0.2, 2.0, ()),
    ],
)
def test_snapping(
    starts_s: tuple[float, ...], tolerance_s: float, last_s: float, moved_s: tuple[float, ...]
) -> None:
    assert timeline(regular(30, {0, 10, 20})).snapped(starts_s, tolerance_s, last_s) == pytest.approx(moved_s)
