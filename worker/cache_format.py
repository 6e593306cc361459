"""How scores are written down, and what is believed when they are read back.

The server is shared, so a value may be truncated, foreign, of another version, or written by someone
who means harm: everything is checked before it becomes scores, and what fails is a miss.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.spec import Name, Probability
from worker.cascade.types import ContentScores, Look, StageScores
from worker.media.types import MediaInfo

FORMAT = 4
MAX_VALUE_BYTES = 1024 * 1024
MAX_CLIPS = 4096
MAX_LABELS = 256
MAX_LOOKS = 16
MAX_EMBEDDING = 16_384

Seconds = Annotated[float, Field(ge=0)]
Cosine = Annotated[float, Field(ge=-1.001, le=1.001)]
Short = Annotated[str, Field(max_length=64)]


class Poisoned(ValueError):
    """A value that is not what was put there under this key."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Info(_Strict):
    container: Short
    video_codec: Short
    width: int = Field(ge=0)
    height: int = Field(ge=0)
    fps: float = Field(ge=0)
    duration_s: Seconds
    has_audio: bool


class _Stage(_Strict):
    labels: list[Name] = Field(min_length=1, max_length=MAX_LABELS)
    starts_s: list[Seconds] = Field(min_length=1, max_length=MAX_CLIPS)
    clip_s: float = Field(gt=0)
    probabilities: list[list[Probability]] = Field(max_length=MAX_CLIPS)


class _Look(_Strict):
    first: _Stage
    escalation: _Stage | None


class _Stored(_Strict):
    format: Literal[4] = 4
    key: str
    info: _Info
    looks: list[_Look] = Field(min_length=1, max_length=MAX_LOOKS)
    embedding: list[Cosine] | None = Field(max_length=MAX_EMBEDDING)


def cache_key(sha256: str, models: Sequence[Mapping[str, str]], sampling: str, preprocessing: str) -> str:
    """Names one content as seen by one set of models through one sampling plan.

    ``models``: role, name, version and sha256 of the variant of each; ``sampling``: the plan's
    fingerprint; ``preprocessing``: its version and parameters.
    """
    parts = [FORMAT, sha256, [dict(model) for model in models], sampling, preprocessing]
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def pack(key: str, scores: ContentScores) -> bytes:
    """float32 is written as the double that it equals, so that it comes back to the bit.

    Raises ValueError for scores that ``unpack`` would refuse.
    """
    info = scores.info
    stored = _Stored(
        key=key,
        info=_Info(
            container=info.container[:64],
            video_codec=info.video_codec[:64],
            width=info.width,
            height=info.height,
            fps=float(info.fps),
            duration_s=float(info.duration_s),
            has_audio=info.has_audio,
        ),
        looks=[
            _Look(
                first=_stage(look.first),
                escalation=None if look.escalation is None else _stage(look.escalation),
            )
            for look in scores.looks
        ],
        embedding=None if scores.embedding is None else scores.embedding.astype(np.float64).tolist(),
    )
    value = stored.model_dump_json().encode()
    if len(value) > MAX_VALUE_BYTES:
        raise ValueError(f"{len(value)} bytes are more than the {MAX_VALUE_BYTES} that are read back")
    return value


def unpack(key: str, value: bytes) -> ContentScores:
    """Raises Poisoned, saying why, for anything but what ``pack`` made of this key."""
    if len(value) > MAX_VALUE_BYTES:
        raise Poisoned(f"larger than {MAX_VALUE_BYTES} bytes")
    try:
        stored = _Stored.model_validate_json(value)
        if stored.key != key:
            raise Poisoned("it belongs to another key")
        return ContentScores(
            info=MediaInfo(**stored.info.model_dump()),
            looks=tuple(
                Look(_scores(look.first), None if look.escalation is None else _scores(look.escalation))
                for look in stored.looks
            ),
            embedding=None if stored.embedding is None else np.array(stored.embedding, np.float32),
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Poisoned(f"{'.'.join(map(str, first['loc'])) or 'value'}: {first['msg']}") from error
    except ValueError as error:  # rows of different lengths, or scores that do not fit their clips
        raise Poisoned(str(error)) from error


def _stage(scores: StageScores) -> _Stage:
    return _Stage(
        labels=list(scores.labels),
        starts_s=[float(start_s) for start_s in scores.starts_s],
        clip_s=float(scores.clip_s),
        probabilities=scores.probabilities.astype(np.float64).tolist(),
    )


def _scores(stage: _Stage) -> StageScores:
    if stage.starts_s != sorted(stage.starts_s) or len(set(stage.labels)) != len(stage.labels):
        raise Poisoned("clips out of order or labels given twice")
    return StageScores(
        labels=tuple(stage.labels),
        starts_s=tuple(stage.starts_s),
        clip_s=stage.clip_s,
        probabilities=np.array(stage.probabilities, np.float32),
    )
