"""A loop on a thread of its own, with a handler that tests hold and release."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from tests.brokers import BrokerUnderTest, wait_for
from worker.clock import Clock, SystemClock
from worker.errors import UnreadableEvent
from worker.settings import KafkaSettings, WorkerSettings
from worker.stream.delivery import AtLeastOnce, Delivery, ExactlyOnce
from worker.stream.loop import Answer, Finished, StreamLoop
from worker.stream.telemetry import StreamTelemetry
from worker.stream.types import Consumer, Outgoing, Producer, Record, Transactions


class Echo:
    """Answers each record with its key; waits for those that are held; raises what it is told to."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._topic = settings.verdicts_topic
        self._gates: dict[str, threading.Event] = {}
        self.errors: dict[str, Exception] = {}
        self.systemic: Callable[[str], bool] = lambda key: False
        self.seen: list[str] = []

    def hold(self, *keys: str) -> None:
        self._gates |= {key: threading.Event() for key in keys}

    def release(self, *keys: str) -> None:
        for key in keys or tuple(self._gates):
            self._gates[key].set()

    def __call__(self, record: Record) -> Answer:
        key = (record.key or b"").decode()
        self.seen.append(key)
        if key in self._gates:
            self._gates[key].wait(30)
        if key in self.errors:
            raise self.errors[key]
        if key.startswith("unreadable"):
            raise UnreadableEvent(f"{key} holds no upload id")
        return Answer(Outgoing(self._topic, record.key, b"verdict"), self.systemic(key))


class Running:
    def __init__(self, loop: StreamLoop, consumer: Consumer) -> None:
        self.loop = loop
        self.consumer = consumer
        self.outcome: Future[Finished] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.outcome.set_result(self.loop.run())
        except BaseException as error:
            self.outcome.set_exception(error)

    def stop(self, drain_timeout_s: float = 5.0) -> Finished:
        self.loop.stop(drain_timeout_s)
        return self.outcome.result(30)


def delivering(
    settings: KafkaSettings,
    limits: WorkerSettings,
    consumer: Consumer,
    producer: Callable[[KafkaSettings], Producer],
    transactions: Callable[[KafkaSettings], Transactions],
    clock: Clock | None = None,
) -> tuple[Delivery, Producer | Transactions]:
    """The delivery that the settings ask for, and what is to be closed after it."""
    clock = clock or SystemClock()
    if settings.delivery == "at_least_once":
        sender = producer(settings)
        return AtLeastOnce(sender, consumer, clock), sender
    writer = transactions(settings)
    delivery = ExactlyOnce(
        writer,
        consumer,
        clock,
        interval_s=settings.transaction_interval_s,
        timeout_s=settings.delivery_timeout_s,
        max_kept_bytes=limits.max_pending_bytes,
    )
    return delivery, writer


@contextmanager
def running(
    broker: BrokerUnderTest,
    settings: KafkaSettings,
    handler: Echo,
    telemetry: StreamTelemetry | None = None,
    /,
    **worker: int | float,
) -> Iterator[Running]:
    consumer = broker.consumer(settings)
    limits = WorkerSettings.model_validate({"concurrency": 4, "max_pending": 8} | worker)
    delivery, way_out = delivering(settings, limits, consumer, broker.producer, broker.transactions)
    loop = StreamLoop(consumer, delivery, handler, settings, limits, SystemClock(), telemetry)
    run = Running(loop, consumer)
    try:
        yield run
    finally:
        handler.release()
        loop.stop(0.0)
        wait_for(run.outcome.done, 20, "the loop ends")
        way_out.close(2)
