"""What the loop relies on, the same over every broker: fake, embedded, Apache Kafka, containers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.brokers import BrokerUnderTest, FakeBrokerUnderTest, publish, wait_for
from worker.errors import BrokerUnavailable, PublishFailed
from worker.settings import KafkaSettings
from worker.stream.types import Consumer, Outgoing, Record, TopicPartition, Unreadable

pytestmark = pytest.mark.timeout(90)


@dataclass
class Member:
    """A consumer and what its listener was told."""

    consumer: Consumer
    finished: dict[TopicPartition, int] = field(default_factory=dict)  # handed over when revoked
    ours: set[TopicPartition] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self.told.append("assigned")
        self.ours |= partitions

    def revoked(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.told.append("revoked")
        self.ours -= partitions
        return {at: offset for at, offset in self.finished.items() if at in partitions}

    def lost(self, partitions: frozenset[TopicPartition]) -> None:
        self.told.append("lost")
        self.ours -= partitions

    def poll(self, timeout_s: float = 0.02, max_records: int = 100) -> list[Record]:
        found = [item for item in self.consumer.poll(timeout_s, max_records) if isinstance(item, Record)]
        self.records += found
        return found


@contextmanager
def joined(broker: BrokerUnderTest, settings: KafkaSettings) -> Iterator[Member]:
    member = Member(broker.consumer(settings))
    member.consumer.subscribe([settings.uploads_topic], member)
    try:
        yield member
    finally:
        member.consumer.close()


@pytest.fixture
def settings(broker: BrokerUnderTest) -> KafkaSettings:
    settings = broker.settings()
    broker.create_topics(settings, partitions=4)
    return settings


def read(member: Member, count: int) -> list[Record]:
    poll_until(lambda: len(member.records) >= count, member, what=f"{count} records")
    return member.records


def poll_until(condition: Callable[[], bool], *members: Member, what: str, timeout_s: float = 40.0) -> None:
    """Each member polls on a thread of its own, as workers do."""
    enough = threading.Event()

    def poll(member: Member) -> None:
        while not enough.is_set():
            member.poll()

    threads = [threading.Thread(target=poll, args=(member,)) for member in members]
    for thread in threads:
        thread.start()
    try:
        wait_for(condition, timeout_s, what)
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def balanced(one: Member, other: Member) -> bool:
    return len(one.ours) == len(other.ours) == 2


def test_records_arrive_with_key_value_headers_and_coordinates(
    broker: BrokerUnderTest, settings: KafkaSettings
) -> None:
    producer = broker.producer(settings)
    headers = (("ce_type", b"upload"), ("trace", b"\x00\xff"))
    producer.send(Outgoing(settings.uploads_topic, b"a", b"bytes\x00", headers)).result(20)
    with joined(broker, settings) as member:
        (record,) = read(member, 1)
    producer.close(2)
    assert (record.key, record.value, record.headers) == (b"a", b"bytes\x00", headers)
    assert (record.topic, record.offset) == (settings.uploads_topic, 0)
    assert abs(record.timestamp_ms / 1000 - time.time()) < 120


def test_a_broker_that_answers_is_not_silent(broker: BrokerUnderTest, settings: KafkaSettings) -> None:
    with joined(broker, settings) as member:
        poll_until(member.consumer.joined, member, what="joined")
        end_s = time.monotonic() + 2 * settings.session_timeout_s
        while time.monotonic() < end_s:  # nothing is published: heartbeats alone must tell
            member.poll(0.05)
            assert member.consumer.silence_s() < settings.session_timeout_s


def test_a_partition_keeps_its_order(broker: BrokerUnderTest, settings: KafkaSettings) -> None:
    producer = broker.producer(settings)
    publish(producer, settings.uploads_topic, [f"key-{n}" for n in range(200)])
    with joined(broker, settings) as member:
        records = read(member, 200)
    producer.close(2)
    by_partition: dict[int, list[int]] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append(record.offset)
    assert all(offsets == list(range(len(offsets))) for offsets in by_partition.values())
    assert len(by_partition) == 4


def test_poll_returns_no_more_than_asked_for(broker: BrokerUnderTest, settings: KafkaSettings) -> None:
    producer = broker.producer(settings)
    publish(producer, settings.uploads_topic, [f"key-{n}" for n in range(50)])
    with joined(broker, settings) as member:
        sizes: list[int] = []
        while sum(sizes) < 50:
            sizes.append(len(member.poll(0.05, max_records=3)))
    producer.close(2)
    assert max(sizes) == 3


@pytest.mark.parametrize("is_full", [False, True], ids=["idle", "full between polls"])
def test_partitions_take_turns(is_full: bool, broker: BrokerUnderTest, settings: KafkaSettings) -> None:
    producer = broker.producer(settings)
    publish(producer, settings.uploads_topic, [f"key-{n}" for n in range(400)])  # about a hundred on each
    with joined(broker, settings) as member:
        while len(member.records) < 400:
            member.poll(0.05, max_records=5)
            if is_full:
                member.consumer.pause()
                member.poll(0.0, max_records=1)
                member.consumer.resume()
    producer.close(2)
    assert {record.partition for record in member.records[:60]} == {0, 1, 2, 3}
    assert {record.partition for record in member.records[200:230]} == {0, 1, 2, 3}


def test_what_is_not_yet_read_is_known(broker: BrokerUnderTest, settings: KafkaSettings) -> None:
    producer = broker.producer(settings)
    for _ in range(6):  # one after the other: the embedded broker counts batches
        publish(producer, settings.uploads_topic, ["one key"])
    producer.close(2)
    with joined(broker, settings) as member:
        while not member.records:
            member.poll(0.05, max_records=2)
        at = member.records[0].topic_partition
        assert member.consumer.lag()[at] == 6 - len(member.records)
        read(member, 6)
        assert member.consumer.lag()[at] == 0


def test_a_group_that_never_committed_starts_at_the_beginning_and_then_where_it_committed(
    broker: BrokerUnderTest, settings: KafkaSettings
) -> None:
    producer = broker.producer(settings)
    publish(producer, settings.uploads_topic, ["same"] * 5)
    with joined(broker, settings) as first:
        at = read(first, 5)[0].topic_partition
        first.consumer.commit({at: 3})
    assert broker.committed(settings)[at.partition] == 3
    with joined(broker, settings) as second:
        assert [record.offset for record in read(second, 2)] == [3, 4]
    producer.close(2)


def test_paused_is_polled_without_records_and_goes_on_where_it_was(
    broker: BrokerUnderTest, settings: KafkaSettings
) -> None:
    producer = broker.producer(settings)
    publish(producer, settings.uploads_topic, ["same"] * 3)
    with joined(broker, settings) as member:
        read(member, 3)
        member.consumer.pause()
        publish(producer, settings.uploads_topic, ["same"] * 3)
        assert [member.poll(0.1) for _ in range(5)] == [[]] * 5
        assert member.consumer.joined()
        member.consumer.resume()
        assert [record.offset for record in read(member, 6)] == [0, 1, 2, 3, 4, 5]
    producer.close(2)


def test_a_second_member_gets_its_share_and_reads_on_from_what_the_first_handed_over(
    broker: BrokerUnderTest, settings: KafkaSettings
) -> None:
    producer = broker.producer(settings)
    keys = [f"key-{n}" for n in range(40)]
    publish(producer, settings.uploads_topic, keys)
    with joined(broker, settings) as first:
        for record in read(first, 40):
            first.finished[record.topic_partition] = record.offset + 1
        with joined(broker, settings) as second:
            poll_until(lambda: balanced(first, second), first, second, what="two partitions each")
            assert not first.ours & second.ours
            publish(producer, settings.uploads_topic, keys)
            poll_until(
                lambda: len(first.records) + len(second.records) >= 80, first, second, what="all records"
            )
    producer.close(2)
    seen = [(record.topic_partition, record.offset) for record in first.records + second.records]
    assert len(seen) == len(set(seen)) == 80  # nothing twice: what was finished had been committed
    assert "lost" not in first.told


def test_the_partitions_of_a_member_that_leaves_are_taken_over_at_once(
    broker: BrokerUnderTest, settings: KafkaSettings
) -> None:
    with joined(broker, settings) as stays:
        poll_until(lambda: len(stays.ours) == 4, stays, what="all partitions")
        with joined(broker, settings) as leaves:
            poll_until(lambda: balanced(stays, leaves), stays, leaves, what="two partitions each")
        poll_until(lambda: len(stays.ours) == 4, stays, what="all partitions again")


def test_a_member_without_partitions_has_joined(broker: BrokerUnderTest, settings: KafkaSettings) -> None:
    settings = settings.model_copy(update={"uploads_topic": settings.dead_letters_topic})  # one partition
    with joined(broker, settings) as first, joined(broker, settings) as second:
        poll_until(
            lambda: (
                first.consumer.joined() and second.consumer.joined() and len(first.ours | second.ours) == 1
            ),
            first,
            second,
            what="both joined",
        )


def test_many_threads_share_a_producer(broker: BrokerUnderTest, settings: KafkaSettings) -> None:
    producer = broker.producer(settings)

    def send(thread: int) -> None:
        publish(producer, settings.verdicts_topic, [f"{thread}-{n}" for n in range(50)])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    producer.close(2)
    keys = [record.key for record in broker.records(settings, settings.verdicts_topic, 200)]
    assert len(keys) == len(set(keys)) == 200


def test_equal_keys_go_to_one_partition(broker: BrokerUnderTest, settings: KafkaSettings) -> None:
    producer = broker.producer(settings)
    publish(producer, settings.verdicts_topic, ["same"] * 10)
    producer.close(2)
    records = broker.records(settings, settings.verdicts_topic, 10)
    assert len({record.partition for record in records}) == 1


def test_healthy_records_are_not_unreadable(broker: BrokerUnderTest, settings: KafkaSettings) -> None:
    producer = broker.producer(settings)
    publish(producer, settings.uploads_topic, ["a", "b"])
    with joined(broker, settings) as member:
        items: list[Record | Unreadable] = []
        give_up_s = time.monotonic() + 20
        while len(items) < 2 and time.monotonic() < give_up_s:
            items += member.consumer.poll(0.05, 10)
    producer.close(2)
    assert [type(item) for item in items] == [Record, Record]


@pytest.fixture(params=["fake", pytest.param("apache_kafka", id="kafka", marks=pytest.mark.kafka)])
def transactional(request: pytest.FixtureRequest) -> BrokerUnderTest:
    """The embedded broker shows what was aborted: not to be relied on."""
    if request.param == "fake":
        return FakeBrokerUnderTest()
    broker: BrokerUnderTest = request.getfixturevalue(request.param)
    return broker


def test_a_transaction_of_a_generation_that_is_over_writes_nothing(transactional: BrokerUnderTest) -> None:
    settings = transactional.settings()
    transactional.create_topics(settings, partitions=1)
    at = TopicPartition(settings.uploads_topic, 0)
    transactions = transactional.transactions(settings)
    with joined(transactional, settings) as member:
        poll_until(lambda: at in member.ours, member, what="joined")
        old = member.consumer.membership()
        transactions.write([Outgoing(settings.verdicts_topic, b"in time", b"v")], {at: 1}, old)
    with joined(transactional, settings) as member:
        poll_until(lambda: at in member.ours, member, what="joined anew")
        for _ in range(2):  # one can go on after it
            with pytest.raises(BrokerUnavailable):
                transactions.write([Outgoing(settings.verdicts_topic, b"too late", b"v")], {at: 2}, old)
        new = member.consumer.membership()
        transactions.write([Outgoing(settings.verdicts_topic, b"again", b"v")], {at: 2}, new)
    transactions.close(2)
    assert transactional.committed(settings) == {0: 2}
    keys = {record.key for record in transactional.records(settings, settings.verdicts_topic, 2)}
    assert keys == {b"in time", b"again"}


def test_a_transaction_that_holds_what_cannot_be_written_writes_nothing(
    transactional: BrokerUnderTest,
) -> None:
    settings = transactional.settings().model_copy(update={"max_message_bytes": 10_000})
    transactional.create_topics(settings, partitions=1)
    if isinstance(transactional, FakeBrokerUnderTest):
        transactional.broker.refuse = lambda record: len(record.value or b"") > 10_000
    at = TopicPartition(settings.uploads_topic, 0)
    transactions = transactional.transactions(settings)
    with joined(transactional, settings) as member:
        poll_until(lambda: at in member.ours, member, what="joined")
        records = [Outgoing(settings.verdicts_topic, b"k", b"x" * size) for size in (10, 20_000)]
        with pytest.raises(PublishFailed):
            transactions.write(records, {at: 1}, member.consumer.membership())
    transactions.close(2)
    assert transactional.committed(settings) == {}
    assert transactional.records(settings, settings.verdicts_topic, 1, timeout_s=1) == []
