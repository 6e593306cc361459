"""Shares of false alarms and of what is found, for each set."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from models.spec import Aggregation
from trainer.calibrate import Calibration
from trainer.evaluation.elsewhere import Elsewhere, elsewhere
from trainer.evaluation.held_out import HeldOut, read_held_out
from trainer.evaluation.judge import Evaluation, Judged

NAN = float("nan")


def further() -> HeldOut:
    """Two sets of three videos of one or two clips; reported where the higher logit is 0 or more."""
    logits = [[-1.0, 2.0], [-3.0], [1.0], [-2.0], [4.0, -4.0], [-1.0]]
    scores = tuple(np.array(clips, np.float32)[:, None] for clips in logits)
    truth = np.array([[0], [0], [0], [0], [1], [NAN]], np.float32)
    names = tuple(f"{index}.mp4" for index in range(6))
    sets = ("sport",) * 3 + ("hugs",) * 3
    return HeldOut(("violence",), names, names, ("1",) * 6, truth, scores, scores, sets)


def evaluation() -> Evaluation:
    figures = None  # not asked for here
    return Evaluation((Judged("violence", Calibration(), 0.5, (0.2, 0.8), 0.5, figures),))  # type: ignore[arg-type]


def test_each_set_has_its_shares_and_what_is_unknown_counts_nowhere() -> None:
    found = elsewhere(further(), evaluation(), Aggregation(method="max"))
    assert found == (
        Elsewhere("hugs", "violence", 1, 0.0, 1, 1.0),
        Elsewhere("sport", "violence", 3, 2 / 3, 0, None),
    )


def test_a_source_that_stands_in_two_folds_does_not_count() -> None:
    """Videos 0 and 3 are of one source: the network that scored the one had learnt from the other."""
    groups, folds = ("both", "1", "2", "both", "4", "5"), ("1", "1", "1", "2", "1", "1")
    found = elsewhere(replace(further(), groups=groups, folds=folds), evaluation(), Aggregation(method="max"))
    assert found == (
        Elsewhere("hugs", "violence", 0, None, 1, 1.0, left_out=1),
        Elsewhere("sport", "violence", 2, 0.5, 0, None, left_out=1),
    )


def test_unknown_truths_and_sets_are_written_and_read(tmp_path: Path) -> None:
    further().write(tmp_path / "elsewhere.json")
    again = read_held_out(tmp_path / "elsewhere.json")
    np.testing.assert_array_equal(again.targets, further().targets)
    assert again.sets == further().sets
