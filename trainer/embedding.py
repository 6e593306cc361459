"""A second answer of a network: a vector of length 1 that is compared by cosine.

Features of a network that was trained for a few labels know more than the labels (Donahue et al. 2014, arXiv
1310.1531, DeCAF). A network whose head sees motion only answers with what its trunk knows of the pictures,
which retrieves far better (``sluice retrieval``). Any other answers with what its head is given, standardised
by the running statistics of the head's norm, without its learnt scale, so that no channel dominates.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn import functional

from models.architectures.motion import LinearHead
from models.architectures.r2plus1d_lite import R2Plus1DLite


class _HeadWithEmbedding(nn.Module):
    """(N, features) to logits (N, labels) and embedding (N, features) of length 1."""

    def __init__(self, head: LinearHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        norm = self.head.norm
        standardised = functional.batch_norm(features, norm.running_mean, norm.running_var, eps=norm.eps)
        return self.head(features), functional.normalize(standardised)


class _WithAppearance(nn.Module):
    """Clips to logits (N, labels) and embedding (N, C) of length 1."""

    def __init__(self, network: R2Plus1DLite) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        motion, appearance = self.network.motion_and_appearance(clips)
        return self.network.head(motion), functional.normalize(appearance)


def with_embedding(network: nn.Module) -> nn.Module:
    """A copy that answers (logits, embedding). Raises ValueError for a network without a ``LinearHead``."""
    refuse_without_head(network)
    if isinstance(network, R2Plus1DLite):
        return _WithAppearance(copy.deepcopy(network).eval())
    answering = copy.deepcopy(network).eval()
    answering.head = _HeadWithEmbedding(answering.head)  # type: ignore[arg-type]
    return answering


def refuse_without_head(network: nn.Module) -> None:
    """Raises ValueError for a network that cannot have an embedding."""
    head = getattr(network, "head", None)
    if not isinstance(head, LinearHead):
        raise ValueError(
            f"{type(network).__name__} has no embedding: its `head` is {type(head).__name__}, wanted is a "
            "LinearHead, which standardises its features; set `embedding: false`"
        )
