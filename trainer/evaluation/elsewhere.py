"""What the network says of footage from elsewhere: of the further sets, held out as the main set is.

Not a measure of how good it is on them, but of how often it raises a false alarm where nobody filmed what it
was made for. A video counts where its source stands in one fold: of another, the networks learnt from it.
Runs put a source aside as a whole; files of before may hold some that stand in two folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.spec import Aggregation
from trainer.calibrate import Calibration
from trainer.evaluation.held_out import HeldOut
from trainer.evaluation.judge import Evaluation, video_scores

ELSEWHERE_FILE = "elsewhere.json"


@dataclass(frozen=True)
class Elsewhere:
    """One label on one set, at the label's threshold."""

    set: str
    label: str
    negatives: int
    flagged: float | None  # share of the negatives; None: there are none
    positives: int
    found: float | None  # share of the positives
    left_out: int = 0  # videos that do not count


def elsewhere(aside: HeldOut, evaluation: Evaluation, aggregation: Aggregation) -> tuple[Elsewhere, ...]:
    """``aside``: scores of the further sets."""
    found = []
    unseen = _unseen(aside)
    for column, label in enumerate(evaluation.labels):
        truth = aside.targets[:, column]
        reported = _reported(aside, column, label.calibration, label.threshold, aggregation)
        for name in sorted(set(aside.sets)):
            here = np.array([each == name for each in aside.sets]) & ~np.isnan(truth)
            negatives, positives = here & unseen & (truth == 0), here & unseen & (truth == 1)
            if here.any():
                found.append(
                    Elsewhere(
                        name,
                        label.name,
                        int(negatives.sum()),
                        _share(reported[negatives]),
                        int(positives.sum()),
                        _share(reported[positives]),
                        int((here & ~unseen).sum()),
                    )
                )
    return tuple(found)


def _unseen(aside: HeldOut) -> np.ndarray:
    """(videos,) bool: the network that scored the video had not learnt from its source."""
    folds: dict[str, set[str]] = {}
    for group, fold in zip(aside.groups, aside.folds, strict=True):
        folds.setdefault(group, set()).add(fold)
    return np.array([len(folds[group]) == 1 for group in aside.groups], bool)


def _reported(
    held_out: HeldOut, column: int, calibration: Calibration, threshold: float, aggregation: Aggregation
) -> np.ndarray:
    """(videos,) bool: the label is reported for the video."""
    clips = [calibration(scores[:, column]) for scores in held_out.scores]
    return np.asarray(video_scores(clips, aggregation) >= threshold)


def _share(of: np.ndarray) -> float | None:
    return float(of.mean()) if of.size else None
