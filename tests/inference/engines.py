"""What tests of engines share: a clock, listeners, and a way to hold a network inside of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.inference.tiny import logits_of, spec
from worker.clock import Deadline, SystemClock
from worker.inference.engine import Engine
from worker.inference.types import Inputs, Probabilities

CLOCK = SystemClock()
SPEC = spec()


def expected(*brightness: int) -> Probabilities:
    return SPEC.calibrated(logits_of(*brightness))


def soon(seconds: float = 20.0) -> Deadline:
    return Deadline.after(CLOCK, seconds)


class Heard:
    """EngineEvents, written down."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, str]] = []
        self.depths: list[int] = []

    def batch_closed(self, model: str, clips: int, why: str, run_s: float) -> None:
        assert run_s >= 0
        self.batches.append((clips, why))

    def queue_changed(self, model: str, clips: int) -> None:
        self.depths.append(clips)


class Gate:
    """Holds a network inside of a run until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, inputs: Inputs) -> None:
        self.entered.set()
        assert self.opened.wait(20.0)


Make = Callable[..., Engine]
