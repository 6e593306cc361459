"""The route of an upload over a real decode pool and engines with scripted networks, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from models.spec import Embedding
from tests.inference import tiny
from tests.samples import MODEL, an_event
from tests.synthesis import Pixels, Video
from worker.cache import MemoryCache
from worker.cascade.policy import load_policies
from worker.cascade.policy_file import PolicyFile
from worker.clock import Deadline, SystemClock
from worker.events import Upload
from worker.inference.batcher import BatchPolicy
from worker.inference.engine import Engine
from worker.inference.types import Inputs
from worker.media.pool import DecodePool
from worker.media.source import MediaSource
from worker.messages import Verdict
from worker.moderation import Moderator
from worker.scoring import Scorer
from worker.serving import Model, ModelSet, ServedModels
from worker.settings import Settings
from worker.shadow import Shadow
from worker.telemetry.metrics import Metrics

CLOCK = SystemClock()
POLICIES = b"""
version: 1
revision: "1"
policies:
  default: {labels: {bright: {review: 0.6, block: 0.99, band: [0.55, 0.7]}, dark: {ignore: true}}}
  strict: {labels: {bright: {review: 0.5, band: [0.0, 1.0]}, dark: {ignore: true}}}
  lax: {labels: {bright: {block: 0.99, band: [0.98, 0.99]}, dark: {ignore: true}}}
  settled: {labels: {bright: {review: 0.6, band: [0.6, 0.6]}, dark: {ignore: true}}}
"""

Before = Callable[[Inputs], None]


def grey(level: int) -> bytes:
    """A video of one grey. The tiny networks say `bright` with probability sigmoid(level / 255)."""

    def picture(index: int, width: int, height: int) -> Pixels:
        return np.full((height, width, 3), level, np.uint8)

    return Video(duration_s=1.0, picture=picture).make()


BLACK, MIDDLE, WHITE = grey(0), grey(128), grey(255)  # bright: 0.50, 0.62, 0.73


def nothing(inputs: Inputs) -> None:
    pass


def fails_on_pictures(inputs: Inputs) -> None:
    """For the engine's test with a blank clip the network works: it is the input's fault."""
    if inputs.clips.any():
        raise RuntimeError("scripted")


@contextmanager
def moderator(
    pool: DecodePool,
    *,
    before_filter: Before = nothing,
    before_escalation: Before = nothing,
    additional: Sequence[tiny.Scripted] = (),
    source: MediaSource | None = None,
    settings: Settings | None = None,
    embedding: Embedding | None = None,
    cache: MemoryCache | None = None,
) -> Iterator[Moderator]:
    metrics = Metrics()
    runners = [
        tiny.Scripted(tiny.spec("filter", embedding=embedding), before_filter),
        tiny.Scripted(tiny.spec("escalation"), before_escalation),
        *additional,
    ]
    models = [_served(runner) for runner in runners]
    first, second = (models[0], *models[2:]), models[1]
    policies = load_policies(PolicyFile.parse(POLICIES), [model.spec for model in first], second.spec)
    settings = settings or Settings()
    embedded_by = first[0].version if settings.inference.embeddings else None
    served = ServedModels(ModelSet(first, second, policies, embedded_by))
    try:
        yield route_of(settings, served, pool, metrics, source=source, cache=cache)
    finally:
        served.close()


def route_of(
    settings: Settings,
    served: ServedModels,
    pool: DecodePool,
    metrics: Metrics,
    *,
    source: MediaSource | None = None,
    cache: MemoryCache | None = None,
    shadow: Shadow | None = None,
) -> Moderator:
    return Moderator(
        settings,
        clock=CLOCK,
        source=source or MediaSource(settings.fetch, CLOCK),
        scorer=Scorer(settings.sampling, pool, metrics),
        cache=cache or MemoryCache(100, metrics.cache_event),
        served=served,
        metrics=metrics,
        shadow=shadow,
        sleep=lambda seconds: None,
    )


def _served(runner: tiny.Scripted) -> Model:
    engine = Engine(runner, BatchPolicy(8, 0.0), CLOCK, queue_clips=64, run_timeout_s=10.0)
    engine.start()
    return Model(engine, MODEL.model_copy(update={"name": runner.spec.name}))


def judge(judge_of: Moderator, media: bytes, timeout_s: float = 30.0, **event: Any) -> Verdict:
    upload = Upload(an_event(uri="inline:", **event), media)
    return judge_of.moderate(upload, Deadline.after(CLOCK, timeout_s))
