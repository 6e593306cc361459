"""Reads upload events from records: CloudEvents 1.0 in Kafka's binary and structured modes, and plain JSON.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md

Media may travel inside the record (`inline:`): then the value is the media and the event stands in the
headers, either as CloudEvents attributes (binary mode with a media content type; `ce_subject` is the
upload id) or as plain JSON in the header `sluice.event`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from worker.errors import InvalidEvent, UnreadableEvent
from worker.messages import UploadEvent, UploadId
from worker.stream.types import Headers, Record

INLINE_URI = "inline:"
UNKNOWN_URI = "unknown:"
EVENT_HEADER = "sluice.event"
STRUCTURED_TYPE = "application/cloudevents+json"
JSON_TYPES = ("", "application/json")
CE_PREFIX = "ce_"
MAX_EVENT_BYTES = 1024 * 1024  # of JSON; parsed, it may take 25 times as much memory

# CloudEvents attribute (names are lower case without separators by its rules) -> field of UploadEvent.
CE_FIELDS = {
    "subject": "upload_id",
    "time": "created_at",
    "expirytime": "deadline",
    "traceparent": "traceparent",
    "sha256": "sha256",
    "tenant": "tenant",
    "policy": "policy",
    "priority": "priority",
}

_upload_id: TypeAdapter[str] = TypeAdapter(UploadId)


@dataclass(frozen=True, slots=True)
class Upload:
    """An event, and its media when that came with it."""

    event: UploadEvent
    inline: bytes | None = field(default=None, repr=False)


def salvaged(error: InvalidEvent) -> UploadEvent:
    """The event without what was wrong in it: enough to answer it, nothing to fetch."""
    return UploadEvent.model_validate({**error.valid, "uri": UNKNOWN_URI})


def read_upload(record: Record) -> Upload:
    """Raises UnreadableEvent without a readable upload id, else InvalidEvent when a field is wrong."""
    headers = _text_headers(record.headers)
    if EVENT_HEADER in headers:
        return _inline(_parse_json(headers[EVENT_HEADER].encode(), "header sluice.event"), record.value)
    attributes = {
        name.removeprefix(CE_PREFIX): text for name, text in headers.items() if name.startswith(CE_PREFIX)
    }
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == STRUCTURED_TYPE:
        return Upload(_event(_structured(record.value)))
    if attributes and content_type not in JSON_TYPES and not content_type.endswith("+json"):
        return _inline(_from_attributes(attributes) | {"content_type": content_type}, record.value)
    fields = _from_attributes(attributes) | _parse_json(record.value, "value")
    fields.setdefault("traceparent", headers.get("traceparent"))
    event = _event(fields)
    if event.uri == INLINE_URI:
        raise InvalidEvent(
            f"uri {INLINE_URI!r} needs the media as the value and the event in the header {EVENT_HEADER!r}",
            event.model_dump(exclude_unset=True),
        )
    return Upload(event)


def _text_headers(headers: Headers) -> dict[str, str]:
    return {name.lower(): value.decode("utf-8", "replace") for name, value in headers if value is not None}


def _structured(value: bytes | None) -> dict[str, Any]:
    envelope = _parse_json(value, "value")
    data = envelope.get("data")
    if not isinstance(data, dict):
        raise UnreadableEvent("a structured CloudEvent needs a JSON object as its data")
    return _from_attributes(envelope) | data


def _from_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    return {CE_FIELDS[name]: value for name, value in attributes.items() if name in CE_FIELDS}


def _parse_json(value: bytes | None, where: str) -> dict[str, Any]:
    if value is None:
        raise UnreadableEvent(f"the record's {where} is empty, expected a JSON object")
    if len(value) > MAX_EVENT_BYTES:
        raise UnreadableEvent(
            f"the record's {where} has {len(value)} bytes, over the {MAX_EVENT_BYTES} of an event: media "
            f"belongs into the value, with the event in the header {EVENT_HEADER!r}"
        )
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UnreadableEvent(f"the record's {where} is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise UnreadableEvent(f"the record's {where} is a JSON {type(parsed).__name__}, expected an object")
    return parsed


def _inline(fields: dict[str, Any], value: bytes | None) -> Upload:
    event = _event({**fields, "uri": INLINE_URI})
    if not value:
        raise InvalidEvent(
            "inline: the record has no value, expected the media's bytes",
            event.model_dump(exclude_unset=True),
        )
    return Upload(event, value)


def _read_id(fields: dict[str, Any]) -> str:
    try:
        return _upload_id.validate_python(fields.get("upload_id"), strict=True)
    except ValidationError as error:
        raise UnreadableEvent(
            f"upload_id is {fields.get('upload_id')!r:.80}, expected 1 to 256 printable ASCII characters"
        ) from error


def _event(fields: dict[str, Any]) -> UploadEvent:
    _read_id(fields)
    try:
        return UploadEvent.model_validate(fields)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        first = problems[0]
        where = ".".join(str(part) for part in first["loc"])
        # A URI may carry credentials or a signature, and a missing field's input is the whole event.
        quoted = "" if where == "uri" or first["type"] == "missing" else f", got {first['input']!r:.80}"
        wrong = {problem["loc"][0] for problem in problems}
        valid = {name: value for name, value in fields.items() if name not in wrong}
        raise InvalidEvent(f"{where}: {first['msg']}{quoted}", valid) from error
