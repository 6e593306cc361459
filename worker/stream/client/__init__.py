"""The adapters to Kafka. The only place that imports kafka-python; nothing of it gets out.

What is particular to kafka-python 3.0 and handled here:

- An I/O thread of its own runs the group protocol; the rebalance listener is called on that thread.
- A record that cannot be unpacked makes `poll` raise once and then spin for ever, unless one seeks
  past it. The exception does not say which record it was, but its traceback does.
- A join that ends between two calls of `poll` is lost: see `BrokerConsumer._rebalancing`.
- What was read ahead of a partition that then was paused may never be handed out: see `records.read`.
- Without the `crc32c` package a large record takes seconds of CPU time: refuse to start.
- The producer bounds nothing in memory: bytes in flight are bounded here.
- A transaction that is begun while the one before still ends sleeps for `retry_backoff_ms`, twice.
- The embedded broker counts batches where it should count records: its end offsets are too low.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it reads its schemas in a way deprecated in 3.11
    import kafka  # noqa: F401

from worker.stream.client.consumer import BrokerConsumer
from worker.stream.client.producer import BrokerProducer, producing
from worker.stream.client.reader import Lookup, read_topic
from worker.stream.client.tail import Tail
from worker.stream.client.topics import (
    committed_offsets,
    create_topics,
    delete_before,
    describe,
    missing_topics,
)
from worker.stream.client.transactions import BrokerTransactions
from worker.stream.topics import TopicSpec

__all__ = [
    "BrokerConsumer",
    "BrokerProducer",
    "BrokerTransactions",
    "Lookup",
    "Tail",
    "TopicSpec",
    "committed_offsets",
    "create_topics",
    "delete_before",
    "describe",
    "read_topic",
    "missing_topics",
    "producing",
]
