"""What is not known is not learnt from."""

import numpy as np
import pytest
import torch

from trainer.config import Fit
from trainer.fit.objective import binary
from trainer.fit.order import Plan


def test_an_unknown_target_has_no_gradient() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    binary(logits, torch.tensor([[1.0, float("nan")], [float("nan"), 0.0]]), 0.0).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-0.125, 0.0], [0.0, 0.125]]


@pytest.mark.parametrize(
    ("weights", "balanced", "expected"),
    [
        ([1.0, 1.0, 1.0, 1.0], False, None),
        ([1.0, 1.0, 0.5, 0.5], False, [1.0, 1.0, 0.5, 0.5]),
        ([1.0, 1.0, 0.5, 0.5], True, [4.0, 4 / 3, 2 / 3, 2 / 3]),
    ],
)
def test_examples_come_as_often_as_they_weigh(
    weights: list[float], balanced: bool, expected: list[float] | None
) -> None:
    targets = np.array([[1], [0], [0], [0]], np.float32)
    plan = Plan.of(range(4), targets, np.array(weights), Fit(balanced=balanced, batch=4), 0, 1)
    assert (plan.weights is None) == (expected is None)
    if expected is not None:
        assert plan.weights == pytest.approx(expected)
