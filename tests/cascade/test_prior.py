from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cascade.prior import logit_shift, shifted, shifted_one

PREVALENCE = st.floats(1e-6, 1 - 1e-6)
PROBABILITY = st.floats(1e-6, 1 - 1e-6)


@pytest.mark.parametrize(
    ("training", "expected", "before", "after"),
    [
        (0.5, None, 0.7, 0.7),
        (0.5, 0.5, 0.7, 0.7),
        (0.5, 0.1, 0.5, 0.1),  # an even answer becomes the prior itself
        (0.5, 0.01, 0.99, 0.5),
        (0.2, 0.5, 0.2, 0.5),
        (0.5, 0.01, 0.0, 0.0),  # certainty stays
        (0.5, 0.01, 1.0, 1.0),
    ],
)
def test_correction(training: float, expected: float | None, before: float, after: float) -> None:
    assert shifted_one(before, logit_shift(training, expected)) == pytest.approx(after)


@given(PREVALENCE, PROBABILITY)
def test_the_same_prevalence_changes_nothing(prevalence: float, probability: float) -> None:
    assert shifted_one(probability, logit_shift(prevalence, prevalence)) == probability


@given(PREVALENCE, PREVALENCE, PROBABILITY)
def test_there_and_back_is_the_identity(here: float, there: float, probability: float) -> None:
    # Where a probability rounds to 1 on the way there is nothing to come back from.
    on_the_way = shifted_one(probability, logit_shift(here, there))
    back = shifted_one(on_the_way, logit_shift(there, here))
    assert back == pytest.approx(probability, rel=1e-3, abs=1e-9) or on_the_way > 1 - 1e-9


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.floats(-1000, 1000))
def test_order_and_range_survive(probabilities: list[float], shift: float) -> None:
    found = shifted(np.sort(probabilities), shift)
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()
