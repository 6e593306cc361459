"""Parts of vision transformers: sizes, patches, attention, blocks.

Dosovitskiy et al. 2020 (arXiv 2010.11929). Norms come before attention and MLP.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.spec import VideoInput

NORM_EPS = 1e-6
INITIAL_DEVIATION = 0.02


@dataclass(frozen=True)
class PatchGrid:
    """How a clip is cut: patches over time, height and width."""

    frames: int
    rows: int
    columns: int

    @staticmethod
    def of(video: VideoInput, patch: int, tubelet: int = 1) -> PatchGrid:
        """Patches of ``patch`` pixels squared and ``tubelet`` frames; raises ValueError unless they fit."""
        for name, size, by in (
            ("frames", video.frames, tubelet),
            ("height", video.height, patch),
            ("width", video.width, patch),
        ):
            if size % by:
                raise ValueError(f"{name} {size} must be a multiple of {by}")
        return PatchGrid(video.frames // tubelet, video.height // patch, video.width // patch)

    @property
    def positions(self) -> int:
        """Patches of one frame."""
        return self.rows * self.columns

    @property
    def patches(self) -> int:
        return self.frames * self.positions


@dataclass(frozen=True)
class TransformerSize:
    """The default is "base"."""

    dimension: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if self.dimension % self.heads:
            raise ValueError(f"dimension {self.dimension} must be a multiple of heads {self.heads}")


class Attention(nn.Module):
    """Self-attention inside each group of tokens: (G, L, D) to (G, L, D)."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.heads = size.heads
        self.qkv = nn.Linear(size.dimension, 3 * size.dimension)
        self.proj = nn.Linear(size.dimension, size.dimension)

    def forward(self, tokens: Tensor) -> Tensor:
        _, length, dimension = tokens.shape
        head = dimension // self.heads
        # (G, L, 3 * D) to (3, G, heads, L, D / heads)
        qkv = self.qkv(tokens).view(-1, length, 3, self.heads, head).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        result: Tensor = self.proj(mixed.transpose(1, 2).reshape(-1, length, dimension))
        return result


class Mlp(nn.Module):
    """(..., D) to (..., D) through a layer ``mlp_ratio`` times as wide."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.fc1 = nn.Linear(size.dimension, size.mlp_ratio * size.dimension)
        self.fc2 = nn.Linear(size.mlp_ratio * size.dimension, size.dimension)

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.fc2(functional.gelu(self.fc1(tokens)))
        return result


class Block(nn.Module):
    """Attention among all tokens of a group, then an MLP on each: (G, L, D) to (G, L, D)."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.norm1 = layer_norm(size)
        self.attention = Attention(size)
        self.norm2 = layer_norm(size)
        self.mlp = Mlp(size)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.norm1(tokens))
        result: Tensor = tokens + self.mlp(self.norm2(tokens))
        return result


class Encoder(nn.Sequential):
    """``size.depth`` blocks and a norm: (G, L, D) to (G, L, D)."""

    def __init__(self, size: TransformerSize) -> None:
        super().__init__(*(Block(size) for _ in range(size.depth)), layer_norm(size))


class Tubelets(nn.Module):
    """Patches that span ``tubelet`` frames: (N, 3, T, H, W) to (N, T', positions, D) (Arnab et al. 2021)."""

    def __init__(self, dimension: int, patch: int, tubelet: int) -> None:
        super().__init__()
        shape = (tubelet, patch, patch)
        self.projection = nn.Conv3d(3, dimension, shape, stride=shape)

    def forward(self, frames: Tensor) -> Tensor:
        patches: Tensor = self.projection(frames)  # (N, D, T', rows, columns)
        return patches.flatten(3).permute(0, 2, 3, 1)


def layer_norm(size: TransformerSize) -> nn.LayerNorm:
    return nn.LayerNorm(size.dimension, eps=NORM_EPS)


def learnt(*shape: int) -> nn.Parameter:
    """A learnt token or position, at first small and random."""
    return nn.Parameter(torch.randn(shape) * INITIAL_DEVIATION)


def with_class_token(token: Tensor, tokens: Tensor) -> Tensor:
    """The token (1, 1, D) before each group: (G, L, D) to (G, 1 + L, D)."""
    return torch.cat((token.expand(tokens.shape[0], -1, -1), tokens), 1)


def initialise(network: nn.Module) -> None:
    """Small random matrices, zero offsets: what these networks are trained from."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            nn.init.trunc_normal_(module.weight, std=INITIAL_DEVIATION)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
