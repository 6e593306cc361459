"""What is minimised."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config import Fit
from trainer.data.dataset import Batch

# Network and batch to the mean loss over the batch's clips, a scalar. It is called with the bare network, in
# training mode, on the device of network and batch and under the precision that was set; on every process
# with that process's share of the batch. torch's random numbers are seeded before each step.
#
# An objective that is an nn.Module goes to the device with the network, and learns those of its parameters
# that require gradients; a checkpoint holds only those.
Objective = Callable[[nn.Module, Batch], Tensor]


def objective_of(config: Fit) -> Objective:
    """The configured loss against the batch's targets, which may be soft (MixUp, a teacher)."""
    loss = {"binary": binary, "categorical": categorical}[config.loss]

    def supervised(network: nn.Module, batch: Batch) -> Tensor:
        return over_exits(loss, network(*batch.inputs.values()), batch.targets, config.smoothing)

    return supervised


def binary(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Each of (N, L) labels by itself; targets 0 and 1 become ``smoothing`` and 1 - ``smoothing``.

    What is not known (nan) counts as right.
    """
    known = ~torch.isnan(targets)
    softened = torch.where(known, targets, 0.5) * (1.0 - 2.0 * smoothing) + smoothing
    losses = functional.binary_cross_entropy_with_logits(logits, softened, reduction="none")
    return (losses * known).mean()


def categorical(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """One of (N, L) labels, rows of targets sum to 1; ``smoothing`` of it is spread over all labels."""
    return functional.cross_entropy(logits, targets, label_smoothing=smoothing)


def over_exits(
    loss: Callable[[Tensor, Tensor, float], Tensor], logits: Tensor, targets: Tensor, smoothing: float
) -> Tensor:
    """Of (N, L) logits the loss, of (N, exits, L) its sum over the exits (Teerapittayanon et al. 2016)."""
    if logits.ndim == 2:
        return loss(logits, targets, smoothing)
    losses = [loss(answer, targets, smoothing) for answer in logits.unbind(1)]
    return sum(losses[1:], losses[0])
