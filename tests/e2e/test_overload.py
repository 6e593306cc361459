"""Twice as many uploads as a worker can judge: it goes on as before, the rest waits, and nothing is lost.

Every upload is escalated, so that few of them are enough. With deadlines, what cannot be judged in time gets
`review`; when the flood is over, uploads are judged in full again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.service.load import rate_per_s
from benchmarks.service.stage import ESCALATED, Answered, Bench, Workers
from benchmarks.service.uploads import Uploads
from tests.brokers import RealBroker
from tests.synthesis import Video

FLOOD_S = 6.0
TWICE = 2.0
PATIENCE_S = 3.0  # of uploads that have a deadline
AT_ONCE = {
    "SLUICE_INFERENCE__MAX_BATCH_CLIPS": "1",  # starts sooner
    "SLUICE_WORKER__CONCURRENCY": "2",
    "SLUICE_WORKER__MAX_PENDING": "4",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture
def bench(embedded_broker: RealBroker, tmp_path: Path) -> Bench:
    uploads = Uploads(tmp_path / "uploads")
    uploads.folder.mkdir()
    return Bench(embedded_broker, uploads, tmp_path, tmp_path)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return Video(duration_s=1.0).write(tmp_path / "video.mp4")


@pytest.fixture
def workers(bench: Bench) -> Iterator[Workers]:
    with bench.workers(environment=AT_ONCE) as ready:
        yield ready


def publish(workers: Workers, files: list[Path], per_s: float, patience_s: float | None = None) -> list[str]:
    """At an even pace. Returns the uploads' ids when the last is out."""
    ids = []
    begun_s = time.monotonic()
    for number, file in enumerate(files):
        time.sleep(max(0.0, begun_s + number / per_s - time.monotonic()))
        due = datetime.now(UTC) + timedelta(seconds=patience_s) if patience_s else None
        ids.append(workers.publish(file, policy=ESCALATED, deadline=due))
    return ids


def in_full(answer: Answered) -> bool:
    return answer.verdict.decided_by == "escalation" and not answer.verdict.degraded


def test_a_flood_neither_slows_a_worker_down_nor_loses_an_upload(
    bench: Bench, workers: Workers, video: Path
) -> None:
    def fresh(count: int) -> list[Path]:
        return bench.uploads.fresh(video, count)

    workers.judged(publish(workers, fresh(4), per_s=1e6))  # warms up
    capacity_per_s = rate_per_s(workers.judged(publish(workers, fresh(16), per_s=1e6)))
    count = round(TWICE * capacity_per_s * FLOOD_S)

    flood = publish(workers, fresh(count), TWICE * capacity_per_s)
    lag = sum(upload_id not in workers.answered for upload_id in flood)
    answers = workers.judged(flood)  # every upload is answered, each in full
    assert lag > count / 5  # a half in theory
    assert rate_per_s(answers) > 0.7 * capacity_per_s

    late = publish(workers, fresh(count), TWICE * capacity_per_s, PATIENCE_S)
    answers = workers.collected(late)
    short = [answer.verdict for answer in answers if not in_full(answer)]
    assert {(v.decision, v.reason) for v in short} <= {("review", "expired"), ("review", "deadline_exceeded")}
    assert any(verdict.degraded for verdict in short)  # the filter's scores stand, without the escalation's
    assert len(short) > count / 5
    assert rate_per_s(answers) > 0.7 * capacity_per_s  # they are answered by their deadline, or soon after

    recovered = workers.judged(publish(workers, fresh(2), capacity_per_s / 2, patience_s=30.0))
    assert all(in_full(answer) for answer in recovered)
    assert max(answer.stages_ms["queue"] for answer in recovered) < 1000 * FLOOD_S / 2
