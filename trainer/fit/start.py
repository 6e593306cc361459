"""The network that training starts from, and which of its weights came from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from models.architectures import registry
from trainer.config import TrainConfig
from trainer.data.dataset import VideoSet
from trainer.data.split import Split
from trainer.weights import adopt, sources_of

FOLD = "{fold}"  # in ``init``: the fold's name


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


def of_fold(videos: VideoSet, split: Split) -> VideoSet:
    """The same videos, with the weights that this fold's network starts from.

    Raises ValueError if there are none, or if they were learnt from a source that the fold holds out: a
    figure on it would not say what the network makes of footage that it never saw.
    """
    config = videos.config
    init = config.init.replace(FOLD, split.name)
    if FOLD in config.init and not Path(init).is_file():
        raise ValueError(f"init {config.init}: there is no file {init}; every fold needs its own")
    held_out = {videos.examples[index].group for index in (*split.test, *split.aside)}
    seen = held_out & sources_of(init)
    if seen:
        raise ValueError(
            f"init {init} was learnt from {len(seen)} source(s) that fold {split.name} holds out, such as "
            f"{min(seen)}; give each fold weights that never saw its own: {FOLD} in init stands for its name"
        )
    return replace(videos, config=config.model_copy(update={"init": init}))


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
