"""The uncertainty band: chosen for a recall at a cost, over every band that could be. Pure.

The rule. A band qualifies when the cascade's recall is within ``recall_lost`` of the escalation model's on
every clip, at no more than ``cost`` of its cost. Of those the one with the fewest false alarms is taken, then
the cheapest. Where none meets both, recall wins: the cheapest that keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.evaluation.cascade import Band, Cascade, Run
from trainer.metrics import Vector

STEP = 0.05  # of the edges of the bands that are tried


@dataclass(frozen=True, slots=True)
class Target:
    recall_lost: float  # at most this much less than always-heavy
    cost: float  # at most this share of always-heavy's


@dataclass(frozen=True, slots=True)
class Choice:
    """A band and what it reached on the videos that it was chosen on."""

    band: Band
    recall_lost: float
    cost: float
    met: bool  # both the recall and the cost


def all_bands(threshold: float) -> tuple[Band, ...]:
    """Every [low, high) around the threshold whose edges lie a step apart; the first has no width."""
    lows = [*np.arange(0.0, threshold, STEP), threshold]
    highs = [threshold, *np.arange(threshold + STEP, 1.0 + 1e-9, STEP)]
    bands = [(round(float(low), 3), round(float(high), 3)) for low in lows for high in highs]
    return tuple(sorted(bands, key=lambda band: band[1] - band[0]))


def choose(
    cascade: Cascade,
    runs: Sequence[Run],
    heavy: Run,
    truth: Vector,
    target: Target,
    rows: npt.NDArray[np.int64],
) -> Choice:
    """Of the runs' bands, on the videos ``rows``; each fold's own figures use the others' choice."""
    positives, negatives = rows[truth[rows] == 1], rows[truth[rows] == 0]
    wanted = heavy.held[positives].mean() - target.recall_lost

    def choice(run: Run) -> Choice:
        recall = run.held[positives].mean()
        cost = cascade.cost(run, rows)
        lost = float(heavy.held[positives].mean() - recall)
        return Choice(run.band, lost, cost, bool(recall >= wanted - 1e-9 and cost <= target.cost))

    tried = [(choice(run), float(run.held[negatives].mean())) for run in runs]
    met = [(false, each.cost, i) for i, (each, false) in enumerate(tried) if each.met]
    keeping = [
        (each.cost, false, i)
        for i, (each, false) in enumerate(tried)
        if each.recall_lost <= target.recall_lost + 1e-9
    ]
    if met or keeping:
        return tried[min(met or keeping)[2]][0]
    return min((each for each, _ in tried), key=lambda each: (each.recall_lost, each.cost))


def cross_fitted_run(
    cascade: Cascade, runs: Sequence[Run], heavy: Run, truth: Vector, folds: Sequence[str], target: Target
) -> Run:
    """Each video under the band chosen on the other folds; the band that is named is that of all."""
    names = np.asarray(folds)
    by_band = {run.band: run for run in runs}
    every = np.arange(len(truth))
    total = by_band[choose(cascade, runs, heavy, truth, target, every).band]
    probabilities, held = total.probabilities.copy(), total.held.copy()
    reviewed, escalated = total.reviewed.copy(), total.escalated_clips.copy()
    for fold in np.unique(names):
        own = np.flatnonzero(names == fold)
        chosen = choose(cascade, runs, heavy, truth, target, np.flatnonzero(names != fold))
        run = by_band[chosen.band]
        probabilities[own], held[own] = run.probabilities[own], run.held[own]
        reviewed[own], escalated[own] = run.reviewed[own], run.escalated_clips[own]
    return Run(total.band, probabilities, held, reviewed, escalated)
