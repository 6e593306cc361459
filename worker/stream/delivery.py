"""How answers get out and offsets are committed: two ways behind one protocol.

    at least once   the answer is sent at once; when the broker has it, the record is done; offsets follow.
                    After a crash, what was sent and not committed is answered again, with the same id.
    exactly once    the answer is kept; the record is done; answers of the finished prefix go out with its
                    offsets in one transaction. A crash leaves neither or both.

Either way nothing is committed whose answer the broker does not have.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from worker.clock import Clock
from worker.errors import BrokerUnavailable, PublishFailed
from worker.stream.offsets import Ticket
from worker.stream.ownership import Ownership
from worker.stream.room import size_bytes
from worker.stream.types import Consumer, Outgoing, Producer, TopicPartition, Transactions

COMMIT_RETRY_S = 1.0
MAX_TRANSACTION_BYTES = 16 * 1024 * 1024
MAX_KEPT = 1_000  # answers behind an unfinished record, before the worker reads no further

Settled = Callable[[BaseException | None], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """Answers that wait for a record before them, or for their transaction."""

    answers: int = 0
    oldest_s: float = 0.0


class Delivery(Protocol):
    """``publish`` is called on many threads, the rest on the loop's."""

    ownership: Ownership

    def publish(self, ticket: Ticket, answer: Outgoing, settled: Settled) -> None:
        """1. Get the answer on its way. ``settled`` is called once, with what went wrong if anything did:
        from then on the record may count as done."""
        ...

    def commit(self) -> Mapping[TopicPartition, int]:
        """3. Commit what is finished. Returns what the broker has taken, nothing when it is too early.

        Raises BrokerUnavailable: try again later; PublishFailed: the worker must stop.
        """
        ...

    def finish(self, timeout_s: float) -> Mapping[TopicPartition, int]:
        """The last commit before the group is left: waits for it. Raises as ``commit`` does."""
        ...

    def is_full(self) -> bool: ...

    def is_idle(self) -> bool:
        """Nothing that is finished waits for its commit."""
        ...

    def kept(self) -> Kept: ...

    def unacknowledged_s(self) -> float:
        """Age of the oldest thing that was sent and not acknowledged; 0.0: none. Any thread."""
        ...


class AtLeastOnce:
    """Implements Delivery."""

    def __init__(self, producer: Producer, consumer: Consumer, clock: Clock) -> None:
        self.ownership = Ownership(commits_when_revoked=True)
        self._producer = producer
        self._consumer = consumer
        self._clock = clock
        self._sent: dict[Ticket, float] = {}
        self._retry_at_s = clock.monotonic_s()

    def publish(self, ticket: Ticket, answer: Outgoing, settled: Settled) -> None:
        self._sent[ticket] = self._clock.monotonic_s()

        def report(future: Future[None]) -> None:
            self._sent.pop(ticket, None)
            settled(future.exception())

        self._producer.send(answer).add_done_callback(report)

    def commit(self) -> Mapping[TopicPartition, int]:
        offsets = self.ownership.committable()
        if not offsets or self._clock.monotonic_s() < self._retry_at_s:
            return {}
        try:
            self._consumer.commit(offsets)
        except BrokerUnavailable:  # nothing is lost: the same offsets, or later ones, come again
            self._retry_at_s = self._clock.monotonic_s() + COMMIT_RETRY_S
            raise
        self.ownership.committed(offsets)
        return offsets

    def finish(self, timeout_s: float) -> Mapping[TopicPartition, int]:
        self._retry_at_s = self._clock.monotonic_s()
        return self.commit()

    def is_full(self) -> bool:
        return False

    def is_idle(self) -> bool:
        return not self.ownership.committable()

    def kept(self) -> Kept:
        return Kept()

    def unacknowledged_s(self) -> float:
        sent = list(self._sent.values())
        return self._clock.monotonic_s() - min(sent) if sent else 0.0


@dataclass(frozen=True, slots=True)
class _Answer:
    record: Outgoing
    size_bytes: int
    since_s: float


@dataclass(frozen=True, slots=True)
class _Transaction:
    """On its way."""

    tickets: tuple[Ticket, ...]
    offsets: Mapping[TopicPartition, int]
    began_s: float
    written: Future[None]


class ExactlyOnce:
    """Implements Delivery. One transaction at a time, on a thread of its own: polling goes on meanwhile.

    The membership is read before the offsets that are committed under it. A rebalance in between makes
    the broker refuse the transaction; what is still ours then goes into the next.
    """

    def __init__(
        self,
        transactions: Transactions,
        consumer: Consumer,
        clock: Clock,
        *,
        interval_s: float,
        timeout_s: float,
        max_kept_bytes: int,
    ) -> None:
        """``interval_s``: answers are collected for this long; ``timeout_s``: for one transaction."""
        self.ownership = Ownership(commits_when_revoked=False)  # their answers are not out
        self._transactions = transactions
        self._consumer = consumer
        self._clock = clock
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._max_kept_bytes = max_kept_bytes
        self._lock = threading.Lock()
        self._kept: dict[Ticket, _Answer] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transaction")
        self._current: _Transaction | None = None
        self._next_at_s = clock.monotonic_s()

    def publish(self, ticket: Ticket, answer: Outgoing, settled: Settled) -> None:
        with self._lock:
            self._kept[ticket] = _Answer(answer, size_bytes(answer), self._clock.monotonic_s())
        settled(None)

    def commit(self) -> Mapping[TopicPartition, int]:
        committed = self._take_in()
        if self._current is None and self._clock.monotonic_s() >= self._next_at_s:
            self._begin()
        return committed

    def finish(self, timeout_s: float) -> Mapping[TopicPartition, int]:
        give_up_s = self._clock.monotonic_s() + timeout_s
        committed: dict[TopicPartition, int] = {}
        try:
            while True:
                committed |= self._take_in()
                if self._current is None:
                    self._begin()
                if self._current is None:
                    return committed
                left_s = max(0.0, give_up_s - self._clock.monotonic_s())
                with suppress(BrokerUnavailable, PublishFailed):  # raised when it is taken in
                    self._current.written.result(left_s)
        except TimeoutError as error:
            raise BrokerUnavailable(f"the last transaction took more than {timeout_s:.0f} s") from error
        finally:
            self._thread.shutdown(wait=False)

    def is_full(self) -> bool:
        with self._lock:
            too_large = sum(answer.size_bytes for answer in self._kept.values()) >= self._max_kept_bytes
            return too_large or len(self._kept) >= MAX_KEPT

    def is_idle(self) -> bool:
        return self._current is None and not self.ownership.committable()

    def kept(self) -> Kept:
        with self._lock:
            if not self._kept:
                return Kept()
            oldest_s = min(answer.since_s for answer in self._kept.values())
            return Kept(len(self._kept), self._clock.monotonic_s() - oldest_s)

    def unacknowledged_s(self) -> float:
        current = self._current
        return 0.0 if current is None else self._clock.monotonic_s() - current.began_s

    def _begin(self) -> None:
        membership = self._consumer.membership()
        answers, offsets = self._finished()
        if not offsets:
            return
        records = tuple(answer.record for answer in answers.values())
        written = self._thread.submit(self._transactions.write, records, offsets, membership)
        self._current = _Transaction(tuple(answers), offsets, self._clock.monotonic_s(), written)

    def _finished(self) -> tuple[dict[Ticket, _Answer], dict[TopicPartition, int]]:
        """The answers of finished prefixes and their offsets, as much as one transaction shall hold."""
        committable = self.ownership.committable()
        with self._lock:
            for ticket in [ticket for ticket in self._kept if not self.ownership.owns(ticket)]:
                del self._kept[ticket]  # its new owner answers
            finished = [
                ticket for ticket in self._kept if ticket.offset < committable.get(ticket.topic_partition, 0)
            ]
            kept = dict(self._kept)
        answers: dict[Ticket, _Answer] = {}
        offsets: dict[TopicPartition, int] = {}
        room_bytes = MAX_TRANSACTION_BYTES
        for ticket in sorted(finished, key=lambda ticket: ticket.offset):
            room_bytes -= kept[ticket].size_bytes
            if answers and room_bytes < 0:
                return answers, offsets
            answers[ticket] = kept[ticket]
            offsets[ticket.topic_partition] = ticket.offset + 1
        return answers, offsets

    def _take_in(self) -> Mapping[TopicPartition, int]:
        current = self._current
        if current is None:
            return {}
        now_s = self._clock.monotonic_s()
        if not current.written.done():
            if now_s - current.began_s > self._timeout_s:
                raise PublishFailed(f"a transaction did not end within {self._timeout_s:.0f} s")
            return {}
        self._current = None
        try:
            current.written.result()
        except BrokerUnavailable:  # aborted: the same answers, or more, come again
            self._next_at_s = now_s + COMMIT_RETRY_S
            raise
        self._next_at_s = current.began_s + self._interval_s
        with self._lock:
            for ticket in current.tickets:
                self._kept.pop(ticket, None)
        self.ownership.committed(current.offsets)
        return current.offsets
