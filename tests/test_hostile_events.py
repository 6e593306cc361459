"""Records that somebody made up, held against the published schema: answered or refused, never fatal.

The strategies are made from docs/schemas/upload-event.schema.json, so a new field is tried without a word.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.samples import VERSIONS
from worker.attempts import Attempts, NoCounts
from worker.clock import Deadline, SystemClock
from worker.errors import InvalidEvent, SluiceError, UnreadableEvent
from worker.events import INLINE_URI, Upload, read_upload
from worker.handler import UploadHandler
from worker.messages import Coordinates, Verdict
from worker.settings import Settings
from worker.stream.dead_letter import for_record
from worker.stream.room import size_bytes
from worker.stream.types import Headers, Record
from worker.telemetry.metrics import Metrics
from worker.verdicts import Subject, failed

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "schemas" / "upload-event.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
NOW = datetime(2026, 11, 24, tzinfo=UTC)
MiB = 1024 * 1024

ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timedelta(minutes=minutes))
TIMES = st.tuples(st.datetimes(), OFFSETS).map(lambda pair: f"{pair[0].isoformat()}{_offset(pair[1])}")


def _offset(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def valid(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a property's schema accepts."""
    if "anyOf" in schema:
        return st.one_of([valid(option) for option in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "null":
        return st.none()
    if schema["type"] == "integer":
        return st.integers(min_value=schema.get("minimum"), max_value=10**12)
    if schema.get("format") == "date-time":
        return TIMES
    if "pattern" in schema:
        return st.from_regex(schema["pattern"].replace("$", r"\Z"))
    longest = min(schema.get("maxLength", 50), 50)
    return st.text(st.characters(codec="utf-8"), min_size=schema.get("minLength", 0), max_size=longest)


VALID = st.fixed_dictionaries(
    {name: valid(SCHEMA["properties"][name]) for name in SCHEMA["required"]},
    optional={
        name: valid(schema) for name, schema in SCHEMA["properties"].items() if name not in SCHEMA["required"]
    },
)
BROKEN = st.tuples(VALID, st.sampled_from([*SCHEMA["properties"]]), ANY_JSON).map(
    lambda drawn: {**drawn[0], drawn[1]: drawn[2]}
)


def record(value: bytes | None, headers: Headers = ()) -> Record:
    return Record("uploads", 0, 7, key=b"u", value=value, headers=headers)


@settings(max_examples=60)
@given(VALID)
def test_what_the_schema_accepts_is_read(fields: dict[str, Any]) -> None:
    VALIDATOR.validate(fields)
    if fields["uri"] == INLINE_URI:
        return
    event = read_upload(record(json.dumps(fields).encode())).event
    for name in ("upload_id", "uri", "sha256", "tenant", "policy"):
        assert getattr(event, name) == fields.get(name, SCHEMA["properties"][name].get("default"))


@settings(max_examples=60)
@given(BROKEN)
def test_what_is_refused_breaks_the_schema(fields: dict[str, Any]) -> None:
    """So no producer that keeps to the published schema is turned away."""
    try:
        read_upload(record(json.dumps(fields).encode()))
    except (InvalidEvent, UnreadableEvent):
        assert fields.get("uri") == INLINE_URI or not _accepted(fields)


def _accepted(fields: dict[str, Any]) -> bool:
    """With formats, which JSON Schema leaves to the reader: times have an offset."""
    times = [fields.get(name) for name in ("deadline", "created_at")]
    text = json.dumps(fields)
    surrogates = "\\ud" in text  # half a character: JSON allows it, UTF-8 does not
    return VALIDATOR.is_valid(fields) and all(map(_is_time, times)) and not surrogates


def _is_time(value: Any) -> bool:
    try:
        return value is None or datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


class Refusing:
    """A moderator that fetches nothing."""

    def refuse(self, upload: Upload, error: SluiceError, source: Coordinates | None = None) -> Verdict:
        return failed(Subject(upload.event, source, VERSIONS), error, sha256=None, timings_ms={}, now=NOW)

    def moderate(self, upload: Upload, deadline: Deadline, source: Coordinates | None = None) -> Verdict:
        assert 0 < deadline.remaining_s <= Settings().worker.upload_timeout_s
        return self.refuse(upload, SluiceError("not looked at"), source)


HANDLER = UploadHandler(
    Settings(),
    Refusing(),  # type: ignore[arg-type]
    Attempts(NoCounts(), "group", 3),
    SystemClock(),
    Metrics(),
)
HEADER_NAMES = ("content-type", "sluice.event", "ce_subject", "ce_time", "ce_expirytime", "traceparent", "")


@given(
    st.one_of(
        VALID.map(json.dumps).map(str.encode),
        BROKEN.map(json.dumps).map(str.encode),
        st.binary(max_size=200),
        st.none(),
    ),
    st.lists(st.tuples(st.sampled_from(HEADER_NAMES), st.binary(max_size=50)), max_size=4).map(tuple),
)
@settings(max_examples=60)
@example(b'{"upload_id": "u", "uri": "s3://b/k", "deadline": "0001-01-01T00:00:00+14:00"}', ())
@example(b'{"upload_id": "u", "uri": "s3://b/k", "deadline": "9999-12-31T23:59:59-14:00"}', ())
@example(b'{"upload_id": "u", "uri": "s3://b/k", "created_at": "0001-01-01T00:00:00+14:00"}', ())
@example(b'{"upload_id": "u", "uri": "s3://b/k", "tenant": "\\ud800"}', ())
@example(b'{"upload_id": "u", "uri": "s3://b/k", "schema_version": ' + b"9" * 5000 + b"}", ())
def test_every_record_is_answered_or_a_dead_letter(value: bytes | None, headers: Headers) -> None:
    """An exception of another kind would stop the worker, and the next one that reads the record."""
    try:
        answer = HANDLER(record(value, headers))
    except UnreadableEvent as error:
        for_record("uploads.dlq", record(value, headers), error, 900 * 1024)
        return
    verdict = Verdict.model_validate_json(answer.record.value or b"")
    assert verdict.decision == "review"
    assert verdict.reason


@pytest.mark.parametrize(
    "headers",
    [
        (("x", bytes(20 * MiB)),),
        (("sluice.event", b"{" * 20 * MiB),),
        (("ce_subject", b"u" * 20 * MiB), ("content-type", b"video/mp4")),
        (("content-type", b"application/cloudevents+json" + b";" * 20 * MiB),),
        tuple((f"ce_{number}", b"x") for number in range(100_000)),
    ],
    ids=["unknown", "event", "subject", "content-type", "many"],
)
def test_20_mb_of_headers(headers: Headers) -> None:
    """No id can be read: the dead letter leaves them out, as it would be over the broker's limit."""
    with pytest.raises(UnreadableEvent) as caught:
        read_upload(record(b"", headers))
    assert len(str(caught.value)) < 1000
    letter = for_record("uploads.dlq", record(b"", headers), caught.value, 900 * 1024)
    assert size_bytes(letter) <= 900 * 1024


def test_events_of_the_future() -> None:
    """A date to come shortens nothing; a deadline far away is cut to the time that any upload has."""
    fields = {"upload_id": "u", "uri": "s3://b/k", "created_at": "2999-01-01T00:00:00Z"}
    for deadline in (None, "2999-01-01T00:00:00Z"):
        answer = HANDLER(record(json.dumps({**fields, "deadline": deadline}).encode()))
        verdict = Verdict.model_validate_json(answer.record.value or b"")
        assert verdict.reason == SluiceError.reason
        assert verdict.created_at is not None
        assert verdict.created_at.year == 2999


def test_an_event_that_comes_again_gets_the_same_verdict() -> None:
    value = b'{"upload_id": "u", "uri": "s3://b/k"}'
    first, second = (
        Verdict.model_validate_json(HANDLER(record(value)).record.value or b"") for _ in range(2)
    )
    assert first.verdict_id == second.verdict_id
