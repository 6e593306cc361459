"""All that a report says, from artifacts' committed files: no data, no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.spec import Aggregation, ModelSpec, read_spec
from trainer.config import TrainConfig
from trainer.evaluation.bands import Choice, Target, all_bands, choose, cross_fitted_run
from trainer.evaluation.cascade import Cascade, Run, calibrated, cascade_of
from trainer.evaluation.held_out import (
    HELD_OUT_FILE,
    METRICS_FILE,
    HeldOut,
    HeldOutError,
    matched,
    read_held_out,
)
from trainer.evaluation.judge import RECALL_AT_1, RECALL_AT_5, Judged, evaluate, video_scores
from trainer.evaluation.speeds import Speed
from trainer.metrics import Difference, Vector, accuracy, average_precision, interval, paired, roc_auc

HEAVY = "escalation on every clip"
NOT_ESTABLISHED = "A gain by the cascade is not established on this data"

Range = tuple[float, float]
FIGURES: dict[str, Callable[[Vector, Vector], float]] = {"AUC": roc_auc, "accuracy": accuracy}


@dataclass(frozen=True)
class Served:
    """What serving needs to know of an installed model, and how fast it was."""

    spec: ModelSpec
    speed: tuple[Speed, ...]

    @property
    def ms_per_clip(self) -> float:
        """Of the fastest form measured on a CPU; nan where none was."""
        return float(min((each.median_ms_per_clip for each in self.speed), default=float("nan")))


@dataclass(frozen=True)
class Artifact(Served):
    """An installed model's files, read."""

    config: TrainConfig
    held_out: HeldOut


@dataclass(frozen=True)
class Row:
    """One way of judging every video, served by itself."""

    name: str
    accuracy: float
    accuracy_interval: Range
    auc: float
    auc_interval: Range
    average_precision: float
    recall_at_1_percent_false_alarms: float
    recall_at_1_percent_interval: Range
    recall_at_5_percent_false_alarms: float
    recall_at_5_percent_interval: Range
    recall: float | None = None  # at the thresholds that are served
    false_alarms: float | None = None  # negatives that are held: reviewed or blocked
    review: float | None = None  # of all videos
    unneeded_review: float | None = None  # of the negatives
    cost: float | None = None  # share of always-heavy's milliseconds


@dataclass(frozen=True)
class Point:
    """One band of the cost-recall curve."""

    band: Range
    cost: float
    recall_at_5_percent_false_alarms: float
    recall: float
    false_alarms: float


@dataclass(frozen=True)
class Comparison:
    """A figure of one less that of another on the same videos, and how sure that is."""

    of: str
    less: str
    figure: str
    difference: Difference


@dataclass(frozen=True)
class Together:
    """The cascade."""

    target: Target
    choice: Choice  # on all videos: what ships
    lost_in_filter: float  # positives that end allowed without the escalation having looked
    curve: tuple[Point, ...]
    verdict: str


@dataclass(frozen=True)
class Summary:
    label: str
    videos: int
    sources: int
    positives: int
    chance: float
    models: tuple[tuple[ModelSpec, Judged], ...]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    together: Together | None
    truth: Vector = field(repr=False)
    scores: dict[str, Vector] = field(repr=False)  # for each row's name
    raw: dict[str, Vector] = field(repr=False)  # before calibration


def served_at(folder: Path) -> Served:
    """Raises HeldOutError naming what is missing."""
    try:
        speeds = tuple(Speed(**each) for each in _metrics_of(folder).get("speed", ()))
    except TypeError as error:
        raise HeldOutError(f"{folder / METRICS_FILE}: speed: {error}") from error
    return Served(read_spec(folder), speeds)


def read_artifact(folder: Path) -> Artifact:
    """Raises HeldOutError naming what is missing."""
    metrics = _metrics_of(folder)
    try:
        config = TrainConfig.model_validate(metrics["config"])
    except (ValueError, KeyError) as error:
        raise HeldOutError(f"{folder}: not an artifact of `sluice train`: {error}") from error
    served = served_at(folder)
    return Artifact(served.spec, served.speed, config, read_held_out(folder / HELD_OUT_FILE))


def _metrics_of(folder: Path) -> dict[str, Any]:
    try:
        read_spec(folder)
        metrics: dict[str, Any] = json.loads((folder / METRICS_FILE).read_text())
    except (OSError, ValueError) as error:
        raise HeldOutError(f"{folder}: not an artifact of `sluice train`: {error}") from error
    return metrics


def summarise(
    light: Artifact, heavy: Artifact | None = None, baselines: Mapping[str, HeldOut] | None = None
) -> Summary:
    """Of the first label. Raises HeldOutError where the parts are not of the same videos and folds."""
    held_out = light.held_out
    label = held_out.labels[0]
    truth = np.asarray(held_out.targets[:, 0], np.float64)
    scores = {
        name: baseline_scores(held_out, each, light.spec.aggregation)
        for name, each in (baselines or {}).items()
    }
    simple = tuple(scores)
    runs: dict[str, Run] = {}
    together: Together | None = None
    cascade: Cascade | None = None
    if heavy is None:
        clips = calibrated(held_out, held_out.int8_scores, label)
        scores[light.spec.name] = video_scores(clips, light.spec.aggregation)
    else:
        cascade = _cascade(light, heavy, label)
        runs, together = _together(cascade, light, truth)
        scores |= {name: run.probabilities for name, run in runs.items()}
    judged = tuple(
        (each.spec, evaluate(each.config, matched(held_out, each.held_out)).labels[0])
        for each in (light, heavy)
        if each is not None
    )
    rows = tuple(
        row(name, truth, each, held_out.groups, runs.get(name), cascade) for name, each in scores.items()
    )
    comparisons = tuple(compared(truth, scores, simple, held_out.groups))
    if together is not None:
        together = _with_verdict(together, comparisons)
    figures = judged[0][1].figures
    raw = {
        spec.name: _raw(each, label)
        for spec, each in zip([j[0] for j in judged], (light, heavy), strict=False)
        if each
    }
    return Summary(
        label,
        len(truth),
        figures.sources,
        figures.positives,
        figures.chance,
        judged,
        rows,
        comparisons,
        together,
        truth,
        scores,
        raw,
    )


def baseline_scores(held_out: HeldOut, baseline: HeldOut, aggregation: Aggregation) -> Vector:
    """Of the first label, in the order of ``held_out``, calibrated as a model is. Raises HeldOutError."""
    same = matched(held_out, baseline)
    return video_scores(calibrated(same, same.scores, held_out.labels[0]), aggregation)


def _cascade(light: Artifact, heavy: Artifact, label: str) -> Cascade:
    ms = (light.ms_per_clip, heavy.ms_per_clip)
    if np.isnan(ms).any():
        raise HeldOutError("the cost of a cascade needs the speeds of both models in their metrics.json")
    return cascade_of(light.spec, light.held_out, heavy.spec, heavy.held_out, ms, label)


def _together(cascade: Cascade, light: Artifact, truth: Vector) -> tuple[dict[str, Run], Together]:
    wanted = light.config.calibrate
    target = Target(wanted.recall_lost, wanted.cost)
    runs = [cascade.run(band) for band in all_bands(cascade.filter.spec.labels[0].threshold)]
    heavy = cascade.always_heavy()
    choice = choose(cascade, runs, heavy, truth, target, np.arange(len(truth)))
    own = cross_fitted_run(cascade, runs, heavy, truth, light.held_out.folds, target)
    lost = float(np.mean((~own.held & (own.escalated_clips == 0))[truth == 1]))
    curve = tuple(_point(cascade, run, truth) for run in runs)
    return named_runs(cascade, own), Together(target, choice, lost, curve, "")


def named_runs(cascade: Cascade, own: Run) -> dict[str, Run]:
    """The cascade between its two ends."""
    return {
        "filter alone": cascade.always_light(),
        "cascade": own,
        HEAVY: cascade.always_heavy(),
    }


def _point(cascade: Cascade, run: Run, truth: Vector) -> Point:
    return Point(
        run.band,
        cascade.cost(run),
        RECALL_AT_5(truth, run.probabilities),
        float(run.held[truth == 1].mean()),
        float(run.held[truth == 0].mean()),
    )


def row(
    name: str, truth: Vector, scores: Vector, groups: Sequence[str], run: Run | None, cascade: Cascade | None
) -> Row:
    found = Row(
        name,
        accuracy(truth, scores),
        interval(accuracy, truth, scores, groups),
        roc_auc(truth, scores),
        interval(roc_auc, truth, scores, groups),
        average_precision(truth, scores),
        RECALL_AT_1(truth, scores),
        interval(RECALL_AT_1, truth, scores, groups),
        RECALL_AT_5(truth, scores),
        interval(RECALL_AT_5, truth, scores, groups),
    )
    if run is None or cascade is None:
        return found
    served = {
        "recall": float(run.held[truth == 1].mean()),
        "false_alarms": float(run.held[truth == 0].mean()),
        "review": float(run.reviewed.mean()),
        "unneeded_review": float(run.reviewed[truth == 0].mean()),
        "cost": 1.0 if name == HEAVY else cascade.cost(run),
    }
    return Row(**{**vars(found), **served})


def compared(
    truth: Vector, scores: dict[str, Vector], simple: Sequence[str], groups: Sequence[str]
) -> list[Comparison]:
    """Each model with each baseline, then the models with each other."""
    names = [name for name in scores if name not in simple]
    pairs = [(of, less) for less in simple for of in names]
    if "cascade" in names:
        pairs += [(HEAVY, "filter alone"), ("cascade", "filter alone")]
    return [
        Comparison(of, less, name, paired(figure, truth, scores[of], scores[less], groups))
        for of, less in pairs
        for name, figure in FIGURES.items()
    ]


def _with_verdict(together: Together, comparisons: Sequence[Comparison]) -> Together:
    """Of the cascade as it is served, by AUC, which no threshold is part of."""
    gained = {
        each.of: each.difference
        for each in comparisons
        if each.of in ("cascade", HEAVY) and (each.less, each.figure) == ("filter alone", "AUC")
    }
    opening = "The cascade beats the filter alone" if gained["cascade"].is_positive else NOT_ESTABLISHED
    verdict = (
        f"{opening}: its AUC less that of the filter alone is {_told(gained['cascade'])}, "
        f"with the escalation on every clip {_told(gained[HEAVY])}."
    )
    return Together(together.target, together.choice, together.lost_in_filter, together.curve, verdict)


def _told(difference: Difference) -> str:
    low, high = difference.interval
    return f"{difference.value:+.3f} (95 %: {low:+.3f} to {high:+.3f})"


def _raw(artifact: Artifact, label: str) -> Vector:
    column = artifact.held_out.labels.index(label)
    clips = [1.0 / (1.0 + np.exp(-each[:, column].astype(np.float64))) for each in artifact.held_out.scores]
    return video_scores(clips, artifact.spec.aggregation)
