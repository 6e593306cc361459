"""Small videos made on the spot, so that no binary lies in the repository.

``numbered`` pictures carry their own number as a bar code, which survives scaling and compression:
``number_of`` reads it back from what was decoded, which proves that the right frame came out.
"""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import av.container
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags

Pixels = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float32]

BITS = 10
_TIME_BASE = Fraction(1, 60_000)  # whole ticks at 24, 25, 29.97, 30, 50 and 60 fps; MPEG-4 takes no finer
_SOUND_HZ = 48_000


class Picture(Protocol):
    def __call__(self, index: int, width: int, height: int) -> Pixels: ...


def numbered(index: int, width: int, height: int) -> Pixels:
    """(H, W, 3): ``index`` in ``BITS`` bars from left to right, most significant first; white is 1."""
    bits = [(index >> (BITS - 1 - place)) & 1 for place in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 255, -(-width // BITS))[:width]
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for place, bit in enumerate(bits):
        row[edges[place] : edges[place + 1]] = 255 * bit
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def number_of(picture: Pixels) -> int:
    """Read the number of a decoded picture (H, W, 3) that fills its frame."""
    edges = np.linspace(0, picture.shape[1], BITS + 1)
    number = 0
    for left, right in itertools.pairwise(edges):
        margin = (right - left) / 4
        bar = picture[:, round(left + margin) : max(round(right - margin), round(left + margin) + 1)]
        number = number * 2 + int(bar.mean() > 127)
    return number


def moving_square(index: int, width: int, height: int) -> Pixels:
    """A white square that crosses a dark, textured background."""
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([(x + y) % 64, x % 64, y % 64], axis=-1).astype(np.uint8)
    side = max(4, height // 4)
    left = (index * 4) % max(1, width - side)
    picture[height // 3 : height // 3 + side, left : left + side] = 255
    return picture


def corners(index: int, width: int, height: int) -> Pixels:
    """Quarters: red and green above, blue and white below."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    picture[height // 2 :, width // 2 :] = (255, 255, 255)
    return picture


@dataclass(frozen=True)
class Video:
    """What to make; ``make()`` gives the bytes of the file."""

    duration_s: float = 2.0
    fps: float = 25.0
    size: tuple[int, int] = (160, 120)  # width, height as coded
    codec: str = "libx264"
    container: str = "mp4"
    picture: Picture = numbered
    gop: int = 12
    pix_fmt: str = "yuv420p"
    times_s: Sequence[float] | None = None  # of the frames; None: evenly, at fps
    rotation: int = 0  # degrees, counter-clockwise, noted in the container
    mirrored: bool = False  # left and right, noted in the container
    tone_hz: float | None = None  # a sine beside the video; None: no sound
    sound_codec: str = "aac"
    start_s: float = 0.0  # of the first frame, on the container's clock
    options: tuple[tuple[str, str], ...] = ()  # of the encoder
    container_options: tuple[tuple[str, str], ...] = ()

    def make(self) -> bytes:
        buffer = io.BytesIO()
        with av.open(
            buffer, "w", format=self.container, container_options=dict(self.container_options)
        ) as container:
            self._fill(container)
        return buffer.getvalue()

    def write(self, path: Path) -> Path:
        path.write_bytes(self.make())
        return path

    def frame_times_s(self) -> list[float]:
        if self.times_s is not None:
            return list(self.times_s)
        return [index / self.fps for index in range(round(self.duration_s * self.fps))]

    def _fill(self, container: av.container.OutputContainer) -> None:
        rate = Fraction(self.fps).limit_denominator(1001)
        options = dict(self.options)
        if self.codec == "libx264":
            options = {"preset": "ultrafast", "bf": "2", **options}
        video: Any = container.add_stream(self.codec, rate=rate, options=options)
        video.width, video.height = self.size
        video.pix_fmt = self.pix_fmt
        video.gop_size = self.gop
        # AVI has one frame in each tick, others take any.
        unit = 1 / rate if self.container == "avi" else _TIME_BASE
        video.time_base = unit
        video.codec_context.time_base = unit
        video.codec_context.flags |= Flags.frame_duration
        video.thread_count = 1
        if self.rotation or self.mirrored:
            video.set_display_rotation(self.rotation, hflip=self.mirrored)
        sound: Any = container.add_stream(self.sound_codec, rate=_SOUND_HZ) if self.tone_hz else None
        for frame in self._frames(unit):
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            for block in _tone(self.tone_hz or 0.0, self.duration_s, sound.layout.name, self.start_s):
                container.mux(sound.encode(block))
            container.mux(sound.encode(None))

    def _frames(self, unit: Fraction) -> Iterator[av.VideoFrame]:
        times = self.frame_times_s()
        ends = [*times[1:], max(self.duration_s, times[-1] + 1 / self.fps)] if times else []
        for index, (time_s, end_s) in enumerate(zip(times, ends, strict=True)):
            frame = av.VideoFrame.from_ndarray(self.picture(index, *self.size), format="rgb24")
            frame = frame.reformat(format=self.pix_fmt)
            frame.pts = round((time_s + self.start_s) / unit)
            frame.duration = round((end_s - time_s) / unit)
            frame.time_base = unit
            yield frame


def make_sound(duration_s: float = 2.0, tone_hz: float = 440.0, container: str = "wav") -> bytes:
    """A file without video."""
    codec = {"wav": "pcm_s16le", "mp3": "libmp3lame", "ogg": "libopus", "mp4": "aac"}[container]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        sound: Any = output.add_stream(codec, rate=_SOUND_HZ)
        for frame in _tone(tone_hz, duration_s, "mono", 0.0, codec == "pcm_s16le"):
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    return buffer.getvalue()


def _tone(
    tone_hz: float, duration_s: float, layout: str, start_s: float, integers: bool = False
) -> Iterator[av.AudioFrame]:
    """A sine at half of full scale."""
    samples = np.sin(2 * np.pi * tone_hz * np.arange(round(duration_s * _SOUND_HZ)) / _SOUND_HZ) * 0.5
    channels = 1 if layout == "mono" else 2
    for first in range(0, len(samples), 1024):
        block = samples[first : first + 1024].astype(np.float32)
        data = np.repeat(block[None, :], channels, axis=0)
        if integers:
            data = (data * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), "s16p" if integers else "fltp", layout)
        frame.sample_rate = _SOUND_HZ
        frame.pts = first + round(start_s * _SOUND_HZ)
        frame.time_base = Fraction(1, _SOUND_HZ)
        yield frame


def still(width: int, height: int, codec: str = "png", shade: int = 0) -> bytes:
    """One encoded picture, such as a PNG file."""
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = "rgb24" if codec == "png" else "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), shade, np.uint8), format="rgb24")
    frame = frame.reformat(format=encoder.pix_fmt)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def mapped(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    """A changed copy, to break files on purpose."""
    copy = bytearray(data)
    change(copy)
    return bytes(copy)


def free_box(number: int) -> bytes:
    """A box that every MP4 reader skips: behind a file, it gives the same video another digest."""
    return struct.pack(">I4sQ", 16, b"free", number)


def packet_places(data: bytes, kind: str) -> list[tuple[int, int]]:
    """(offset, size) of each packet of the first track of a kind, ``video`` or ``audio``."""
    with av.open(io.BytesIO(data), "r") as container:
        packets = container.demux(container.streams.get({kind: 0})[0])
        return [(packet.pos or 0, packet.size) for packet in packets if packet.size]


def with_noisy_tail(data: bytes, pictures: int) -> bytes:
    """A copy in which the packets of video behind so many pictures cannot be decoded."""

    def change(copy: bytearray) -> None:
        for place, size in packet_places(data, "video")[pictures:]:
            copy[place + 8 : place + size] = bytes(size - 8)

    return mapped(data, change)
