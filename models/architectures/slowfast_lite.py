"""SlowFast whose slow pathway is EfficientNet-Lite0, so that it starts from ImageNet.

Feichtenhofer et al. 2019 (arXiv 1812.03982). The slow pathway sees every ``alpha``-th frame in full; the
fast pathway sees all frames at half the size, thinly, and is learnt from nothing. Lateral connections are
summed instead of concatenated (the paper's table 5 finds them close), since that leaves the widths of the
image network as they are. The head hears of the fast pathway through them alone: it looks at the change
between slow frames, averaged over the views of ``Focus``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architectures.efficientnet_lite import LiteTrunk, frames_as_images
from models.architectures.focus import Focus
from models.architectures.motion import GainNorm, TemporalConv, local_motion
from models.architectures.r2plus1d_lite import STAGE_ENDS
from models.architectures.slowfast import ResStage, Stem
from models.spec import VideoInput

FAST_WIDTHS = (8, 32, 64, 128)  # the fast stem, then its stages; at 1/8, 1/8, 1/16 and 1/32 of the size
FAST_STRIDES = (1, 2, 2)
# Which slow stage each fast step feeds: the last one of the same size.
LATERALS = {0: 0, 2: 2, 3: 3}


class Lateral(nn.Module):
    """Fast frames (N, F, T, H, W) to slow images (N * T / alpha, C, H, W), to be added."""

    def __init__(self, fast: int, slow: int, alpha: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(fast, slow, (5, 1, 1), stride=(alpha, 1, 1), padding=(2, 0, 0), bias=False)
        self.norm = GainNorm(nn.BatchNorm3d(slow, affine=False))

    def forward(self, fast: Tensor) -> Tensor:
        return frames_as_images(self.norm(self.conv(fast)))


class SlowFastLite(nn.Module):
    """(N, frames, H, W, 3) uint8 clips to (N, features).

    ``views`` and ``size``: see ``Focus``. ``stages``: which of the four slow ones are tapped, from 0.
    """

    def __init__(
        self,
        video: VideoInput,
        alpha: int = 2,
        views: Sequence[float] = (1.0,),
        size: int = 0,
        stages: Sequence[int] = (1, 2, 3),
    ) -> None:
        super().__init__()
        if video.frames % alpha:
            raise ValueError(f"frames {video.frames} must be a multiple of alpha {alpha}")
        self.alpha = alpha
        self.slow_frames = video.frames // alpha
        self.tapped = frozenset(stages)
        self.slow = LiteTrunk(STAGE_ENDS[-1])
        self.focus = Focus(video, views, size, self.slow.normalise)
        widths = [self.slow.widths[end - 1] for end in STAGE_ENDS]
        self.temporal = nn.ModuleList(TemporalConv(width, self.slow_frames) for width in widths)
        self.fast_stem = Stem(FAST_WIDTHS[0], 5)
        self.fast_stages = nn.ModuleList(
            ResStage(width_in, width, 1, 3, stride)
            for width_in, width, stride in zip(FAST_WIDTHS, FAST_WIDTHS[1:], FAST_STRIDES, strict=False)
        )
        self.laterals = nn.ModuleDict(
            {str(stage): Lateral(FAST_WIDTHS[step], widths[stage], alpha) for step, stage in LATERALS.items()}
        )
        self.features = sum(widths[stage] for stage in self.tapped)

    def forward(self, clips: Tensor) -> Tensor:
        frames = self.focus(clips)
        fast_steps = self._fast(frames)
        hidden = self.slow.stem(frames_as_images(frames[:, :, :: self.alpha]))
        found: list[Tensor] = []
        start = 0
        for stage, end in enumerate(STAGE_ENDS):
            hidden = self.slow.between(hidden, start, end)
            hidden = self._with_lateral(stage, self.temporal[stage](hidden), fast_steps)
            if stage in self.tapped:
                found.append(local_motion(hidden, self.slow_frames))
            start = end
        by_view = torch.cat(found, 1)  # (views * N, features)
        return by_view.view(len(self.focus.shares), -1, self.features).mean(0)

    def _fast(self, frames: Tensor) -> list[Tensor]:
        """The fast pathway's result after its stem and after each of its stages."""
        steps = [self.fast_stem(functional.avg_pool3d(frames, (1, 2, 2)))]
        for stage in self.fast_stages:
            steps.append(stage(steps[-1]))
        return steps

    def _with_lateral(self, stage: int, hidden: Tensor, fast_steps: list[Tensor]) -> Tensor:
        for step, fed in LATERALS.items():
            if fed == stage:
                lateral: Tensor = self.laterals[str(stage)](fast_steps[step])
                return hidden + lateral
        return hidden
