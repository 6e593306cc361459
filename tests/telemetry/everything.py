"""All that a worker can tell."""

from __future__ import annotations

from itertools import product
from typing import get_args

from worker import errors
from worker.messages import Action, Decider, Priority
from worker.telemetry.metrics import SCORE_BINS, Metrics


def reasons(error: type[errors.SluiceError] = errors.SluiceError) -> set[str]:
    return {error.reason}.union(*(reasons(child) for child in error.__subclasses__()))


LABELS, MODELS = [f"label-{i}" for i in range(5)], [f"model-{i}" for i in range(3)]
STAGES = (
    "fetch",
    "cache",
    "wait",
    "decode",
    "filter",
    "additional",
    "escalation_decode",
    "escalation",
    "total",
)


def say_everything(metrics: Metrics) -> None:
    """All that labels of closed sets can be, for five labels and three models."""
    metrics.started(1.8e9)
    for priority, stage in product(get_args(Priority), STAGES):
        metrics.stage_took(stage, priority, 1.0)
        metrics.waited_in_topic(priority, 1.0)
        metrics.upload_to_verdict(priority, 1.0)
    for label, action, decider in product(LABELS, get_args(Action), get_args(Decider)):
        metrics.scores_expected(label, [0.1] * len(SCORE_BINS))
        metrics.label_decided(label, action, decider)
        metrics.upload_answered(action, decider, "")
    for decider, reason in product(get_args(Decider), reasons()):
        metrics.upload_answered("review", decider, reason)
    for model, why in product(MODELS, ("full", "delay", "draining")):
        metrics.model_loaded("filter", model, "cuda", version="1", variant="int8", sha256="0")
        metrics.queue_changed(model, 1)
        metrics.batch_closed(model, 1, why, 0.1)
    for reason in reasons():
        metrics.degraded(reason)
        metrics.retried(reason)
        metrics.decode_failed(reason)
        metrics.dead_letter(reason)
    metrics.lag({0: 1})
