from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.inference.batcher import BatchPolicy, Plan, Waiting

POLICY = BatchPolicy(max_clips=8, max_delay_s=0.005)
NOW_S = 100.0


def queue(*entries: tuple[int, float] | tuple[int, float, float]) -> list[Waiting]:
    """(clips, milliseconds waited, milliseconds to its deadline), oldest first."""
    return [
        Waiting(
            clips=entry[0],
            enqueued_at_s=NOW_S - entry[1] / 1000,
            deadline_at_s=NOW_S + (entry[2] if len(entry) == 3 else 1000) / 1000,
        )
        for entry in entries
    ]


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        # nothing to do: sleep until something arrives
        (queue(), Plan()),
        # the oldest has waited for the delay
        (queue((2, 6)), Plan(taken=(0,), why="delay")),
        (queue((2, 6), (3, 0)), Plan(taken=(0, 1), why="delay")),
        # full to the clip, or as full as whole entries allow
        (queue((8, 0)), Plan(taken=(0,), why="full")),
        (queue((4, 1), (4, 0)), Plan(taken=(0, 1), why="full")),
        (queue((4, 1), (2, 1), (4, 0)), Plan(taken=(0, 1), why="full")),
        # first come, first served: the third would fit, but the second is before it
        (queue((4, 1), (6, 1), (2, 0)), Plan(taken=(0,), why="full")),
        # nobody waits for an answer after the deadline
        (queue((2, 6, 0)), Plan(dropped=(0,))),
        (queue((2, 6, -5), (3, 6), (1, 6, 0)), Plan(dropped=(0, 2), taken=(1,), why="delay")),
        (queue((8, 6, 0), (2, 6)), Plan(dropped=(0,), taken=(1,), why="delay")),
    ],
)
def test_plan(waiting: list[Waiting], expected: Plan) -> None:
    assert POLICY.plan(waiting, NOW_S) == expected


@pytest.mark.parametrize(
    ("patience_s", "deadline_ms", "order"),
    [
        ((0.0, 0.0, 0.0), (1000, 1000, 1000), (0, 1, 2)),  # first come, first served
        ((0.5, 0.5, 0.0), (1000, 1000, 1000), (2, 0, 1)),  # what is urgent overtakes
        ((0.5, 0.0, 0.0), (1000, 1000, 1000), (1, 2, 0)),
        ((0.5, 0.5, 0.5), (1000, 1000, 100), (2, 0, 1)),  # so does what would come too late
        ((0.001, 0.5, 0.0), (1000, 1000, 1000), (0, 2, 1)),  # whose patience is over is not overtaken
    ],
)
def test_who_is_served_first(
    patience_s: tuple[float, ...], deadline_ms: tuple[float, ...], order: tuple[int, ...]
) -> None:
    """They came 3, 2 and 1 ms ago."""
    waiting = [
        Waiting(2, NOW_S - (3 - place) / 1000, NOW_S + deadline / 1000, patience)
        for place, (patience, deadline) in enumerate(zip(patience_s, deadline_ms, strict=True))
    ]
    assert POLICY.plan(waiting, NOW_S, draining=True).taken == order


def test_a_young_batch_waits_for_the_rest_of_the_delay() -> None:
    plan = POLICY.plan(queue((2, 2), (1, 0)), NOW_S)
    assert (plan.taken, plan.dropped, plan.why) == ((), (), None)
    assert plan.wait_s == pytest.approx(0.003)


def test_draining_waits_for_nobody() -> None:
    assert POLICY.plan(queue((2, 0)), NOW_S, draining=True) == Plan(taken=(0,), why="draining")


@given(
    st.lists(st.tuples(st.integers(1, 8), st.floats(0, 20), st.floats(-5, 50)), max_size=20),
    st.integers(8, 16),
    st.booleans(),
)
def test_what_is_taken(entries: list[tuple[int, float, float]], max_clips: int, draining: bool) -> None:
    waiting = queue(*entries)
    plan = BatchPolicy(max_clips, 0.005).plan(waiting, NOW_S, draining=draining)
    alive = [i for i in range(len(waiting)) if i not in plan.dropped]
    alive.sort(key=lambda i: waiting[i].due_at_s)
    assert sum(waiting[i].clips for i in plan.taken) <= max_clips
    assert list(plan.taken) == alive[: len(plan.taken)]  # in order, none left out
    assert (plan.why is None) == (not plan.taken)
    assert not alive or plan.taken or (plan.wait_s is not None and plan.wait_s > 0)  # never stuck
