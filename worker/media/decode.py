"""From a file to clips: the frames that a player would show at the times that the plan asks for.

Two passes over the file, opened once if its index is complete. The first only reads packets (a few
microseconds each) and finds the real duration and the keyframes; then the sampling plan says where clips
start. The second decodes what the decode plan names (see ``planner``), and nothing else.

A container may lie about its keyframes and times, and so may a stream about its recovery points. What
comes out tells: when the first picture after a jump is not a keyframe that needs no other, or pictures come
out of order, the video is decoded again by a plan that trusts less; at last without any trust, all of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av.container
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from worker.clock import Clock, SystemClock
from worker.errors import Undecodable
from worker.media.audio import clip_log_mels
from worker.media.clips import ClipFiller
from worker.media.container import DecodeLimits, foreign_errors, open_media, video_stream
from worker.media.picture import Orientation, PictureWriter, Pixels
from worker.media.planner import plans
from worker.media.sampling import At, Snapped, clip_times_s
from worker.media.timeline import Timeline
from worker.media.track import Pictures, PlanFailed, promised_s, scan
from worker.media.types import Decoded, DecodeRequest, MediaInfo

Allocate = Callable[[tuple[int, int, int, int, int]], Pixels]  # gives zeros
OnDuration = Callable[[float], None]  # is told the seconds in which something happens, before any is decoded
_OWN_SHARE = 0.5  # of a clip's frames: with fewer, it would show what lies elsewhere


class Track(NamedTuple):
    """The video track of an open container, set up for decoding."""

    container: av.container.InputContainer
    stream: VideoStream


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
    on_duration: OnDuration = lambda _: None,
) -> Decoded:
    """Decode the clips of one upload. Raises MediaError and nothing else for bad media.

    A clip of which less than half could be decoded (a corrupt part, a truncated tail) is left out, so
    ``starts_s`` may be shorter than the plan, by ``missing``; it is never filled with frames from elsewhere.
    When no clip is left: Undecodable.
    """
    clock = clock or SystemClock()
    begun_s = clock.monotonic_s()
    with _open_track(file, request, limits) as track:
        timeline = scan(*track, limits)
        duration_s = promised_s(track.stream, timeline, limits)
        starts_s = _starts_s(request, timeline, duration_s)
        if not starts_s:
            raise Undecodable("the sampling plan asks for no clip")
        on_duration(timeline.active(request.video.clip_s).duration_s)
        clips = allocate((len(starts_s), *request.video.clip_shape))
        job = _decode(file, request, limits, track, timeline, starts_s, clips)
    kept = _compact(clips, np.asarray(job.own.mean(axis=1) >= _OWN_SHARE))
    if job.info is None or not kept:
        raise Undecodable("none of the frames that the plan asks for could be decoded")
    missing = len(starts_s) - len(kept)
    starts_s = tuple(starts_s[index] for index in kept)
    log_mel = None
    if request.audio is not None and not timeline.carried_on:
        log_mel = clip_log_mels(file, starts_s, request.audio, timeline.origin_s, limits)
    return Decoded(
        info=replace(job.info, duration_s=duration_s),
        clips=clips[: len(kept)],
        pts_s=job.pts_s[kept],
        starts_s=starts_s,
        missing=missing,
        log_mel=log_mel,
        decode_s=clock.monotonic_s() - begun_s,
    )


def _starts_s(request: DecodeRequest, timeline: Timeline, duration_s: float) -> tuple[float, ...]:
    """On presentation time. Another stage's clips are on it already; ``duration_s`` is what it was told."""
    clip_s = request.video.clip_s
    if isinstance(request.plan, At):
        return request.plan.starts_s(duration_s, clip_s)
    active = timeline.active(clip_s)
    starts_s = active.to_presentation(request.plan.starts_s(active.duration_s, clip_s))
    if isinstance(request.plan, Snapped):
        last_s = max(0.0, timeline.duration_s - clip_s)
        return timeline.snapped(starts_s, request.plan.tolerance_s, last_s)
    return starts_s


def _compact(clips: Pixels, wanted: npt.NDArray[np.bool_]) -> list[int]:
    """Move the wanted clips to the front, in order; return their indices."""
    kept = [int(index) for index in np.flatnonzero(wanted)]
    for place, index in enumerate(kept):
        if place != index:
            clips[place] = clips[index]
    return kept


def _decode(
    file: BinaryIO,
    request: DecodeRequest,
    limits: DecodeLimits,
    scanned: Track,
    timeline: Timeline,
    starts_s: tuple[float, ...],
    clips: Pixels,
) -> ClipFiller:
    """By the cheapest plan that the file does not belie.

    Opening takes as long as a keyframe or two, as libav decodes some to know the track. So the container that
    was read through serves again where its index knows every packet: the first jump then leads back.
    """
    times_s = clip_times_s(starts_s, request.video)
    for plan in plans(timeline, times_s):
        with contextlib.ExitStack() as opened, contextlib.suppress(PlanFailed):
            again = plan.lean and len(scanned.stream.index_entries) == len(timeline.times_s)
            track = scanned if again else opened.enter_context(_open_track(file, request, limits))
            pictures = Pictures(*track, timeline, limits, at_end=again)
            writer = PictureWriter(request.video, track.stream.sample_aspect_ratio)
            return _fill(ClipFiller(timeline, times_s, clips, writer), track, timeline, pictures.run(plan))
    raise AssertionError("the last plan trusts nothing, so it cannot fail")


def _fill(
    filler: ClipFiller, track: Track, timeline: Timeline, pictures: Iterable[tuple[float, VideoFrame]]
) -> ClipFiller:
    for time_s, frame in pictures:
        if filler.info is None:
            filler.info = _media_info(*track, frame, timeline)
        filler.take(time_s, frame)
        if filler.done:
            break
    filler.finish()
    return filler


@contextlib.contextmanager
def _open_track(file: BinaryIO, request: DecodeRequest, limits: DecodeLimits) -> Iterator[Track]:
    with open_media(file, limits) as container:
        shown = (request.video.width, request.video.height)
        yield Track(container, video_stream(container, limits, shown))


def _media_info(
    container: av.container.InputContainer, stream: VideoStream, frame: VideoFrame, timeline: Timeline
) -> MediaInfo:
    with foreign_errors("describe"):
        width, height = Orientation.of(frame).shown_size(frame.width, frame.height)
        container_name, codec = container.format.name.split(",")[0], stream.codec.canonical_name
    return MediaInfo(
        container=container_name,
        video_codec=codec,
        width=width,
        height=height,
        fps=len(timeline.times_s) / timeline.duration_s if len(timeline.times_s) > 1 else 0.0,
        duration_s=timeline.duration_s,
        has_audio=bool(container.streams.audio),
    )
