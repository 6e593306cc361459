"""The route of one upload, over a real decode pool, real media and engines with scripted networks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference import tiny
from tests.routes import BLACK, CLOCK, MIDDLE, WHITE, fails_on_pictures, judge, moderator
from tests.samples import MODEL, an_event
from tests.synthesis import Video, with_noisy_tail
from worker.attempts import Attempts, FileCounts, NoCounts
from worker.cache import MemoryCache
from worker.clock import Deadline
from worker.errors import SessionBroken, SourceUnavailable, UnreadableEvent
from worker.events import EVENT_HEADER, Upload
from worker.handler import UploadHandler
from worker.inference.engine import Engine
from worker.inference.types import Inputs
from worker.media.pool import DecodePool
from worker.media.source import MediaSource
from worker.messages import Verdict
from worker.settings import DecodeSettings, FetchSettings, InferenceSettings, Settings, WorkerSettings
from worker.stream.types import Place, Record
from worker.telemetry.metrics import Metrics


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(DecodeSettings(processes=1), CLOCK) as pool:
        yield pool


class Unavailable(MediaSource):
    """Out of reach for the first tries."""

    def __init__(self, failures: int) -> None:
        super().__init__(FetchSettings(), CLOCK)
        self.failures = failures

    def fetch(self, *arguments: Any) -> Any:
        if self.failures > 0:
            self.failures -= 1
            raise SourceUnavailable("scripted")
        return super().fetch(*arguments)


@pytest.mark.parametrize(
    ("media", "policy", "decision", "decided_by"),
    [
        (BLACK, None, "allow", "filter"),  # 0.50 is below the band
        (MIDDLE, None, "review", "escalation"),  # 0.62 is inside, and the escalation agrees
        (WHITE, None, "review", "filter"),  # 0.73 is above
        (BLACK, "strict", "review", "escalation"),
        (MIDDLE, "settled", "review", "filter"),  # an empty band never escalates
    ],
)
def test_the_policy_says_who_decides(
    pool: DecodePool, media: bytes, policy: str | None, decision: str, decided_by: str
) -> None:
    with moderator(pool) as route:
        verdict = judge(route, media, policy=policy)
    assert (verdict.decision, verdict.decided_by) == (decision, decided_by)
    assert verdict.sha256 == hashlib.sha256(media).hexdigest()
    assert not verdict.degraded
    assert verdict.coverage is not None
    assert verdict.coverage.share == 1.0
    assert verdict.media is not None
    assert verdict.media.codec == "h264"


def test_scores_are_cached_and_judged_by_the_uploads_own_policy(pool: DecodePool) -> None:
    with moderator(pool) as route:
        first = judge(route, WHITE)
        again = judge(route, WHITE, upload_id="u-2")
        stricter = judge(route, WHITE, upload_id="u-3", policy="strict")
        stricter_again = judge(route, WHITE, upload_id="u-4", policy="strict")
        settled = judge(route, WHITE, upload_id="u-5")
    deciders = [verdict.decided_by for verdict in (first, again, stricter, stricter_again, settled)]
    # `strict` wants an escalation that was not cached yet: a miss, which then serves everybody.
    assert deciders == ["filter", "cache", "escalation", "cache", "cache"]
    assert again.labels == first.labels
    assert again.verdict_id != first.verdict_id  # another upload


def test_another_policy_is_another_verdict(pool: DecodePool) -> None:
    with moderator(pool) as route:
        verdicts = [judge(route, BLACK, policy=policy) for policy in (None, "strict", None)]
    assert [verdict.decision for verdict in verdicts] == ["allow", "review", "allow"]
    assert verdicts[0].verdict_id == verdicts[2].verdict_id != verdicts[1].verdict_id
    assert verdicts[1].versions.policy.startswith("strict@1+")


def test_a_trusted_digest_saves_the_fetch(pool: DecodePool) -> None:
    digest = hashlib.sha256(WHITE).hexdigest()
    settings = Settings(fetch=FetchSettings(trust_producer_digest=True))
    with moderator(pool, settings=settings) as route:
        judge(route, WHITE)
        gone = route.moderate(
            Upload(an_event(uri="file:///nowhere.mp4", sha256=digest)), Deadline.after(CLOCK, 30.0)
        )
    assert (gone.decided_by, gone.sha256) == ("cache", digest)
    assert "fetch" not in gone.timings_ms


@pytest.mark.parametrize(
    ("media", "event", "reason"),
    [
        (b"not media", {}, "undecodable"),
        (BLACK, {"policy": "unheard-of"}, "unknown_policy"),
        (BLACK, {"sha256": "0" * 64}, "digest_mismatch"),
    ],
)
def test_what_cannot_be_judged_is_reviewed(
    pool: DecodePool, media: bytes, event: dict[str, Any], reason: str
) -> None:
    with moderator(pool) as route:
        verdict = judge(route, media, **event)
    assert (verdict.decision, verdict.decided_by, verdict.reason) == ("review", "error", reason)
    assert verdict.detail


def test_an_escalation_that_fails_widens_to_review_and_is_not_cached(pool: DecodePool) -> None:
    with moderator(pool, before_escalation=fails_on_pictures) as route:
        verdict = judge(route, MIDDLE, policy="strict")
        again = judge(route, MIDDLE, policy="strict")
    assert (verdict.decision, verdict.decided_by, verdict.degraded) == ("review", "filter", True)
    assert verdict.reason == "model_run_failed"
    assert again.decided_by == "filter"  # tried again, not taken from the cache
    assert again.verdict_id == verdict.verdict_id


def test_what_can_be_decoded_in_part_is_reviewed_and_not_cached(pool: DecodePool) -> None:
    """The first half is harmless, of the second there is only noise."""
    video = Video(
        duration_s=8, size=(64, 48), container="matroska", gop=1, codec="mjpeg", pix_fmt="yuvj420p"
    ).make()
    broken = with_noisy_tail(video, 100)
    with moderator(pool) as route:
        whole, half = judge(route, video, policy="lax"), judge(route, broken, policy="lax")
        again = judge(route, broken, policy="lax")
    assert (whole.decision, whole.degraded) == ("allow", False)
    assert (half.decision, half.decided_by, half.degraded) == ("review", "filter", True)
    assert half.reason == "partly_undecodable"
    assert half.coverage is not None
    assert half.coverage.share < 0.6
    assert again.decided_by == "filter"


def test_a_filter_that_fails_on_one_input_is_reviewed(pool: DecodePool) -> None:
    with moderator(pool, before_filter=fails_on_pictures) as route:
        verdict = judge(route, WHITE)
        assert (verdict.decision, verdict.reason) == ("review", "model_run_failed")
        assert judge(route, BLACK).decision == "allow"


def test_a_broken_model_stops_the_worker_instead_of_answering(pool: DecodePool) -> None:
    def always_fails(inputs: Inputs) -> None:
        raise RuntimeError("scripted")

    with moderator(pool, before_filter=always_fails) as route, pytest.raises(SessionBroken):
        judge(route, WHITE)


def test_a_passed_deadline_is_reviewed(pool: DecodePool) -> None:
    with moderator(pool) as route:
        verdict = judge(route, WHITE, timeout_s=0.0)
    assert (verdict.decision, verdict.reason) == ("review", "deadline_exceeded")


def test_a_verdict_carries_the_filters_embedding_where_it_is_wanted(pool: DecodePool) -> None:
    cache = MemoryCache(100, lambda event: None)
    wanted = Settings(inference=InferenceSettings(embeddings=True))
    with moderator(pool, embedding=tiny.EMBEDDING, cache=cache) as route:
        without = judge(route, WHITE)
    with moderator(pool, embedding=tiny.EMBEDDING, cache=cache, settings=wanted) as route:
        first, again = judge(route, WHITE), judge(route, WHITE)
    with moderator(pool, embedding=tiny.EMBEDDING, cache=cache) as route:
        without_again = judge(route, WHITE)
    # What was cached without an embedding is computed again, and then serves both.
    assert [v.decided_by for v in (without, first, again, without_again)] == [
        "filter",
        "filter",
        "cache",
        "cache",
    ]
    assert without.embedding is None
    assert without_again.embedding is None
    assert first.embedding is not None
    assert first.embedding == again.embedding
    assert (first.embedding.model, first.embedding.model_sha256) == ("tiny-filter@1", MODEL.sha256)
    np.testing.assert_allclose(first.embedding.vector, tiny.embeddings_of(255)[0], atol=0.02)
    assert first.verdict_id == without.verdict_id  # the decision is the same


@pytest.mark.parametrize(("priority", "patience_s"), [("live", 0.0), ("standard", 0.5), ("batch", 5.0)])
def test_both_models_are_told_how_far_others_may_overtake(
    pool: DecodePool, monkeypatch: pytest.MonkeyPatch, priority: str, patience_s: float
) -> None:
    told: list[tuple[str, float]] = []
    submit = Engine.submit

    def heard(engine: Engine, inputs: Inputs, deadline: Deadline, patience_s: float = -1.0) -> Any:
        told.append((engine.spec.role, patience_s))
        return submit(engine, inputs, deadline, patience_s)

    monkeypatch.setattr(Engine, "submit", heard)
    with moderator(pool) as route:
        judge(route, MIDDLE, priority=priority)
    assert told == [("filter", patience_s), ("escalation", patience_s)]


def test_a_bug_in_the_route_is_reviewed_and_named(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    with moderator(pool) as route:
        monkeypatch.setattr(route, "_source", None)
        verdict = judge(route, WHITE)
    assert (verdict.decision, verdict.reason) == ("review", "internal_error")
    assert "AttributeError" in verdict.detail


@pytest.mark.parametrize(
    ("failures", "reason"),
    [(2, ""), (3, "source_unavailable")],
)
def test_what_is_retriable_is_tried_again(pool: DecodePool, failures: int, reason: str) -> None:
    settings = Settings(worker=WorkerSettings(retries=2))
    with moderator(pool, source=Unavailable(failures), settings=settings) as route:
        verdict = judge(route, WHITE)
    assert verdict.reason == reason
    assert verdict.decision == "review"


# From record to record.


def record(event: bytes, media: bytes | None = WHITE) -> Record:
    return Record("uploads", 3, 42, key=b"u-1", value=media, headers=((EVENT_HEADER, event),))


@contextmanager
def handler(pool: DecodePool, **parts: Any) -> Iterator[UploadHandler]:
    with moderator(pool, **parts) as route:
        yield UploadHandler(Settings(), route, Attempts(NoCounts(), "group", limit=1), CLOCK, Metrics())


def test_a_record_is_answered_on_the_verdict_topic(pool: DecodePool) -> None:
    with handler(pool) as handle:
        answer = handle(record(b'{"upload_id": "u-1", "traceparent": "00-aa-bb-01"}'))
    verdict = Verdict.model_validate_json(answer.record.value or b"")
    assert (answer.record.topic, answer.record.key) == ("verdicts", b"u-1")
    assert dict(answer.record.headers) == {
        "content-type": b"application/json",
        "sluice.decision": b"review",
        "traceparent": b"00-aa-bb-01",
    }
    assert verdict.source is not None
    assert (verdict.source.topic, verdict.source.partition, verdict.source.offset) == ("uploads", 3, 42)
    assert not answer.systemic_failure


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b'{"upload_id": "u-1", "priority": "urgent"}', "invalid_event"),
        (b'{"upload_id": "u-1", "deadline": "2020-01-01T00:00:00Z"}', "expired"),
    ],
)
def test_events_that_are_refused_are_answered(pool: DecodePool, event: bytes, reason: str) -> None:
    with handler(pool) as handle:
        verdict = Verdict.model_validate_json(handle(record(event)).record.value or b"")
    assert (verdict.upload_id, verdict.decision, verdict.reason) == ("u-1", "review", reason)


def test_the_events_deadline_is_kept(pool: DecodePool) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=20)).isoformat()
    with handler(pool) as handle:
        answer = handle(record(f'{{"upload_id": "u-1", "deadline": "{soon}"}}'.encode()))
    assert Verdict.model_validate_json(answer.record.value or b"").reason == ""


def test_waiting_for_a_turn_counts_towards_the_events_deadline(pool: DecodePool, tmp_path: Path) -> None:
    begun, before = Place("uploads", 3, 42), Place("uploads", 3, 41)
    counts = FileCounts(tmp_path)
    for place in (begun, before):
        counts.begin(f"group/{place}")
    attempts = Attempts(counts, "group", limit=3)
    due = datetime.now(UTC) + timedelta(seconds=0.3)
    with moderator(pool) as route, attempts.attempt(before):
        handle = UploadHandler(Settings(), route, attempts, CLOCK, Metrics())
        answer = handle(record(f'{{"upload_id": "u-1", "deadline": "{due.isoformat()}"}}'.encode()))
    verdict = Verdict.model_validate_json(answer.record.value or b"")
    assert (verdict.decision, verdict.reason) == ("review", "deadline_exceeded")


def test_an_unreadable_record_is_the_loops_to_set_aside(pool: DecodePool) -> None:
    with handler(pool) as handle, pytest.raises(UnreadableEvent):
        handle(replace(record(b"{}"), headers=()))


def test_an_unreachable_store_counts_as_the_services_own_failure(pool: DecodePool) -> None:
    with handler(pool, source=Unavailable(99)) as handle:
        answer = handle(record(b'{"upload_id": "u-1"}'))
    assert answer.systemic_failure
