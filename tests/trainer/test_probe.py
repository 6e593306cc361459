"""The closed-form last layer."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from torch import nn

from models.architectures.motion import LinearHead
from trainer.data.dataset import VideoSet
from trainer.metrics import Vector, accuracy
from trainer.probe import PENALTIES, best_penalty, logistic_regression, probe

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
    assert best_penalty(rows, noise, groups, 1.0)[0] == max(PENALTIES)
    penalty, loss = best_penalty(rows[:, :2], truth, groups, 1.0)
    assert penalty == min(PENALTIES)
    assert loss < best_penalty(rows, noise, groups, 1.0)[1]


class Sounding(nn.Module):
    """Looks at nothing: what its head is given is given here."""

    optional = slice(2, 20)

    def __init__(self) -> None:
        super().__init__()
        self.head = LinearHead(20, 1, 0.0)


@pytest.mark.parametrize(("useful", "used"), [(slice(0, 2), False), (slice(2, 4), True)])
def test_optional_features_are_used_where_they_help(
    useful: slice, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    given = random.normal(size=(1, 160, 20)).astype(np.float32)
    truth = (given[0, :, useful].sum(1) + 0.5 * random.normal(size=160) > 0).astype(np.float32)
    monkeypatch.setattr("trainer.probe.head_inputs", lambda *_: given)
    examples = [SimpleNamespace(group=f"g{index // 4}") for index in range(160)]
    videos = SimpleNamespace(examples=examples, targets=truth[:, None], weights=np.ones(160))
    network = Sounding()
    probe(network, cast(VideoSet, videos), range(160), 1, 0)
    sound = network.head.fc.weight[0, network.optional]
    assert bool(sound.abs().sum() > 0) == used
