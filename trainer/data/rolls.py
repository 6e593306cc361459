"""Decoded videos, kept on disk: decoding is done once, by the decoder that serving uses.

A *roll* is one video at a higher frame rate and size than the network's input, so that training can cut
clips out of it at any start, speed and crop. *Clips* are what serving would give the network.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.spec import AudioInput, VideoInput
from trainer.config import Data
from worker.media.decode import decode_file
from worker.media.sampling import At, Uniform
from worker.media.types import Decoded, DecodeRequest

CACHE_VERSION = 1  # raise when decoding changes what it gives


@dataclass(frozen=True)
class RollShape:
    """How rolls are decoded: finer than the network's input in time and space."""

    video: VideoInput
    audio: AudioInput | None

    @staticmethod
    def of(video: VideoInput, audio: AudioInput | None, data: Data) -> RollShape:
        rate_hz = video.frame_rate_hz * data.oversampling
        finer = {
            "frames": min(256, math.ceil(data.roll_seconds * rate_hz)),
            "frame_rate_hz": rate_hz,
            "height": round(video.height * (1 + data.margin)),
            "width": round(video.width * (1 + data.margin)),
        }
        longer = {"frames": math.ceil(data.roll_seconds / audio.hop_s)} if audio else {}
        return RollShape(video.model_copy(update=finer), audio and audio.model_copy(update=longer))


@dataclass(frozen=True)
class Roll:
    frames: npt.NDArray[np.uint8]  # (F, H, W, 3), possibly mapped from disk
    frame_rate_hz: float
    log_mel: npt.NDArray[np.float32] | None  # (M, mels) from 0 s; None: no sound


@dataclass(frozen=True)
class Clips:
    frames: npt.NDArray[np.uint8]  # (N, T, H, W, 3)
    log_mel: npt.NDArray[np.float32] | None  # (N, frames, mels); None: no sound


@dataclass(frozen=True)
class ClipCache:
    """Reads what was decoded before from ``folder``, decodes and writes what was not."""

    folder: Path

    def roll(self, path: Path, shape: RollShape) -> Roll:
        request = DecodeRequest(At((0.0,)), shape.video, shape.audio)
        frames, log_mel, duration_s = self._decoded(path, request)
        shown = max(1, math.ceil(duration_s * shape.video.frame_rate_hz))
        return Roll(frames[0][:shown], shape.video.frame_rate_hz, None if log_mel is None else log_mel[0])

    def clips(self, path: Path, video: VideoInput, audio: AudioInput | None, count: int) -> Clips:
        """At most ``count`` evenly spaced clips, as serving takes them."""
        frames, log_mel, _ = self._decoded(path, DecodeRequest(Uniform(count), video, audio))
        return Clips(frames, log_mel)

    def _decoded(
        self, path: Path, request: DecodeRequest
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None, float]:
        stem = self.folder / _key(path, request)
        frames_file, rest_file = stem.with_suffix(".frames.npy"), stem.with_suffix(".rest.npz")
        if not rest_file.exists():
            self._write(decode_file(path, request), frames_file, rest_file)
        with np.load(rest_file) as rest:
            log_mel = rest.get("log_mel")
            duration_s = float(rest["duration_s"])
        return np.load(frames_file, mmap_mode="r"), log_mel, duration_s

    def _write(self, decoded: Decoded, frames_file: Path, rest_file: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        np.save(frames_file, decoded.clips)
        # Last: its presence says that both are whole.
        if decoded.log_mel is None:
            np.savez(rest_file, duration_s=decoded.info.duration_s)
        else:
            np.savez(rest_file, duration_s=decoded.info.duration_s, log_mel=decoded.log_mel)


def _key(path: Path, request: DecodeRequest) -> str:
    stat = path.stat()
    text = f"{CACHE_VERSION} {path.resolve()} {stat.st_size} {stat.st_mtime_ns} {request}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
