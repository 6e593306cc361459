"""Structured pruning: the channels inside of blocks that matter least are taken out.

What a channel matters is the first-order change of the loss were it gone: (gradient x value)^2 of its norm's
scale and offset, summed over batches of training clips (Molchanov et al. 2019, arXiv 1906.10771).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from models.architectures import registry
from models.architectures.narrow import Inside, insides, widths_of
from trainer.config import TrainConfig
from trainer.data.dataset import Batch
from trainer.fit import Objective
from trainer.fit.start import channels_last

MULTIPLE = 8  # widths that vector units fill


def kept_width(width: int, share: float) -> int:
    """Of ``width`` channels, when about ``share`` of them go; rounded up to a multiple of 8."""
    wanted = -(-round(width * (1.0 - share)) // MULTIPLE) * MULTIPLE
    return min(width, max(MULTIPLE, wanted))


def pruned_arguments(config: TrainConfig) -> dict[str, Any]:
    """What rebuilds the network after pruning: the configuration's arguments, and ``widths`` if it prunes."""
    arguments = dict(config.architecture.arguments)
    if not config.prune.share:
        return arguments
    full = registry.build(config.architecture.name, arguments, config.video, len(config.labels))
    widths = [kept_width(width, config.prune.share) for width in widths_of(full)]
    if not widths:
        raise ValueError(f"architecture {config.architecture.name} has no block that can be pruned")
    return arguments | {"widths": widths}


def importance(network: nn.Module, batches: Iterable[Batch], objective: Objective) -> list[Tensor]:
    """For each block that can be pruned, in order, what each of its inner channels matters."""
    network.eval().requires_grad_(True)
    found = insides(network)
    total = [torch.zeros(inside.width) for inside in found]
    for batch in batches:
        network.zero_grad(set_to_none=True)
        objective(network, batch).backward()  # type: ignore[no-untyped-call]
        for sums, inside in zip(total, found, strict=True):
            sums += _change(inside)
    network.zero_grad(set_to_none=True)
    return total


def _change(inside: Inside) -> Tensor:
    norm = inside.norms[-1]
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None
    return (norm.weight.detach() * norm.weight.grad + norm.bias.detach() * norm.bias.grad).square()


def cut(network: nn.Module, share: float, importances: Iterable[Tensor]) -> None:
    """Take about ``share`` of the channels inside of every block away, the least important ones."""
    for inside, each in zip(insides(network), importances, strict=True):
        strongest = each.argsort(descending=True, stable=True)[: kept_width(inside.width, share)]
        inside.keep(strongest.sort().values)
    channels_last(network)
