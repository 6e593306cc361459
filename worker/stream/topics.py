"""What our topics should be like, and where those of the brokers are not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from worker.settings import KafkaSettings

USUAL_REPLICAS = 3  # or as many as there are brokers
RETENTION_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic should be like, at least; None: as the brokers have it by default."""

    name: str
    partitions: int = 4  # of a compacted one, which nobody shares: only when it is made
    compacted: bool = False  # keep the latest record of each key, for ever
    replicas: int | None = None
    min_insync_replicas: int | None = None
    retention_s: float | None = None
    record_bytes: int = 0  # the largest that is written
    operations: frozenset[str] = frozenset()  # what a worker does with it, in Kafka's words


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the brokers describe it."""

    partitions: int
    replicas: int  # of the partition that has the fewest
    configs: Mapping[str, str]  # effective ones; empty: we may not read them
    operations: frozenset[str]  # what we may do with it; empty: the brokers do not say


@dataclass(frozen=True, slots=True)
class Described:
    """The part of a Kafka cluster that concerns a group of workers."""

    brokers: int  # that are up
    topics: Mapping[str, Topic]  # of those that were asked for, the ones that exist
    hidden: frozenset[str]  # those that we may not even see, whether they exist or not
    group_readable: bool


def needed(
    kafka: KafkaSettings,
    *,
    brokers: int,
    partitions: int = 4,
    replicas: int | None = None,
    min_insync_replicas: int | None = None,
    retention_s: float = RETENTION_S,
    shadow_topic: str = "",
) -> tuple[TopicSpec, ...]:
    """The three topics of a group of workers, and ``shadow_topic`` if there is one.

    ``partitions`` of uploads are what so many workers share; verdicts are spread by key, and get as many when
    their topic is made.
    ``replicas`` is three where there are as many brokers, and ``min_insync_replicas`` one fewer where
    that leaves two: what is acknowledged outlives a broker, and the loss of one stops nobody.
    """
    replicas = replicas or min(USUAL_REPLICAS, brokers)
    in_sync = min_insync_replicas or (replicas - 1 if replicas >= USUAL_REPLICAS else 1)

    def topic(name: str, partitions: int, operation: str, record_bytes: int, compacted: bool) -> TopicSpec:
        return TopicSpec(
            name,
            partitions,
            compacted,
            replicas=replicas,
            min_insync_replicas=in_sync,
            retention_s=None if compacted else retention_s,
            record_bytes=record_bytes,
            operations=frozenset({operation}),
        )

    shadow = (topic(shadow_topic, 1, "WRITE", 0, compacted=False),) if shadow_topic else ()
    return (
        topic(kafka.uploads_topic, partitions, "READ", kafka.max_message_bytes, compacted=False),
        topic(kafka.verdicts_topic, partitions, "WRITE", 0, compacted=True),
        topic(kafka.dead_letters_topic, 1, "WRITE", kafka.dead_letter_max_bytes, compacted=False),
        *shadow,
    )


def mismatches(wanted: Iterable[TopicSpec], found: Described, group_id: str) -> Iterator[str]:
    """What is wrong, one thing each: its name, the value, what to do."""
    for spec in wanted:
        if spec.name in found.hidden:
            yield f"{spec.name}: we may not see it: allow {_named(spec.operations)} on the topic"
        elif spec.name not in found.topics:
            yield f"{spec.name}: there is no such topic: `sluice topics create`"
        else:
            topic = found.topics[spec.name]
            told = (*_of_shape(spec, topic), *_of_configs(spec, topic), *_of_rights(spec, topic))
            yield from (f"{spec.name}: {text}" for text in told)
    if not found.group_readable:
        yield f"{group_id}: the group may not be used: allow Read on the group {group_id!r}"


def _of_shape(spec: TopicSpec, topic: Topic) -> Iterator[str]:
    if topic.partitions < spec.partitions and not spec.compacted:
        yield (
            f"it has {topic.partitions} partitions, at least {spec.partitions} are wanted: "
            f"kafka-topics.sh --alter --topic {spec.name} --partitions {spec.partitions}"
        )
    if spec.replicas is not None and topic.replicas < spec.replicas:
        yield (
            f"it has {topic.replicas} replicas, at least {spec.replicas} are wanted: "
            "kafka-reassign-partitions.sh adds some"
        )


def _of_configs(spec: TopicSpec, topic: Topic) -> Iterator[str]:
    if not topic.configs:
        yield "its configuration may not be read: allow DescribeConfigs on the topic"
        return
    policy = topic.configs.get("cleanup.policy", "delete")
    wanted = "compact" if spec.compacted else "delete"
    if spec.compacted != ("compact" in policy):
        yield f"cleanup.policy is {policy}: {_set(spec, 'cleanup.policy', wanted)}"
    retention_ms = _number(topic, "retention.ms")
    if spec.retention_s is not None and 0 <= retention_ms < spec.retention_s * 1000:
        yield (
            f"retention.ms is {retention_ms}, and what is older is lost, judged or not: "
            + _set(spec, "retention.ms", round(spec.retention_s * 1000))
        )
    largest_bytes = _number(topic, "max.message.bytes")
    if 0 <= largest_bytes < spec.record_bytes:
        yield (
            f"max.message.bytes is {largest_bytes}, records have up to {spec.record_bytes}: "
            + _set(spec, "max.message.bytes", spec.record_bytes)
        )
    yield from _of_replication(spec, topic)


def _of_replication(spec: TopicSpec, topic: Topic) -> Iterator[str]:
    if topic.replicas < (spec.replicas or 1):
        return  # said already, and to be put right first
    in_sync = _number(topic, "min.insync.replicas")
    if 0 <= in_sync < (spec.min_insync_replicas or 0):
        yield (
            f"min.insync.replicas is {in_sync}, and what so few have may be lost with them: "
            + _set(spec, "min.insync.replicas", spec.min_insync_replicas or 1)
        )
    if in_sync > 1 and in_sync >= topic.replicas:
        yield (
            f"min.insync.replicas is {in_sync} of {topic.replicas} replicas, and the loss of one broker "
            "stops every write: " + _set(spec, "min.insync.replicas", max(1, topic.replicas - 1))
        )


def _of_rights(spec: TopicSpec, topic: Topic) -> Iterator[str]:
    denied = spec.operations - topic.operations if topic.operations else frozenset()
    if denied:
        yield f"we may not do all that a worker does: allow {_named(denied)} on the topic"


def _number(topic: Topic, name: str) -> int:
    """-1 where the brokers do not say, as Kafka has it for `unlimited`."""
    return int(topic.configs.get(name, -1))


def _set(spec: TopicSpec, name: str, value: object) -> str:
    return f"kafka-configs.sh --alter --topic {spec.name} --add-config {name}={value}"


def _named(operations: Iterable[str]) -> str:
    return ", ".join(sorted(name.capitalize() for name in operations))
