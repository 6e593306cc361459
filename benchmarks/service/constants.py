"""What the capacity planner needs, taken out of the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.report import machine

Row = Mapping[str, Any]


def constants_of(found: Row, worker_cores: int) -> dict[str, Any]:
    """As `worker.capacity.Constants` reads them."""
    filtered, escalated = (found["saturated"][name] for name in ("filtered", "escalated"))
    fetched = next(row for row in found["cached"] if row["way"] == "fetched and digested")
    return {
        "machine": machine(),
        "worker_cores": worker_cores,
        "cores_used": found["saturated"]["mixed"]["cores_used"],
        "memory_mb": found["saturated"]["mixed"]["memory_mb"],
        "duration_height": found["by_duration"][0]["height"],
        "by_duration": [
            {
                "duration_s": row["duration_s"],
                "clips": row["clips_per_upload"],
                "decoder_cpu_s": _decoder_cpu_s(row),
                "main_cpu_s": _main_cpu_s(row),
            }
            for row in found["by_duration"]
        ],
        "by_height": [
            {"height": row["height"], "decoder_cpu_s": _decoder_cpu_s(row)} for row in found["by_height"]
        ],
        "filter_cpu_s_per_clip": found["inference"]["filter"]["cpu_s_per_clip"],
        "escalation": {
            "clips": escalated["clips_escalated_per_upload"],
            "decoder_cpu_s": _more(escalated, filtered, _decoder_cpu_s),
            "model_cpu_s": _more(escalated, filtered, _main_cpu_s),
        },
        "cached_cpu_s": fetched["cpu_s_per_upload"],
    }


def _more(escalated: Row, filtered: Row, figure: Callable[[Row], float]) -> float:
    return round(max(0.0, figure(escalated) - figure(filtered)), 5)


def _main_cpu_s(row: Row) -> float:
    return round(float(row["cpu_s_per_upload"]) - _decoder_cpu_s(row), 5)


def _decoder_cpu_s(row: Row) -> float:
    return float(row["decoder_cpu_s_per_upload"])
