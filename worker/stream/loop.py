"""Read, admit, answer, acknowledge, commit: the loop that the worker is.

The caller's thread owns the consumer and does nothing that takes long. Records are answered on the
threads of the workbench. The order that nothing may change:

    1. the answer is on its way                            Delivery.publish
    2. the record is marked as done                        StreamLoop._settle
    3. the finished prefix of its partition is committed   Delivery.commit

What lies between 1. and 2. is the delivery's own (worker/stream/delivery.py): with at-least-once the
acknowledgement of the broker, with exactly-once nothing, since answer and offset go out together in 3.

Backpressure: when as much is pending as may be, partitions are paused and polling goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from worker.clock import Clock, Deadline
from worker.errors import BrokerUnavailable, SluiceError
from worker.settings import KafkaSettings, WorkerSettings
from worker.stream.delivery import Delivery
from worker.stream.failures import FailureWindow
from worker.stream.room import size_bytes
from worker.stream.telemetry import SilentTelemetry, StreamTelemetry
from worker.stream.types import Consumer, Record, TopicPartition, Unreadable
from worker.stream.work import Answer, Fate, Handler, Job, Outcome, Workbench

__all__ = ["Answer", "Finished", "Handler", "LoopHealth", "StreamLoop"]

IDLE_POLL_S = 0.1
BUSY_POLL_S = 0.02  # while something is pending: acknowledgements wait for the poll to return
FULL_WAIT_S = 0.05
POLL_RETRY_S = 1.0
LAST_COMMIT_S = 5.0

log = structlog.get_logger(__name__)


def _told_to_nobody(partitions: frozenset[TopicPartition]) -> None: ...


@dataclass(frozen=True, slots=True)
class LoopHealth:
    """A snapshot for /livez and /readyz."""

    last_poll_age_s: float
    joined: bool  # the group counts this worker as a member
    broker_silence_s: float  # age of the broker's last answer, when it was last polled
    oldest_unacknowledged_s: float  # age of the oldest answer sent and not acknowledged; 0.0: none
    pending: int


@dataclass(frozen=True, slots=True)
class Finished:
    """How an orderly stop ended."""

    abandoned: int  # admitted, not answered in time; their threads may still run


class StreamLoop:
    def __init__(
        self,
        consumer: Consumer,
        delivery: Delivery,
        handler: Handler,
        kafka: KafkaSettings,
        worker: WorkerSettings,
        clock: Clock,
        telemetry: StreamTelemetry | None = None,
        taken_away: Callable[[frozenset[TopicPartition]], None] = _told_to_nobody,
    ) -> None:
        """``taken_away`` is told, on this thread, which partitions went to other workers."""
        self._consumer = consumer
        self._topic = kafka.uploads_topic
        self._worker = worker
        self._clock = clock
        self._telemetry = telemetry or SilentTelemetry()
        self._delivery = delivery
        self._ownership = delivery.ownership
        self._taken_away = taken_away
        self._bench = Workbench(
            handler,
            self._delivery.publish,
            self._ownership.owns,
            FailureWindow(worker.failure_window, worker.failure_share),
            kafka.dead_letters_topic,
            kafka.dead_letter_max_bytes,
            worker.concurrency,
        )
        self._pending: dict[int, Job] = {}  # by id of the job
        self._pending_bytes = 0
        self._paused = False
        self._joined = False
        self._silence_s = 0.0
        self._fatal: BaseException | None = None
        self._stop: Deadline | None = None
        self._last_poll_s = clock.monotonic_s()

    def run(self) -> Finished:
        """Blocks until ``stop``. Raises what made it stop otherwise, with nothing of that committed."""
        self._consumer.subscribe([self._topic], self._ownership)
        self._last_poll_s = self._clock.monotonic_s()
        try:
            while self._stop is None:
                self._turn()
            self._drain(self._stop)
        finally:
            abandoned = self._leave()
        return Finished(abandoned)

    def stop(self, drain_timeout_s: float) -> None:
        """Ask the loop to end. Callable from any thread and from a signal handler."""
        self._stop = Deadline.after(self._clock, drain_timeout_s)
        self._bench.wake()

    def health(self) -> LoopHealth:
        """Callable from any thread."""
        now_s = self._clock.monotonic_s()
        return LoopHealth(
            last_poll_age_s=now_s - self._last_poll_s,
            joined=self._joined,
            broker_silence_s=self._silence_s,
            oldest_unacknowledged_s=self._delivery.unacknowledged_s(),
            pending=len(self._pending),
        )

    # One turn.

    def _turn(self) -> None:
        if self._full:
            self._pause()
            self._admit(self._poll(0.0, 1))
            self._settle(FULL_WAIT_S)
        else:
            self._resume()
            self._admit(self._poll(BUSY_POLL_S if self._pending else IDLE_POLL_S, self._free))
            self._settle(0.0)
        self._commit()
        if gone := self._ownership.taken_away():
            self._taken_away(gone)

    @property
    def _full(self) -> bool:
        too_large = bool(self._pending) and self._pending_bytes >= self._worker.max_pending_bytes
        return too_large or len(self._pending) >= self._worker.max_pending or self._delivery.is_full()

    @property
    def _free(self) -> int:
        return self._worker.max_pending - len(self._pending)

    def _poll(self, timeout_s: float, max_records: int) -> list[Record | Unreadable]:
        try:
            items = list(self._consumer.poll(timeout_s, max_records))
        except BrokerUnavailable as error:
            log.warning("poll_failed", error=str(error))
            self._telemetry.poll_failed()
            self._note_silence()
            self._settle(POLL_RETRY_S)
            return []
        self._note_silence()
        now_s = self._clock.monotonic_s()
        self._telemetry.polled(now_s - self._last_poll_s)
        self._last_poll_s = now_s
        self._joined = self._consumer.joined()
        self._telemetry.assigned(len(self._consumer.assignment()))
        self._telemetry.lag(self._consumer.lag())
        return items

    def _note_silence(self) -> None:
        self._silence_s = self._consumer.silence_s()
        self._telemetry.silent(self._silence_s)

    def _admit(self, items: list[Record | Unreadable]) -> None:
        for item in items:
            ticket = self._ownership.track(TopicPartition(item.topic, item.partition), item.offset)
            if ticket is None:
                continue  # went to another worker between the poll and here
            size = size_bytes(item) if isinstance(item, Record) else 0
            job = Job(ticket, item, size, self._clock.monotonic_s())
            self._pending[id(job)] = job
            self._pending_bytes += size
            self._telemetry.admitted()
            self._bench.submit(job)

    def _settle(self, wait_s: float) -> None:
        self._take_in(wait_s)
        if self._fatal is not None:
            raise self._fatal

    def _take_in(self, wait_s: float) -> None:
        for outcome in self._bench.settled(wait_s):
            job = self._pending.pop(id(outcome.job))
            self._pending_bytes -= job.size_bytes
            if outcome.fate is Fate.FAILED:
                self._fatal = self._fatal or outcome.error
            elif outcome.fate is Fate.ABANDONED:
                self._telemetry.abandoned()
            else:
                self._ownership.done(job.ticket)  # 2. done
                self._tell(outcome)
        self._telemetry.pending(len(self._pending), self._pending_bytes)

    def _commit(self) -> None:
        try:
            offsets = self._delivery.commit()  # 3. committed
        except BrokerUnavailable as error:
            log.warning("commit_failed", error=str(error))
            self._telemetry.commit_failed()
            return
        if offsets:
            self._telemetry.committed(offsets)
        self._telemetry.kept(self._delivery.kept())

    # The end.

    def _drain(self, deadline: Deadline) -> None:
        """Stop admitting; finish what was admitted while there is time; the group still counts on us."""
        log.info("stopping", pending=len(self._pending), drain_timeout_s=round(deadline.remaining_s, 1))
        while (self._pending or not self._delivery.is_idle()) and not deadline.passed:
            self._pause()
            self._poll(0.0, 1)  # what it returns is not admitted and so not committed
            self._settle(min(FULL_WAIT_S, deadline.remaining_s))
            self._commit()

    def _leave(self) -> int:
        """Commit what is finished, abandon the rest, leave the group. Returns how many were abandoned."""
        self._take_in(0.0)
        abandoned = len(self._pending)
        for _ in range(abandoned):
            self._telemetry.abandoned()
        try:
            offsets = self._delivery.finish(LAST_COMMIT_S)
        except SluiceError as error:
            log.warning("last_commit_failed", error=str(error))
        else:
            if offsets:  # none is no commit: a worker that is refused all its verdicts ends here as well
                self._telemetry.committed(offsets)
        self._ownership.abandon()
        self._bench.close()
        self._consumer.close()
        self._joined = False
        log.info("stopped", abandoned=abandoned)
        return abandoned

    # Small things.

    def _pause(self) -> None:
        self._consumer.pause()  # every turn: partitions may have been assigned since
        if not self._paused:
            self._paused = True
            self._telemetry.paused(True)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._consumer.resume()
            self._telemetry.paused(False)

    def _tell(self, outcome: Outcome) -> None:
        if outcome.dead_letter_reason:
            log.warning(
                "dead_letter",
                reason=outcome.dead_letter_reason,
                topic=outcome.job.item.topic,
                partition=outcome.job.item.partition,
                offset=outcome.job.item.offset,
            )
            self._telemetry.dead_lettered(outcome.dead_letter_reason)
        else:
            self._telemetry.answered(self._clock.monotonic_s() - outcome.job.admitted_s)
