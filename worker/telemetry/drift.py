"""Which scores are to be expected, so that drift can be told from them.

An artifact may carry the scores of its held-out videos (``held_out.json``, written by ``sluice train``).
Their histogram at the policy's prevalence is what uploads like those videos would give. The population
stability index between it, or last week, and now is computed where all workers' counts come together:
in Prometheus (docs/observability.md has the query).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from models.spec import Label, ModelSpec
from worker.cascade.aggregate import video_probabilities
from worker.cascade.policy import Policy
from worker.cascade.prior import shifted_one
from worker.telemetry.metrics import SCORE_BINS, Metrics, score_bin

HELD_OUT_FILE = "held_out.json"

Shares = tuple[float, ...]  # one for each of SCORE_BINS, together 1

log = structlog.get_logger(__name__)


def expect_scores(metrics: Metrics, spec: ModelSpec, folder: Path, precision: str, policy: Policy) -> None:
    """Tell the metrics what a model that looks at every upload is expected to say of each label.

    ``folder``: of its artifact. ``precision``: of the variant that serves. ``policy``: the default one.
    """
    prevalences = {label.name: _prevalence(label, policy) for label in spec.labels}
    file = folder / HELD_OUT_FILE
    found: dict[str, Shares] = {}
    if file.exists():
        try:
            found = expected_shares(json.loads(file.read_text()), spec, precision, prevalences)
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            log.warning("no_reference_scores", file=str(file), error=repr(error))
    for label in spec.label_names:
        metrics.scores_expected(label, found.get(label))


def expected_shares(
    held_out: Mapping[str, Any], spec: ModelSpec, precision: str, prevalences: Mapping[str, float]
) -> dict[str, Shares]:
    """By label. Positives and negatives are weighed by the label's prevalence rather than by their numbers.

    A label that the videos do not know, or of which they have only one kind, has none.
    """
    logits = "int8" if precision == "int8" else "fp32"
    labels: list[str] = held_out["labels"]
    columns = [labels.index(name) if name in labels else None for name in spec.label_names]
    found = {}
    for place, (name, column) in enumerate(zip(spec.label_names, columns, strict=True)):
        if column is None:
            continue
        kinds: dict[int, list[float]] = {0: [], 1: []}
        for video in held_out["videos"]:
            if (truth := video["truth"][column]) is not None:
                kinds[truth].append(_video_probability(spec, video[logits], column, place))
        if kinds[0] and kinds[1]:
            p = prevalences[name]
            mixed = p * _histogram(kinds[1]) + (1.0 - p) * _histogram(kinds[0])
            found[name] = tuple(mixed.tolist())
    return found


def _video_probability(spec: ModelSpec, clips: list[list[float]], column: int, place: int) -> float:
    logits = np.zeros((len(clips), len(spec.labels)))
    logits[:, place] = [row[column] for row in clips]
    return float(video_probabilities(spec.calibrated(logits), spec.aggregation)[place])


def _histogram(probabilities: list[float]) -> npt.NDArray[np.float64]:
    counts = np.bincount([score_bin(each) for each in probabilities], minlength=len(SCORE_BINS))
    return np.asarray(counts / len(probabilities), np.float64)


def _prevalence(label: Label, policy: Policy) -> float:
    """What the policy expects in production; where it is silent, that of the training set."""
    rule = next((rule for rule in policy.rules if rule.label == label.name), None)
    shift = rule.first.shift if rule and rule.first else 0.0
    return shifted_one(label.training_prevalence, shift)
