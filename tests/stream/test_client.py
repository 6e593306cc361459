"""The adapters to kafka-python: translation, bounds, poison, assignment, tail, topics."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from kafka import TopicPartition as ForeignPartition
from kafka import errors as foreign

from tests import parts
from tests.brokers import RealBroker, publish, wait_for
from tests.contracts.test_broker import Member, joined, poll_until
from worker.errors import BrokerUnavailable, PublishFailed, SettingsError, SluiceError
from worker.settings import KafkaSettings
from worker.stream import client
from worker.stream.client import consumer as consumer_module
from worker.stream.client import errors
from worker.stream.room import Room, size_bytes
from worker.stream.types import Outgoing


@pytest.mark.parametrize(
    ("error", "ours", "words"),
    [
        (foreign.KafkaTimeoutError("x"), BrokerUnavailable, "KafkaTimeoutError"),
        (foreign.NotCoordinatorError(), BrokerUnavailable, "NotCoordinatorError"),
        (ConnectionRefusedError("x"), BrokerUnavailable, "ConnectionRefusedError"),
        (foreign.SaslAuthenticationFailedError("x"), SettingsError, "SaslAuthenticationFailedError"),
        (foreign.TopicAuthorizationFailedError("x"), SettingsError, "TopicAuthorizationFailedError"),
        (foreign.InconsistentGroupProtocolError(), SettingsError, "kafka.assignment"),
        (foreign.InvalidSessionTimeoutError(), SettingsError, "kafka.session_timeout_s"),
    ],
)
def test_foreign_errors_are_translated(error: Exception, ours: type[SluiceError], words: str) -> None:
    translated = errors.translated(error)
    assert type(translated) is ours
    assert words in str(translated)


def test_errors_that_are_not_the_clients_stay_what_they_are() -> None:
    error = KeyError("a bug")
    assert errors.translated(error) is error


def test_without_crc32c_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for start in (client.BrokerConsumer, client.BrokerProducer):
        with pytest.raises(SettingsError, match="crc32c"):
            start(KafkaSettings())


@pytest.mark.parametrize("adapter", ["BrokerConsumer", "BrokerProducer"])
def test_a_broker_that_is_not_there_is_unavailable(adapter: str) -> None:
    """In a process of its own: kafka-python leaves sockets open when it cannot connect."""
    program = (
        "from worker.settings import KafkaSettings\n"
        "from worker.stream import client\n"
        f"client.{adapter}(KafkaSettings(bootstrap_servers='127.0.0.1:1', request_timeout_s=1))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=parts.CHECKOUT, capture_output=True, text=True, check=False
    )
    assert "worker.errors.BrokerUnavailable: Kafka: KafkaTimeoutError" in run.stderr


def test_bytes_in_flight_are_bounded() -> None:
    room = Room(limit_bytes=100)
    assert room.take(60, 0)
    assert not room.take(60, 0.01)
    threading.Timer(0.1, room.give, (60,)).start()
    assert room.take(60, 5)


def test_a_record_larger_than_the_room_goes_alone() -> None:
    room = Room(limit_bytes=100)
    assert room.take(1000, 0)
    assert not room.take(1, 0.01)


def test_the_size_of_a_record_counts_its_headers() -> None:
    bare = size_bytes(Outgoing("t", b"kk", b"vvv"))
    assert size_bytes(Outgoing("t", b"kk", b"vvv", (("name", b"value"),))) == bare + 19


@pytest.fixture
def settings(embedded_broker: RealBroker) -> KafkaSettings:
    settings = embedded_broker.settings()
    embedded_broker.create_topics(settings, partitions=2)
    return settings


def test_a_record_over_the_limit_fails_and_others_go_on(settings: KafkaSettings) -> None:
    producer = client.BrokerProducer(settings.model_copy(update={"max_message_bytes": 10_000}))
    error = producer.send(Outgoing(settings.verdicts_topic, b"k", b"x" * 20_000)).exception(10)
    assert isinstance(error, PublishFailed)
    assert "MessageSizeTooLargeError" in str(error)
    producer.send(Outgoing(settings.verdicts_topic, b"k", b"x")).result(10)
    producer.close(2)


def test_topics_are_created_once(settings: KafkaSettings) -> None:
    wanted = [client.TopicSpec(settings.uploads_topic), client.TopicSpec(settings.uploads_topic + "-new")]
    assert client.missing_topics(settings, [topic.name for topic in wanted]) == (wanted[1].name,)
    assert client.create_topics(settings, wanted) == (wanted[1].name,)
    assert client.create_topics(settings, wanted) == ()


def test_a_tail_from_now_on_shows_only_what_comes(settings: KafkaSettings) -> None:
    producer = client.BrokerProducer(settings)
    publish(producer, settings.verdicts_topic, ["old"])
    with client.Tail(settings, settings.verdicts_topic) as tail:
        publish(producer, settings.verdicts_topic, ["new"])
        seen: list[bytes | None] = []
        give_up_s = time.monotonic() + 10
        while not seen and time.monotonic() < give_up_s:
            seen += [record.key for record in tail.poll(0.2)]
    producer.close(2)
    assert seen == [b"new"]


def test_a_tail_needs_a_topic(settings: KafkaSettings) -> None:
    with pytest.raises(SettingsError, match="there is no topic 'nowhere'"):
        client.Tail(settings, "nowhere")


def test_old_brokers_get_the_range_assignor(settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "COOPERATIVE_SINCE", (99, 0))
    consumer = client.BrokerConsumer(settings)
    (assignor,) = consumer._consumer.config["partition_assignment_strategy"]
    consumer.close()
    assert assignor.name == "range"


def test_a_partition_that_was_paused_half_read_goes_on_after_another_was_used_up(
    settings: KafkaSettings,
) -> None:
    """As after a rebalance while full: the old partition is paused, the new one not yet."""
    producer = client.BrokerProducer(settings)
    publish(producer, settings.uploads_topic, [f"key-{n}" for n in range(40)])
    producer.close(2)
    consumer = client.BrokerConsumer(settings)
    member = Member(consumer)
    consumer.subscribe([settings.uploads_topic], member)
    while not (member.records and len(member.ours) == 2):
        member.poll(0.5, max_records=1)
    half_read = ForeignPartition(*member.records[-1].topic_partition)
    consumer._consumer.pause(half_read)
    while member.poll(0.5):
        pass  # uses up the other
    before = len(member.records)
    consumer._consumer.resume(half_read)
    poll_until(lambda: len(member.records) == 40, member, what="the rest")
    consumer.close()
    assert 0 < before < 40


@pytest.mark.kafka
@pytest.mark.timeout(60)
def test_eager_and_cooperative_do_not_mix(apache_kafka: RealBroker) -> None:
    settings = apache_kafka.settings()
    apache_kafka.create_topics(settings, partitions=2)
    with joined(apache_kafka, settings) as first:
        poll_until(lambda: len(first.ours) == 2, first, what="joined")
        other = apache_kafka.consumer(settings.model_copy(update={"assignment": "range"}))
        other.subscribe([settings.uploads_topic], first)
        with pytest.raises(SettingsError, match=r"kafka\.assignment"):
            wait_for(lambda: other.poll(0.1, 1) is None, 20, "refused")
        other.close()


@pytest.mark.kafka
@pytest.mark.timeout(60)
def test_the_range_assignor_commits_what_is_finished_before_it_lets_go(apache_kafka: RealBroker) -> None:
    settings = apache_kafka.settings().model_copy(update={"assignment": "range"})
    apache_kafka.create_topics(settings, partitions=2)
    producer = apache_kafka.producer(settings)
    publish(producer, settings.uploads_topic, [f"u{n}" for n in range(20)])
    with joined(apache_kafka, settings) as first:
        poll_until(lambda: len(first.records) == 20, first, what="all read")
        first.finished = {r.topic_partition: r.offset + 1 for r in first.records}
        with joined(apache_kafka, settings) as second:
            poll_until(lambda: len(second.ours) == 1, first, second, what="one partition each")
            poll_until(
                lambda: sum(apache_kafka.committed(settings).values()) == 20, first, second, what="committed"
            )
            assert second.records == []
    producer.close(2)
