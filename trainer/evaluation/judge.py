"""One model by its held-out scores: figures with intervals, calibration, threshold and band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from models.spec import Aggregation, Label, ModelSpec
from trainer.calibrate import Calibration, band, fit_calibration
from trainer.config import TrainConfig
from trainer.evaluation.held_out import HeldOut
from trainer.metrics import (
    Vector,
    accuracy,
    average_precision,
    calibration_error,
    chance,
    confusion,
    interval,
    recall_at,
    roc_auc,
)
from worker.cascade.aggregate import video_probabilities

THRESHOLD = 0.5  # on calibrated probabilities at the training set's prevalence: the fewest errors
RECALL_AT_1 = partial(recall_at, false_positive_rate=0.01)
RECALL_AT_5 = partial(recall_at, false_positive_rate=0.05)


@dataclass(frozen=True)
class Figures:
    """One label over all held-out videos; every interval is 95 %, by bootstrap over sources."""

    videos: int
    sources: int
    positives: int
    chance: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    accuracy_by_fold: dict[str, float]
    auc: float
    auc_interval: tuple[float, float]
    average_precision: float
    average_precision_interval: tuple[float, float]
    recall_at_1_percent_false_alarms: float
    recall_at_1_percent_interval: tuple[float, float]
    recall_at_5_percent_false_alarms: float
    recall_at_5_percent_interval: tuple[float, float]
    confusion: tuple[int, int, int, int]  # true negatives, false positives, false negatives, true positives
    calibration_error_before: float
    calibration_error_after: float
    int8_accuracy: float
    int8_auc: float
    band_share: float  # videos inside the band
    band_missed: float  # positives below it
    band_false_alarms: float  # negatives above it


@dataclass(frozen=True)
class Judged:
    """One label: how its logits are read, and how good that was."""

    name: str
    calibration: Calibration
    threshold: float
    band: tuple[float, float]
    prevalence: float
    figures: Figures


@dataclass(frozen=True)
class Evaluation:
    labels: tuple[Judged, ...]

    @property
    def calibrations(self) -> tuple[Calibration, ...]:
        return tuple(label.calibration for label in self.labels)

    def summary(self) -> str:
        return "; ".join(
            f"{label.name}: held-out accuracy {label.figures.accuracy:.1%}, AUC {label.figures.auc:.3f} "
            f"(chance {label.figures.chance:.1%})"
            for label in self.labels
        )


def evaluate(config: TrainConfig, held_out: HeldOut, served: ModelSpec | None = None) -> Evaluation:
    """``served``: has calibration, threshold and band; without it they are chosen here."""
    ready = {label.name: label for label in served.labels} if served else {}
    return Evaluation(
        tuple(
            _judged(config, held_out, index, target.name, ready.get(target.name))
            for index, target in enumerate(config.labels)
        )
    )


def _judged(config: TrainConfig, held_out: HeldOut, label: int, name: str, ready: Label | None) -> Judged:
    truth = np.asarray(held_out.targets[:, label], np.float64)
    logits, int8_logits = (
        [np.asarray(scores[:, label], np.float64) for scores in videos]
        for videos in (held_out.scores, held_out.int8_scores)
    )
    threshold = ready.threshold if ready else THRESHOLD
    calibration = (
        Calibration(ready.temperature, ready.bias) if ready else fit_calibration(logits, truth.tolist())
    )
    probabilities = _read(logits, [calibration] * len(logits), config.aggregation)
    wanted = config.calibrate
    low, high = (
        ready.band if ready else band(truth, probabilities, wanted.missed, wanted.false_alarms, threshold)
    )
    figures = _figures(config, held_out, truth, logits, int8_logits)(
        band_share=float(np.mean((probabilities >= low) & (probabilities < high))),
        band_missed=float(np.mean(probabilities[truth == 1] < low)),
        band_false_alarms=float(np.mean(probabilities[truth == 0] >= high)),
    )
    return Judged(name, calibration, threshold, (low, high), float(truth.mean()), figures)


def _figures(
    config: TrainConfig,
    held_out: HeldOut,
    truth: Vector,
    logits: Sequence[Vector],
    int8_logits: Sequence[Vector],
) -> partial[Figures]:
    """All but the band's shares. Each fold is calibrated on the other folds."""
    folds, groups = np.asarray(held_out.folds), held_out.groups
    calibrations = cross_fitted(folds, truth, logits)
    scores = _read(logits, calibrations, config.aggregation)
    raw = _read(logits, [Calibration()] * len(logits), config.aggregation)
    int8 = _read(int8_logits, calibrations, config.aggregation)
    return partial(
        Figures,
        len(truth),
        len(set(groups)),
        int(truth.sum()),
        chance(truth),
        accuracy(truth, scores),
        interval(accuracy, truth, scores, groups),
        {str(fold): accuracy(truth[folds == fold], scores[folds == fold]) for fold in np.unique(folds)},
        roc_auc(truth, scores),
        interval(roc_auc, truth, scores, groups),
        average_precision(truth, scores),
        interval(average_precision, truth, scores, groups),
        RECALL_AT_1(truth, scores),
        interval(RECALL_AT_1, truth, scores, groups),
        RECALL_AT_5(truth, scores),
        interval(RECALL_AT_5, truth, scores, groups),
        confusion(truth, scores, THRESHOLD),
        calibration_error(truth, raw),
        calibration_error(truth, scores),
        accuracy(truth, int8),
        roc_auc(truth, int8),
    )


def cross_fitted(folds: npt.NDArray[np.str_], truth: Vector, logits: Sequence[Vector]) -> list[Calibration]:
    """For each video the calibration fitted on the other folds."""
    by_fold = {}
    for fold in np.unique(folds):
        others = np.flatnonzero(folds != fold)
        by_fold[str(fold)] = fit_calibration([logits[int(i)] for i in others], truth[others].tolist())
    return [by_fold[str(fold)] for fold in folds]


def video_scores(probabilities: Sequence[Vector], aggregation: Aggregation) -> Vector:
    """For each video one probability of its clips' (N,), aggregated as serving does it."""
    return np.array([float(video_probabilities(clips[:, None], aggregation)[0]) for clips in probabilities])


def _read(logits: Sequence[Vector], calibrations: Sequence[Calibration], aggregation: Aggregation) -> Vector:
    return video_scores([each(clips) for each, clips in zip(calibrations, logits, strict=True)], aggregation)
