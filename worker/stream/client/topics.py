"""Topics and committed offsets, asked of the broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors

from worker.settings import KafkaSettings
from worker.stream import options
from worker.stream.client.errors import translating

RETRY_S = 0.2


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
        offsets = _patiently(
            lambda: admin.list_group_offsets([settings.group_id])[settings.group_id],
            settings.request_timeout_s,
        )
        return {p.partition: o.offset for p, o in offsets.items() if p.topic == topic and o.offset >= 0}


def delete_before(settings: KafkaSettings, topic: str, offsets: Mapping[int, int]) -> None:
    """Delete the records of each partition that lie before its offset.

    Raises BrokerUnavailable also where the broker cannot do it: the embedded one cannot.
    """
    with _admin(settings) as admin:
        admin.delete_records({KafkaPartition(topic, n): offset for n, offset in offsets.items()})


def _patiently(ask: Callable[[], Any], timeout_s: float) -> Any:
    """Ask again while the broker asks for it: the first question about a group makes the topic of offsets."""
    give_up_s = time.monotonic() + timeout_s
    while True:
        try:
            return ask()
        except kafka_errors.RetriableError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(RETRY_S)


@contextmanager
def _admin(settings: KafkaSettings) -> Iterator[Any]:
    with translating():
        admin = KafkaAdminClient(**options.connection(settings))
        try:
            yield admin
        finally:
            admin.close()
