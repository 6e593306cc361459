"""Writing records, each with a future that says whether the broker has it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import structlog
from kafka import KafkaProducer
from kafka import errors as kafka_errors
from kafka.producer.future import FutureRecordMetadata

from worker.errors import PublishFailed
from worker.settings import KafkaSettings
from worker.stream import options
from worker.stream.client.errors import require_crc32c, translating
from worker.stream.room import Room, size_bytes
from worker.stream.types import Outgoing

log = structlog.get_logger(__name__)


def send(producer: KafkaProducer, record: Outgoing) -> FutureRecordMetadata:
    """Raises the client's own errors."""
    return producer.send(
        record.topic,
        key=record.key,
        value=record.value,
        headers=list(record.headers),
        partition=record.partition,
    )


def close(producer: KafkaProducer, timeout_s: float) -> None:
    try:
        producer.close(timeout=timeout_s)
    except kafka_errors.KafkaError as error:
        log.warning("producer_close_failed", error=str(error))


class BrokerProducer:
    """Implements types.Producer."""

    def __init__(self, settings: KafkaSettings) -> None:
        require_crc32c()
        self._room = Room(2 * settings.max_message_bytes)
        self._wait_s = settings.delivery_timeout_s
        with translating():
            self._producer = KafkaProducer(**options.connection(settings) | options.producing(settings))

    def send(self, record: Outgoing) -> Future[None]:
        answer: Future[None] = Future()
        size = size_bytes(record)
        if not self._room.take(size, self._wait_s):
            answer.set_exception(
                PublishFailed(f"no room to send to {record.topic}: the broker does not answer")
            )
            return answer
        answer.add_done_callback(lambda _: self._room.give(size))
        try:
            sent = send(self._producer, record)
        except Exception as error:
            answer.set_exception(_publish_failed(record, error))
            return answer
        sent.add_callback(lambda _: answer.set_result(None))
        sent.add_errback(lambda error: answer.set_exception(_publish_failed(record, error)))
        return answer

    def close(self, timeout_s: float) -> None:
        close(self._producer, timeout_s)


@contextmanager
def producing(settings: KafkaSettings, close_timeout_s: float = 10.0) -> Iterator[BrokerProducer]:
    """A producer for the length of a block."""
    producer = BrokerProducer(settings)
    try:
        yield producer
    finally:
        producer.close(close_timeout_s)


def _publish_failed(record: Outgoing, error: Exception) -> PublishFailed:
    failure = PublishFailed(f"not acknowledged by {record.topic}: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure
