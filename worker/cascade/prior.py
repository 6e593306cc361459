"""Prevalence correction: what a probability means where positives are rarer than in training.

A network trained on a set that is half positive answers as if every second upload were positive. Only
the prior differs, so the odds are multiplied by the ratio of the prior odds, which is a constant shift
of the logit (Saerens, Latinne and Decaestecker 2002). Thresholds that were chosen at the training
prevalence move by the same shift and so keep their meaning.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def logit_shift(training_prevalence: float, expected_prevalence: float | None) -> float:
    """What is added to a logit; 0.0 when no prevalence is expected, which leaves scores as they are."""
    if expected_prevalence is None:
        return 0.0
    return _logit(expected_prevalence) - _logit(training_prevalence)


def shifted(probabilities: npt.NDArray[np.floating], shift: float) -> npt.NDArray[np.float64]:
    """Probabilities whose odds are multiplied by exp(shift). 0 and 1 stay; a shift of 0 is the identity."""
    p = np.asarray(probabilities, np.float64)
    if shift == 0.0:
        return p
    factor = math.exp(min(max(shift, -500.0), 500.0))  # beyond, exp overflows and nothing changes any more
    return p * factor / (p * factor + (1.0 - p))


def shifted_one(probability: float, shift: float) -> float:
    return float(shifted(np.array([probability]), shift)[0])


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)
