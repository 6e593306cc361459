"""Which records are events, and what is said of those that are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import InvalidEvent, UnreadableEvent
from worker.events import MAX_EVENT_BYTES, read_upload, salvaged
from worker.stream.types import Headers, Record

MINIMAL = {"upload_id": "u-1", "uri": "https://example.com/v.mp4"}


def record(value: bytes | None, headers: Headers = ()) -> Record:
    return Record("uploads", 0, 0, key=b"u-1", value=value, headers=headers)


def plain(**fields: Any) -> Record:
    return record(json.dumps(fields).encode())


def test_plain_json() -> None:
    upload = read_upload(plain(**MINIMAL, tenant="acme", priority="live", unknown_field=[1]))
    assert (upload.event.upload_id, upload.event.uri) == ("u-1", "https://example.com/v.mp4")
    assert (upload.event.tenant, upload.event.priority, upload.event.policy) == ("acme", "live", None)
    assert upload.inline is None


def test_cloudevents_structured() -> None:
    envelope = {
        "specversion": "1.0",
        "id": "42",
        "source": "/app",
        "type": "com.example.uploaded",
        "subject": "u-1",
        "expirytime": "2030-01-01T00:00:00Z",
        "data": {"uri": "s3://bucket/key"},
    }
    headers = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
    event = read_upload(record(json.dumps(envelope).encode(), headers)).event
    assert (event.upload_id, event.uri) == ("u-1", "s3://bucket/key")
    assert event.deadline is not None
    assert event.deadline.year == 2030


def test_cloudevents_binary() -> None:
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_subject", b"u-1"),
        ("ce_policy", b"strict"),
        ("ce_traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("content-type", b"application/json"),
    )
    event = read_upload(record(b'{"uri": "file:///data/v.mp4"}', headers)).event
    assert (event.upload_id, event.policy, event.uri) == ("u-1", "strict", "file:///data/v.mp4")
    assert event.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_data_is_stronger_than_attributes() -> None:
    headers = (("ce_subject", b"from-attribute"), ("content-type", b"application/json"))
    assert read_upload(record(json.dumps(MINIMAL).encode(), headers)).event.upload_id == "u-1"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((("ce_subject", b"u-1"), ("content-type", b"video/mp4")), id="cloudevents-binary"),
        pytest.param((("sluice.event", b'{"upload_id": "u-1"}'),), id="plain-header"),
    ],
)
def test_inline_media_stands_in_the_value(headers: Headers) -> None:
    upload = read_upload(record(b"\x00\x00\x00\x18ftyp", headers))
    assert (upload.event.upload_id, upload.event.uri) == ("u-1", "inline:")
    assert upload.inline == b"\x00\x00\x00\x18ftyp"


@pytest.mark.parametrize(
    ("value", "headers", "message"),
    [
        (None, (), "value is empty"),
        (b"\xff\xfe", (), "not JSON"),
        (b"[1]", (), "JSON list, expected an object"),
        (b"[" * 100_000, (), "not JSON"),
        (
            b'{"upload_id": "u", "uri": "x:", "tags": [' + b"[]," * MAX_EVENT_BYTES + b"1]}",
            (),
            "over the 1048576",
        ),
        (b"{}", (), "upload_id is None"),
        (b'{"upload_id": 7, "uri": "x:"}', (), "upload_id is 7"),
        (b'{"upload_id": "", "uri": "x:"}', (), "upload_id is ''"),
        (b'{"upload_id": "a b", "uri": "x:"}', (), "printable ASCII"),
        (b'{"upload_id": "' + b"a" * 257 + b'"}', (), "1 to 256"),
        (b"media", (("content-type", b"video/mp4"), ("ce_id", b"1")), "upload_id is None"),
        (b'{"data": 1}', (("content-type", b"application/cloudevents+json"),), "JSON object as its data"),
    ],
)
def test_unreadable(value: bytes | None, headers: Headers, message: str) -> None:
    with pytest.raises(UnreadableEvent, match=message):
        read_upload(record(value, headers))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"uri": None}, "uri: Input should be a valid string"),
        ({"sha256": "abc"}, "sha256: String should match"),
        ({"priority": "urgent"}, "priority: Input should be 'live', 'standard' or 'batch', got 'urgent'"),
        ({"deadline": "2030-01-01T00:00:00"}, "deadline: Input should have timezone"),
        ({"schema_version": 0}, "schema_version"),
        ({"uri": "inline:"}, "needs the media as the value"),
    ],
)
def test_invalid_but_answerable(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidEvent, match=message) as caught:
        read_upload(plain(**{**MINIMAL, **fields}))
    assert salvaged(caught.value).upload_id == "u-1"


def test_what_is_right_in_an_invalid_event_is_kept() -> None:
    with pytest.raises(InvalidEvent) as caught:
        read_upload(plain(**MINIMAL, tenant="acme", priority="urgent"))
    event = salvaged(caught.value)
    assert (event.tenant, event.priority, event.uri) == ("acme", "standard", "unknown:")


@pytest.mark.parametrize(
    "fields",
    [
        {"upload_id": "u-1", "url": "https://user:hunter2@host/v.mp4"},
        {"upload_id": "u-1", "uri": ["https://host/v.mp4?X-Amz-Signature=hunter2"]},
        {"upload_id": "u-1", "uri": "https://host/?token=hunter2" + "x" * 5000},
    ],
)
def test_what_is_wrong_is_named_without_quoting_secrets(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent) as caught:
        read_upload(plain(**fields))
    assert "uri" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_other_kinds_of_json_are_not_media() -> None:
    headers = (("ce_subject", b"u-1"), ("content-type", b"application/vnd.acme+json"))
    assert read_upload(record(b'{"uri": "s3://b/k"}', headers)).inline is None


def test_a_newer_schema_version_is_read() -> None:
    assert read_upload(plain(**MINIMAL, schema_version=99)).event.schema_version == 99


json_values: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just({}) | st.just([None])
)
field_names = st.sampled_from(
    ["upload_id", "uri", "sha256", "deadline", "priority", "data", "schema_version"]
)
header_names = st.sampled_from(["ce_subject", "content-type", "sluice.event", "ce_time", "traceparent", "x"])


@given(
    value=st.none()
    | st.binary(max_size=64)
    | st.dictionaries(field_names, json_values).map(json.dumps).map(str.encode),
    headers=st.lists(st.tuples(header_names, st.binary(max_size=32)), max_size=4).map(tuple),
)
def test_whatever_comes_is_read_or_refused(value: bytes | None, headers: Headers) -> None:
    try:
        upload = read_upload(record(value, headers))
    except (UnreadableEvent, InvalidEvent):
        return
    assert upload.event.upload_id
