"""Two streams into one answer: (N, F1) and (N, F2) features to (N, labels) logits.

``present`` (N,) is 1 where the second stream has something to say and 0 where it is missing: there the
answer is the first stream's alone. The streams are any two: sight and sound, colour and motion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from models.architectures.motion import LinearHead


class LateFusion(nn.Module):
    """Each stream has a head of its own; their logits are averaged (Simonyan and Zisserman 2014)."""

    def __init__(self, first: int, second: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.first = LinearHead(first, labels, dropout)
        self.second = LinearHead(second, labels, dropout)

    def share(self) -> Tensor | float:
        """Of the second stream, where it is present."""
        return 0.5

    def forward(self, first: Tensor, second: Tensor, present: Tensor) -> Tensor:
        share = self.share() * present.unsqueeze(1)  # (N, 1) or (N, labels)
        logits: Tensor = (1.0 - share) * self.first(first) + share * self.second(second)
        return logits


class WeightedFusion(LateFusion):
    """The same with a learnt share for each label, at first one half."""

    def __init__(self, first: int, second: int, labels: int, dropout: float) -> None:
        super().__init__(first, second, labels, dropout)
        self.balance = nn.Parameter(torch.zeros(labels))

    def share(self) -> Tensor:
        return torch.sigmoid(self.balance)


class EarlyFusion(nn.Module):
    """Features side by side, one head over both; those of a missing stream are zero."""

    def __init__(self, first: int, second: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.head = LinearHead(first + second, labels, dropout)

    def forward(self, first: Tensor, second: Tensor, present: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.cat((first, second * present.unsqueeze(1)), 1))
        return logits


FUSIONS: Mapping[str, Callable[[int, int, int, float], nn.Module]] = {
    "late": LateFusion,
    "weighted": WeightedFusion,
    "early": EarlyFusion,
}


def fusion_of(name: str, first: int, second: int, labels: int, dropout: float) -> nn.Module:
    """Raises ValueError for an unknown name."""
    if name not in FUSIONS:
        raise ValueError(f"unknown fusion {name!r}, known: {', '.join(FUSIONS)}")
    return FUSIONS[name](first, second, labels, dropout)
