"""Figures of merit for one label. NumPy only; ``truth`` holds 0 and 1, ``scores`` grow with the positive."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


def recall_at(truth: Vector, scores: Vector, false_positive_rate: float) -> float:
    """Share of positives found when at most this share of negatives is flagged."""
    negatives = np.sort(scores[truth == 0])[::-1]
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
    random = np.random.default_rng(seed)
    names, of_group = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(of_group == index) for index in range(len(names))]
    values = []
    for _ in range(draws):
        drawn = np.concatenate([members[index] for index in random.integers(len(names), size=len(names))])
        values.append(figure(truth[drawn], scores[drawn]))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
