"""What the tests of the cache share."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from worker.cache import RedisCache, cache_key
from worker.cascade.types import ContentScores, Look, StageScores
from worker.clock import Deadline, SystemClock
from worker.media.types import MediaInfo

CLOCK = SystemClock()
TIMEOUT_S = 0.2


def scores_of(*probabilities: float) -> ContentScores:
    column = np.array(probabilities, np.float32)[:, None]
    starts_s = tuple(float(i) for i in range(len(probabilities)))
    info = MediaInfo("mp4", "h264", 640, 360, 29.97, 12.5, has_audio=True)
    return ContentScores(info, (Look(StageScores(("violence",), starts_s, 1.0, column)),))


def same(left: ContentScores | None, right: ContentScores) -> bool:
    if left is None or left.info != right.info or len(left.looks) != len(right.looks):
        return False
    if not _same_vector(left.embedding, right.embedding):
        return False
    return all(
        _same_stage(one.first, other.first) and _same_stage(one.escalation, other.escalation)
        for one, other in zip(left.looks, right.looks, strict=True)
    )


def _same_vector(one: npt.NDArray[np.float32] | None, other: npt.NDArray[np.float32] | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.dtype == np.float32 and one.tobytes() == other.tobytes()


def _same_stage(one: StageScores | None, other: StageScores | None) -> bool:
    if one is None or other is None:
        return one is other
    return (
        (one.labels, one.starts_s, one.clip_s) == (other.labels, other.starts_s, other.clip_s)
        and one.probabilities.dtype == np.float32
        and one.probabilities.tobytes() == other.probabilities.tobytes()
    )


SCORES = scores_of(0.1, 1 / 3, 1.0)
WITH_ESCALATION = replace(SCORES, looks=(Look(SCORES.filter, scores_of(0.7).filter),))
OF_TWO_MODELS = replace(SCORES, looks=(*SCORES.looks, Look(scores_of(0.2, 0.3).filter)))


WITH_EMBEDDING = replace(SCORES, embedding=np.array([0.6, -0.8], np.float32))


def soon(seconds: float = 10.0) -> Deadline:
    return Deadline.after(CLOCK, seconds)


def new_key() -> str:
    """A key that no other test uses, on a server that all may share."""
    return cache_key(os.urandom(8).hex(), [{"name": "filter", "sha256": "0"}], "uniform", "1")


def redis_cache(
    url: str,
    events: Counter[str],
    *,
    lease_s: float = 5.0,
    ttl_s: float = 60.0,
    timeout_s: float = TIMEOUT_S,
) -> RedisCache:
    return RedisCache(
        url,
        CLOCK,
        lambda event: events.update([event]),
        ttl_s=ttl_s,
        timeout_s=timeout_s,
        lease_s=lease_s,
        poll_s=0.01,
        breaker_failures=3,
        breaker_reset_s=0.2,
    )
