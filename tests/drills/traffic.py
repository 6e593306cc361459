"""Uploads on their way in, verdicts as they arrive."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.drills.media import Media
from worker.commands.publish import upload_record
from worker.commands.watch import read_verdict
from worker.errors import BrokerUnavailable, PublishFailed
from worker.messages import Verdict
from worker.settings import KafkaSettings
from worker.stream.client import BrokerProducer, Tail
from worker.stream.types import Outgoing

PATIENT_S = 180.0  # the publisher waits longer for an acknowledgement than workers do
SILENCE_S = 120.0  # without a verdict that is still wanted
SETTLED_S = 0.5  # after a fault, what was on its way still arrives
TAIL_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Arrival:
    at_s: float  # monotonic
    verdict: Verdict

    @property
    def partition(self) -> int:
        """Of the upload."""
        assert self.verdict.source is not None
        return self.verdict.source.partition


class Traffic:
    def __init__(self, kafka: KafkaSettings, partitions: int, media: Media) -> None:
        """``partitions``: of the uploads topic."""
        self.kafka = kafka
        self.media = media
        self._partitions = frozenset(range(partitions))
        self.hopeless: set[str] = set()  # uploads for which `review` is the right answer
        self.arrivals: list[Arrival] = []
        self._answered: set[str] = set()
        self._sent: list[tuple[str, Future[None]]] = []
        self._others: list[Future[None]] = []
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._producer = BrokerProducer(self.kafka.model_copy(update={"delivery_timeout_s": PATIENT_S}))
        self._tail = Tail(self.kafka, self.kafka.verdicts_topic, from_beginning=True)
        self._threads = ThreadPoolExecutor(thread_name_prefix="traffic")
        self._reader = self._threads.submit(self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._threads.shutdown()
        self._producer.close(5.0)
        self._tail.close()
        self._reader.result()

    # In

    def publish(self, file: Path | None = None, upload_id: str | None = None, **event: Any) -> str:
        """One upload, of a fresh video if none is given, by its address."""
        upload_id = upload_id or uuid.uuid4().hex
        return self._send((file or self.media.fresh()).as_uri(), upload_id, **event)

    def publish_inline(self, file: Path) -> str:
        """One upload whose media travel inside of the record."""
        return self._send(str(file), uuid.uuid4().hex)

    def publish_unreadable(self, value: bytes | None) -> None:
        self._others.append(
            self._producer.send(Outgoing(self.kafka.uploads_topic, uuid.uuid4().bytes, value))
        )

    def offer(self, count: int, per_s: float) -> None:
        """``count`` uploads at an even pace."""
        begun_s = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, begun_s + number / per_s - time.monotonic()))
            self.publish()

    @contextmanager
    def steady(self, per_s: float) -> Iterator[None]:
        """Uploads at an even pace while the block lasts."""
        enough = threading.Event()

        def run() -> None:
            due_s = time.monotonic()
            while not enough.wait(max(0.0, due_s - time.monotonic())):
                self.publish()
                due_s += 1 / per_s

        running = self._threads.submit(run)
        try:
            yield
        finally:
            enough.set()
        running.result()

    def _send(self, what: str, upload_id: str, **event: Any) -> str:
        record = upload_record(self.kafka, what, upload_id=upload_id, **event)
        self._sent.append((upload_id, self._producer.send(record)))
        return upload_id

    def acknowledged(self) -> frozenset[str]:
        """Uploads that the broker has taken, as far as is known by now."""
        return frozenset(
            upload for upload, sent in list(self._sent) if sent.done() and sent.exception() is None
        )

    # Out

    def settle(self) -> None:
        """Wait until all that was acknowledged is answered. Raises AssertionError after a long silence."""
        for sent in [*(sent for _, sent in self._sent), *self._others]:
            try:
                sent.result(PATIENT_S)
            except PublishFailed:
                continue  # was not acknowledged: nobody promised anything
        wanted = self.acknowledged()
        heard_s, seen = time.monotonic(), -1
        while missing := wanted - self._answered:
            if len(self._answered) != seen:
                heard_s, seen = time.monotonic(), len(self._answered)
            if time.monotonic() - heard_s > SILENCE_S:
                raise AssertionError(f"{len(missing)} of {len(wanted)} uploads have no verdict")
            self._reader_is_well()
            time.sleep(0.02)

    def wait_until_all_answered(self, timeout_s: float = SILENCE_S) -> None:
        """Until every partition has had a verdict."""
        self.wait_until_recovered(-SETTLED_S, timeout_s)

    def wait_for(self, verdicts: int, timeout_s: float = SILENCE_S) -> None:
        """Until so many have arrived in all."""
        give_up_s = time.monotonic() + timeout_s
        while len(self.arrivals) < verdicts:
            if time.monotonic() > give_up_s:
                raise AssertionError(f"{len(self.arrivals)} verdicts after {timeout_s:.0f} s, not {verdicts}")
            self._reader_is_well()
            time.sleep(0.01)

    def wait_until_open(self, at_most: int, timeout_s: float = SILENCE_S) -> None:
        """Until no more uploads than that are acknowledged and not answered."""
        give_up_s = time.monotonic() + timeout_s
        while len(still_open := self.acknowledged() - self._answered) > at_most:
            if time.monotonic() > give_up_s:
                raise AssertionError(f"{len(still_open)} uploads are open after {timeout_s:.0f} s")
            self._reader_is_well()
            time.sleep(0.1)

    def recovered_s(self, since_s: float) -> float:
        """From then until each partition that had more to answer had its next verdict. Those of the first
        moment do not count: they were on their way."""
        return max((at_s - since_s for at_s in self._next_verdicts(since_s).values()), default=0.0)

    def wait_until_recovered(self, since_s: float, timeout_s: float = SILENCE_S) -> float:
        """The same, as soon as every partition is answered again. Needs uploads that go on coming."""
        give_up_s = time.monotonic() + timeout_s
        while silent := self._partitions - self._next_verdicts(since_s).keys():
            if time.monotonic() > give_up_s:
                raise AssertionError(f"partitions {sorted(silent)} were not answered for {timeout_s:.0f} s")
            self._reader_is_well()
            time.sleep(0.05)
        return self.recovered_s(since_s)

    def _next_verdicts(self, since_s: float) -> dict[int, float]:
        """Partition -> when its first verdict came after that."""
        return {
            arrival.partition: arrival.at_s
            for arrival in reversed(list(self.arrivals))
            if arrival.at_s > since_s + SETTLED_S
        }

    def longest_gap_s(self) -> float:
        """Between two verdicts, whatever their uploads."""
        times = [arrival.at_s for arrival in self.arrivals]
        return max((after - before for before, after in itertools.pairwise(times)), default=0.0)

    def _read(self) -> None:
        while not self._over.is_set():
            try:
                records = self._tail.poll(TAIL_POLL_S)
            except BrokerUnavailable:
                self._over.wait(0.2)
                continue
            now_s = time.monotonic()
            for record in records:
                if (verdict := read_verdict(record)) is not None:
                    self.arrivals.append(Arrival(now_s, verdict))
                    self._answered.add(verdict.upload_id)

    def _reader_is_well(self) -> None:
        if self._reader.done():
            self._reader.result()
