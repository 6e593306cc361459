"""Builds verdicts: from what the cascade decided, or from the error that stood in its way. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from worker.cascade.decide import Outcome
from worker.cascade.types import ContentScores
from worker.errors import SluiceError
from worker.masking import mask
from worker.messages import (
    Coordinates,
    Coverage,
    Decider,
    Embedding,
    Label,
    LabelSegment,
    MediaFacts,
    ModelVersion,
    UploadEvent,
    Verdict,
    Versions,
    verdict_id,
)

MAX_DETAIL_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Subject:
    """What a verdict is about."""

    event: UploadEvent
    source: Coordinates | None
    versions: Versions


def decided(
    subject: Subject,
    sha256: str,
    scores: ContentScores,
    outcome: Outcome,
    *,
    decided_by: Decider,
    degraded_reason: str,
    timings_ms: dict[str, float],
    now: datetime,
    embedded_by: ModelVersion | None = None,
) -> Verdict:
    """The verdict on a content that was looked at. ``degraded_reason`` is empty when nothing was skipped.

    ``embedded_by``: whose embedding the scores hold, if the verdict shall carry it.
    """
    event = subject.event
    degraded = bool(degraded_reason)
    return Verdict(
        verdict_id=verdict_id(
            event.upload_id, sha256, subject.versions, degraded=degraded, reason=degraded_reason
        ),
        upload_id=event.upload_id,
        tenant=event.tenant,
        decision=outcome.decision,
        decided_by=decided_by,
        reason=degraded_reason,
        degraded=degraded,
        labels=tuple(
            Label(
                name=label.name,
                parent=label.parent,
                probability=_rounded(label.probability),
                threshold=_rounded(label.threshold),
                action=label.action,
            )
            for label in outcome.labels
        ),
        segments=tuple(
            LabelSegment(
                label=segment.label,
                start_s=round(segment.start_s, 3),
                end_s=round(segment.end_s, 3),
                probability=_rounded(segment.probability),
            )
            for segment in outcome.segments
        ),
        sha256=sha256,
        media=_media(scores),
        coverage=_coverage(scores),
        embedding=_embedding(scores, embedded_by),
        versions=subject.versions,
        source=subject.source,
        timings_ms=timings_ms,
        decided_at=now,
        created_at=event.created_at,
        traceparent=event.traceparent,
    )


def failed(
    subject: Subject, error: SluiceError, *, sha256: str | None, timings_ms: dict[str, float], now: datetime
) -> Verdict:
    """The verdict on an upload that could not be judged: always `review`, never `allow`."""
    event = subject.event
    return Verdict(
        verdict_id=verdict_id(event.upload_id, sha256, subject.versions, degraded=False, reason=error.reason),
        upload_id=event.upload_id,
        tenant=event.tenant,
        decision="review",
        decided_by="error",
        reason=error.reason,
        detail=_shown(error),
        sha256=sha256,
        versions=subject.versions,
        source=subject.source,
        timings_ms=timings_ms,
        decided_at=now,
        created_at=event.created_at,
        traceparent=event.traceparent,
    )


def seconds_seen(starts_s: tuple[float, ...], clip_s: float, duration_s: float) -> float:
    """Length of the union of the clips [start, start + clip_s), cut at the end of the video."""
    seen_s = 0.0
    reached_s = 0.0
    for start_s in starts_s:
        end_s = min(start_s + clip_s, duration_s)
        seen_s += max(0.0, end_s - max(start_s, reached_s))
        reached_s = max(reached_s, end_s)
    return seen_s


def _shown(error: SluiceError) -> str:
    """Short, encodable, and without the secrets that foreign messages may quote."""
    return mask(str(error)).encode("utf-8", "replace").decode()[:MAX_DETAIL_CHARACTERS]


def _rounded(probability: float) -> float:
    """Six digits: enough to compare, few enough to read."""
    return round(float(probability), 6)


def _media(scores: ContentScores) -> MediaFacts:
    info = scores.info
    return MediaFacts(
        container=info.container,
        codec=info.video_codec,
        width=info.width,
        height=info.height,
        fps=round(info.fps, 3),
        duration_s=round(info.duration_s, 3),
        has_audio=info.has_audio,
    )


def _embedding(scores: ContentScores, model: ModelVersion | None) -> Embedding | None:
    if model is None or scores.embedding is None:
        return None
    vector = tuple(_rounded(value) for value in scores.embedding)
    return Embedding(model=f"{model.name}@{model.version}", model_sha256=model.sha256, vector=vector)


def _coverage(scores: ContentScores) -> Coverage:
    duration_s = scores.info.duration_s
    seen_s = seconds_seen(scores.filter.starts_s, scores.filter.clip_s, duration_s)
    return Coverage(
        seconds_seen=round(seen_s, 3),
        share=round(min(1.0, seen_s / duration_s), 4) if duration_s > 0 else 1.0,
        clips=len(scores.filter.starts_s),
        clips_escalated=scores.escalated_clips,
    )
