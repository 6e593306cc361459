"""Figures of merit, by tables."""

import math

import numpy as np
import pytest

from trainer.metrics import accuracy, calibration_error, chance, interval, recall_at, roc_auc

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float64)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], 1.0),
        ([8, 7, 6, 5, 4, 3, 2, 1], 0.0),
        ([1, 1, 1, 1, 1, 1, 1, 1], 0.5),
        ([1, 2, 3, 6, 5, 6, 7, 8], 14.5 / 16),  # one pair the wrong way round, one tie
    ],
)
def test_roc_auc(scores: list[float], expected: float) -> None:
    assert roc_auc(TRUTH, np.array(scores, np.float64)) == pytest.approx(expected)


def test_roc_auc_needs_both_classes() -> None:
    assert math.isnan(roc_auc(np.ones(3), np.arange(3.0)))


def test_accuracy_and_chance() -> None:
    probabilities = np.array([0.1, 0.6, 0.2, 0.3, 0.5, 0.9, 0.4, 0.8])
    assert accuracy(TRUTH, probabilities) == 0.75  # 0.6 and 0.4 are wrong; 0.5 counts as yes
    assert chance(np.array([1.0, 0.0, 0.0, 0.0])) == 0.75


@pytest.mark.parametrize(("rate", "recall"), [(0.0, 0.5), (0.25, 0.75), (0.5, 1.0)])
def test_recall_at_a_false_positive_rate(rate: float, recall: float) -> None:
    scores = np.array([0.1, 0.2, 0.5, 0.7, 0.3, 0.6, 0.8, 0.9])
    assert recall_at(TRUTH, scores, rate) == recall


def test_calibration_error() -> None:
    truth = np.array([0.0, 1.0] * 50)
    assert calibration_error(truth, np.full(100, 0.5)) == pytest.approx(0.0)
    assert calibration_error(truth, np.full(100, 0.9)) == pytest.approx(0.4)


def test_the_interval_is_wider_when_clips_share_sources() -> None:
    random = np.random.default_rng(0)
    quality = np.repeat(random.random(10), 20)  # whole sources are easy or hard
    truth = random.integers(0, 2, 200).astype(np.float64)
    scores = np.where(random.random(200) < quality, truth, 1 - truth)
    by_source = interval(accuracy, truth, scores, [str(i // 20) for i in range(200)], draws=300)
    by_clip = interval(accuracy, truth, scores, [str(i) for i in range(200)], draws=300)
    assert by_source[0] < accuracy(truth, scores) < by_source[1]
    assert by_source[1] - by_source[0] > 1.5 * (by_clip[1] - by_clip[0])
