"""What the zoo reports of held-out logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from models.architectures.early_exit import Logits, chosen
from trainer.metrics import Vector, accuracy, interval, roc_auc, top_k

Matrix = npt.NDArray[np.float64]
Measure = Callable[[Vector, Vector], float]  # truth and scores to a figure


@dataclass(frozen=True, slots=True)
class Figure:
    """Over all held-out videos; ``interval``: 95 %, by bootstrap over sources."""

    value: float
    interval: tuple[float, float]
    by_fold: dict[str, float]


@dataclass(frozen=True, slots=True)
class Exiting:
    """What early exits do at one confidence: the accuracy of the answers, and where they were given."""

    confidence: float
    accuracy: float
    rates: tuple[float, ...]  # of the clips, at each exit; they sum to 1


def several_labels(
    logits: Matrix, truth: Vector, folds: Sequence[str], groups: Sequence[str]
) -> dict[str, Figure]:
    """Of (N, L) logits, one of the labels is right."""
    return {
        f"top{k}": _figure(partial(_top, k=k), truth, logits, folds, groups)
        for k in (1, 5)
        if k < logits.shape[1]
    }


def _top(truth: Vector, scores: Matrix, k: int) -> float:
    return top_k(truth.astype(np.int64), scores, k)


def one_label(
    logits: Vector, truth: Vector, folds: Sequence[str], groups: Sequence[str]
) -> dict[str, Figure]:
    """Of (N,) logits of yes; accuracy at a probability of one half, not calibrated."""
    probabilities = 1.0 / (1.0 + np.exp(-logits))
    return {
        "accuracy": _figure(accuracy, truth, probabilities, folds, groups),
        "auc": _figure(roc_auc, truth, probabilities, folds, groups),
    }


def exiting(logits: Logits, truth: Vector, confidences: Sequence[float]) -> tuple[Exiting, ...]:
    """Of (clips, exits, 1) logits of yes and each clip's truth: accuracy and exit rates together."""
    exits = logits.shape[1]
    answers = [(confidence, chosen(logits, confidence)) for confidence in confidences]
    return tuple(
        Exiting(confidence, float(np.mean((answer.logits[:, 0] > 0) == (truth == 1))), answer.rates(exits))
        for confidence, answer in answers
    )


def _figure(
    figure: Measure, truth: Vector, scores: Matrix, folds: Sequence[str], groups: Sequence[str]
) -> Figure:
    of_fold = np.asarray(folds)
    by_fold = {
        str(fold): figure(truth[of_fold == fold], scores[of_fold == fold]) for fold in np.unique(of_fold)
    }
    return Figure(figure(truth, scores), interval(figure, truth, scores, groups, draws=1000), by_fold)
