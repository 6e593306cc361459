"""The network that training starts from, and which of its weights came from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from models.architectures import registry
from trainer.config import TrainConfig
from trainer.weights import adopt


@dataclass(frozen=True)
class Start:
    """``pretrained``: names in the network's state dict whose values were learnt before."""

    network: nn.Module
    pretrained: frozenset[str] = frozenset()
    told: str = ""  # what was taken over and what was not, for people


def start_of(config: TrainConfig) -> Start:
    """A fresh network with the weights that the configuration starts from."""
    network = registry.build(
        config.architecture.name, config.architecture.arguments, config.video, len(config.labels)
    )
    adopted = adopt(network, config.init) if config.init else None
    if adopted is None:
        return Start(channels_last(network))
    return Start(channels_last(network), adopted.names, f"{config.init}: {adopted}")


def fresh_network(config: TrainConfig) -> nn.Module:
    return start_of(config).network


def channels_last(network: nn.Module) -> nn.Module:
    """Weights in the layout in which convolutions are several times faster on the CPU."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        elif isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
