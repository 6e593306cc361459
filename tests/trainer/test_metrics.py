"""Figures of merit, by tables."""

import math

import numpy as np
import pytest

from trainer.metrics import (
    accuracy,
    average_precision,
    calibration_error,
    chance,
    confusion,
    interval,
    mean_average_precision,
    paired,
    pr_curve,
    recall_at,
    roc_auc,
    roc_curve,
    top_k,
)

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


@pytest.mark.parametrize(
    ("truth", "scores", "expected"),
    [
        ([1, 1, 0, 0], [4, 3, 2, 1], 1.0),
        ([0, 0, 1, 1], [4, 3, 2, 1], (1 / 3 + 2 / 4) / 2),
        ([1, 0, 1, 0], [4, 3, 2, 1], (1 + 2 / 3) / 2),
        ([1, 0, 1, 0], [1, 1, 1, 1], 0.5),  # nothing told apart: the share of positives
    ],
)
def test_average_precision(truth: list[float], scores: list[float], expected: float) -> None:
    assert average_precision(np.array(truth, float), np.array(scores, float)) == pytest.approx(expected)


def test_a_label_without_positives_has_no_average_precision() -> None:
    truth = np.array([[1.0, 0.0], [0.0, 0.0]])
    assert math.isnan(average_precision(truth[:, 1], np.arange(2.0)))
    assert mean_average_precision(truth, np.array([[2.0, 1.0], [1.0, 2.0]])) == 1.0
    assert math.isnan(mean_average_precision(truth[:, 1:], np.zeros((2, 1))))


def test_curves() -> None:
    truth, scores = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.9, 0.8, 0.8, 0.1])
    false, found = roc_curve(truth, scores)
    assert (false.tolist(), found.tolist()) == ([0, 0, 0.5, 1], [0, 0.5, 1, 1])
    recall, precision = pr_curve(truth, scores)
    assert recall.tolist() == [0.5, 1, 1]
    assert precision.tolist() == pytest.approx([1, 2 / 3, 0.5])
    assert np.trapezoid(found, false) == pytest.approx(roc_auc(truth, scores))


@pytest.mark.parametrize(("k", "expected"), [(1, 0.25), (2, 0.75), (3, 1.0)])
def test_top_k(k: int, expected: float) -> None:
    scores = np.array([[3, 2, 1], [3, 2, 1], [3, 2, 1], [1, 1, 0]], float)  # the last is a tie
    assert top_k(np.array([0, 1, 2, 0]), scores, k) == expected


def test_confusion() -> None:
    probabilities = np.array([0.1, 0.6, 0.2, 0.3, 0.5, 0.9, 0.4, 0.8])
    assert confusion(TRUTH, probabilities) == (3, 1, 1, 3)


def test_a_paired_difference_is_told_where_the_intervals_of_each_overlap() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 200).astype(float)
    worse = truth + random.normal(0, 1.5, 200)
    better = worse + 0.3 * truth
    groups = [str(i // 5) for i in range(200)]
    found = paired(roc_auc, truth, better, worse, groups, draws=200)
    assert found.value == pytest.approx(roc_auc(truth, better) - roc_auc(truth, worse))
    assert found.is_positive
    assert found.share_not_above_zero == 0.0
    of_better = interval(roc_auc, truth, better, groups, draws=200)
    of_worse = interval(roc_auc, truth, worse, groups, draws=200)
    assert of_worse[1] > of_better[0]


def test_a_model_does_not_differ_from_itself() -> None:
    scores = np.arange(8.0)
    found = paired(roc_auc, TRUTH, scores, scores, list("abcdefgh"), draws=50)
    assert (found.value, found.interval, found.share_not_above_zero) == (0.0, (0.0, 0.0), 1.0)
    assert not found.is_positive


def test_sources_of_one_class_only_have_no_interval() -> None:
    with pytest.raises(ValueError, match="more sources"):
        paired(roc_auc, np.ones(4), np.ones(4), np.ones(4), list("abcd"), draws=5)
