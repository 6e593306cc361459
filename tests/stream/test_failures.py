from __future__ import annotations

import pytest

from worker.stream.failures import FailureWindow

GOOD, BAD = False, True


@pytest.mark.parametrize(
    ("outcomes", "tripped"),
    [
        ([], False),
        ([BAD] * 3, False),
        ([BAD] * 4, True),  # before the window is full: the rest of it cannot change the answer
        ([GOOD, BAD, BAD, BAD], False),
        ([GOOD, BAD, BAD, BAD, BAD], True),
        ([BAD, BAD, BAD, GOOD, GOOD, BAD], False),  # the first has left the window
    ],
)
def test_a_window_of_five_trips_at_four_fifths(outcomes: list[bool], tripped: bool) -> None:
    window = FailureWindow(size=5, share=0.8)
    for outcome in outcomes:
        window.add(outcome)
    assert window.tripped is tripped


def test_it_recovers_as_good_outcomes_come_in() -> None:
    window = FailureWindow(size=2, share=1.0)
    for outcome in (BAD, BAD, GOOD):
        window.add(outcome)
    assert not window.tripped
