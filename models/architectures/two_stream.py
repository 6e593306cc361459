"""Two streams: what is seen, and how it moves.

Simonyan and Zisserman 2014, "Two-Stream Convolutional Networks for Action Recognition in Videos"
(arXiv 1406.2199). The optical flow is an input: it is computed where the data is read.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.architectures.frame_cnn import PooledFrames, pooled_resnet
from models.architectures.fusion import fusion_of
from models.architectures.resnet import ResNetTrunk
from models.spec import VideoInput

STILL = 128.0  # value of a flow's byte where nothing moves


class FlowStream(nn.Module):
    """(N, fields, H, W, 2) uint8 optical flow to (N, features).

    Axis 4 is displacement to the right and downwards from one frame to the next; 128 is none, and a unit
    is the same distance throughout a data set. All fields are stacked into the channels of one image.
    """

    def __init__(self, fields: int, depth: int, width: int) -> None:
        super().__init__()
        self.trunk = ResNetTrunk(depth, width, channels=2 * fields)
        self.features = self.trunk.features

    def forward(self, flow: Tensor) -> Tensor:
        scaled = (flow.to(self.trunk.conv1.weight.dtype) - STILL) / STILL
        stacked = scaled.permute(0, 1, 4, 2, 3).flatten(1, 2)  # (N, fields, 2, H, W) to (N, 2 * fields, H, W)
        features: Tensor = self.trunk(stacked)
        return features


class TwoStream(nn.Module):
    """Clips (N, T, H, W, 3) uint8 and flow (N, T - 1, H, W, 2) uint8 to (N, labels) logits."""

    def __init__(self, colour: PooledFrames, motion: FlowStream, fusion: nn.Module) -> None:
        super().__init__()
        self.colour = colour
        self.motion = motion
        self.fusion = fusion

    def forward(self, clips: Tensor, flow: Tensor) -> Tensor:
        colour, motion = self.colour(clips), self.motion(flow)
        logits: Tensor = self.fusion(colour, motion, motion.new_ones(motion.shape[0]))
        return logits


def build_two_stream(
    video: VideoInput,
    labels: int,
    fusion: str = "late",
    depth: int = 18,
    width: int = 64,
    dropout: float = 0.5,
) -> TwoStream:
    if video.frames < 2:
        raise ValueError("optical flow needs two frames or more")
    colour = pooled_resnet(depth, width)
    motion = FlowStream(video.frames - 1, depth, width)
    return TwoStream(colour, motion, fusion_of(fusion, colour.features, motion.features, labels, dropout))
