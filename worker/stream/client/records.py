"""Reading records; positions and partitions in our words and in the client's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata
from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors

from worker.stream import options
from worker.stream.client.errors import translated
from worker.stream.types import Record, TopicPartition, Unreadable


def read(consumer: KafkaConsumer, timeout_s: float, max_records: int) -> list[Record | Unreadable]:
    _let_parked_records_through(consumer)
    try:
        batches = consumer.poll(timeout_ms=options.ms(timeout_s), max_records=max_records)
    except Exception as error:
        partition = _being_unpacked(error)
        if partition is None:
            raise translated(error) from error
        return _seek_past(consumer, partition, error)
    return [_record(record) for batch in batches.values() for record in batch]


def read_of_others(
    consumer: KafkaConsumer, served: Collection[TopicPartition], max_records: int
) -> list[Record | Unreadable]:
    """What is there of other partitions than those that were ``served`` already; does not wait.

    The client hands out all that it has read of one partition before the next has its turn. That may be
    tens of thousands of events, so whoever publishes to another would wait for hours behind a backlog.
    """
    fetcher = consumer._fetcher
    others_wait = fetcher._completed_fetches or fetcher._paused_partition_records
    # An exception that waits to be raised would be forgotten with its partition paused.
    error_waits = fetcher._next_in_line_exception_metadata is not None
    if not served or not others_wait or error_waits or consumer.paused():
        return []
    pause(consumer, (KafkaPartition(*partition) for partition in served))
    try:
        return read(consumer, 0.0, max_records)
    finally:
        resume(consumer)


def pause(consumer: KafkaConsumer, partitions: Iterable[KafkaPartition]) -> None:
    for partition in partitions:
        with suppress(KeyError):  # revoked by the I/O thread meanwhile
            consumer.pause(partition)


def resume(consumer: KafkaConsumer) -> None:
    """All that are paused."""
    for partition in consumer.paused():
        with suppress(KeyError):
            consumer.resume(partition)


def _let_parked_records_through(consumer: KafkaConsumer) -> None:
    """The client parks what it had read ahead of a partition that is paused, and hands it out after
    `resume` only while it has no other partition in hand; one that is used up still counts as in hand.
    Parked partitions are not fetched either: without this, one can stay silent for ever.
    """
    in_hand = consumer._fetcher._next_partition_records
    if in_hand is not None and not in_hand:
        consumer._fetcher._next_partition_records = None


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


def partitions_of(items: Iterable[Record | Unreadable]) -> set[TopicPartition]:
    return {TopicPartition(item.topic, item.partition) for item in items}


def ours(partitions: Iterable[Any]) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(p.topic, p.partition) for p in partitions)


def theirs(offsets: Mapping[TopicPartition, int]) -> dict[KafkaPartition, OffsetAndMetadata]:
    return {KafkaPartition(*p): OffsetAndMetadata(offset, "", -1) for p, offset in offsets.items()}
