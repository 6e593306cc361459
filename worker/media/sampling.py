"""Where the clips of a video start. Pure: durations in, start times out; decoding fetches them.

All plans spread their clips over the whole video, never before 0 and never past the last place
where a clip still fits. Where clips would leave gaps, a key moves each one within its share of the
video (jitter), so that nobody who lacks the key knows which parts will not be looked at.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.spec import VideoInput

if TYPE_CHECKING:  # decoder processes import this module and need no settings
    from worker.settings import SamplingSettings

_EPSILON_S = 1e-9  # so that 2.0000000001 clips' worth of video does not become three clips


@dataclass(frozen=True, slots=True)
class Uniform:
    """At most ``clips``, evenly spaced; fewer when fewer cover the whole video."""

    clips: int
    key: bytes = field(default=b"", repr=False)  # empty: no jitter

    def starts_s(self, duration_s: float, clip_s: float) -> tuple[float, ...]:
        return _spread(min(self.clips, _covering(duration_s, clip_s)), duration_s, clip_s, self.key)

    def describe(self) -> str:
        return f"uniform({self.clips}){_key_name(self.key)}"


@dataclass(frozen=True, slots=True)
class Sliding:
    """A clip every ``hop_s``, or as often as ``budget`` clips allow."""

    hop_s: float
    budget: int
    key: bytes = field(default=b"", repr=False)

    def starts_s(self, duration_s: float, clip_s: float) -> tuple[float, ...]:
        hops = math.ceil(_last_start_s(duration_s, clip_s) / self.hop_s - _EPSILON_S)
        return _spread(min(self.budget, hops + 1), duration_s, clip_s, self.key)

    def describe(self) -> str:
        return f"sliding({self.hop_s:g}s,{self.budget}){_key_name(self.key)}"


@dataclass(frozen=True, slots=True)
class Dense:
    """Clips back to back, without gaps, until ``budget`` forces some."""

    budget: int
    key: bytes = field(default=b"", repr=False)

    def starts_s(self, duration_s: float, clip_s: float) -> tuple[float, ...]:
        return _spread(min(self.budget, _covering(duration_s, clip_s)), duration_s, clip_s, self.key)

    def describe(self) -> str:
        return f"dense({self.budget}){_key_name(self.key)}"


@dataclass(frozen=True, slots=True)
class Random:
    """``clips`` at random, one in each equal share of the video, also where they overlap."""

    clips: int
    seed: bytes = field(repr=False)

    def starts_s(self, duration_s: float, clip_s: float) -> tuple[float, ...]:
        last_s = _last_start_s(duration_s, clip_s)
        return _jittered(self.clips, duration_s, clip_s, self.seed) if last_s > 0 else (0.0,)

    def describe(self) -> str:
        return f"random({self.clips}){_key_name(self.seed)}"


@dataclass(frozen=True, slots=True)
class At:
    """Exactly these: clips that another stage has picked."""

    starts: tuple[float, ...]

    def starts_s(self, duration_s: float, clip_s: float) -> tuple[float, ...]:
        last_s = _last_start_s(duration_s, clip_s)
        return tuple(sorted({min(max(0.0, start), last_s) for start in self.starts}))

    def describe(self) -> str:
        return f"at({','.join(f'{start:.3f}' for start in self.starts)})"


@dataclass(frozen=True, slots=True)
class ByDuration:
    """``short`` up to and including ``limit_s``, ``long`` above."""

    short: Uniform
    long: Sliding
    limit_s: float

    def starts_s(self, duration_s: float, clip_s: float) -> tuple[float, ...]:
        plan = self.short if duration_s <= self.limit_s else self.long
        return plan.starts_s(duration_s, clip_s)

    def describe(self) -> str:
        return f"auto({self.short.describe()},{self.limit_s:g}s,{self.long.describe()})"


@dataclass(frozen=True, slots=True)
class Snapped:
    """Another plan's clips, each moved to a keyframe where one is near: nothing before it is decoded.

    Where keyframes lie is known to the decoder only, so it moves them.
    """

    plan: Uniform | Sliding | Dense | Random | ByDuration
    tolerance_s: float  # a clip is moved by no more than this

    def starts_s(self, duration_s: float, clip_s: float) -> tuple[float, ...]:
        return self.plan.starts_s(duration_s, clip_s)

    def describe(self) -> str:
        return f"{self.plan.describe()}~{self.tolerance_s:g}s"


Plan = Uniform | Sliding | Dense | Random | At | ByDuration | Snapped


def plan_from_settings(settings: SamplingSettings, sha256: str) -> Plan:
    """The plan for the content with this digest: the same on replay, not predictable without the secret."""
    plan = _exact_plan(settings, sha256)
    return Snapped(plan, settings.snap_s) if settings.snap_s > 0 else plan


def _exact_plan(settings: SamplingSettings, sha256: str) -> Uniform | Sliding | Dense | Random | ByDuration:
    key = jitter_key(settings.jitter_secret.get_secret_value(), sha256)
    uniform = Uniform(settings.uniform_clips, key)
    sliding = Sliding(settings.sliding_hop_s, settings.clip_budget, key)
    match settings.strategy:
        case "uniform":
            return uniform
        case "sliding":
            return sliding
        case "dense":
            return Dense(settings.clip_budget, key)
        case "random":
            return Random(settings.uniform_clips, key or bytes.fromhex(sha256))
        case "auto":
            return ByDuration(uniform, sliding, settings.short_video_s)


def jitter_key(secret: str, sha256: str) -> bytes:
    """Key of one content's jitter; empty without a secret."""
    if not secret:
        return b""
    return hmac.digest(secret.encode(), bytes.fromhex(sha256), "sha256")


def clip_times_s(starts_s: tuple[float, ...], video: VideoInput) -> npt.NDArray[np.float64]:
    """(N, T): the presentation time of every frame of every clip."""
    offsets = np.arange(video.frames) / video.frame_rate_hz
    return np.asarray(starts_s, np.float64)[:, None] + offsets


def _last_start_s(duration_s: float, clip_s: float) -> float:
    return max(0.0, duration_s - clip_s)


def _covering(duration_s: float, clip_s: float) -> int:
    """How many clips cover the video without gaps; at least one."""
    return max(1, math.ceil(duration_s / clip_s - _EPSILON_S))


def _spread(count: int, duration_s: float, clip_s: float, key: bytes) -> tuple[float, ...]:
    """``count`` clips over the whole video: the first at its start, the last at its end."""
    last_s = _last_start_s(duration_s, clip_s)
    if last_s == 0.0:
        return (0.0,)
    if key and count * clip_s < duration_s:
        return _jittered(count, duration_s, clip_s, key)
    if count == 1:
        return (last_s / 2,)
    return tuple(min(last_s, last_s * index / (count - 1)) for index in range(count))


def _jittered(count: int, duration_s: float, clip_s: float, key: bytes) -> tuple[float, ...]:
    """One start anywhere in each of ``count`` equal shares, brought to where a clip fits.

    The shares reach from a clip before the video to its end: so its first and its last moment are no
    less likely to be seen than others. Clips that would overlap leave no gaps, and their shares stay inside,
    where no two of them meet.
    """
    last_s = _last_start_s(duration_s, clip_s)
    first_s, end_s = (-clip_s, duration_s) if count * clip_s < duration_s else (0.0, last_s)
    drawn = (first_s + (end_s - first_s) * (index + _unit(key, index)) / count for index in range(count))
    return tuple(min(max(0.0, start_s), last_s) for start_s in drawn)


def _unit(key: bytes, index: int) -> float:
    """A number in [0, 1) that only holders of the key can tell."""
    digest = hmac.digest(key, index.to_bytes(4), "sha256")
    return int.from_bytes(digest[:6]) / 2**48


def _key_name(key: bytes) -> str:
    """Tells keys apart in a cache key without giving them away."""
    return f"#{hashlib.sha256(b'sampling key ' + key).hexdigest()[:12]}" if key else ""
