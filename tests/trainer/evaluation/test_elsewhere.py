"""Shares of false alarms and of what is found, for each set."""

from pathlib import Path

import numpy as np

from models.spec import Aggregation
from trainer.calibrate import Calibration
from trainer.evaluation.elsewhere import Elsewhere, elsewhere
from trainer.evaluation.held_out import HeldOut, read_held_out
from trainer.evaluation.judge import Evaluation, Judged

NAN = float("nan")


def further() -> HeldOut:
    """Six videos of one or two clips; the label is reported where the higher logit is 0 or more."""
    logits = [[-1.0, 2.0], [-3.0], [1.0], [-2.0], [4.0, -4.0], [-1.0]]
    scores = tuple(np.array(clips, np.float32)[:, None] for clips in logits)
    truth = np.array([[0], [0], [0], [0], [1], [NAN]], np.float32)
    names = tuple(f"{index}.mp4" for index in range(6))
    return HeldOut(("violence",), names, names, ("1",) * 6, truth, scores, scores)


def evaluation() -> Evaluation:
    figures = None  # not asked for here
    return Evaluation((Judged("violence", Calibration(), 0.5, (0.2, 0.8), 0.5, figures),))  # type: ignore[arg-type]


def test_each_set_has_its_shares_and_what_is_unknown_counts_nowhere() -> None:
    found = elsewhere(
        further(),
        ["sport", "sport", "sport", "hugs", "hugs", "hugs"],
        evaluation(),
        Aggregation(method="max"),
    )
    assert found == (
        Elsewhere("hugs", "violence", 1, 0.0, 1, 1.0),
        Elsewhere("sport", "violence", 3, 2 / 3, 0, None),
    )


def test_unknown_truth_is_written_and_read(tmp_path: Path) -> None:
    further().write(tmp_path / "elsewhere.json")
    again = read_held_out(tmp_path / "elsewhere.json")
    np.testing.assert_array_equal(again.targets, further().targets)
