"""Real faults of a real worker fire the alerts that are meant for them, in a real Prometheus."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from tests.brokers import topic_specs, unique_settings, wait_for
from tests.observability.prometheus import Prometheus, reading
from tests.synthesis import Video
from worker.child import WorkerProcess
from worker.commands.publish import upload_record
from worker.commands.watch import read_verdict
from worker.messages import Verdict
from worker.settings import KafkaSettings
from worker.standalone import EMBEDDED_SESSION_TIMEOUT_S, EmbeddedBroker, EmbeddedCache
from worker.stream.client import BrokerProducer, Tail, create_topics
from worker.stream.types import Outgoing

READY_WITHIN_S = 120.0
FIRES_WITHIN_S = 60.0
SETTLED_S = 0.03
FETCH_S = 1.0  # more than the broker keeps a fetch waiting
BROKEN = b"\x00\x00\x00\x18ftypmp42 cut off"
SETTINGS = {
    "SLUICE_WORKER__CONCURRENCY": "2",
    "SLUICE_WORKER__MAX_PENDING": "2",
    "SLUICE_DECODE__PROCESSES": "1",
    "SLUICE_INFERENCE__ESCALATION": "",  # starts sooner
    "SLUICE_INFERENCE__MAX_BATCH_CLIPS": "1",
    "SLUICE_INFERENCE__WATCH_S": "0.2",
    "SLUICE_CACHE__BREAKER_RESET_S": "1",
    "SLUICE_DECODE__JOB_TIMEOUT_S": "240",  # longer than a hang, as what follows
    "SLUICE_DECODE__LONG_AFTER_S": "240",
    "SLUICE_WORKER__UPLOAD_TIMEOUT_S": "240",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@dataclass
class Stage:
    kafka: KafkaSettings
    broker: EmbeddedBroker
    cache_url: str
    cache: ExitStack
    worker: WorkerProcess
    prometheus: Prometheus
    producer: BrokerProducer
    verdicts: Tail
    folder: Path
    seen: int = 0
    arrived: list[Verdict] = field(default_factory=list)
    first_seen_s: dict[int, float] = field(default_factory=dict)

    def upload(self, content: bytes) -> None:
        self.seen += 1
        file = self.folder / f"upload-{self.seen}.mp4"
        file.write_bytes(content)
        self.producer.send(upload_record(self.kafka, str(file), upload_id=file.name)).result(20)

    def answer(self) -> Verdict:
        def come() -> bool:
            self.arrived.extend(filter(None, map(read_verdict, self.verdicts.poll(0.2))))
            return bool(self.arrived)

        wait_for(come, 60, f"a verdict; {self.worker.log_tail()}")
        return self.arrived.pop(0)

    def fires(self, alert: str, again: Callable[[], object] = lambda: None) -> None:
        print(f"{alert}: {self.prometheus.wait_for(alert, FIRES_WITHIN_S, again)}")

    def signal_decoders(self, number: signal.Signals, after_s: float = 0.0) -> None:
        """To the children of the fork server that were seen ``after_s`` ago: a worker stops by itself where
        processes end before they are ready."""
        now_s = time.monotonic()
        for server in _children(self.worker.process.pid):
            for pid in _children(server):
                if now_s - self.first_seen_s.setdefault(pid, now_s) >= after_s:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)


def _children(pid: int) -> list[int]:
    lines = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    return sorted(int(child) for line in lines for child in line.split())


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        broker, cache = EmbeddedBroker(), stack.enter_context(ExitStack())
        kafka = unique_settings(stack.enter_context(broker), EMBEDDED_SESSION_TIMEOUT_S)
        create_topics(kafka, topic_specs(kafka, 1))
        cache_url = cache.enter_context(EmbeddedCache())
        settings = SETTINGS | {
            "SLUICE_CACHE__URL": cache_url,
            "SLUICE_INFERENCE__MODELS_DIR": str(tmp_path / "models"),
        }
        worker = stack.enter_context(WorkerProcess(kafka, tmp_path / "log", settings))
        prometheus = stack.enter_context(reading(tmp_path / "prometheus", f"127.0.0.1:{worker.health_port}"))
        worker.wait_until_ready(READY_WITHIN_S)
        tail = stack.enter_context(Tail(kafka, kafka.verdicts_topic, True))
        producer = BrokerProducer(kafka)
        stack.callback(producer.close, 2.0)
        yield Stage(kafka, broker, cache_url, cache, worker, prometheus, producer, tail, tmp_path)


def test_faults_fire_their_alerts(stage: Stage) -> None:
    video = Video(duration_s=1.0).make()
    stage.upload(video)
    assert stage.answer().reason == ""
    wait_for(lambda: not stage.prometheus.firing(), 60, f"silence; {stage.prometheus.firing()}")

    a_model_that_cannot_serve(stage, video)
    broken_uploads(stage)
    a_record_without_an_upload_id(stage)
    decoders_that_die(stage)
    decoders_that_hang(stage, video)
    somebody_else_in_the_cache(stage, video)
    no_cache(stage)
    no_broker(stage)
    a_worker_that_crashes_in_a_loop(stage)
    no_worker(stage)


def a_model_that_cannot_serve(stage: Stage, video: bytes) -> None:
    bad = stage.folder / "models" / "violence-filter" / "9"
    bad.mkdir(parents=True)
    (bad / "spec.json").write_text("{}")
    stage.fires("SluiceModelRefused")
    stage.upload(video + b"judged all the same")
    assert stage.answer().reason == ""
    shutil.rmtree(stage.folder / "models")


def broken_uploads(stage: Stage) -> None:
    def again() -> None:
        stage.upload(BROKEN + uuid.uuid4().bytes)
        assert stage.answer().reason == "undecodable"

    stage.fires("SluiceUploadsFail", again)


def a_record_without_an_upload_id(stage: Stage) -> None:
    stage.producer.send(Outgoing(stage.kafka.uploads_topic, b"k", b"{}")).result(20)
    stage.fires("SluiceDeadLetters")


def decoders_that_die(stage: Stage) -> None:
    video = Video(duration_s=8.0, size=(640, 480), gop=250).make()

    def again() -> None:
        stage.upload(video + uuid.uuid4().bytes)  # what follows the last box is no video
        stage.answer()

    with every(0.005, lambda: stage.signal_decoders(signal.SIGKILL, SETTLED_S)):
        stage.fires("SluiceDecodersCrash", again)
    again()  # with a process that lives


def decoders_that_hang(stage: Stage, video: bytes) -> None:
    with every(0.005, lambda: stage.signal_decoders(signal.SIGSTOP, SETTLED_S)):
        stage.worker.process.send_signal(signal.SIGSTOP)
        time.sleep(FETCH_S)  # so that the next fetch brings all, and says how many there are
        for _ in range(4):  # two more than may be pending
            stage.upload(video + uuid.uuid4().bytes)
        stage.worker.process.send_signal(signal.SIGCONT)
        for alert in ("SluiceNothingAnswered", "SluiceFull", "SluiceBehind"):
            stage.fires(alert)
    stage.signal_decoders(signal.SIGCONT)
    for _ in range(4):
        stage.answer()


def somebody_else_in_the_cache(stage: Stage, video: bytes) -> None:
    with redis.Redis.from_url(stage.cache_url) as server:
        for key in server.keys("*"):
            if server.type(key) == b"string":
                server.set(key, b"mine now")
    stage.upload(video)
    stage.answer()
    stage.fires("SluiceCachePoisoned")


def no_cache(stage: Stage) -> None:
    stage.cache.close()
    for number in range(3):
        stage.upload(BROKEN + b"without a cache" + bytes([number]))
        stage.answer()
    stage.fires("SluiceCacheFails")


def no_broker(stage: Stage) -> None:
    """Nobody publishes: no poll and no commit fails."""
    os.kill(stage.broker.pid, signal.SIGSTOP)
    stage.fires("SluiceBrokerSilent")
    os.kill(stage.broker.pid, signal.SIGCONT)
    stage.worker.wait_until_ready(READY_WITHIN_S)


def a_worker_that_crashes_in_a_loop(stage: Stage) -> None:
    def again() -> None:
        stage.worker.process.kill()
        stage.worker.process.wait()
        stage.worker.__enter__()
        stage.worker.wait_until_ready(READY_WITHIN_S)

    stage.fires("SluiceRestarts", again)


def no_worker(stage: Stage) -> None:
    stage.worker.process.kill()
    stage.fires("SluiceNoWorkers")


@contextmanager
def every(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
