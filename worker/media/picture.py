"""One decoded picture to the model's size: scaled, turned upright, placed in its clip."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from models.spec import VideoInput

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a coded picture becomes the one that is shown: first transposed, then mirrored."""

    transpose: bool = False
    mirror_x: bool = False  # left and right
    mirror_y: bool = False  # up and down

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """From the container's display matrix, to the nearest quarter turn."""
        try:
            side_data: Any = frame.side_data  # a mapping by Type; PyAV's typing knows only one key
        except ValueError:  # beside it is a type that PyAV does not know: mirrored pictures stay mirrored
            return cls._turned(frame.rotation)
        if SideDataType.DISPLAYMATRIX not in side_data:
            return cls()
        # 3x3 in row-major order: x' = a x + c y, y' = b x + d y
        matrix = np.frombuffer(bytes(side_data[SideDataType.DISPLAYMATRIX]), np.int32)
        a, b, c, d = (int(matrix[index]) for index in (0, 1, 3, 4))
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transpose=True, mirror_x=c < 0, mirror_y=b < 0)
        return cls(transpose=False, mirror_x=a < 0, mirror_y=d < 0)

    @classmethod
    def _turned(cls, degrees: float) -> Orientation:
        """By quarter turns, counter-clockwise."""
        match round(degrees / 90) % 4:
            case 1:
                return cls(transpose=True, mirror_y=True)
            case 2:
                return cls(mirror_x=True, mirror_y=True)
            case 3:
                return cls(transpose=True, mirror_x=True)
            case _:
                return cls()

    def shown_size(self, width: int, height: int) -> tuple[int, int]:
        return (height, width) if self.transpose else (width, height)

    def apply(self, pixels: Pixels) -> Pixels:
        """(H, W, 3) as coded to a view as shown."""
        if self.transpose:
            pixels = pixels.transpose(1, 0, 2)
        return pixels[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]


@dataclass(frozen=True, slots=True)
class Box:
    """Where the shown picture lies in the model's frame, in pixels."""

    left: int
    top: int
    width: int
    height: int


def fit_box(shown: tuple[int, int], pixel_aspect: Fraction | None, video: VideoInput) -> Box:
    """Place a shown (width, height): the whole frame, or letterboxed in its middle."""
    if video.fit == "stretch":
        return Box(0, 0, video.width, video.height)
    aspect = float(pixel_aspect) if pixel_aspect and 0.1 <= pixel_aspect <= 10 else 1.0
    wide, high = shown[0] * aspect, float(shown[1])
    scale = min(video.width / wide, video.height / high)
    width = min(video.width, max(1, round(wide * scale)))
    height = min(video.height, max(1, round(high * scale)))
    return Box((video.width - width) // 2, (video.height - height) // 2, width, height)


class PictureWriter:
    """Writes pictures of one track into clips. Colour conversion and scaling happen inside libav."""

    def __init__(self, video: VideoInput, pixel_aspect: Fraction | None) -> None:
        self._video = video
        self._pixel_aspect = pixel_aspect
        self._reformatter = VideoReformatter()

    def write(self, frame: VideoFrame, target: Pixels) -> None:
        """Fill ``target``, (H, W, 3), whatever was in it."""
        orientation = Orientation.of(frame)
        aspect = self._pixel_aspect
        if aspect and orientation.transpose:
            aspect = 1 / aspect
        box = fit_box(orientation.shown_size(frame.width, frame.height), aspect, self._video)
        width, height = orientation.shown_size(box.width, box.height)
        scaled = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1
        )
        plane = scaled.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, : width * 3]  # type: ignore[call-overload]
        pixels = rows.reshape(height, width, 3)
        if (box.width, box.height) != (self._video.width, self._video.height):
            target[:] = 0  # a first pass may have left another picture there
        target[box.top : box.top + box.height, box.left : box.left + box.width] = orientation.apply(pixels)
