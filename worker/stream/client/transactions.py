"""Writing records and committing offsets, both or neither."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from worker.errors import BrokerUnavailable, PublishFailed
from worker.settings import KafkaSettings
from worker.stream import options
from worker.stream.client.errors import require_crc32c, translating
from worker.stream.client.producer import close, send
from worker.stream.client.records import theirs
from worker.stream.types import Outgoing, TopicPartition

# The group has moved on: what is still ours goes into the next transaction.
_STALE = (kafka_errors.CommitFailedError, kafka_errors.FencedInstanceIdError)


class BrokerTransactions:
    """Implements types.Transactions.

    Each process has a transactional id of its own; what fences a worker that is thought dead is its
    generation in the group (KIP-447). What it left open is aborted after `kafka.transaction_timeout_s`.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        require_crc32c()
        self._flush_s = settings.delivery_timeout_s
        with translating():
            self._producer = KafkaProducer(
                **options.connection(settings) | options.producing(settings) | options.transacting(settings),
                transactional_id=f"{settings.group_id}-{uuid.uuid4().hex}",
            )
            self._producer.init_transactions()

    def write(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], membership: object
    ) -> None:
        try:
            self._producer.begin_transaction()
            sent = [send(self._producer, record) for record in records]
            self._producer.send_offsets_to_transaction(theirs(offsets), membership)
            self._producer.flush(self._flush_s)
            for future in sent:
                future.get(timeout=0)
        except Exception as error:
            self._abort()
            raise _failure(error) from error
        try:
            self._producer.commit_transaction()
        except Exception as error:  # whether it is committed is not known
            raise PublishFailed(f"transaction: {type(error).__name__}: {error}") from error

    def close(self, timeout_s: float) -> None:
        close(self._producer, timeout_s)

    def _abort(self) -> None:
        try:
            self._producer.abort_transaction()
        except Exception as error:
            raise PublishFailed(f"transaction not aborted: {type(error).__name__}: {error}") from error


def _failure(error: Exception) -> Exception:
    text = f"transaction aborted: {type(error).__name__}: {error}"
    stale = isinstance(error, _STALE) or isinstance(error.__cause__, _STALE)
    return BrokerUnavailable(text) if stale else PublishFailed(text)
