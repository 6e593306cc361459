"""How often examples come."""

import numpy as np
import pytest

from trainer.config import Fit
from trainer.fit.order import Plan, balancing_weights, epoch_order, generators, share_of

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


def test_an_epoch_has_every_example_once_in_an_order_of_its_own() -> None:
    orders = [
        epoch_order(range(10, 30), None, np.random.default_rng([0, epoch])).tolist() for epoch in (1, 2)
    ]
    assert [sorted(order) for order in orders] == [list(range(10, 30))] * 2
    assert orders[0] != orders[1]


def test_weighted_examples_come_as_often_as_they_should() -> None:
    """Of four draws: 2.67 times, then 0.44 times each."""
    weights = np.array([6.0, 1.0, 1.0, 1.0])
    for seed in range(20):
        order = epoch_order([5, 6, 7, 8], weights, np.random.default_rng(seed))
        counts = [order.tolist().count(example) for example in (5, 6, 7, 8)]
        assert sum(counts) == 4
        assert counts[0] in (2, 3)


@pytest.mark.parametrize(
    ("examples", "batch", "accumulate", "processes", "sizes"),
    [
        (10, 4, 1, 1, [4, 4, 2]),
        (9, 4, 1, 1, [4, 4]),  # one clip has no statistics
        (10, 4, 2, 1, [4, 4]),  # nor have two in two parts
        (10, 4, 1, 2, [4, 4]),
        (3, 8, 1, 1, [3]),
    ],
)
def test_steps(examples: int, batch: int, accumulate: int, processes: int, sizes: list[int]) -> None:
    fit = Fit(batch=batch, accumulate=accumulate)
    plan = Plan.of(range(examples), np.zeros((examples, 1), np.float32), np.ones(examples), fit, 0, processes)
    steps = list(plan.epoch(1, 0))
    assert [len(step.members) for step in steps] == sizes
    assert plan.steps == len(sizes)
    rest = list(plan.epoch(1, 1))
    assert [step.members.tolist() for step in rest] == [step.members.tolist() for step in steps[1:]]


@pytest.mark.parametrize(
    ("count", "processes", "sizes"), [(6, 2, [3, 3]), (7, 3, [2, 2, 3]), (4, 1, [4]), (5, 2, [2, 3])]
)
def test_shares(count: int, processes: int, sizes: list[int]) -> None:
    shares = [list(range(count))[share_of(count, rank, processes)] for rank in range(processes)]
    assert [len(share) for share in shares] == sizes
    assert [item for share in shares for item in share] == list(range(count))


def test_a_clip_is_drawn_alike_whoever_draws_it() -> None:
    together = [random.random() for random in generators(0, 1, np.arange(4))]
    alone = [generators(0, 1, np.array([place]))[0].random() for place in range(4)]
    assert together == alone
    assert len({*together, generators(0, 2, np.array([0]))[0].random()}) == 5
