"""Optical flow of clips, by OpenCV.

It is computed from the frames that a network sees, after they were chosen, cropped, mirrored and scaled: so
it fits them by construction, whatever changed. Clips for scoring are the same each time, and theirs is kept.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from models.architectures.two_stream import STILL
from trainer.config import FlowMethod

Pixels = npt.NDArray[np.uint8]
Field = Callable[[Pixels, Pixels], npt.NDArray[np.float32]]  # two grey pictures to (H, W, 2) pixels

VERSION = 1  # raise when the same frames come to give another flow
# Share of the height that a byte's full range stands for: at 112 pixels, 14 from one frame to the next.
FULL_RANGE = 0.125


def optical_flow(clips: Pixels, method: FlowMethod) -> Pixels:
    """(N, T, H, W, 3) uint8 to (N, T - 1, H, W, 2) uint8: to the right, and downwards; 128 is none.

    One step of a byte is ``FULL_RANGE`` / 128 of the picture's height; faster motion is cut off there.
    """
    cv2.setNumThreads(1)  # processes side by side share the cores already
    count, frames, height, width, _ = clips.shape
    field = {"farneback": _farneback, "dis": _dis}[method]()
    found = np.empty((count, frames - 1, height, width, 2), np.uint8)
    step = FULL_RANGE * height / STILL
    for clip, fields in zip(clips, found, strict=True):
        greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in np.ascontiguousarray(clip)]
        for index in range(frames - 1):
            pixels = field(_pixels(greys[index]), _pixels(greys[index + 1]))
            fields[index] = np.clip(np.rint(pixels / step) + STILL, 0, 255)
    return found


def _pixels(grey: object) -> Pixels:
    return np.asarray(grey, np.uint8)


def _farneback() -> Field:
    """Farnebäck 2003, "Two-Frame Motion Estimation Based on Polynomial Expansion"."""

    def field(before: Pixels, after: Pixels) -> npt.NDArray[np.float32]:
        start = np.zeros((*before.shape, 2), np.float32)
        flow = cv2.calcOpticalFlowFarneback(before, after, start, 0.5, 3, 15, 3, 5, 1.2, 0)
        return np.asarray(flow, np.float32)

    return field


def _dis() -> Field:
    """Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search"."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def field(before: Pixels, after: Pixels) -> npt.NDArray[np.float32]:
        # Fresh, or the search would start from what it found last.
        start = np.zeros((*before.shape, 2), np.float32)
        return np.asarray(search.calc(before, after, start), np.float32)

    return field
