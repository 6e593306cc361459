"""`kafka.delivery: exactly_once` on Apache Kafka: a read_committed consumer sees each verdict once."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.brokers import RealBroker, publish, wait_for
from tests.stream.harness import Echo, running
from tests.stream.test_loop_on_brokers import worker_process
from worker.settings import KafkaSettings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

UPLOADS = 400
KILLS = 4


@pytest.fixture
def settings(apache_kafka: RealBroker) -> KafkaSettings:
    settings = apache_kafka.settings().model_copy(
        update={"delivery": "exactly_once", "transaction_timeout_s": 3.0}
    )
    apache_kafka.create_topics(settings, partitions=4)
    return settings


def keys_of(broker: RealBroker, settings: KafkaSettings, topic: str, count: int) -> Counter[str]:
    return Counter((record.key or b"").decode() for record in broker.records(settings, topic, count))


def send(broker: RealBroker, settings: KafkaSettings, keys: list[str]) -> None:
    producer = broker.producer(settings)
    publish(producer, settings.uploads_topic, keys)
    producer.close(2)


@pytest.mark.slow
def test_each_verdict_is_seen_once_though_workers_are_killed(
    apache_kafka: RealBroker, settings: KafkaSettings
) -> None:
    keys = [f"u{n}" for n in range(UPLOADS)]
    send(apache_kafka, settings, keys)
    with ExitStack() as stack:
        workers = [stack.enter_context(worker_process(settings)) for _ in range(2)]
        for kill in range(KILLS):
            reached = (kill + 1) * UPLOADS // (KILLS + 2)
            wait_for(lambda: done(apache_kafka, settings) >= reached, 60, f"{reached} committed")  # noqa: B023
            time.sleep(random.uniform(0, 0.3))
            victim = workers.pop(0)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            workers.append(stack.enter_context(worker_process(settings)))
        wait_for(lambda: done(apache_kafka, settings) >= UPLOADS, 90, "all committed")
        stop(workers)
    assert keys_of(apache_kafka, settings, settings.verdicts_topic, UPLOADS) == Counter(keys)


def done(broker: RealBroker, settings: KafkaSettings) -> int:
    """Records read for good; transactions leave markers, but not on the uploads topic."""
    return sum(broker.committed(settings).values())


def stop(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    for worker in workers:
        assert worker.wait(30) in {0, -signal.SIGTERM}  # the last one may not have its handlers yet


def test_a_rebalance_repeats_nothing(apache_kafka: RealBroker, settings: KafkaSettings) -> None:
    keys = [f"u{n}" for n in range(60)]
    first, second = Echo(settings), Echo(settings)
    first.hold(*keys[:3])  # what is finished behind them is kept and must not get lost or doubled
    with running(apache_kafka, settings, first, max_pending=20) as one:
        wait_for(lambda: len(one.consumer.assignment()) == 4, 30, "first owns all")
        send(apache_kafka, settings, keys)
        wait_for(lambda: len(first.seen) > 10, 30, "the first works")
        with running(apache_kafka, settings, second):
            wait_for(lambda: len(one.consumer.assignment()) == 2, 40, "the first gave half away")
            first.release()
            wait_for(lambda: done(apache_kafka, settings) == 60, 40, "all committed")
    assert keys_of(apache_kafka, settings, settings.verdicts_topic, 60) == Counter(keys)


def test_dead_letters_and_offsets_go_out_together(apache_kafka: RealBroker, settings: KafkaSettings) -> None:
    send(apache_kafka, settings, ["a", "unreadable-1", "b"])
    with running(apache_kafka, settings, Echo(settings)):
        wait_for(lambda: done(apache_kafka, settings) == 3, 30, "all committed")
    assert keys_of(apache_kafka, settings, settings.verdicts_topic, 2) == Counter(["a", "b"])
    assert keys_of(apache_kafka, settings, settings.dead_letters_topic, 1) == Counter(["unreadable-1"])
