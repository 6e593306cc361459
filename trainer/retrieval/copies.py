"""Copies of a video as people upload them again: coarser, smaller, shorter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av


@dataclass(frozen=True, slots=True)
class Copy:
    """How a copy is made, by H.264 without sound."""

    name: str
    crf: int = 20  # of x264: higher is coarser
    scale: float = 1.0
    trim: float = 0.0  # share of the length that goes at either end


COPIES = (Copy("re-encoded", crf=35), Copy("resized", scale=0.5), Copy("trimmed", trim=0.1))


def write_copy(source: Path, target: Path, copy: Copy) -> None:
    """Raises ValueError for a file without pictures."""
    with av.open(str(source)) as given:
        count = sum(1 for _ in given.decode(video=0))
    if not count:
        raise ValueError(f"{source}: no picture can be decoded")
    cut = int(count * copy.trim)
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream: Any = None
        for number, frame in enumerate(_between(given, cut, count - cut)):
            if stream is None:
                rate = given.streams.video[0].average_rate or Fraction(25)
                stream = made.add_stream("libx264", rate=rate, options={"crf": str(copy.crf)})
                stream.width, stream.height = (
                    _even(side * copy.scale) for side in (frame.width, frame.height)
                )
                stream.pix_fmt, stream.thread_count = "yuv420p", 1
            picture = frame.reformat(stream.width, stream.height, "yuv420p")
            picture.pts, picture.time_base = number, 1 / stream.codec_context.framerate
            made.mux(stream.encode(picture))
        made.mux(stream.encode(None))


def _between(container: Any, first: int, end: int) -> Iterator[Any]:
    for number, frame in enumerate(container.decode(video=0)):
        if first <= number < end:
            yield frame


def _even(side: float) -> int:
    return max(16, 2 * round(side / 2))
