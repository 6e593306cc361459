"""Figures by literal tables."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.zoo.figures import Exiting, exiting, one_label, several_labels


def test_figures_by_fold_and_their_interval() -> None:
    truth = np.array([0.0, 1.0, 0.0, 1.0])
    scores = np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [2.0, 1.0]])
    (top1,) = several_labels(scores, truth, ["1", "1", "2", "2"], ["a", "b", "c", "d"]).values()
    assert (top1.value, top1.by_fold) == (0.5, {"1": 1.0, "2": 0.0})
    assert top1.interval[0] < 0.5 < top1.interval[1]


def test_one_label() -> None:
    figures = one_label(np.array([-2.0, 1.0, 3.0]), np.array([0.0, 0.0, 1.0]), ["1"] * 3, ["a", "b", "c"])
    assert figures["accuracy"].value == pytest.approx(2 / 3)
    assert figures["auc"].value == 1.0


def test_accuracy_and_exit_rates_stand_together() -> None:
    # Four clips, two exits. Certainty of a logit of 3 is 0.953, of 1 it is 0.731, of 0.2 it is 0.550.
    logits = np.array([[3, -1], [-3, 1], [1, -3], [0.2, 3]], np.float32)[:, :, None]
    truth = np.array([1.0, 0.0, 0.0, 1.0])
    found = exiting(logits, truth, (0.5, 0.7, 0.9, 0.99))
    assert found == (
        Exiting(0.5, 0.75, (1.0, 0.0)),  # the third is wrong at the first exit
        Exiting(0.7, 0.75, (0.75, 0.25)),
        Exiting(0.9, 1.0, (0.5, 0.5)),
        Exiting(0.99, 0.5, (0.0, 1.0)),  # the last exit alone
    )
