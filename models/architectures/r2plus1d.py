"""R(2+1)D: a residual network whose 3-D convolutions are split into space and time.

Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions" (arXiv 1711.11248). Parameter names and
shapes are torchvision's: ``R2Plus1D(depth=18, width=64, labels=400)`` takes the state dict of
``torchvision.models.video.r2plus1d_18`` unchanged and gives the same logits.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from models.architectures.frames import KINETICS, NormaliseClips

BLOCKS_PER_STAGE = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def mid_channels(width_in: int, width_out: int) -> int:
    """Width between the halves that gives both the parameters of one 3x3x3 convolution (section 3.5)."""
    return (width_in * width_out * 3 * 3 * 3) // (width_in * 3 * 3 + 3 * width_out)


class Conv2Plus1D(nn.Sequential):
    """1x3x3 in space, norm, ReLU, 3x1x1 in time; each half has its own stride."""

    def __init__(self, width_in: int, width_out: int, mid: int, stride: int, temporal_stride: int) -> None:
        space, time = (1, stride, stride), (temporal_stride, 1, 1)
        super().__init__(
            nn.Conv3d(width_in, mid, (1, 3, 3), stride=space, padding=(0, 1, 1), bias=False),
            nn.BatchNorm3d(mid),
            nn.ReLU(inplace=True),
            nn.Conv3d(mid, width_out, (3, 1, 1), stride=time, padding=(1, 0, 0), bias=False),
        )


class BasicBlock(nn.Module):
    """Two factorised convolutions and a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int, temporal_stride: int) -> None:
        super().__init__()
        mid = mid_channels(width_in, width)
        self.conv1 = nn.Sequential(
            Conv2Plus1D(width_in, width, mid, stride, temporal_stride),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )
        self.conv2 = nn.Sequential(Conv2Plus1D(width, width, mid, 1, 1), nn.BatchNorm3d(width))
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or temporal_stride != 1 or width_in != width:
            strides = (temporal_stride, stride, stride)
            self.downsample = nn.Sequential(
                nn.Conv3d(width_in, width, 1, stride=strides, bias=False), nn.BatchNorm3d(width)
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, clips: Tensor) -> Tensor:
        hidden = self.conv2(self.conv1(clips)) + self.downsample(clips)
        result: Tensor = self.relu(hidden)
        return result


def _stem(width: int) -> nn.Sequential:
    """The first convolution, 7x7 in space and 3 in time; 45 channels between, as in the paper's network."""
    mid = 45
    return nn.Sequential(
        nn.Conv3d(3, mid, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
        nn.BatchNorm3d(mid),
        nn.ReLU(inplace=True),
        nn.Conv3d(mid, width, (3, 1, 1), padding=(1, 0, 0), bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
    )


class R2Plus1D(nn.Module):
    """(N, T, H, W, 3) uint8 clips to (N, labels) logits.

    ``width`` is that of the first stage, each later stage doubles it. ``temporal_strides`` are those of the
    four stages; the paper halves time in the last three.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        labels: int,
        temporal_strides: Sequence[int] = (1, 2, 2, 2),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        blocks = BLOCKS_PER_STAGE[depth]
        self.features = 8 * width
        self.normalise = NormaliseClips(KINETICS)
        self.stem = _stem(width)
        self.layer1 = _stage(width, width, blocks[0], 1, temporal_strides[0])
        self.layer2 = _stage(width, 2 * width, blocks[1], 2, temporal_strides[1])
        self.layer3 = _stage(2 * width, 4 * width, blocks[2], 2, temporal_strides[2])
        self.layer4 = _stage(4 * width, 8 * width, blocks[3], 2, temporal_strides[3])
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(self.features, labels)

    def feature_map(self, frames: Tensor) -> Tensor:
        """(N, 3, T, H, W) normalised frames to (N, 8 * width, T', H / 16, W / 16)."""
        return _chain((self.stem, self.layer1, self.layer2, self.layer3, self.layer4), frames)

    def forward(self, clips: Tensor) -> Tensor:
        pooled = self.feature_map(self.normalise(clips)).mean((2, 3, 4))
        logits: Tensor = self.fc(self.dropout(pooled))
        return logits


def _stage(width_in: int, width: int, blocks: int, stride: int, temporal_stride: int) -> nn.Sequential:
    first = BasicBlock(width_in, width, stride, temporal_stride)
    return nn.Sequential(first, *(BasicBlock(width, width, 1, 1) for _ in range(blocks - 1)))


def _chain(modules: Sequence[nn.Module], hidden: Tensor) -> Tensor:
    for module in modules:
        hidden = module(hidden)
    return hidden
