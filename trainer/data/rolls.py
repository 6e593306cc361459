"""Decoded videos, kept on disk: decoding is done once, by the decoder that serving uses.

A *roll* is one video at a higher frame rate and size than the network's input, so that training can cut
clips out of it at any start, speed and crop. *Clips* are what serving would give the network.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from models.spec import AudioInput, VideoInput
from trainer.config import Data, FlowMethod
from trainer.data import flow
from trainer.data.footage import Footage, black, inside, not_seen, read_footage, read_sound
from trainer.data.manifest import WHOLE, Stretch
from worker.media.sampling import At, Plan
from worker.media.types import DecodeRequest

CACHE_VERSION = 1  # raise when decoding changes what it gives
ROLL_FRAMES = 256  # at most

Pixels = npt.NDArray[np.uint8]
Sound = npt.NDArray[np.float32]


class CacheUnwritable(ValueError):
    """The message names the folder and says what to do."""


@dataclass(frozen=True)
class Wanted:
    """What a network takes of a video."""

    video: VideoInput
    audio: AudioInput | None  # None: it does not hear
    waveform: bool = False  # it hears samples instead of spectrograms
    flow: FlowMethod | None = None
    sees: bool = True  # False: files without video will do


@dataclass(frozen=True)
class RollShape:
    """How rolls are decoded: finer than the network's input in time and space."""

    video: VideoInput
    audio: AudioInput | None
    waveform: bool = False
    sees: bool = True

    @staticmethod
    def of(wanted: Wanted, data: Data) -> RollShape:
        video, audio = wanted.video, wanted.audio
        rate_hz = video.frame_rate_hz * data.oversampling
        finer = {
            "frames": min(ROLL_FRAMES, math.ceil(data.roll_seconds * rate_hz)),
            "frame_rate_hz": rate_hz,
            "height": round(video.height * (1 + data.margin)),
            "width": round(video.width * (1 + data.margin)),
        }
        longer = {"frames": math.ceil(data.roll_seconds / audio.hop_s)} if audio else {}
        return RollShape(
            video.model_copy(update=finer),
            audio and audio.model_copy(update=longer),
            wanted.waveform,
            wanted.sees,
        )

    @property
    def lasts_s(self) -> float:
        """How much of a longer video a roll shows."""
        return self.video.frames / self.video.frame_rate_hz


@dataclass(frozen=True)
class Roll:
    """The beginning of a video, or of the stretch of it that is used."""

    frames: Pixels  # (F, H, W, 3), possibly mapped from disk
    frame_rate_hz: float
    log_mel: Sound | None  # (M, mels) from 0 s; None: no sound
    waveform: Sound | None = None  # (S,) from 0 s; None: no sound, or none is wanted
    video_s: float = 0.0  # length of what it is the beginning of


@dataclass(frozen=True)
class Clips:
    frames: Pixels  # (N, T, H, W, 3)
    log_mel: Sound | None  # (N, frames, mels); None: no sound
    waveform: Sound | None = None  # (N, S); None: no sound, or none is wanted
    flow: Pixels | None = None  # (N, T - 1, H, W, 2); None: none is wanted


@dataclass(frozen=True)
class ClipCache:
    """Reads what was decoded before from ``folder``, decodes and writes what was not."""

    folder: Path

    def roll(self, path: Path, shape: RollShape, stretch: Stretch = WHOLE) -> Roll:
        request = DecodeRequest(inside(At((0.0,)), stretch), shape.video, shape.audio)
        footage, _ = self._footage(path, request, stretch, sees=shape.sees)
        rate_hz, length_s = shape.video.frame_rate_hz, stretch.of(footage.duration_s)
        waveform = None
        if shape.audio and shape.waveform:
            lasts_s = min(length_s, shape.audio.clip_s)
            waveform = self._heard(path, [stretch.start_s], lasts_s, shape.audio.sample_rate_hz, stretch)
        shown = max(1, math.ceil(length_s * rate_hz))
        log_mel = None if footage.log_mel is None else footage.log_mel[0]
        heard = None if waveform is None else waveform[0]
        return Roll(footage.frames[0][:shown], rate_hz, log_mel, heard, length_s)

    def clips(self, path: Path, wanted: Wanted, plan: Plan, stretch: Stretch = WHOLE) -> Clips:
        """As serving takes them by this plan."""
        request = DecodeRequest(inside(plan, stretch), wanted.video, wanted.audio)
        footage, stem = self._footage(path, request, stretch, sees=wanted.sees, timed=wanted.waveform)
        waveform = None
        if wanted.audio and wanted.waveform:
            starts_s = footage.starts_s.tolist()
            waveform = self._heard(path, starts_s, wanted.audio.clip_s, wanted.audio.sample_rate_hz, stretch)
        motion = self._flow(footage.frames, stem, wanted.flow) if wanted.flow else None
        return Clips(footage.frames, footage.log_mel, waveform, motion)

    def _footage(
        self, path: Path, request: DecodeRequest, stretch: Stretch, *, sees: bool, timed: bool = False
    ) -> tuple[Footage, Path]:
        """With the path, less its suffix, that further things about these clips are kept under.

        ``timed``: their starts are needed.
        """
        stem = self.folder / _key(path, str(request))
        frames_file, rest_file = stem.with_suffix(".frames.npy"), stem.with_suffix(".rest.npz")
        rest = _rest(rest_file)
        if not rest or (timed and "starts_s" not in rest):
            footage = read_footage(path, request, stretch, sees=sees)
            self.folder.mkdir(parents=True, exist_ok=True)
            if footage.seen:
                _save(frames_file, footage.frames)
            _save_rest(rest_file, footage)  # last: its presence says that all is whole
            return footage, stem
        starts_s = rest.get("starts_s", np.zeros(0))
        seen = frames_file.exists()
        if not seen and sees:
            raise not_seen(path)
        frames = np.load(frames_file, mmap_mode="r") if seen else black(len(starts_s), request.video)
        return Footage(frames, rest.get("log_mel"), starts_s, float(rest["duration_s"]), seen), stem

    def _heard(
        self, path: Path, starts_s: Sequence[float], lasts_s: float, rate_hz: int, stretch: Stretch
    ) -> Sound | None:
        """(N, S) samples from each start on, silent outside of the stretch; None: no sound."""
        file = self.folder / f"{_key(path, f'sound at {rate_hz} Hz')}.sound.npy"
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            _save(file, read_sound(path, rate_hz))
        recording = np.load(file, mmap_mode="r")
        if not len(recording):
            return None
        recording = recording[: int(min(stretch.end_s * rate_hz, len(recording)))]
        heard = np.zeros((len(starts_s), round(lasts_s * rate_hz)), np.float32)
        for row, start_s in zip(heard, starts_s, strict=True):
            part = recording[round(start_s * rate_hz) :][: len(row)]
            row[: len(part)] = part
        return heard

    def _flow(self, frames: Pixels, stem: Path, method: FlowMethod) -> Pixels:
        file = stem.with_suffix(f".{method}-{flow.VERSION}.npy")
        if not file.exists():
            _save(file, flow.optical_flow(frames, method))
        found: Pixels = np.load(file, mmap_mode="r")
        return found


def _key(path: Path, what: str) -> str:
    stat = path.stat()
    text = f"{CACHE_VERSION} {path.resolve()} {stat.st_size} {stat.st_mtime_ns} {what}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _rest(file: Path) -> dict[str, Any]:
    """All but the frames; empty: there is nothing yet."""
    if not file.exists():
        return {}
    with np.load(file) as rest:
        return dict(rest)


def _save_rest(file: Path, footage: Footage) -> None:
    rest: dict[str, npt.ArrayLike] = {"duration_s": footage.duration_s, "starts_s": footage.starts_s}
    if footage.log_mel is not None:
        rest["log_mel"] = footage.log_mel
    _whole(file, lambda target: np.savez(target, **rest))  # type: ignore[arg-type]


def _save(file: Path, array: npt.NDArray[np.generic]) -> None:
    _whole(file, lambda target: np.save(target, array))


def _whole(file: Path, write: Callable[[BinaryIO], None]) -> None:
    """Whole or not at all: others may read it, or write the same. Raises CacheUnwritable."""
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as target:
            write(target)
        unfinished.rename(file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise CacheUnwritable(
            f"decoded clips cannot be kept in {file.parent}: {error}; make room (all of it may be deleted, "
            "it is decoded again) or name another folder with --cache"
        ) from error
