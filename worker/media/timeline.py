"""When the packets of a video are shown, as found by reading all of them without decoding.

Headers lie, in both directions: a duration that is too short would hide the rest of a video from
every plan, one that is too long would spend the clips on nothing. So the packets decide where clips
may start. (What the track promises and does not bring counts as not seen: ``track.promised_s``.)

Packets lie as well: one that is hours late stretches the whole. So plans are laid out on active
time, in which nothing happens for a few seconds at most, and are brought back to presentation time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]

DEFAULT_INTERVAL_S = 1 / 25

# Containers round times, Matroska to a millisecond: a picture that is late by less is in time.
ROUNDING_S = 0.001

# One picture counts for no longer than this, or a clip, or four usual intervals, when clips are laid out.
LONGEST_PICTURE_S = 2.0


@dataclass(frozen=True, slots=True)
class Timeline:
    """The packets of one video track, in the order in which they lie in the file."""

    origin_s: float  # the container's time of the first picture shown; 0 s of the presentation
    times_s: Times = field(repr=False)  # (P,), presentation time of each packet's picture
    keyframes: npt.NDArray[np.int64] = field(repr=False)  # (K,), ordinals of packets, ascending
    interval_s: float  # usual distance of two pictures
    duration_s: float  # end of the last picture
    continuous: bool  # False: some timestamps were made up (missing, as in AVI, or carried on)
    carried_on: bool  # the clock started again: no other track's timestamps fit these any more
    _shown_s: Times = field(repr=False)  # (S,), times of the pictures that are shown, in order
    _key_times_s: Times = field(repr=False)  # (K,), ascending

    @classmethod
    def from_packets(
        cls,
        times_s: list[float],
        shown: list[bool],
        end_s: float,
        keyframes: list[int],
        continuous: bool,
        carried_on: bool,
    ) -> Timeline:
        """``times_s`` and ``end_s`` on the container's clock; at least one packet is shown."""
        times = np.asarray(times_s, np.float64)
        visible = times[np.asarray(shown, bool)]
        origin_s = float(visible.min())
        times = times - origin_s
        shown_s = np.sort(visible) - origin_s
        steps = np.diff(shown_s)
        steps = steps[steps > 0]
        interval_s = float(np.median(steps)) if steps.size else DEFAULT_INTERVAL_S
        keys = np.asarray(keyframes, np.int64)
        # A keyframe that is shown before an earlier one is no place to start from.
        key_times = times[keys] if keys.size else np.empty(0)
        forward = key_times >= np.maximum.accumulate(key_times) if keys.size else np.empty(0, bool)
        return cls(
            origin_s=origin_s,
            times_s=times,
            keyframes=keys[forward],
            interval_s=interval_s,
            duration_s=max(end_s - origin_s, float(shown_s[-1]) + interval_s),
            continuous=continuous,
            carried_on=carried_on,
            _shown_s=shown_s,
            _key_times_s=key_times[forward],
        )

    def shown_at(self, time_s: float) -> float:
        """Time of the picture that is on the screen at ``time_s``; before the first: the first."""
        index = int(np.searchsorted(self._shown_s, time_s, side="right")) - 1
        return float(self._shown_s[max(0, index)])

    def keyframe_before(self, time_s: float) -> int:
        """Ordinal of the packet from which decoding must start to see ``time_s``."""
        index = int(np.searchsorted(self._key_times_s, time_s, side="right")) - 1
        return int(self.keyframes[index]) if index >= 0 else 0

    def snapped(self, starts_s: tuple[float, ...], tolerance_s: float, last_s: float) -> tuple[float, ...]:
        """Each start moved to the nearest keyframe within the tolerance and not after ``last_s``.

        Starts that meet become one.
        """
        keys_s = self._key_times_s[self._key_times_s <= last_s + ROUNDING_S]
        if not keys_s.size:
            return starts_s
        moved = set()
        for start_s in starts_s:
            nearest_s = float(keys_s[np.argmin(np.abs(keys_s - start_s))])
            moved.add(nearest_s if abs(nearest_s - start_s) <= tolerance_s else start_s)
        return tuple(sorted(moved))

    @property
    def pictures(self) -> int:
        """How many are shown: not those that an edit list discards."""
        return len(self._shown_s)

    def active(self, clip_s: float) -> ActiveTime:
        """The clock on which clips of this length are laid out."""
        longest_s = max(LONGEST_PICTURE_S, clip_s, 4 * self.interval_s)
        lasts_s = np.diff(self._shown_s, append=self.duration_s)
        surplus_s = np.cumsum(np.maximum(lasts_s - longest_s, 0.0))
        before_s = np.concatenate([[0.0], surplus_s[:-1]])
        return ActiveTime(self.duration_s - float(surplus_s[-1]), self._shown_s - before_s, before_s)


@dataclass(frozen=True, slots=True)
class ActiveTime:
    """Presentation time without what goes on for too long after each picture.

    What is left of a picture is no shorter than a clip, so no clip reaches over a long picture into the
    next one and leaves less of it to see than was planned.
    """

    duration_s: float
    _begins_s: Times = field(repr=False)  # (S,), of each picture, on active time
    _before_s: Times = field(repr=False)  # (S,), what was left out before each picture

    def to_presentation(self, starts_s: tuple[float, ...]) -> tuple[float, ...]:
        pictures = np.maximum(np.searchsorted(self._begins_s, starts_s, side="right") - 1, 0)
        return tuple((np.asarray(starts_s, np.float64) + self._before_s[pictures]).tolist())


@dataclass(slots=True)
class TimelineBuilder:
    """Collects packets; repairs timestamps that are missing or jump back (concatenated streams)."""

    gap_s: float = DEFAULT_INTERVAL_S  # assumed where nothing is known
    _times_s: list[float] = field(default_factory=list)
    _shown: list[bool] = field(default_factory=list)
    _keyframes: list[int] = field(default_factory=list)
    _end_s: float = float("-inf")
    _last_dts_s: float = float("-inf")
    _offset_s: float = 0.0
    _continuous: bool = True
    _carried_on: bool = False

    def __len__(self) -> int:
        return len(self._times_s)

    @property
    def shows_any(self) -> bool:
        return math.isfinite(self._end_s)

    def add(
        self,
        pts_s: float | None,
        dts_s: float | None,
        duration_s: float,
        keyframe: bool,
        shown: bool = True,
    ) -> None:
        """Note one packet. Not ``shown``: decoded for the sake of others, and no place to start from,
        as nothing comes out that would prove it a keyframe."""
        if pts_s is None:
            pts_s = dts_s
            self._continuous = False
        if dts_s is not None and dts_s + self._offset_s < self._last_dts_s - self.gap_s:
            self._offset_s = self._last_dts_s + self.gap_s - dts_s  # a new stream begins: carry on
            self._continuous = False
            self._carried_on = True
        if dts_s is not None:
            self._last_dts_s = dts_s + self._offset_s
        if pts_s is not None:
            time_s = pts_s + self._offset_s
        else:
            time_s = self._end_s if math.isfinite(self._end_s) else 0.0
        if keyframe and shown:
            self._keyframes.append(len(self._times_s))
        self._times_s.append(time_s)
        self._shown.append(shown)
        if shown:
            self._end_s = max(self._end_s, time_s + (duration_s if duration_s > 0 else self.gap_s))

    def build(self) -> Timeline:
        return Timeline.from_packets(
            self._times_s, self._shown, self._end_s, self._keyframes, self._continuous, self._carried_on
        )
