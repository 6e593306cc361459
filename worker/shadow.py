"""Models on trial beside those that serve: they judge a share of the uploads, and nobody acts on it.

For each upload that the serving models have judged afresh, a digest of its id says whether the shadow looks
too. One thread does that after the verdict, one upload at a time, and for no more than a share of the time:
what comes while it works, or while it has used its time up, is left out and counted. What both said goes to a
topic of its own, which `sluice shadow report` sums up.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass

import structlog

from worker.clock import Clock, Deadline
from worker.errors import SluiceError
from worker.inference.lanes import PATIENCE_S
from worker.loading import ModelLoader
from worker.media.pool import DecodePool
from worker.media.types import Media
from worker.messages import Judgement, ShadowComparison, UploadEvent, Verdict
from worker.scoring import Progress, Scorer
from worker.serving import ModelSet, ServedModels
from worker.settings import Settings
from worker.stream.types import Outgoing, Producer
from worker.telemetry.metrics import Metrics
from worker.telemetry.traces import NO_TRACES
from worker.verdicts import Subject, failed

CLOSE_TIMEOUT_S = 5.0
CREDIT_S = 10.0  # how much work time is saved up while nothing comes

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Job:
    media: Media
    event: UploadEvent
    verdict: Verdict


class Allowance:
    """A share of the time, as a token bucket: it fills by ``share`` seconds a second. Not thread-safe."""

    def __init__(self, share: float, clock: Clock, credit_s: float = CREDIT_S) -> None:
        self._share = share
        self._clock = clock
        self._most_s = credit_s
        self._credit_s = credit_s * share
        self._at_s = clock.monotonic_s()

    @property
    def is_left(self) -> bool:
        now_s = self._clock.monotonic_s()
        self._credit_s = min(self._most_s, self._credit_s + (now_s - self._at_s) * self._share)
        self._at_s = now_s
        return self._credit_s > 0

    def used(self, seconds: float) -> None:
        self._credit_s -= seconds


class Shadow:
    """``start`` it, ``close`` it. The models that it has no candidate for are the serving ones."""

    def __init__(
        self,
        settings: Settings,
        served: ServedModels,
        pool: DecodePool,
        producer: Producer,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """Raises what loading a model raises, and SettingsError or PolicyInvalid for one that cannot take
        its place beside the models that serve."""
        self._settings = settings
        self._served = served
        self._producer = producer
        self._clock = clock
        self._metrics = metrics
        # Its scores and batches are not the service's: they are counted where nobody reads them.
        unread = Metrics()
        inference = settings.inference.model_copy(
            update={"threads": settings.shadow.threads, "sessions": 1, "embeddings": False}
        )
        self._loader = ModelLoader(settings.model_copy(update={"inference": inference}), clock, unread)
        self._scorer = Scorer(settings.sampling, pool, unread)
        self._own = {
            role: self._loader.open(self._loader.find(role, reference))
            for role, reference in settings.shadow.models.items()
        }
        self._allowance = Allowance(settings.shadow.max_busy, clock)
        self._changed = threading.Condition()
        self._job: _Job | None = None  # that waits or is worked on; guarded by the condition, as is the rest
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        try:
            self._beside(served.current)
        except SluiceError:
            self._close_models()
            raise

    def start(self) -> None:
        self._thread.start()

    def offer(self, media: Media, event: UploadEvent, verdict: Verdict) -> None:
        """Show it what was judged. Never blocks; ``media`` stays the caller's."""
        if not chosen(event.upload_id, self._settings.shadow.share):
            return
        with self._changed:
            if self._job is not None or not self._allowance.is_left:
                self._metrics.shadowed("left_out")
                return
            try:
                self._job = _Job(media.duplicate(), event, verdict)
            except OSError as error:  # no descriptors left: the verdict is there, and stands
                log.warning("shadow_failed", upload_id=event.upload_id, error=str(error))
                self._metrics.shadowed("failed")
            self._changed.notify_all()

    def close(self) -> None:
        """What it works on is given up."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_TIMEOUT_S)
        self._close_models()

    def _close_models(self) -> None:
        for model in self._own.values():
            model.close()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            started_s = self._clock.monotonic_s()
            try:
                with closing(job.media):
                    self._compare(job)
            except Exception:  # whatever a candidate does, the service goes on
                log.exception("shadow_failed", upload_id=job.event.upload_id)
                self._metrics.shadowed("failed")
            took_s = self._clock.monotonic_s() - started_s
            self._metrics.shadow_took(took_s)
            with self._changed:
                self._allowance.used(took_s)
                self._job = None

    def _next(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._job is not None or self._is_closing)
            if not self._is_closing:
                return self._job
            if self._job is not None:
                self._job.media.close()
            return None

    def _compare(self, job: _Job) -> None:
        with self._served.use() as serving:
            verdict = self._judged(job, self._beside(serving))
        comparison = ShadowComparison(
            upload_id=job.event.upload_id,
            sha256=job.media.sha256,
            agrees=verdict.decision == job.verdict.decision,
            served=_judgement(job.verdict),
            shadow=_judgement(verdict),
            compared_at=self._clock.now(),
        )
        if verdict.decided_by == "error":
            log.warning("shadow_failed", upload_id=comparison.upload_id, error=verdict.detail)
            self._metrics.shadowed("failed")
        else:
            self._metrics.shadowed("agreed" if comparison.agrees else "disagreed")
        record = Outgoing(
            self._settings.shadow.topic,
            comparison.upload_id.encode(),
            comparison.model_dump_json().encode(),
            (("content-type", b"application/json"),),
        )
        self._producer.send(record).add_done_callback(_log_unsent)

    def _beside(self, serving: ModelSet) -> ModelSet:
        first = (self._own.get("filter", serving.first[0]), *serving.first[1:])
        return self._loader.combined(first, self._own.get("escalation", serving.escalation))

    def _judged(self, job: _Job, models: ModelSet) -> Verdict:
        """What the upload's verdict would be if ``models`` served."""
        progress = Progress(
            clock=self._clock,
            traces=NO_TRACES,
            started_s=self._clock.monotonic_s(),
            patience_s=PATIENCE_S["batch"],  # where it shares a model, it waits for all others
        )
        subject = Subject(job.event, job.verdict.source, models.versions)
        sha256 = job.media.sha256
        deadline = Deadline.after(self._clock, self._settings.worker.upload_timeout_s)
        try:
            policy = models.policies.get(job.event.policy or self._settings.policy.default)
            scores, decider = self._scorer.score(models, job.media, policy, deadline, progress)
        except SluiceError as error:
            return failed(subject, error, sha256=sha256, timings_ms=progress.timings(), now=self._clock.now())
        return self._scorer.verdict(models, subject, sha256, scores, policy, decider, progress)


def chosen(upload_id: str, share: float) -> bool:
    """Whether an upload is among the ``share``: the same ones on every worker, however often they come."""
    digest = hashlib.sha256(upload_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _judgement(verdict: Verdict) -> Judgement:
    return Judgement(**{name: getattr(verdict, name) for name in Judgement.model_fields})


def _log_unsent(sent: Future[None]) -> None:
    if error := sent.exception():
        log.warning("shadow_not_published", error=str(error))
