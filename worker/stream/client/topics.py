"""Topics and committed offsets, asked of the broker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaPartition

from worker.settings import KafkaSettings
from worker.stream import options
from worker.stream.client.errors import translating


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


def delete_before(settings: KafkaSettings, topic: str, offsets: Mapping[int, int]) -> None:
    """Delete the records of each partition that lie before its offset.

    Raises BrokerUnavailable also where the broker cannot do it: the embedded one cannot.
    """
    with _admin(settings) as admin:
        admin.delete_records({KafkaPartition(topic, n): offset for n, offset in offsets.items()})


@contextmanager
def _admin(settings: KafkaSettings) -> Iterator[Any]:
    with translating():
        admin = KafkaAdminClient(**options.connection(settings))
        try:
            yield admin
        finally:
            admin.close()
