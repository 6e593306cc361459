"""SlowFast: two pathways over one clip, few frames in detail and many frames thinly.

Feichtenhofer et al. 2019 (arXiv 1812.03982). Parameter names and shapes are PyTorchVideo's:
``SlowFast(SLOWFAST_R50, labels=400)`` takes the state dict of ``slowfast_r50`` unchanged and gives the same
logits. Depth 18 has a ResNet-18's blocks, two convolutions each. The audio-visual network of
``models.architectures.audiovisual`` uses the trunk and replaces the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.architectures.frames import KINETICS, NormaliseClips

BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
SPATIAL_STRIDES = (1, 2, 2, 2)
# Temporal kernel of the first convolution of each stage's blocks: the slow pathway looks over time only late.
SLOW_KERNELS = (1, 1, 3, 3)
FAST_KERNELS = (3, 3, 3, 3)


@dataclass(frozen=True)
class SlowFastConfig:
    """``alpha``: fast frames for each slow one; ``beta``: how many times thinner the fast pathway is."""

    depth: int = 50
    width: int = 64  # channels of the slow stem; must be a multiple of beta
    alpha: int = 4
    beta: int = 8
    fusion_kernel: int = 7  # frames
    fusion_ratio: int = 2  # a lateral connection brings this many times the fast pathway's channels

    def __post_init__(self) -> None:
        if self.depth not in BLOCKS_PER_STAGE:
            raise ValueError(f"depth must be one of {sorted(BLOCKS_PER_STAGE)}, got {self.depth}")
        if self.width % self.beta:
            raise ValueError(f"width {self.width} must be a multiple of beta {self.beta}")

    @property
    def branch(self) -> Branch:
        """What the residual blocks compute, as in image networks of this depth."""
        return Basic if self.depth == 18 else Bottleneck

    def stage(self, index: int) -> int:
        """Channels of the slow pathway after a stage, from 0; -1 is the stem."""
        return self.width if index < 0 else self.width * self.branch.expansion * 2**index

    def fast(self, width: int) -> int:
        return width // self.beta

    def fused(self, width: int) -> int:
        """Channels of the slow pathway after a lateral connection."""
        return width + self.fusion_ratio * self.fast(width)


SLOWFAST_R50 = SlowFastConfig()


class Stem(nn.Module):
    """(N, 3, T, H, W) to (N, width, T, H / 4, W / 4)."""

    def __init__(self, width: int, temporal_kernel: int) -> None:
        super().__init__()
        kernel = (temporal_kernel, 7, 7)
        self.conv = nn.Conv3d(
            3, width, kernel, stride=(1, 2, 2), padding=(temporal_kernel // 2, 3, 3), bias=False
        )
        self.norm = nn.BatchNorm3d(width)
        self.activation = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))

    def forward(self, frames: Tensor) -> Tensor:
        pooled: Tensor = self.pool(self.activation(self.norm(self.conv(frames))))
        return pooled


class Bottleneck(nn.Module):
    """Tx1x1 narrow, 1x3x3, 1x1x1 wide."""

    expansion = 4

    def __init__(self, width_in: int, width: int, temporal_kernel: int, stride: int) -> None:
        super().__init__()
        inner = width // self.expansion
        time = (temporal_kernel, 1, 1)
        self.conv_a = nn.Conv3d(width_in, inner, time, padding=(temporal_kernel // 2, 0, 0), bias=False)
        self.norm_a = nn.BatchNorm3d(inner)
        self.conv_b = nn.Conv3d(
            inner, inner, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False
        )
        self.norm_b = nn.BatchNorm3d(inner)
        self.conv_c = nn.Conv3d(inner, width, 1, bias=False)
        self.norm_c = nn.BatchNorm3d(width)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, frames: Tensor) -> Tensor:
        hidden = self.activation(self.norm_a(self.conv_a(frames)))
        hidden = self.activation(self.norm_b(self.conv_b(hidden)))
        widened: Tensor = self.norm_c(self.conv_c(hidden))
        return widened


class Basic(nn.Module):
    """Tx3x3, 1x3x3: the two convolutions of a ResNet-18's block."""

    expansion = 1

    def __init__(self, width_in: int, width: int, temporal_kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_a = nn.Conv3d(
            width_in,
            width,
            (temporal_kernel, 3, 3),
            stride=(1, stride, stride),
            padding=(temporal_kernel // 2, 1, 1),
            bias=False,
        )
        self.norm_a = nn.BatchNorm3d(width)
        self.conv_b = nn.Conv3d(width, width, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.norm_b = nn.BatchNorm3d(width)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, frames: Tensor) -> Tensor:
        hidden = self.activation(self.norm_a(self.conv_a(frames)))
        result: Tensor = self.norm_b(self.conv_b(hidden))
        return result


Branch = type[Bottleneck] | type[Basic]


class ResBlock(nn.Module):
    """A transformation (branch 2) and its shortcut (branch 1, a projection only where the shape changes)."""

    def __init__(self, width_in: int, width: int, temporal_kernel: int, stride: int, branch: Branch) -> None:
        super().__init__()
        self.branch1_conv: nn.Module = nn.Identity()
        self.branch1_norm: nn.Module = nn.Identity()
        if width_in != width or stride != 1:
            self.branch1_conv = nn.Conv3d(width_in, width, 1, stride=(1, stride, stride), bias=False)
            self.branch1_norm = nn.BatchNorm3d(width)
        self.branch2 = branch(width_in, width, temporal_kernel, stride)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, frames: Tensor) -> Tensor:
        shortcut = self.branch1_norm(self.branch1_conv(frames))
        result: Tensor = self.activation(shortcut + self.branch2(frames))
        return result


class ResStage(nn.Module):
    """``depth`` residual blocks; the first halves height and width if ``stride`` is 2."""

    def __init__(
        self,
        width_in: int,
        width: int,
        depth: int,
        temporal_kernel: int,
        stride: int,
        branch: Branch = Bottleneck,
    ) -> None:
        super().__init__()
        first = ResBlock(width_in, width, temporal_kernel, stride, branch)
        rest = (ResBlock(width, width, temporal_kernel, 1, branch) for _ in range(depth - 1))
        self.res_blocks = nn.Sequential(first, *rest)

    def forward(self, frames: Tensor) -> Tensor:
        result: Tensor = self.res_blocks(frames)
        return result


class FastToSlow(nn.Module):
    """Lateral connection: a convolution strided over time brings fast frames to the slow pathway's rate."""

    def __init__(self, config: SlowFastConfig, width: int) -> None:
        super().__init__()
        fast = config.fast(width)
        self.conv_fast_to_slow = nn.Conv3d(
            fast,
            fast * config.fusion_ratio,
            (config.fusion_kernel, 1, 1),
            stride=(config.alpha, 1, 1),
            padding=(config.fusion_kernel // 2, 0, 0),
            bias=False,
        )
        self.norm = nn.BatchNorm3d(fast * config.fusion_ratio)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        lateral = self.activation(self.norm(self.conv_fast_to_slow(fast)))
        return torch.cat((slow, lateral), 1)


class Pathways(nn.Module):
    """One step of both pathways, then a lateral connection unless it is the last step."""

    def __init__(self, slow: nn.Module, fast: nn.Module, fusion: FastToSlow | None) -> None:
        super().__init__()
        self.multipathway_blocks = nn.ModuleList((slow, fast))
        self.multipathway_fusion = fusion

    def forward(self, slow: Tensor, fast: Tensor) -> tuple[Tensor, Tensor]:
        slow, fast = self.multipathway_blocks[0](slow), self.multipathway_blocks[1](fast)
        if self.multipathway_fusion is None:
            return slow, fast
        return self.multipathway_fusion(slow, fast), fast


class Head(nn.Module):
    def __init__(self, features: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.proj = nn.Linear(features, labels)

    def forward(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.proj(self.dropout(pooled))
        return logits


class SlowFast(nn.Module):
    """(N, T, H, W, 3) uint8 clips to (N, labels) logits; T, of the fast pathway, is a multiple of alpha."""

    def __init__(self, config: SlowFastConfig, labels: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.config = config
        self.normalise = NormaliseClips(KINETICS)
        widest = config.stage(3)
        self.features = widest + config.fast(widest)
        steps = [_stems(config), *(_stages(config, index) for index in range(4))]
        # Step 5 of PyTorchVideo's network is its pooling, which has no parameters.
        self.blocks = nn.ModuleList((*steps, nn.Identity(), Head(self.features, labels, dropout)))

    def pooled(self, clips: Tensor) -> Tensor:
        """(N, T, H, W, 3) uint8 clips to (N, features): both pathways averaged over time and space."""
        fast = self.normalise(clips)
        slow = fast[:, :, :: self.config.alpha]
        for step in self.blocks[:5]:
            slow, fast = step(slow, fast)
        return torch.cat((slow.mean((2, 3, 4)), fast.mean((2, 3, 4))), 1)

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.blocks[6](self.pooled(clips))
        return logits


def _stems(config: SlowFastConfig) -> Pathways:
    width = config.width
    return Pathways(Stem(width, 1), Stem(config.fast(width), 5), FastToSlow(config, width))


def _stages(config: SlowFastConfig, index: int) -> Pathways:
    width_in, width, branch = config.stage(index - 1), config.stage(index), config.branch
    depth, stride = BLOCKS_PER_STAGE[config.depth][index], SPATIAL_STRIDES[index]
    return Pathways(
        ResStage(config.fused(width_in), width, depth, SLOW_KERNELS[index], stride, branch),
        ResStage(config.fast(width_in), config.fast(width), depth, FAST_KERNELS[index], stride, branch),
        None if index == 3 else FastToSlow(config, width),
    )
