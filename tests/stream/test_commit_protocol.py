"""The whole protocol under hypothesis: loop, ownership, tracker and delivery as they are, over a broker
in memory, with every completion order, rebalance, stall and crash that hypothesis thinks of.

Nothing runs by itself: the machine decides when a worker takes a turn, which of its records is answered
next, when acknowledgements arrive and when a transaction is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.brokers import topic_specs, unique_settings
from tests.fakes.broker import FakeBroker, FakeConsumer, FakeTransactions
from tests.fakes.clock import ManualClock
from tests.stream.harness import delivering
from worker.settings import KafkaSettings, WorkerSettings
from worker.stream import loop as loop_module
from worker.stream.loop import Answer, StreamLoop
from worker.stream.types import Outgoing, Record

PARTITIONS = 2
LIMITS = WorkerSettings(concurrency=1, max_pending=3)


class ByHand:
    """An executor whose work is done when the machine says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.at_once = False

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(function(*arguments))
            except Exception as error:
                future.set_exception(error)

        if self.at_once:
            run()
        else:
            self.waiting.append(run)
        return future

    def run(self, index: int) -> None:
        self.waiting.pop(index)()

    def shutdown(self, wait: bool, cancel_futures: bool = False) -> None: ...


class SlowProducer:
    """Nothing that is sent is with the broker before it is delivered. Implements types.Producer."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self.in_flight: list[tuple[Outgoing, Future[None]]] = []

    def send(self, record: Outgoing) -> Future[None]:
        future: Future[None] = Future()
        self.in_flight.append((record, future))
        return future

    def deliver(self) -> None:
        while self.in_flight:
            record, future = self.in_flight.pop(0)
            self._broker.append(record)
            future.set_result(None)

    def close(self, timeout_s: float) -> None: ...


class Worker:
    def __init__(self, broker: FakeBroker, settings: KafkaSettings) -> None:
        self.consumer = FakeConsumer(broker, settings)
        self.uploads, self.transactions = ByHand(), ByHand()
        self.producer = SlowProducer(broker)
        delivery, _ = delivering(
            settings,
            LIMITS,
            self.consumer,
            lambda settings: self.producer,
            lambda settings: FakeTransactions(broker, settings),
            broker.clock,
        )
        self.delivery = delivery

        def echo(record: Record) -> Answer:
            return Answer(Outgoing(settings.verdicts_topic, record.key, b"verdict"))

        self.loop = StreamLoop(self.consumer, delivery, echo, settings, LIMITS, broker.clock)
        self.loop._bench._pool = cast(ThreadPoolExecutor, self.uploads)
        if hasattr(delivery, "_thread"):
            delivery._thread = cast(ThreadPoolExecutor, self.transactions)
        self.consumer.subscribe([settings.uploads_topic], self.loop._ownership)

    def stop(self, at_once: bool) -> None:
        """In order, but without time: ``at_once``, the last transaction is written nevertheless."""
        self.transactions.at_once = at_once
        if at_once:
            while self.transactions.waiting:
                self.transactions.run(0)
        self.loop._leave()


@contextmanager
def without_waiting() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IDLE_POLL_S", "BUSY_POLL_S", "FULL_WAIT_S", "POLL_RETRY_S", "LAST_COMMIT_S"):
            patch.setattr(loop_module, name, 0.0)
        yield


class Protocol(RuleBasedStateMachine):
    delivery = "at_least_once"

    def __init__(self) -> None:
        super().__init__()
        self.patch = without_waiting()
        self.patch.__enter__()
        self.clock = ManualClock()
        self.broker = FakeBroker(self.clock)
        self.settings = unique_settings("fake:9092", 0.5).model_copy(update={"delivery": self.delivery})
        for topic in topic_specs(self.settings, PARTITIONS):
            self.broker.create_topic(topic.name, topic.partitions)
        self.workers: list[Worker] = []
        self.published = 0

    # What happens.

    @initialize()
    def begin(self) -> None:
        for partition in range(PARTITIONS):
            self.publish(partition, 2)
        self.start()

    @rule(partition=st.integers(0, PARTITIONS - 1), count=st.integers(1, 3))
    def publish(self, partition: int, count: int) -> None:
        for _ in range(count):
            key = f"u{self.published}".encode()
            self.broker.append(Outgoing(self.settings.uploads_topic, key, b"{}", partition=partition))
            self.published += 1

    @precondition(lambda self: len(self.workers) < 3)
    @rule()
    def start(self) -> None:
        self.workers.append(Worker(self.broker, self.settings))
        self.workers[-1].loop._turn()

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def turn(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.workers)).loop._turn()

    @rule()
    def everybody_turns(self) -> None:
        for worker in self.workers:
            worker.loop._turn()

    @precondition(lambda self: any(worker.uploads.waiting for worker in self.workers))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.uploads.waiting]))
        worker.uploads.run(data.draw(st.integers(0, len(worker.uploads.waiting) - 1)))

    @precondition(lambda self: any(worker.transactions.waiting for worker in self.workers))
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        writing = [worker for worker in self.workers if worker.transactions.waiting]
        data.draw(st.sampled_from(writing)).transactions.run(0)

    @precondition(lambda self: any(worker.producer.in_flight for worker in self.workers))
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        sending = [worker for worker in self.workers if worker.producer.in_flight]
        data.draw(st.sampled_from(sending)).producer.deliver()

    @rule()
    def time_passes(self) -> None:
        """Threads work in no time of this clock: what they write has ended before it goes on."""
        for worker in self.workers:
            while worker.transactions.waiting:
                worker.transactions.run(0)
        self.clock.advance(2.0)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), sent_arrives=st.booleans())
    def crash(self, data: st.DataObject, sent_arrives: bool) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        if sent_arrives:
            worker.producer.deliver()
        worker.consumer.vanish()
        self.workers.remove(worker)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def stall_or_recover(self, data: st.DataObject) -> None:
        """Its heartbeats do not arrive, but it works on."""
        consumer = data.draw(st.sampled_from(self.workers)).consumer
        if consumer.vanished_s is None:
            consumer.vanish()
        else:
            consumer.vanished_s = None

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), at_once=st.booleans())
    def stop(self, data: st.DataObject, at_once: bool) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        worker.stop(at_once)
        self.workers.remove(worker)

    @rule()
    def broker_is_away(self) -> None:
        self.broker.down = True
        self.everybody_turns()
        self.broker.down = False

    # What must hold.

    def verdicts(self) -> Counter[bytes | None]:
        return Counter(record.key for record in self.broker.records(self.settings.verdicts_topic))

    def committed(self, record: Record) -> bool:
        group = self.broker.group(self.settings.group_id)
        return record.offset < group.committed.get(record.topic_partition, 0)

    def uploads(self) -> list[Record]:
        return self.broker.records(self.settings.uploads_topic)

    @invariant()
    def what_is_committed_is_answered(self) -> None:
        verdicts = self.verdicts()
        assert not [
            record for record in self.uploads() if self.committed(record) and not verdicts[record.key]
        ]

    def teardown(self) -> None:
        """Whatever happened: when all is well again, every upload gets its verdict."""
        try:
            self.finish()
        finally:
            self.patch.__exit__(None, None, None)

    def finish(self) -> None:
        for worker in self.workers:
            worker.consumer.vanish()
        self.clock.advance(2.0)
        healthy = Worker(self.broker, self.settings)
        for _ in range(20 + 4 * self.published):
            healthy.loop._turn()
            for executor in (healthy.uploads, healthy.transactions):
                while executor.waiting:
                    executor.run(0)
            healthy.producer.deliver()
            self.clock.advance(2.0)
        assert all(self.committed(record) for record in self.uploads())
        assert set(self.verdicts()) == {record.key for record in self.uploads()}
        self.at_the_end()

    def at_the_end(self) -> None: ...


class ExactlyOnceProtocol(Protocol):
    delivery = "exactly_once"

    @invariant()
    def verdict_and_offset_are_there_together(self) -> None:
        verdicts = self.verdicts()
        for record in self.uploads():
            assert verdicts[record.key] == int(self.committed(record)), record


STEPS = hypothesis_settings(max_examples=80, stateful_step_count=40, deadline=None)
TestAtLeastOnce = Protocol.TestCase
TestAtLeastOnce.settings = STEPS
TestExactlyOnce = ExactlyOnceProtocol.TestCase
TestExactlyOnce.settings = STEPS
