"""Publishes uploads: local files travel inside the record, URIs as they are."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from worker.errors import SettingsError, SourceMissing, SourceTooLarge
from worker.events import EVENT_HEADER, INLINE_URI
from worker.messages import UploadEvent
from worker.settings import KafkaSettings
from worker.stream.client import producing
from worker.stream.types import Outgoing

HEADROOM_BYTES = 16 * 1024  # for the event in the headers and the record's own framing


def publish_uploads(
    settings: KafkaSettings, uploads: Sequence[str], *, upload_id: str | None = None, **event: Any
) -> list[str]:
    """Publish and wait until the broker has them all. Returns the upload ids in order.

    Raises SourceMissing or SourceTooLarge before anything is sent, PublishFailed after.
    """
    if upload_id and len(uploads) > 1:
        raise SettingsError(f"--upload-id {upload_id!r} names one upload, {len(uploads)} were given")
    records = [
        upload_record(settings, upload, upload_id=upload_id or new_upload_id(upload), **event)
        for upload in uploads
    ]
    with producing(settings) as producer:
        for future in [producer.send(record) for record in records]:
            future.result()
    return [(record.key or b"").decode() for record in records]


def upload_record(settings: KafkaSettings, upload: str, *, upload_id: str, **event: Any) -> Outgoing:
    """The record that asks for a verdict on ``upload``, a local file or a URI."""
    is_uri = re.match(r"^[a-z][a-z0-9+.-]*://", upload) is not None
    try:
        fields = UploadEvent(
            upload_id=upload_id,
            uri=upload if is_uri else INLINE_URI,
            created_at=datetime.now(UTC),
            **event,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SettingsError(f"{upload}: {first['loc'][0]}: {first['msg']}") from error
    body = fields.model_dump_json(exclude_none=True).encode()
    key = upload_id.encode()
    if is_uri:
        return Outgoing(settings.uploads_topic, key, body, (("content-type", b"application/json"),))
    media = _read(Path(upload), settings.max_message_bytes - HEADROOM_BYTES)
    return Outgoing(settings.uploads_topic, key, media, ((EVENT_HEADER, body),))


def new_upload_id(upload: str) -> str:
    """`clips/My cat.mp4` -> `My_cat.mp4-1f0c2a9b`: readable, and different each time."""
    name = re.sub(r"[^!-~]", "_", upload.rstrip("/").rpartition("/")[2])[-200:]
    return f"{name}-{uuid.uuid4().hex[:8]}"


def _read(file: Path, limit_bytes: int) -> bytes:
    try:
        size_bytes = file.stat().st_size
        if size_bytes > limit_bytes:
            raise SourceTooLarge(
                f"{file} has {size_bytes} bytes and a record takes {limit_bytes}: put it where the worker "
                "can fetch it and publish its URI, or raise kafka.max_message_bytes here and at the broker"
            )
        return file.read_bytes()
    except OSError as error:
        raise SourceMissing(f"{file} cannot be read: {error.strerror}") from error
