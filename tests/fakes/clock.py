"""A clock that stands still until it is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class ManualClock:
    """Implements worker.clock.Clock."""

    def __init__(self) -> None:
        self._passed_s = 0.0

    def monotonic_s(self) -> float:
        return self._passed_s

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._passed_s)

    def advance(self, seconds: float) -> None:
        self._passed_s += seconds
