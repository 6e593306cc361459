"""An upload that kills whichever worker begins it, over real brokers and real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests import parts
from tests.brokers import RealBroker, wait_for
from worker.messages import Verdict
from worker.settings import KafkaSettings, WorkerSettings
from worker.stream.types import Outgoing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

UPLOADS = 24
GUILTY = "u-9"
K = WorkerSettings().quarantine_after


def publish(broker: RealBroker, settings: KafkaSettings) -> None:
    producer = broker.producer(settings)
    for number in range(UPLOADS):
        upload_id = f"u-{number}"
        uri = "s3://b/kill" if upload_id == GUILTY else "s3://b/k"
        event = json.dumps({"upload_id": upload_id, "uri": uri}).encode()
        producer.send(Outgoing(settings.uploads_topic, upload_id.encode(), event)).result(20)
    producer.close(2)


def answered(broker: RealBroker, settings: KafkaSettings) -> bool:
    return sum(broker.committed(settings).values()) == UPLOADS


def deaths_until_all_are_answered(broker: RealBroker, settings: KafkaSettings, where: str) -> int:
    """Starts the worker again each time it dies."""
    command = [sys.executable, "-m", "tests.stream.doomed_worker", settings.model_dump_json(), where]
    for deaths in range(K + 2):
        with subprocess.Popen(command, cwd=parts.CHECKOUT) as worker:
            try:
                wait_for_end_or_death(broker, settings, worker)
                if worker.poll() is None:
                    worker.send_signal(signal.SIGTERM)
                    assert worker.wait(20) == 0
                    return deaths
                assert worker.returncode == -signal.SIGKILL
            finally:
                worker.kill()
    raise AssertionError("still killed by it")


def wait_for_end_or_death(
    broker: RealBroker, settings: KafkaSettings, worker: subprocess.Popen[bytes]
) -> None:
    wait_for(lambda: worker.poll() is not None or answered(broker, settings), 60, "an end or a death")


def check(broker: RealBroker, where: str) -> None:
    settings = broker.settings()
    broker.create_topics(settings, partitions=2)
    publish(broker, settings)
    assert deaths_until_all_are_answered(broker, settings, where) == K
    reasons = defaultdict(set)
    for record in broker.records(settings, settings.verdicts_topic, UPLOADS):
        verdict = Verdict.model_validate_json(record.value or b"")
        reasons[verdict.upload_id].add((verdict.decision, verdict.reason))
    assert reasons.pop(GUILTY) == {("review", "quarantined")}
    assert len(reasons) == UPLOADS - 1
    assert set.union(*reasons.values()) == {("review", "undecodable")}


def test_it_is_answered_after_k_deaths_and_the_others_are_not_touched(
    real_broker: RealBroker, embedded_cache: str
) -> None:
    check(real_broker, embedded_cache)


def test_without_a_cache_a_folder_remembers(embedded_broker: RealBroker, tmp_path: Path) -> None:
    check(embedded_broker, str(tmp_path))
