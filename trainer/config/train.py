"""One training run as a whole, read from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_serializer, field_validator, model_validator

from models.spec import Aggregation, AudioInput, Name, VideoInput
from trainer.config.base import Section, read_section
from trainer.config.compress import Distil, Gate, Prune, Quantise
from trainer.config.data import Augment, Data, Target
from trainer.config.fit import Architecture, Fit
from trainer.config.judge import Baseline, Calibrate

PACKAGED = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
FILES = (".pt", ".pth", ".pyth", ".safetensors")


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
    fusion_weight: float = Field(
        1.0, gt=0, le=1, description="of an escalation model: its share of the log-odds about a clip"
    )
    architecture: Architecture
    init: str = Field(
        "",
        description="weights to start from: efficientnet-lite0, -lite1, -lite2 (ImageNet), or a file, where "
        "{fold} stands for a fold's name, and for everything of the network that ships",
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

    @field_validator("init")
    @classmethod
    def _init_is_known(cls, init: str) -> str:
        if init and init not in PACKAGED and Path(init).suffix not in FILES:
            raise ValueError(f"must be {', '.join(PACKAGED)} or a file that ends in {', '.join(FILES)}")
        return init

    @field_serializer("init", when_used="json")
    def _without_folders(self, init: str) -> str:
        """A machine's path does not travel."""
        return Path(init).name

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
