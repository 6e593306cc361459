"""When to stop instead of answering the whole topic with `review`. Pure."""

from __future__ import annotations

import math
from collections import deque


class FailureWindow:
    """Looks at the last ``size`` outcomes. Trips when ``share`` of the window failed systemically,
    full or not: a worker that starts into an outage stops after ``size * share`` uploads."""

    def __init__(self, size: int, share: float) -> None:
        self.size = size
        self._outcomes: deque[bool] = deque(maxlen=size)
        self._limit = max(1, math.ceil(size * share))

    def add(self, failed: bool) -> None:
        self._outcomes.append(failed)

    @property
    def failures(self) -> int:
        return sum(self._outcomes)

    @property
    def tripped(self) -> bool:
        return self.failures >= self._limit
