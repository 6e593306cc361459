"""One training run as a whole, read from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from models.spec import Aggregation, AudioInput, Name, VideoInput
from trainer.config.base import Section, read_section
from trainer.config.compress import Distil, Gate, Prune, Quantise
from trainer.config.data import Augment, Data, Target
from trainer.config.fit import Architecture, Fit
from trainer.config.judge import Baseline, Calibrate


class TrainConfig(Section):
    name: Name
    version: Name
    role: Literal["filter", "escalation"]
    summary: str = Field("", description="one sentence for the model card")
    notes: str = Field("", description="what a reader of the figures must know, for the model card")
    data: Data
    labels: tuple[Target, ...] = Field(min_length=1)
    video: VideoInput
    audio: AudioInput | None = None
    aggregation: Aggregation = Aggregation()
    architecture: Architecture
    init: str = Field(
        "",
        pattern=r"^$|^efficientnet-lite0$|\.safetensors$",
        description="weights to start from: efficientnet-lite0 (ImageNet), or a .safetensors file",
    )
    embedding: bool = Field(False, description="the files also answer with an embedding of each clip")
    augment: Augment = Augment()
    fit: Fit = Fit()
    calibrate: Calibrate = Calibrate()
    distil: Distil = Distil()
    prune: Prune = Prune()
    quantise: Quantise = Quantise()
    gate: Gate = Gate()
    baselines: tuple[Baseline, ...] = ()

    @model_validator(mode="after")
    def _sound_is_as_long_as_the_clip(self) -> Self:
        if self.audio and abs(self.audio.clip_s - self.video.clip_s) > self.audio.hop_s:
            raise ValueError(f"audio lasts {self.audio.clip_s} s but a clip {self.video.clip_s} s")
        return self

    @model_validator(mode="after")
    def _teachers_know_the_clip(self) -> Self:
        if self.distil.teachers and (self.augment.mixup or self.augment.cutmix):
            raise ValueError(
                "augment.mixup and cutmix make clips that no teacher has judged: leave out distil.teachers"
            )
        return self


def read_config(path: Path) -> TrainConfig:
    """Raises ConfigError naming the file and the field."""
    return read_section(path, TrainConfig)
