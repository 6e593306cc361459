"""What workers do under a load: as fast as they can, or at a given rate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.service.stage import ESCALATED, Answered, Workers
from benchmarks.service.usage import Usage

PERCENTILES = (50, 95, 99)
FEW = 12  # uploads, whose rate is that of the whole run
EDGE = 0.1  # share of the verdicts at either end of a run that its rate leaves out

Files = Sequence[Path]


def saturated(workers: Workers, files: Files, escalated_share: float = 0.0, **event: Any) -> dict[str, Any]:
    """All uploads published at once: the rate that the workers reach, and what an upload costs."""
    before = workers.usage()
    begun_s = time.monotonic()
    ids = [workers.publish(file, **event, **policy) for file, policy in _mixed(files, escalated_share)]
    answers = workers.judged(ids)
    took_s = time.monotonic() - begun_s
    per_s = rate_per_s(answers) if len(answers) >= FEW else len(answers) / took_s
    return figures(answers, workers.usage() - before, per_s, took_s)


def paced(
    workers: Workers, files: Files, per_s: float, escalated_share: float = 0.0, seed: int = 0
) -> dict[str, Any]:
    """Uploads that arrive at random (a Poisson process): how long each stage of theirs takes."""
    gaps_s = np.random.default_rng(seed).exponential(1 / per_s, len(files))
    before, begun_s = workers.usage(), time.monotonic()
    ids = []
    for at_s, (file, policy) in zip(np.cumsum(gaps_s), _mixed(files, escalated_share), strict=True):
        time.sleep(max(0.0, begun_s + at_s - time.monotonic()))
        ids.append(workers.publish(file, **policy))
    answers = workers.judged(ids)
    took_s = time.monotonic() - begun_s
    found = figures(answers, workers.usage() - before, len(answers) / took_s, took_s)
    return {"offered_per_s": round(per_s, 2), **found, "stages_ms": percentiles(answers)}


def rate_per_s(answers: Sequence[Answered]) -> float:
    """Verdicts a second between the first and the last of them, the run's two ends left out."""
    times = sorted(answer.verdict.decided_at.timestamp() for answer in answers)
    edge = int(len(times) * EDGE)
    inner = times[edge : len(times) - edge]
    return (len(inner) - 1) / max(1e-9, inner[-1] - inner[0])


def figures(answers: Sequence[Answered], used: Usage, per_s: float, took_s: float) -> dict[str, Any]:
    count = len(answers)
    video_s = sum(answer.verdict.media.duration_s for answer in answers if answer.verdict.media)
    coverages = [answer.verdict.coverage for answer in answers if answer.verdict.coverage]
    return {
        "uploads": count,
        "uploads_per_s": round(per_s, 3),
        "video_s_per_s": round(per_s * video_s / count, 2),
        "cpu_s_per_upload": round(used.cpu_s / count, 5),
        "decoder_cpu_s_per_upload": round(used.decoder_cpu_s / count, 5),
        "cpu_s_per_video_hour": round(used.cpu_s / max(video_s, 1e-9) * 3600, 2),
        "cores_used": round(used.cpu_s / took_s, 2),
        "clips_per_upload": round(sum(each.clips for each in coverages) / count, 2),
        "clips_escalated_per_upload": round(sum(each.clips_escalated for each in coverages) / count, 2),
        "memory_mb": round(used.memory_mb),
    }


def percentiles(answers: Sequence[Answered]) -> dict[str, dict[str, float]]:
    stages = [answer.stages_ms for answer in answers]
    names = dict.fromkeys(name for each in stages for name in each)
    return {name: _percentiles([each[name] for each in stages if name in each]) for name in names}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(values, p)), 1) for p in PERCENTILES}


def in_turn(place: int, share: float) -> bool:
    """Whether the upload at this place belongs to a share that lies evenly between the others."""
    return int((place + 1) * share + 1e-9) > int(place * share + 1e-9)


def _mixed(files: Files, escalated_share: float) -> list[tuple[Path, dict[str, str]]]:
    return [
        (file, {"policy": ESCALATED} if in_turn(place, escalated_share) else {})
        for place, file in enumerate(files)
    ]
