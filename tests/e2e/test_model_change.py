"""A worker under a steady load takes other models up, refuses a bad one, and has one on trial."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path

import pytest

from tests.brokers import RealBroker, topic_specs, wait_for
from tests.commands.running import sluice
from tests.model_folders import POLICIES, write_filter
from tests.routes import WHITE
from worker.child import WorkerProcess
from worker.commands.publish import upload_record
from worker.commands.watch import read_verdict
from worker.messages import ShadowComparison, Verdict
from worker.settings import KafkaSettings
from worker.stream.client import BrokerProducer, Tail, TopicSpec, create_topics

PAUSE_S = 0.1

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


class Load(threading.Thread):
    """Uploads, one after the other, until it is stopped."""

    def __init__(self, kafka: KafkaSettings, folder: Path) -> None:
        super().__init__(daemon=True)
        self.sent: set[str] = set()
        self._kafka = kafka
        self._folder = folder
        self._enough = threading.Event()

    def run(self) -> None:
        producer = BrokerProducer(self._kafka)
        for number in itertools.count():
            if self._enough.wait(PAUSE_S):
                break
            file = self._folder / f"{number}.mp4"
            file.write_bytes(WHITE + number.to_bytes(4, "big"))  # what follows the last box is no video
            producer.send(upload_record(self._kafka, str(file), upload_id=f"u-{number}")).result(20)
            self.sent.add(f"u-{number}")
        producer.close(5.0)

    def end(self) -> None:
        self._enough.set()
        self.join()


def test_models_change_under_load(
    real_broker: RealBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = real_broker.settings()
    topic = f"{kafka.verdicts_topic}.shadow"
    create_topics(kafka, [*topic_specs(kafka, 1), TopicSpec(topic, 1)])
    models_dir = tmp_path / "models"
    write_filter(models_dir)
    write_filter(models_dir, name="candidate", gain=8.0)
    (tmp_path / "policy.yaml").write_text(POLICIES)
    environment = {
        "SLUICE_INFERENCE__MODELS_DIR": str(models_dir),
        "SLUICE_INFERENCE__FILTER": "tiny-filter",
        "SLUICE_INFERENCE__ESCALATION": "",
        "SLUICE_INFERENCE__WATCH_S": "0.1",
        "SLUICE_POLICY__FILE": str(tmp_path / "policy.yaml"),
        "SLUICE_SHADOW__FILTER": "candidate",
        "SLUICE_SHADOW__TOPIC": topic,
        "SLUICE_SHADOW__SHARE": "0.5",
        "SLUICE_SHADOW__MAX_BUSY": "0.5",
    }
    load, came = Load(kafka, tmp_path), dict[str, list[Verdict]]()
    with (
        Tail(kafka, kafka.verdicts_topic, from_beginning=True) as tail,
        Tail(kafka, topic, from_beginning=True) as shadows,
        WorkerProcess(kafka, tmp_path / "log", environment) as worker,
    ):
        worker.wait_until_ready()
        load.start()

        def version() -> str:
            """That judged last."""
            latest = ""
            for verdict in filter(None, map(read_verdict, tail.poll(0.2))):
                came.setdefault(verdict.upload_id, []).append(verdict)
                latest = verdict.versions.models[0].version
            return latest

        def compared() -> str:
            """The version that the last trial was beside."""
            records = shadows.poll(0.2)
            found = [ShadowComparison.model_validate_json(record.value or b"") for record in records]
            return found[-1].served.versions.models[0].version if found else ""

        wait_for(lambda: version() == "1", 30, "a verdict of the first version")
        wait_for(lambda: compared() == "1", 30, "a trial beside it")
        write_filter(models_dir, "2", gain=8.0)
        wait_for(lambda: version() == "2", 30, f"a verdict of the second; {worker.log_tail()}")
        bad = write_filter(models_dir, "3")
        (bad / "m.onnx").write_bytes(b"not this")
        wait_for(lambda: "model_refused" in worker.log.read_text(), 30, "a refusal")
        wait_for(lambda: version() == "2", 30, "that the second goes on")
        wait_for(lambda: compared() == "2", 30, "that the trial is beside the second")
        load.end()
        wait_for(lambda: version() is not None and load.sent <= came.keys(), 30, "all verdicts")

    assert {verdict.reason for verdicts in came.values() for verdict in verdicts} == {""}
    assert all(len({verdict.verdict_id for verdict in verdicts}) == 1 for verdicts in came.values())
    decisions = {
        (verdict.versions.models[0].version, verdict.decision)
        for verdicts in came.values()
        for verdict in verdicts
    }
    assert decisions == {("1", "review"), ("2", "block")}

    monkeypatch.setenv("SLUICE_SHADOW__TOPIC", topic)
    report = sluice(kafka, "shadow", "report", "--json")
    pairs = [json.loads(line) for line in report.stdout.splitlines()]
    agreement = {tuple(pair["served"]): pair["agreement"] for pair in pairs}
    # The candidate answers as the second version does.
    assert agreement == {("tiny-filter@1",): 0.0, ("tiny-filter@2",): 1.0}
