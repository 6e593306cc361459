"""How far a group is behind, as the broker sees it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition

from worker.errors import SettingsError
from worker.settings import KafkaSettings
from worker.stream import options
from worker.stream.client.errors import require_crc32c, translating
from worker.stream.client.topics import committed_offsets


@dataclass(frozen=True, slots=True)
class PartitionLag:
    committed: int | None  # offset of the next record that the group will read; None: it has committed none
    end: int  # offset that the next record will get
    start: int  # of the oldest record that is still there

    @property
    def behind(self) -> int:
        """Records that are not yet answered. A group without a commit begins at the oldest."""
        begun = self.start if self.committed is None else max(self.committed, self.start)
        return max(0, self.end - begun)


class GroupLag(AbstractContextManager["GroupLag"]):
    """Asks the broker each time. Joins no group and moves nothing."""

    def __init__(self, settings: KafkaSettings) -> None:
        require_crc32c()
        self._settings = settings
        self._topic = settings.uploads_topic
        with translating():
            self._consumer = KafkaConsumer(**options.connection(settings), **options.fetching(settings))

    def now(self) -> dict[int, PartitionLag]:
        """By partition. Raises SettingsError when there is no such topic, BrokerUnavailable."""
        committed = committed_offsets(self._settings, self._topic)
        with translating():
            numbers = self._consumer.partitions_for_topic(self._topic)
            if not numbers:
                raise SettingsError(
                    f"there is no topic {self._topic!r} at {self._settings.bootstrap_servers}"
                )
            partitions = [KafkaPartition(self._topic, number) for number in sorted(numbers)]
            starts = self._consumer.beginning_offsets(partitions)
            ends = self._consumer.end_offsets(partitions)
        return {
            at.partition: PartitionLag(committed.get(at.partition), ends[at], starts[at]) for at in partitions
        }

    def close(self) -> None:
        self._consumer.close(autocommit=False)

    def __exit__(self, *_: object) -> None:
        self.close()
