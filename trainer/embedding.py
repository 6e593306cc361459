"""A second answer of a network: what its head is given, as a vector that is compared by cosine.

Features are standardised by the running statistics of the head's norm first, without its learnt scale, so
that no channel dominates; then each vector is divided by its length. Penultimate features of a network that
was trained for a few labels know more than the labels (Donahue et al. 2014, arXiv 1310.1531, DeCAF).
"""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn import functional

from models.architectures.motion import LinearHead


class _HeadWithEmbedding(nn.Module):
    """(N, features) to logits (N, labels) and embedding (N, features) of length 1."""

    def __init__(self, head: LinearHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        norm = self.head.norm
        standardised = functional.batch_norm(features, norm.running_mean, norm.running_var, eps=norm.eps)
        return self.head(features), functional.normalize(standardised)


def with_embedding(network: nn.Module) -> nn.Module:
    """A copy that answers (logits, embedding). Raises ValueError for a network without a ``LinearHead``."""
    refuse_without_head(network)
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
