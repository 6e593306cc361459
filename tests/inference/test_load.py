"""Latency and batch size against load, on a virtual clock: the policy and a queue, no threads, no model.

As in the worker, a lane has a bounded number of uploads in flight; the rest of a flood waits in its topic.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from worker.inference.batcher import BatchPolicy, Waiting
from worker.inference.lanes import PATIENCE_S
from worker.messages import Priority

CLIPS = 8  # of each request
CALL_S, CLIP_S = 0.004, 0.001  # a batch costs a call and its clips: 8 clips at a time give 667 clips/s
MAX_CLIPS = 32  # 32 clips at a time give 889 clips/s
CAPACITY = MAX_CLIPS / (CALL_S + MAX_CLIPS * CLIP_S) / CLIPS  # requests in a second
IN_FLIGHT = 32  # uploads of a lane
POLICY = BatchPolicy(MAX_CLIPS, max_delay_s=0.005)


@dataclass
class Served:
    """What a run of the simulation found."""

    waits_s: dict[Priority, list[float]] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)

    def p99_s(self, lane: Priority) -> float:
        return float(np.percentile(self.waits_s[lane], 99))

    @property
    def mean_batch(self) -> float:
        return float(np.mean(self.batches))


def arrivals(load: dict[Priority, float], seconds: float, seed: int = 0) -> list[tuple[float, Priority]]:
    """Poisson streams; a lane's load is a share of the capacity."""
    random = np.random.default_rng(seed)

    def stream(lane: Priority, share: float) -> Iterator[tuple[float, Priority]]:
        time_s = 0.0
        while (time_s := time_s + random.exponential(1 / (share * CAPACITY))) < seconds:
            yield time_s, lane

    return list(heapq.merge(*(stream(lane, share) for lane, share in load.items())))


def simulate(load: dict[Priority, float], seconds: float = 60.0, deadline_s: float = 1e9) -> Served:
    """One model that is never idle while the policy gives it a batch."""
    coming = arrivals(load, seconds)[::-1]
    topics: dict[Priority, deque[float]] = {lane: deque() for lane in load}
    queue: list[tuple[Waiting, Priority, float]] = []
    served, now_s = Served({lane: [] for lane in load}), 0.0
    while now_s < seconds:
        while coming and coming[-1][0] <= now_s:
            came_s, lane = coming.pop()
            topics[lane].append(came_s)
        _admit(topics, queue, now_s, deadline_s)
        plan = POLICY.plan([entry[0] for entry in queue], now_s)
        if not plan.taken and not plan.dropped:
            wake_s = now_s + plan.wait_s + 1e-9 if plan.wait_s is not None else seconds
            now_s = min(wake_s, coming[-1][0] if coming else seconds)
            continue
        if plan.taken:
            served.batches.append(CLIPS * len(plan.taken))
            now_s += CALL_S + CLIP_S * served.batches[-1]
        for index in plan.taken:
            served.waits_s[queue[index][1]].append(now_s - queue[index][2])
        gone = {*plan.taken, *plan.dropped}
        queue = [entry for index, entry in enumerate(queue) if index not in gone]
    return served


def _admit(
    topics: dict[Priority, deque[float]],
    queue: list[tuple[Waiting, Priority, float]],
    now_s: float,
    deadline_s: float,
) -> None:
    for lane, topic in topics.items():
        in_flight = sum(entry[1] == lane for entry in queue)
        for _ in range(min(len(topic), IN_FLIGHT - in_flight)):
            came_s = topic.popleft()
            queue.append((Waiting(CLIPS, now_s, came_s + deadline_s, PATIENCE_S[lane]), lane, came_s))


def test_batches_grow_with_the_load_and_latency_stays_low_below_capacity() -> None:
    found = {load: simulate({"standard": load}) for load in (0.1, 0.5, 0.9)}
    sizes = [served.mean_batch for served in found.values()]
    assert sizes == sorted(sizes)
    assert sizes[0] < 1.5 * CLIPS
    assert sizes[-1] > 2.5 * CLIPS
    assert found[0.1].p99_s("standard") < 0.04
    assert found[0.9].p99_s("standard") < 0.25


def test_throughput_does_not_collapse_above_capacity() -> None:
    served = simulate({"standard": 2.0})
    assert sum(served.batches) / CLIPS == pytest.approx(CAPACITY * 60, rel=0.02)
    assert served.mean_batch == pytest.approx(MAX_CLIPS, rel=0.02)


def test_live_is_not_held_up_by_a_flood_of_batch_work() -> None:
    alone = simulate({"live": 0.3})
    flooded = simulate({"live": 0.3, "batch": 2.0})
    assert flooded.p99_s("live") < alone.p99_s("live") + 2 * (CALL_S + MAX_CLIPS * CLIP_S)
    assert flooded.p99_s("batch") > 10.0  # its backlog is where the overload goes


def test_batch_work_goes_on_below_a_flood_of_live() -> None:
    served = simulate({"live": 1.5, "batch": 0.2})
    assert len(served.waits_s["batch"]) >= 60 / PATIENCE_S["batch"] * IN_FLIGHT - 2 * IN_FLIGHT


def test_what_nobody_waits_for_any_more_is_not_computed() -> None:
    served = simulate({"standard": 2.0}, deadline_s=1.0)
    assert max(served.waits_s["standard"]) < 1.0 + CALL_S + MAX_CLIPS * CLIP_S
