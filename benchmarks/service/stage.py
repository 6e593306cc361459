"""A broker, workers as processes of their own, and what comes back from them."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.decoders.media import Clip
from benchmarks.service.uploads import Uploads
from benchmarks.service.usage import Usage, on_cores, usage_of
from tests import parts
from tests.brokers import RealBroker
from tests.kafka_node import KafkaNode
from worker.child import WorkerProcess
from worker.commands.publish import upload_record
from worker.commands.watch import read_verdict
from worker.inference.registry import find_artifact
from worker.messages import Verdict
from worker.settings import InferenceSettings, KafkaSettings
from worker.standalone import EMBEDDED_SESSION_TIMEOUT_S, EmbeddedBroker
from worker.stream.client import BrokerProducer, Tail

ESCALATED = "escalated"  # the policy under which every upload goes up; under the default one none does
READY_WITHIN_S = 180.0  # a busy machine takes long, and is told by its figures rather than by an error
SILENCE_S = 120.0  # without any verdict
TAIL_POLL_S = 0.02


@dataclass(frozen=True)
class Answered:
    """A verdict, and when it was read from its topic."""

    verdict: Verdict
    arrived_at: datetime

    @property
    def stages_ms(self) -> dict[str, float]:
        """Where the time from publishing to reading the verdict went; ``service`` is the worker's part."""
        verdict = self.verdict
        assert verdict.created_at is not None
        known = dict(verdict.timings_ms)
        service_ms = known.pop("total")
        taken_up_ms = (verdict.decided_at - verdict.created_at).total_seconds() * 1000 - service_ms
        return {
            "queue": max(0.0, taken_up_ms),
            **known,
            "service": service_ms,
            "reply": (self.arrived_at - verdict.decided_at).total_seconds() * 1000,
            "end to end": (self.arrived_at - verdict.created_at).total_seconds() * 1000,
        }


@dataclass
class Bench:
    broker: RealBroker
    uploads: Uploads
    media: Path  # videos are made here once
    folder: Path  # logs and the policy file

    def fresh(self, clip: Clip, count: int) -> list[Path]:
        """Files with this video and digests that no worker knows."""
        return self.uploads.fresh(clip.path(self.media), count)

    @contextmanager
    def workers(
        self,
        *,
        partitions: int = 4,
        cores: Sequence[set[int] | None] = (None,),
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[Workers]:
        """One worker for each entry of ``cores``: those that it may use, None for all."""
        kafka = self.broker.settings()
        self.broker.create_topics(kafka, partitions)
        with ExitStack() as stack:
            processes = []
            for mine in cores:
                sized = {} if mine is None else _sized_for(len(mine))
                log = self.folder / f"worker-{uuid.uuid4().hex[:8]}.log"
                settings = self._settings() | sized | dict(environment or {})
                with on_cores(mine) if mine is not None else nullcontext():
                    processes.append(stack.enter_context(WorkerProcess(kafka, log, settings)))
            for process in processes:
                process.wait_until_ready(READY_WITHIN_S)
            yield stack.enter_context(Workers(kafka, processes))

    def _settings(self) -> dict[str, str]:
        policies = self.folder / "policies.yaml"
        policies.write_text(_policies())
        return {
            "SLUICE_FETCH__FILE_ROOTS": f"{self.uploads.folder}",
            "SLUICE_POLICY__FILE": f"{policies}",
        }


@dataclass
class Workers:
    """Ready workers of one group. Verdicts are collected on a thread of their own."""

    kafka: KafkaSettings
    processes: Sequence[WorkerProcess]
    answered: dict[str, Answered] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._producer = BrokerProducer(self.kafka)
        self._tail = Tail(self.kafka, self.kafka.verdicts_topic, from_beginning=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._reader.join()
        self._tail.close()
        self._producer.close(5.0)

    def publish(self, file: Path, **event: Any) -> str:
        upload_id = uuid.uuid4().hex
        record = upload_record(self.kafka, file.as_uri(), upload_id=upload_id, **event)
        self._producer.send(record)
        return upload_id

    def judged(self, upload_ids: Sequence[str]) -> list[Answered]:
        """Their answers, in order. Raises when one could not be judged."""
        answers = self.collected(upload_ids)
        for answer in answers:
            if answer.verdict.decided_by == "error" or answer.verdict.degraded:
                raise RuntimeError(f"an upload could not be judged: {answer.verdict.detail}")
        return answers

    def collected(self, upload_ids: Sequence[str]) -> list[Answered]:
        """Their answers, in order, whatever they say. Raises when nothing comes for ``SILENCE_S``."""
        seen, heard_s = -1, time.monotonic()
        while missing := [each for each in upload_ids if each not in self.answered]:
            if len(self.answered) != seen:
                seen, heard_s = len(self.answered), time.monotonic()
            if time.monotonic() - heard_s > SILENCE_S:
                raise RuntimeError(f"{len(missing)} uploads have no verdict; {self.processes[0].log_tail()}")
            time.sleep(0.01)
        return [self.answered.pop(each) for each in upload_ids]

    def usage(self) -> Usage:
        return usage_of([each.process.pid for each in self.processes])

    def _read(self) -> None:
        while not self._ended.is_set():
            for record in self._tail.poll(TAIL_POLL_S):
                if (verdict := read_verdict(record)) is not None:
                    self.answered.setdefault(verdict.upload_id, Answered(verdict, datetime.now(UTC)))


@contextmanager
def opened(media: Path) -> Iterator[Bench]:
    """Apache Kafka where there is one, else the embedded broker."""
    home = parts.find_kafka_home()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-bench-"))).resolve()
        if home is not None:
            bootstrap = stack.enter_context(KafkaNode(home, folder)).bootstrap
            broker = RealBroker("Apache Kafka, one node", bootstrap, session_timeout_s=6.0)
        else:
            bootstrap = stack.enter_context(EmbeddedBroker())
            broker = RealBroker("embedded broker (Tansu)", bootstrap, EMBEDDED_SESSION_TIMEOUT_S)
        uploads = Uploads(folder / "uploads")
        uploads.folder.mkdir()
        yield Bench(broker, uploads, media, folder)


def all_cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _sized_for(cores: int) -> dict[str, str]:
    return {"SLUICE_INFERENCE__THREADS": f"{cores}", "SLUICE_DECODE__PROCESSES": f"{cores}"}


def _policies() -> str:
    labels = find_artifact(InferenceSettings().filter).spec.label_names
    none = ", ".join(f"{label}: {{review: 0.5, band: [0.5, 0.5]}}" for label in labels)
    every = ", ".join(f"{label}: {{review: 0.5, band: [0.0, 1.0]}}" for label in labels)
    return (
        "version: 1\nrevision: benchmark\npolicies:\n"
        f"  default: {{labels: {{{none}}}}}\n  {ESCALATED}: {{labels: {{{every}}}}}\n"
    )
