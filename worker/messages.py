"""The wire contracts: what Sluice reads from and writes to its topics.

Readers ignore fields that they do not know, so producers may be ahead of workers; a field is never
given a new meaning. JSON Schema and AsyncAPI documents are generated from here (`worker/contracts.py`).
"""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

SCHEMA_VERSION = 1
VERDICT_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://sluice.dev/verdict")

# An upload id is a key, a log field and a file name in somebody's tool: short, printable, no spaces.
UploadId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,256}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Action = Literal["allow", "review", "block"]
Decider = Literal["cache", "filter", "escalation", "error"]
Priority = Literal["live", "standard", "batch"]


class UploadEvent(BaseModel):
    """An upload that wants a verdict. Topic `uploads`, key = `upload_id`."""

    model_config = ConfigDict(frozen=True, extra="ignore", title="UploadEvent")

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1)
    upload_id: UploadId = Field(description="names the upload; the key of its verdict")
    uri: str = Field(
        min_length=1,
        max_length=4096,
        description="s3://bucket/key of an allowed bucket, https://..., file:///path under an allowed root, "
        "or inline: with the media as the record's value",
    )
    sha256: Sha256 | None = Field(default=None, description="checked against the bytes that were fetched")
    content_type: str | None = Field(default=None, max_length=256)
    tenant: str = Field(default="", max_length=256)
    policy: str | None = Field(
        default=None, max_length=128, description="absent: the worker's default policy"
    )
    priority: Priority = "standard"
    deadline: AwareDatetime | None = Field(default=None, description="read after it: review, `expired`")
    created_at: AwareDatetime | None = None
    traceparent: str | None = Field(default=None, max_length=256, description="W3C trace context")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Coordinates(_Part):
    """Where the upload event was read."""

    topic: str
    partition: int
    offset: int


class Label(_Part):
    name: str
    parent: str
    probability: float = Field(ge=0, le=1, description="calibrated, at the policy's prevalence")
    threshold: float = Field(ge=0, le=1, description="of the action taken, else the lowest of the policy")
    action: Action


class LabelSegment(_Part):
    """[start_s, end_s) on presentation time in which the label was seen."""

    label: str
    start_s: float = Field(ge=0)
    end_s: float = Field(ge=0)
    probability: float = Field(ge=0, le=1)


class ModelVersion(_Part):
    name: str
    version: str
    variant: str
    sha256: Sha256 = Field(description="of the weights")
    spec_sha256: Sha256 = Field(description="of the specification: preprocessing, calibration, thresholds")


class Versions(_Part):
    """All that a decision depends on beside the content."""

    models: tuple[ModelVersion, ...] = ()
    policy: str = Field(default="", description="name@revision+digest; empty: no policy was applied")
    sampling: str = Field(default="", description="where clips were taken, and how many may escalate")
    taxonomy: str = ""
    code: str


class Coverage(_Part):
    seconds_seen: float = Field(ge=0, description="presentation time inside at least one clip")
    share: float = Field(ge=0, le=1, description="seconds_seen / duration")
    clips: int = Field(ge=0)
    clips_escalated: int = Field(default=0, ge=0)


class MediaFacts(_Part):
    container: str
    codec: str
    width: int
    height: int
    fps: float
    duration_s: float
    has_audio: bool


class Embedding(_Part):
    """What the filter's network knows of the video; compare by cosine, within one `model` only."""

    model: str = Field(description="name@version")
    model_sha256: Sha256 = Field(description="of its weights: vectors of other weights are not comparable")
    vector: tuple[float, ...] = Field(description="of length 1: the mean over the clips, normalised")


class Verdict(BaseModel):
    """The answer. Topic `verdicts` (compacted), key = `upload_id`; the latest of a key is the live one."""

    model_config = ConfigDict(frozen=True, extra="ignore", title="Verdict")

    schema_version: int = SCHEMA_VERSION
    verdict_id: uuid.UUID = Field(description="equal ids mean equal decisions")
    upload_id: UploadId
    tenant: str = ""
    decision: Action
    decided_by: Decider
    reason: str = Field(description="of errors and degradation a reason of the error table; else empty")
    detail: str = Field(default="", description="for people: what was wrong and what to do")
    degraded: bool = Field(default=False, description="something is missing; what that leaves open is review")
    labels: tuple[Label, ...] = ()
    segments: tuple[LabelSegment, ...] = ()
    sha256: Sha256 | None = Field(default=None, description="of the bytes that were judged")
    media: MediaFacts | None = None
    coverage: Coverage | None = None
    embedding: Embedding | None = Field(
        default=None, description="with `inference.embeddings` and a model that has one"
    )
    versions: Versions
    source: Coordinates | None = None
    timings_ms: dict[str, float] = Field(default_factory=dict, description="by stage, and `total`")
    decided_at: AwareDatetime
    created_at: AwareDatetime | None = Field(default=None, description="as the event had it")
    traceparent: str | None = None


class Judgement(_Part):
    """What one set of models makes of an upload: the fields of its verdict that models decide."""

    decision: Action
    decided_by: Decider
    reason: str
    degraded: bool
    labels: tuple[Label, ...]
    versions: Versions
    timings_ms: dict[str, float]


class ShadowComparison(BaseModel):
    """What models on trial say of an upload, and its verdict. Topic `verdicts.shadow`, key = `upload_id`."""

    model_config = ConfigDict(frozen=True, extra="ignore", title="ShadowComparison")

    schema_version: int = SCHEMA_VERSION
    upload_id: UploadId
    sha256: Sha256 = Field(description="of the bytes that were judged")
    agrees: bool = Field(description="both decide the same")
    served: Judgement = Field(description="as in the upload's verdict")
    shadow: Judgement = Field(description="as the verdict would be if the models on trial served")
    compared_at: AwareDatetime


def verdict_id(
    upload_id: str, sha256: str | None, versions: Versions, *, degraded: bool, reason: str
) -> uuid.UUID:
    """UUIDv5 of all that a decision follows from: judged again in the same way, the id is the same."""
    parts = (upload_id, sha256 or "", versions.model_dump_json(), str(degraded), reason)
    return uuid.uuid5(VERDICT_NAMESPACE, "\n".join(parts))
