"""A worker process that answers every upload with its own key, for tests that kill it.

python -m tests.stream.echo_worker SETTINGS_JSON SECONDS_A_RECORD DRAIN_TIMEOUT_S
"""

from __future__ import annotations

import os
import sys
import time

from tests.stream.harness import delivering
from worker.clock import SystemClock
from worker.settings import KafkaSettings, WorkerSettings
from worker.stream import client
from worker.stream.loop import Answer, StreamLoop
from worker.stream.signals import stop_on_signals
from worker.stream.types import Outgoing, Record

ABANDONED = 3  # exit code


def main() -> None:
    settings = KafkaSettings.model_validate_json(sys.argv[1])
    seconds = float(sys.argv[2])

    def echo(record: Record) -> Answer:
        time.sleep(seconds)
        return Answer(Outgoing(settings.verdicts_topic, record.key, b"verdict"))

    worker = WorkerSettings(concurrency=4, max_pending=16)
    consumer = client.BrokerConsumer(settings)
    delivery, way_out = delivering(
        settings, worker, consumer, client.BrokerProducer, client.BrokerTransactions
    )
    loop = StreamLoop(consumer, delivery, echo, settings, worker, SystemClock())
    stop_on_signals(loop, float(sys.argv[3]))
    finished = loop.run()
    way_out.close(2.0)
    sys.stdout.flush()
    os._exit(ABANDONED if finished.abandoned else 0)  # as the real worker: threads may still be at work


if __name__ == "__main__":
    main()
