"""Features of each frame read in both directions by an LSTM, then pooled by attention.

Donahue et al. 2015 (LRCN, arXiv 1411.4389) and Ng et al. 2015 (arXiv 1503.08909).
"""

from __future__ import annotations

from torch import Tensor, nn

from models.architectures.frame_cnn import FrameEncoder
from models.architectures.motion import LinearHead
from models.architectures.resnet import ResNetTrunk
from models.architectures.time_pooling import AttentionOverTime
from models.spec import VideoInput


class CnnLstm(nn.Module):
    """(N, T, H, W, 3) uint8 clips to (N, labels) logits. ``hidden``: of each of the two directions."""

    def __init__(self, encoder: FrameEncoder, hidden: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.lstm = nn.LSTM(encoder.features, hidden, batch_first=True, bidirectional=True)
        self.pooling = AttentionOverTime(2 * hidden)
        self.head = LinearHead(2 * hidden, labels, dropout)

    def forward(self, clips: Tensor) -> Tensor:
        read, _ = self.lstm(self.encoder(clips))  # (N, T, features) to (N, T, 2 * hidden)
        logits: Tensor = self.head(self.pooling(read))
        return logits


def build_cnn_lstm(
    video: VideoInput, labels: int, depth: int = 18, width: int = 64, hidden: int = 256, dropout: float = 0.5
) -> CnnLstm:
    return CnnLstm(FrameEncoder(ResNetTrunk(depth, width)), hidden, labels, dropout)
