"""Ready-made values that several tests need."""

from __future__ import annotations

from typing import Any

from worker.media.types import MediaInfo
from worker.messages import ModelVersion, UploadEvent, Versions

MODEL = ModelVersion(name="f", version="1", variant="int8", sha256="0" * 64, spec_sha256="1" * 64)
VERSIONS = Versions(models=(MODEL,), policy="default@1", code="0")
INFO = MediaInfo("mp4", "h264", 320, 240, 25.0, 10.0, has_audio=True)


def an_event(**fields: Any) -> UploadEvent:
    return UploadEvent.model_validate({"upload_id": "u-1", "uri": "file:///v.mp4"} | fields)
