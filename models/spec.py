"""The specification that travels with a model artifact (``spec.json``).

Everything that must agree between training and serving is stated here once: the input that the
network was trained on, its labels, its calibration, its thresholds and bands, and the files that
carry its weights. Importable without torch and without ONNX Runtime.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

SPEC_SCHEMA_VERSION: Final = 1
SPEC_FILE = "spec.json"

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Role = Literal["filter", "escalation", "additional"]  # additional: looks at every upload, like the filter
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VideoInput(_Frozen):
    """The clip that a network takes: uint8 RGB, shape (N, frames, height, width, 3)."""

    frames: int = Field(ge=1, le=256, description="T, frames in a clip")
    frame_rate_hz: float = Field(gt=0, le=120, description="frames are taken 1 / frame_rate_hz apart")
    height: int = Field(ge=16, le=1024)
    width: int = Field(ge=16, le=1024)
    fit: Literal["stretch", "letterbox"] = Field(
        default="stretch",
        description="stretch: to the size, aspect ratio ignored; letterbox: scaled inside, padded with black",
    )

    @property
    def clip_s(self) -> float:
        """Length of a clip on presentation time, in seconds."""
        return self.frames / self.frame_rate_hz

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """(T, H, W, 3)."""
        return (self.frames, self.height, self.width, 3)


class AudioInput(_Frozen):
    """The log-mel spectrogram of a clip: float32, shape (N, frames, mels)."""

    sample_rate_hz: int = Field(default=16_000, ge=8_000, le=48_000)
    window_s: float = Field(default=0.025, gt=0)
    hop_s: float = Field(default=0.010, gt=0)
    mels: int = Field(default=64, ge=8, le=256)
    min_hz: float = Field(default=60.0, ge=0)
    max_hz: float = Field(default=7_800.0, gt=0)
    frames: int = Field(ge=1, description="spectrogram frames in a clip; hop_s * frames is its length")

    @property
    def clip_s(self) -> float:
        return self.frames * self.hop_s


class Label(_Frozen):
    """One output of the network, and what its calibrated probability means by default."""

    name: Name
    parent: str = Field(default="", description="name of the parent category, empty at the top level")
    threshold: Probability = Field(description="at or above: the label is reported as seen")
    band: tuple[Probability, Probability] = Field(
        description="[low, high): probabilities inside are uncertain and escalate"
    )
    training_prevalence: float = Field(gt=0.0, lt=1.0, description="share of positives in the training set")
    temperature: float = Field(default=1.0, gt=0, description="logits are divided by it (Guo et al. 2017)")
    bias: float = Field(default=0.0, description="added after the division (Platt 1999)")

    @model_validator(mode="after")
    def _band_is_ordered(self) -> Self:
        if self.band[0] > self.band[1]:
            raise ValueError(f"band {self.band}: low must not be above high")
        return self


class Aggregation(_Frozen):
    """How the clips of a video become one probability for each label."""

    method: Literal["max", "mean", "top_k_mean"] = "top_k_mean"
    k: int = Field(default=2, ge=1, description="top_k_mean: how many of the highest clips are averaged")


class Embedding(_Frozen):
    """The second output, ``embedding``: a vector of length 1 for each clip, compared by cosine."""

    size: int = Field(ge=1, le=65_536, description="numbers in a vector")


class Variant(_Frozen):
    """One file of weights; all variants of an artifact compute the same function."""

    name: Name = Field(description="for example fp32, fp16, int8, int8-lowered")
    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$", description="beside spec.json")
    sha256: Sha256
    size_bytes: int = Field(gt=0)
    precision: Literal["fp32", "fp16", "int8"]
    providers: tuple[str, ...] = Field(
        description="execution providers that take this variant, such as openvino, cpu, cuda, tensorrt"
    )


class ModelSpec(_Frozen):
    """One version of one model."""

    schema_version: Literal[1] = SPEC_SCHEMA_VERSION
    name: Name
    version: Name
    role: Role
    architecture: str = Field(
        description="registry name and arguments, for example r2plus1d(depth=10, width=24)"
    )
    labels: tuple[Label, ...] = Field(min_length=1)
    video: VideoInput
    audio: AudioInput | None = None
    embedding: Embedding | None = Field(default=None, description="absent: the network gives none")
    aggregation: Aggregation = Aggregation()
    fusion_weight: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="of an escalation model: weight of its log-odds in the answer about a clip; the rest is "
        "that of the model that looked first",
    )
    taxonomy: str = Field(default="sluice-1", description="version of the label taxonomy")
    variants: tuple[Variant, ...] = Field(min_length=1)
    trained_on: str = Field(description="data, protocol and commit in a sentence; the model card says more")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for kind, names in (
            ("label", [label.name for label in self.labels]),
            ("variant", [variant.name for variant in self.variants]),
        ):
            repeated = {name for name in names if names.count(name) > 1}
            if repeated:
                raise ValueError(f"{kind} names must be unique, repeated: {sorted(repeated)}")
        return self

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    def variant_for(self, provider: str) -> Variant:
        """The first variant that lists ``provider``, else the first in FP32, else the first of all."""
        for variant in self.variants:
            if provider in variant.providers:
                return variant
        references = [variant for variant in self.variants if variant.precision == "fp32"]
        return (references or list(self.variants))[0]

    def calibrated(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Turn logits (N, L) into calibrated probabilities (N, L), each label on its own."""
        temperature = np.array([label.temperature for label in self.labels])
        bias = np.array([label.bias for label in self.labels])
        scaled = np.clip(np.asarray(logits, np.float64) / temperature + bias, -50.0, 50.0)
        return np.asarray(1.0 / (1.0 + np.exp(-scaled)), np.float32)


def read_spec(folder: Path) -> ModelSpec:
    """Read ``folder/spec.json``. Raises OSError, or ValueError naming the field that is wrong."""
    return ModelSpec.model_validate_json((folder / SPEC_FILE).read_bytes())


def write_spec(folder: Path, spec: ModelSpec) -> None:
    (folder / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
