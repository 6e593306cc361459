"""Stretches of videos and of sound files, by the worker's decoder.

A file without video is heard only: its clips are black, for networks that take clips and do not look.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.preprocess import Samples, log_mel
from models.spec import VideoInput
from trainer.data.manifest import ManifestError, Stretch
from worker.errors import MediaError, NoVideo
from worker.media.audio import record
from worker.media.container import DecodeLimits, open_media, video_stream
from worker.media.decode import decode_file
from worker.media.sampling import At, Plan
from worker.media.track import promised_s, scan
from worker.media.types import DecodeRequest

SILENCE = -1.0  # of a log-mel spectrogram


@dataclass(frozen=True)
class Footage:
    frames: npt.NDArray[np.uint8]  # (N, T, H, W, 3)
    log_mel: npt.NDArray[np.float32] | None  # (N, frames, mels); None: no sound
    starts_s: npt.NDArray[np.float64]  # (N,), presentation time
    duration_s: float  # of the whole file
    seen: bool = True  # False: a file without video, and the frames are black


@dataclass(frozen=True, slots=True)
class Within(At):
    """Another plan's clips inside of a stretch; on presentation time, as ``At`` is."""

    plan: Plan
    stretch: Stretch

    def starts_s(self, duration_s: float, clip_s: float) -> tuple[float, ...]:
        first_s, length_s = self.stretch.start_s, self.stretch.of(duration_s)
        return (
            tuple(first_s + start_s for start_s in self.plan.starts_s(length_s, clip_s)) if length_s else ()
        )


def inside(plan: Plan, stretch: Stretch) -> Plan:
    """The plan as it is where the whole file is used."""
    return plan if stretch.whole else Within((), plan, stretch)


def read_footage(path: Path, request: DecodeRequest, stretch: Stretch, *, sees: bool) -> Footage:
    """What the request asks for; of what reaches beyond the stretch, its last frame and silence.

    ``sees``: the network looks, so a file without video is refused. Raises ManifestError naming the file.
    """
    try:
        decoded = decode_file(path, request)
    except NoVideo as error:
        if sees:
            raise not_seen(path) from error
        return _heard_only(path, request)
    except MediaError as error:
        raise ManifestError(f"{path}: {error}") from error
    starts_s = np.asarray(decoded.starts_s)
    frames = _held(decoded.clips, decoded.pts_s, stretch.end_s)
    sound = None if decoded.log_mel is None else _ended(decoded.log_mel, starts_s, request, stretch.end_s)
    return Footage(frames, sound, starts_s, decoded.info.duration_s)


def read_sound(path: Path, rate_hz: int) -> Samples:
    """(S,) float32: the whole recording, 0 s of the presentation first; (0,) where there is no sound.

    Raises ManifestError naming the file.
    """
    limits = DecodeLimits()
    try:
        with path.open("rb") as file:
            origin_s, duration_s = _extent(path, limits)
            samples = record(file, duration_s, rate_hz, origin_s, limits)
    except MediaError as error:
        raise ManifestError(f"{path}: {error}") from error
    return np.zeros(0, np.float32) if samples is None else samples


def _extent(path: Path, limits: DecodeLimits) -> tuple[float, float]:
    """Where the presentation starts on the container's clock, and how long it lasts; in seconds."""
    with path.open("rb") as file, open_media(file, limits) as container:
        try:
            stream = video_stream(container, limits)
        except NoVideo:
            return (container.start_time or 0) / 1e6, (container.duration or 0) / 1e6
        timeline = scan(container, stream, limits)
        # Where the clock starts again, no sound fits the pictures.
        return timeline.origin_s, 0.0 if timeline.carried_on else promised_s(stream, timeline, limits)


def _heard_only(path: Path, request: DecodeRequest) -> Footage:
    video, audio = request.video, request.audio
    assert audio is not None
    samples = read_sound(path, audio.sample_rate_hz)
    duration_s = len(samples) / audio.sample_rate_hz
    starts_s = np.asarray(request.plan.starts_s(duration_s, video.clip_s))
    if not len(samples) or not len(starts_s):
        raise ManifestError(f"{path}: there is no sound where it is looked for")
    end_s = request.plan.stretch.end_s if isinstance(request.plan, Within) else np.inf
    sound = np.stack([log_mel(samples, float(start_s), audio) for start_s in starts_s])
    ended = _ended(sound, starts_s, request, end_s)
    return Footage(black(len(starts_s), video), ended, starts_s, duration_s, seen=False)


def black(count: int, video: VideoInput) -> npt.NDArray[np.uint8]:
    """Clips that take no memory."""
    clips: npt.NDArray[np.uint8] = np.broadcast_to(np.zeros((), np.uint8), (count, *video.clip_shape))
    return clips


def not_seen(path: Path) -> ManifestError:
    return ManifestError(f"{path}: there is no video; only networks that only listen take sound files")


def _held(
    frames: npt.NDArray[np.uint8], pts_s: npt.NDArray[np.float64], end_s: float
) -> npt.NDArray[np.uint8]:
    """Clips (N, T, ...) that stay on the last frame before ``end_s``."""
    within = pts_s < end_s
    if within.all():
        return frames
    last = np.maximum(within.sum(1) - 1, 0)
    index = np.minimum(np.arange(frames.shape[1]), last[:, None])  # (N, T)
    held: npt.NDArray[np.uint8] = frames[np.arange(len(frames))[:, None], index]
    return held


def _ended(
    sound: npt.NDArray[np.float32], starts_s: npt.NDArray[np.float64], request: DecodeRequest, end_s: float
) -> npt.NDArray[np.float32]:
    """Spectrograms (N, frames, mels), silent from ``end_s`` on."""
    assert request.audio is not None
    centres_s = starts_s[:, None] + (np.arange(sound.shape[1]) + 0.5) * request.audio.hop_s
    silent: npt.NDArray[np.float32] = np.where(
        (centres_s < end_s)[..., None], sound, np.float32(SILENCE)
    ).astype(np.float32)
    return silent
