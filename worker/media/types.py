"""What media is, while it is in flight. No vendor library is imported here."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from models.spec import AudioInput, VideoInput

# Part of every cache key: raise it with any change to the pixels or the spectrograms that come out, or to
# where in the video they come from.
PREPROCESSING_VERSION = "3"


@dataclass(frozen=True, slots=True)
class Media:
    """The bytes of one upload, in an unnamed private file that vanishes with the process."""

    file: BinaryIO
    size_bytes: int
    sha256: str

    def duplicate(self) -> Media:
        """The same bytes, for somebody who closes them at another time."""
        return Media(os.fdopen(os.dup(self.file.fileno()), "rb"), self.size_bytes, self.sha256)

    def close(self) -> None:
        self.file.close()


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What was found in the media, rather than what its container says."""

    container: str
    video_codec: str
    width: int  # pixels as displayed: after rotation
    height: int
    fps: float  # average; 0.0: unknown
    duration_s: float  # as its packets say; more where a part of them is missing, which nobody has seen
    has_audio: bool


class SamplingPlan(Protocol):
    """Where clips start. Pure: the same arguments give the same answer."""

    def starts_s(self, duration_s: float, clip_s: float) -> tuple[float, ...]:
        """Start of each clip, ascending, within [0, max(0, duration_s - clip_s)]."""
        ...


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """What one decode job shall bring."""

    plan: SamplingPlan
    video: VideoInput
    audio: AudioInput | None = None  # None: sound is not decoded


@dataclass(frozen=True, slots=True)
class Decoded:
    """Clips of one upload, ready for a network."""

    info: MediaInfo
    clips: npt.NDArray[np.uint8] = field(repr=False)  # (N, T, H, W, 3), RGB
    pts_s: npt.NDArray[np.float64] = field(repr=False)  # (N, T), presentation time of each frame
    starts_s: tuple[float, ...]  # N, the plan's times
    missing: int  # clips of the plan that could not be decoded
    log_mel: npt.NDArray[np.float32] | None = field(repr=False)  # (N, frames, mels); None: no sound
    decode_s: float  # wall time in the decoder process

    def __post_init__(self) -> None:
        count = len(self.starts_s)
        if self.clips.ndim != 5 or self.clips.dtype != np.uint8 or self.clips.shape[-1] != 3:
            raise ValueError(f"clips must be uint8 (N,T,H,W,3), got {self.clips.dtype} {self.clips.shape}")
        if self.clips.shape[0] != count or self.pts_s.shape != self.clips.shape[:2]:
            raise ValueError(
                f"{count} starts, clips {self.clips.shape} and pts {self.pts_s.shape} do not belong together"
            )
        if self.log_mel is not None and self.log_mel.shape[0] != count:
            raise ValueError(f"{count} clips but log_mel {self.log_mel.shape}")
