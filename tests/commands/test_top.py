"""`sluice top --once` over a broker and the metrics port of a worker's own server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from rich.console import Console

from tests.brokers import RealBroker, publish
from tests.commands.running import sluice
from tests.contracts.test_broker import joined, read
from tests.telemetry.test_verdicts import verdict
from worker.commands.top_view import Frame, Trouble, WorkerRow, frame_view
from worker.standalone import free_port
from worker.stream.client.lag import GroupLag, PartitionLag
from worker.stream.types import Outgoing, TopicPartition
from worker.telemetry.health import HealthServer
from worker.telemetry.metrics import Metrics
from worker.telemetry.scrape import Summed, Window, read_worker

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics()
    metrics.assigned(2)
    metrics.pending(3, 1000)
    for decision, decided_by in (("allow", "filter"), ("allow", "filter"), ("block", "escalation")):
        metrics.upload_answered(decision, decided_by, "")
        metrics.upload_to_verdict("standard", 0.8)
    metrics.escalated(2)
    metrics.stage_took("decode", "standard", 0.5)
    metrics.stage_took("filter", "standard", 0.2)
    return metrics


@pytest.fixture
def address(metrics: Metrics) -> Iterator[str]:
    server = HealthServer("127.0.0.1", 0, metrics=metrics.exposition, live={}, ready={})
    server.start()
    yield f"127.0.0.1:{server.port}"
    server.close()


def test_once_prints_a_frame_for_scripts(real_broker: RealBroker, address: str) -> None:
    kafka = real_broker.settings()
    real_broker.create_topics(kafka, 1)
    producer = real_broker.producer(kafka)
    for number in range(5):
        publish(producer, kafka.uploads_topic, [f"u-{number}"])
    broken = verdict(upload_id="broken.mp4", decided_by="error", reason="undecodable", detail="no frame")
    producer.send(Outgoing(kafka.verdicts_topic, b"broken.mp4", broken.model_dump_json().encode())).result(20)
    producer.close(2)

    silent = f"127.0.0.1:{free_port()}"
    done = sluice(kafka, "top", "--once", "--interval", "0.2", "--worker", address, "--worker", silent)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert f"group {kafka.group_id} at {kafka.bootstrap_servers}" in done.stdout
    assert "1 of 2 workers ready" in done.stdout
    ours = next(line for line in lines if line.startswith(address))
    assert ours.split()[1:3] == ["ready", "2"]
    assert "decode" in ours
    assert f"{silent}: does not answer: " in done.stdout
    assert next(line for line in lines if line.startswith("allow")).split() == ["allow", "0", "2", "0", "0"]
    assert "undecodable" in next(line for line in lines if "broken.mp4" in line)
    with GroupLag(kafka) as lag:
        assert lag.now()[0].behind == 5


def test_a_worker_that_is_no_address_is_named(embedded_broker: RealBroker) -> None:
    kafka = embedded_broker.settings()
    embedded_broker.create_topics(kafka, 1)
    with pytest.raises(Exception, match="--worker 'nowhere': expected host:port"):
        sluice(kafka, "top", "--once", "--worker", "nowhere")


def test_the_lag_is_what_the_group_has_not_committed(real_broker: RealBroker) -> None:
    kafka = real_broker.settings()
    real_broker.create_topics(kafka, 1)
    producer = real_broker.producer(kafka)
    for number in range(4):
        publish(producer, kafka.uploads_topic, [f"u-{number}"])
    producer.close(2)
    with GroupLag(kafka) as lag:
        assert lag.now() == {0: PartitionLag(committed=None, end=4, start=0)}
        with joined(real_broker, kafka) as member:
            read(member, 4)
            member.consumer.commit({TopicPartition(kafka.uploads_topic, 0): 3})
        assert lag.now() == {0: PartitionLag(committed=3, end=4, start=0)}
        assert lag.now()[0].behind == 1


@pytest.mark.parametrize(
    ("lag", "behind"),
    [
        (PartitionLag(committed=3, end=10, start=0), 7),
        (PartitionLag(committed=None, end=10, start=4), 6),
        (PartitionLag(committed=2, end=10, start=4), 6),  # the oldest are gone already
        (PartitionLag(committed=12, end=10, start=0), 0),
    ],
)
def test_behind(lag: PartitionLag, behind: int) -> None:
    assert lag.behind == behind


def test_a_frame_fits_a_terminal_and_says_what_is_wrong(address: str) -> None:
    seen = Summed([Window(None, read_worker(address, 2.0))])
    frame = Frame(
        at=datetime.now(UTC),
        group="sluice",
        broker="kafka:9092",
        broker_trouble="nobody is there",
        span="last 60 s",
        workers=(
            WorkerRow("w:1", "models: broken", seen, seen),
            WorkerRow("w:2", "does not answer", Summed([]), Summed([])),
        ),
        rates=seen,
        shares=seen,
        partitions={},
        troubles=(Trouble(datetime.now(UTC), "u" * 200, "undecodable", "d" * 500),),
    )
    console = Console(width=80)
    with console.capture() as capture:
        console.print(frame_view(frame))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert any("nobody is there" in line for line in lines)
    assert any("models: broken" in line for line in lines)
    assert "33.3%" in capture.get()  # escalated
