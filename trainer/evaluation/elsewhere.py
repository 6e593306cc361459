"""What the network says of footage from elsewhere: of the further sets, held out as the main set is.

Not a measure of how good it is on them, but of how often it raises a false alarm where nobody filmed what it
was made for.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def elsewhere(
    held_out: HeldOut, sets: Sequence[str], evaluation: Evaluation, aggregation: Aggregation
) -> tuple[Elsewhere, ...]:
    """``sets``: the name of each video's set."""
    found = []
    for column, label in enumerate(evaluation.labels):
        truth = held_out.targets[:, column]
        seen = _reported(held_out, column, label.calibration, label.threshold, aggregation)
        for name in sorted(set(sets)):
            here = np.array([each == name for each in sets])
            negatives, positives = here & (truth == 0), here & (truth == 1)
            if negatives.any() or positives.any():
                found.append(
                    Elsewhere(
                        name,
                        label.name,
                        int(negatives.sum()),
                        _share(seen[negatives]),
                        int(positives.sum()),
                        _share(seen[positives]),
                    )
                )
    return tuple(found)


def _reported(
    held_out: HeldOut, column: int, calibration: Calibration, threshold: float, aggregation: Aggregation
) -> np.ndarray:
    """(videos,) bool: the label is reported for the video."""
    clips = [calibration(scores[:, column]) for scores in held_out.scores]
    return np.asarray(video_scores(clips, aggregation) >= threshold)


def _share(of: np.ndarray) -> float | None:
    return float(of.mean()) if of.size else None
