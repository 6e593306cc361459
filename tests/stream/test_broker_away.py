"""Brokers that go away under a worker which has joined, and come back: a real worker, asked on its port."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import parts
from tests.brokers import RealBroker, wait_for
from tests.drills.probes import is_live, is_ready
from tests.kafka_node import KafkaNode
from worker.child import WorkerProcess
from worker.standalone import EMBEDDED_SESSION_TIMEOUT_S, HOST, EmbeddedBroker
from worker.telemetry.scrape import read_worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

READY_WITHIN_S = 120.0
SETTINGS = {
    "SLUICE_DECODE__PROCESSES": "1",
    "SLUICE_INFERENCE__ESCALATION": "",  # starts sooner
    "SLUICE_INFERENCE__MAX_BATCH_CLIPS": "1",
}


@dataclass(frozen=True, slots=True)
class Leaving:
    broker: RealBroker
    leave: Callable[[], object]
    come_back: Callable[[], object]


@contextmanager
def embedded(folder: Path) -> Iterator[Leaving]:
    """Stopped by a signal: what it holds in memory would be gone with its process."""
    server = EmbeddedBroker()
    with server as bootstrap:
        yield Leaving(
            RealBroker("embedded broker", bootstrap, EMBEDDED_SESSION_TIMEOUT_S),
            lambda: os.kill(server.pid, signal.SIGSTOP),
            lambda: os.kill(server.pid, signal.SIGCONT),
        )


@contextmanager
def apache(folder: Path) -> Iterator[Leaving]:
    home = parts.kafka_home()
    parts.used["Apache Kafka"] += 1
    with KafkaNode(home, folder) as node:
        yield Leaving(
            RealBroker("Apache Kafka", node.bootstrap, session_timeout_s=3.0),
            lambda: node.stop(signal.SIGKILL),
            node.start,
        )


@pytest.mark.parametrize(
    "brokers",
    [pytest.param(embedded, id="tansu"), pytest.param(apache, id="kafka", marks=pytest.mark.kafka)],
)
def test_an_idle_worker_whose_broker_is_away_is_alive_and_not_ready(
    brokers: Callable[[Path], AbstractContextManager[Leaving]], tmp_path: Path
) -> None:
    with brokers(tmp_path) as away:
        settings = away.broker.settings()
        away.broker.create_topics(settings, partitions=2)
        with WorkerProcess(settings, tmp_path / "log", SETTINGS) as worker:

            def reading() -> tuple[float, str]:
                """The silence in seconds, and what /readyz complains about."""
                read = read_worker(f"{HOST}:{worker.health_port}", 2.0)
                return read.samples["sluice_broker_silence_seconds"][frozenset()], read.failing

            worker.wait_until_ready(READY_WITHIN_S)
            assert reading()[0] < settings.session_timeout_s
            away.leave()
            wait_for(lambda: not is_ready(worker), 30, "not ready")
            silence_s, complaint = reading()
            assert silence_s > settings.session_timeout_s
            assert complaint.startswith("broker: the group's coordinator last answered")
            assert is_live(worker)  # a restart would not bring the broker back
            away.come_back()
            wait_for(lambda: is_ready(worker), 60, f"ready again; {worker.log_tail()}")
            assert reading()[0] < settings.session_timeout_s
