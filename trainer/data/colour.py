"""Changes of colours and shape, the same for every frame of a clip (T, H, W, 3), float32 0..255."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.config import Augment

Change = Callable[[Tensor, float], Tensor]  # clip and strength, -1 to 1

ERASED_AREA = (0.02, 0.33)  # of the picture, and the box's height to its width; as in the paper
ERASED_RATIO = (0.3, 3.3)


def recoloured(clip: Tensor, augment: Augment, random: np.random.Generator) -> Tensor:
    """Brightness, contrast and saturation, each by a random factor; now and then no colour at all."""
    brightness, contrast, saturation = 1.0 + augment.light * random.uniform(-1.0, 1.0, 3)
    if random.random() < augment.grey:
        saturation = 0.0
    changed = _saturated(_contrasted(clip * brightness, contrast), saturation)
    return changed.clamp(0.0, 255.0)


def drawn_changes(augment: Augment, random: np.random.Generator) -> list[tuple[str, float]]:
    """RandAugment (Cubuk et al. 2020, arXiv 1909.13719): names of ``SHAPES`` and ``COLOURS``, and strengths.

    The strength is that of the configuration; only its sign is drawn.
    """
    names = [*SHAPES, *COLOURS]
    drawn = random.integers(len(names), size=augment.changes)
    signs = random.choice((-1.0, 1.0), augment.changes)
    return [(names[i], float(sign) * augment.strength) for i, sign in zip(drawn, signs, strict=True)]


def changed(clip: Tensor, changes: list[tuple[str, float]], known: Mapping[str, Change]) -> Tensor:
    """By those of the changes that are ``known``."""
    for name, strength in changes:
        if name in known:
            clip = known[name](clip, strength)
    return clip


def erased(clip: Tensor, random: np.random.Generator) -> Tensor:
    """Noise in a random box, the same in every frame. Random erasing: Zhong et al. 2020, arXiv 1708.04896."""
    _, height, width, channels = clip.shape
    area = random.uniform(*ERASED_AREA) * height * width
    ratio = math.exp(random.uniform(*np.log(ERASED_RATIO)))
    box_height = min(height, max(1, round(math.sqrt(area * ratio))))
    box_width = min(width, max(1, round(math.sqrt(area / ratio))))
    top = int(random.integers(height - box_height + 1))
    left = int(random.integers(width - box_width + 1))
    noise = random.uniform(0.0, 255.0, (box_height, box_width, channels)).astype(np.float32)
    clip = clip.clone()
    clip[:, top : top + box_height, left : left + box_width] = torch.from_numpy(noise)
    return clip


def _contrasted(clip: Tensor, factor: float) -> Tensor:
    return (clip - clip.mean()) * factor + clip.mean()


def _saturated(clip: Tensor, factor: float) -> Tensor:
    grey = clip.mean(-1, keepdim=True)
    return (clip - grey) * factor + grey


def _stretched(clip: Tensor, _: float) -> Tensor:
    """Each channel over the full range."""
    low, high = clip.amin((0, 1, 2)), clip.amax((0, 1, 2))
    return (clip - low) / (high - low).clamp(min=1.0) * 255.0


def _posterised(clip: Tensor, strength: float) -> Tensor:
    """Down to four bits at full strength."""
    step = 2.0 ** round(4.0 * abs(strength))
    return torch.floor(clip / step) * step


def _solarised(clip: Tensor, strength: float) -> Tensor:
    """What is brighter than a level is inverted; at full strength, all."""
    return torch.where(clip >= 256.0 * (1.0 - abs(strength)), 255.0 - clip, clip)


def _sharpened(clip: Tensor, strength: float) -> Tensor:
    """Or blurred, where the strength is negative."""
    planes = clip.permute(0, 3, 1, 2)
    padded = functional.pad(planes, (1, 1, 1, 1), mode="replicate")
    blurred = functional.avg_pool2d(padded, 3, stride=1).permute(0, 2, 3, 1)
    return clip + strength * (clip - blurred)


def _warped(clip: Tensor, matrix: list[list[float]]) -> Tensor:
    """By an affine map of places in the result to places in the clip; both from -1 to 1."""
    planes = clip.permute(0, 3, 1, 2)
    maps = torch.tensor(matrix).expand(len(clip), 2, 3)
    grid = functional.affine_grid(maps, list(planes.shape), align_corners=False)
    moved = functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    return moved.permute(0, 2, 3, 1)


def _rotated(clip: Tensor, strength: float) -> Tensor:
    """By up to 30 degrees."""
    angle, ratio = math.radians(30.0 * strength), clip.shape[1] / clip.shape[2]
    sine, cosine = math.sin(angle), math.cos(angle)
    return _warped(clip, [[cosine, -sine * ratio, 0.0], [sine / ratio, cosine, 0.0]])


SHAPES: Mapping[str, Change] = {
    "rotate": _rotated,
    "shear_x": lambda clip, s: _warped(clip, [[1.0, 0.3 * s, 0.0], [0.0, 1.0, 0.0]]),
    "shear_y": lambda clip, s: _warped(clip, [[1.0, 0.0, 0.0], [0.3 * s, 1.0, 0.0]]),
    "move_x": lambda clip, s: _warped(clip, [[1.0, 0.0, 0.9 * s], [0.0, 1.0, 0.0]]),
    "move_y": lambda clip, s: _warped(clip, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.9 * s]]),
}

COLOURS: Mapping[str, Change] = {
    "none": lambda clip, _: clip,
    "full_range": _stretched,
    "posterise": _posterised,
    "solarise": _solarised,
    "sharpness": _sharpened,
    "brightness": lambda clip, s: clip * (1.0 + 0.9 * s),
    "contrast": lambda clip, s: _contrasted(clip, 1.0 + 0.9 * s),
    "colour": lambda clip, s: _saturated(clip, 1.0 + 0.9 * s),
}
