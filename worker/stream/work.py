"""The threads that answer records: handler, then the send. What became of each job goes into a queue."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from queue import Empty, SimpleQueue

from worker.errors import SystemicFailures, UnreadableEvent
from worker.stream import dead_letter
from worker.stream.delivery import Settled
from worker.stream.failures import FailureWindow
from worker.stream.offsets import Ticket
from worker.stream.types import Outgoing, Record, Unreadable


@dataclass(frozen=True, slots=True)
class Answer:
    """What is published for a record."""

    record: Outgoing
    systemic_failure: bool = False  # the service's fault: counted by the failure window


Handler = Callable[[Record], Answer]
"""Answers one record. Bad uploads are answered, not raised. Raises UnreadableEvent when the record has
no readable upload id (dead letter); anything else that it raises stops the worker."""


@dataclass(slots=True, eq=False)
class Job:
    """One record on its way, from admission to acknowledgement."""

    ticket: Ticket
    item: Record | Unreadable
    size_bytes: int
    admitted_s: float


class Fate(Enum):
    DONE = "done"  # its answer is out, or goes out with its offset
    ABANDONED = "abandoned"  # its partition is no longer ours
    FAILED = "failed"  # the worker must stop


@dataclass(frozen=True, slots=True)
class Outcome:
    job: Job
    fate: Fate
    error: BaseException | None = None
    dead_letter_reason: str = ""  # empty: the answer was a verdict


@dataclass(slots=True)
class _Letter:
    record: Outgoing
    reason: str = ""


@dataclass(slots=True)
class Workbench:
    handler: Handler
    publish: Callable[[Ticket, Outgoing, Settled], None]
    owns: Callable[[Ticket], bool]
    window: FailureWindow
    dead_letters_topic: str
    dead_letter_max_bytes: int
    concurrency: int
    outcomes: SimpleQueue[Outcome | None] = field(default_factory=SimpleQueue)
    _pool: ThreadPoolExecutor = field(init=False)
    _window_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="upload")

    def submit(self, job: Job) -> None:
        self._pool.submit(self._work, job)

    def wake(self) -> None:
        """End a wait for outcomes. Callable from a signal handler."""
        self.outcomes.put(None)

    def settled(self, wait_s: float) -> list[Outcome]:
        """What is known since the last call; waits for the first up to ``wait_s``."""
        found: list[Outcome | None] = []
        try:
            found.append(self.outcomes.get(timeout=wait_s) if wait_s > 0 else self.outcomes.get_nowait())
            while True:
                found.append(self.outcomes.get_nowait())
        except Empty:
            return [outcome for outcome in found if outcome is not None]

    def close(self) -> None:
        """Does not wait: a thread that is still in the handler ends when the handler does."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self, job: Job) -> None:
        try:
            if not self.owns(job.ticket):
                self.outcomes.put(Outcome(job, Fate.ABANDONED))
                return
            letter = self._letter(job.item)
            if not self.owns(job.ticket):
                self.outcomes.put(Outcome(job, Fate.ABANDONED))
                return
            self._publish(job, letter)
        except BaseException as error:  # nobody else would read it
            self.outcomes.put(Outcome(job, Fate.FAILED, error))

    def _letter(self, item: Record | Unreadable) -> _Letter:
        if isinstance(item, Unreadable):
            record = dead_letter.for_unreadable(self.dead_letters_topic, item)
            return _Letter(record, dead_letter.UNREADABLE_RECORD)
        try:
            answer = self.handler(item)
        except UnreadableEvent as error:
            record = dead_letter.for_record(self.dead_letters_topic, item, error, self.dead_letter_max_bytes)
            return _Letter(record, error.reason)
        self._count(answer)
        return _Letter(answer.record)

    def _count(self, answer: Answer) -> None:
        with self._window_lock:
            self.window.add(answer.systemic_failure)
            if answer.systemic_failure and self.window.tripped:
                raise SystemicFailures(
                    f"{self.window.failures} of the last {self.window.size} uploads failed for reasons "
                    "that are not theirs (store, model or broker): stopping instead of answering "
                    "`review` to all"
                )

    def _publish(self, job: Job, letter: _Letter) -> None:
        def settled(error: BaseException | None) -> None:
            fate = Fate.DONE if error is None else Fate.FAILED
            self.outcomes.put(Outcome(job, fate, error, letter.reason))

        self.publish(job.ticket, letter.record, settled)  # 1.; 2. and 3. are the loop's
