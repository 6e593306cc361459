"""Opening media that may be hostile: what libav may read, which formats and codecs, which errors.

libav must never see a name: names alone select demuxers that open URLs and other files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

import av
import av.container
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.video.stream import VideoStream

from worker.errors import MediaLimit, NoVideo, SluiceError, Undecodable
from worker.media.allowlist import AUDIO_DECODERS, CONTAINERS, VIDEO_DECODERS

_LARGEST_INT = 2**31 - 1  # libav refuses options above it
READ_BYTES = 128 * 1024
LOOP_FILTER_SCALE = 2.0  # from here on, pictures are made so much smaller that the loop filter does not show
_EMPTY_ROUNDS = 8  # in a row, where nothing says that packets are missing
_MAX_ROUNDS = 10_000

_S = TypeVar("_S", bound=Stream)


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Bounds on one decode job, beside those that the operating system holds."""

    max_pixels: int = 4096 * 2304  # width x height of the coded picture
    max_frames: int = 20_000  # decoded in one job
    max_packets: int = 2_000_000  # of video, read from the container
    max_streams: int = 32
    max_duration_s: float = 4 * 3600.0
    probe_bytes: int = 5_000_000  # read to find out what the tracks are; libav's own default


class _Nameless:
    """A file without a name, a descriptor or ``write``, read at its own offset."""

    def __init__(self, file: BinaryIO) -> None:
        self._fd = file.fileno()
        self._size = os.fstat(self._fd).st_size
        self._position = 0

    def read(self, size: int) -> bytes:
        data = os.pread(self._fd, size, self._position)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("seek before the start of the media")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position


def _refuse_to_open(url: str, *_: Any) -> Any:
    raise PermissionError(f"media may not open {url!r}")


@contextmanager
def open_media(file: BinaryIO, limits: DecodeLimits) -> Iterator[av.container.InputContainer]:
    """Open ``file`` (a real one: it needs a descriptor) for demuxing, under the allow-lists above."""
    options = {
        "format_whitelist": ",".join(CONTAINERS),
        "codec_whitelist": ",".join(VIDEO_DECODERS | AUDIO_DECODERS),
        "protocol_whitelist": "",
        "max_streams": str(limits.max_streams + 1),  # one more, so that the count tells
        "max_pixels": _max_pixels(limits),  # of the decoders that probing opens
        "probesize": str(limits.probe_bytes),
    }
    with foreign_errors("open"):
        container = av.open(
            _Nameless(file),
            "r",
            options=options,
            metadata_errors="replace",
            buffer_size=READ_BYTES,
            io_open=_refuse_to_open,
        )
    try:
        if len(container.streams) > limits.max_streams:
            raise MediaLimit(f"the media has more streams than decode.max_streams = {limits.max_streams}")
        yield container
    finally:
        with foreign_errors("close"):
            container.close()


def video_stream(
    container: av.container.InputContainer, limits: DecodeLimits, shown: tuple[int, int] | None = None
) -> VideoStream:
    """The one video track, set up for decoding to pictures of this (width, height). Cover art is not video.

    Of several, players show one or another (by quality, angle or language) and only one would be looked at.
    """
    with foreign_errors("find the video track of"):
        tracks = [
            stream
            for stream in container.streams.video
            if not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)
        ]
        if not tracks:
            raise NoVideo("the media has no video track")
        if len(tracks) > 1:
            raise MediaLimit(f"the media has {len(tracks)} video tracks, and only one would be looked at")
        (stream,) = tracks
        if decoder_name(stream) not in VIDEO_DECODERS:
            raise Undecodable(f"the video codec {decoder_name(stream) or 'unknown'!r} is not accepted")
        pixels = stream.width * stream.height
        if pixels > limits.max_pixels:
            raise MediaLimit(
                f"pictures of {stream.width}x{stream.height} are over decode.max_pixels = {limits.max_pixels}"
            )
        # Options given on opening do not reach this decoder.
        stream.codec_context.options = {"max_pixels": _max_pixels(limits)} | _loop_filter(stream, shown)
        stream.thread_count = 1  # the pool is the parallelism; threads would multiply memory and CPU limits
        read_only(container, stream)
        return stream


def _loop_filter(stream: VideoStream, shown: tuple[int, int] | None) -> dict[str, str]:
    """Block edges are not smoothed where scaling does away with them: a quarter of the decoding time."""
    if shown is None or stream.width < LOOP_FILTER_SCALE * shown[0]:
        return {}
    return {"skip_loop_filter": "all"} if stream.height >= LOOP_FILTER_SCALE * shown[1] else {}


def _max_pixels(limits: DecodeLimits) -> str:
    return str(min(limits.max_pixels, _LARGEST_INT))


def decoder_name(stream: Stream) -> str:
    """Of libav's decoder; empty when it has none."""
    context: Any = stream.codec_context  # None without a decoder, which PyAV's typing does not say
    return "" if context is None else str(context.codec.name)


def read_only(container: av.container.InputContainer, wanted: Stream) -> None:
    """Let the demuxer skip the bytes of every other track."""
    for stream in container.streams:
        stream.discard = Discard.default if stream is wanted else Discard.all


def packets(container: av.container.InputContainer, stream: _S) -> Iterator[Packet[_S]]:
    """The packets of one track that carry data: the same ones in every pass over the file.

    One sample that cannot be read looks like the end of the file, though the next one may be fine and
    other players show it. So reading goes on after the end: as often as the track says that it has
    further samples, and a few times where it does not say.
    """
    found = empty = 0
    for _ in range(_MAX_ROUNDS):
        before = found
        for packet in _round(container, stream):
            if packet.size:  # an empty one would put the decoder into its end state
                found += 1
                yield packet
        empty = 0 if found > before else empty + 1
        if empty >= max(_EMPTY_ROUNDS, sample_count(stream) - found):
            return


def sample_count(stream: Stream) -> int:
    """How many packets the track says to have, as far as it has been read; 0: it does not say.

    A fragmented MP4 says so in each fragment, which only the index tells.
    """
    return max(stream.frames, len(stream.index_entries))


def _round(container: av.container.InputContainer, stream: _S) -> Iterator[Packet[_S]]:
    """Until libav says that this is the end, or fails."""
    demuxed: Any = container.demux(stream)  # its typing knows video and audio, not "the same as given"
    with suppress(Undecodable), foreign_errors("read"):
        yield from demuxed


@contextmanager
def foreign_errors(action: str) -> Iterator[None]:
    """Turn whatever PyAV raises for bad media into a MediaError.

    Not only FFmpegError: AttributeError, IndexError, UnicodeDecodeError and others come through for
    malformed files, hence the wide net. It is cast over calls into PyAV only.
    """
    try:
        yield
    except SluiceError:
        raise
    except MemoryError as error:
        raise MediaLimit(
            f"cannot {action} the media: it takes more memory than decode.memory_bytes, "
            "or has more streams than decode.max_streams"
        ) from error
    except Exception as error:
        detail = str(error) or type(error).__name__
        raise Undecodable(f"cannot {action} the media: {detail}") from error
