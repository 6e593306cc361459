"""The closed-form last layer."""

import numpy as np
import numpy.typing as npt
import pytest

from trainer.metrics import Vector, accuracy
from trainer.probe import PENALTIES, best_penalty, logistic_regression

Matrix = npt.NDArray[np.float64]


def drawn(count: int, features: int, informative: int) -> tuple[Matrix, Vector]:
    random = np.random.default_rng(0)
    rows = random.normal(size=(count, features))
    truth = random.random(count) < 1 / (1 + np.exp(-2 * rows[:, :informative].sum(1) - 1))
    return rows, truth.astype(np.float64)


def test_finds_the_weights_that_the_labels_were_drawn_with() -> None:
    rows, truth = drawn(20_000, 3, 2)
    weights, bias = logistic_regression(rows, truth, penalty=1e-3, weight=1.0)
    assert weights == pytest.approx([2.0, 2.0, 0.0], abs=0.15)
    assert bias == pytest.approx(1.0, abs=0.1)


def test_the_gradient_is_zero_at_the_answer() -> None:
    rows, truth = drawn(200, 5, 2)
    weights, bias = logistic_regression(rows, truth, penalty=7.0, weight=0.5)
    residual = 1 / (1 + np.exp(-(rows @ weights + bias))) - truth
    np.testing.assert_allclose(0.5 * rows.T @ residual + 7.0 * weights, 0.0, atol=1e-5)
    assert residual.sum() == pytest.approx(0.0, abs=1e-4)


def test_repeating_every_row_at_half_the_weight_changes_nothing() -> None:
    rows, truth = drawn(100, 4, 2)
    once, _ = logistic_regression(rows, truth, 10.0, 1.0)
    twice, _ = logistic_regression(np.repeat(rows, 2, axis=0), np.repeat(truth, 2), 10.0, 0.5)
    np.testing.assert_allclose(once, twice, atol=1e-8)


def test_more_features_than_rows() -> None:
    rows, truth = drawn(40, 200, 1)
    weights, bias = logistic_regression(rows, truth, penalty=1.0, weight=1.0)
    assert np.isfinite(weights).all()
    assert accuracy(truth, rows @ weights + bias, 0.0) > 0.95


def test_noise_asks_for_a_larger_penalty_than_signal() -> None:
    groups = np.array([f"g{index // 4}" for index in range(160)])
    rows, truth = drawn(160, 100, 2)
    noise = np.random.default_rng(1).permutation(truth)
    assert best_penalty(rows, noise, groups, 1.0) == max(PENALTIES)
    assert best_penalty(rows[:, :2], truth, groups, 1.0) == min(PENALTIES)
