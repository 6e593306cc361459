"""A worker process with the real handler that certain uploads kill, as a segmentation fault would.

python -m tests.stream.doomed_worker SETTINGS_JSON CACHE_URL|STATE_DIR

In place of the moderator: uploads whose URI holds `kill` end the process with SIGKILL, all others get
`review` as if undecodable, after a moment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from tests.contracts.cache_examples import redis_cache
from tests.samples import VERSIONS
from worker.attempts import Attempts, Counts, FileCounts, SharedCounts
from worker.clock import Deadline, SystemClock
from worker.errors import SluiceError, Undecodable
from worker.events import Upload
from worker.handler import UploadHandler
from worker.messages import Coordinates, Verdict
from worker.moderation import Moderator
from worker.settings import KafkaSettings, Settings, WorkerSettings
from worker.stream import client
from worker.stream.delivery import AtLeastOnce
from worker.stream.loop import StreamLoop
from worker.stream.signals import stop_on_signals
from worker.telemetry.metrics import Metrics
from worker.verdicts import Subject, failed

SECONDS_AN_UPLOAD = 0.05


class Doomed:
    """What of Moderator the handler calls."""

    def moderate(self, upload: Upload, deadline: Deadline, source: Coordinates | None) -> Verdict:
        time.sleep(SECONDS_AN_UPLOAD)
        if "kill" in upload.event.uri:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.refuse(upload, Undecodable("as every upload here"), source)

    def refuse(self, upload: Upload, error: SluiceError, source: Coordinates | None) -> Verdict:
        subject = Subject(upload.event, source, VERSIONS)
        return failed(subject, error, sha256=None, timings_ms={}, now=datetime.now(UTC))


def counts(where: str) -> Counts:
    if where.startswith("/"):
        return FileCounts(Path(where))
    cache = redis_cache(where, Counter(), timeout_s=2.0)
    return SharedCounts(cache)


def main() -> None:
    kafka = KafkaSettings.model_validate_json(sys.argv[1])
    settings = Settings(kafka=kafka, worker=WorkerSettings(concurrency=4, max_pending=16))
    attempts = Attempts(counts(sys.argv[2]), kafka.group_id, settings.worker.quarantine_after)
    handler = UploadHandler(settings, cast(Moderator, Doomed()), attempts, SystemClock(), Metrics())
    producer = client.BrokerProducer(kafka)
    consumer = client.BrokerConsumer(kafka)
    loop = StreamLoop(
        consumer,
        AtLeastOnce(producer, consumer, SystemClock()),
        handler,
        kafka,
        settings.worker,
        SystemClock(),
        taken_away=attempts.release,
    )
    stop_on_signals(loop, settings.worker.drain_timeout_s)
    loop.run()
    attempts.close()
    producer.close(2.0)


if __name__ == "__main__":
    main()
