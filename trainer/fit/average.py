"""A network that is the mean of itself over the last steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of weights and statistics, with a shorter memory at the start."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self._mean = _copy(network)

    def update(self, network: nn.Module, step: int) -> None:
        """After step 1, 2, ..."""
        decay = min(self._decay, (1 + step) / (10 + step)) if self._decay else 0.0
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self._mean[name].lerp_(value, 1.0 - decay)
            else:
                self._mean[name].copy_(value)

    def copy_to(self, network: nn.Module) -> None:
        network.load_state_dict(self._mean)

    @contextmanager
    def inside(self, network: nn.Module) -> Iterator[None]:
        """The network is its average while inside."""
        own = _copy(network)
        self.copy_to(network)
        try:
            yield
        finally:
            network.load_state_dict(own)

    def state_dict(self) -> Mapping[str, Tensor]:
        return self._mean

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, value in self._mean.items():
            value.copy_(state[name])


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
