"""R(2+1)D on the blocks of EfficientNet-Lite0: space from ImageNet, time learnt, eyes on what moves.

The factorisation of Tran et al. 2018 (arXiv 1711.11248) makes the spatial half of each convolution a 2-D
one, so it can come from an image network. Here the spatial halves are Lite0's inverted residuals, and a
residual temporal convolution follows each stage that is tapped. The head sees the change between frames
only, averaged over the views of ``Focus``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.architectures.efficientnet_lite import LiteTrunk, frames_as_images
from models.architectures.focus import Focus
from models.architectures.motion import LinearHead, TemporalConv, local_motion
from models.spec import VideoInput

# Blocks after which a stage ends: 40, 80, 112 and 192 channels at 1/8, 1/16, 1/16 and 1/32 of the size.
STAGE_ENDS = (5, 8, 11, 15)


class R2Plus1DLite(nn.Module):
    """(N, frames, H, W, 3) uint8 clips to (N, labels) logits.

    ``views`` and ``size``: see ``Focus``. ``stages``: which of the four are tapped, from 0.
    """

    def __init__(
        self,
        video: VideoInput,
        labels: int,
        views: Sequence[float] = (1.0,),
        size: int = 0,
        stages: Sequence[int] = (1, 2, 3),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.frames = video.frames
        self.ends = tuple(STAGE_ENDS[stage] for stage in sorted(stages))
        self.trunk = LiteTrunk(self.ends[-1])
        self.focus = Focus(video, views, size, self.trunk.normalise)
        widths = [self.trunk.widths[end - 1] for end in self.ends]
        self.temporal = nn.ModuleList(TemporalConv(width, video.frames) for width in widths)
        self.head = LinearHead(sum(widths), labels, dropout)

    @property
    def pretrained(self) -> LiteTrunk:
        return self.trunk

    def motion(self, clips: Tensor) -> Tensor:
        """(N, frames, H, W, 3) uint8 to (N, features): motion at every tapped stage, the mean over views."""
        return self.motion_and_appearance(clips)[0]

    def motion_and_appearance(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Beside the motion (N, C): the last stage, averaged over place, frames and views."""
        hidden = self.trunk.stem(frames_as_images(self.focus(clips)))
        found: list[Tensor] = []
        start = 0
        for end, temporal in zip(self.ends, self.temporal, strict=True):
            hidden = temporal(self.trunk.between(hidden, start, end))
            found.append(local_motion(hidden, self.frames))
            start = end
        return self._over_views(torch.cat(found, 1)), self._over_views(
            hidden.view(-1, self.frames, *hidden.shape[1:]).mean((1, 3, 4))
        )

    def _over_views(self, features: Tensor) -> Tensor:
        """(views * N, C) to (N, C)."""
        return features.view(len(self.focus.shares), -1, features.shape[1]).mean(0)

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.head(self.motion(clips))
        return logits
