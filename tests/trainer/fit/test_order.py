"""How often examples come."""

import numpy as np
import pytest

from trainer.fit.order import balancing_weights

NAN = float("nan")


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([[1], [0], [0], [0]], [4, 4 / 3, 4 / 3, 4 / 3]),
        ([[1, 1], [0, 0], [0, 1], [0, 1]], [(4 + 4 / 3) / 2, (4 / 3 + 4) / 2, 4 / 3, 4 / 3]),
        ([[1], [0], [NAN]], [2, 2, 1]),  # of which nothing is known: like any other
        ([[1, NAN], [0, 1], [NAN, 0]], [2, 2, 2]),
    ],
)
def test_rare_answers_come_more_often(targets: list[list[float]], expected: list[float]) -> None:
    assert balancing_weights(np.asarray(targets, np.float32)) == pytest.approx(expected)
