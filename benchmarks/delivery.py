"""What exactly-once costs: uploads answered a second under either delivery, on one Apache Kafka node.

    python -m benchmarks.delivery [--uploads 2000] [--rounds 3] [--out benchmarks/results/delivery.json]

The handler only sleeps, so what is measured is the stream loop, its acknowledgements and its commits.
Both deliveries take turns within one run: only their ratio means something on a shared machine, and only
beyond the spread of the rounds. A third row shows transactions as kafka-python makes them by default
(worker/stream/options.py says why).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

from tests import parts
from tests.brokers import RealBroker, publish, wait_for
from tests.kafka_node import KafkaNode
from tests.stream.harness import delivering
from worker.clock import SystemClock
from worker.settings import KafkaSettings, WorkerSettings
from worker.stream import client, options
from worker.stream.loop import Answer, StreamLoop
from worker.stream.types import Outgoing, Record

SECONDS_AN_UPLOAD = 0.04
VERDICT_BYTES = 2_000
LIMITS = WorkerSettings()
PARTITIONS = 6
DEFAULT_BACKOFF_MS = 100
WAYS = ("at_least_once", "exactly_once", "exactly_once, default back-off")


def uploads_per_s(broker: RealBroker, way: str, uploads: int) -> float:
    name, _, default_backoff = way.partition(",")
    settings = broker.settings().model_copy(update={"delivery": name})
    broker.create_topics(settings, PARTITIONS)
    producer = broker.producer(settings)
    publish(producer, settings.uploads_topic, [f"u{n}" for n in range(uploads)])
    producer.close(5)
    backoff_ms = DEFAULT_BACKOFF_MS if default_backoff else options.TRANSACTION_BACKOFF_MS
    with mock.patch.object(options, "TRANSACTION_BACKOFF_MS", backoff_ms):
        return _run(broker, settings, uploads)


def _run(broker: RealBroker, settings: KafkaSettings, uploads: int) -> float:
    consumer = client.BrokerConsumer(settings)
    delivery, way_out = delivering(
        settings, LIMITS, consumer, client.BrokerProducer, client.BrokerTransactions
    )
    first: list[float] = []

    def echo(record: Record) -> Answer:
        if not first:
            first.append(time.monotonic())
        time.sleep(SECONDS_AN_UPLOAD)
        return Answer(Outgoing(settings.verdicts_topic, record.key, b"v" * VERDICT_BYTES))

    loop = StreamLoop(consumer, delivery, echo, settings, LIMITS, SystemClock())
    thread = threading.Thread(target=loop.run)
    thread.start()
    wait_for(lambda: sum(broker.committed(settings).values()) >= uploads, 300, "all committed")
    took_s = time.monotonic() - first[0]
    loop.stop(5.0)
    thread.join()
    way_out.close(5.0)
    return uploads / took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--uploads", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options_given = parser.parse_args()
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, KafkaNode(parts.kafka_home(), Path(folder)) as node:
        broker = RealBroker("Apache Kafka", node.bootstrap, session_timeout_s=6.0)
        for _ in range(options_given.rounds):
            for way in WAYS:
                rates[way].append(round(uploads_per_s(broker, way, options_given.uploads), 1))
    base = statistics.median(rates["at_least_once"])
    result = {
        "uploads": options_given.uploads,
        "concurrency": LIMITS.concurrency,
        "seconds_an_upload": SECONDS_AN_UPLOAD,
        "uploads_per_s": rates,
        "share_of_at_least_once": {way: round(statistics.median(r) / base, 3) for way, r in rates.items()},
    }
    text = json.dumps(result, indent=2) + "\n"
    sys.stdout.write(text)
    if options_given.out:
        options_given.out.write_text(text)


if __name__ == "__main__":
    main()
