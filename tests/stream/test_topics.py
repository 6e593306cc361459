"""What is wrong with topics, as a table: a good cluster with one thing changed, and what is said of it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from worker.settings import KafkaSettings
from worker.stream.topics import Described, Topic, mismatches, needed

KAFKA = KafkaSettings()
WEEK_MS = 7 * 86400 * 1000
GOOD = {
    "cleanup.policy": "delete",
    "retention.ms": str(WEEK_MS),
    "max.message.bytes": str(32 * 1024 * 1024),
    "min.insync.replicas": "2",
}
EVERYTHING = frozenset({"READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS", "CREATE"})
TOPIC = Topic(partitions=4, replicas=3, configs=GOOD, operations=EVERYTHING)
VERDICTS = replace(TOPIC, configs=GOOD | {"cleanup.policy": "compact"})
CLUSTER = Described(
    brokers=3,
    topics={"uploads": TOPIC, "verdicts": VERDICTS, "uploads.dlq": replace(TOPIC, partitions=1)},
    hidden=frozenset(),
    group_readable=True,
)


def with_topic(name: str, **changed: Any) -> Described:
    topic = CLUSTER.topics[name]
    changed["configs"] = {**topic.configs, **changed.get("configs", {})}
    return replace(CLUSTER, topics={**CLUSTER.topics, name: replace(topic, **changed)})


def said(found: Described, **expected: Any) -> list[str]:
    return list(mismatches(needed(KAFKA, brokers=found.brokers, **expected), found, KAFKA.group_id))


def configured(**configs: str) -> dict[str, Any]:
    return {"configs": {name.replace("_", "."): value for name, value in configs.items()}}


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("uploads", {"partitions": 2}, "uploads: it has 2 partitions, at least 4 are wanted: kafka-topics.sh"),
    ("uploads", {"replicas": 2, **configured(min_insync_replicas="1")}, "2 replicas, at least 3 are wanted"),
    ("verdicts", configured(cleanup_policy="delete"), "--topic verdicts --add-config cleanup.policy=compact"),
    ("uploads", configured(cleanup_policy="compact"), "--topic uploads --add-config cleanup.policy=delete"),
    ("uploads.dlq", configured(retention_ms="3600000"), f"retention.ms is 3600000, .*retention.ms={WEEK_MS}"),
    (
        "uploads",
        configured(max_message_bytes="1048588"),
        "max.message.bytes is 1048588, records have up to 33554432: .*max.message.bytes=33554432",
    ),
    ("uploads.dlq", configured(max_message_bytes="1000"), "records have up to 921600"),
    ("verdicts", configured(min_insync_replicas="1"), "min.insync.replicas is 1, .*min.insync.replicas=2"),
    ("verdicts", configured(min_insync_replicas="3"), "3 of 3 replicas, .*loss of one broker"),
    ("uploads", {"operations": frozenset({"DESCRIBE", "WRITE"})}, "allow Read on the topic"),
    ("verdicts", {"operations": frozenset({"READ"})}, "allow Write on the topic"),
]


@pytest.mark.parametrize(("name", "changed", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_one_thing_wrong_is_one_thing_said(name: str, changed: dict[str, Any], message: str) -> None:
    (text,) = [each for each in said(with_topic(name, **changed)) if re.search(message, each)]
    assert text.startswith(f"{name}: ")
    assert len(said(with_topic(name, **changed))) == 1


GOOD_ENOUGH: list[tuple[str, dict[str, Any]]] = [
    ("uploads", {"partitions": 48}),
    ("verdicts", {"partitions": 1}),  # spread by key: no number of workers needs more
    ("uploads", configured(retention_ms="-1")),
    ("verdicts", configured(retention_ms="1000")),  # of a topic that deletes nothing
    ("verdicts", configured(max_message_bytes="1048588")),
    ("verdicts", configured(cleanup_policy="compact,delete")),
    ("uploads", {"operations": frozenset()}),  # the brokers do not say
]


@pytest.mark.parametrize(("name", "changed"), GOOD_ENOUGH)
def test_nothing_is_said_of_what_will_do(name: str, changed: dict[str, Any]) -> None:
    assert said(with_topic(name, **changed)) == []


def test_what_is_not_there_or_may_not_be_seen() -> None:
    nothing = replace(CLUSTER, topics={}, hidden=frozenset({"verdicts"}), group_readable=False)
    assert said(nothing) == [
        "uploads: there is no such topic: `sluice topics create`",
        "verdicts: we may not see it: allow Write on the topic",
        "uploads.dlq: there is no such topic: `sluice topics create`",
        "sluice: the group may not be used: allow Read on the group 'sluice'",
    ]
    unreadable = {**CLUSTER.topics, "uploads": replace(TOPIC, configs={})}
    assert said(replace(CLUSTER, topics=unreadable)) == [
        "uploads: its configuration may not be read: allow DescribeConfigs on the topic"
    ]


def test_verdicts_are_made_with_as_many_partitions_as_uploads() -> None:
    made = {spec.name: spec.partitions for spec in needed(KAFKA, brokers=3, partitions=12)}
    assert made == {"uploads": 12, "verdicts": 12, "uploads.dlq": 1}


def test_models_on_trial_need_a_topic_more() -> None:
    *_, shadow = needed(KAFKA, brokers=1, shadow_topic="verdicts.shadow")
    assert (shadow.name, shadow.compacted) == ("verdicts.shadow", False)
    assert shadow.operations == {"WRITE"}


@pytest.mark.parametrize(
    ("brokers", "given", "replicas", "in_sync"),
    [
        (1, {}, 1, 1),
        (2, {}, 2, 1),
        (3, {}, 3, 2),
        (9, {}, 3, 2),
        (9, {"replicas": 5}, 5, 4),
        (3, {"min_insync_replicas": 1}, 3, 1),
    ],
)
def test_replicas_follow_from_the_brokers(
    brokers: int, given: dict[str, Any], replicas: int, in_sync: int
) -> None:
    for spec in needed(KAFKA, brokers=brokers, **given):
        assert (spec.replicas, spec.min_insync_replicas) == (replicas, in_sync)
