"""Training with rounding simulated, so that weights settle where INT8 keeps what they say.

Jacob et al. 2018 (arXiv 1712.05877): values are rounded on the way forward, gradients pass as if they had not
been (straight-through). Weights have a symmetric scale for each output channel, inputs of convolutions one
range that follows what is seen; as the static quantiser has them, so its file is what was trained for. A
batch norm behind a convolution scales whole channels, which per-channel rounding does not notice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

LEVELS = 255
MEMORY = 0.9  # of the running range of an activation
INPUT = "rounded_input"


class RoundedWeight(nn.Module):
    """A kernel as int8 of -127 to 127 with a scale for each output channel."""

    def forward(self, weight: Tensor) -> Tensor:
        limit = weight.detach().flatten(1).abs().amax(1).clamp_min(1e-12)
        scale = (limit / 127).view(-1, *[1] * (weight.ndim - 1))
        return _straight_through(weight, (weight / scale).round() * scale)


class RoundedInput(nn.Module):
    """An activation as uint8 over a running range that holds 0."""

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))

    def forward(self, hidden: Tensor) -> Tensor:
        if self.training or not self.seen:
            self._widen(hidden.detach())
        scale = ((self.high - self.low) / LEVELS).clamp_min(1e-12)
        zero = (-self.low / scale).round()
        inside = hidden.clamp(-zero * scale, (LEVELS - zero) * scale)
        return _straight_through(inside, ((inside / scale).round()) * scale)

    def _widen(self, hidden: Tensor) -> None:
        for bound, found in ((self.low, hidden.amin().clamp_max(0)), (self.high, hidden.amax().clamp_min(0))):
            bound.copy_(torch.where(self.seen, MEMORY * bound + (1 - MEMORY) * found, found))
        self.seen.fill_(True)


@contextmanager
def rounding(network: nn.Module, float_convolutions: int) -> Iterator[None]:
    """While inside, all convolutions but the first ones see rounded inputs through rounded kernels.

    The network is changed in place; afterwards its convolutions are plain again, their kernels the rounded
    ones.
    """
    rounded = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]
    rounded = rounded[float_convolutions:]
    for conv in rounded:
        parametrize.register_parametrization(conv, "weight", RoundedWeight())
        conv.add_module(INPUT, RoundedInput())
    hooks = [conv.register_forward_pre_hook(_round_input) for conv in rounded]
    try:
        yield
    finally:
        for conv, hook in zip(rounded, hooks, strict=True):
            hook.remove()
            delattr(conv, INPUT)
            parametrize.remove_parametrizations(conv, "weight", leave_parametrized=True)


def _round_input(conv: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    rounded = getattr(conv, INPUT)
    return (rounded(inputs[0]), *inputs[1:])


def _straight_through(value: Tensor, rounded: Tensor) -> Tensor:
    return value + (rounded - value).detach()
