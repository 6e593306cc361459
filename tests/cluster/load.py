"""A steady load of uploads, and what became of each."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster.kube import until
from worker.commands.publish import upload_record
from worker.commands.watch import verdicts
from worker.messages import Verdict
from worker.settings import KafkaSettings
from worker.stream.client import BrokerProducer, Tail

SEND_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Answered:
    """What a stretch of the load tells, from its begin until all of it was answered."""

    uploads: int
    longest_gap_s: float  # between two verdicts
    slowest_s: float  # from publishing to the verdict
    written_twice: int  # uploads with more than one record of a verdict; the last one is live


class Load:
    """Publishes an upload every ``period_s``, each with a content of its own, and listens to verdicts."""

    def __init__(self, kafka: KafkaSettings, clips: Sequence[Path], folder: Path) -> None:
        self.period_s = 1.0
        self._kafka = kafka
        self._clips = itertools.cycle(clips)
        self._file = folder / "upload.mp4"
        self._published_s: dict[str, float] = {}
        self._answers: dict[str, list[tuple[float, Verdict]]] = defaultdict(list)
        self._stop = threading.Event()
        self._held = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._failed: list[Exception] = []
        self._producer = BrokerProducer(kafka)
        self._tail = Tail(kafka, kafka.verdicts_topic, from_beginning=True)
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._publish_steadily, self._listen)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30.0)
        self._producer.close(5.0)
        self._tail.close()

    def publish(self) -> str:
        """One upload: the next clip, with an empty box behind it that makes its digest new."""
        name = f"upload-{uuid.uuid4().hex[:12]}"
        box = (len(name) + 8).to_bytes(4, "big") + b"free" + name.encode()
        with self._one_at_a_time:
            self._file.write_bytes(next(self._clips).read_bytes() + box)
            record = upload_record(self._kafka, str(self._file), upload_id=name)
            self._published_s[name] = time.monotonic()
            self._producer.send(record).result(SEND_TIMEOUT_S)
        return name

    def answer(self, upload_id: str, timeout_s: float = 90.0) -> Verdict:
        until(lambda: upload_id in self._answers, f"verdict on {upload_id}", timeout_s)
        return self._answers[upload_id][-1][1]

    def burst(self, uploads: int) -> list[str]:
        """So many at once; the steady ones wait meanwhile."""
        self._held.set()
        try:
            return [self.publish() for _ in range(uploads)]
        finally:
            self._held.clear()

    def unanswered(self, uploads: Sequence[str]) -> int:
        return sum(name not in self._answers for name in uploads)

    def settle(self, begin_s: float, timeout_s: float = 150.0) -> Answered:
        """Wait until all that was published since ``begin_s`` is answered; each has one live verdict.

        Raises AssertionError where one has none, or one that is an error.
        """
        end_s = time.monotonic()
        ours = [name for name, at_s in list(self._published_s.items()) if begin_s <= at_s <= end_s]
        until(
            lambda: not self.unanswered(ours),
            "answers to all uploads",
            timeout_s,
            lambda: f"{self.unanswered(ours)} open",
        )
        assert not self._failed, self._failed
        live = [self._answers[name][-1][1] for name in ours]
        bad = {each.upload_id: each.reason for each in live if each.decided_by == "error" or each.degraded}
        assert not bad, f"no verdict of the models: {bad}"
        last_s = max(self._answers[name][0][0] for name in ours)
        heard = sorted(at_s for each in list(self._answers.values()) for at_s, _ in each)
        heard = [begin_s, *(at_s for at_s in heard if begin_s <= at_s <= last_s)]
        return Answered(
            uploads=len(ours),
            longest_gap_s=max(later - earlier for earlier, later in itertools.pairwise(heard)),
            slowest_s=max(self._answers[name][0][0] - self._published_s[name] for name in ours),
            written_twice=sum(len(self._answers[name]) > 1 for name in ours),
        )

    def _publish_steadily(self) -> None:
        while not self._stop.wait(self.period_s):
            if not self._held.is_set():
                self.publish()

    def _listen(self) -> None:
        while not self._stop.is_set():
            for verdict in verdicts(self._tail):
                self._answers[verdict.upload_id].append((time.monotonic(), verdict))

    def _guarded(self, work: object) -> None:
        assert callable(work)
        try:
            work()
        except Exception as error:  # shown by the next `settle`
            self._failed.append(error)
