"""From uint8 clips to normalised tensors, inside the graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Channel statistics of Kinetics as torchvision's video models use them, and of EfficientNet-Lite; on [0, 1].
KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
LITE = ((127 / 255,) * 3, (128 / 255,) * 3)

ChannelStatistics = tuple[tuple[float, ...], tuple[float, ...]]


class NormaliseClips(nn.Module):
    """(N, T, H, W, 3) uint8 RGB to (N, 3, T, H, W) float with about zero mean and unit deviation."""

    scale: Tensor
    shift: Tensor

    def __init__(self, statistics: ChannelStatistics) -> None:
        super().__init__()
        mean, deviation = (torch.tensor(values) for values in statistics)
        # Constants of the input, not weights: kept out of the state dict so that published ones load.
        self.register_buffer("scale", 1.0 / (255.0 * deviation), persistent=False)
        self.register_buffer("shift", -mean / deviation, persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        return (clips.to(self.scale.dtype) * self.scale + self.shift).permute(0, 4, 1, 2, 3)
