"""Where something moves, looked at closely: the whole picture, and windows of it around the motion.

A fight in the picture of a surveillance camera is often a tenth of it. AdaFocus (Wang et al. 2021, arXiv
2105.03245) learns where to look; here a rule does, which needs no labels and costs next to nothing: the
window in which brightness changes most between frames. A change that most of the picture shares (a camera
that moves, a lamp that flickers) is subtracted first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.spec import VideoInput

CELLS = 32  # motion is measured on a grid of so many cells each way; pictures are a multiple of it
LUMA = (0.299, 0.587, 0.114)


class Focus(nn.Module):
    """(N, T, H, W, 3) uint8 clips to (V * N, 3, T, size, size) normalised: for each share the clips' windows.

    ``shares``: height and width of the windows, as shares of the picture's; 1.0 is the whole picture.
    ``size``: pixels; 0 is the height of the input. ``normalise``: (N, T, h, w, 3) uint8 to (N, 3, T, h, w).

    Windows lie on whole cells, so that they are copied and not sampled, before anything is converted: most of
    the picture is looked at for its motion only.
    """

    brightness: Tensor

    def __init__(self, video: VideoInput, shares: Sequence[float], size: int, normalise: nn.Module) -> None:
        super().__init__()
        if not shares or not all(0 < share <= 1 for share in shares):
            raise ValueError(f"views {list(shares)} must be shares of the picture, above 0 and at most 1")
        if min(shares) < 1 and (video.height % CELLS or video.width % CELLS):
            raise ValueError(f"{video.width}x{video.height} pixels must be a multiple of {CELLS} each way")
        self.shares = tuple(shares)
        self.size = size or video.height
        self.normalise = normalise
        if min(shares) < 1:
            self.register_buffer("brightness", _brightness(video.width), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        energy = self.motion_energy(clips) if min(self.shares) < 1 else None
        return torch.cat([self._scaled(self.normalise(window)) for window in self._windows(clips, energy)])

    def motion_energy(self, clips: Tensor) -> Tensor:
        """(N, T, H, W, 3) to (N, 1, 32, 32): mean change of brightness, less the median over the picture."""
        count, time, height = clips.shape[:3]
        # One matrix product finds the brightness of a row's cells without a transposed copy of the picture.
        rows = clips.to(self.brightness.dtype).flatten(3).matmul(self.brightness) - 1.0  # (N, T, H, 32)
        cells = functional.avg_pool2d(rows.flatten(0, 1).unsqueeze(1), (height // CELLS, 1))
        cells = cells.view(count, time, CELLS * CELLS)
        change = (cells[:, 1:] - cells[:, :-1]).abs()
        median = change.topk(CELLS * CELLS // 2, dim=2).values[:, :, -1:]
        return functional.relu(change - median).mean(1).view(count, 1, CELLS, CELLS)

    def _windows(self, clips: Tensor, energy: Tensor | None) -> Iterator[Tensor]:
        """For each share (N, T, h, w, 3) uint8."""
        for share in self.shares:
            cells = max(1, round(share * CELLS))
            yield clips if energy is None or cells == CELLS else _cut(clips, energy, cells)

    def _scaled(self, frames: Tensor) -> Tensor:
        """(N, 3, T, h, w) to (N, 3, T, size, size)."""
        count, channels, time, height, width = frames.shape
        if (height, width) == (self.size, self.size):
            return frames
        pictures = frames.reshape(count, channels * time, height, width)
        scaled = functional.interpolate(
            pictures, (self.size, self.size), mode="bilinear", align_corners=False
        )
        return scaled.view(count, channels, time, self.size, self.size)


def _brightness(width: int) -> Tensor:
    """(W * 3, 32): from a row's pixels to the mean brightness of its cells, 0 to 2."""
    pixels = width // CELLS
    share = torch.tensor(LUMA).repeat(pixels) / (pixels * 127.5)  # of one cell's pixels
    return torch.kron(torch.eye(CELLS), share.view(-1, 1))


def _cut(clips: Tensor, energy: Tensor, cells: int) -> Tensor:
    """The windows of ``cells`` each way in which ``energy`` is highest."""
    count, time, height, width, channels = clips.shape
    top, left = _corner(energy, cells)
    reach = cells * height // CELLS
    frame = torch.arange(count * time, device=clips.device).view(count, time, 1, 1) * height
    row = (top * (height // CELLS)).view(count, 1, 1, 1) + torch.arange(reach, device=clips.device).view(
        -1, 1
    )
    column = left.view(count, 1, 1, 1) + torch.arange(cells, device=clips.device)
    strips = clips.reshape(count * time * height * CELLS, width // CELLS * channels)  # a row of a cell each
    chosen = strips.index_select(0, ((frame + row) * CELLS + column).flatten())
    return chosen.view(count, time, reach, cells * width // CELLS, channels)


def _corner(energy: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """(N, 1, 32, 32) to two of (N,): row and column of the first cell of the window with most energy."""
    sums = functional.avg_pool2d(energy, cells, stride=1).flatten(1)  # (N, places * places)
    places = CELLS - cells + 1
    best = sums.argmax(1)
    top = torch.div(best, places, rounding_mode="floor")
    return top, best - top * places
