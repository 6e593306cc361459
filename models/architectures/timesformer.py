"""TimeSformer: attention over space and time, in four schemes.

Bertasius et al. 2021, "Is Space-Time Attention All You Need for Video Understanding?" (arXiv 2102.05095).
``from_transformers`` renames the state dict of Hugging Face's ``TimesformerForVideoClassification``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.architectures.attention_groups import Step, scheme
from models.architectures.efficientnet_lite import frames_as_images
from models.architectures.frames import NormaliseClips
from models.architectures.vit import (
    Attention,
    Mlp,
    PatchGrid,
    TransformerSize,
    initialise,
    layer_norm,
    learnt,
    with_class_token,
)
from models.spec import VideoInput

# Channel statistics of the published weights.
STATISTICS = ((0.45,) * 3, (0.225,) * 3)

# The class token (N, 1, D) and the patches (N, frames, rows, columns, D).
Tokens = tuple[Tensor, Tensor]


class PatchEmbedding(nn.Module):
    """Normalised clips (N, 3, T, H, W) to tokens that know where in the picture they are."""

    def __init__(self, grid: PatchGrid, patch: int, dimension: int) -> None:
        super().__init__()
        self.grid = grid
        self.projection = nn.Conv2d(3, dimension, patch, stride=patch)
        self.class_token = learnt(1, 1, dimension)
        self.positions = learnt(1, 1 + grid.positions, dimension)

    def forward(self, frames: Tensor) -> Tokens:
        """Frames apart: (N * T, 1, D) and (N * T, 1, rows, columns, D)."""
        patches = self.projection(frames_as_images(frames)).flatten(2).transpose(1, 2)
        tokens = with_class_token(self.class_token, patches) + self.positions  # (N * T, 1 + positions, D)
        shape = (-1, 1, self.grid.rows, self.grid.columns, tokens.shape[2])
        return tokens[:, :1], tokens[:, 1:].reshape(shape)


class ClipEmbedding(PatchEmbedding):
    """The same, and when: one class token a clip, a learnt embedding for each frame."""

    def __init__(self, grid: PatchGrid, patch: int, dimension: int) -> None:
        super().__init__(grid, patch, dimension)
        self.times = learnt(1, grid.frames, dimension)

    def forward(self, frames: Tensor) -> Tokens:
        """(N, 1, D) and (N, T, rows, columns, D)."""
        _, patches = super().forward(frames)
        whole = patches.reshape(-1, self.grid.frames, *patches.shape[2:])  # (N * T, 1, ...) to (N, T, ...)
        first = (self.class_token + self.positions[:, :1]).expand(whole.shape[0], -1, -1)
        return first, whole + self.times[:, :, None, None]


class GroupAttention(nn.Module):
    """Attention inside groups that the class token joins; what it got from each group is averaged."""

    def __init__(self, step: Step, grid: PatchGrid, size: TransformerSize) -> None:
        super().__init__()
        self.grouping, self.grid = step.grouping, grid
        self.norm = layer_norm(size)
        self.attention = Attention(size)

    def forward(self, first: Tensor, patches: Tensor) -> Tokens:
        groups = self.grouping.groups
        members = self.grouping.split(self.norm(patches), self.grid)  # (N * groups, members, D)
        joined = self.norm(first).repeat_interleave(groups, 0)  # (N, 1, D) to (N * groups, 1, D)
        attended = self.attention(torch.cat((joined, members), 1))
        heard = attended[:, :1].reshape(-1, groups, attended.shape[2]).mean(1, keepdim=True)
        return first + heard, patches + self.grouping.merge(attended[:, 1:], self.grid)


class PatchAttention(nn.Module):
    """Attention inside groups of patches alone, with one more layer behind it: the paper's temporal step."""

    def __init__(self, step: Step, grid: PatchGrid, size: TransformerSize) -> None:
        super().__init__()
        self.grouping, self.grid = step.grouping, grid
        self.norm = layer_norm(size)
        self.attention = Attention(size)
        self.dense = nn.Linear(size.dimension, size.dimension)

    def forward(self, first: Tensor, patches: Tensor) -> Tokens:
        attended = self.attention(self.grouping.split(self.norm(patches), self.grid))
        return first, patches + self.grouping.merge(self.dense(attended), self.grid)


class Block(nn.Module):
    """The attentions of a scheme, then an MLP on each token."""

    def __init__(self, steps: tuple[Step, ...], grid: PatchGrid, size: TransformerSize) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            (GroupAttention if step.with_class else PatchAttention)(step, grid, size) for step in steps
        )
        self.norm = layer_norm(size)
        self.mlp = Mlp(size)

    def forward(self, first: Tensor, patches: Tensor) -> Tokens:
        for step in self.steps:
            first, patches = step(first, patches)
        return first + self.mlp(self.norm(first)), patches + self.mlp(self.norm(patches))


class TimeSformer(nn.Module):
    """(N, T, H, W, 3) uint8 clips to (N, labels) logits.

    Space-only attention treats frames as clips of one frame each and averages what they say.
    """

    def __init__(
        self, attention: str, grid: PatchGrid, patch: int, size: TransformerSize, labels: int, dropout: float
    ) -> None:
        super().__init__()
        self.normalise = NormaliseClips(STATISTICS)
        apart = attention == "space"
        self.parts = grid.frames if apart else 1  # class tokens of a clip
        self.embed = (PatchEmbedding if apart else ClipEmbedding)(grid, patch, size.dimension)
        seen = PatchGrid(1, grid.rows, grid.columns) if apart else grid
        steps = scheme(attention, seen)
        self.blocks = nn.ModuleList(Block(steps, seen, size) for _ in range(size.depth))
        self.norm = layer_norm(size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(size.dimension, labels)
        initialise(self)

    def forward(self, clips: Tensor) -> Tensor:
        first, patches = self.embed(self.normalise(clips))
        for block in self.blocks:
            first, patches = block(first, patches)
        said = self.norm(first).reshape(-1, self.parts, first.shape[2]).mean(1)  # (N, D)
        logits: Tensor = self.head(self.dropout(said))
        return logits


# Hugging Face's names to ours, most specific first; {last}: the step that the class token joins.
NAMES = (
    (r"^timesformer\.embeddings\.cls_token$", "embed.class_token"),
    (r"^timesformer\.embeddings\.position_embeddings$", "embed.positions"),
    (r"^timesformer\.embeddings\.time_embeddings$", "embed.times"),
    (r"^timesformer\.embeddings\.patch_embeddings\.", "embed."),
    (r"^timesformer\.layernorm\.", "norm."),
    (r"^classifier\.", "head."),
    (r"^timesformer\.encoder\.layer\.", "blocks."),
    (r"\.temporal_layernorm\.", ".steps.0.norm."),
    (r"\.temporal_attention\.attention\.qkv\.", ".steps.0.attention.qkv."),
    (r"\.temporal_attention\.output\.dense\.", ".steps.0.attention.proj."),
    (r"\.temporal_dense\.", ".steps.0.dense."),
    (r"\.layernorm_before\.", ".steps.{last}.norm."),
    (r"\.attention\.attention\.qkv\.", ".steps.{last}.attention.qkv."),
    (r"(?<!steps\.0)\.attention\.output\.dense\.", ".steps.{last}.attention.proj."),
    (r"\.layernorm_after\.", ".norm."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(?<=\d)\.output\.dense\.", ".mlp.fc2."),
)


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of ``TimesformerForVideoClassification`` under the names of ``TimeSformer``."""
    last = int(any(".temporal_attention." in name for name in state))
    return {_renamed(name, last): tensor for name, tensor in state.items()}


def _renamed(name: str, last: int) -> str:
    for pattern, ours in NAMES:
        name = re.sub(pattern, ours.format(last=last), name)
    return name


def build_timesformer(
    video: VideoInput,
    labels: int,
    attention: str = "divided",
    patch: int = 16,
    dropout: float = 0.0,
    **size: int,
) -> TimeSformer:
    """``size``: arguments of ``TransformerSize``."""
    return TimeSformer(attention, PatchGrid.of(video, patch), patch, TransformerSize(**size), labels, dropout)
