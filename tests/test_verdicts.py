"""How verdicts are built and shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tests.samples import INFO, VERSIONS, an_event
from worker.cascade.decide import Outcome
from worker.cascade.types import ContentScores, LabelVerdict, Look, Segment, StageScores
from worker.commands.show import labels_text, latency_text, segments_text
from worker.errors import Undecodable
from worker.messages import LabelSegment, Verdict
from worker.verdicts import Subject, decided, failed, seconds_seen

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUBJECT = Subject(an_event(created_at=NOW - timedelta(seconds=1.5)), None, VERSIONS)
SCORES = ContentScores(
    info=INFO,
    looks=(Look(StageScores(("violence",), (0.0, 4.0), 2.0, np.array([[0.1], [0.9]], np.float32))),),
)
OUTCOME = Outcome(
    decision="review",
    labels=(LabelVerdict("violence", "", 0.9, 0.5, "review"),),
    segments=(Segment("violence", 4.0, 6.0, 0.9),),
    unsettled=(),
)


def a_verdict(degraded_reason: str = "") -> Verdict:
    return decided(
        SUBJECT,
        "a" * 64,
        SCORES,
        OUTCOME,
        decided_by="filter",
        degraded_reason=degraded_reason,
        timings_ms={"total": 12.0},
        now=NOW,
    )


@pytest.mark.parametrize(
    ("starts_s", "clip_s", "duration_s", "seen_s"),
    [
        ((0.0,), 2.0, 10.0, 2.0),
        ((0.0, 1.0), 2.0, 10.0, 3.0),  # overlapping
        ((0.0, 5.0), 2.0, 10.0, 4.0),  # apart
        ((0.0,), 2.0, 1.5, 1.5),  # longer than the video
        ((9.0,), 2.0, 10.0, 1.0),  # over its end
        ((), 2.0, 10.0, 0.0),
    ],
)
def test_seconds_seen(starts_s: tuple[float, ...], clip_s: float, duration_s: float, seen_s: float) -> None:
    assert seconds_seen(starts_s, clip_s, duration_s) == pytest.approx(seen_s)


def test_coverage_is_the_share_of_the_video_that_was_seen() -> None:
    coverage = a_verdict().coverage
    assert coverage is not None
    assert (coverage.seconds_seen, coverage.share, coverage.clips) == (4.0, 0.4, 2)


def test_degradation_is_said_and_changes_the_id() -> None:
    verdict = a_verdict("deadline_exceeded")
    assert (verdict.degraded, verdict.reason) == (True, "deadline_exceeded")
    assert verdict.verdict_id != a_verdict().verdict_id


def test_a_failure_is_reviewed_and_says_why() -> None:
    verdict = failed(SUBJECT, Undecodable("no frame"), sha256=None, timings_ms={}, now=NOW)
    assert (verdict.decision, verdict.decided_by) == ("review", "error")
    assert (verdict.reason, verdict.detail) == ("undecodable", "no frame")


def test_what_people_see() -> None:
    verdict = a_verdict()
    assert labels_text(verdict) == "violence 0.90"
    assert segments_text(verdict.segments) == "0:04-0:06"
    assert latency_text(verdict) == "1.50 s"
    two = (*verdict.segments, LabelSegment(label="nudity", start_s=60.0, end_s=75.5, probability=0.7))
    assert segments_text(two) == "violence 0:04-0:06, nudity 1:00-1:16"
