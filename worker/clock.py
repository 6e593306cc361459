"""Time as a value that is passed in: a clock that tests can turn, and one deadline for each upload."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from worker.errors import DeadlineExceeded


class Clock(Protocol):
    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    def now(self) -> datetime:
        """Wall time, aware, UTC. For records that people and other systems read, never for durations."""
        ...


class SystemClock:
    def monotonic_s(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment by which an upload must be answered, on the monotonic clock."""

    clock: Clock
    at_s: float

    @classmethod
    def after(cls, clock: Clock, seconds: float) -> Deadline:
        return cls(clock, clock.monotonic_s() + seconds)

    @property
    def remaining_s(self) -> float:
        """Seconds left, 0.0 when it has passed."""
        return max(0.0, self.at_s - self.clock.monotonic_s())

    @property
    def passed(self) -> bool:
        return self.clock.monotonic_s() >= self.at_s

    def check(self, what: str) -> None:
        """Raise DeadlineExceeded when the deadline has passed."""
        if self.passed:
            raise DeadlineExceeded(f"the upload's deadline passed before {what}")

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and ``seconds`` from now."""
        return Deadline(self.clock, min(self.at_s, self.clock.monotonic_s() + seconds))
