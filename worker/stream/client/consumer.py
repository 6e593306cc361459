"""A member of the group that reads uploads."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.structs import MemberState

from worker.errors import BrokerUnavailable
from worker.settings import KafkaSettings
from worker.stream import options
from worker.stream.client.errors import require_crc32c, translated, translating
from worker.stream.client.records import ours, partitions_of, pause, read, read_of_others, resume, theirs
from worker.stream.types import RebalanceListener, Record, TopicPartition, Unreadable

COMMIT_TIMEOUT_MS = 5_000
CLOSE_TIMEOUT_MS = 3_000
JOIN_WAIT_S = 1.0
JOIN_SLICES = 4
COOPERATIVE_SINCE = (2, 4)  # version of the brokers that know incremental rebalancing

log = structlog.get_logger(__name__)


class BrokerConsumer:
    """Implements types.Consumer."""

    def __init__(self, settings: KafkaSettings) -> None:
        require_crc32c()
        self._consumer = _group_consumer(settings)
        self._served: set[TopicPartition] = set()  # in this round, in which every partition has a turn

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        self._consumer.subscribe(topics=list(topics), listener=_Listener(self._consumer, listener))

    def poll(self, timeout_s: float, max_records: int) -> Sequence[Record | Unreadable]:
        """Takes up to JOIN_WAIT_S longer while the group rebalances."""
        if items := read_of_others(self._consumer, self._served, max_records):
            self._served |= partitions_of(items)
            return items
        items = read(self._consumer, timeout_s, max_records)
        for _ in range(JOIN_SLICES):
            if items or not self._rebalancing():
                break
            items = read(self._consumer, JOIN_WAIT_S / JOIN_SLICES, max_records)
        if items:
            self._served = partitions_of(items)
        return items

    def assignment(self) -> frozenset[TopicPartition]:
        return ours(self._consumer.assignment())

    def lag(self) -> dict[TopicPartition, int]:
        states = dict(self._consumer._subscription.assignment)  # `position()` may ask the broker
        return {
            TopicPartition(at.topic, at.partition): max(0, state.highwater - position.offset)
            for at, state in states.items()
            if (position := state.position) is not None and state.highwater is not None
        }

    def joined(self) -> bool:
        return bool(self._consumer.group_metadata().generation_id >= 0)

    def silence_s(self) -> float:
        heartbeat = self._consumer._coordinator.heartbeat  # reset by a join, and when a coordinator is found
        return float(time.monotonic() - max(heartbeat.last_receive, heartbeat.last_reset))

    def pause(self) -> None:
        pause(self._consumer, self._consumer.assignment())

    def resume(self) -> None:
        resume(self._consumer)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        try:
            self._consumer.commit(theirs(offsets), timeout_ms=COMMIT_TIMEOUT_MS)
        except kafka_errors.CommitFailedError as error:
            raise BrokerUnavailable(f"the group takes no commit at the moment: {error}") from error
        except Exception as error:
            raise translated(error) from error

    def membership(self) -> object:
        return self._consumer.group_metadata()

    def _rebalancing(self) -> bool:
        """The client drops a join that ends while nobody is inside `poll`, and then joins again; or, where
        it joined because partitions changed, forgets to: no heartbeats, no partitions, for ever. So one
        stays inside while a join is under way, and says every time that it is still wanted.
        """
        joining = self._consumer.group_metadata().state == MemberState.REBALANCING
        if joining:
            self._consumer._coordinator.request_rejoin()
        return bool(joining)

    def close(self) -> None:
        try:
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)
        except kafka_errors.KafkaError as error:
            log.warning("consumer_close_failed", error=str(error))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hands over to ours. A commit started here reaches the broker before the group moves on: same
    connection, and the client still holds the generation."""

    def __init__(self, consumer: KafkaConsumer, inner: RebalanceListener) -> None:
        self._consumer = consumer
        self._inner = inner

    def on_partitions_assigned(self, assigned: Iterable[KafkaPartition]) -> None:
        self._inner.assigned(ours(assigned))

    def on_partitions_revoked(self, revoked: Iterable[KafkaPartition]) -> None:
        offsets = self._inner.revoked(ours(revoked))
        if offsets:
            self._consumer.commit_async(theirs(offsets), callback=_log_failed_commit)

    def on_partitions_lost(self, lost: Iterable[KafkaPartition]) -> None:
        self._inner.lost(ours(lost))


def _group_consumer(settings: KafkaSettings) -> KafkaConsumer:
    cooperative = settings.assignment == "cooperative-sticky"
    consumer = _with_assignor(settings, CooperativeStickyAssignor if cooperative else RangePartitionAssignor)
    version = consumer.config["api_version"]
    if cooperative and version < COOPERATIVE_SINCE:
        log.warning(
            "assignment_fallback",
            wanted=settings.assignment,
            used="range",
            broker=".".join(map(str, version)),
        )
        consumer.close()
        consumer = _with_assignor(settings, RangePartitionAssignor)
    return consumer


def _with_assignor(settings: KafkaSettings, assignor: type) -> KafkaConsumer:
    with translating():
        return KafkaConsumer(
            **options.connection(settings) | options.fetching(settings) | options.group(settings),
            partition_assignment_strategy=[assignor],
        )


def _log_failed_commit(offsets: object, result: object) -> None:
    if isinstance(result, Exception):
        log.warning("commit_on_revoke_failed", error=f"{type(result).__name__}: {result}")
