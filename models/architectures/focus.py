"""Where something moves, looked at closely: the whole picture, and windows of it around the motion.

A fight in the picture of a surveillance camera is often a tenth of it. AdaFocus (Wang et al. 2021, arXiv
2105.03245) learns where to look; here a rule does, which needs no labels and costs next to nothing: the
window in which brightness changes most between frames. A change that most of the picture shares (a camera
that moves, a lamp that flickers) is subtracted first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.spec import VideoInput

CELLS = 32  # motion is measured on a grid of so many cells each way; pictures are a multiple of it
LUMA = (0.299, 0.587, 0.114)


class Focus(nn.Module):
    """(N, 3, T, H, W) frames to (V * N, 3, T, size, size): for each share the clips' windows, in order.

    ``shares``: height and width of the windows, as shares of the picture's; 1.0 is the whole picture.
    ``size``: pixels; 0 is the height of the input.
    """

    def __init__(self, video: VideoInput, shares: Sequence[float], size: int = 0) -> None:
        super().__init__()
        if not shares or not all(0 < share <= 1 for share in shares):
            raise ValueError(f"views {list(shares)} must be shares of the picture, above 0 and at most 1")
        if min(shares) < 1 and (video.height % CELLS or video.width % CELLS):
            raise ValueError(f"{video.width}x{video.height} pixels must be a multiple of {CELLS} each way")
        self.shares = tuple(shares)
        self.size = size or video.height

    def forward(self, frames: Tensor) -> Tensor:
        energy = self.motion_energy(frames) if min(self.shares) < 1 else None
        return torch.cat([self._window(frames, energy, share) for share in self.shares])

    def motion_energy(self, frames: Tensor) -> Tensor:
        """(N, 3, T, H, W) to (N, 1, 32, 32): mean change of brightness, less the median over the picture."""
        count, _, time, height, width = frames.shape
        red, green, blue = LUMA
        grey = red * frames[:, 0] + green * frames[:, 1] + blue * frames[:, 2]  # (N, T, H, W)
        cells = functional.avg_pool2d(grey, (height // CELLS, width // CELLS))
        cells = cells.view(count, time, CELLS * CELLS)
        change = (cells[:, 1:] - cells[:, :-1]).abs()
        median = change.topk(CELLS * CELLS // 2, dim=2).values[:, :, -1:]
        return functional.relu(change - median).mean(1).view(count, 1, CELLS, CELLS)

    def _window(self, frames: Tensor, energy: Tensor | None, share: float) -> Tensor:
        """(N, 3, T, size, size): the window with most energy, scaled to ``size``."""
        count, channels, time, height, width = frames.shape
        if share == 1 and (height, width) == (self.size, self.size):
            return frames
        cells = max(1, round(share * CELLS))
        centre = frames.new_zeros(count, 2) if energy is None else _centre(energy, cells)
        steps = (torch.arange(self.size, dtype=frames.dtype, device=frames.device) + 0.5) / self.size
        reach = (2.0 * steps - 1.0) * (cells / CELLS)  # (size,)
        x = (centre[:, :1] + reach).view(count, 1, self.size).expand(count, self.size, self.size)
        y = (centre[:, 1:] + reach).view(count, self.size, 1).expand(count, self.size, self.size)
        pictures = frames.reshape(count, channels * time, height, width)  # one grid for all frames
        seen = functional.grid_sample(
            pictures, torch.stack((x, y), 3), mode="bilinear", padding_mode="border", align_corners=False
        )
        return seen.view(count, channels, time, self.size, self.size)


def _centre(energy: Tensor, cells: int) -> Tensor:
    """(N, 1, 32, 32) to (N, 2): x and y of the window of ``cells`` with most energy, in [-1, 1]."""
    sums = functional.avg_pool2d(energy, cells, stride=1).flatten(1)  # (N, places * places)
    places = CELLS - cells + 1
    best = sums.argmax(1)
    top = torch.div(best, places, rounding_mode="floor")
    corner = torch.stack((best - top * places, top), 1).to(energy.dtype)
    return (2.0 * corner + cells) / CELLS - 1.0
