"""What passes between the worker and a decoder process, besides two file descriptors.

The worker sends a pickled DecodeRequest, the media and an empty memory file. The decoder process
writes arrays into the memory file and answers with a little JSON. It has been fed hostile bytes, so
the worker trusts nothing in its answer: no pickle, sizes checked, and the memory file sealed against
shrinking before it is mapped.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import math
import mmap
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.errors import (
    DecoderCrashed,
    DecodeTimeout,
    MediaError,
    MediaLimit,
    NoVideo,
    Undecodable,
)
from worker.media.types import Decoded, DecodeRequest, MediaInfo

MESSAGE_BYTES = 128 * 1024  # largest message either way; a Unix socket takes it in one piece
_ALIGNMENT = 64
_TEXT_LENGTH = 400
_ERRORS: dict[str, type[MediaError]] = {
    error.reason: error for error in (Undecodable, NoVideo, MediaLimit, DecodeTimeout)
}


class ClipBuffer:
    """The decoder's side: the memory file, into which frames are written where they stay."""

    def __init__(self, fd: int, limit_bytes: int) -> None:
        self._fd = fd
        self._limit_bytes = limit_bytes
        self._map: mmap.mmap | None = None

    def allocate(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        size = int(np.prod(shape))
        if size > self._limit_bytes:
            raise MediaLimit(f"the clips take {size} bytes, over decode.memory_bytes = {self._limit_bytes}")
        os.ftruncate(self._fd, size)
        self._map = mmap.mmap(self._fd, size)
        return np.frombuffer(self._map, np.uint8).reshape(shape)

    def answer(self, decoded: Decoded) -> bytes:
        """Append the small arrays after the frames; say where everything lies."""
        end = os.fstat(self._fd).st_size
        places: dict[str, int] = {}
        arrays: dict[str, npt.NDArray[Any] | None] = {"pts_s": decoded.pts_s, "log_mel": decoded.log_mel}
        for name, array in arrays.items():
            if array is not None:
                places[name] = -(-end // _ALIGNMENT) * _ALIGNMENT
                end = places[name] + os.pwrite(self._fd, np.ascontiguousarray(array).data, places[name])
        info = {name: getattr(decoded.info, name) for name in MediaInfo.__dataclass_fields__}
        answer = {
            "info": info,
            "starts_s": decoded.starts_s,
            "missing": decoded.missing,
            "places": places,
            "decode_s": decoded.decode_s,
        }
        return json.dumps(answer).encode()


def error_answer(error: MediaError) -> bytes:
    return json.dumps({"reason": error.reason, "message": str(error)[:_TEXT_LENGTH]}).encode()


def parse_answer(message: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise DecoderCrashed("the decoder process gave an answer that makes no sense") from error
    if not isinstance(answer, dict):
        raise DecoderCrashed("the decoder process gave an answer that makes no sense")
    return answer


def read_answer(answer: dict[str, Any], memory_fd: int, request: DecodeRequest) -> Decoded:
    """The worker's side: the Decoded, or the MediaError that the decoder process answered with."""
    try:
        if "reason" in answer:
            raise _ERRORS[answer["reason"]](_printable(answer["message"]))
        return _mapped(answer, memory_fd, request)
    except MediaError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError) as error:
        raise DecoderCrashed("the decoder process gave an answer that makes no sense") from error


def _mapped(fields: dict[str, Any], memory_fd: int, request: DecodeRequest) -> Decoded:
    fcntl.fcntl(memory_fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    # A private mapping: pages are shared until somebody writes to the arrays.
    memory = mmap.mmap(memory_fd, os.fstat(memory_fd).st_size, access=mmap.ACCESS_COPY)
    starts_s = tuple(float(start) for start in fields["starts_s"])
    count, places, missing = len(starts_s), fields["places"], int(fields["missing"])
    if not count or not _ascend(starts_s):
        raise ValueError("clips must have ascending start times")
    if missing < 0:
        raise ValueError("less than no clip cannot be missing")
    log_mel = None
    if request.audio is not None and "log_mel" in places:
        shape = (count, request.audio.frames, request.audio.mels)
        log_mel = _array(memory, np.float32, shape, places["log_mel"])
    return Decoded(
        info=_media_info(fields["info"]),
        clips=_array(memory, np.uint8, (count, *request.video.clip_shape), 0),
        pts_s=_array(memory, np.float64, (count, request.video.frames), places["pts_s"]),
        starts_s=starts_s,
        missing=missing,
        log_mel=log_mel,
        decode_s=_finite(fields["decode_s"]),
    )


def _ascend(times_s: tuple[float, ...]) -> bool:
    inside = all(math.isfinite(time_s) and time_s >= 0 for time_s in times_s)
    return inside and all(before < after for before, after in itertools.pairwise(times_s))


def _array(memory: mmap.mmap, dtype: type[Any], shape: tuple[int, ...], place: int) -> npt.NDArray[Any]:
    if place < 0:
        raise ValueError("an array lies before its file")
    # frombuffer raises ValueError when the file is too short
    return np.frombuffer(memory, dtype, count=int(np.prod(shape)), offset=place).reshape(shape)


def _media_info(fields: dict[str, Any]) -> MediaInfo:
    return MediaInfo(
        container=_printable(fields["container"]),
        video_codec=_printable(fields["video_codec"]),
        width=int(fields["width"]),
        height=int(fields["height"]),
        fps=_finite(fields["fps"]),
        duration_s=_finite(fields["duration_s"]),
        has_audio=bool(fields["has_audio"]),
    )


def _finite(value: Any) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a number")
    return float(value)


def _printable(text: object) -> str:
    """Text of unknown origin, fit for logs and verdicts."""
    return "".join(c if c.isprintable() else "?" for c in str(text)[:_TEXT_LENGTH])
