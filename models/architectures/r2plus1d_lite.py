"""R(2+1)D on the blocks of EfficientNet-Lite0: space from ImageNet, time learnt.

The factorisation of Tran et al. 2018 (arXiv 1711.11248) makes the spatial half of each convolution a 2-D
one, so it can come from an image network. Here the spatial halves are Lite0's inverted residuals up to
1/16 of the input's size, and a residual temporal convolution follows each stage that is tapped.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.architectures.efficientnet_lite import LiteTrunk, frames_as_images
from models.architectures.motion import LinearHead, TemporalConv, overall_motion, strongest_motion

# Ends of the stages with 40, 80 and 112 channels: at 1/8, 1/16 and 1/16 of the input's size.
STAGE_ENDS = (5, 8, 11)


class R2Plus1DLite(nn.Module):
    """(N, frames, H, W, 3) uint8 clips to (N, labels) logits."""

    def __init__(self, labels: int, frames: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.frames = frames
        self.trunk = LiteTrunk(STAGE_ENDS[-1])
        widths = [self.trunk.widths[end - 1] for end in STAGE_ENDS]
        self.temporal = nn.ModuleList(TemporalConv(width, frames) for width in widths)
        self.head = LinearHead(sum(widths) + widths[-1], labels, dropout)

    @property
    def pretrained(self) -> LiteTrunk:
        return self.trunk

    def motion(self, clips: Tensor) -> Tensor:
        """(N, frames, H, W, 3) uint8 to (N, features): motion at every tapped stage."""
        hidden = self.trunk.stem(frames_as_images(self.trunk.normalise(clips)))
        found: list[Tensor] = []
        start = 0
        for end, temporal in zip(STAGE_ENDS, self.temporal, strict=True):
            hidden = temporal(self.trunk.between(hidden, start, end))
            found.append(strongest_motion(hidden, self.frames))
            start = end
        return torch.cat((*found, overall_motion(hidden, self.frames)), 1)

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.head(self.motion(clips))
        return logits
