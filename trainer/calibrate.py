"""From logits to probabilities that mean what they say, and the band in which they say too little. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.metrics import Vector

MAX_SLOPE, MIN_SLOPE = 20.0, 0.02


@dataclass(frozen=True, slots=True)
class Calibration:
    """probability = sigmoid(logit / temperature + bias), for one label."""

    temperature: float = 1.0
    bias: float = 0.0

    def __call__(self, logits: npt.NDArray[np.floating]) -> Vector:
        scaled = np.clip(np.asarray(logits, np.float64) / self.temperature + self.bias, -50.0, 50.0)
        return np.asarray(1.0 / (1.0 + np.exp(-scaled)))


def fit_calibration(logits: Sequence[Vector], truth: Sequence[float]) -> Calibration:
    """Temperature (Guo et al. 2017) and bias (Platt 1999) of one label, by Newton's method.

    ``logits``: for each video those of its clips; every video weighs the same however many clips it has.
    Platt's soft targets keep the slope finite where the classes are apart.
    """
    values = np.concatenate([np.asarray(clips, np.float64) for clips in logits])
    weights = np.concatenate([np.full(len(clips), 1.0 / len(clips)) for clips in logits])
    positives = float(np.sum(truth))
    soft = np.array([1.0 / (len(truth) - positives + 2.0), (positives + 1.0) / (positives + 2.0)])
    targets = np.concatenate(
        [np.full(len(clips), soft[int(label)]) for clips, label in zip(logits, truth, strict=True)]
    )
    design = np.stack((values, np.ones_like(values)), 1)
    solution = np.array([1.0, 0.0])
    for _ in range(50):
        probability = 1.0 / (1.0 + np.exp(-np.clip(design @ solution, -50.0, 50.0)))
        gradient = design.T @ (weights * (probability - targets))
        curvature = (design * (weights * probability * (1.0 - probability))[:, None]).T @ design
        move = np.linalg.solve(curvature + 1e-6 * np.eye(2), gradient)
        solution = solution - np.clip(move, -1.0, 1.0)
        solution[0] = np.clip(solution[0], MIN_SLOPE, MAX_SLOPE)
        if np.abs(move).max() < 1e-9:
            break
    return Calibration(temperature=float(1.0 / solution[0]), bias=float(solution[1]))


def band(
    truth: Vector, probabilities: Vector, missed: float, false_alarms: float, threshold: float
) -> tuple[float, float]:
    """[low, high) around the threshold: below it at most ``missed`` of the positives, at or above it at most
    ``false_alarms`` of the negatives. Rounded outwards to three digits.
    """
    low = float(np.quantile(probabilities[truth == 1], missed, method="lower"))
    high = float(np.quantile(probabilities[truth == 0], 1.0 - false_alarms, method="higher"))
    return (
        max(0.0, min(threshold, np.floor(low * 1000) / 1000)),
        min(1.0, max(threshold, np.ceil(high * 1000 + 1e-9) / 1000)),
    )
