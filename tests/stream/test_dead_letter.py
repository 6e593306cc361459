"""What a dead letter holds, and what it may not hold."""

from __future__ import annotations

import hashlib

import pytest

from worker.errors import UnreadableEvent
from worker.stream import dead_letter
from worker.stream.room import size_bytes
from worker.stream.types import Headers, Record, Unreadable

LIMIT = 10_000
ERROR = UnreadableEvent("no upload_id in 12 bytes")


def record(value: bytes | None = b'{"uri": "x"}', key: bytes | None = b"k", headers: Headers = ()) -> Record:
    return Record("uploads", 3, 42, key, value, headers)


def test_the_original_with_headers_that_say_where_and_why() -> None:
    letter = dead_letter.for_record("uploads.dlq", record(headers=(("trace", b"1"),)), ERROR, LIMIT)
    assert (letter.topic, letter.key, letter.value) == ("uploads.dlq", b"k", b'{"uri": "x"}')
    assert letter.headers == (
        ("trace", b"1"),
        ("__connect.errors.topic", b"uploads"),
        ("__connect.errors.partition", b"3"),
        ("__connect.errors.offset", b"42"),
        ("__connect.errors.stage", b"VALUE_CONVERTER"),
        ("__connect.errors.exception.class.name", b"UnreadableEvent"),
        ("__connect.errors.exception.message", b"no upload_id in 12 bytes"),
        ("sluice.reason", b"unreadable_event"),
    )


def test_an_unreadable_record_is_named_by_its_coordinates() -> None:
    letter = dead_letter.for_unreadable("dlq", Unreadable("uploads", 3, 42, "CorruptRecordError: crc check"))
    headers = dict(letter.headers)
    assert (letter.key, letter.value) == (b"uploads/3/42", None)
    assert headers["__connect.errors.offset"] == b"42"
    assert headers["__connect.errors.stage"] == b"KAFKA_CONSUME"
    assert headers["__connect.errors.exception.class.name"] == b"CorruptRecordError"
    assert headers["sluice.reason"] == b"unreadable_record"
    assert headers["sluice.original.omitted"] == b"unreadable"


def test_a_record_that_would_not_fit_with_its_headers_is_replaced_by_its_digest() -> None:
    value = b"{" * (LIMIT - 100)
    letter = dead_letter.for_record("dlq", record(value, headers=(("trace", b"1"),)), ERROR, LIMIT)
    headers = dict(letter.headers)
    assert (letter.key, letter.value, headers["trace"]) == (b"k", None, b"1")
    assert headers["sluice.original.omitted"] == b"too_large"
    assert headers["sluice.original.size_bytes"] == str(len(value)).encode()
    assert headers["sluice.original.sha256"] == hashlib.sha256(value).hexdigest().encode()
    assert size_bytes(letter) < LIMIT


@pytest.mark.parametrize(
    "large", [record(key=b"k" * LIMIT), record(headers=(("h", b"v" * LIMIT),))], ids=["key", "headers"]
)
def test_a_large_key_or_header_is_left_out_too(large: Record) -> None:
    letter = dead_letter.for_record("dlq", large, ERROR, LIMIT)
    assert size_bytes(letter) < LIMIT
    assert dict(letter.headers)["__connect.errors.offset"] == b"42"


@pytest.mark.parametrize(
    "carrier",
    [
        record(b"\x00\x00\x00\x18ftypmp42rest"),
        record(b"\x1a\x45\xdf\xa3webm"),
        record(b"RIFF....AVI "),
        record(b"anything", headers=(("content-type", b"video/mp4"),)),
        record(b"anything", headers=(("ce_uri", b"inline:"),)),
    ],
    ids=["mp4", "matroska", "avi", "content type", "inline"],
)
def test_media_is_never_kept(carrier: Record) -> None:
    letter = dead_letter.for_record("dlq", carrier, ERROR, LIMIT)
    assert letter.value is None
    assert dict(letter.headers)["sluice.original.omitted"] == b"inline_media"


@pytest.mark.parametrize(("key", "dead_key"), [(b"k", b"k"), (None, b"uploads/3/42")])
def test_what_has_no_value_has_a_key(key: bytes | None, dead_key: bytes) -> None:
    """The client refuses a record without both."""
    for original in (record(value=None, key=key), record(b"RIFF....AVI ", key=key)):
        letter = dead_letter.for_record("dlq", original, ERROR, LIMIT)
        assert (letter.key, letter.value) == (dead_key, None)


def test_a_missing_key_stays_missing_beside_a_value() -> None:
    assert dead_letter.for_record("dlq", record(key=None), ERROR, LIMIT).key is None


def test_the_message_is_bounded() -> None:
    letter = dead_letter.for_record("dlq", record(), UnreadableEvent("x" * 10_000_000), LIMIT)
    assert len(dict(letter.headers)["__connect.errors.exception.message"]) == 1000
