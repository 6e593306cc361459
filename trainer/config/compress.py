"""How a network is made small, and what it must hold to be written."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from trainer.config.base import Section, Share


class Distil(Section):
    """A teacher is trained inside each fold's job, on the same training videos: it never sees the fold."""

    teachers: tuple[Path, ...] = Field(
        (), description="configurations, paths as for --config; several: an ensemble; none: no distillation"
    )
    soft: Share = Field(
        0.5, description="weight of the teacher's answer in the loss; the rest is the label's"
    )
    features: float = Field(
        0.0, ge=0, description="weight of the distance to the teacher's features; 0: none"
    )
    temperature: float = Field(2.0, gt=0, description="logits of both are divided by it")
    inner_folds: int = Field(
        0, ge=0, description="training videos are taught by teachers that never saw them; 0: by one that did"
    )

    @model_validator(mode="after")
    def _features_of_one_network(self) -> Self:
        if self.features and self.inner_folds:
            raise ValueError(
                "features of different networks do not compare: set inner_folds or features to 0"
            )
        return self


class Prune(Section):
    """Channels inside of blocks are removed, the least important first, and the rest is trained again."""

    share: float = Field(0.0, ge=0, lt=1, description="of the channels inside of each block; 0: none")
    epochs: int = Field(4, ge=0, description="of training after the cut")


class Quantise(Section):
    videos: int = Field(64, ge=1, description="training videos whose clips calibrate the ranges")
    float_convolutions: int = Field(3, ge=0, description="convolutions from the input on that stay FP32")
    calibration: Literal["minmax", "percentile", "entropy"] = Field(
        "minmax", description="how the range of an activation is found"
    )
    percentile: float = Field(99.99, gt=50, le=100, description="of values inside the range, for percentile")
    symmetric: bool = Field(False, description="activations as int8 around 0 instead of uint8")
    aware_epochs: int = Field(0, ge=0, description="of training with rounding simulated; 0: none")


class Gate(Section):
    """An artifact that does not hold these is not written."""

    parity: float = Field(
        1e-3, gt=0, description="largest difference of logits between torch and ONNX Runtime"
    )
    fp16: float = Field(0.05, gt=0, description="largest difference of logits between FP16 and FP32")
    int8_probability: float = Field(0.05, gt=0, description="mean difference of probability, INT8 to FP32")
    int8_agreement: Share = Field(0.95, description="share of clips on the same side of the threshold")
    int8_embedding: float = Field(
        0.9, ge=-1, le=1, description="mean cosine of the embeddings, INT8 to FP32, where there are any"
    )
    int8_auc: float = Field(0.01, ge=0, description="AUC that INT8 may lose on held-out folds")
    auc: float = Field(0.02, ge=0, description="held-out AUC that may be lost to the version it replaces")
    slower: float = Field(
        1.25, gt=0, description="time a clip, as a factor of the version it replaces, measured side by side"
    )
