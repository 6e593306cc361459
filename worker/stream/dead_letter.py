"""What is written to the dead-letter topic for a record without a readable upload id. Pure.

The record as it was, with headers that say where it lay and what was wrong, named as Kafka Connect
names them. In its place stand coordinates, size and digest where the original

- would not fit beside the added headers (``too_large``),
- could not be read at all (``unreadable``), or
- carries media, which is not ours to keep (``inline_media``).
"""

from __future__ import annotations

import hashlib

from worker.errors import SluiceError
from worker.stream.room import size_bytes
from worker.stream.types import Headers, Outgoing, Record, Unreadable

CONNECT = "__connect.errors."
REASON = "sluice.reason"
OMITTED = "sluice.original.omitted"
SIZE = "sluice.original.size_bytes"
SHA256 = "sluice.original.sha256"

UNREADABLE_RECORD = "unreadable_record"
MAX_MESSAGE_CHARACTERS = 1_000

_MEDIA_TYPES = (b"video/", b"audio/", b"image/", b"application/octet-stream")
_INLINE = b"inline:"
_MAGIC: tuple[tuple[int, bytes], ...] = (  # offset -> bytes that begin a container of media
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (0, b"\x1a\x45\xdf\xa3"),
    (0, b"RIFF"),
    (0, b"OggS"),
    (0, b"FLV\x01"),
    (0, b"\x00\x00\x01\xba"),
    (0, b"\xff\xd8\xff"),
    (0, b"\x89PNG"),
    (0, b"GIF8"),
)


def for_record(topic: str, record: Record, error: SluiceError, max_bytes: int) -> Outgoing:
    """The dead letter of a record that was read but holds no upload id."""
    added = _added(record, "VALUE_CONVERTER", type(error).__name__, str(error), error.reason)
    if _carries_media(record):
        return _stand_in(topic, record, added, "inline_media", max_bytes)
    key = record.key if record.value is not None else _key(record)
    whole = Outgoing(topic, key, record.value, (*record.headers, *added))
    if size_bytes(whole) <= max_bytes:
        return whole
    return _stand_in(topic, record, added, "too_large", max_bytes)


def for_unreadable(topic: str, record: Unreadable) -> Outgoing:
    """The dead letter of a record that the client could not unpack: nothing of it is known."""
    kind = record.error.partition(":")[0]
    added = _added(record, "KAFKA_CONSUME", kind, record.error, UNREADABLE_RECORD)
    return Outgoing(topic, _coordinates(record), None, (*added, (OMITTED, b"unreadable")))


def _stand_in(topic: str, record: Record, added: Headers, why: str, max_bytes: int) -> Outgoing:
    """The record without its value; without its key and headers too when those are what is large."""
    value = record.value or b""
    omitted = (
        (OMITTED, why.encode()),
        (SIZE, str(len(value)).encode()),
        (SHA256, hashlib.sha256(value).hexdigest().encode()),
    )
    light = Outgoing(topic, _key(record), None, (*record.headers, *added, *omitted))
    if size_bytes(light) <= max_bytes:
        return light
    return Outgoing(topic, _coordinates(record), None, (*added, *omitted))


def _key(record: Record) -> bytes:
    """The original key, or the coordinates: a record needs a key where it has no value."""
    return _coordinates(record) if record.key is None else record.key


def _coordinates(record: Record | Unreadable) -> bytes:
    return str(record.place).encode()


def _added(record: Record | Unreadable, stage: str, kind: str, message: str, reason: str) -> Headers:
    named = {
        CONNECT + "topic": record.topic,
        CONNECT + "partition": str(record.partition),
        CONNECT + "offset": str(record.offset),
        CONNECT + "stage": stage,
        CONNECT + "exception.class.name": kind,
        CONNECT + "exception.message": message[:MAX_MESSAGE_CHARACTERS],
        REASON: reason,
    }
    return tuple((name, value.encode(errors="replace")) for name, value in named.items())


def _carries_media(record: Record) -> bool:
    value = record.value or b""
    for name, content in record.headers:
        if content.startswith(_INLINE):
            return True
        if name.lower() == "content-type" and content.lower().startswith(_MEDIA_TYPES):
            return True
    return any(value[at : at + len(magic)] == magic for at, magic in _MAGIC)
