"""Clips of a batch mixed with each other, and their targets with them.

MixUp: Zhang et al. 2018, arXiv 1710.09412. CutMix: Yun et al. 2019, arXiv 1905.04899; the box is the same in
every frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from trainer.config import Augment

PICTURES = ("clips", "flow")  # inputs with axes (N, T, H, W, C)


def mixed(
    inputs: Mapping[str, Tensor], targets: Tensor, augment: Augment, random: np.random.Generator
) -> tuple[Mapping[str, Tensor], Tensor]:
    """Each clip with another one of the batch, all in the same proportion; as they are if nothing is set.

    Where both ways are set, either comes for half of the batches. Sound is always mixed, not cut. A target
    that is not known (nan) of either clip is not known of the mixture.
    """
    ways = [way for way in ("mixup", "cutmix") if getattr(augment, way)]
    if not ways:
        return inputs, targets
    way = ways[int(random.integers(len(ways)))]
    alpha = getattr(augment, way)
    share = float(random.beta(alpha, alpha))  # of the clip itself
    order = torch.from_numpy(random.permutation(len(targets)))
    if way == "cutmix":
        height, width = inputs["clips"].shape[2:4]
        box, share = _box(height, width, share, random)
        made = {
            name: value if name not in PICTURES else _cut(value, order, box) for name, value in inputs.items()
        }
    else:
        made = dict(inputs)
    for name, value in made.items():
        if name == "has_audio":
            made[name] = torch.maximum(value, value[order])
        elif way == "mixup" or name not in PICTURES:
            made[name] = _blended(value, order, share)
    return made, _blended(targets, order, share)


def _blended(value: Tensor, order: Tensor, share: float) -> Tensor:
    blend = value.float() * share + value[order].float() * (1.0 - share)
    return blend if value.is_floating_point() else blend.round().to(value.dtype)


def _cut(value: Tensor, order: Tensor, box: tuple[slice, slice]) -> Tensor:
    cut = value.clone()
    cut[:, :, *box] = value[order][:, :, *box]
    return cut


def _box(
    height: int, width: int, share: float, random: np.random.Generator
) -> tuple[tuple[slice, slice], float]:
    """A box around a random place, cut off at the borders, and the share that is left outside of it."""
    side = math.sqrt(1.0 - share)
    row, column = int(random.integers(height)), int(random.integers(width))
    box_height, box_width = round(height * side), round(width * side)
    top, left = max(0, row - box_height // 2), max(0, column - box_width // 2)
    bottom, right = min(height, top + box_height), min(width, left + box_width)
    outside = 1.0 - (bottom - top) * (right - left) / (height * width)
    return (slice(top, bottom), slice(left, right)), outside
