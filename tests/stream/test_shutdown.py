"""How workers stop: in order, in time, at once; and what becomes of long jobs meanwhile. Real processes."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import RealBroker, publish, wait_for
from tests.stream.echo_worker import ABANDONED
from tests.stream.harness import Echo, running
from tests.stream.test_loop_on_brokers import verdicts, worker_process
from worker.settings import KafkaSettings

pytestmark = pytest.mark.timeout(120)

KEYS = [f"u{n}" for n in range(6)]
LONG_S = 30.0


@pytest.fixture
def settings(real_broker: RealBroker) -> KafkaSettings:
    settings = real_broker.settings()
    real_broker.create_topics(settings, partitions=2)
    producer = real_broker.producer(settings)
    publish(producer, settings.uploads_topic, KEYS)
    producer.close(2)
    return settings


@contextlib.contextmanager
def at_work(
    settings: KafkaSettings, seconds: float, drain_s: float, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that has taken up uploads."""
    with worker_process(settings, seconds, drain_s, log) as worker:
        wait_for(lambda: b"partitions_assigned" in log.read_bytes(), 30, "assigned")
        time.sleep(1.0)
        yield worker


def check_that_another_answers_each_once(broker: RealBroker, settings: KafkaSettings) -> None:
    with worker_process(settings) as other:
        wait_for(lambda: sum(broker.committed(settings).values()) == len(KEYS), 60, "all committed")
        other.send_signal(signal.SIGTERM)
        assert other.wait(30) == 0
    assert verdicts(broker, settings, len(KEYS)) == Counter(KEYS)


def test_long_jobs_are_finished_while_there_is_time(
    real_broker: RealBroker, settings: KafkaSettings, tmp_path: Path
) -> None:
    with at_work(settings, seconds=2.0, drain_s=20.0, log=tmp_path / "log") as worker:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    assert sum(real_broker.committed(settings).values()) == len(KEYS)
    assert verdicts(real_broker, settings, len(KEYS)) == Counter(KEYS)


def test_long_jobs_are_abandoned_when_there_is_not(
    real_broker: RealBroker, settings: KafkaSettings, tmp_path: Path
) -> None:
    """A rolling restart: the next worker begins them anew, and nothing is answered twice."""
    with at_work(settings, seconds=LONG_S, drain_s=0.5, log=tmp_path / "log") as worker:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == ABANDONED
    check_that_another_answers_each_once(real_broker, settings)


def test_a_second_signal_ends_it_at_once(
    real_broker: RealBroker, settings: KafkaSettings, tmp_path: Path
) -> None:
    with at_work(settings, seconds=LONG_S, drain_s=LONG_S, log=tmp_path / "log") as worker:
        worker.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(1.0)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(5.0) == 128 + signal.SIGTERM
    check_that_another_answers_each_once(real_broker, settings)


def test_a_job_may_take_longer_than_the_session(real_broker: RealBroker, settings: KafkaSettings) -> None:
    echo = Echo(settings)
    echo.hold(*KEYS)
    with running(real_broker, settings, echo) as run:
        wait_for(lambda: len(echo.seen) == 4, 30, "at work")
        time.sleep(2 * settings.session_timeout_s)
        assert run.loop.health().joined
        echo.release()
        wait_for(lambda: sum(real_broker.committed(settings).values()) == len(KEYS), 20, "all committed")
    assert sorted(echo.seen) == sorted(KEYS)
    assert verdicts(real_broker, settings, len(KEYS)) == Counter(KEYS)
