"""What an upload costs by its length, its resolution and the length of the queue; what starting costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.decoders.media import Clip
from benchmarks.service.load import saturated
from benchmarks.service.stage import Bench, Workers
from worker.inference.providers import most_clips
from worker.inference.registry import find_artifact
from worker.inference.session import open_session
from worker.inference.types import blank_inputs
from worker.settings import InferenceSettings

SETTLE_S = 2.0  # after a start, before the memory is read
LONG_S = 300  # videos of this length are large files: few of them are enough
WARM_UPS = 2


def by_clip(bench: Bench, workers: Workers, clips: Sequence[Clip], uploads: int) -> list[dict[str, Any]]:
    """A row for each kind of video, no upload escalated."""
    rows = []
    for clip in clips:
        count = uploads if clip.duration_s < LONG_S else 2
        found = saturated(workers, bench.fresh(clip, count))
        rows.append({"duration_s": clip.duration_s, "height": clip.height, **found})
        bench.uploads.clear()
    return rows


def starts(bench: Bench, times: int) -> dict[str, Any]:
    """Start to ready, with files in the page cache, and what a worker holds when it has nothing to do."""
    ready_s, memory_mb, cpu_s = [], [], []
    for _ in range(times):
        begun_s = time.monotonic()
        with bench.workers() as workers:
            ready_s.append(time.monotonic() - begun_s)
            time.sleep(SETTLE_S)
            used = workers.usage()
            memory_mb.append(used.memory_mb)
            cpu_s.append(used.cpu_s)
    return {
        "ready_s": round(float(np.median(ready_s)), 2),
        "cpu_s": round(float(np.median(cpu_s)), 2),
        "idle_memory_mb": round(float(np.median(memory_mb))),
    }


def inference(settings: InferenceSettings, budget_s: float = 3.0) -> dict[str, dict[str, Any]]:
    """CPU seconds of a clip in each model, by role, at the batch size that a busy worker reaches."""
    models = {"filter": settings.filter, "escalation": settings.escalation}
    return {role: _of_model(reference, settings, budget_s) for role, reference in models.items() if reference}


def _of_model(reference: str, settings: InferenceSettings, budget_s: float) -> dict[str, Any]:
    artifact = find_artifact(reference)
    session = open_session(artifact, provider=settings.provider, threads=settings.threads)
    clips = most_clips(session.provider, session.spec, settings.max_batch_clips)
    for _ in range(WARM_UPS):
        session.run(blank_inputs(session.spec, clips))
    runs, begun_s, begun_cpu_s = 0, time.perf_counter(), time.process_time()
    while runs == 0 or time.perf_counter() - begun_s < budget_s:
        session.run(blank_inputs(session.spec, clips))
        runs += 1
    cpu_s, wall_s = time.process_time() - begun_cpu_s, time.perf_counter() - begun_s
    return {
        "model": artifact.reference,
        "provider": session.provider,
        "batch": clips,
        "cpu_s_per_clip": round(cpu_s / runs / clips, 5),
        "clips_per_s": round(runs * clips / wall_s, 2),
    }
