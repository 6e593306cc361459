"""What the tests of the cache share."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import numpy as np

from worker.cache import RedisCache, cache_key
from worker.cascade.types import ContentScores, StageScores
from worker.clock import Deadline, SystemClock
from worker.media.types import MediaInfo

CLOCK = SystemClock()
TIMEOUT_S = 0.2


def scores_of(*probabilities: float) -> ContentScores:
    column = np.array(probabilities, np.float32)[:, None]
    starts_s = tuple(float(i) for i in range(len(probabilities)))
    info = MediaInfo("mp4", "h264", 640, 360, 29.97, 12.5, has_audio=True)
    return ContentScores(info, StageScores(("violence",), starts_s, 1.0, column), None)


def same(left: ContentScores | None, right: ContentScores) -> bool:
    if left is None or left.info != right.info or (left.escalation is None) != (right.escalation is None):
        return False
    pairs = [(left.filter, right.filter)]
    if left.escalation is not None and right.escalation is not None:
        pairs.append((left.escalation, right.escalation))
    return all(
        (a.labels, a.starts_s, a.clip_s) == (b.labels, b.starts_s, b.clip_s)
        and a.probabilities.dtype == np.float32
        and a.probabilities.tobytes() == b.probabilities.tobytes()
        for a, b in pairs
    )


SCORES = scores_of(0.1, 1 / 3, 1.0)
WITH_ESCALATION = replace(SCORES, escalation=scores_of(0.7).filter)


def soon(seconds: float = 10.0) -> Deadline:
    return Deadline.after(CLOCK, seconds)


def new_key() -> str:
    """A key that no other test uses, on a server that all may share."""
    return cache_key(os.urandom(8).hex(), [{"name": "filter", "sha256": "0"}], "uniform", "1")


def redis_cache(url: str, events: Counter[str], *, lease_s: float = 5.0, ttl_s: float = 60.0) -> RedisCache:
    return RedisCache(
        url,
        CLOCK,
        lambda event: events.update([event]),
        ttl_s=ttl_s,
        timeout_s=TIMEOUT_S,
        lease_s=lease_s,
        poll_s=0.01,
        breaker_failures=3,
        breaker_reset_s=0.2,
    )
