"""One training run as a whole, read from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from models.spec import Aggregation, AudioInput, Name, VideoInput
from trainer.config.base import ConfigError, Section
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
    init: Literal["", "efficientnet-lite0"] = Field("", description="weights to start from")
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


def read_config(path: Path) -> TrainConfig:
    """Raises ConfigError naming the file and the field."""
    try:
        return TrainConfig.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise ConfigError(f"{path}: {'; '.join(lines)}") from error
