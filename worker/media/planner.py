"""Which packets of a video are decoded for the pictures that clips want. Pure: times in, ordinals out.

Three things cost nothing to leave out: packets that lie between the last wanted picture and the keyframe of
the next one, packets after the last wanted one, and, on the way, pictures that nobody wants and that no
other picture leans on (``NONREF`` in libav). What is left is the least that a decoder can do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from worker.media.timeline import ROUNDING_S, Timeline, Times


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of packets that is decoded without a gap, [first, last]."""

    first: int  # ordinal of the packet to start from
    last: int
    key_s: float  # time of the first packet's picture
    wanted_s: float  # time of the first picture that is wanted


@dataclass(frozen=True, slots=True)
class DecodePlan:
    segments: tuple[Segment, ...]  # ascending, apart
    wanted: npt.NDArray[np.bool_] = field(repr=False)  # (P,): False: the picture may be dropped undecoded
    lean: bool  # the packets' times are relied on: for seeking, and for dropping what is not wanted

    @property
    def packets(self) -> int:
        """How many go to the decoder, which may still skip some of them."""
        return sum(segment.last - segment.first + 1 for segment in self.segments)


def plan_decode(timeline: Timeline, times_s: Times) -> DecodePlan:
    """The least that shows what is on the screen at ``times_s``, in any shape and order."""
    due_s = np.unique([timeline.shown_at(time_s + ROUNDING_S) for time_s in np.unique(times_s)])
    wanted = np.isin(timeline.times_s, due_s)
    ends = np.flatnonzero(wanted)
    ends = ends[np.argsort(timeline.times_s[ends], kind="stable")]
    segments: list[Segment] = []
    for end in ends.tolist():
        time_s = float(timeline.times_s[end])
        first = timeline.keyframe_before(time_s)
        if segments and first <= segments[-1].last:
            before = segments[-1]
            segments[-1] = Segment(before.first, max(before.last, end), before.key_s, before.wanted_s)
        else:
            segments.append(Segment(first, max(first, end), float(timeline.times_s[first]), time_s))
    return DecodePlan(tuple(segments), wanted, lean=True)


def plans(timeline: Timeline, times_s: Times) -> Iterator[DecodePlan]:
    """From the cheapest to the one that trusts the file least; the next one where a file turns out to lie."""
    count = len(timeline.times_s)
    everything = np.ones(count, bool)
    if timeline.continuous:
        lean = plan_decode(timeline, times_s)
        yield lean
        yield DecodePlan(lean.segments, everything, lean=False)
    yield DecodePlan((Segment(0, count - 1, float("-inf"), float("inf")),), everything, lean=False)
