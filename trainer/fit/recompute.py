"""Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): blocks are computed again going backwards.

Only what goes into a block is kept, so memory grows with the number of blocks and not of layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def blocks(network: nn.Module) -> list[nn.Module]:
    """The outermost members of sequences that are made of several layers: stages, blocks of a transformer."""
    found: list[nn.Module] = []
    for child in network.children():
        in_sequence = isinstance(network, nn.Sequential | nn.ModuleList)
        if in_sequence and _layers(child) > 1 and not isinstance(child, nn.ModuleList):
            found.append(child)
        else:
            found += blocks(child)
    return found


@contextmanager
def recomputing(parts: Sequence[nn.Module]) -> Iterator[None]:
    """While inside, these modules are recomputed; they are as they were afterwards."""
    for part in parts:
        part.forward = partial(_recomputed, part, part.forward)
    try:
        yield
    finally:
        for part in parts:
            del part.forward


def _recomputed(part: nn.Module, forward: Any, *inputs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs)
    return checkpoint(
        forward, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_once(part))
    )


@contextmanager
def _statistics_once(part: nn.Module) -> Iterator[None]:
    """The second time, batch norms that learn must not take the same statistics in again."""
    norms = [module for module in part.modules() if isinstance(module, _BatchNorm) and module.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _layers(module: nn.Module) -> int:
    """Modules that hold parameters themselves."""
    return sum(1 for part in module.modules() if next(part.parameters(recurse=False), None) is not None)
