"""An image network on every frame, pooled over time: the baseline that every video network must beat.

Karpathy et al. 2014 ("Large-scale Video Classification with CNNs", late fusion) and Wang et al. 2016
(Temporal Segment Networks, arXiv 1608.00859) found how far it goes.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.architectures.efficientnet_lite import LiteTrunk, frames_as_images
from models.architectures.efficientnet_lite_scaled import ScaledLiteTrunk
from models.architectures.frames import LITE, NormaliseClips
from models.architectures.motion import LinearHead
from models.architectures.resnet import IMAGENET, ResNetTrunk
from models.architectures.time_pooling import time_pooling
from models.spec import VideoInput


class FrameEncoder(nn.Module):
    """(N, T, H, W, 3) uint8 clips to (N, T, features): the trunk's answer to each frame."""

    def __init__(self, trunk: ResNetTrunk | ScaledLiteTrunk) -> None:
        super().__init__()
        self.features = trunk.features
        self.normalise = NormaliseClips(IMAGENET if isinstance(trunk, ResNetTrunk) else LITE)
        self.trunk = trunk

    def forward(self, clips: Tensor) -> Tensor:
        frames = clips.shape[1]
        images = frames_as_images(self.normalise(clips))  # (N * T, 3, H, W)
        features = self.trunk.pooled(images)
        return features.view(-1, frames, self.features)  # (N * T, F) to (N, T, F)


class PooledFrames(nn.Module):
    """(N, T, H, W, 3) uint8 clips to (N, features)."""

    def __init__(self, encoder: FrameEncoder, pooling: nn.Module) -> None:
        super().__init__()
        self.features = encoder.features
        self.encoder = encoder
        self.pooling = pooling

    @property
    def pretrained(self) -> LiteTrunk | None:
        trunk = self.encoder.trunk
        return trunk if isinstance(trunk, LiteTrunk) else None

    def forward(self, clips: Tensor) -> Tensor:
        pooled: Tensor = self.pooling(self.encoder(clips))
        return pooled


class FrameCNN(nn.Module):
    """(N, T, H, W, 3) uint8 clips to (N, labels) logits."""

    def __init__(self, frames: PooledFrames, labels: int, dropout: float) -> None:
        super().__init__()
        self.frames = frames
        self.head = LinearHead(frames.features, labels, dropout)

    @property
    def pretrained(self) -> LiteTrunk | None:
        return self.frames.pretrained

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.head(self.frames(clips))
        return logits


def pooled_resnet(depth: int = 18, width: int = 64, pooling: str = "mean") -> PooledFrames:
    trunk = ResNetTrunk(depth, width)
    return PooledFrames(FrameEncoder(trunk), time_pooling(pooling, trunk.features))


def pooled_lite(size: int = 0, pooling: str = "mean") -> PooledFrames:
    trunk = ScaledLiteTrunk(size)
    return PooledFrames(FrameEncoder(trunk), time_pooling(pooling, trunk.features))


def build_frames_resnet(
    video: VideoInput,
    labels: int,
    depth: int = 18,
    width: int = 64,
    pooling: str = "mean",
    dropout: float = 0.5,
) -> FrameCNN:
    return FrameCNN(pooled_resnet(depth, width, pooling), labels, dropout)


def build_frames_lite(
    video: VideoInput, labels: int, size: int = 0, pooling: str = "mean", dropout: float = 0.5
) -> FrameCNN:
    return FrameCNN(pooled_lite(size, pooling), labels, dropout)
