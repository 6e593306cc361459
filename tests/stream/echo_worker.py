"""A worker process that answers every upload with its own key, for tests that kill it.

python -m tests.stream.echo_worker SETTINGS_JSON SECONDS_A_RECORD
"""

from __future__ import annotations

import signal
import sys
import time

from tests.stream.harness import delivering
from worker.clock import SystemClock
from worker.settings import KafkaSettings, WorkerSettings
from worker.stream import client
from worker.stream.loop import Answer, StreamLoop
from worker.stream.types import Outgoing, Record


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
    signal.signal(signal.SIGTERM, lambda *_: loop.stop(10.0))
    finished = loop.run()
    way_out.close(2.0)
    sys.exit(3 if finished.abandoned else 0)


if __name__ == "__main__":
    main()
