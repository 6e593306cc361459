"""Uploads through an engine: as many as it takes, and as they come at random."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np

from worker.clock import Deadline, SystemClock
from worker.inference.batcher import BatchPolicy
from worker.inference.engine import Engine
from worker.inference.types import Answer, Inputs, Runner

CLIPS_OF_AN_UPLOAD = 8
MAX_DELAY_S = 0.005  # as served
PATIENCE_S = 120.0  # nothing is late here, only slow
CLOCK = SystemClock()


@contextmanager
def _engine(runners: Sequence[Runner], max_batch_clips: int) -> Iterator[Engine]:
    engine = Engine(
        runners[0],
        BatchPolicy(max_batch_clips, MAX_DELAY_S),
        CLOCK,
        queue_clips=2 * len(runners) * max_batch_clips,
        run_timeout_s=PATIENCE_S,
        also=runners[1:],
    )
    engine.start()
    try:
        yield engine
    finally:
        engine.close(PATIENCE_S)


def _upload(inputs: Inputs, number: int) -> Inputs:
    """The clips of one upload out of those that there are."""
    clips = min(CLIPS_OF_AN_UPLOAD, len(inputs))
    start = number * clips % (len(inputs) - clips + 1)
    return inputs.cut(start, start + clips)


def saturated_clips_per_s(
    runners: Sequence[Runner], inputs: Inputs, max_batch_clips: int, seconds: float
) -> float:
    """Uploads wait in line all the time."""
    futures: list[Future[Answer]] = []
    with _engine(runners, max_batch_clips) as engine:
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < seconds:
            upload = _upload(inputs, len(futures))
            futures.append(engine.submit(upload, Deadline.after(CLOCK, PATIENCE_S)))
        answered = sum(len(future.result(PATIENCE_S).probabilities) for future in futures)
        return answered / (time.monotonic() - begun_s)


def latencies_ms(
    runners: Sequence[Runner], inputs: Inputs, max_batch_clips: int, clips_per_s: float, seconds: float
) -> list[float]:
    """From when an upload is due to its scores. Gaps are exponential: uploads know nothing of each other.

    One that finds the queue full is late from when it was due, not from when it got in.
    """
    random = np.random.default_rng(0)
    gap_s = min(CLIPS_OF_AN_UPLOAD, len(inputs)) / clips_per_s
    found_ms: list[float] = []
    futures: list[Future[Answer]] = []
    with _engine(runners, max_batch_clips) as engine:
        due_s = begun_s = time.monotonic()
        while due_s - begun_s < seconds:
            time.sleep(max(0.0, due_s - time.monotonic()))
            upload = _upload(inputs, len(futures))
            future = engine.submit(upload, Deadline.after(CLOCK, PATIENCE_S))
            future.add_done_callback(
                lambda _, due_s=due_s: found_ms.append((time.monotonic() - due_s) * 1000)  # type: ignore[misc]
            )
            futures.append(future)
            due_s += float(random.exponential(gap_s))
        for future in futures:
            future.result(PATIENCE_S)
    return found_ms
