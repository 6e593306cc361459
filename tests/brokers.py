"""The brokers that tests run over, each behind the same few functions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from tests.fakes.broker import FakeBroker, FakeConsumer, FakeProducer, FakeTransactions
from worker.errors import BrokerUnavailable
from worker.settings import KafkaSettings
from worker.stream import client
from worker.stream.types import Consumer, Outgoing, Producer, Record, Transactions


class BrokerUnderTest(Protocol):
    name: str
    session_timeout_s: float

    def settings(self, topic: str = "") -> KafkaSettings:
        """A group and three topics of its own."""
        ...

    def consumer(self, settings: KafkaSettings) -> Consumer: ...

    def producer(self, settings: KafkaSettings) -> Producer: ...

    def transactions(self, settings: KafkaSettings) -> Transactions: ...

    def create_topics(self, settings: KafkaSettings, partitions: int) -> None: ...

    def committed(self, settings: KafkaSettings) -> dict[int, int]: ...

    def records(
        self, settings: KafkaSettings, topic: str, count: int, timeout_s: float = 20.0
    ) -> list[Record]:
        """What the topic holds, read until there are ``count`` of them or time is up."""
        ...


@dataclass
class RealBroker:
    name: str
    bootstrap: str
    session_timeout_s: float

    def settings(self, topic: str = "") -> KafkaSettings:
        return unique_settings(self.bootstrap, self.session_timeout_s)

    def consumer(self, settings: KafkaSettings) -> Consumer:
        return client.BrokerConsumer(settings)

    def producer(self, settings: KafkaSettings) -> Producer:
        return client.BrokerProducer(settings)

    def transactions(self, settings: KafkaSettings) -> Transactions:
        return client.BrokerTransactions(settings)

    def create_topics(self, settings: KafkaSettings, partitions: int) -> None:
        client.create_topics(settings, topic_specs(settings, partitions))

    def committed(self, settings: KafkaSettings) -> dict[int, int]:
        try:
            return client.committed_offsets(settings, settings.uploads_topic)
        except BrokerUnavailable:  # the group's coordinator is being made or elected
            return {}

    def records(
        self, settings: KafkaSettings, topic: str, count: int, timeout_s: float = 20.0
    ) -> list[Record]:
        found: list[Record] = []
        give_up_s = time.monotonic() + timeout_s
        with client.Tail(settings, topic, from_beginning=True) as tail:
            while len(found) < count and time.monotonic() < give_up_s:
                found += tail.poll(0.2)
            found += tail.poll(0.2)  # more than expected would show here
        return found


class FakeBrokerUnderTest:
    name = "fake"
    session_timeout_s = 0.5

    def __init__(self) -> None:
        self.broker = FakeBroker()

    def settings(self, topic: str = "") -> KafkaSettings:
        return unique_settings("fake:9092", self.session_timeout_s)

    def consumer(self, settings: KafkaSettings) -> Consumer:
        return FakeConsumer(self.broker, settings)

    def producer(self, settings: KafkaSettings) -> Producer:
        return FakeProducer(self.broker)

    def transactions(self, settings: KafkaSettings) -> Transactions:
        return FakeTransactions(self.broker, settings)

    def create_topics(self, settings: KafkaSettings, partitions: int) -> None:
        for topic in topic_specs(settings, partitions):
            self.broker.create_topic(topic.name, topic.partitions)

    def committed(self, settings: KafkaSettings) -> dict[int, int]:
        return {at.partition: offset for at, offset in self.broker.group(settings.group_id).committed.items()}

    def records(
        self, settings: KafkaSettings, topic: str, count: int, timeout_s: float = 20.0
    ) -> list[Record]:
        wait_for(
            lambda: len(self.broker.records(topic)) >= count, timeout_s, f"{count} records in {topic}", False
        )
        return self.broker.records(topic)


def unique_settings(bootstrap: str, session_timeout_s: float) -> KafkaSettings:
    mark = uuid.uuid4().hex[:8]
    return KafkaSettings(
        bootstrap_servers=bootstrap,
        group_id=f"sluice-{mark}",
        uploads_topic=f"uploads-{mark}",
        verdicts_topic=f"verdicts-{mark}",
        dead_letters_topic=f"uploads-{mark}.dlq",
        session_timeout_s=session_timeout_s,
        request_timeout_s=10.0,
        delivery_timeout_s=10.0,
    )


def topic_specs(settings: KafkaSettings, partitions: int) -> list[client.TopicSpec]:
    return [
        client.TopicSpec(settings.uploads_topic, partitions),
        client.TopicSpec(settings.verdicts_topic, partitions, compacted=True),
        client.TopicSpec(settings.dead_letters_topic, 1),
    ]


def publish(producer: Producer, topic: str, keys: Iterable[str], value: bytes = b"{}") -> None:
    sent = [producer.send(Outgoing(topic, key.encode(), value)) for key in keys]
    for future in sent:
        future.result(20)


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str, must: bool = True) -> None:
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up_s:
            if must:
                raise AssertionError(f"not within {timeout_s} s: {what}")
            return
        time.sleep(0.01)
