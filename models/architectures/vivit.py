"""ViViT, factorised encoder: what is in each moment, then how the moments follow one another.

Arnab et al. 2021, "ViViT: A Video Vision Transformer" (arXiv 2103.15691), model 2.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.architectures.frames import NormaliseClips
from models.architectures.vit import (
    Encoder,
    PatchGrid,
    TransformerSize,
    Tubelets,
    initialise,
    learnt,
    with_class_token,
)
from models.spec import VideoInput

STATISTICS = ((0.5,) * 3, (0.5,) * 3)  # as the published weights


class MomentEncoder(nn.Module):
    """A transformer whose class token speaks for its group: (G, L, D) to (G, D)."""

    def __init__(self, length: int, size: TransformerSize) -> None:
        super().__init__()
        self.class_token = learnt(1, 1, size.dimension)
        self.positions = learnt(1, 1 + length, size.dimension)
        self.encoder = Encoder(size)

    def forward(self, tokens: Tensor) -> Tensor:
        encoded: Tensor = self.encoder(with_class_token(self.class_token, tokens) + self.positions)
        return encoded[:, 0]


class ViViT(nn.Module):
    """(N, T, H, W, 3) uint8 clips to (N, labels) logits."""

    def __init__(
        self, tubelets: Tubelets, grid: PatchGrid, space: MomentEncoder, time: MomentEncoder, head: nn.Module
    ) -> None:
        super().__init__()
        self.normalise = NormaliseClips(STATISTICS)
        self.grid = grid
        self.tubelets = tubelets
        self.space = space
        self.time = time
        self.head = head
        initialise(self)

    def forward(self, clips: Tensor) -> Tensor:
        patches = self.tubelets(self.normalise(clips))  # (N, T', positions, D)
        moments = self.space(patches.flatten(0, 1))  # (N * T', positions, D) to (N * T', D)
        moments = moments.view(-1, self.grid.frames, moments.shape[1])  # (N * T', D) to (N, T', D)
        logits: Tensor = self.head(self.time(moments))
        return logits


def build_vivit(
    video: VideoInput,
    labels: int,
    patch: int = 16,
    tubelet: int = 2,
    dimension: int = 768,
    depth: int = 12,
    time_depth: int = 4,
    heads: int = 12,
    dropout: float = 0.0,
) -> ViViT:
    grid = PatchGrid.of(video, patch, tubelet)
    return ViViT(
        Tubelets(dimension, patch, tubelet),
        grid,
        MomentEncoder(grid.positions, TransformerSize(dimension, depth, heads)),
        MomentEncoder(grid.frames, TransformerSize(dimension, time_depth, heads)),
        nn.Sequential(nn.Dropout(dropout), nn.Linear(dimension, labels)),
    )
