"""From a file to clips: the frames that a player would show at the times that the plan asks for.

Two passes over the file. The first only reads packets (a few microseconds each) and finds the real
duration and the keyframes; then the plan says where clips start. The second decodes: from the
keyframe before each clip to its last frame, and nothing in between.

A container may lie about its keyframes. The decoder does not: when the first picture after a jump
is not a keyframe, or is too late, everything is decoded again without jumps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import av.container
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from worker.clock import Clock, SystemClock
from worker.errors import MediaLimit, Undecodable
from worker.media.audio import clip_log_mels
from worker.media.container import DecodeLimits, foreign_errors, open_media, video_stream
from worker.media.picture import Orientation, PictureWriter, Pixels
from worker.media.sampling import clip_times_s
from worker.media.timeline import Timeline, TimelineBuilder
from worker.media.types import Decoded, DecodeRequest, MediaInfo

Allocate = Callable[[tuple[int, int, int, int, int]], Pixels]  # gives zeros

# A picture that is this much older than the one that should be on the screen is not that one.
STALE_S = 0.5

# Containers round times, Matroska to a millisecond: a picture that is late by less is in time.
ROUNDING_S = 0.001


class _JumpFailed(Exception):
    """What came out after a jump is not a keyframe before the clip."""


def zeros(shape: tuple[int, ...]) -> Pixels:
    return np.zeros(shape, np.uint8)


def decode_file(path: Path, request: DecodeRequest, limits: DecodeLimits | None = None) -> Decoded:
    """Decode in this process: for files that are trusted, such as training data."""
    with path.open("rb") as file:
        return decode(file, request, limits or DecodeLimits())


def decode(
    file: BinaryIO,
    request: DecodeRequest,
    limits: DecodeLimits,
    allocate: Allocate = zeros,
    clock: Clock | None = None,
) -> Decoded:
    """Decode the clips of one upload. Raises MediaError and nothing else for bad media.

    A clip none of whose frames could be decoded (a corrupt part, a truncated tail) is left out, so
    ``starts_s`` may be shorter than the plan; it is never filled with frames from elsewhere. When no
    clip is left: Undecodable.
    """
    clock = clock or SystemClock()
    begun_s = clock.monotonic_s()
    with open_media(file, limits) as container:
        timeline = scan(container, video_stream(container, limits), limits)
    starts_s = request.plan.starts_s(timeline.duration_s, request.video.clip_s)
    if not starts_s:
        raise Undecodable("the sampling plan asks for no clip")
    clips = allocate((len(starts_s), *request.video.clip_shape))
    try:
        job = _decode_pass(file, request, limits, timeline, starts_s, clips, jumps=timeline.continuous)
    except _JumpFailed:
        job = _decode_pass(file, request, limits, timeline, starts_s, clips, jumps=False)
    kept = _compact(clips, np.asarray(job.own.any(axis=1)))
    if job.info is None or not kept:
        raise Undecodable("none of the frames that the plan asks for could be decoded")
    starts_s = tuple(starts_s[index] for index in kept)
    log_mel = None
    if request.audio is not None:
        log_mel = clip_log_mels(file, starts_s, request.audio, timeline.origin_s, limits)
    return Decoded(
        info=job.info,
        clips=clips[: len(kept)],
        pts_s=job.pts_s[kept],
        starts_s=starts_s,
        log_mel=log_mel,
        decode_s=clock.monotonic_s() - begun_s,
    )


def scan(container: av.container.InputContainer, stream: VideoStream, limits: DecodeLimits) -> Timeline:
    """Read every packet of the track without decoding."""
    unit_s = _time_base_s(stream)
    rate = float(stream.average_rate or 0)
    builder = TimelineBuilder(gap_s=1 / rate) if 1 <= rate <= 1000 else TimelineBuilder()
    for packet in _packets(container, stream):
        builder.add(
            None if packet.pts is None else packet.pts * unit_s,
            None if packet.dts is None else packet.dts * unit_s,
            (packet.duration or 0) * unit_s,
            packet.is_keyframe,
        )
        if len(builder) > limits.max_packets:
            raise MediaLimit(f"the video has more than {limits.max_packets} packets")
    if not len(builder):
        raise Undecodable("the video track has no packets")
    timeline = builder.build()
    if timeline.duration_s > limits.max_duration_s:
        raise MediaLimit(
            f"the video lasts {timeline.duration_s:.0f} s, "
            f"over decode.max_duration_s = {limits.max_duration_s:.0f}"
        )
    return timeline


def _time_base_s(stream: VideoStream) -> float:
    if not stream.time_base:
        raise Undecodable("the video track has no time base")
    return float(stream.time_base)


def _packets(container: av.container.InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Packets that carry data, up to the end or to where the container breaks."""
    packets = container.demux(stream)
    while True:
        try:
            with foreign_errors("read"):
                packet = next(packets, None)
        except Undecodable:
            return  # a broken tail: what came before it counts
        if packet is None:
            return
        if packet.size:  # an empty one would put the decoder into its end state
            yield packet


def _compact(clips: Pixels, wanted: npt.NDArray[np.bool_]) -> list[int]:
    """Move the wanted clips to the front, in order; return their indices."""
    kept = [int(index) for index in np.flatnonzero(wanted)]
    for place, index in enumerate(kept):
        if place != index:
            clips[place] = clips[index]
    return kept


def _decode_pass(
    file: BinaryIO,
    request: DecodeRequest,
    limits: DecodeLimits,
    timeline: Timeline,
    starts_s: tuple[float, ...],
    clips: Pixels,
    jumps: bool,
) -> _ClipFiller:
    with open_media(file, limits) as container:
        stream = video_stream(container, limits)
        writer = PictureWriter(request.video, stream.sample_aspect_ratio)
        filler = _ClipFiller(timeline, clip_times_s(starts_s, request.video), clips, writer)
        pictures = _Pictures(container, stream, timeline, limits)
        for time_s, frame in pictures.run(filler if jumps else None):
            if filler.info is None:
                filler.info = _media_info(container, stream, frame, timeline)
            filler.take(time_s, frame)
            if filler.done:
                break
        filler.finish()
        return filler


class _ClipFiller:
    """Gives each wanted time the picture shown then: the last one that is not later."""

    def __init__(
        self, timeline: Timeline, times_s: npt.NDArray[np.float64], clips: Pixels, writer: PictureWriter
    ) -> None:
        self.info: MediaInfo | None = None
        self.pts_s = np.zeros_like(times_s)  # (N, T)
        self.own = np.zeros(times_s.shape, bool)  # (N, T): the picture is the one shown at that time
        self._timeline = timeline
        self._times_s = times_s.ravel()
        self._order = np.argsort(self._times_s, kind="stable")
        self._clips = clips.reshape(-1, *clips.shape[2:])  # (N * T, H, W, 3)
        self._writer = writer
        self._next = 0
        self._shown: tuple[float, VideoFrame] | None = None

    @property
    def done(self) -> bool:
        return self._next == len(self._order)

    @property
    def next_time_s(self) -> float:
        return float(self._times_s[self._order[self._next]])

    def take(self, time_s: float, frame: VideoFrame) -> None:
        """The next picture in the order of presentation."""
        self._fill(before_s=time_s - ROUNDING_S, picture=self._shown or (time_s, frame))
        self._shown = (time_s, frame)

    def finish(self) -> None:
        """No further picture: the last one stays on the screen."""
        if self._shown is not None:
            self._fill(before_s=float("inf"), picture=self._shown)

    def _fill(self, before_s: float, picture: tuple[float, VideoFrame]) -> None:
        pts_s, frame = picture
        first: Pixels | None = None
        while not self.done and self.next_time_s < before_s:
            slot = self._order[self._next]
            if first is None:
                first = self._clips[slot]
                with foreign_errors("scale a picture of"):
                    self._writer.write(frame, first)
            else:
                self._clips[slot] = first
            due_s = self._timeline.shown_at(self._times_s[slot] + ROUNDING_S)
            tolerance_s = max(STALE_S, 2 * self._timeline.interval_s)
            self.own.flat[slot] = abs(due_s - pts_s) <= tolerance_s
            self.pts_s.flat[slot] = pts_s
            self._next += 1


class _Pictures:
    """Decodes one track from its start, jumping over what nobody wants."""

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: VideoStream,
        timeline: Timeline,
        limits: DecodeLimits,
    ) -> None:
        self._container = container
        self._stream = stream
        self._timeline = timeline
        self._limits = limits
        self._unit_s = _time_base_s(stream)
        self._decoded = 0
        self._last_s = float("-inf")
        self._last_stamps: dict[str, int] = {}
        self._faults = {"pts": 0, "dts": 0}
        self._landing: tuple[float, float] | None = None  # after a jump: (keyframe, wanted) times

    def run(self, wanted: _ClipFiller | None) -> Iterator[tuple[float, VideoFrame]]:
        """Yield (time, picture) in the order of presentation. ``wanted`` None: without jumps."""
        resume_at = 0
        for ordinal, packet in enumerate(_packets(self._container, self._stream)):
            if ordinal >= len(self._timeline.times_s):
                break
            if wanted is not None and ordinal >= resume_at:
                resume_at = self._jump(ordinal, wanted)
            if ordinal < resume_at:
                continue
            time_s = self._timeline.times_s[ordinal] + self._timeline.origin_s
            if packet.pts is None or not self._timeline.continuous:
                packet.pts = round(time_s / self._unit_s)
            yield from self._pictures_of(packet)
        yield from self._pictures_of(None)

    def _jump(self, ordinal: int, wanted: _ClipFiller) -> int:
        """The packet to go on from: this one, or the keyframe of the next wanted time if it is further."""
        keyframe = self._timeline.keyframe_before(wanted.next_time_s + ROUNDING_S)
        if keyframe <= ordinal:
            return ordinal
        self._stream.codec_context.flush_buffers()
        self._landing = (float(self._timeline.times_s[keyframe]), wanted.next_time_s)
        return keyframe

    def _pictures_of(self, packet: Packet[VideoStream] | None) -> Iterator[tuple[float, VideoFrame]]:
        try:
            with foreign_errors("decode"):
                frames = self._stream.decode(packet)
        except Undecodable:
            return  # one bad packet: players go on as well
        for frame in frames:
            self._decoded += 1
            if self._decoded > self._limits.max_frames:
                raise MediaLimit(f"over decode.max_frames = {self._limits.max_frames} frames were needed")
            time_s = self._time_of(frame)
            if self._landed(time_s, frame):
                yield time_s, frame

    def _time_of(self, frame: VideoFrame) -> float:
        """Presentation time. Where the file's times go back, decoding times are closer to the truth (as
        in AVI, which has no others); where there are none at all, they are made up."""
        for kind, stamp in (("pts", frame.pts), ("dts", frame.dts)):
            if stamp is None or stamp <= self._last_stamps.get(kind, stamp - 1):
                self._faults[kind] += 1
            if stamp is not None:
                self._last_stamps[kind] = stamp
        stamp = frame.pts if self._faults["pts"] <= self._faults["dts"] else frame.dts
        time_s = self._last_s + self._timeline.interval_s if self._decoded > 1 else 0.0
        if stamp is not None:
            stated_s = stamp * self._unit_s - self._timeline.origin_s
            if stated_s > self._last_s:
                time_s = stated_s
        self._last_s = time_s
        return time_s

    def _landed(self, time_s: float, frame: VideoFrame) -> bool:
        """Is the picture to be used? Raises when a jump did not lead to where it should."""
        if self._landing is None:
            return True
        key_s, wanted_s = self._landing
        if time_s < key_s - self._timeline.interval_s / 2:
            return False  # pictures that lean on the part that was left out
        if not frame.key_frame or time_s > max(wanted_s, key_s) + self._timeline.interval_s / 2:
            raise _JumpFailed
        self._landing = None
        return True


def _media_info(
    container: av.container.InputContainer, stream: VideoStream, frame: VideoFrame, timeline: Timeline
) -> MediaInfo:
    width, height = Orientation.of(frame).shown_size(frame.width, frame.height)
    return MediaInfo(
        container=container.format.name.split(",")[0],
        video_codec=stream.codec_context.name,
        width=width,
        height=height,
        fps=len(timeline.times_s) / timeline.duration_s if len(timeline.times_s) > 1 else 0.0,
        duration_s=timeline.duration_s,
        has_audio=bool(container.streams.audio),
    )
