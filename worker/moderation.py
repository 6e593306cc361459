"""The route of one upload, from event to verdict, as straight-line code.

    policy -> fetch -> cache? -> decode -> filter and additional models -> uncertain?
           -> decode with sound -> escalation -> cache -> decide -> verdict

Runs on the stream loop's threads; what is bounded (decoders, models, cache) is shared between them.
An upload that cannot be judged gets `review`; nothing that was not looked at is ever allowed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass

import structlog

from worker.cache import ScoreCache, cache_key
from worker.cascade.decide import uncertain
from worker.cascade.policy import Policy
from worker.cascade.types import ContentScores
from worker.clock import Clock, Deadline
from worker.errors import SluiceError
from worker.events import Upload
from worker.inference.lanes import PATIENCE_S
from worker.media.sampling import plan_from_settings
from worker.media.source import MediaSource
from worker.media.types import PREPROCESSING_VERSION, Media
from worker.messages import Coordinates, Decider, Verdict
from worker.scoring import Progress, Scorer
from worker.serving import ModelSet, ServedModels
from worker.settings import Settings
from worker.shadow import Shadow
from worker.telemetry.metrics import Metrics
from worker.telemetry.traces import NO_TRACES, Traces
from worker.telemetry.verdicts import count_verdict
from worker.verdicts import Subject, failed

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class _Progress(Progress):
    """What is known of an upload so far; the verdict is built from it, also when something fails."""

    subject: Subject
    models: ModelSet
    sha256: str | None = None


class Moderator:
    """Judges uploads. Thread-safe; owns nothing that has to be closed."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        source: MediaSource,
        scorer: Scorer,
        cache: ScoreCache,
        served: ServedModels,
        metrics: Metrics,
        traces: Traces = NO_TRACES,
        shadow: Shadow | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``shadow``: is shown what the models have judged, and has no part in the verdict."""
        self._settings = settings
        self._clock = clock
        self._source = source
        self._scorer = scorer
        self._cache = cache
        self._served = served
        self._metrics = metrics
        self._traces = traces
        self._shadow = shadow
        self._sleep = sleep

    def moderate(self, upload: Upload, deadline: Deadline, source: Coordinates | None = None) -> Verdict:
        """The verdict on one upload.

        Raises only what is the service's own fault and must stop it (`systemic` and not `retriable`).
        """
        with self._served.use() as models:
            progress = self._begun(upload, source, models)
            try:
                return self._judge(upload, deadline, progress)
            except SluiceError as error:
                if error.systemic and not error.retriable:
                    raise
                return self._failed(error, progress)
            except Exception as error:  # a bug that one upload can reach must not stop the others
                log.exception("moderation_failed")
                return self._failed(SluiceError(f"internal error: {type(error).__name__}"), progress)

    def refuse(self, upload: Upload, error: SluiceError, source: Coordinates | None = None) -> Verdict:
        """The verdict on an upload that shall not be looked at."""
        return self._failed(error, self._begun(upload, source, self._served.current))

    def _begun(self, upload: Upload, source: Coordinates | None, models: ModelSet) -> _Progress:
        return _Progress(
            clock=self._clock,
            traces=self._traces,
            started_s=self._clock.monotonic_s(),
            patience_s=PATIENCE_S[upload.event.priority],
            subject=Subject(upload.event, source, models.versions),
            models=models,
        )

    # Stages

    def _judge(self, upload: Upload, deadline: Deadline, progress: _Progress) -> Verdict:
        event = upload.event
        policy = progress.models.policies.get(event.policy or self._settings.policy.default)
        trusted = event.sha256 if self._settings.fetch.trust_producer_digest else None
        if trusted and (scores := self._look_up(trusted, policy, progress)) is not None:
            progress.sha256 = trusted
            return self._decided(scores, policy, "cache", progress)
        with closing(self._fetch(upload, deadline, progress)) as media:
            progress.sha256 = media.sha256
            return self._judge_content(media, policy, deadline, progress)

    def _judge_content(
        self, media: Media, policy: Policy, deadline: Deadline, progress: _Progress
    ) -> Verdict:
        if (scores := self._look_up(media.sha256, policy, progress)) is not None:
            return self._decided(scores, policy, "cache", progress)
        key = self._key(media.sha256, progress.models)
        with progress.timed("wait"):
            lease = self._cache.lease(key, deadline)
        if lease is None and (scores := self._look_up(media.sha256, policy, progress)) is not None:
            return self._decided(scores, policy, "cache", progress)
        with lease or nullcontext():
            scores, decider = self._scorer.score(progress.models, media, policy, deadline, progress)
            if not progress.degraded_reason:
                self._cache.put(key, scores)
        verdict = self._decided(scores, policy, decider, progress)
        if self._shadow is not None:
            self._shadow.offer(media, progress.subject.event, verdict)
        return verdict

    def _fetch(self, upload: Upload, deadline: Deadline, progress: _Progress) -> Media:
        """Tries again, with back-off and jitter, what may work a moment later."""
        event = upload.event
        pause_s = self._settings.worker.retry_backoff_s
        for tries_left in range(self._settings.worker.retries, -1, -1):
            try:
                with progress.timed("fetch"):
                    return self._source.fetch(event.uri, upload.inline, event.sha256, deadline)
            except SluiceError as error:
                if not error.retriable or tries_left == 0 or deadline.remaining_s < pause_s:
                    raise
                self._metrics.retried(error.reason)
                log.warning("fetch_retried", reason=error.reason, error=str(error))
            self._sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, hides nothing
            pause_s *= 2.0
        raise AssertionError("the last try returns or raises")

    # Cache

    def _key(self, sha256: str, models: ModelSet) -> str:
        plan = plan_from_settings(self._settings.sampling, sha256)
        versions = [version.model_dump() for version in models.versions.models]
        return cache_key(sha256, versions, plan.describe(), PREPROCESSING_VERSION)

    def _look_up(self, sha256: str, policy: Policy, progress: _Progress) -> ContentScores | None:
        """Cached scores that settle the upload under this policy; else it is a miss."""
        with progress.timed("cache"):
            scores = self._cache.get(self._key(sha256, progress.models))
        if scores is None or (progress.models.embedded_by and scores.embedding is None):
            return None
        return None if uncertain(policy, scores).clips else scores

    # Verdicts

    def _decided(
        self, scores: ContentScores, policy: Policy, decided_by: Decider, progress: _Progress
    ) -> Verdict:
        assert progress.sha256 is not None
        verdict = self._scorer.verdict(
            progress.models, progress.subject, progress.sha256, scores, policy, decided_by, progress
        )
        return self._told(verdict, progress)

    def _failed(self, error: SluiceError, progress: _Progress) -> Verdict:
        verdict = failed(
            progress.subject,
            error,
            sha256=progress.sha256,
            timings_ms=progress.timings(),
            now=self._clock.now(),
        )
        return self._told(verdict, progress)

    def _told(self, verdict: Verdict, progress: _Progress) -> Verdict:
        count_verdict(self._metrics, verdict, progress.subject.event.priority)
        log.info(
            "verdict",
            decision=verdict.decision,
            decided_by=verdict.decided_by,
            reason=verdict.reason,
            detail=verdict.detail,
            total_ms=verdict.timings_ms["total"],
        )
        return verdict
