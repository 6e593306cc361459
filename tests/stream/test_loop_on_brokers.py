"""The loop over real brokers: two workers, one killed; rebalance; poison; a broker that goes and comes."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import parts
from tests.brokers import BrokerUnderTest, RealBroker, publish, wait_for
from tests.kafka_node import KafkaNode
from tests.stream.harness import Echo, running
from worker.settings import KafkaSettings

pytestmark = pytest.mark.timeout(120)

UPLOADS = 200


@contextlib.contextmanager
def worker_process(
    settings: KafkaSettings, seconds: float = 0.02, drain_s: float = 10.0, output: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.stream.echo_worker", settings.model_dump_json()]
    with contextlib.ExitStack() as stack:
        log = None if output is None else stack.enter_context(output.open("wb"))
        process = subprocess.Popen([*command, str(seconds), str(drain_s)], cwd=parts.CHECKOUT, stdout=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def settings(real_broker: BrokerUnderTest) -> KafkaSettings:
    settings = real_broker.settings()
    real_broker.create_topics(settings, partitions=4)
    return settings


def verdicts(
    broker: BrokerUnderTest, settings: KafkaSettings, count: int, timeout_s: float = 20
) -> Counter[str]:
    records = broker.records(settings, settings.verdicts_topic, count, timeout_s)
    return Counter((record.key or b"").decode() for record in records)


def test_nothing_is_lost_when_one_of_two_workers_is_killed(
    real_broker: BrokerUnderTest, settings: KafkaSettings
) -> None:
    producer = real_broker.producer(settings)
    keys = [f"u{n}" for n in range(UPLOADS)]
    with worker_process(settings) as victim, worker_process(settings) as survivor:
        publish(producer, settings.uploads_topic, keys)
        verdicts(real_broker, settings, UPLOADS // 4)
        victim.send_signal(signal.SIGKILL)
        wait_for(
            lambda: sum(real_broker.committed(settings).values()) == UPLOADS, 60, "all uploads are committed"
        )
        survivor.send_signal(signal.SIGTERM)
        assert survivor.wait(20) == 0
    producer.close(2)
    found = verdicts(real_broker, settings, UPLOADS)
    assert set(found) == set(keys)
    assert sum(found.values()) <= UPLOADS + 16 + 4  # repeats: at most what the victim had in flight


def test_a_worker_that_is_asked_to_stop_under_load_loses_and_repeats_nothing(
    real_broker: BrokerUnderTest, settings: KafkaSettings
) -> None:
    producer = real_broker.producer(settings)
    keys = [f"u{n}" for n in range(UPLOADS)]
    publish(producer, settings.uploads_topic, keys)
    with worker_process(settings) as first:
        verdicts(real_broker, settings, 20)
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0
    with worker_process(settings) as second:
        wait_for(lambda: sum(real_broker.committed(settings).values()) == UPLOADS, 60, "all committed")
        second.send_signal(signal.SIGTERM)
        assert second.wait(20) == 0
    producer.close(2)
    assert verdicts(real_broker, settings, UPLOADS) == Counter(keys)


def test_a_second_worker_shares_the_load_without_repeats(
    real_broker: BrokerUnderTest, settings: KafkaSettings
) -> None:
    producer = real_broker.producer(settings)
    first, second = Echo(settings), Echo(settings)
    with running(real_broker, settings, first) as one:
        wait_for(
            lambda: one.loop.health().joined and len(one.consumer.assignment()) == 4, 30, "first owns all"
        )
        with running(real_broker, settings, second) as two:
            wait_for(lambda: len(two.consumer.assignment()) == 2, 40, "second owns half")
            keys = [f"u{n}" for n in range(100)]
            publish(producer, settings.uploads_topic, keys)
            wait_for(lambda: sum(real_broker.committed(settings).values()) == 100, 40, "all committed")
    producer.close(2)
    assert first.seen
    assert second.seen
    assert verdicts(real_broker, settings, 100) == Counter(keys)


def test_a_rebalance_while_a_worker_is_full(real_broker: BrokerUnderTest, settings: KafkaSettings) -> None:
    """Paused workers must follow a rebalance too."""
    producer = real_broker.producer(settings)
    keys = [f"u{n}" for n in range(40)]
    publish(producer, settings.uploads_topic, keys)
    first, second = Echo(settings), Echo(settings)
    first.hold(*keys)
    with running(real_broker, settings, first, concurrency=2, max_pending=4) as one:
        wait_for(lambda: one.loop.health().pending == 4, 30, "the first is full")
        with running(real_broker, settings, second):
            wait_for(lambda: len(one.consumer.assignment()) == 2, 40, "the first gave half away")
            wait_for(lambda: len(second.seen) > 5, 30, "the second works")
            first.release()
            wait_for(lambda: sum(real_broker.committed(settings).values()) == 40, 40, "all committed")
    producer.close(2)
    assert verdicts(real_broker, settings, 40) == Counter(keys)


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[KafkaNode]:
    parts.used["Apache Kafka"] += 1
    with KafkaNode(parts.kafka_home(), tmp_path) as node:
        yield node


@pytest.mark.kafka
def test_a_corrupt_batch_is_sought_past_and_dead_lettered(own_node: KafkaNode) -> None:
    broker = RealBroker("Apache Kafka", own_node.bootstrap, session_timeout_s=3.0)
    settings = broker.settings()
    broker.create_topics(settings, partitions=1)
    producer = broker.producer(settings)
    for key in ("a", "corrupt-me", "b", "corrupt-me-too", "c"):
        publish(producer, settings.uploads_topic, [key])  # each in a batch of its own
    producer.close(2)
    own_node.stop()
    (segment,) = (own_node.data / f"{settings.uploads_topic}-0").glob("*.log")
    segment.write_bytes(segment.read_bytes().replace(b"corrupt-me", b"CORRUPT-me"))  # the CRC now lies
    own_node.start()
    echo = Echo(settings)
    with running(broker, settings, echo) as run:
        wait_for(lambda: broker.committed(settings) == {0: 5}, 30, "read past both")
        assert run.loop.health().last_poll_age_s < 5
    letters = broker.records(settings, settings.dead_letters_topic, 2)
    assert {dict(letter.headers)["__connect.errors.offset"] for letter in letters} == {b"1", b"3"}
    assert sorted(echo.seen) == ["a", "b", "c"]


@pytest.mark.kafka
def test_a_broker_that_is_killed_and_started_again(own_node: KafkaNode) -> None:
    """No client of this process may live while the broker is away: kafka-python forgets their sockets."""
    broker = RealBroker("Apache Kafka", own_node.bootstrap, session_timeout_s=3.0)
    settings = broker.settings().model_copy(update={"delivery_timeout_s": 60.0})
    broker.create_topics(settings, partitions=2)
    before, after = [f"before-{n}" for n in range(40)], [f"after-{n}" for n in range(20)]
    publish_and_close(broker, settings, before)
    with worker_process(settings, seconds=0.3) as worker:
        verdicts(broker, settings, 4)
        own_node.stop(signal.SIGKILL)
        time.sleep(2)  # uploads are answered meanwhile
        own_node.start()
        publish_and_close(broker, settings, after)
        wait_for(lambda: sum(broker.committed(settings).values()) == 60, 60, "all committed")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    assert set(verdicts(broker, settings, 60)) == {*before, *after}


def publish_and_close(broker: BrokerUnderTest, settings: KafkaSettings, keys: list[str]) -> None:
    producer = broker.producer(settings)
    publish(producer, settings.uploads_topic, keys)
    producer.close(5)
