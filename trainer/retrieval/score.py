"""Figures of retrieval: pure, NumPy only.

Leave one group out: a query is compared with the videos of all other groups (sources), never with those cut
from its own recording; relevant are those with its label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.metrics import Vector, average_precision, interval

Vectors = npt.NDArray[np.float32]  # (N, E), each of length 1
DEPTHS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Figure:
    """The mean over queries; ``interval``: 95 %, by bootstrap over groups; ``chance``: of a random order."""

    value: float
    interval: tuple[float, float]
    chance: float


@dataclass(frozen=True, slots=True)
class Retrieval:
    queries: int  # that have something relevant in another group
    recall: dict[int, Figure]  # k -> share of queries with something relevant among the first k
    mean_average_precision: Figure


def retrieval(vectors: Vectors, labels: Sequence[str], groups: Sequence[str]) -> Retrieval:
    """Raises ValueError where no video has its label in another group."""
    cosines = np.asarray(vectors, np.float64) @ np.asarray(vectors, np.float64).T
    label_of, group_of = np.asarray(labels), np.asarray(groups)
    precisions, first_hits, chances, asked = [], [], [], []
    for query in range(len(vectors)):
        others = group_of != group_of[query]
        relevant = (label_of[others] == label_of[query]).astype(np.float64)
        if not relevant.any():
            continue
        scores = cosines[query, others]
        precisions.append(average_precision(relevant, scores))
        # As many places behind as others that are not relevant score as high as the best that is.
        first_hits.append(int((scores[relevant == 0] >= scores[relevant == 1].max()).sum()) + 1)
        chances.append((len(relevant), int(relevant.sum())))
        asked.append(groups[query])
    if not asked:
        raise ValueError("no video has its label in another group: nothing can be retrieved")
    hits = np.array(first_hits)
    recall = {
        k: figure(hits <= k, asked, float(np.mean([chance_of_hit(*size, k) for size in chances])))
        for k in DEPTHS
    }
    by_chance = float(np.mean([chance_of_precision(*size) for size in chances]))
    return Retrieval(len(asked), recall, figure(np.array(precisions), asked, by_chance))


def copies_found(vectors: Vectors, copies: Vectors, groups: Sequence[str]) -> Figure:
    """Share of copies whose nearest video, of all, is the one they were made of; row by row."""
    cosines = np.asarray(copies, np.float64) @ np.asarray(vectors, np.float64).T
    own = np.diagonal(cosines)
    is_first = (cosines >= own[:, None]).sum(axis=1) == 1  # an equal score counts against it
    return figure(is_first, groups, 1.0 / len(vectors))


def figure(values: npt.NDArray[np.generic], groups: Sequence[str], chance: float) -> Figure:
    numbers = np.asarray(values, np.float64)
    return Figure(float(numbers.mean()), interval(_mean, numbers, numbers, groups, draws=1000), chance)


def chance_of_hit(count: int, relevant: int, k: int) -> float:
    """Of something relevant among the first ``k`` of a random order."""
    missed = 1.0
    for place in range(min(k, count)):
        missed *= max(0, count - relevant - place) / (count - place)
    return 1.0 - missed


def chance_of_precision(count: int, relevant: int) -> float:
    """Expected average precision of a random order."""
    harmonic = float(np.sum(1.0 / np.arange(1, count + 1)))
    if count == 1:
        return 1.0
    return (harmonic + (relevant - 1) / (count - 1) * (count - harmonic)) / count


def unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def _mean(values: Vector, _: Vector) -> float:
    return float(values.mean())
