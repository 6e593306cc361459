"""A configuration's baselines beside its model: figures, and paired differences where there are scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.config import Baseline, TrainConfig
from trainer.evaluation.cascade import calibrated
from trainer.evaluation.held_out import HeldOut, HeldOutError, read_held_out
from trainer.evaluation.judge import video_scores
from trainer.evaluation.summary import baseline_scores
from trainer.metrics import Difference, accuracy, paired, roc_auc


@dataclass(frozen=True, slots=True)
class Beside:
    """One baseline; None: not known."""

    name: str
    accuracy: float | None
    auc: float | None
    accuracy_gained: Difference | None = None  # of the model, less the baseline's
    auc_gained: Difference | None = None
    why_not: str = ""  # its scores could not be used


def beside(config: TrainConfig, held_out: HeldOut) -> tuple[Beside, ...]:
    """For the first label. A file that cannot be used is said so: training shall not fail at its end."""
    return tuple(_one(config, held_out, baseline) for baseline in config.baselines)


def _one(config: TrainConfig, held_out: HeldOut, baseline: Baseline) -> Beside:
    if baseline.held_out is None:
        return Beside(baseline.name, baseline.accuracy, baseline.auc)
    try:
        others = baseline_scores(held_out, read_held_out(baseline.held_out), config.aggregation)
    except HeldOutError as error:
        return Beside(baseline.name, baseline.accuracy, baseline.auc, why_not=str(error))
    truth = np.asarray(held_out.targets[:, 0], np.float64)
    own = video_scores(calibrated(held_out, held_out.scores, held_out.labels[0]), config.aggregation)
    return Beside(
        baseline.name,
        accuracy(truth, others),
        roc_auc(truth, others),
        paired(accuracy, truth, own, others, held_out.groups),
        paired(roc_auc, truth, own, others, held_out.groups),
    )
