"""What verdicts and models say, as metrics."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.spec import ModelSpec
from worker.cascade.aggregate import video_probabilities
from worker.messages import Priority, Verdict
from worker.telemetry.metrics import Metrics


def count_verdict(metrics: Metrics, verdict: Verdict, priority: Priority) -> None:
    metrics.upload_answered(verdict.decision, verdict.decided_by, verdict.reason)
    for stage, milliseconds in verdict.timings_ms.items():
        metrics.stage_took(stage, priority, milliseconds / 1000.0)
    for label in verdict.labels:
        metrics.label_decided(label.name, label.action, verdict.decided_by)
    if verdict.degraded:
        metrics.degraded(verdict.reason)
    if verdict.media is not None:
        metrics.video_moderated(verdict.media.duration_s)


def count_scores(metrics: Metrics, spec: ModelSpec, clips: npt.NDArray[np.floating]) -> None:
    """``clips``: calibrated probabilities (N, L) of a new content, by a model that looks at every upload."""
    whole = video_probabilities(clips, spec.aggregation)
    for label, probability in zip(spec.label_names, whole.tolist(), strict=True):
        metrics.scored(label, probability)
