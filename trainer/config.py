"""What one training run does, read from a YAML file. Importable without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.spec import Aggregation, AudioInput, Name, VideoInput

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the field."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(_Section):
    root: Path = Field(Path("data"), description="folder that the manifest's paths are relative to")
    manifest: Path = Field(description="CSV with path, label, group and perhaps fold; relative to root")
    note: str = Field("", description="what the set is, for the model card")
    folds: int = Field(5, ge=2, description="number of grouped folds where the manifest fixes none")
    roll_seconds: float = Field(6.0, gt=0, description="how much of a video training draws clips from")
    oversampling: int = Field(2, ge=1, le=4, description="frames decoded for each frame of the input")
    margin: float = Field(0.15, ge=0, le=1, description="rolls are this much higher and wider than the input")
    clips: int = Field(8, ge=1, description="clips of a video when it is scored, as serving takes them")


class Target(_Section):
    """One output of the network."""

    name: Name
    parent: str = ""
    positives: tuple[str, ...] = Field(min_length=1, description="manifest labels that mean yes")


class Architecture(_Section):
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Augment(_Section):
    """How much clips vary while training."""

    speed: tuple[float, float] = Field((0.8, 1.25), description="factor on the frame distance, log-uniform")
    area: tuple[Share, Share] = Field((0.5, 1.0), description="share of the picture that a crop keeps")
    stretch: float = Field(1.25, ge=1.0, description="largest change of the aspect ratio, as a factor")
    flip: Share = Field(0.5, description="share of clips mirrored")
    light: float = Field(
        0.4, ge=0.0, lt=1.0, description="brightness, contrast and colour change by up to this"
    )
    grey: Share = Field(0.1, description="share of clips without colour")
    sound_gain: float = Field(0.2, ge=0.0, description="offset of the log-mel scale, up to this")


class Fit(_Section):
    probe_views: int = Field(
        0, ge=0, description="random clips of each video that fit the head first; 0: none"
    )
    epochs: int = Field(12, ge=0)
    head_epochs: int = Field(2, ge=0, description="epochs at the start in which pretrained weights rest")
    frozen_blocks: int = Field(5, ge=0, description="pretrained blocks that never learn, from the input on")
    batch: int = Field(16, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    pretrained_scale: float = Field(0.1, ge=0, description="learning rate of pretrained weights, as a factor")
    weight_decay: float = Field(0.05, ge=0)
    warmup: Share = Field(0.1, description="share of all steps")
    average: float = Field(0.98, ge=0, lt=1, description="decay of the moving average of weights; 0: none")
    smoothing: float = Field(0.05, ge=0, lt=0.5, description="targets are this and 1 - this")
    seed: int = 0

    @model_validator(mode="after")
    def _something_learns(self) -> Self:
        if not self.epochs and not self.probe_views:
            raise ValueError("epochs and probe_views are both 0: nothing would learn")
        return self


class Calibrate(_Section):
    """Band: [low, high) such that outside of it these shares of held-out videos are judged wrongly."""

    missed: Share = Field(0.05, description="share of positive videos below the band")
    false_alarms: Share = Field(0.05, description="share of negative videos above the band")


class Gate(_Section):
    """An artifact that does not hold these is not written."""

    parity: float = Field(
        1e-3, gt=0, description="largest difference of logits between torch and ONNX Runtime"
    )
    int8_probability: float = Field(0.05, gt=0, description="mean difference of probability, INT8 to FP32")
    int8_agreement: Share = Field(0.95, description="share of clips on the same side of the threshold")


class Quantise(_Section):
    videos: int = Field(64, ge=1, description="training videos whose clips calibrate the ranges")
    float_convolutions: int = Field(3, ge=0, description="convolutions from the input on that stay FP32")


class Baseline(_Section):
    """A figure on the same folds to stand beside ours in the card."""

    name: str
    accuracy: Share | None = None
    auc: Share | None = None


class TrainConfig(_Section):
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
