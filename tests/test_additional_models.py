"""Models beside the filter: their labels, their decode, and what happens when one of them fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from models.spec import VideoInput
from tests.inference import tiny
from tests.routes import BLACK, CLOCK, WHITE, fails_on_pictures, judge, moderator, nothing
from worker.media.pool import DecodePool
from worker.media.types import Decoded, DecodeRequest
from worker.settings import DecodeSettings

LARGER = VideoInput(frames=1, frame_rate_hz=1, height=32, width=32)


class CountingPool(DecodePool):
    def __init__(self) -> None:
        super().__init__(DecodeSettings(processes=1), CLOCK)
        self.requests: list[DecodeRequest] = []

    def decode(self, media: Any, request: DecodeRequest, deadline: Any) -> Decoded:
        self.requests.append(request)
        return super().decode(media, request, deadline)


@pytest.fixture(scope="module")
def started() -> Iterator[CountingPool]:
    with CountingPool() as pool:
        yield pool


@pytest.fixture
def pool(started: CountingPool) -> CountingPool:
    started.requests.clear()
    return started


def another(video: VideoInput = tiny.VIDEO, before: Any = nothing) -> tiny.Scripted:
    """Says `white` and `black` as the filter says `bright` and `dark`."""
    spec = tiny.spec("additional", labels=("white", "black"), video=video)
    return tiny.Scripted(spec, before)


def test_labels_of_all_models_are_in_the_verdict(pool: CountingPool) -> None:
    with moderator(pool, additional=[another(LARGER)]) as route:
        verdict = judge(route, WHITE)
    assert [(label.name, label.action) for label in verdict.labels] == [
        ("bright", "review"),
        ("white", "review"),  # 0.73: at or above its own 0.5
        ("black", "allow"),
    ]
    assert {segment.label for segment in verdict.segments} == {"bright", "white"}
    assert verdict.decided_by == "filter"
    assert {"filter", "additional"} <= verdict.timings_ms.keys()


@pytest.mark.parametrize(
    ("inputs", "decodes"),
    [
        ([tiny.VIDEO], 1),  # the filter's own input: shared
        ([LARGER], 2),
        ([LARGER, LARGER], 2),
    ],
)
def test_equal_inputs_share_a_decode(pool: CountingPool, inputs: list[VideoInput], decodes: int) -> None:
    models = [another(video) for video in inputs]
    with moderator(pool, additional=models) as route:
        judge(route, WHITE)
    assert len(pool.requests) == decodes
    assert len(set(pool.requests)) == decodes


def test_scores_of_all_models_are_cached_together(pool: CountingPool) -> None:
    with moderator(pool, additional=[another(LARGER)]) as route:
        first, again = judge(route, WHITE), judge(route, WHITE, upload_id="u-2")
    assert (first.decided_by, again.decided_by) == ("filter", "cache")
    assert again.labels == first.labels
    assert len(pool.requests) == 2


def test_an_upload_that_one_of_the_models_cannot_judge_is_reviewed(pool: CountingPool) -> None:
    with moderator(pool, additional=[another(before=fails_on_pictures)]) as route:
        assert judge(route, BLACK).decided_by == "filter"
        verdict = judge(route, WHITE)
    assert (verdict.decision, verdict.decided_by, verdict.reason) == ("review", "error", "model_run_failed")
