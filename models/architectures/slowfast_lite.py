"""SlowFast whose slow pathway is EfficientNet-Lite0, so that it starts from ImageNet.

Feichtenhofer et al. 2019 (arXiv 1812.03982). The slow pathway sees every ``alpha``-th frame in full; the
fast pathway sees all frames at half the size, thinly, and is learnt from nothing. Lateral connections are
summed instead of concatenated (the paper's table 5 finds them close), since that leaves the widths of the
image network as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architectures.efficientnet_lite import LiteTrunk, frames_as_images
from models.architectures.motion import GainNorm, TemporalConv, overall_motion, strongest_motion
from models.architectures.slowfast import ResStage, Stem

# Ends of the slow stages with 40, 80, 112 and 192 channels: 1/8, 1/16, 1/16 and 1/32 of the input's size.
STAGE_ENDS = (5, 8, 11, 15)
FAST_WIDTHS = (8, 32, 64, 128)  # the fast stem, then its stages; at 1/8, 1/8, 1/16 and 1/32 as well
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
    """(N, frames, H, W, 3) uint8 clips to (N, features)."""

    def __init__(self, frames: int, alpha: int) -> None:
        super().__init__()
        if frames % alpha:
            raise ValueError(f"frames {frames} must be a multiple of alpha {alpha}")
        self.alpha = alpha
        self.slow_frames = frames // alpha
        self.slow = LiteTrunk(STAGE_ENDS[-1])
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
        self.features = sum(widths) + widths[-1] + FAST_WIDTHS[-1]

    def forward(self, clips: Tensor) -> Tensor:
        frames = self.slow.normalise(clips)
        fast_steps = self._fast(frames)
        hidden = self.slow.stem(frames_as_images(frames[:, :, :: self.alpha]))
        found: list[Tensor] = []
        start = 0
        for stage, end in enumerate(STAGE_ENDS):
            hidden = self.slow.between(hidden, start, end)
            hidden = self._with_lateral(stage, self.temporal[stage](hidden), fast_steps)
            found.append(strongest_motion(hidden, self.slow_frames))
            start = end
        overall = overall_motion(hidden, self.slow_frames)
        return torch.cat((*found, overall, fast_steps[-1].mean((2, 3, 4))), 1)

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
