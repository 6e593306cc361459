"""Other decoders, each at its best settings for one core: pictures of given times, at a given size.

Times ascend; each one asks for the picture that is on the screen then.
"""

from __future__ import annotations

import bisect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]
Pictures = npt.NDArray[np.uint8]  # (F, size, size, 3), RGB
Decoder = Callable[[Path, Times, int], Pictures]

ROUNDING_S = 0.001


def pyav_sequential(path: Path, times_s: Times, size: int) -> Pictures:
    """From the start to the last wanted picture."""
    return _pyav(path, times_s, size, seek=False)


def pyav_seeking(path: Path, times_s: Times, size: int) -> Pictures:
    """The same, but to the keyframe of the next wanted picture where that lies ahead."""
    return _pyav(path, times_s, size, seek=True)


def _pyav(path: Path, times_s: Times, size: int, seek: bool) -> Pictures:
    """Decodes no picture behind the wanted one: rates are constant here, so it knows where each one ends."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        unit_s, interval_s = float(stream.time_base or 1), 1 / float(stream.average_rate or 25)
        keys_s = [entry.timestamp * unit_s for entry in stream.index_entries if entry.is_keyframe]
        frames = container.decode(stream)
        shown: Any = next(frames)
        found = []
        for time_s in times_s:
            key_s = keys_s[max(0, bisect.bisect_right(keys_s, time_s + ROUNDING_S) - 1)]
            if seek and key_s > shown.time + interval_s:
                container.seek(round((time_s + ROUNDING_S) / unit_s), stream=stream)
                frames = container.decode(stream)
                shown = next(frames)
            while shown.time <= time_s + ROUNDING_S - interval_s and (ahead := next(frames, None)):
                shown = ahead
            scaled = shown.reformat(size, size, "rgb24", interpolation="BILINEAR")
            found.append(scaled.to_ndarray())
    return np.stack(found)


def opencv(path: Path, times_s: Times, size: int) -> Pictures:
    """grab() decodes without converting; a seek where that is fewer frames than a GOP would be."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    rate_hz = capture.get(cv2.CAP_PROP_FPS)
    found, position = [], -1
    for index in _indices(times_s, rate_hz):
        if index - position > SEEK_FRAMES:
            capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            position = index - 1
        while position < index:
            capture.grab()
            position += 1
        _, picture = capture.retrieve()
        small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
        found.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(found)


SEEK_FRAMES = 250  # OpenCV steps back and decodes on: below this, going on is cheaper


def decord(path: Path, times_s: Times, size: int) -> Pictures:
    """It seeks by itself, and scales inside its own filter graph."""
    from decord import VideoReader, cpu

    reader = VideoReader(str(path), ctx=cpu(0), width=size, height=size, num_threads=1)
    indices = np.minimum(_indices(times_s, reader.get_avg_fps()), len(reader) - 1)
    return np.asarray(reader.get_batch(indices.tolist()).asnumpy(), np.uint8)


def torchcodec_exact(path: Path, times_s: Times, size: int) -> Pictures:
    return _torchcodec(path, times_s, size, "exact")


def torchcodec_approximate(path: Path, times_s: Times, size: int) -> Pictures:
    """It trusts the container's header instead of reading every packet first."""
    return _torchcodec(path, times_s, size, "approximate")


def _torchcodec(path: Path, times_s: Times, size: int, mode: Any) -> Pictures:
    with _hidden("torchvision"):  # it would be searched for transforms to translate
        from torchcodec.decoders import VideoDecoder
        from torchcodec.transforms import Resize

        decoder = VideoDecoder(
            str(path),
            dimension_order="NHWC",
            num_ffmpeg_threads=1,
            seek_mode=mode,
            transforms=[Resize((size, size))],
        )
    last_s = float(decoder.metadata.end_stream_seconds or 0) - ROUNDING_S
    wanted = np.minimum(times_s + ROUNDING_S, last_s).tolist()
    return np.asarray(decoder.get_frames_played_at(wanted).data.numpy(), np.uint8)


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """A package that is not imported yet cannot be, meanwhile."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = cast(Any, None)
    try:
        yield
    finally:
        del sys.modules[package]


def _indices(times_s: Times, rate_hz: float) -> npt.NDArray[np.int64]:
    return np.floor((times_s + ROUNDING_S) * rate_hz).astype(np.int64)


PEERS: Mapping[str, Decoder] = {
    "PyAV, in sequence": pyav_sequential,
    "PyAV, seeking": pyav_seeking,
    "OpenCV": opencv,
    "decord": decord,
    "torchcodec, exact": torchcodec_exact,
    "torchcodec, approximate": torchcodec_approximate,
}
