"""Reading a topic without a group: what a person or a test looks at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition

from worker.errors import SettingsError
from worker.settings import KafkaSettings
from worker.stream import options
from worker.stream.client.errors import require_crc32c, translating
from worker.stream.client.records import read
from worker.stream.types import Record


class Tail(AbstractContextManager["Tail"]):
    """Reads all partitions of a topic, without a group, from the beginning or from now on.

    ``back``: of each partition, begin with so many records that are there already.
    """

    def __init__(
        self, settings: KafkaSettings, topic: str, from_beginning: bool = False, *, back: int = 0
    ) -> None:
        require_crc32c()
        with translating():
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
                self._start_near_the_end(partitions, back)

    def poll(self, timeout_s: float, max_records: int = 500) -> list[Record]:
        """What has arrived; a record that cannot be read is left out."""
        return [r for r in read(self._consumer, timeout_s, max_records) if isinstance(r, Record)]

    def __iter__(self) -> Iterator[Record]:
        while True:
            yield from self.poll(1.0)

    def close(self) -> None:
        self._consumer.close(autocommit=False)

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_near_the_end(self, partitions: Iterable[KafkaPartition], back: int) -> None:
        """Fixes the positions before returning: what is written from now on is seen."""
        self._consumer.seek_to_end(*partitions)
        for partition in partitions:
            end = self._consumer.position(partition)
            if back:
                self._consumer.seek(partition, max(0, end - back))
