"""All that changes while a network is trained."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from trainer.config import Fit
from trainer.data.dataset import Batch
from trainer.fit.average import WeightAverage
from trainer.fit.checkpoint import Checkpoint, Counters
from trainer.fit.objective import Objective
from trainer.fit.optimiser import optimiser_of
from trainer.fit.order import Indices
from trainer.fit.start import Start


class Learner(nn.Module):
    """The network and what it is trained for, as one module for Fabric to wrap."""

    def __init__(self, network: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self.objective = objective

    def forward(self, inputs: dict[str, Tensor], targets: Tensor, members: Indices) -> Tensor:
        return self.objective(self.network, Batch(inputs, targets, members))

    def own(self) -> dict[str, nn.Parameter]:
        """What the objective learns besides the network, by name."""
        if not isinstance(self.objective, nn.Module):
            return {}
        networks = {id(parameter) for parameter in self.network.parameters()}
        named = self.objective.named_parameters()
        return {name: p for name, p in named if p.requires_grad and id(p) not in networks}


class State:
    """Weights, optimiser and counters, on Fabric's device."""

    def __init__(self, fabric: Fabric, start: Start, objective: Objective, config: Fit) -> None:
        self.network = start.network
        self.bare = Learner(start.network, objective)
        self._precision = fabric.strategy.precision
        optimiser = optimiser_of(start, self.bare.own().values(), config)
        self.learner, self.optimiser = fabric.setup(self.bare, optimiser)
        self.average = WeightAverage(start.network, config.average)
        self.best: dict[str, Tensor] | None = None  # the average at the lowest validation loss
        self.at = Counters()

    def keep_best(self) -> None:
        self.best = {name: value.clone() for name, value in self.average.state_dict().items()}

    def settle(self) -> None:
        """The network becomes its average: the best one if there was validation, else the last."""
        if self.best is not None:
            self.average.load_state_dict(self.best)
        self.average.copy_to(self.network)

    def checkpoint(self) -> Checkpoint:
        rest = {
            "optimiser": self.optimiser.state_dict(),
            "precision": self._precision.state_dict(),
            "objective": {name: value.detach() for name, value in self.bare.own().items()},
        }
        weights = self.network.state_dict()
        return Checkpoint(weights, self.average.state_dict(), self.best, self.at, rest)

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        self.network.load_state_dict(checkpoint.weights)
        self.average.load_state_dict(checkpoint.average)
        self.best = None if checkpoint.best is None else dict(checkpoint.best)
        self.at = checkpoint.counters
        self.optimiser.load_state_dict(checkpoint.rest["optimiser"])
        if checkpoint.rest["precision"]:
            self._precision.load_state_dict(checkpoint.rest["precision"])
        for name, value in self.bare.own().items():
            value.copy_(checkpoint.rest["objective"][name])
