"""The adapters to Kafka. The only module that imports kafka-python; nothing of it gets out.

What is particular to kafka-python 3.0 and handled here:

- An I/O thread of its own runs the group protocol; the rebalance listener is called on that thread.
- A record that cannot be unpacked makes `poll` raise once and then spin for ever, unless one seeks
  past it. The exception does not say which record it was, but its traceback does.
- A join that ends between two calls of `poll` is lost: see `BrokerConsumer._rebalancing`.
- Without the `crc32c` package a large record takes seconds of CPU time: refuse to start.
- The producer bounds nothing in memory: bytes in flight are bounded here.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog

from worker.errors import BrokerUnavailable, PublishFailed, SettingsError, SluiceError
from worker.settings import KafkaSettings
from worker.stream import options
from worker.stream.room import Room, size_bytes
from worker.stream.types import Outgoing, RebalanceListener, Record, TopicPartition, Unreadable

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it reads its schemas in a way deprecated in 3.11
    from kafka import (
        ConsumerRebalanceListener,
        KafkaAdminClient,
        KafkaConsumer,
        KafkaProducer,
        OffsetAndMetadata,
    )
    from kafka import TopicPartition as KafkaPartition
    from kafka import errors as kafka_errors
    from kafka.coordinator.assignors.cooperative_sticky import (
        CooperativeStickyAssignor,
    )
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.structs import MemberState

COMMIT_TIMEOUT_MS = 5_000
CLOSE_TIMEOUT_MS = 3_000
JOIN_WAIT_S = 1.0
JOIN_SLICES = 4
COOPERATIVE_SINCE = (2, 4)  # version of the brokers that know incremental rebalancing

# Foreign error -> ours; the first that matches counts. SettingsError: another try is of no use.
TRANSLATION: tuple[tuple[type[Exception], type[SluiceError]], ...] = (
    (kafka_errors.AuthorizationError, SettingsError),
    (kafka_errors.SaslAuthenticationFailedError, SettingsError),
    (kafka_errors.UnsupportedSaslMechanismError, SettingsError),
    (kafka_errors.InconsistentGroupProtocolError, SettingsError),
    (kafka_errors.InvalidSessionTimeoutError, SettingsError),
    (kafka_errors.InvalidGroupIdError, SettingsError),
    (kafka_errors.InvalidTopicError, SettingsError),
    (kafka_errors.InvalidReplicationFactorError, SettingsError),
    (kafka_errors.KafkaConfigurationError, SettingsError),
    (kafka_errors.KafkaError, BrokerUnavailable),
    (OSError, BrokerUnavailable),
)

_HINTS: dict[type[Exception], str] = {
    kafka_errors.InconsistentGroupProtocolError: (
        "another member of the group uses another `kafka.assignment`; eager and cooperative do not mix"
    ),
    kafka_errors.InvalidSessionTimeoutError: (
        "`kafka.session_timeout_s` is outside the broker's group.min/max.session.timeout.ms"
    ),
}

log = structlog.get_logger(__name__)


class BrokerConsumer:
    """Implements types.Consumer."""

    def __init__(self, settings: KafkaSettings) -> None:
        _require_crc32c()
        self._consumer = _group_consumer(settings)

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        self._consumer.subscribe(topics=list(topics), listener=_Listener(self._consumer, listener))

    def poll(self, timeout_s: float, max_records: int) -> Sequence[Record | Unreadable]:
        """Takes up to JOIN_WAIT_S longer while the group rebalances."""
        items = _poll(self._consumer, timeout_s, max_records)
        for _ in range(JOIN_SLICES):
            if items or not self._rebalancing():
                break
            items = _poll(self._consumer, JOIN_WAIT_S / JOIN_SLICES, max_records)
        return items

    def assignment(self) -> frozenset[TopicPartition]:
        return _ours(self._consumer.assignment())

    def joined(self) -> bool:
        return bool(self._consumer.group_metadata().generation_id >= 0)

    def pause(self) -> None:
        for partition in self._consumer.assignment():
            with suppress(KeyError):  # revoked by the I/O thread since the line above
                self._consumer.pause(partition)

    def resume(self) -> None:
        for partition in self._consumer.paused():
            with suppress(KeyError):
                self._consumer.resume(partition)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        try:
            self._consumer.commit(_theirs(offsets), timeout_ms=COMMIT_TIMEOUT_MS)
        except kafka_errors.CommitFailedError as error:
            raise BrokerUnavailable(f"the group takes no commit at the moment: {error}") from error
        except Exception as error:
            raise _translated(error) from error

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


class BrokerProducer:
    """Implements types.Producer."""

    def __init__(self, settings: KafkaSettings) -> None:
        _require_crc32c()
        self._room = Room(2 * settings.max_message_bytes)
        self._wait_s = settings.delivery_timeout_s
        with _translating():
            self._producer = KafkaProducer(**options.connection(settings) | options.producing(settings))

    def send(self, record: Outgoing) -> Future[None]:
        answer: Future[None] = Future()
        size = size_bytes(record)
        if not self._room.take(size, self._wait_s):
            answer.set_exception(
                PublishFailed(f"no room to send to {record.topic}: the broker does not answer")
            )
            return answer
        answer.add_done_callback(lambda _: self._room.give(size))
        try:
            sent = self._producer.send(
                record.topic, key=record.key, value=record.value, headers=list(record.headers)
            )
        except Exception as error:
            answer.set_exception(_publish_failed(record, error))
            return answer
        sent.add_callback(lambda _: answer.set_result(None))
        sent.add_errback(lambda error: answer.set_exception(_publish_failed(record, error)))
        return answer

    def close(self, timeout_s: float) -> None:
        try:
            self._producer.close(timeout=timeout_s)
        except kafka_errors.KafkaError as error:
            log.warning("producer_close_failed", error=str(error))


class Tail(AbstractContextManager["Tail"]):
    """Reads all partitions of a topic, without a group, from the beginning or from now on."""

    def __init__(self, settings: KafkaSettings, topic: str, from_beginning: bool = False) -> None:
        _require_crc32c()
        with _translating():
            self._consumer = KafkaConsumer(**options.connection(settings), **options.fetching(settings))
            partitions = [
                KafkaPartition(topic, number) for number in self._consumer.partitions_for_topic(topic)
            ]
            if not partitions:
                self._consumer.close()
                raise SettingsError(f"there is no topic {topic!r} at {settings.bootstrap_servers}")
            self._consumer.assign(partitions)
            if from_beginning:
                self._consumer.seek_to_beginning(*partitions)
            else:
                self._start_at_the_end(partitions)

    def poll(self, timeout_s: float, max_records: int = 500) -> list[Record]:
        """What has arrived; a record that cannot be read is left out."""
        return [r for r in _poll(self._consumer, timeout_s, max_records) if isinstance(r, Record)]

    def __iter__(self) -> Iterator[Record]:
        while True:
            yield from self.poll(1.0)

    def close(self) -> None:
        self._consumer.close(autocommit=False)

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_at_the_end(self, partitions: Iterable[KafkaPartition]) -> None:
        """Fixes the positions before returning: what is written from now on is seen."""
        self._consumer.seek_to_end(*partitions)
        for partition in partitions:
            self._consumer.position(partition)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    name: str
    partitions: int = 4
    compacted: bool = False  # keep the latest record of each key, for ever


def create_topics(settings: KafkaSettings, topics: Sequence[TopicSpec]) -> tuple[str, ...]:
    """Create those that do not exist and wait until they can be used. Returns the names of the new ones."""
    wanted = {
        topic.name: {
            "num_partitions": topic.partitions,
            "configs": {
                "max.message.bytes": str(settings.max_message_bytes),
                "cleanup.policy": "compact" if topic.compacted else "delete",
            },
        }
        for topic in topics
    }
    with _admin(settings) as admin:
        existing = set(admin.list_topics())
        new = {name: options for name, options in wanted.items() if name not in existing}
        if new:
            admin.create_topics(new)
            admin.wait_for_topics(list(new))
        return tuple(new)


def missing_topics(settings: KafkaSettings, names: Iterable[str]) -> tuple[str, ...]:
    """Those that the broker does not have, in the order given."""
    with _admin(settings) as admin:
        existing = set(admin.list_topics())
        return tuple(name for name in names if name not in existing)


def committed_offsets(settings: KafkaSettings, topic: str) -> dict[int, int]:
    """Partition -> offset of the next record that the group will read, where it has committed one."""
    with _admin(settings) as admin:
        offsets = admin.list_group_offsets([settings.group_id])[settings.group_id]
        return {p.partition: o.offset for p, o in offsets.items() if p.topic == topic and o.offset >= 0}


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hands over to ours. A commit started here reaches the broker before the group moves on: same
    connection, and the client still holds the generation."""

    def __init__(self, consumer: KafkaConsumer, inner: RebalanceListener) -> None:
        self._consumer = consumer
        self._inner = inner

    def on_partitions_assigned(self, assigned: Iterable[KafkaPartition]) -> None:
        self._inner.assigned(_ours(assigned))

    def on_partitions_revoked(self, revoked: Iterable[KafkaPartition]) -> None:
        offsets = self._inner.revoked(_ours(revoked))
        if offsets:
            self._consumer.commit_async(_theirs(offsets), callback=_log_failed_commit)

    def on_partitions_lost(self, lost: Iterable[KafkaPartition]) -> None:
        self._inner.lost(_ours(lost))


@contextmanager
def _translating() -> Iterator[None]:
    """Raises our error for a foreign one."""
    try:
        yield
    except SluiceError:
        raise
    except Exception as error:
        raise _translated(error) from error


@contextmanager
def _admin(settings: KafkaSettings) -> Iterator[Any]:
    with _translating():
        admin = KafkaAdminClient(**options.connection(settings))
        try:
            yield admin
        finally:
            admin.close()


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
    with _translating():
        return KafkaConsumer(
            **options.connection(settings) | options.fetching(settings) | options.group(settings),
            partition_assignment_strategy=[assignor],
        )


def _poll(consumer: KafkaConsumer, timeout_s: float, max_records: int) -> list[Record | Unreadable]:
    try:
        batches = consumer.poll(timeout_ms=options.ms(timeout_s), max_records=max_records)
    except Exception as error:
        partition = _being_unpacked(error)
        if partition is None:
            raise _translated(error) from error
        return _seek_past(consumer, partition, error)
    return [_record(record) for batch in batches.values() for record in batch]


def _being_unpacked(error: BaseException) -> KafkaPartition | None:
    """The partition whose records were being unpacked when ``error`` was raised, None if none was."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "_unpack_records":
            return trace.tb_frame.f_locals.get("tp")
        trace = trace.tb_next
    return None


def _seek_past(
    consumer: KafkaConsumer, partition: KafkaPartition, error: Exception
) -> list[Record | Unreadable]:
    """Everything before the bad record has been handed out, so the position is at it."""
    try:
        offset = consumer.position(partition)
        consumer.seek(partition, offset + 1)
    except (kafka_errors.IllegalStateError, ValueError, KeyError):
        return []  # revoked in the meantime: its new owner will meet the record
    return [Unreadable(partition.topic, partition.partition, offset, f"{type(error).__name__}: {error}")]


def _record(record: Any) -> Record:
    return Record(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple((name, value or b"") for name, value in record.headers),
        timestamp_ms=record.timestamp,
    )


def _translated(error: Exception) -> Exception:
    for foreign, ours in TRANSLATION:
        if isinstance(error, foreign):
            hint = next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), "")
            return ours(f"Kafka: {type(error).__name__}: {error}" + (f" ({hint})" if hint else ""))
    return error


def _publish_failed(record: Outgoing, error: Exception) -> PublishFailed:
    failure = PublishFailed(f"not acknowledged by {record.topic}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _log_failed_commit(offsets: object, result: object) -> None:
    if isinstance(result, Exception):
        log.warning("commit_on_revoke_failed", error=f"{type(result).__name__}: {result}")


def _require_crc32c() -> None:
    if importlib.util.find_spec("crc32c") is None:
        raise SettingsError("the package `crc32c` is missing: without it large records take seconds each")


def _ours(partitions: Iterable[Any]) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(p.topic, p.partition) for p in partitions)


def _theirs(offsets: Mapping[TopicPartition, int]) -> dict[KafkaPartition, OffsetAndMetadata]:
    return {KafkaPartition(*p): OffsetAndMetadata(offset, "", -1) for p, offset in offsets.items()}
