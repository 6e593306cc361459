"""The tracker behind a lock: the consumer's own thread says what is ours, others ask."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import structlog

from worker.stream.offsets import OffsetTracker, Ticket
from worker.stream.types import TopicPartition

log = structlog.get_logger(__name__)


class Ownership:
    """Implements types.RebalanceListener. Every method returns at once."""

    def __init__(self, *, commits_when_revoked: bool) -> None:
        """``commits_when_revoked``: finished offsets are committed as their partition goes."""
        self._commits_when_revoked = commits_when_revoked
        self._lock = threading.Lock()
        self._tracker = OffsetTracker()
        self._ours: set[TopicPartition] = set()
        self._gone: set[TopicPartition] = set()

    def assigned(self, partitions: frozenset[TopicPartition]) -> None:
        with self._lock:
            self._tracker.assign(partitions)
            self._ours |= partitions
        log.info("partitions_assigned", partitions=_names(partitions))

    def revoked(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int]:
        with self._lock:
            finished = self._tracker.revoke(partitions)
            self._ours -= partitions
            self._gone |= partitions
        log.info("partitions_revoked", partitions=_names(partitions))
        return finished if self._commits_when_revoked else {}

    def lost(self, partitions: frozenset[TopicPartition]) -> None:
        with self._lock:
            self._tracker.revoke(partitions)
            self._ours -= partitions
            self._gone |= partitions
        log.warning("partitions_lost", partitions=_names(partitions))

    def abandon(self) -> None:
        """From now on nothing is ours: what is still being worked on will not be published."""
        with self._lock:
            self._tracker.revoke(self._ours)
            self._ours.clear()

    def taken_away(self) -> frozenset[TopicPartition]:
        """What others got since this was asked last."""
        with self._lock:
            gone, self._gone = frozenset(self._gone), set()
        return gone

    def track(self, partition: TopicPartition, offset: int) -> Ticket | None:
        with self._lock:
            return self._tracker.track(partition, offset)

    def owns(self, ticket: Ticket) -> bool:
        with self._lock:
            return self._tracker.owns(ticket)

    def done(self, ticket: Ticket) -> bool:
        with self._lock:
            return self._tracker.done(ticket)

    def committable(self) -> dict[TopicPartition, int]:
        with self._lock:
            return self._tracker.committable()

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        with self._lock:
            self._tracker.committed(offsets)


def _names(partitions: frozenset[TopicPartition]) -> list[str]:
    return [f"{topic}[{partition}]" for topic, partition in sorted(partitions)]
