"""When a batch closes, and what is in it. Pure: it is given the queue and the time.

Batches form late: the owner thread asks when the model is free, so while it runs a batch the next one
fills by itself, and the delay only matters when the model would otherwise idle.

Who is served first: every entry is due some patience after it came, or at its deadline if that is sooner, and
the one that is due first goes first. What is urgent overtakes what is not, and nothing waits for ever behind
it: earliest-due-first, the order of Liu and Layland (1973), on due times that we choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Why = Literal["full", "delay", "draining"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """One entry of the queue, as far as batching cares."""

    clips: int  # its cost
    enqueued_at_s: float
    deadline_at_s: float
    patience_s: float = 0.0  # how far others may overtake it

    @property
    def due_at_s(self) -> float:
        return min(self.enqueued_at_s + self.patience_s, self.deadline_at_s)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the head of the queue."""

    dropped: tuple[int, ...] = ()  # indices whose deadline has passed: nobody waits for them
    taken: tuple[int, ...] = ()  # indices that form a batch now
    why: Why | None = None  # set when ``taken`` is
    wait_s: float | None = None  # ask again after this long, or when an entry arrives; None: on arrival


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Earliest due first; whole entries; at most ``max_clips``; a model idles for at most ``max_delay_s``."""

    max_clips: int
    max_delay_s: float

    def plan(self, queue: Sequence[Waiting], now_s: float, *, draining: bool = False) -> Plan:
        dropped = tuple(i for i, entry in enumerate(queue) if entry.deadline_at_s <= now_s)
        alive = [i for i, entry in enumerate(queue) if entry.deadline_at_s > now_s]
        if not alive:
            return Plan(dropped)
        alive.sort(key=lambda i: queue[i].due_at_s)  # stable: among equals first come, first served
        taken, is_full = self._fitting(queue, alive)
        oldest_s = now_s - min(queue[i].enqueued_at_s for i in alive)
        if is_full:
            return Plan(dropped, taken, "full")
        if draining:
            return Plan(dropped, taken, "draining")
        if oldest_s >= self.max_delay_s:
            return Plan(dropped, taken, "delay")
        return Plan(dropped, wait_s=self.max_delay_s - oldest_s)

    def _fitting(self, queue: Sequence[Waiting], alive: list[int]) -> tuple[tuple[int, ...], bool]:
        """The longest head of the line that fits, and whether waiting could not add to it."""
        clips = 0
        for position, index in enumerate(alive):
            clips += queue[index].clips
            if clips > self.max_clips:
                return tuple(alive[: max(1, position)]), True
        return tuple(alive), clips == self.max_clips
