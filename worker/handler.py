"""What the stream loop calls for each record: read the event, moderate, answer."""

from __future__ import annotations

from datetime import UTC

from worker.attempts import Attempts
from worker.clock import Clock, Deadline
from worker.errors import ExpiredEvent, InvalidEvent, Quarantined, SluiceError
from worker.events import Upload, read_upload, salvaged
from worker.messages import Coordinates, Verdict
from worker.moderation import Moderator
from worker.settings import Settings
from worker.stream.loop import Answer
from worker.stream.types import Outgoing, Place, Record
from worker.telemetry.logs import bound


class UploadHandler:
    """Record in, verdict out. Thread-safe.

    Raises UnreadableEvent (the loop makes it a dead letter), and what must stop the worker.
    """

    def __init__(self, settings: Settings, moderator: Moderator, attempts: Attempts, clock: Clock) -> None:
        self._topic = settings.kafka.verdicts_topic
        self._timeout_s = settings.worker.upload_timeout_s
        self._moderator = moderator
        self._attempts = attempts
        self._clock = clock

    def __call__(self, record: Record) -> Answer:
        source = Coordinates(topic=record.topic, partition=record.partition, offset=record.offset)
        refusal: SluiceError | None = None
        try:
            upload = read_upload(record)
        except InvalidEvent as error:
            upload, refusal = Upload(salvaged(error)), error
        with bound(upload_id=upload.event.upload_id, trace_id=_trace_id(upload.event.traceparent)):
            verdict = self._verdict(upload, record.place, source, refusal)
        return Answer(self._outgoing(verdict), verdict.reason in _SYSTEMIC_REASONS)

    def _verdict(
        self, upload: Upload, place: Place, source: Coordinates, refusal: SluiceError | None
    ) -> Verdict:
        now, due = self._clock.now(), upload.event.deadline
        if refusal is None and due is not None and due <= now:
            refusal = ExpiredEvent(f"read at {now:%FT%TZ}, after its deadline {due.astimezone(UTC):%FT%TZ}")
        if refusal is not None:
            return self._moderator.refuse(upload, refusal, source)
        left_s = self._timeout_s if due is None else min(self._timeout_s, (due - now).total_seconds())
        try:
            with self._attempts.attempt(place):
                return self._moderator.moderate(upload, Deadline.after(self._clock, left_s), source)
        except Quarantined as error:
            return self._moderator.refuse(upload, error, source)

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
