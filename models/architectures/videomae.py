"""VideoMAE: learn what video looks like by filling in nine tenths of it, then learn labels.

Tong et al. 2022, "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video
Pre-Training" (arXiv 2203.12602). The mask is a tube: the same places in every frame, or the answer could be
copied from the frame before. The encoder sees what is left; a thin decoder rebuilds the rest. Afterwards
the encoder is fine-tuned as a classifier and the decoder is thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architectures.frames import NormaliseClips
from models.architectures.resnet import IMAGENET
from models.architectures.vit import (
    Encoder,
    PatchGrid,
    TransformerSize,
    Tubelets,
    initialise,
    learnt,
)
from models.spec import VideoInput

THIN = TransformerSize(dimension=384, depth=4, heads=6)  # the paper's decoder for the "base" encoder


@dataclass(frozen=True)
class Cut:
    """How clips become patches."""

    grid: PatchGrid
    patch: int  # pixels, height and width
    tubelet: int  # frames

    @staticmethod
    def of(video: VideoInput, patch: int, tubelet: int) -> Cut:
        return Cut(PatchGrid.of(video, patch, tubelet), patch, tubelet)

    def pixels(self, frames: Tensor) -> Tensor:
        """(N, 3, T, H, W) to (N, patches, tubelet * patch * patch, 3): the pixels of each patch."""
        sizes = (self.grid.frames, self.tubelet, self.grid.rows, self.patch, self.grid.columns, self.patch)
        apart = frames.reshape(-1, 3, *sizes)  # (N, 3, T', tubelet, rows, patch, columns, patch)
        together = apart.permute(0, 2, 4, 6, 3, 5, 7, 1)
        return together.reshape(-1, self.grid.patches, self.tubelet * self.patch**2, 3)


def tube_mask(grid: PatchGrid, count: int, share: float, generator: torch.Generator | None = None) -> Tensor:
    """(count, patches) bool, True is hidden: the same positions in every frame, as many in every clip."""
    hidden = hidden_positions(grid, share)
    order = torch.rand(count, grid.positions, generator=generator).argsort(1)
    return (order < hidden).repeat(1, grid.frames)  # (count, positions) to (count, frames * positions)


def hidden_positions(grid: PatchGrid, share: float) -> int:
    """Positions of a frame that a mask hides. Raises ValueError unless it hides one and leaves one to see."""
    hidden = round(share * grid.positions)
    if not 0 < hidden < grid.positions:
        raise ValueError(
            f"a share of {share} hides {hidden} of {grid.positions} positions: "
            "take smaller patches or larger pictures"
        )
    return hidden


class VideoEncoder(nn.Module):
    """Normalised clips (N, 3, T, H, W) to (N, L, D), L the patches that are not hidden."""

    positions: Tensor

    def __init__(self, cut: Cut, size: TransformerSize) -> None:
        super().__init__()
        self.tubelets = Tubelets(size.dimension, cut.patch, cut.tubelet)
        self.register_buffer("positions", waves(cut.grid.patches, size.dimension), persistent=False)
        self.encoder = Encoder(size)

    def forward(self, frames: Tensor, hidden: Tensor | None = None) -> Tensor:
        tokens = self.tubelets(frames).flatten(1, 2) + self.positions  # (N, patches, D)
        if hidden is not None:
            tokens = tokens[~hidden].view(tokens.shape[0], -1, tokens.shape[2])
        encoded: Tensor = self.encoder(tokens)
        return encoded


class VideoDecoder(nn.Module):
    """What the encoder saw (N, L, D) to the pixels of the hidden patches (N, hidden, pixels * 3)."""

    positions: Tensor

    def __init__(self, cut: Cut, encoded: int, size: TransformerSize) -> None:
        super().__init__()
        self.narrow = nn.Linear(encoded, size.dimension, bias=False)
        self.mask_token = learnt(1, 1, size.dimension)
        self.register_buffer("positions", waves(cut.grid.patches, size.dimension), persistent=False)
        self.encoder = Encoder(size)
        self.pixels = nn.Linear(size.dimension, cut.tubelet * cut.patch**2 * 3)

    def forward(self, seen: Tensor, hidden: Tensor) -> Tensor:
        count, dimension = seen.shape[0], self.positions.shape[2]
        positions = self.positions.expand(count, -1, -1)
        at_seen = positions[~hidden].view(count, -1, dimension)
        at_hidden = positions[hidden].view(count, -1, dimension)
        tokens = torch.cat((self.narrow(seen) + at_seen, self.mask_token + at_hidden), 1)
        rebuilt: Tensor = self.pixels(self.encoder(tokens)[:, -at_hidden.shape[1] :])
        return rebuilt


class VideoMae(nn.Module):
    """Pre-training: (N, T, H, W, 3) uint8 clips and their mask (N, patches) to the mean squared error.

    What is rebuilt is each patch with its own mean taken off and divided by its own deviation.
    """

    def __init__(self, cut: Cut, size: TransformerSize, decoder: TransformerSize) -> None:
        super().__init__()
        self.normalise = NormaliseClips(IMAGENET)
        self.cut = cut
        self.encoder = VideoEncoder(cut, size)
        self.decoder = VideoDecoder(cut, size.dimension, decoder)
        initialise(self)

    def forward(self, clips: Tensor, hidden: Tensor) -> Tensor:
        frames = self.normalise(clips)
        rebuilt = self.decoder(self.encoder(frames, hidden), hidden)
        return functional.mse_loss(rebuilt, self.targets(frames, hidden))

    def targets(self, frames: Tensor, hidden: Tensor) -> Tensor:
        """Standardised pixels of the hidden patches, (N, hidden, pixels * 3)."""
        pixels = self.cut.pixels(frames)  # (N, patches, pixels, 3)
        deviation = pixels.var(2, keepdim=True).sqrt() + 1e-6
        standardised = ((pixels - pixels.mean(2, keepdim=True)) / deviation).flatten(2)
        return standardised[hidden].view(pixels.shape[0], -1, standardised.shape[2])


class VideoMaeClassifier(nn.Module):
    """(N, T, H, W, 3) uint8 clips to (N, labels) logits: one layer over the average of all patches."""

    def __init__(self, encoder: VideoEncoder, size: TransformerSize, labels: int, dropout: float) -> None:
        super().__init__()
        self.normalise = NormaliseClips(IMAGENET)
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(size.dimension, labels)

    def forward(self, clips: Tensor) -> Tensor:
        pooled = self.encoder(self.normalise(clips)).mean(1)  # (N, patches, D) to (N, D)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def waves(length: int, dimension: int) -> Tensor:
    """(1, length, dimension): fixed positions, sines and cosines (Vaswani et al. 2017, section 3.5)."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    frequency = 10_000.0 ** (-(torch.arange(dimension) // 2 * 2).double() / dimension)
    angle = position * frequency
    even = torch.arange(dimension) % 2 == 0
    return torch.where(even, angle.sin(), angle.cos()).float().unsqueeze(0)


def build_videomae(
    video: VideoInput, labels: int, patch: int = 16, tubelet: int = 2, dropout: float = 0.0, **size: int
) -> VideoMaeClassifier:
    """The classifier; ``size``: arguments of ``TransformerSize``."""
    chosen = TransformerSize(**size)
    encoder = VideoEncoder(Cut.of(video, patch, tubelet), chosen)
    classifier = VideoMaeClassifier(encoder, chosen, labels, dropout)
    initialise(classifier)
    return classifier


def build_videomae_pretraining(
    video: VideoInput,
    patch: int = 16,
    tubelet: int = 2,
    decoder: TransformerSize = THIN,
    **size: int,
) -> VideoMae:
    """The encoder of ``build_videomae`` with a decoder; hand its state dict on to the classifier's."""
    return VideoMae(Cut.of(video, patch, tubelet), TransformerSize(**size), decoder)
