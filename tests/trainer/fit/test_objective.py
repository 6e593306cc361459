"""Losses, by hand."""

import math

import pytest
import torch
from torch import Tensor

from trainer.fit.objective import binary, categorical, over_exits


def cross_entropy(target: float, probability: float) -> float:
    return -target * math.log(probability) - (1 - target) * math.log(1 - probability)


@pytest.mark.parametrize(
    ("target", "smoothing", "softened"), [(1.0, 0.0, 1.0), (1.0, 0.1, 0.9), (0.0, 0.1, 0.1), (0.3, 0.0, 0.3)]
)
def test_binary(target: float, smoothing: float, softened: float) -> None:
    loss = binary(torch.tensor([[math.log(4)]]), torch.tensor([[target]]), smoothing)
    assert float(loss) == pytest.approx(cross_entropy(softened, 0.8))


@pytest.mark.parametrize(
    ("targets", "smoothing", "softened"),
    [([1.0, 0.0], 0.0, [1.0, 0.0]), ([1.0, 0.0], 0.2, [0.9, 0.1]), ([0.3, 0.7], 0.0, [0.3, 0.7])],
)
def test_categorical(targets: list[float], smoothing: float, softened: list[float]) -> None:
    loss = categorical(torch.tensor([[math.log(3), 0.0]]), torch.tensor([targets]), smoothing)
    assert float(loss) == pytest.approx(-softened[0] * math.log(0.75) - softened[1] * math.log(0.25))


def test_losses_of_exits_are_summed() -> None:
    answers = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1.0, 0.0]] * 4)

    def each(exit_: int) -> Tensor:
        return binary(answers[:, exit_], targets, 0.05)

    assert float(over_exits(binary, answers, targets, 0.05)) == pytest.approx(
        float(each(0) + each(1) + each(2))
    )
    assert float(over_exits(binary, answers[:, 0], targets, 0.05)) == pytest.approx(float(each(0)))
