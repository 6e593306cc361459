"""Kafka as the rest of the worker sees it: bytes, coordinates and two narrow protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

Headers = tuple[tuple[str, bytes], ...]


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class Place(NamedTuple):
    """Where one record lies."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"  # a topic's name holds no slash


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was read. Nothing is deserialised here."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: Headers = ()
    timestamp_ms: int = 0

    @property
    def topic_partition(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    @property
    def place(self) -> Place:
        return Place(self.topic, self.partition, self.offset)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: Headers = ()
    partition: int | None = None  # None: by its key


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that the client could not read (corrupt batch, missing codec). It was sought past."""

    topic: str
    partition: int
    offset: int
    error: str

    @property
    def place(self) -> Place:
        return Place(self.topic, self.partition, self.offset)


class RebalanceListener(Protocol):
    """Called on the thread that also sends the heartbeats: must return at once, and lock."""

    def assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """These are ours in addition to what we have."""
        ...

    def revoked(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int]:
        """These go to others. Returns the offsets that the consumer commits before it lets go."""
        ...

    def lost(self, partitions: frozenset[TopicPartition]) -> None:
        """These are with others already: nothing can be committed any more."""
        ...


class Consumer(Protocol):
    """Used by one thread only."""

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None: ...

    def poll(self, timeout_s: float, max_records: int) -> Sequence[Record | Unreadable]:
        """Raises BrokerUnavailable when it is worth another try, SettingsError when it is not."""
        ...

    def assignment(self) -> frozenset[TopicPartition]: ...

    def lag(self) -> Mapping[TopicPartition, int]:
        """Records of the assigned partitions that are not yet read, as the last fetch of each said. Asks
        nobody; a partition that was not fetched yet is not there."""
        ...

    def joined(self) -> bool:
        """Whether the group counts us as a member, be it without partitions."""
        ...

    def silence_s(self) -> float:
        """Since the group's coordinator last answered a heartbeat or a join. Asks nobody. Polls of brokers
        that are away return nothing and raise nothing: this is what tells."""
        ...

    def pause(self) -> None:
        """Stop fetching from all that is assigned; polling goes on."""
        ...

    def resume(self) -> None: ...

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the offset of the next record to read. Returns when the broker has it; raises
        BrokerUnavailable when it has not (try again, unless the partition is lost meanwhile)."""
        ...

    def membership(self) -> object:
        """Which member of which generation of the group this is, for Transactions.write."""
        ...

    def close(self) -> None:
        """Leave the group at once. Commits nothing."""
        ...


class Producer(Protocol):
    """Thread-safe, idempotent, acknowledged by all in-sync replicas."""

    def send(self, record: Outgoing) -> Future[None]:
        """The future fails with PublishFailed.

        Blocks while the broker does not answer: up to `kafka.delivery_timeout_s` for room where much is in
        flight, and up to 10 s to learn of the topic's partitions.
        """
        ...

    def close(self, timeout_s: float) -> None: ...


class Transactions(Protocol):
    """Used by one thread at a time."""

    def write(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], membership: object
    ) -> None:
        """Write the records and commit the offsets, both or neither. Returns when it is done.

        Raises BrokerUnavailable when neither happened because the group has moved on from ``membership``,
        PublishFailed when it is not known what happened, or the broker did not take it in time.
        """
        ...

    def close(self, timeout_s: float) -> None: ...
