"""Blocks that are narrower inside than their family says, as structured pruning leaves them.

Two kinds of blocks have channels that only their own layers see: the hidden width of an inverted residual
(expand, depthwise, project) and the middle of a factorised convolution (space, time). Taking some away
changes no shape outside. A network's inner widths, in order, are what rebuilds it: ``registry.build`` takes
them as the argument ``widths`` of every family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.architectures.efficientnet_lite import Block
from models.architectures.r2plus1d import Conv2Plus1D

Conv = nn.Conv2d | nn.Conv3d
Norm = nn.BatchNorm2d | nn.BatchNorm3d


@dataclass(frozen=True)
class Inside:
    """The channels inside one block and every layer that has them."""

    maker: Conv  # they are its outputs
    norms: tuple[Norm, ...]  # the last one stands before the reader, with an activation between
    depthwise: Conv | None
    reader: Conv  # they are its inputs

    @property
    def width(self) -> int:
        return self.maker.out_channels

    @torch.no_grad()
    def keep(self, channels: Tensor) -> None:
        """Only these channels, by index, remain; their weights are as they were."""
        for norm in self.norms:
            _keep_of_norm(norm, channels)
        for conv in (self.maker, self.depthwise):
            if conv is not None:
                _parameters(conv, weight=conv.weight[channels], bias=_of(conv.bias, channels))
                conv.out_channels = len(channels)
        if self.depthwise is not None:
            self.depthwise.in_channels = self.depthwise.groups = len(channels)
        _parameters(self.reader, weight=self.reader.weight[:, channels], bias=self.reader.bias)
        self.reader.in_channels = len(channels)


def insides(network: nn.Module) -> list[Inside]:
    """Those of the network, in the order of its modules."""
    found = (_inside(module) for module in network.modules())
    return [inside for inside in found if inside is not None]


def widths_of(network: nn.Module) -> list[int]:
    return [inside.width for inside in insides(network)]


def narrow(network: nn.Module, widths: Sequence[int]) -> None:
    """Cut the blocks of a fresh network to these inner widths. Raises ValueError if they do not fit."""
    found = insides(network)
    full = [inside.width for inside in found]
    if len(widths) != len(full) or not all(0 < w <= f for w, f in zip(widths, full, strict=True)):
        raise ValueError(f"widths {list(widths)} do not fit blocks that are {full} wide inside")
    for inside, width in zip(found, widths, strict=True):
        inside.keep(torch.arange(width))


def _inside(module: nn.Module) -> Inside | None:
    if isinstance(module, Block) and module.has_expansion:
        norms = (module._bn0, module._bn1)
        return Inside(module._expand_conv, norms, module._depthwise_conv, module._project_conv)
    if isinstance(module, Conv2Plus1D):
        space, norm, _, time = module
        assert isinstance(space, nn.Conv3d)
        assert isinstance(norm, nn.BatchNorm3d)
        assert isinstance(time, nn.Conv3d)
        return Inside(space, (norm,), None, time)
    return None


def _keep_of_norm(norm: Norm, channels: Tensor) -> None:
    _parameters(norm, weight=norm.weight[channels], bias=norm.bias[channels])
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean, norm.running_var = norm.running_mean[channels], norm.running_var[channels]
    norm.num_features = len(channels)


def _parameters(module: nn.Module, **values: Tensor | None) -> None:
    for name, value in values.items():
        setattr(module, name, None if value is None else nn.Parameter(value.detach().clone()))


def _of(bias: Tensor | None, channels: Tensor) -> Tensor | None:
    return None if bias is None else bias[channels]
