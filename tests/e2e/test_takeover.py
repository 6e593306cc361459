"""The promise: every upload is answered once, also when a worker is killed in the middle.

Two workers of one group judge 200 real clips; one of them gets SIGKILL. Verdicts may be written twice,
but each upload has exactly one distinct verdict id.
"""

from __future__ import annotations

import csv
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import parts
from tests.brokers import RealBroker
from worker.child import WorkerProcess
from worker.commands.publish import upload_record
from worker.commands.watch import verdicts
from worker.messages import Verdict
from worker.settings import KafkaSettings
from worker.stream.client import BrokerProducer, Tail

UPLOADS = 200
PARTITIONS = 4
KILL_AFTER = 40  # verdicts
PATIENCE_S = 60.0  # without any new verdict

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


def clips() -> list[Path]:
    root = parts.data_dir()
    with (root / "scfd" / "manifest.csv").open(newline="") as file:
        return [root / row["path"] for row in csv.DictReader(file)][:UPLOADS]


def publish(kafka: KafkaSettings, files: Sequence[Path]) -> set[str]:
    producer = BrokerProducer(kafka)
    try:
        records = [
            upload_record(kafka, file.resolve().as_uri(), upload_id=f"upload-{number}")
            for number, file in enumerate(files)
        ]
        for future in [producer.send(record) for record in records]:
            future.result(30.0)
    finally:
        producer.close(5.0)
    return {(record.key or b"").decode() for record in records}


def arriving(tail: Tail, wanted: set[str]) -> Iterator[Verdict]:
    """Verdicts until every upload in ``wanted`` has one; fails after PATIENCE_S of silence."""
    missing = set(wanted)
    heard_s = time.monotonic()
    while missing:
        for verdict in verdicts(tail):
            heard_s = time.monotonic()
            missing.discard(verdict.upload_id)
            yield verdict
        assert time.monotonic() - heard_s < PATIENCE_S, f"{len(missing)} uploads have no verdict"


def test_every_upload_is_answered_once_though_a_worker_is_killed(
    real_broker: RealBroker, embedded_cache: str, tmp_path: Path
) -> None:
    files = clips()
    kafka = real_broker.settings()
    real_broker.create_topics(kafka, PARTITIONS)
    environment = {
        "SLUICE_FETCH__FILE_ROOTS": str(files[0].parents[1].resolve()),
        "SLUICE_CACHE__URL": embedded_cache,
    }
    seen: dict[str, list[Verdict]] = defaultdict(list)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(WorkerProcess(kafka, tmp_path / f"worker-{number}.log", environment))
            for number in range(2)
        ]
        for worker in workers:
            worker.wait_until_ready()
        tail = stack.enter_context(Tail(kafka, kafka.verdicts_topic, from_beginning=True))
        published = publish(kafka, files)
        for number, verdict in enumerate(arriving(tail, published)):
            seen[verdict.upload_id].append(verdict)
            if number == KILL_AFTER:
                workers[0].process.send_signal(signal.SIGKILL)
        assert workers[0].process.wait(5.0) == -signal.SIGKILL

    assert set(seen) == published
    ids = {upload_id: {verdict.verdict_id for verdict in answers} for upload_id, answers in seen.items()}
    assert {upload_id: found for upload_id, found in ids.items() if len(found) != 1} == {}
    answers = [verdict for answers in seen.values() for verdict in answers]
    assert not [verdict for verdict in answers if verdict.degraded or verdict.decided_by == "error"]
    assert all(verdict.coverage is not None and verdict.coverage.clips > 0 for verdict in answers)
