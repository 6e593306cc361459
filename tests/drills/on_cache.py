"""A cache that dies, or accepts and never answers: a miss, and no upload waits for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import replace

from tests.drills.faults import frozen
from tests.drills.stage import Findings, Group, Stage, Target
from tests.drills.traffic import Arrival

ADDED_AT_MOST_S = 0.25
ON_CACHE = ("cache", "wait")  # stages of an upload that ask it


def killed(stage: Stage) -> Findings:
    """SIGKILL; it stays away."""
    with stage.group() as group:
        with group.load(stage.per_s):
            before = len(group.traffic.arrivals)
            os.kill(group.cache.pid, signal.SIGKILL)
            since_s = time.monotonic()
            recovered_s = group.traffic.wait_until_recovered(since_s)
            time.sleep(stage.pick(1.0, 5.0))
        return _findings(group, before, "SIGKILL to the cache, which stays away", recovered_s)


def hanging(stage: Stage) -> Findings:
    """SIGSTOP: it accepts connections and never answers. Then it comes back."""
    seconds = stage.pick(2.0, 10.0)
    with stage.group() as group:
        with group.load(stage.per_s):
            before = len(group.traffic.arrivals)
            since_s = time.monotonic()
            with frozen([group.cache.pid]):
                recovered_s = group.traffic.wait_until_recovered(since_s)
                time.sleep(seconds)
        return _findings(group, before, f"SIGSTOP to the cache for {seconds:.0f} s", recovered_s)


def _findings(group: Group, before: int, injected: str, recovered_s: float) -> Findings:
    """``before``: verdicts that had arrived when it was done."""
    usual_s = _worst_s(group.traffic.arrivals[:before])
    found = group.findings(injected, 1, (recovered_s,))
    worst_s = _worst_s(group.traffic.arrivals[before:])
    figures = {"usual_cache_s": usual_s, "worst_cache_s": worst_s}
    return replace(
        found, figures=figures, targets=(Target("added to an upload, s", worst_s - usual_s, ADDED_AT_MOST_S),)
    )


def _worst_s(arrivals: Iterable[Arrival]) -> float:
    """The longest that one upload spent on the cache."""
    times_ms = [sum(a.verdict.timings_ms.get(stage, 0.0) for stage in ON_CACHE) for a in arrivals]
    return max(times_ms, default=0.0) / 1000
