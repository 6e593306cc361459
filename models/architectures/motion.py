"""What changes between frames: parts shared by the networks that work frame by frame.

On small sets of surveillance video the scene is a short-cut (each camera films mostly one class). So the
heads see differences between successive frames only: what stands still cancels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST_MOTION = 1e-3  # of features that are of the order of 1: the logarithm needs a floor


class GainNorm(nn.Module):
    """Batch normalisation of (N, C, ...) and a gain for each channel, but no offset.

    What is added equally to every frame cancels in the differences that the heads look at. The gain is
    next to nothing at first, so that the network starts as the image network it was made from.
    """

    INITIAL_GAIN = 0.01

    def __init__(self, norm: nn.BatchNorm2d | nn.BatchNorm3d) -> None:
        super().__init__()
        self.norm = norm
        self.gain = nn.Parameter(torch.full((norm.num_features,), self.INITIAL_GAIN))

    def forward(self, hidden: Tensor) -> Tensor:
        result: Tensor = self.norm(hidden) * self.gain.view(-1, *[1] * (hidden.ndim - 2))
        return result


class TemporalConv(nn.Module):
    """The time half of a (2+1)D convolution, as a residual: kernel 3 over frames, none over space.

    Images (N * T, C, H, W) in and out; a 2-D convolution with kernel (3, 1) over (T, H * W).
    """

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.conv = nn.Conv2d(width, width, (3, 1), padding=(1, 0), bias=False)
        self.norm = GainNorm(nn.BatchNorm2d(width, affine=False))

    def forward(self, images: Tensor) -> Tensor:
        _, width, height, breadth = images.shape
        folded = images.view(-1, self.frames, width, height * breadth).transpose(1, 2)  # (N, C, T, H * W)
        changed = self.norm(self.conv(folded)).transpose(1, 2)
        result: Tensor = images + changed.reshape(-1, width, height, breadth)
        return result


def local_motion(images: Tensor, frames: int) -> Tensor:
    """(N * T, C, H, W) to (N, C): log of how much changes where most changes, averaged over time.

    Each place weighs with the square of its change over all channels, so that a small fight in a large, still
    picture is not averaged away and a single noisy cell does not decide.
    """
    change = _changes(images, frames)  # (N, T - 1, C, H, W)
    weights = change.mean(2, keepdim=True).square()
    weights = weights / weights.sum((3, 4), keepdim=True).clamp_min(1e-9)
    return torch.log((change * weights).sum((3, 4)).mean(1) + LEAST_MOTION)


def _changes(images: Tensor, frames: int) -> Tensor:
    clips = images.view(-1, frames, *images.shape[1:])
    return torch.abs(clips[:, 1:] - clips[:, :-1])


class LinearHead(nn.Module):
    """Features standardised by their running statistics, dropout, one linear layer."""

    def __init__(self, features: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(features, labels)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(self.norm(features)))
        return logits
