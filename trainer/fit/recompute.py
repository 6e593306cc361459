"""Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): blocks are computed again going backwards.

Only what goes into a block is kept, so memory grows with the number of blocks and not of layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
def _still(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def _statistics_once(part: nn.Module) -> AbstractContextManager[None]:
    """The second time, batch norms that learn must not take the same statistics in again."""
    norms = [m for m in part.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    return _still(norms)


def _layers(module: nn.Module) -> int:
    """Modules that hold parameters themselves."""
    return sum(1 for part in module.modules() if next(part.parameters(recurse=False), None) is not None)
