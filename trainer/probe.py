"""The last layer in closed form, before anything else learns.

A logistic regression on what the network's head sees. Fine-tuning that starts from it bends the pretrained
features less than fine-tuning that starts from a random last layer (Kumar et al. 2022, arXiv 2202.10054),
and on a few hundred videos it is often all that should be learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.architectures.motion import LinearHead
from trainer.data.dataset import VideoSet
from trainer.frozen import head_inputs
from trainer.metrics import Vector

Matrix = npt.NDArray[np.float64]

PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0)
INNER_FOLDS = 4


def probe(network: nn.Module, videos: VideoSet, chosen: Sequence[int], views: int, seed: int) -> None:
    """Fit ``network.head`` on ``views`` random clips of each chosen example; ValueError if it has none.

    Features that a network calls ``optional`` (sound's) are used where inner folds are better with them, else
    their weights are 0.
    """
    head = head_of(network)
    features = (
        head_inputs(network, videos, chosen, views, seed).reshape(len(chosen) * views, -1).astype(np.float64)
    )
    owners = np.tile(np.asarray(chosen), views)
    mean, deviation = features.mean(0), features.std(0)
    scaled = (features - mean) / np.maximum(deviation, 1e-3)
    importance = videos.weights[owners] / views
    groups = np.array([videos.examples[index].group for index in owners])
    with torch.no_grad():
        _set_norm(head, mean, np.maximum(deviation, 1e-3))
        for label in range(videos.targets.shape[1]):
            truth = videos.targets[owners, label].astype(np.float64)
            known = ~np.isnan(truth)
            rest = (truth[known], groups[known], importance[known])
            found = [_fitted(scaled[known] * mask, *rest) for mask in _masks(network, scaled.shape[1])]
            best = min(found, key=lambda each: each.loss)
            head.fc.weight[label] = torch.from_numpy(best.weights)
            head.fc.bias[label] = best.bias


@dataclass(frozen=True)
class _Fitted:
    loss: float  # over the inner folds
    weights: Vector
    bias: float


def _masks(network: nn.Module, features: int) -> list[Vector]:
    """Which features are used: all, and all but the optional ones."""
    masks = [np.ones(features)]
    optional = getattr(network, "optional", None)
    if optional is not None:
        masks.append(np.ones(features))
        masks[-1][optional] = 0.0
    return masks


def _fitted(features: Matrix, truth: Vector, groups: npt.NDArray[np.str_], importance: Vector) -> _Fitted:
    rotated, basis = _rotated(features)
    penalty, loss = best_penalty(rotated, truth, groups, importance)
    weights, bias = logistic_regression(rotated, truth, penalty, importance)
    return _Fitted(loss, basis @ weights, bias)


def _rotated(features: Matrix) -> tuple[Matrix, Matrix]:
    """Rows by an orthonormal basis (columns, rank) of what they span.

    The penalty does not see the rotation, so the solution is the same; with fewer rows than columns it is
    found many times faster.
    """
    basis: Matrix = np.linalg.svd(features, full_matrices=False)[2].T
    return features @ basis, basis


def head_of(network: nn.Module) -> LinearHead:
    head = getattr(network, "head", None)
    if not isinstance(head, LinearHead):
        raise ValueError("a probe needs a network that ends in a linear head")
    return head


def _set_norm(head: LinearHead, mean: Vector, deviation: Vector) -> None:
    assert head.norm.running_mean is not None
    assert head.norm.running_var is not None
    head.norm.running_mean.copy_(torch.from_numpy(mean))
    head.norm.running_var.copy_(torch.from_numpy(deviation**2))


def logistic_regression(
    features: Matrix, truth: Vector, penalty: float, weight: Vector | float
) -> tuple[Vector, float]:
    """Weights and bias that minimise ``weight`` * cross-entropy, summed, + ``penalty`` / 2 * |weights|^2."""
    design = np.concatenate((features, np.ones((len(features), 1))), 1)
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 1e-6  # the bias is free
    solution = np.zeros(design.shape[1])
    for _ in range(25):
        probability = 1.0 / (1.0 + np.exp(-np.clip(design @ solution, -30.0, 30.0)))
        gradient = design.T @ (weight * (probability - truth)) + ridge * solution
        curvature = np.maximum(weight * probability * (1.0 - probability), 1e-9)
        move = np.linalg.solve((design * curvature[:, None]).T @ design + np.diag(ridge), gradient)
        solution = solution - move
        if np.abs(move).max() < 1e-8:
            break
    return solution[:-1], float(solution[-1])


def best_penalty(
    features: Matrix, truth: Vector, groups: npt.NDArray[np.str_], weight: Vector | float
) -> tuple[float, float]:
    """The penalty with the least cross-entropy over inner folds of the training sources, and that loss."""
    names = np.unique(groups)
    fold_of = {name: index % INNER_FOLDS for index, name in enumerate(names)}
    folds = np.array([fold_of[name] for name in groups])
    weights = np.broadcast_to(weight, truth.shape)

    def loss(penalty: float) -> float:
        total = 0.0
        for fold in np.unique(folds):
            held_out = folds == fold
            rest = ~held_out
            slope, bias = logistic_regression(features[rest], truth[rest], penalty, weights[rest])
            logits = features[held_out] @ slope + bias
            total += float(weights[held_out] @ (np.logaddexp(0.0, logits) - truth[held_out] * logits))
        return total

    losses = {penalty: loss(penalty) for penalty in PENALTIES}
    best = min(losses, key=losses.__getitem__)
    return best, losses[best]
