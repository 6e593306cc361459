from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tests.inference import tiny
from tests.samples import VERSIONS
from worker.messages import Label, Verdict
from worker.telemetry.metrics import Metrics
from worker.telemetry.verdicts import count_scores, count_verdict


def verdict(**fields: Any) -> Verdict:
    known = {
        "verdict_id": uuid.UUID(int=1),
        "upload_id": "u-1",
        "decision": "review",
        "decided_by": "filter",
        "reason": "",
        "versions": VERSIONS,
        "decided_at": datetime.now(UTC),
    }
    return Verdict(**known | fields)


def test_a_verdict_is_counted_by_label_stage_and_priority() -> None:
    metrics = Metrics()
    labels = tuple(
        Label(name=name, parent="", probability=p, threshold=0.5, action=action)
        for name, p, action in (("violence", 0.9, "review"), ("nudity", 0.1, "allow"))
    )
    count_verdict(metrics, verdict(labels=labels, timings_ms={"decode": 300.0, "total": 400.0}), "batch")
    for label, action in (("violence", "review"), ("nudity", "allow")):
        known = {"label": label, "action": action, "decided_by": "filter"}
        assert metrics.value("sluice_label_decisions_total", **known) == 1
    assert metrics.value("sluice_stage_seconds_sum", stage="decode", priority="batch") == 0.3
    assert metrics.value("sluice_stage_seconds_count", stage="decode", priority="live") == 0
    assert metrics.value("sluice_uploads_total", decision="review", decided_by="filter", reason="") == 1
    assert metrics.value("sluice_degraded_uploads_total", why="") == 0


def test_a_degraded_verdict_says_why() -> None:
    metrics = Metrics()
    count_verdict(metrics, verdict(degraded=True, reason="deadline_exceeded"), "live")
    assert metrics.value("sluice_degraded_uploads_total", why="deadline_exceeded") == 1


def test_scores_are_those_of_the_whole_video() -> None:
    """The two highest clips count, as the model's specification says."""
    metrics = Metrics()
    count_scores(metrics, tiny.spec("filter"), np.array([[0.1, 0.9], [0.9, 0.1], [0.8, 0.1]]))
    assert metrics.value("sluice_scores_total", label="bright", bin="0.9") == 1
    assert metrics.value("sluice_scores_total", label="dark", bin="0.6") == 1  # 0.5 begins its bin
