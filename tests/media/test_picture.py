"""Geometry in tables; pixels are looked at in test_decode."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from models.spec import VideoInput
from worker.media.picture import Box, Orientation, PictureWriter, fit_box

STRETCH = VideoInput(frames=1, frame_rate_hz=1, height=100, width=200)
LETTERBOX = VideoInput(frames=1, frame_rate_hz=1, height=100, width=200, fit="letterbox")


@pytest.mark.parametrize(
    ("shown", "pixel_aspect", "video", "box"),
    [
        ((640, 480), None, STRETCH, Box(0, 0, 200, 100)),
        ((640, 480), Fraction(2), STRETCH, Box(0, 0, 200, 100)),
        ((400, 200), None, LETTERBOX, Box(0, 0, 200, 100)),
        ((200, 200), None, LETTERBOX, Box(50, 0, 100, 100)),
        ((400, 100), None, LETTERBOX, Box(0, 25, 200, 50)),
        ((200, 200), Fraction(2), LETTERBOX, Box(0, 0, 200, 100)),  # wide pixels
        ((200, 200), Fraction(1000), LETTERBOX, Box(50, 0, 100, 100)),  # absurd: ignored
        ((10_000, 1), None, LETTERBOX, Box(0, 49, 200, 1)),
        ((1, 10_000), None, LETTERBOX, Box(99, 0, 1, 100)),
    ],
)
def test_where_a_picture_lies(
    shown: tuple[int, int], pixel_aspect: Fraction | None, video: VideoInput, box: Box
) -> None:
    assert fit_box(shown, pixel_aspect, video) == box


PIXELS = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)  # 012 / 345


@pytest.mark.parametrize(
    ("degrees", "rows"),
    [
        (0, [[0, 1, 2], [3, 4, 5]]),
        (90, [[2, 5], [1, 4], [0, 3]]),
        (180, [[5, 4, 3], [2, 1, 0]]),
        (-180, [[5, 4, 3], [2, 1, 0]]),
        (270, [[3, 0], [4, 1], [5, 2]]),
        (-90, [[3, 0], [4, 1], [5, 2]]),
        (93, [[2, 5], [1, 4], [0, 3]]),  # to the nearest quarter turn
    ],
)
def test_turns_are_counter_clockwise(degrees: int, rows: list[list[int]]) -> None:
    orientation = Orientation._turned(degrees)
    assert orientation.apply(PIXELS)[:, :, 0].tolist() == rows
    assert orientation.shown_size(3, 2) == (len(rows[0]), len(rows))


def test_a_frame_without_a_matrix_is_upright() -> None:
    assert Orientation.of(av.VideoFrame(16, 16, "rgb24")) == Orientation()


def test_nothing_is_left_beside_a_letterboxed_picture() -> None:
    target = np.full((100, 200, 3), 77, np.uint8)
    PictureWriter(LETTERBOX, None).write(
        av.VideoFrame.from_ndarray(np.full((50, 50, 3), 255, np.uint8)), target
    )
    assert (target[:, :50] == 0).all()
    assert (target[:, 50:150] == 255).all()
    assert (target[:, 150:] == 0).all()
