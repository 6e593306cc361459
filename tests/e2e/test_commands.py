"""The small commands, as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.brokers import RealBroker
from tests.samples import VERSIONS
from worker.events import read_upload
from worker.messages import Verdict
from worker.settings import KafkaSettings
from worker.stream.client import BrokerProducer, Tail
from worker.stream.types import Outgoing, Record

SLUICE = (sys.executable, "-m", "worker.cli")


def sluice(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SLUICE, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def kafka(embedded_broker: RealBroker) -> KafkaSettings:
    settings = embedded_broker.settings()
    embedded_broker.create_topics(settings, 1)
    return settings


def test_publish_puts_files_inside_and_uris_as_they_are(kafka: KafkaSettings, tmp_path: Path) -> None:
    file = tmp_path / "my clip.mp4"
    file.write_bytes(b"media")
    done = sluice(
        *("publish", str(file), "s3://bucket/key.mp4", "--policy", "strict"),
        *("--broker", kafka.bootstrap_servers, "--topic", kafka.uploads_topic),
    )
    assert done.returncode == 0, done.stderr
    with Tail(kafka, kafka.uploads_topic, from_beginning=True) as tail:
        uploads = [read_upload(record) for record in wait_for(tail, 2)]
    assert [upload.event.upload_id for upload in uploads] == done.stdout.split()
    assert [upload.event.uri for upload in uploads] == ["inline:", "s3://bucket/key.mp4"]
    assert [upload.inline for upload in uploads] == [b"media", None]
    assert {upload.event.policy for upload in uploads} == {"strict"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["publish", "/nowhere.mp4"], "/nowhere.mp4 cannot be read: No such file"),
        (["publish", "s3://b/k", "--upload-id", "a b"], "upload_id: String should match"),
        (["publish", "a", "b", "--upload-id", "u"], "names one upload, 2 were given"),
        (["watch", "--broker", "127.0.0.1:1"], "127.0.0.1:1"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(arguments: Sequence[str], message: str) -> None:
    done = sluice(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_watch_shows_verdicts(kafka: KafkaSettings) -> None:
    verdict = Verdict(
        verdict_id=uuid.uuid4(),
        upload_id="u-1",
        decision="review",
        decided_by="error",
        reason="undecodable",
        versions=VERSIONS,
        decided_at=datetime.now(UTC),
    )
    producer = BrokerProducer(kafka)
    for value in (b"not a verdict", verdict.model_dump_json().encode()):
        producer.send(Outgoing(kafka.verdicts_topic, b"u-1", value)).result(10.0)
    producer.close(5.0)
    command = ("watch", "--broker", kafka.bootstrap_servers, "--topic", kafka.verdicts_topic)
    raw = until_interrupted(*command, "--from-beginning", "--json").splitlines()
    assert Verdict.model_validate_json(raw[-1]) == verdict
    table = until_interrupted(*command, "--from-beginning")
    assert "u-1" in table
    assert "undecodable" in table


def test_config_prints_what_is_in_force_and_no_secret() -> None:
    environment = {"SLUICE_KAFKA__GROUP_ID": "mine", "SLUICE_KAFKA__SASL_PASSWORD": "hunter2"}
    done = sluice("config", "--format", "json", **environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kafka"]["group_id"] == "mine"
    assert "hunter2" not in done.stdout


def test_models_lists_what_ships_and_what_is_used() -> None:
    done = sluice("models", SLUICE_INFERENCE__ESCALATION="", SLUICE_SHADOW__FILTER="violence-escalation")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("violence-filter@") for line in lines)
    assert sum(line.endswith("in use") for line in lines) == 1
    assert sum(line.endswith("on trial") for line in lines) == 1


def test_a_worker_that_lacks_its_topics_says_so(embedded_broker: RealBroker) -> None:
    kafka = embedded_broker.settings()
    done = sluice(
        "worker",
        SLUICE_KAFKA__BOOTSTRAP_SERVERS=kafka.bootstrap_servers,
        SLUICE_KAFKA__UPLOADS_TOPIC="absent",
        SLUICE_TELEMETRY__PORT="0",
    )
    assert done.returncode == 2
    assert "has no topic absent" in done.stderr


def wait_for(tail: Tail, count: int) -> list[Record]:
    found: list[Record] = []
    give_up_s = time.monotonic() + 15.0
    while len(found) < count and time.monotonic() < give_up_s:
        found += tail.poll(0.2)
    return found


def until_interrupted(*arguments: str) -> str:
    """What it prints until a Ctrl-C some seconds later, after which it must end by itself."""
    process = subprocess.Popen(
        [*SLUICE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(8.0)  # nothing says when a table that is not on a terminal is complete
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60.0)
    assert process.returncode == 0, errors
    return output
