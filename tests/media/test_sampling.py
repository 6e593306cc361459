"""Plans are pure: tables first, then what must hold for any video."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from models.spec import VideoInput
from worker.media.sampling import (
    At,
    ByDuration,
    Dense,
    Plan,
    Random,
    Sliding,
    Uniform,
    clip_times_s,
    jitter_key,
    plan_from_settings,
)
from worker.settings import SamplingSettings

KEY = b"some key"
SHA256 = "ab" * 32

# plan, duration, clip -> starts
TABLE: list[tuple[Plan, float, float, list[float]]] = [
    (Uniform(3), 10.0, 2.0, [0.0, 4.0, 8.0]),
    (Uniform(8), 4.0, 2.0, [0.0, 2.0]),  # two cover it
    (Uniform(8), 5.0, 2.0, [0.0, 1.5, 3.0]),  # three do, overlapping
    (Uniform(1), 10.0, 2.0, [4.0]),  # alone: the middle
    (Uniform(4), 1.0, 2.0, [0.0]),  # shorter than a clip
    (Uniform(4), 2.0, 2.0, [0.0]),
    (Uniform(4), 0.0, 2.0, [0.0]),  # a picture
    (Sliding(4.0, 32), 10.0, 2.0, [0.0, 4.0, 8.0]),
    (Sliding(4.0, 32), 11.0, 2.0, [0.0, 3.0, 6.0, 9.0]),  # the hop gives way, the end is seen
    (Sliding(1.0, 3), 10.0, 2.0, [0.0, 4.0, 8.0]),  # the budget wins over the hop
    (Sliding(4.0, 32), 1.0, 2.0, [0.0]),
    (Dense(32), 6.0, 2.0, [0.0, 2.0, 4.0]),
    (Dense(2), 6.0, 2.0, [0.0, 4.0]),
    (At((3.0, 1.0)), 10.0, 2.0, [1.0, 3.0]),
    (At((-1.0, 9.0)), 10.0, 2.0, [0.0, 8.0]),  # moved to where a clip fits
    (At((1.0, 1.0)), 10.0, 2.0, [1.0]),
    (Random(4, KEY), 1.0, 2.0, [0.0]),
    (ByDuration(Uniform(2), Sliding(4.0, 32), 30.0), 30.0, 2.0, [0.0, 28.0]),
    (ByDuration(Uniform(2), Sliding(15.0, 32), 30.0), 32.0, 2.0, [0.0, 15.0, 30.0]),
]


@pytest.mark.parametrize(("plan", "duration_s", "clip_s", "starts_s"), TABLE)
def test_where_clips_start(plan: Plan, duration_s: float, clip_s: float, starts_s: list[float]) -> None:
    assert plan.starts_s(duration_s, clip_s) == pytest.approx(starts_s)


plans = st.one_of(
    st.builds(Uniform, st.integers(1, 64), st.sampled_from([b"", KEY])),
    st.builds(Sliding, st.floats(0.1, 30), st.integers(1, 64), st.sampled_from([b"", KEY])),
    st.builds(Dense, st.integers(1, 64), st.sampled_from([b"", KEY])),
    st.builds(Random, st.integers(1, 64), st.binary(min_size=1, max_size=8)),
    st.builds(At, st.lists(st.floats(-10, 1e5), min_size=1, max_size=9).map(tuple)),
    st.builds(
        ByDuration,
        st.builds(Uniform, st.integers(1, 64)),
        st.builds(Sliding, st.floats(0.1, 30), st.integers(1, 64)),
        st.floats(1, 60),
    ),
)
durations_s = st.floats(0, 20_000)
clips_s = st.floats(0.05, 30)


@given(plans, durations_s, clips_s)
def test_starts_ascend_inside_the_video(plan: Plan, duration_s: float, clip_s: float) -> None:
    starts = plan.starts_s(duration_s, clip_s)
    assert starts
    assert all(before < after for before, after in itertools.pairwise(starts))
    assert starts[0] >= 0
    assert starts[-1] <= max(0.0, duration_s - clip_s)
    assert starts == plan.starts_s(duration_s, clip_s)


@given(st.integers(1, 64), st.floats(0.1, 30), durations_s, clips_s, st.sampled_from([b"", KEY]))
def test_the_budget_is_never_exceeded(
    budget: int, hop_s: float, duration_s: float, clip_s: float, key: bytes
) -> None:
    for plan in (Uniform(budget, key), Sliding(hop_s, budget, key), Dense(budget, key), Random(budget, KEY)):
        assert len(plan.starts_s(duration_s, clip_s)) <= budget


@given(st.integers(2, 64), durations_s, clips_s)
def test_without_jitter_the_whole_video_is_covered_evenly(
    clips: int, duration_s: float, clip_s: float
) -> None:
    starts = Uniform(clips).starts_s(duration_s, clip_s)
    steps = np.diff(starts)
    assert starts[0] == 0
    assert starts[-1] == pytest.approx(max(0.0, duration_s - clip_s))
    assert np.allclose(steps, steps.mean() if steps.size else 0)


@given(st.integers(1, 64), durations_s, clips_s, st.binary(min_size=1, max_size=32))
def test_jitter_keeps_one_clip_in_each_share(
    clips: int, duration_s: float, clip_s: float, key: bytes
) -> None:
    starts = Uniform(clips, key).starts_s(duration_s, clip_s)
    if clips * clip_s >= duration_s:  # nothing can hide between the clips: they stay in place
        assert starts == Uniform(clips).starts_s(duration_s, clip_s)
        return
    share_s = (duration_s + clip_s) / clips  # from a clip before the video to its end
    for index, start in enumerate(starts):
        assert max(0.0, index * share_s - clip_s) <= start + 1e-6
        assert start <= min(duration_s, (index + 1) * share_s) - clip_s + 1e-6


@pytest.mark.parametrize("moment_s", [0.05, 0.5, 3.0, 31.0, 50.0, 97.0, 99.5, 99.95])
def test_jitter_sees_no_moment_less_often_than_others(moment_s: float) -> None:
    """Of 100 s, 8 clips of 2 s look at 16 in 102; at the ends at more, as they are moved inside."""
    looks = [Uniform(8, key.to_bytes(2)).starts_s(100.0, 2.0) for key in range(1, 3001)]
    seen = sum(any(start <= moment_s < start + 2.0 for start in starts) for starts in looks)
    assert seen / len(looks) > 0.85 * 16 / 102


@given(durations_s, st.floats(0.1, 10))
def test_dense_leaves_no_gap(duration_s: float, clip_s: float) -> None:
    starts = Dense(1_000_000).starts_s(min(duration_s, 2000), clip_s)
    assert all(step <= clip_s + 1e-6 for step in np.diff(starts))


def test_jitter_depends_on_the_secret_and_on_the_content() -> None:
    keys = {jitter_key(secret, sha) for secret in ("one", "two") for sha in ("ab" * 32, "cd" * 32)}
    assert len(keys) == 4
    assert jitter_key("one", SHA256) == jitter_key("one", SHA256)
    assert jitter_key("", SHA256) == b""


def test_jitter_is_pinned() -> None:
    """A change here changes what every replay looks at: bump the cache's key if it is wanted."""
    starts = plan_from_settings(
        SamplingSettings(strategy="uniform", uniform_clips=3, jitter_secret=SecretStr("s")), SHA256
    ).starts_s(100.0, 1.0)
    assert starts == pytest.approx((1.7537, 39.1306, 94.1591), abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "description"),
    [
        (SamplingSettings(), "auto(uniform(8),30s,sliding(4s,32))"),
        (SamplingSettings(strategy="uniform"), "uniform(8)"),
        (SamplingSettings(strategy="sliding"), "sliding(4s,32)"),
        (SamplingSettings(strategy="dense"), "dense(32)"),
        (SamplingSettings(strategy="random"), "random(8)#"),
    ],
)
def test_a_plan_describes_itself_for_cache_keys(settings: SamplingSettings, description: str) -> None:
    assert plan_from_settings(settings, SHA256).describe().startswith(description)


def test_descriptions_tell_secrets_apart_and_do_not_hold_them() -> None:
    def described(secret: str) -> str:
        return plan_from_settings(SamplingSettings(jitter_secret=SecretStr(secret)), SHA256).describe()

    assert len({described(""), described("planted-1"), described("planted-2")}) == 3
    assert "planted" not in described("planted-1")
    plan = plan_from_settings(SamplingSettings(jitter_secret=SecretStr("planted-1")), SHA256)
    assert jitter_key("planted-1", SHA256).hex()[:8] not in repr(plan) + plan.describe()


def test_times_of_frames() -> None:
    video = VideoInput(frames=4, frame_rate_hz=8, height=16, width=16)
    times = clip_times_s((0.0, 2.0), video)
    assert times.tolist() == [[0.0, 0.125, 0.25, 0.375], [2.0, 2.125, 2.25, 2.375]]
