"""Which examples a step sees, derived from the seed alone, so that any step can be made again. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """One batch of an epoch."""

    index: int  # from 0 in its epoch
    members: Indices  # examples
    places: Indices  # of the members in the epoch's order; what their random numbers are derived from


def epoch_steps(
    chosen: Sequence[int], weights: Weights | None, seed: int, epoch: int, batch: int, least: int
) -> Iterator[Step]:
    """Batches of one epoch; a last one of fewer than ``least`` examples is left out.

    Raises ValueError if that would leave nothing.
    """
    order = epoch_order(chosen, weights, np.random.default_rng([seed, epoch]))
    if min(batch, len(order)) < least:
        raise ValueError(
            f"a batch of {min(batch, len(order))} examples cannot be shared out, it must have {least}: "
            "two for each process and each part that it is accumulated in"
        )
    for index, first in enumerate(range(0, len(order), batch)):
        places = np.arange(first, min(first + batch, len(order)))
        if len(places) >= least:
            yield Step(index, order[places], places)


def steps_in_epoch(examples: int, batch: int, least: int) -> int:
    whole, rest = divmod(examples, batch)
    return whole + (rest >= least)


def epoch_order(chosen: Sequence[int], weights: Weights | None, random: np.random.Generator) -> Indices:
    """The chosen examples in random order; with weights, each about as often as its weight says.

    Systematic resampling: an example that should come 2.3 times comes two or three times, never none.
    """
    examples = np.asarray(chosen, np.int64)
    if weights is not None:
        ends = np.cumsum(weights) / weights.sum() * len(examples)
        marks = np.arange(len(examples)) + random.random()
        examples = examples[np.minimum(np.searchsorted(ends, marks, side="right"), len(examples) - 1)]
    return random.permutation(examples)


def balancing_weights(targets: npt.NDArray[np.float32]) -> Weights:
    """Of (N, L) targets 0 or 1, for each example: the mean over labels of 1 / how common its answer is.

    Drawn by these weights, the two answers of a single label come equally often; of labels of which one is
    right, rare ones come more often.
    """
    positive = targets > 0.5
    share = positive.mean(0)
    common = np.where(positive, share, 1.0 - share)
    weights: Weights = (1.0 / common).mean(1).astype(np.float64)
    return weights


def share_of(count: int, rank: int, processes: int) -> slice:
    """The consecutive part of ``count`` things that process ``rank`` takes; parts differ by one at most."""
    return slice(count * rank // processes, count * (rank + 1) // processes)


def generators(seed: int, epoch: int, places: Indices) -> list[np.random.Generator]:
    """One for each clip. The extra 1 keeps them apart from the generator of the epoch's order."""
    return [np.random.default_rng([seed, epoch, int(place), 1]) for place in places]
