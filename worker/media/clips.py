"""Filling clips with the pictures that were on the screen at the times of their frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from worker.media.container import foreign_errors
from worker.media.picture import PictureWriter, Pixels
from worker.media.timeline import ROUNDING_S, Timeline
from worker.media.types import MediaInfo

# Where times are made up, a picture that is this much older than the one due is not that one. Where
# they are real, two pictures are enough: some are never shown (a field, a reference), some are broken.
STALE_S = 0.5


class ClipFiller:
    """Gives each wanted time the picture shown then: the last one that is not later."""

    def __init__(
        self, timeline: Timeline, times_s: npt.NDArray[np.float64], clips: Pixels, writer: PictureWriter
    ) -> None:
        self.info: MediaInfo | None = None
        self.pts_s = np.zeros_like(times_s)  # (N, T)
        self.own = np.zeros(times_s.shape, bool)  # (N, T): the picture is the one shown at that time
        self._timeline = timeline
        near_s = 2 * timeline.interval_s
        self._tolerance_s = min(STALE_S, near_s) if timeline.continuous else max(STALE_S, near_s)
        self._times_s = times_s.ravel()
        self._order = np.argsort(self._times_s, kind="stable")
        self._clips = clips.reshape(-1, *clips.shape[2:])  # (N * T, H, W, 3)
        self._writer = writer
        self._next = 0
        self._shown: tuple[float, VideoFrame] | None = None

    @property
    def done(self) -> bool:
        return self._next == len(self._order)

    @property
    def next_time_s(self) -> float:
        return float(self._times_s[self._order[self._next]])

    def take(self, time_s: float, frame: VideoFrame) -> None:
        """The next picture in the order of presentation."""
        self._fill(before_s=time_s - ROUNDING_S, picture=self._shown or (time_s, frame))
        self._shown = (time_s, frame)

    def finish(self) -> None:
        """No further picture: the last one stays on the screen."""
        if self._shown is not None:
            self._fill(before_s=float("inf"), picture=self._shown)

    def _fill(self, before_s: float, picture: tuple[float, VideoFrame]) -> None:
        pts_s, frame = picture
        first: Pixels | None = None
        while not self.done and self.next_time_s < before_s:
            slot = self._order[self._next]
            if first is None:
                first = self._clips[slot]
                with foreign_errors("scale a picture of"):
                    self._writer.write(frame, first)
            else:
                self._clips[slot] = first
            due_s = self._timeline.shown_at(self._times_s[slot] + ROUNDING_S)
            self.own.flat[slot] = abs(due_s - pts_s) <= self._tolerance_s
            self.pts_s.flat[slot] = pts_s
            self._next += 1
