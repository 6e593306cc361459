"""Temperature, bias and band."""

import numpy as np
import pytest

from trainer.calibrate import Calibration, band, fit_calibration
from trainer.metrics import Vector


def drawn(temperature: float, bias: float, count: int = 4000) -> tuple[list[Vector], list[float]]:
    """Videos of one or two clips whose labels follow the probability that the calibration should give."""
    random = np.random.default_rng(0)
    logits = random.normal(0.0, 3.0, count)
    truth = random.random(count) < Calibration(temperature, bias)(logits)
    videos = [np.repeat(value, 1 + index % 2) for index, value in enumerate(logits)]
    return videos, truth.astype(np.float64).tolist()


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (3.0, 0.0), (0.5, 1.0), (2.0, -1.5)])
def test_finds_the_calibration_that_the_labels_were_drawn_with(temperature: float, bias: float) -> None:
    found = fit_calibration(*drawn(temperature, bias))
    assert found.temperature == pytest.approx(temperature, rel=0.15)
    assert found.bias == pytest.approx(bias, abs=0.15)


def test_classes_that_are_apart_stay_finite() -> None:
    found = fit_calibration([np.array([-5.0])] * 10 + [np.array([5.0])] * 10, [0.0] * 10 + [1.0] * 10)
    low, high = found(np.array([-5.0, 5.0]))
    assert 0.03 < low < 0.2
    assert 0.8 < high < 0.97


def test_logits_that_say_nothing_become_the_prevalence() -> None:
    random = np.random.default_rng(0)
    truth = [1.0] * 100 + [0.0] * 300
    found = fit_calibration([random.normal(size=2) for _ in truth], truth)
    assert found(np.zeros(1))[0] == pytest.approx(0.25, abs=0.05)


def test_many_clips_weigh_no_more_than_one() -> None:
    few = fit_calibration([np.array([1.0]), np.array([-1.0]), np.array([0.5])], [1.0, 0.0, 0.0])
    many = fit_calibration([np.full(9, 1.0), np.array([-1.0]), np.array([0.5, 0.5])], [1.0, 0.0, 0.0])
    assert many.temperature == pytest.approx(few.temperature)
    assert many.bias == pytest.approx(few.bias)


def test_band_leaves_the_shares_outside() -> None:
    truth = np.repeat([0.0, 1.0], 100)
    probabilities = np.concatenate([np.linspace(0.0, 0.8, 100), np.linspace(0.2, 1.0, 100)])
    low, high = band(truth, probabilities, missed=0.05, false_alarms=0.05, threshold=0.5)
    assert np.mean(probabilities[100:] < low) <= 0.05
    assert np.mean(probabilities[:100] >= high) <= 0.05
    assert (low, high) == pytest.approx((0.232, 0.768), abs=0.01)


def test_band_of_a_perfect_model_shrinks_to_the_threshold() -> None:
    truth = np.repeat([0.0, 1.0], 50)
    assert band(truth, truth, missed=0.05, false_alarms=0.05, threshold=0.5) == (0.5, 0.5)
