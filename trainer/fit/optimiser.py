"""What learns, and how fast."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from models.architectures.efficientnet_lite import LiteTrunk
from trainer.config import Fit
from trainer.fit.start import Start

NORMS = (nn.modules.batchnorm._BatchNorm,)


def optimiser_of(start: Start, extra: Iterable[nn.Parameter], config: Fit) -> torch.optim.AdamW:
    """Weight decay on matrices and kernels only; pretrained weights learn more slowly."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in start.network.named_parameters():
        scale = config.pretrained_scale if name in start.pretrained else 1.0
        groups.setdefault((scale, _decay(parameter, config)), []).append(parameter)
    for parameter in extra:
        groups.setdefault((1.0, _decay(parameter, config)), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "weight_decay": decay, "peak": config.learning_rate * scale}
            for (scale, decay), members in groups.items()
        ],
        lr=config.learning_rate,
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def training_mode(start: Start, config: Fit, epoch: int) -> None:
    """Epoch from 1: which parts of the network learn in it, which statistics are taken."""
    start.network.train()
    parameters = dict(start.network.named_parameters())
    fresh = parameters.keys() - start.pretrained  # without any, nothing would learn while the rest rests
    rests = epoch <= config.head_epochs and bool(fresh)
    for name, parameter in parameters.items():
        parameter.requires_grad_(not (rests and name in start.pretrained))
    trunk = getattr(start.network, "pretrained", None)
    if not rests and start.pretrained and isinstance(trunk, LiteTrunk):
        trunk.freeze(config.frozen_blocks)
    if config.frozen_norms:
        _keep_statistics(start)


def _keep_statistics(start: Start) -> None:
    """A few hundred clips would only spoil the statistics that pretrained weights were made with."""
    for name, module in start.network.named_modules():
        if isinstance(module, NORMS) and f"{name}.running_mean" in start.pretrained:
            module.eval()


def _decay(parameter: nn.Parameter, config: Fit) -> float:
    return config.weight_decay if parameter.ndim > 1 else 0.0
