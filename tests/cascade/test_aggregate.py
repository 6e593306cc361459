from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec import Aggregation
from tests.cascade.examples import CLIP_S, stage
from worker.cascade.aggregate import (
    Timeline,
    fused,
    replaced,
    segments,
    timeline,
    video_embedding,
    video_probabilities,
    video_probability,
)

METHODS = [
    Aggregation(method="max"),
    Aggregation(method="mean"),
    Aggregation(method="top_k_mean", k=1),
    Aggregation(method="top_k_mean", k=3),
]
PROBABILITY = st.floats(0, 1, width=32)


def line(clips: list[float] | dict[float, float], duration_s: float = 60.0) -> Timeline:
    return timeline(stage(clips), "violence", 0.0, duration_s)


@pytest.mark.parametrize(
    ("method", "k", "clips", "expected"),
    [
        ("max", 1, [0.1, 0.9, 0.2], 0.9),
        ("mean", 1, [0.0, 0.5, 1.0], 0.5),
        ("top_k_mean", 1, [0.1, 0.9, 0.2], 0.9),
        ("top_k_mean", 2, [0.5, 0.0, 1.0, 0.25], 0.75),
        ("top_k_mean", 5, [0.5, 0.0, 1.0], 0.5),  # fewer clips than k: all of them
        ("max", 1, [0.25], 0.25),
    ],
)
def test_video_probability(method: str, k: int, clips: list[float], expected: float) -> None:
    aggregation = Aggregation.model_validate({"method": method, "k": k})
    assert video_probability(line(clips), aggregation) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("clips", "expected"),
    [
        ([[1.0, 0.0]], [1.0, 0.0]),
        ([[1.0, 0.0], [0.0, 1.0]], [0.5**0.5, 0.5**0.5]),
        ([[0.6, 0.8], [0.6, -0.8]], [1.0, 0.0]),
        ([[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0]),  # no direction at all: like nothing
    ],
)
def test_video_embedding(clips: list[list[float]], expected: list[float]) -> None:
    found = video_embedding(np.array(clips, np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_labels_do_not_mix() -> None:
    clips = np.array([[0.1, 0.8], [0.3, 0.2]])
    assert video_probabilities(clips, Aggregation(method="max")).tolist() == [0.3, 0.8]


def test_a_video_without_clips_has_no_probability() -> None:
    with pytest.raises(ValueError, match="at least one clip"):
        video_probabilities(np.zeros((0, 1)), Aggregation())


@pytest.mark.parametrize("aggregation", METHODS, ids=str)
@given(st.lists(PROBABILITY, min_size=1, max_size=12), st.data())
def test_a_more_suspicious_clip_never_lowers_the_video(
    aggregation: Aggregation, clips: list[float], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(clips) - 1))
    raised = [*clips[:index], data.draw(st.floats(clips[index], 1, width=32)), *clips[index + 1 :]]
    before, after = (video_probability(line(c), aggregation) for c in (clips, raised))
    assert after >= before - 1e-9
    assert min(clips) <= before <= max(clips)


@pytest.mark.parametrize(
    ("clips", "expected"),
    [
        ([0.1, 0.2], []),
        ([0.9, 0.1], [(0, 2)]),
        ([0.5, 0.1], [(0, 2)]),  # at the threshold is seen
        ([0.9, 0.8, 0.1, 0.7], [(0, 4), (6, 8)]),
        ({0.0: 0.9, 1.0: 0.9}, [(0, 3)]),  # overlapping
        ({0.0: 0.9, 2.04: 0.9}, [(0, 4.04)]),  # a frame apart
        ({0.0: 0.9, 5.0: 0.9}, [(0, 2), (5, 7)]),  # nobody looked between
        ({58.0: 0.9, 59.5: 0.9}, [(58, 60)]),  # not past the end of the video
    ],
)
def test_segments(clips: list[float] | dict[float, float], expected: list[tuple[float, float]]) -> None:
    found = segments(line(clips), 0.5)
    assert [(s.start_s, s.end_s) for s in found] == [pytest.approx(pair) for pair in expected]


def test_a_segment_has_the_probability_of_its_highest_clip() -> None:
    (found,) = segments(line([0.6, 0.9, 0.7]), 0.5)
    assert found.probability == pytest.approx(0.9)


def test_a_clip_longer_than_its_video_ends_with_it() -> None:
    (found,) = segments(line([0.9], duration_s=1.2), 0.5)
    assert (found.start_s, found.end_s) == (0.0, 1.2)


def test_without_a_duration_a_clip_has_its_own_length() -> None:
    (found,) = segments(line([0.9], duration_s=0.0), 0.5)
    assert found.end_s == CLIP_S


@given(st.lists(PROBABILITY, min_size=1, max_size=12), PROBABILITY)
def test_segments_ascend_apart_and_hold_every_clip_at_the_threshold(clips: list[float], cut: float) -> None:
    found = segments(line(clips), cut)
    assert all(a.end_s < b.start_s for a, b in pairwise(found))
    for i, probability in enumerate(clips):
        inside = any(s.start_s <= i * CLIP_S < s.end_s for s in found)
        assert inside == (np.float32(probability) >= cut)


@pytest.mark.parametrize(
    ("base", "better", "expected"),
    [
        ({0.0: 0.1, 2.0: 0.5}, {2.0: 0.9}, {0.0: 0.1, 2.0: 0.9}),
        ({0.0: 0.1, 2.0: 0.5}, {2.0004: 0.9}, {0.0: 0.1, 2.0004: 0.9}),  # rounding on the way
        ({0.0: 0.1}, {4.0: 0.9}, {0.0: 0.1, 4.0: 0.9}),
        ({2.0: 0.1}, {0.0: 0.9}, {0.0: 0.9, 2.0: 0.1}),
    ],
)
def test_replaced(base: dict[float, float], better: dict[float, float], expected: dict[float, float]) -> None:
    found = replaced(line(base), line(better))
    assert dict(zip(found.starts_s, found.probabilities.tolist(), strict=True)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("base", "better", "weight", "expected"),
    [
        (0.2, 0.8, 0.5, 0.5),  # log-odds of -1.386 and 1.386
        (0.2, 0.8, 1.0, 0.8),
        (0.5, 0.8, 0.5, 2 / 3),  # odds of 1 and 4: the root of their product is 2
        (0.5, 0.9, 0.75, 0.8386),
        (0.0, 0.5, 0.5, 3.162e-5),  # a certain look does not have the last word
    ],
)
def test_two_looks_are_pooled(base: float, better: float, weight: float, expected: float) -> None:
    found = fused(line({0.0: base}), line({0.0: better, 2.0: better}), weight)
    assert found.probabilities[0] == pytest.approx(expected, rel=1e-3)
    assert found.probabilities[1] == pytest.approx(better)  # where the first did not look


def test_scores_of_another_model_are_an_error_and_not_silence() -> None:
    with pytest.raises(ValueError, match="no scores of 'hate'"):
        timeline(stage([0.1]), "hate", 0.0, 10.0)
