"""C3D: 3x3x3 convolutions all the way.

Tran et al. 2015, "Learning Spatiotemporal Features with 3D Convolutional Networks" (arXiv 1412.0767). The
paper's network has two wide layers over the flattened last map, which hold two thirds of its parameters
and tie it to one input size; the variant averages that map instead and normalises by batches.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from models.architectures.frames import KINETICS, NormaliseClips
from models.architectures.motion import LinearHead
from models.spec import VideoInput

# Convolutions of each of the five stages, and their widths as factors of the first.
DEPTHS = (1, 1, 2, 2, 2)
WIDTHS = (1, 2, 4, 8, 8)

Norm = Callable[[int], nn.Module]


class Stage(nn.Sequential):
    """Convolutions, then a pooling that halves space and, but for the first stage, time.

    (N, C, T, H, W) to (N, C', T / 2, H / 2, W / 2), an odd rest is kept in space and time alike.
    """

    def __init__(self, width_in: int, width: int, depth: int, pool: tuple[int, int, int], norm: Norm) -> None:
        layers: list[nn.Module] = []
        for index in range(depth):
            conv = nn.Conv3d(width_in if index == 0 else width, width, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            layers += [conv, norm(width), nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.MaxPool3d(pool, stride=pool, ceil_mode=True))


class C3DTrunk(nn.Module):
    """(N, T, H, W, 3) uint8 clips to (N, 8 * width, T / 16, H / 32, W / 32), rounded up."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.features = WIDTHS[-1] * width
        self.normalise = NormaliseClips(KINETICS)
        widths = (3, *(factor * width for factor in WIDTHS))
        pools = ((1, 2, 2), *((2, 2, 2),) * 4)
        self.stages = nn.Sequential(
            *(
                Stage(width_in, width_out, depth, pool, norm)
                for width_in, width_out, depth, pool in zip(widths, widths[1:], DEPTHS, pools, strict=False)
            )
        )

    def forward(self, clips: Tensor) -> Tensor:
        result: Tensor = self.stages(self.normalise(clips))
        return result


class FlatHead(nn.Sequential):
    """fc6, fc7 and fc8 of the paper over the flattened map, (N, C, T', H', W') to (N, labels)."""

    def __init__(self, values: int, hidden: int, labels: int, dropout: float) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(values, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, labels),
        )


class GlobalHead(nn.Module):
    """The map's average and one linear layer, (N, C, T', H', W') to (N, labels)."""

    def __init__(self, features: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.linear = LinearHead(features, labels, dropout)

    def forward(self, maps: Tensor) -> Tensor:
        logits: Tensor = self.linear(maps.mean((2, 3, 4)))
        return logits


class C3D(nn.Sequential):
    """(N, T, H, W, 3) uint8 clips to (N, labels) logits."""

    def __init__(self, trunk: C3DTrunk, head: FlatHead | GlobalHead) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head


def build_c3d(
    video: VideoInput, labels: int, width: int = 64, hidden: int = 4096, dropout: float = 0.5
) -> C3D:
    """The paper's: no batch normalisation, tied to the size of ``video``."""
    trunk = C3DTrunk(width, norm=lambda _: nn.Identity())
    positions = _ceil_div(video.frames, 16) * _ceil_div(video.height, 32) * _ceil_div(video.width, 32)
    return C3D(trunk, FlatHead(trunk.features * positions, hidden, labels, dropout))


def build_c3d_global(video: VideoInput, labels: int, width: int = 64, dropout: float = 0.5) -> C3D:
    trunk = C3DTrunk(width, norm=nn.BatchNorm3d)
    return C3D(trunk, GlobalHead(trunk.features, labels, dropout))


def _ceil_div(size: int, by: int) -> int:
    return -(-size // by)
