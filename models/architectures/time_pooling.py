"""From one feature vector a frame to one a clip: (N, T, F) to (N, F). Each is a module on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


class MeanOverTime(nn.Module):
    """The average frame: blind to order."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean(1)


class MaxOverTime(nn.Module):
    """Each feature where it is strongest: a short event is not averaged away."""

    def forward(self, features: Tensor) -> Tensor:
        return features.amax(1)


class DifferenceOverTime(nn.Module):
    """How much each feature changes from frame to frame: a scene that stands still cancels."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.abs(features[:, 1:] - features[:, :-1]).mean(1)


class AttentionOverTime(nn.Module):
    """A weighted average whose weights are learnt from each frame (Ilse et al. 2018, arXiv 1802.04712)."""

    def __init__(self, features: int, hidden: int = 128) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def weights(self, features: Tensor) -> Tensor:
        """(N, T, F) to (N, T), each row sums to 1."""
        return torch.softmax(self.score(features).squeeze(2), 1)

    def forward(self, features: Tensor) -> Tensor:
        return (features * self.weights(features).unsqueeze(2)).sum(1)


POOLINGS: Mapping[str, Callable[[int], nn.Module]] = {
    "mean": lambda features: MeanOverTime(),
    "max": lambda features: MaxOverTime(),
    "attention": AttentionOverTime,
    "difference": lambda features: DifferenceOverTime(),
}


def time_pooling(name: str, features: int) -> nn.Module:
    """Raises ValueError for an unknown name."""
    if name not in POOLINGS:
        raise ValueError(f"unknown pooling {name!r}, known: {', '.join(POOLINGS)}")
    return POOLINGS[name](features)
