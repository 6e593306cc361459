"""The network that training starts from, and which of its weights came from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from models.architectures import registry
from models.architectures.efficientnet_lite import LiteTrunk
from trainer.config import TrainConfig
from trainer.weights import efficientnet_lite0, load_matching


@dataclass(frozen=True)
class Start:
    """``pretrained``: names in the network's state dict whose values were learnt before."""

    network: nn.Module
    pretrained: frozenset[str] = frozenset()


def start_of(config: TrainConfig) -> Start:
    """A fresh network with the weights that the configuration starts from."""
    network = registry.build(
        config.architecture.name, config.architecture.arguments, config.video, len(config.labels)
    )
    names: frozenset[str] = frozenset()
    if config.init.endswith(".safetensors"):
        names = load_matching(network, Path(config.init))
    elif config.init:
        trunk = getattr(network, "pretrained", None)
        if not isinstance(trunk, LiteTrunk):
            raise ValueError(f"architecture {config.architecture.name} has no part that {config.init} fits")
        trunk.load_imagenet(efficientnet_lite0())
        prefix = next(name for name, module in network.named_modules() if module is trunk)
        names = frozenset(f"{prefix}.{name}" for name in trunk.state_dict())
    return Start(channels_last(network), names)


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
