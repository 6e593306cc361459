"""The training loop.

Nothing here depends on what happened before except weights, optimiser and counters: which clips a step sees,
how they vary and what dropout does are derived from (seed, epoch, step). So a run that was killed goes on as
if nothing had been, and several processes see what one would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from trainer.data.dataset import Batch, VideoSet
from trainer.fit.average import WeightAverage
from trainer.fit.objective import Objective, objective_of
from trainer.fit.optimiser import optimiser_of, set_learning_rate, training_mode
from trainer.fit.order import (
    Indices,
    Step,
    balancing_weights,
    epoch_steps,
    generators,
    share_of,
    steps_in_epoch,
)
from trainer.fit.processes import fabric_of
from trainer.fit.schedule import learning_rate_factor
from trainer.fit.start import Start, start_of
from trainer.probe import probe

Progress = Callable[[int, float], None]  # epoch from 1, mean loss


class Learner(nn.Module):
    """The network and what it is trained for, as one module for Fabric to wrap."""

    def __init__(self, network: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self.objective = objective

    def forward(self, inputs: dict[str, Tensor], targets: Tensor, members: Indices) -> Tensor:
        return self.objective(self.network, Batch(inputs, targets, members))


def fit(
    videos: VideoSet,
    chosen: Sequence[int],
    seed: int,
    progress: Progress,
    *,
    start: Start | None = None,
    objective: Objective | None = None,
) -> nn.Module:
    """Train on the chosen examples from ``start``, else from a fresh network; gives it on the CPU.

    The same seed gives the same network on the CPU. ``objective`` replaces the configuration's loss.
    """
    config = videos.config.fit
    fabric = fabric_of(config)
    torch.manual_seed(seed)
    start = start or start_of(videos.config)
    if config.probe_views:
        probe(start.network, videos, chosen, config.probe_views, np.random.default_rng(seed))
    if config.epochs:
        _Run(fabric, videos, chosen, seed, start, objective or objective_of(config)).epochs(progress)
    return start.network.to("cpu").eval()


class _Run:
    """One network being trained."""

    def __init__(
        self,
        fabric: Fabric,
        videos: VideoSet,
        chosen: Sequence[int],
        seed: int,
        start: Start,
        objective: Objective,
    ) -> None:
        self.fabric, self.videos, self.chosen, self.seed, self.start = fabric, videos, chosen, seed, start
        self.config = videos.config.fit
        self.weights = balancing_weights(videos.targets[list(chosen)]) if self.config.balanced else None
        self.least = 2 * fabric.world_size * self.config.accumulate
        learner = Learner(start.network, objective)
        extra = [p for name, p in learner.named_parameters() if not name.startswith("network.")]
        optimiser = optimiser_of(start, [p for p in extra if p.requires_grad], self.config)
        self.learner, self.optimiser = fabric.setup(learner, optimiser)
        self.average = WeightAverage(start.network, self.config.average)
        self.step = 0

    def epochs(self, progress: Progress) -> None:
        for epoch in range(1, self.config.epochs + 1):
            training_mode(self.start, self.config, epoch)
            losses = [self._step(epoch, step) for step in self._steps(epoch)]
            progress(epoch, float(np.mean(losses)))
        self.average.copy_to(self.start.network)

    def _steps(self, epoch: int) -> Iterator[Step]:
        return epoch_steps(self.chosen, self.weights, self.seed, epoch, self.config.batch, self.least)

    def _step(self, epoch: int, step: Step) -> float:
        config = self.config
        total = config.epochs * steps_in_epoch(len(self.chosen), config.batch, self.least)
        set_learning_rate(self.optimiser, learning_rate_factor(self.step / total, config.warmup))
        torch.manual_seed(_seed_of(self.seed, self.step, self.fabric.global_rank))
        loss = self._gradients(epoch, step)
        self.fabric.clip_gradients(
            self.learner, self.optimiser, max_norm=config.clip_norm, error_if_nonfinite=False
        )
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.average.update(self.start.network, self.step)
        return loss

    def _gradients(self, epoch: int, step: Step) -> float:
        """Of the mean loss over the whole batch, of which this process computes its share; gives the loss."""
        config, processes = self.config, self.fabric.world_size
        mine = share_of(len(step.members), self.fabric.global_rank, processes)
        members, places = step.members[mine], step.places[mine]
        total = torch.zeros((), device=self.fabric.device)
        for part in range(config.accumulate):
            these = share_of(len(members), part, config.accumulate)
            randoms = generators(self.seed, epoch, places[these])
            batch = self.videos.training_batch(members[these], randoms).to(self.fabric.device)
            # Gradients are averaged over processes, so a share that is larger must count for more.
            weight = len(batch) * processes / len(step.members)
            with self.fabric.no_backward_sync(self.learner, enabled=part < config.accumulate - 1):
                loss = self.learner(batch.inputs, batch.targets, batch.members) * weight
                self.fabric.backward(loss)
            total += loss.detach()
        mean = self.fabric.all_reduce(total, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean.item()


def _seed_of(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
