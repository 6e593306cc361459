"""Reading what a topic holds now, and single records by their place. Without a group."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition

from worker.errors import BrokerUnavailable, SettingsError
from worker.settings import KafkaSettings
from worker.stream import options
from worker.stream.client.errors import require_crc32c, translating
from worker.stream.client.records import read
from worker.stream.types import Place, Record, Unreadable

POLL_S = 0.5
MAX_RECORDS = 500


def read_topic(
    settings: KafkaSettings, topic: str, starts: Mapping[int, int] | None = None
) -> Iterator[Record | Unreadable]:
    """Everything that is on the topic by now, each partition in its order.

    ``starts``: partition -> offset to start at; others start at their beginning.
    Raises SettingsError when there is no such topic, BrokerUnavailable when its end cannot be reached.
    """
    require_crc32c()
    with translating():
        consumer = KafkaConsumer(**options.connection(settings), **options.fetching(settings))
    try:
        with translating():
            numbers = consumer.partitions_for_topic(topic)
            if not numbers:
                raise SettingsError(f"there is no topic {topic!r} at {settings.bootstrap_servers}")
            partitions = [KafkaPartition(topic, number) for number in sorted(numbers)]
            ends = consumer.end_offsets(partitions)
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            for number, offset in (starts or {}).items():
                consumer.seek(KafkaPartition(topic, number), offset)
        yield from _until(consumer, ends, settings.request_timeout_s)
    finally:
        consumer.close(autocommit=False)


def _until(
    consumer: KafkaConsumer, ends: Mapping[KafkaPartition, int], patience_s: float
) -> Iterator[Record | Unreadable]:
    """To ``ends``, and on to the first poll without anything older than now: the embedded broker says
    ends that are too low."""
    now_ms = time.time() * 1000
    give_up_s = time.monotonic() + patience_s
    while True:
        items = read(consumer, POLL_S, MAX_RECORDS)
        yield from items
        if items:
            give_up_s = time.monotonic() + patience_s
        behind = [f"{at.topic}/{at.partition}" for at, end in ends.items() if consumer.position(at) < end]
        if not behind and not any(_is_older(item, now_ms) for item in items):
            return
        if time.monotonic() > give_up_s:
            raise BrokerUnavailable(f"nothing came for {patience_s:.0f} s from {', '.join(behind)}")


def _is_older(item: Record | Unreadable, moment_ms: float) -> bool:
    return isinstance(item, Unreadable) or item.timestamp_ms < moment_ms


class Lookup(AbstractContextManager["Lookup"]):
    """Single records by their place. Fetches no more than the batch that holds the record."""

    def __init__(self, settings: KafkaSettings) -> None:
        require_crc32c()
        self._patience_s = settings.request_timeout_s
        one_batch = {"fetch_max_bytes": 1, "max_partition_fetch_bytes": 1}  # a broker gives one all the same
        with translating():
            self._consumer = KafkaConsumer(
                **options.connection(settings) | options.fetching(settings) | one_batch
            )

    def record(self, place: Place) -> Record | None:
        """None when it is not there any more, or cannot be read. Raises BrokerUnavailable."""
        at = KafkaPartition(place.topic, place.partition)
        with translating():
            if place.partition not in (self._consumer.partitions_for_topic(place.topic) or ()):
                return None
            end = self._consumer.end_offsets([at])[at]
            self._consumer.assign([at])
            self._consumer.seek(at, place.offset)
        seems_there = place.offset < end  # the embedded broker says ends that are too low
        give_up_s = time.monotonic() + (self._patience_s if seems_there else POLL_S)
        while True:
            for item in read(self._consumer, POLL_S, 1):
                return item if isinstance(item, Record) and item.place == place else None
            if self._consumer.position(at) > place.offset:
                return None  # compacted or aborted
            if time.monotonic() > give_up_s:
                break
        if seems_there:
            raise BrokerUnavailable(f"{place} was not read within {self._patience_s:.0f} s")
        return None

    def close(self) -> None:
        self._consumer.close(autocommit=False)

    def __exit__(self, *_: object) -> None:
        self.close()
