"""What a set of models says of one content: a first look at all of it, a second one where that is unsure.

decode -> filter and additional models -> uncertain? -> decode with sound -> escalation
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import structlog

from models.spec import ModelSpec
from worker.cascade.aggregate import video_embedding
from worker.cascade.decide import Uncertain, decide, uncertain
from worker.cascade.policy import Policy
from worker.cascade.types import Clip, ContentScores, Look, StageScores
from worker.clock import Clock, Deadline
from worker.errors import DeadlineExceeded, MediaError, ModelRunFailed, PartlyUndecodable, Undecodable
from worker.inference.types import Answer, Inputs
from worker.media.pool import DecodePool
from worker.media.sampling import At, plan_from_settings
from worker.media.types import Decoded, DecodeRequest, Media
from worker.messages import Decider, Verdict
from worker.serving import Model, ModelSet
from worker.settings import SamplingSettings
from worker.telemetry.metrics import Metrics
from worker.telemetry.traces import Traces
from worker.telemetry.verdicts import count_scores
from worker.verdicts import Subject, decided

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far one upload has come: what its stages took, and what had to be left out."""

    clock: Clock
    traces: Traces
    started_s: float
    patience_s: float  # how far other uploads may overtake this one at a model
    degraded_reason: str = ""
    timings_ms: dict[str, float] = field(default_factory=dict)

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


class Scorer:
    """Thread-safe; owns nothing that has to be closed."""

    def __init__(self, sampling: SamplingSettings, pool: DecodePool, metrics: Metrics) -> None:
        self._sampling = sampling
        self._pool = pool
        self._metrics = metrics

    def score(
        self, models: ModelSet, media: Media, policy: Policy, deadline: Deadline, progress: Progress
    ) -> tuple[ContentScores, Decider]:
        """``policy``: one of ``models.policies``.

        Clips that could not be decoded, and escalation that was due and failed, degrade ``progress``.

        Raises MediaError, DeadlineExceeded, ModelRunFailed or SessionBroken where the first look failed.
        """
        scores = self._first_scores(models, media, deadline, progress)
        if scores.is_partial:
            self._metrics.decode_failed(PartlyUndecodable.reason)
            progress.degraded_reason = PartlyUndecodable.reason
        todo = uncertain(policy, scores)
        if not todo.clips:
            return scores, "filter"
        self._metrics.escalated(len(todo.clips))
        try:
            scores = self._escalated(models, media, scores, todo, deadline, progress)
            if uncertain(policy, scores).clips:
                raise Undecodable("clips that the escalation was due for could not be decoded again")
            return scores, "escalation"
        except (DeadlineExceeded, MediaError, ModelRunFailed) as error:
            # What is known stands; what is still uncertain becomes `review` in decide().
            log.warning("escalation_incomplete", reason=error.reason, error=str(error))
            progress.degraded_reason = error.reason
            return scores, "escalation" if scores.escalated_clips else "filter"

    def verdict(
        self,
        models: ModelSet,
        subject: Subject,
        sha256: str,
        scores: ContentScores,
        policy: Policy,
        decided_by: Decider,
        progress: Progress,
    ) -> Verdict:
        """What ``scores``, of ``models`` and by whatever way, come to under ``policy``."""
        plan = plan_from_settings(self._sampling, sha256)
        return decided(
            replace(subject, versions=models.versions_under(policy, plan.describe())),
            sha256,
            scores,
            decide(policy, scores),
            decided_by=decided_by,
            degraded_reason=progress.degraded_reason,
            timings_ms=progress.timings(),
            now=progress.clock.now(),
            embedded_by=models.embedded_by,
        )

    def _first_scores(
        self, models: ModelSet, media: Media, deadline: Deadline, progress: Progress
    ) -> ContentScores:
        """What the filter and the additional models say; those that take the same input share its decode."""
        plan = plan_from_settings(self._sampling, media.sha256)
        decodes: dict[DecodeRequest, Decoded] = {}
        looks: list[Look] = []
        answers: list[Answer] = []
        for model in models.first:
            request = DecodeRequest(plan, model.spec.video, model.spec.audio)
            if request not in decodes:
                with progress.timed("decode"):
                    decodes[request] = self._decode(media, request, deadline)
            with progress.timed("additional" if looks else "filter"):
                answers.append(_answer(model, decodes[request], deadline, progress.patience_s))
            looks.append(Look(_stage(model, decodes[request], answers[-1])))
            count_scores(self._metrics, model.spec, answers[-1].probabilities)
        embeddings = answers[0].embeddings if models.embedded_by else None
        return ContentScores(
            info=next(iter(decodes.values())).info,
            looks=tuple(looks),
            is_partial=any(decoded.missing for decoded in decodes.values()),
            embedding=None if embeddings is None else video_embedding(embeddings),
        )

    def _escalated(
        self,
        models: ModelSet,
        media: Media,
        scores: ContentScores,
        todo: Uncertain,
        deadline: Deadline,
        progress: Progress,
    ) -> ContentScores:
        """Bring the escalation's scores of the clips in ``todo``."""
        escalation = models.escalation
        assert escalation is not None
        spec = escalation.spec
        expected_s = escalation.engine.expected_s(len(todo.clips), deadline, progress.patience_s)
        if expected_s > deadline.remaining_s:  # under load: better late for one than for all that wait
            raise DeadlineExceeded(
                f"{spec.name} is busy: {expected_s:.1f} s, and {deadline.remaining_s:.1f} s are left"
            )
        places_s = _aligned(scores, todo, spec)
        plan = At(tuple(places_s.values()))
        with progress.timed("escalation_decode"):
            decoded = self._decode(media, DecodeRequest(plan, spec.video, spec.audio), deadline)
        with progress.timed("escalation"):
            answer = _answer(escalation, decoded, deadline, progress.patience_s)
        return _with_escalation(scores, _stage(escalation, decoded, answer), places_s)

    def _decode(self, media: Media, request: DecodeRequest, deadline: Deadline) -> Decoded:
        try:
            with self._metrics.decoding():
                return self._pool.decode(media, request, deadline)
        except MediaError as error:
            self._metrics.decode_failed(error.reason)
            raise


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
