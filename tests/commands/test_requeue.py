"""`sluice requeue` over real brokers: by reason, time and id; what waits is not published twice."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from tests.brokers import BrokerUnderTest, RealBroker
from tests.commands.running import sluice
from tests.samples import VERSIONS
from worker.messages import Action, Coordinates, Verdict
from worker.settings import KafkaSettings
from worker.stream.types import Outgoing, Record, TopicPartition

pytestmark = pytest.mark.timeout(60)

NOW = datetime.now(UTC)


@pytest.fixture
def kafka(real_broker: RealBroker) -> KafkaSettings:
    """Four uploads with verdicts; the second has been judged twice, the first verdict was an error."""
    settings = real_broker.settings()
    real_broker.create_topics(settings, 1)
    producer = real_broker.producer(settings)
    for name in ("u0", "u1", "u2", "u3"):
        record = Outgoing(settings.uploads_topic, name.encode(), f"value of {name}".encode(), (("h", b"1"),))
        producer.send(record).result(20)
    answer(producer, settings, "u0", 0, "source_unavailable")
    answer(producer, settings, "u1", 1, "source_unavailable")
    answer(producer, settings, "u1", 1, "", "allow")
    answer(producer, settings, "u2", 2, "source_unavailable", age_h=5)
    answer(producer, settings, "u3", 99, "undecodable")
    producer.close(2)
    return settings


def answer(
    producer: object, settings: KafkaSettings, upload_id: str, offset: int, reason: str,
    decision: Action = "review", age_h: float = 0,
) -> None:  # fmt: skip
    verdict = Verdict(
        verdict_id=uuid.uuid4(),
        upload_id=upload_id,
        decision=decision,
        decided_by="error" if reason else "filter",
        reason=reason,
        versions=VERSIONS,
        source=Coordinates(topic=settings.uploads_topic, partition=0, offset=offset),
        decided_at=NOW - timedelta(hours=age_h),
    )
    record = Outgoing(settings.verdicts_topic, upload_id.encode(), verdict.model_dump_json().encode())
    producer.send(record).result(20)  # type: ignore[attr-defined]


def uploads(broker: BrokerUnderTest, settings: KafkaSettings, count: int) -> list[Record]:
    return broker.records(settings, settings.uploads_topic, count)[4:]


def test_by_reason_and_time_and_only_once_while_it_waits(
    real_broker: RealBroker, kafka: KafkaSettings
) -> None:
    commit(real_broker, kafka, 4)
    by_reason = ("requeue", "--reason", "source_unavailable", "--since", "1h")
    assert sluice(kafka, *by_reason, "--dry-run").stdout.splitlines() == [
        f"would requeue u0 (source_unavailable, from {kafka.uploads_topic}/0/0)",
        "would requeue: 1",
    ]
    assert uploads(real_broker, kafka, 4) == []

    assert sluice(kafka, *by_reason).stdout == "published again: 1, not possible: 0\n"
    (again,) = uploads(real_broker, kafka, 5)
    requeued = ("sluice.requeued", f"{kafka.uploads_topic}/0/0".encode())
    assert (again.key, again.value, again.headers) == (b"u0", b"value of u0", (("h", b"1"), requeued))

    assert sluice(kafka, *by_reason).stdout.startswith("already waiting: 1\n")
    both = sluice(kafka, "requeue", "--reason", "source_unavailable")
    assert both.stdout == "already waiting: 1\npublished again: 1, not possible: 0\n"
    assert [record.key for record in uploads(real_broker, kafka, 6)] == [b"u0", b"u2"]

    producer = real_broker.producer(kafka)  # both are answered, the one in vain
    answer(producer, kafka, "u0", 4, "source_unavailable")
    answer(producer, kafka, "u2", 5, "", "block")
    producer.close(2)
    commit(real_broker, kafka, 6)
    assert sluice(kafka, "requeue", "--reason", "source_unavailable").stdout.startswith("published again: 1")
    assert uploads(real_broker, kafka, 7)[-1].headers[-1][1].endswith(b"/0/4")
    assert uploads(real_broker, kafka, 7)[-1].value == b"value of u0"


def test_what_is_gone_is_said(kafka: KafkaSettings) -> None:
    done = sluice(kafka, "requeue", "u3")
    assert done.exit_code == 1
    assert f"u3: {kafka.uploads_topic}/0/99 is gone or cannot be read" in done.stderr


def test_by_decision_and_id(real_broker: RealBroker, kafka: KafkaSettings) -> None:
    assert sluice(kafka, "requeue", "--decision", "allow").exit_code == 0
    assert sluice(kafka, "requeue", "u0", "u1", "--decision", "block").exit_code == 0
    assert [record.key for record in uploads(real_broker, kafka, 5)] == [b"u1"]


def commit(broker: BrokerUnderTest, settings: KafkaSettings, offset: int) -> None:
    from tests.contracts.test_broker import joined, poll_until

    with joined(broker, settings) as member:
        poll_until(lambda: bool(member.ours), member, what="joined")
        member.consumer.commit({TopicPartition(settings.uploads_topic, 0): offset})
