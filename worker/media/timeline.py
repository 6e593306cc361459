"""When the packets of a video are shown, as found by reading all of them without decoding.

Headers lie, in both directions: a duration that is too short would hide the rest of a video from
every plan, one that is too long would spend the clips on nothing. So the packets decide.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]

DEFAULT_INTERVAL_S = 1 / 25

# Containers round times, Matroska to a millisecond: a picture that is late by less is in time.
ROUNDING_S = 0.001


@dataclass(frozen=True, slots=True)
class Timeline:
    """The packets of one video track, in the order in which they lie in the file."""

    origin_s: float  # the container's time of the first picture shown; 0 s of the presentation
    times_s: Times = field(repr=False)  # (P,), presentation time of each packet's picture
    keyframes: npt.NDArray[np.int64] = field(repr=False)  # (K,), ordinals of packets, ascending
    interval_s: float  # usual distance of two pictures
    duration_s: float  # end of the last picture
    continuous: bool  # False: timestamps were missing or went back, and were made up
    _shown_s: Times = field(repr=False)  # (P,), the times in order
    _key_times_s: Times = field(repr=False)  # (K,), ascending

    @classmethod
    def from_packets(
        cls, times_s: list[float], end_s: float, keyframes: list[int], continuous: bool
    ) -> Timeline:
        """``times_s`` and ``end_s`` on the container's clock; at least one packet."""
        times = np.asarray(times_s, np.float64)
        origin_s = float(times.min())
        times = times - origin_s
        shown = np.sort(times)
        steps = np.diff(shown)
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
            duration_s=max(end_s - origin_s, float(shown[-1]) + interval_s),
            continuous=continuous,
            _shown_s=shown,
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


@dataclass(slots=True)
class TimelineBuilder:
    """Collects packets; repairs timestamps that are missing or jump back (concatenated streams)."""

    gap_s: float = DEFAULT_INTERVAL_S  # assumed where nothing is known
    _times_s: list[float] = field(default_factory=list)
    _keyframes: list[int] = field(default_factory=list)
    _end_s: float = float("-inf")
    _last_dts_s: float = float("-inf")
    _offset_s: float = 0.0
    _continuous: bool = True

    def __len__(self) -> int:
        return len(self._times_s)

    def add(self, pts_s: float | None, dts_s: float | None, duration_s: float, keyframe: bool) -> float:
        """Note one packet and return the presentation time that it gets, on the container's clock."""
        if pts_s is None:
            pts_s = dts_s
            self._continuous = False
        if dts_s is not None and dts_s + self._offset_s < self._last_dts_s - self.gap_s:
            self._offset_s = self._last_dts_s + self.gap_s - dts_s  # a new stream begins: carry on
            self._continuous = False
        if dts_s is not None:
            self._last_dts_s = dts_s + self._offset_s
        made_up_s = self._end_s if self._times_s else 0.0
        time_s = made_up_s if pts_s is None else pts_s + self._offset_s
        if keyframe:
            self._keyframes.append(len(self._times_s))
        self._times_s.append(time_s)
        self._end_s = max(self._end_s, time_s + (duration_s if duration_s > 0 else self.gap_s))
        return time_s

    def build(self) -> Timeline:
        return Timeline.from_packets(self._times_s, self._end_s, self._keyframes, self._continuous)
