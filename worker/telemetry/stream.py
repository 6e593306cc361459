"""What the stream loop tells, as metrics."""

from __future__ import annotations

from collections.abc import Mapping

from worker.stream.delivery import Kept
from worker.stream.types import TopicPartition
from worker.telemetry.metrics import Metrics


class StreamMetrics:
    """Implements worker.stream.telemetry.StreamTelemetry."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def admitted(self) -> None:
        self._metrics.admitted()

    def answered(self, seconds: float) -> None:
        self._metrics.answered(seconds)

    def dead_lettered(self, reason: str) -> None:
        self._metrics.dead_letter(reason)

    def abandoned(self) -> None:
        self._metrics.abandoned()

    def pending(self, records: int, size_bytes: int) -> None:
        self._metrics.pending(records, size_bytes)

    def paused(self, paused: bool) -> None:
        self._metrics.paused(paused)

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        self._metrics.committed()

    def commit_failed(self) -> None:
        self._metrics.broker_failed("commit")

    def kept(self, kept: Kept) -> None:
        self._metrics.answers_kept(kept.answers, kept.oldest_s)

    def polled(self, interval_s: float) -> None:
        self._metrics.polled(interval_s)

    def poll_failed(self) -> None:
        self._metrics.broker_failed("poll")

    def silent(self, seconds: float) -> None:
        self._metrics.broker_silent(seconds)

    def assigned(self, partitions: int) -> None:
        self._metrics.assigned(partitions)

    def lag(self, records: Mapping[TopicPartition, int]) -> None:
        self._metrics.lag({at.partition: behind for at, behind in records.items()})
