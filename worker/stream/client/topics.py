"""Topics and committed offsets, asked of the broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient
from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource

from worker.errors import SettingsError
from worker.settings import KafkaSettings
from worker.stream import options
from worker.stream.client.errors import translating
from worker.stream.topics import Described, Topic, TopicSpec

RETRY_S = 0.2


def create_topics(settings: KafkaSettings, topics: Sequence[TopicSpec]) -> tuple[str, ...]:
    """Create those that do not exist and wait until they can be used. Returns the names of the new ones.

    Raises SettingsError where the user may not create one, or the brokers are too few for its replicas.
    """
    with _admin(settings) as admin:
        existing = set(admin.list_topics())
        new = [topic for topic in topics if topic.name not in existing]
        for topic in new:
            _create(admin, topic, settings.max_message_bytes)
        admin.wait_for_topics([topic.name for topic in new])
        return tuple(topic.name for topic in new)


def _create(admin: Any, topic: TopicSpec, max_message_bytes: int) -> None:
    configs = {
        "max.message.bytes": max_message_bytes,
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "min.insync.replicas": topic.min_insync_replicas,
        "retention.ms": None if topic.retention_s is None else options.ms(topic.retention_s),
    }
    wanted = {
        "num_partitions": topic.partitions,
        "replication_factor": -1 if topic.replicas is None else topic.replicas,
        "configs": {name: str(value) for name, value in configs.items() if value is not None},
    }
    try:
        admin.create_topics({topic.name: wanted})
    except kafka_errors.TopicAlreadyExistsError:
        pass  # somebody else was quicker
    except kafka_errors.AuthorizationError as error:
        raise SettingsError(
            f"topic {topic.name} may not be created by this user: allow Create on it, or create it as another"
        ) from error


def missing_topics(settings: KafkaSettings, names: Iterable[str]) -> tuple[str, ...]:
    """Those that the broker does not have, in the order given."""
    with _admin(settings) as admin:
        existing = set(admin.list_topics())
        return tuple(name for name in names if name not in existing)


def describe(settings: KafkaSettings, names: Sequence[str]) -> Described:
    """The topics of these names and the settings' group, as the brokers describe them to this user."""
    with _admin(settings) as admin:
        found = {each["name"]: each for each in admin.describe_topics(list(names))}
        configs = _configs(admin, [name for name in names if not found[name]["error_code"]])
        return Described(
            brokers=len(admin.describe_cluster()["brokers"]),
            topics={name: _topic(found[name], of_topic) for name, of_topic in configs.items()},
            hidden=frozenset(
                name
                for name, each in found.items()
                if each["error_code"] == kafka_errors.TopicAuthorizationFailedError.errno
            ),
            group_readable=_group_readable(admin, settings),
        )


def _topic(found: Mapping[str, Any], configs: Mapping[str, str]) -> Topic:
    return Topic(
        partitions=len(found["partitions"]),
        replicas=min(len(partition["replica_nodes"]) for partition in found["partitions"]),
        configs=configs,
        operations=frozenset(found["authorized_operations"] or ()),
    )


def _configs(admin: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Topic -> its effective configuration; empty where it may not be read."""
    if not names:
        return {}
    found = admin.describe_configs([ConfigResource("topic", name) for name in names], config_filter="all")
    return {
        name: {key: str(config["value"]) for key, config in found["topic"][name].items()} for name in names
    }


def _group_readable(admin: Any, settings: KafkaSettings) -> bool:
    try:
        _group_offsets(admin, settings)
    except kafka_errors.AuthorizationError:
        return False
    return True


def committed_offsets(settings: KafkaSettings, topic: str) -> dict[int, int]:
    """Partition -> offset of the next record that the group will read, where it has committed one."""
    with _admin(settings) as admin:
        offsets = _group_offsets(admin, settings)
        return {p.partition: o.offset for p, o in offsets.items() if p.topic == topic and o.offset >= 0}


def delete_before(settings: KafkaSettings, topic: str, offsets: Mapping[int, int]) -> None:
    """Delete the records of each partition that lie before its offset.

    Raises BrokerUnavailable also where the broker cannot do it: the embedded one cannot.
    """
    with _admin(settings) as admin:
        admin.delete_records({KafkaPartition(topic, n): offset for n, offset in offsets.items()})


def _group_offsets(admin: Any, settings: KafkaSettings) -> Any:
    group_id = settings.group_id
    return _patiently(lambda: admin.list_group_offsets([group_id])[group_id], settings.request_timeout_s)


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
