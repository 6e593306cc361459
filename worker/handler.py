"""What the stream loop calls for each record: read the event, moderate, answer."""

from __future__ import annotations

import math

from worker.attempts import Attempts
from worker.clock import Clock, Deadline
from worker.errors import DeadlineExceeded, ExpiredEvent, InvalidEvent, Quarantined, SluiceError
from worker.events import Upload, read_upload, salvaged
from worker.messages import Coordinates, Verdict
from worker.moderation import Moderator
from worker.settings import Settings
from worker.stream.loop import Answer
from worker.stream.types import Outgoing, Place, Record
from worker.telemetry.logs import bound
from worker.telemetry.metrics import Metrics
from worker.telemetry.traces import NO_TRACES, Trace, Traces


class UploadHandler:
    """Record in, verdict out. Thread-safe.

    Raises UnreadableEvent (the loop makes it a dead letter), and what must stop the worker.
    """

    def __init__(
        self,
        settings: Settings,
        moderator: Moderator,
        attempts: Attempts,
        clock: Clock,
        metrics: Metrics,
        traces: Traces = NO_TRACES,
    ) -> None:
        self._topic = settings.kafka.verdicts_topic
        self._timeout_s = settings.worker.upload_timeout_s
        self._moderator = moderator
        self._attempts = attempts
        self._clock = clock
        self._metrics = metrics
        self._traces = traces

    def __call__(self, record: Record) -> Answer:
        source = Coordinates(topic=record.topic, partition=record.partition, offset=record.offset)
        refusal: SluiceError | None = None
        try:
            upload = read_upload(record)
        except InvalidEvent as error:
            upload, refusal = Upload(salvaged(error)), error
        event, waited_s = upload.event, self._age_s(record)
        self._metrics.waited_in_topic(event.priority, waited_s)
        about = {"upload_id": event.upload_id, "topic_wait_s": waited_s, **source.model_dump()}
        with (
            self._traces.upload(event.traceparent, about) as trace,
            bound(upload_id=event.upload_id, trace_id=trace.trace_id),
        ):
            verdict = self._verdict(upload, record.place, source, refusal)
            trace.tell(decision=verdict.decision, decided_by=verdict.decided_by, reason=verdict.reason)
        self._metrics.upload_to_verdict(event.priority, self._age_s(record))
        return Answer(self._outgoing(verdict, trace), verdict.reason in _SYSTEMIC_REASONS)

    def _verdict(
        self, upload: Upload, place: Place, source: Coordinates, refusal: SluiceError | None
    ) -> Verdict:
        now, due = self._clock.now(), upload.event.deadline
        if refusal is None and due is not None and due <= now:
            # Not converted to UTC: in the year 1 that may lie before the first day that there is.
            refusal = ExpiredEvent(f"read at {now:%FT%TZ}, after its deadline {due.isoformat()}")
        if refusal is not None:
            return self._moderator.refuse(upload, refusal, source)
        left = Deadline.after(self._clock, math.inf if due is None else (due - now).total_seconds())
        try:
            with self._attempts.attempt(place, left.remaining_s):
                return self._moderator.moderate(upload, left.within(self._timeout_s), source)
        except (Quarantined, DeadlineExceeded) as error:
            return self._moderator.refuse(upload, error, source)

    def _age_s(self, record: Record) -> float:
        """Since it was published, as its timestamp says."""
        return self._clock.now().timestamp() - record.timestamp_ms / 1000.0

    def _outgoing(self, verdict: Verdict, trace: Trace) -> Outgoing:
        headers = [("content-type", b"application/json"), ("sluice.decision", verdict.decision.encode())]
        if trace.traceparent:
            headers.append(("traceparent", trace.traceparent.encode()))
        return Outgoing(
            self._topic, verdict.upload_id.encode(), verdict.model_dump_json().encode(), tuple(headers)
        )


def _systemic(error: type[SluiceError]) -> set[str]:
    found = {error.reason} if error.systemic else set()
    return found.union(*(_systemic(child) for child in error.__subclasses__()))


_SYSTEMIC_REASONS = frozenset(_systemic(SluiceError))
