"""How to lay a model out on the cores: processes, threads in each, clips in a batch.

Each process has a session of its own, as workers have, and all run at the same time.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np

from worker.inference.registry import find_artifact
from worker.inference.session import open_session
from worker.inference.types import blank_inputs

BATCHES = (1, 2, 4, 8)
WINDOW_S = 1.5
START_S = 60.0  # until every process has its session


@dataclass(frozen=True, slots=True)
class Layout:
    processes: int
    threads: int  # in each


def layouts(cores: int) -> list[Layout]:
    """One core, one process on all, a process on each, and twice as many threads as cores."""
    found = [Layout(1, 1), Layout(1, cores), Layout(cores, 1), Layout(cores, cores)]
    return list(dict.fromkeys(found))


def study(model: str) -> list[dict[str, Any]]:
    return [row for layout in layouts(os.cpu_count() or 1) for row in _measured(model, layout)]


def _measured(model: str, layout: Layout) -> list[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(layout.processes), context.Queue()
    arguments = (model, layout.threads, barrier, answers)
    workers = [context.Process(target=_serve, args=arguments) for _ in range(layout.processes)]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=START_S + 2 * WINDOW_S * len(BATCHES)) for _ in workers]
    for worker in workers:
        worker.join()
    rows = []
    for place, count in enumerate(BATCHES):
        times_ms = np.concatenate([one[place] for one in found])
        clips_per_s = sum(count * 1000 / float(np.median(one[place])) for one in found)
        rows.append(
            {
                "processes": layout.processes,
                "threads": layout.threads,
                "batch": count,
                "clips_per_s": round(clips_per_s, 1),
                "batch_p50_ms": round(float(np.median(times_ms)), 1),
                "batch_p99_ms": round(float(np.percentile(times_ms, 99)), 1),
            }
        )
    return rows


def _serve(model: str, threads: int, barrier: Barrier, answers: Queue[list[list[float]]]) -> None:
    session = open_session(find_artifact(model), threads=threads)
    times_ms = []
    for count in BATCHES:
        inputs = blank_inputs(session.spec, count)
        session.run(inputs)
        barrier.wait(START_S)
        times_ms.append(_times_ms(lambda inputs=inputs: session.run(inputs)))
    answers.put(times_ms)


def _times_ms(work: Any) -> list[float]:
    times_ms: list[float] = []
    while sum(times_ms) < WINDOW_S * 1000:
        begun_s = time.perf_counter()
        work()
        times_ms.append((time.perf_counter() - begun_s) * 1000)
    return times_ms
