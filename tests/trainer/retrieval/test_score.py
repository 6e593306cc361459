"""Figures of retrieval against cases that can be counted by hand, and chance against simulation."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.metrics import average_precision
from trainer.retrieval.score import chance_of_hit, chance_of_precision, copies_found, retrieval, unit


def directions(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def test_only_other_groups_count() -> None:
    # 0 and 1 are of one recording and lie together; their label in another group lies opposite.
    found = retrieval(directions(0, 1, 180, 10), ["a", "a", "a", "b"], ["g", "g", "h", "i"])
    assert found.queries == 3  # b has nothing to find
    # 0 and 1: [b, a], 2: one a of two at the first place, since b lies nearest to neither
    assert found.recall[1].value == pytest.approx(0 / 3)
    assert found.recall[5].value == 1.0
    # 0 and 1 find theirs second: 1/2. Video 2 sees 10 degrees (b), then 1 and 0: (1/2 + 2/3) / 2.
    assert found.mean_average_precision.value == pytest.approx((0.5 + 0.5 + (1 / 2 + 2 / 3) / 2) / 3)


def test_perfect_vectors() -> None:
    found = retrieval(directions(0, 1, 90, 91), ["a", "a", "b", "b"], list("ghij"))
    assert found.recall[1].value == 1.0
    assert found.mean_average_precision.value == pytest.approx(1.0)
    assert found.recall[1].interval == (1.0, 1.0)
    assert found.recall[1].chance == pytest.approx(1 / 3)


def test_vectors_that_know_nothing_get_no_credit_for_ties() -> None:
    found = retrieval(np.ones((4, 1), np.float32), ["a", "a", "b", "b"], list("ghij"))
    assert found.recall[1].value == 0.0


def test_nothing_to_find_is_an_error() -> None:
    with pytest.raises(ValueError, match="in another group"):
        retrieval(directions(0, 90), ["a", "b"], ["g", "h"])


@pytest.mark.parametrize(("count", "relevant"), [(10, 1), (10, 4), (7, 7), (1, 1)])
def test_chance_is_that_of_a_random_order(count: int, relevant: int) -> None:
    random = np.random.default_rng(0)
    truth = np.arange(count) < relevant
    drawn = [random.permutation(truth).astype(np.float64) for _ in range(4000)]
    order = -np.arange(count, dtype=np.float64)
    for k in (1, 5):
        assert chance_of_hit(count, relevant, k) == pytest.approx(
            np.mean([each[:k].any() for each in drawn]), abs=0.03
        )
    expected = np.mean([average_precision(each, order) for each in drawn])
    assert chance_of_precision(count, relevant) == pytest.approx(expected, abs=0.02)


def test_a_copy_is_found_where_its_own_is_nearest() -> None:
    originals = directions(0, 90, 180)
    assert copies_found(originals, directions(5, 85, 179), list("ghi")).value == 1.0
    found = copies_found(originals, directions(5, 5, 5), list("ghi"))
    assert [found.value, found.chance] == pytest.approx([1 / 3, 1 / 3])
    assert copies_found(np.ones((2, 1), np.float32), np.ones((2, 1), np.float32), list("gh")).value == 0.0
