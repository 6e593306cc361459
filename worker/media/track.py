"""One video track: its packets, its timeline, and its pictures in the order in which they are shown."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import av.container
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from worker.errors import MediaLimit, Undecodable
from worker.media.container import DecodeLimits, foreign_errors, packets, sample_count
from worker.media.planner import DecodePlan, Segment
from worker.media.timeline import ROUNDING_S, Timeline, TimelineBuilder

_SEEK_PACKETS = 100  # to read and drop fewer is quicker than to seek
_MISSING_S, _MISSING_SHARE = 1.0, 0.05  # less is not worth a word: encoders are off by a picture or two


class PlanFailed(Exception):
    """What came out is not what the packets promised: a keyframe after a jump, pictures in order."""


def scan(container: av.container.InputContainer, stream: VideoStream, limits: DecodeLimits) -> Timeline:
    """Read every packet of the track without decoding."""
    unit_s = _time_base_s(stream)
    rate = float(stream.average_rate or 0)
    builder = TimelineBuilder(gap_s=1 / rate) if 1 <= rate <= 1000 else TimelineBuilder()
    for packet in packets(container, stream):
        builder.add(
            None if packet.pts is None else packet.pts * unit_s,
            None if packet.dts is None else packet.dts * unit_s,
            (packet.duration or 0) * unit_s,
            packet.is_keyframe,
            shown=not packet.is_discard,
        )
        if len(builder) > limits.max_packets:
            raise MediaLimit(f"the video has more packets than decode.max_packets = {limits.max_packets}")
    if not len(builder):
        raise Undecodable("the video track has no packets")
    if not builder.shows_any:
        raise Undecodable("the edit list of the video track shows none of its pictures")
    timeline = builder.build()
    if timeline.duration_s > limits.max_duration_s:
        raise MediaLimit(
            f"the video lasts {timeline.duration_s:.0f} s, "
            f"over decode.max_duration_s = {limits.max_duration_s:.0f}"
        )
    return timeline


def promised_s(stream: VideoStream, timeline: Timeline, limits: DecodeLimits) -> float:
    """The duration to report: longer than the timeline where the track counts more pictures than it brought.

    What could not be read, or an edit list leaves out, may be shown by other players, so it counts as
    not seen. Only a track that counts its pictures is believed (in MP4, MOV and AVI), as durations are
    often those of a longer programme, and only up to the limit. Clips are never laid out on a promise.
    """
    count = sample_count(stream)
    missing_s = (count - timeline.pictures) * timeline.interval_s
    if missing_s <= max(_MISSING_S, _MISSING_SHARE * timeline.duration_s):
        return timeline.duration_s
    counted_s = count * timeline.interval_s
    stated_s = (stream.duration or 0) * _time_base_s(stream)
    return max(timeline.duration_s, min(limits.max_duration_s, max(counted_s, stated_s)))


def _time_base_s(stream: VideoStream) -> float:
    if not stream.time_base:
        raise Undecodable("the video track has no time base")
    return float(stream.time_base)


class Pictures:
    """Decodes what a plan asks for, and yields it in the order of presentation."""

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: VideoStream,
        timeline: Timeline,
        limits: DecodeLimits,
        at_end: bool = False,
    ) -> None:
        """``at_end``: the container has been read through, so the first segment is sought."""
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
        self._lean = False
        self._at_end = at_end

    def run(self, plan: DecodePlan) -> Iterator[tuple[float, VideoFrame]]:
        """Yield (time, picture). Pictures that the plan does not want may come as well."""
        self._lean = plan.lean
        source: Iterator[tuple[int, Packet[VideoStream]]]
        source = enumerate(packets(self._container, self._stream))
        reached = 0
        for segment in plan.segments:
            if plan.lean and (self._at_end or segment.first - reached > _SEEK_PACKETS):
                source = self._sought(segment)
                self._at_end = False
            self._begin(segment)
            for reached, packet in source:
                if reached < segment.first:
                    continue
                self._time(packet, reached)
                self._may_drop(not plan.wanted[reached] and reached > segment.first)
                yield from self._pictures_of(packet)
                if reached >= segment.last:
                    break
            yield from self._pictures_of(None)  # what the decoder holds back for the sake of order

    def _sought(self, segment: Segment) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """Numbered packets from the segment's keyframe on, or from one that lies before it."""
        stamp = round((segment.key_s + self._timeline.origin_s) / self._unit_s)
        try:
            with foreign_errors("seek in"):
                self._container.seek(stamp, stream=self._stream)
        except Undecodable as error:
            raise PlanFailed from error
        numbers: Iterator[int] | None = None
        for packet in packets(self._container, self._stream):
            if numbers is None:
                time_s = (packet.pts or 0) * self._unit_s - self._timeline.origin_s
                numbers = itertools.count(self._timeline.keyframe_before(time_s + ROUNDING_S))
                first = next(numbers)
                if abs(self._timeline.times_s[first] - time_s) > ROUNDING_S or first > segment.first:
                    raise PlanFailed
                yield first, packet
            else:
                yield next(numbers), packet
        if numbers is None:
            raise PlanFailed  # the jump led to the end

    def _begin(self, segment: Segment) -> None:
        self._stream.codec_context.flush_buffers()
        self._landing = (segment.key_s, segment.wanted_s) if segment.first > 0 else None

    def _time(self, packet: Packet[VideoStream], ordinal: int) -> None:
        if packet.pts is None or not self._timeline.continuous:
            time_s = self._timeline.times_s[ordinal] + self._timeline.origin_s
            with foreign_errors("time the pictures of"):
                packet.pts = round(time_s / self._unit_s)

    def _may_drop(self, unwanted: bool) -> None:
        """Let the decoder drop the next picture where nobody wants it and no other one leans on it."""
        self._stream.codec_context.skip_frame = "NONREF" if unwanted else "DEFAULT"

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
        if self._lean and self._faults["pts"]:
            raise PlanFailed  # packets' times are not their pictures' times: wrong ones were dropped
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
        if not _is_keyframe(frame) or time_s > max(wanted_s, key_s) + self._timeline.interval_s / 2:
            raise PlanFailed
        self._landing = None
        return True


def _is_keyframe(frame: VideoFrame) -> bool:
    """Needs the picture no other? A recovery point in H.264 sets the flag on pictures that do."""
    return frame.key_frame and frame.pict_type in (PictureType.I, PictureType.NONE)
