"""What the stream loop calls for each record: read the event, moderate, answer."""

from __future__ import annotations

from worker.clock import Clock, Deadline
from worker.errors import ExpiredEvent, InvalidEvent, SluiceError
from worker.events import Upload, read_upload
from worker.messages import Coordinates, UploadEvent, Verdict
from worker.moderation import Moderator
from worker.settings import Settings
from worker.stream.loop import Answer
from worker.stream.types import Outgoing, Record
from worker.telemetry.logs import bound


class UploadHandler:
    """Record in, verdict out. Thread-safe.

    Raises UnreadableEvent (the loop makes it a dead letter), and what must stop the worker.
    """

    def __init__(self, settings: Settings, moderator: Moderator, clock: Clock) -> None:
        self._topic = settings.kafka.verdicts_topic
        self._timeout_s = settings.worker.upload_timeout_s
        self._moderator = moderator
        self._clock = clock

    def __call__(self, record: Record) -> Answer:
        source = Coordinates(topic=record.topic, partition=record.partition, offset=record.offset)
        try:
            upload = read_upload(record)
        except InvalidEvent as error:
            event = UploadEvent(upload_id=error.upload_id, uri="unknown:")
            verdict = self._moderator.refuse(Upload(event), error, source)
        else:
            with bound(upload_id=upload.event.upload_id, trace_id=_trace_id(upload.event.traceparent)):
                verdict = self._verdict(upload, source)
        return Answer(self._outgoing(verdict), verdict.reason in _SYSTEMIC_REASONS)

    def _verdict(self, upload: Upload, source: Coordinates) -> Verdict:
        due = upload.event.deadline
        left_s = self._timeout_s
        if due is not None:
            left_s = min(left_s, (due - self._clock.now()).total_seconds())
            if left_s <= 0:
                error = ExpiredEvent(f"read at {self._clock.now():%FT%TZ}, after its deadline {due:%FT%TZ}")
                return self._moderator.refuse(upload, error, source)
        return self._moderator.moderate(upload, Deadline.after(self._clock, left_s), source)

    def _outgoing(self, verdict: Verdict) -> Outgoing:
        headers = [("content-type", b"application/json"), ("sluice.decision", verdict.decision.encode())]
        if verdict.traceparent:
            headers.append(("traceparent", verdict.traceparent.encode()))
        return Outgoing(
            self._topic, verdict.upload_id.encode(), verdict.model_dump_json().encode(), tuple(headers)
        )


def _trace_id(traceparent: str | None) -> str:
    """The second field of W3C's traceparent; empty when there is none."""
    fields = (traceparent or "").split("-")
    return fields[1] if len(fields) >= 4 else ""


def _systemic(error: type[SluiceError]) -> set[str]:
    found = {error.reason} if error.systemic else set()
    return found.union(*(_systemic(child) for child in error.__subclasses__()))


_SYSTEMIC_REASONS = frozenset(_systemic(SluiceError))
