"""Which examples a step sees, derived from the seed alone, so that any step can be made again. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.config import Fit

Indices = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """One batch of an epoch."""

    members: Indices  # examples
    places: Indices  # of the members in the epoch's order; what their random numbers are derived from


@dataclass(frozen=True)
class Plan:
    """Which examples each step of a run sees."""

    examples: tuple[int, ...]
    weights: Weights | None  # how often each example comes, in proportion; None: all alike
    seed: int
    batch: int
    least: int  # a last batch that is smaller is left out

    @staticmethod
    def of(
        examples: Sequence[int],
        targets: npt.NDArray[np.float32],
        weights: Weights,
        config: Fit,
        seed: int,
        processes: int,
    ) -> Plan:
        """Raises ValueError if a batch is too small to be shared out."""
        # Two for each part, for norms that take statistics.
        least, most = 2 * processes * config.accumulate, min(config.batch, len(examples))
        if most < least:
            raise ValueError(
                f"a batch of {most} examples cannot be shared out: {processes} process(es) and "
                f"fit.accumulate {config.accumulate} need {least}, two for each part"
            )
        own = weights[list(examples)]
        if config.balanced:
            own = own * balancing_weights(targets[list(examples)])
        alike = bool(np.all(own == own[0]))
        return Plan(tuple(examples), None if alike else own, seed, config.batch, least)

    @property
    def steps(self) -> int:
        """Of one epoch."""
        whole, rest = divmod(len(self.examples), self.batch)
        return whole + (rest >= self.least)

    def epoch(self, epoch: int, done: int) -> Iterator[Step]:
        """The steps of an epoch, from 1, after the first ``done``."""
        order = epoch_order(self.examples, self.weights, np.random.default_rng([self.seed, epoch]))
        for index in range(done, self.steps):
            places = np.arange(index * self.batch, min((index + 1) * self.batch, len(order)))
            yield Step(order[places], places)


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
    """Of (N, L) targets 0, 1 or nan (not known), for each example: the mean of 1 / how common its answer is.

    The mean is over the labels that are known; an example of which none is counts 1.

    Drawn by these weights, the two answers of a single label come equally often; of labels of which one is
    right, rare ones come more often.
    """
    known, positive = ~np.isnan(targets), targets > 0.5
    share = positive.sum(0) / np.maximum(known.sum(0), 1)
    common = np.where(positive, share, 1.0 - share)
    rarity = np.where(known, 1.0 / np.where(known, common, 1.0), 0.0).sum(1)
    weights: Weights = np.where(known.any(1), rarity / np.maximum(known.sum(1), 1), 1.0).astype(np.float64)
    return weights


def share_of(count: int, rank: int, processes: int) -> slice:
    """The consecutive part of ``count`` things that process ``rank`` takes; parts differ by one at most."""
    return slice(count * rank // processes, count * (rank + 1) // processes)


def generators(seed: int, epoch: int, places: Indices) -> list[np.random.Generator]:
    """One for each clip. The extra 1 keeps them apart from the generator of the epoch's order."""
    return [np.random.default_rng([seed, epoch, int(place), 1]) for place in places]
