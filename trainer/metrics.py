"""Figures of merit for one label. NumPy only; ``truth`` holds 0 and 1, ``scores`` grow with the positive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


def accuracy(truth: Vector, probabilities: Vector, threshold: float = 0.5) -> float:
    return float(np.mean((probabilities >= threshold) == (truth == 1)))


def chance(truth: Vector) -> float:
    """Accuracy of always saying what is commoner."""
    return float(max(truth.mean(), 1.0 - truth.mean()))


def roc_auc(truth: Vector, scores: Vector) -> float:
    """Probability that a positive scores above a negative, ties counting half; nan without both classes."""
    positives, negatives = scores[truth == 1], scores[truth == 0]
    if not len(positives) or not len(negatives):
        return float("nan")
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    not_above = np.searchsorted(ordered, positives, side="right")
    return float((below + not_above).mean() / (2 * len(negatives)))


def roc_curve(truth: Vector, scores: Vector) -> tuple[Vector, Vector]:
    """False-positive and true-positive rates at every distinct score, from (0, 0) to (1, 1)."""
    found, flagged = _cumulative(truth, scores)
    positives = truth.sum()
    false = (flagged - found) / max(len(truth) - positives, 1)
    return np.concatenate(([0.0], false)), np.concatenate(([0.0], found / max(positives, 1)))


def pr_curve(truth: Vector, scores: Vector) -> tuple[Vector, Vector]:
    """Recall and precision at every distinct score, from the highest score down."""
    found, flagged = _cumulative(truth, scores)
    return found / max(truth.sum(), 1), found / flagged


def average_precision(truth: Vector, scores: Vector) -> float:
    """Mean precision over the steps of recall, not interpolated; nan without positives."""
    if not truth.any():
        return float("nan")
    recall, precision = pr_curve(truth, scores)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def mean_average_precision(truth: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> float:
    """Over the labels of (N, L) that have positives; nan when none has."""
    each = [average_precision(truth[:, i], scores[:, i]) for i in range(truth.shape[1])]
    known = [value for value in each if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def top_k(classes: npt.NDArray[np.int64], scores: npt.NDArray[np.float64], k: int) -> float:
    """Share of rows of (N, C) whose class is among the ``k`` highest; ties count against it."""
    own = scores[np.arange(len(classes)), classes]
    not_below = (scores >= own[:, None]).sum(axis=1)
    return float(np.mean(not_below <= k))


def confusion(truth: Vector, probabilities: Vector, threshold: float = 0.5) -> tuple[int, int, int, int]:
    """True negatives, false positives, false negatives, true positives."""
    said = probabilities >= threshold
    is_so = truth == 1
    counts = (~said & ~is_so, said & ~is_so, ~said & is_so, said & is_so)
    true_negatives, false_positives, false_negatives, true_positives = (int(each.sum()) for each in counts)
    return true_negatives, false_positives, false_negatives, true_positives


def _cumulative(truth: Vector, scores: Vector) -> tuple[Vector, Vector]:
    """Positives found and videos flagged when the cut lies at each distinct score, highest first."""
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    return np.cumsum(truth[order])[last_of_ties], (last_of_ties + 1).astype(np.float64)


def recall_at(truth: Vector, scores: Vector, false_positive_rate: float) -> float:
    """Share of positives found when at most this share of negatives is flagged; nan without both classes."""
    negatives = np.sort(scores[truth == 0])[::-1]
    if not len(negatives) or len(negatives) == len(truth):
        return float("nan")
    allowed = int(np.floor(false_positive_rate * len(negatives)))
    return float(np.mean(scores[truth == 1] > negatives[allowed]))


def calibration_error(truth: Vector, probabilities: Vector, bins: int = 10) -> float:
    """Expected calibration error (Naeini et al. 2015) over bins of equal count."""
    order = np.argsort(probabilities, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    gaps = [len(part) * abs(truth[part].mean() - probabilities[part].mean()) for part in parts]
    return float(sum(gaps) / len(truth))


def interval(
    figure: Callable[[Vector, Vector], float],
    truth: Vector,
    scores: Vector,
    groups: Sequence[str],
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of a figure by bootstrap over groups: sources are drawn, with all of their clips."""
    values = [figure(truth[drawn], scores[drawn]) for drawn in _draws(groups, draws, seed)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of one model less that of another, on the same videos."""

    value: float
    interval: tuple[float, float]  # 95 %
    share_not_above_zero: float  # of the draws

    @property
    def is_positive(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.interval[0] > 0.0


def paired(
    figure: Callable[[Vector, Vector], float],
    truth: Vector,
    scores: Vector,
    others: Vector,
    groups: Sequence[str],
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """``figure`` of ``scores`` less that of ``others``: each draw of sources is given to both."""
    values = np.array(
        [
            figure(truth[drawn], scores[drawn]) - figure(truth[drawn], others[drawn])
            for drawn in _draws(groups, draws, seed)
        ]
    )
    values = values[~np.isnan(values)]
    if not len(values):
        raise ValueError("no draw of sources has both classes: more sources are needed for an interval")
    low, high = np.percentile(values, [2.5, 97.5])
    difference = figure(truth, scores) - figure(truth, others)
    return Difference(difference, (float(low), float(high)), float(np.mean(values <= 0.0)))


def _draws(groups: Sequence[str], draws: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of as many groups as there are, drawn with replacement, each with all of its rows."""
    random = np.random.default_rng(seed)
    names, of_group = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(of_group == index) for index in range(len(names))]
    for _ in range(draws):
        yield np.concatenate([members[index] for index in random.integers(len(names), size=len(names))])
