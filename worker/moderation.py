"""The route of one upload, from event to verdict, as straight-line code.

    policy -> fetch -> cache? -> decode -> filter and additional models -> uncertain?
           -> decode with sound -> escalation -> cache -> decide -> verdict

Runs on the stream loop's threads; what is bounded (decoders, models, cache) is shared between them.
An upload that cannot be judged gets `review`; nothing that was not looked at is ever allowed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import structlog

from models.spec import ModelSpec
from worker.cache import ScoreCache, cache_key
from worker.cascade.aggregate import video_embedding
from worker.cascade.decide import Uncertain, decide, uncertain
from worker.cascade.policy import Policies, Policy
from worker.cascade.types import Clip, ContentScores, Look, StageScores
from worker.clock import Clock, Deadline
from worker.errors import (
    DeadlineExceeded,
    MediaError,
    ModelRunFailed,
    SettingsError,
    SluiceError,
    Undecodable,
)
from worker.events import Upload
from worker.inference.engine import Engine
from worker.inference.lanes import PATIENCE_S
from worker.inference.types import Answer, Inputs
from worker.media.pool import DecodePool
from worker.media.sampling import At, plan_from_settings
from worker.media.source import MediaSource
from worker.media.types import PREPROCESSING_VERSION, Decoded, DecodeRequest, Media
from worker.messages import Coordinates, Decider, ModelVersion, Verdict, Versions
from worker.settings import Settings
from worker.telemetry.metrics import Metrics
from worker.telemetry.traces import NO_TRACES, Traces
from worker.telemetry.verdicts import count_scores, count_verdict
from worker.verdicts import Subject, decided, failed

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is being served."""

    engine: Engine
    version: ModelVersion

    @property
    def spec(self) -> ModelSpec:
        return self.engine.spec


@dataclass(slots=True)
class _Progress:
    """What is known of an upload so far; the verdict is built from it, also when something fails."""

    subject: Subject
    clock: Clock
    traces: Traces
    started_s: float
    sha256: str | None = None
    degraded_reason: str = ""
    timings_ms: dict[str, float] = field(default_factory=dict)

    @property
    def patience_s(self) -> float:
        """How far other uploads may overtake this one at a model."""
        return PATIENCE_S[self.subject.event.priority]

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started_s = self.clock.monotonic_s()
        try:
            with self.traces.stage(stage):
                yield
        finally:
            self._add(stage, self.clock.monotonic_s() - started_s)

    def timings(self) -> dict[str, float]:
        self.timings_ms["total"] = 0.0
        self._add("total", self.clock.monotonic_s() - self.started_s)
        return self.timings_ms

    def _add(self, stage: str, seconds: float) -> None:
        self.timings_ms[stage] = round(self.timings_ms.get(stage, 0.0) + seconds * 1000.0, 3)


class Moderator:
    """Judges uploads. Thread-safe; owns nothing that has to be closed."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        source: MediaSource,
        pool: DecodePool,
        cache: ScoreCache,
        first: Sequence[Model],
        escalation: Model | None,
        policies: Policies,
        versions: Versions,
        metrics: Metrics,
        traces: Traces = NO_TRACES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``first``: the models that look at every upload, the filter first, as ``policies`` knows them.

        Raises SettingsError when embeddings are wanted of a filter that has none.
        """
        self._embedded_by = _embedded_by(first[0]) if settings.inference.embeddings else None
        self._settings = settings
        self._clock = clock
        self._source = source
        self._pool = pool
        self._cache = cache
        self._first = tuple(first)
        self._escalation = escalation
        self._policies = policies
        self._metrics = metrics
        self._traces = traces
        self._sleep = sleep
        self.versions = versions

    def moderate(self, upload: Upload, deadline: Deadline, source: Coordinates | None = None) -> Verdict:
        """The verdict on one upload.

        Raises only what is the service's own fault and must stop it (`systemic` and not `retriable`).
        """
        progress = self._begun(upload, source)
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
        return self._failed(error, self._begun(upload, source))

    def _begun(self, upload: Upload, source: Coordinates | None) -> _Progress:
        subject = Subject(upload.event, source, self.versions)
        return _Progress(subject, self._clock, self._traces, self._clock.monotonic_s())

    # Stages

    def _judge(self, upload: Upload, deadline: Deadline, progress: _Progress) -> Verdict:
        event = upload.event
        policy = self._policies.get(event.policy or self._settings.policy.default)
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
        key = self._key(media.sha256)
        with progress.timed("wait"):
            lease = self._cache.lease(key, deadline)
        if lease is None and (scores := self._look_up(media.sha256, policy, progress)) is not None:
            return self._decided(scores, policy, "cache", progress)
        with lease or nullcontext():
            scores, decider = self._score(media, policy, deadline, progress)
            if not progress.degraded_reason:
                self._cache.put(key, scores)
        return self._decided(scores, policy, decider, progress)

    def _score(
        self, media: Media, policy: Policy, deadline: Deadline, progress: _Progress
    ) -> tuple[ContentScores, Decider]:
        scores = self._first_scores(media, deadline, progress)
        todo = uncertain(policy, scores)
        if not todo.clips:
            return scores, "filter"
        self._metrics.escalated(len(todo.clips))
        try:
            scores = self._escalated(media, scores, todo, deadline, progress)
            if uncertain(policy, scores).clips:
                raise Undecodable("clips that the escalation was due for could not be decoded again")
            return scores, "escalation"
        except (DeadlineExceeded, MediaError, ModelRunFailed) as error:
            # What is known stands; what is still uncertain becomes `review` in decide().
            log.warning("escalation_incomplete", reason=error.reason, error=str(error))
            progress.degraded_reason = error.reason
            return scores, "escalation" if scores.escalated_clips else "filter"

    def _first_scores(self, media: Media, deadline: Deadline, progress: _Progress) -> ContentScores:
        """What the filter and the additional models say; those that take the same input share its decode."""
        plan = plan_from_settings(self._settings.sampling, media.sha256)
        decodes: dict[DecodeRequest, Decoded] = {}
        looks: list[Look] = []
        answers: list[Answer] = []
        for model in self._first:
            request = DecodeRequest(plan, model.spec.video, model.spec.audio)
            if request not in decodes:
                with progress.timed("decode"):
                    decodes[request] = self._decode(media, request, deadline)
            with progress.timed("additional" if looks else "filter"):
                answers.append(_answer(model, decodes[request], deadline, progress.patience_s))
            looks.append(Look(_stage(model, decodes[request], answers[-1])))
            count_scores(self._metrics, model.spec, answers[-1].probabilities)
        embeddings = answers[0].embeddings if self._embedded_by else None
        return ContentScores(
            info=next(iter(decodes.values())).info,
            looks=tuple(looks),
            embedding=None if embeddings is None else video_embedding(embeddings),
        )

    def _escalated(
        self,
        media: Media,
        scores: ContentScores,
        todo: Uncertain,
        deadline: Deadline,
        progress: _Progress,
    ) -> ContentScores:
        """Bring the escalation's scores of the clips in ``todo``."""
        assert self._escalation is not None
        spec = self._escalation.spec
        expected_s = self._escalation.engine.expected_s(len(todo.clips), deadline, progress.patience_s)
        if expected_s > deadline.remaining_s:  # under load: better late for one than for all that wait
            raise DeadlineExceeded(
                f"{spec.name} is busy: {expected_s:.1f} s, and {deadline.remaining_s:.1f} s are left"
            )
        places_s = _aligned(scores, todo, spec)
        plan = At(tuple(places_s.values()))
        with progress.timed("escalation_decode"):
            decoded = self._decode(media, DecodeRequest(plan, spec.video, spec.audio), deadline)
        with progress.timed("escalation"):
            answer = _answer(self._escalation, decoded, deadline, progress.patience_s)
        return _with_escalation(scores, _stage(self._escalation, decoded, answer), places_s)

    def _decode(self, media: Media, request: DecodeRequest, deadline: Deadline) -> Decoded:
        try:
            with self._metrics.decoding():
                return self._pool.decode(media, request, deadline)
        except MediaError as error:
            self._metrics.decode_failed(error.reason)
            raise

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

    def _key(self, sha256: str) -> str:
        plan = plan_from_settings(self._settings.sampling, sha256)
        models = [model.model_dump() for model in self.versions.models]
        return cache_key(sha256, models, plan.describe(), PREPROCESSING_VERSION)

    def _look_up(self, sha256: str, policy: Policy, progress: _Progress) -> ContentScores | None:
        """Cached scores that settle the upload under this policy; else it is a miss."""
        with progress.timed("cache"):
            scores = self._cache.get(self._key(sha256))
        if scores is None or (self._embedded_by and scores.embedding is None):
            return None
        return None if uncertain(policy, scores).clips else scores

    # Verdicts

    def _decided(
        self, scores: ContentScores, policy: Policy, decided_by: Decider, progress: _Progress
    ) -> Verdict:
        assert progress.sha256 is not None
        plan = plan_from_settings(self._settings.sampling, progress.sha256)
        versions = self.versions.model_copy(
            update={
                "policy": f"{policy.name}@{self._policies.version}",
                "sampling": f"{plan.describe()}, escalated<={policy.max_escalated_clips}",
            }
        )
        verdict = decided(
            replace(progress.subject, versions=versions),
            progress.sha256,
            scores,
            decide(policy, scores),
            decided_by=decided_by,
            degraded_reason=progress.degraded_reason,
            timings_ms=progress.timings(),
            now=self._clock.now(),
            embedded_by=self._embedded_by,
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


def _embedded_by(model: Model) -> ModelVersion:
    if model.spec.embedding is None:
        raise SettingsError(
            f"model {model.spec.name}@{model.spec.version} has no embedding; set `inference.embeddings` to "
            "false, or `inference.filter` to a model that was exported with one"
        )
    return model.version


def _answer(model: Model, decoded: Decoded, deadline: Deadline, patience_s: float) -> Answer:
    return model.engine.predict(Inputs(decoded.clips, decoded.log_mel), deadline, patience_s)


def _stage(model: Model, decoded: Decoded, answer: Answer) -> StageScores:
    spec = model.spec
    return StageScores(spec.label_names, decoded.starts_s, spec.video.clip_s, answer.probabilities)


def _aligned(scores: ContentScores, todo: Uncertain, spec: ModelSpec) -> dict[Clip, float]:
    """Where the escalation's clip starts that has the same centre as a clip that goes up.

    Near the ends of a video a longer clip is moved inside, as the sampling plan does it.
    """
    clip_s = spec.video.clip_s
    places_s = {}
    for clip in todo.clips:
        looked = scores.looks[clip.look].first
        start_s = looked.starts_s[clip.row] + (looked.clip_s - clip_s) / 2.0
        places_s[clip] = At((start_s,)).starts_s(scores.info.duration_s, clip_s)[0]
    return places_s


def _with_escalation(
    scores: ContentScores, scored: StageScores, places_s: dict[Clip, float]
) -> ContentScores:
    """``scored`` given to the looks whose clips went up, under the starts that these have there."""
    rows = {
        clip: scored.starts_s.index(place_s)
        for clip, place_s in places_s.items()
        if place_s in scored.starts_s  # a clip that could not be decoded is not there
    }
    looks = list(scores.looks)
    for place in {clip.look for clip in rows}:
        first = looks[place].first
        own = [clip for clip in rows if clip.look == place]
        starts_s = tuple(first.starts_s[clip.row] for clip in own)
        stage = replace(scored, starts_s=starts_s, probabilities=scored.probabilities[[rows[c] for c in own]])
        looks[place] = replace(looks[place], escalation=stage)
    return replace(scores, looks=tuple(looks))
