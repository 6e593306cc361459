"""The training loop, and scoring with what it trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architectures import registry
from models.architectures.efficientnet_lite import LiteTrunk
from trainer.config import Fit, TrainConfig
from trainer.data.dataset import Batch, VideoSet
from trainer.probe import probe
from trainer.weights import efficientnet_lite0

Logits = npt.NDArray[np.float32]
Progress = Callable[[int, float], None]  # epoch from 1, mean loss


def fit(videos: VideoSet, chosen: Sequence[int], seed: int, progress: Progress) -> nn.Module:
    """Train a fresh network on the chosen examples. The same seed gives the same network on the CPU."""
    config = videos.config
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = fresh_network(config)
    if config.fit.probe_views:
        probe(network, videos, chosen, config.fit.probe_views, random)
    average = WeightAverage(network, config.fit.average)
    optimiser = _optimiser(network, config.fit)
    step = 0
    for epoch in range(1, config.fit.epochs + 1):
        _training_mode(network, config.fit, epoch)
        losses: list[float] = []
        for batch in videos.training_batches(chosen, random):
            progress_share = (epoch - 1 + len(losses) * config.fit.batch / len(chosen)) / config.fit.epochs
            _set_learning_rate(optimiser, learning_rate_factor(progress_share, config.fit.warmup))
            losses.append(_step(network, optimiser, batch, config.fit))
            step += 1
            average.update(network, step)
        progress(epoch, float(np.mean(losses)))
    average.copy_to(network)
    return network.eval()


def fresh_network(config: TrainConfig) -> nn.Module:
    network = registry.build(
        config.architecture.name, config.architecture.arguments, config.video, len(config.labels)
    )
    if config.init:
        trunk = _pretrained_part(network)
        if trunk is None:
            raise ValueError(f"architecture {config.architecture.name} has no part that {config.init} fits")
        trunk.load_imagenet(efficientnet_lite0())
    return channels_last(network)


def channels_last(network: nn.Module) -> nn.Module:
    """Weights in the layout in which convolutions are several times faster on the CPU."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        elif isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def learning_rate_factor(share: float, warmup: float) -> float:
    """Of the peak, at this share of the run: linear warm-up, then half a cosine down to 0."""
    if share < warmup:
        return max(share / warmup, 0.01)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (share - warmup) / (1.0 - warmup))))


class WeightAverage:
    """Exponential moving average of weights and statistics, with a shorter memory at the start."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self._mean = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def update(self, network: nn.Module, step: int) -> None:
        decay = min(self._decay, (1 + step) / (10 + step)) if self._decay else 0.0
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self._mean[name].lerp_(value, 1.0 - decay)
            else:
                self._mean[name].copy_(value)

    def copy_to(self, network: nn.Module) -> None:
        network.load_state_dict(self._mean)


def score(network: nn.Module, videos: VideoSet, chosen: Sequence[int]) -> list[Logits]:
    """For each chosen example the logits of its clips, (N, L)."""
    network.eval()
    with torch.inference_mode():
        return [network(*videos.video(index).inputs.values()).numpy() for index in chosen]


def _pretrained_part(network: nn.Module) -> LiteTrunk | None:
    part = getattr(network, "pretrained", None)
    return part if isinstance(part, LiteTrunk) else None


def _training_mode(network: nn.Module, config: Fit, epoch: int) -> None:
    """Pretrained statistics stay as they are: a few hundred clips would only spoil them."""
    network.train()
    part = _pretrained_part(network)
    if part is not None:
        part.eval()
        part.freeze(len(part.widths) if epoch <= config.head_epochs else config.frozen_blocks)


def _optimiser(network: nn.Module, config: Fit) -> torch.optim.Optimizer:
    """Weight decay on matrices and kernels only; pretrained weights learn more slowly."""
    part = _pretrained_part(network)
    pretrained = {id(parameter) for parameter in part.parameters()} if part is not None else set()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        scale = config.pretrained_scale if id(parameter) in pretrained else 1.0
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((scale, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "weight_decay": decay, "peak": config.learning_rate * scale}
            for (scale, decay), members in groups.items()
        ],
        lr=config.learning_rate,
    )


def _set_learning_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def _step(network: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, config: Fit) -> float:
    targets = batch.targets * (1.0 - 2.0 * config.smoothing) + config.smoothing
    loss: Tensor = functional.binary_cross_entropy_with_logits(network(*batch.inputs.values()), targets)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return loss.item()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch's threads while inside; 0 leaves them as they are."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
