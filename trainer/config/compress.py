"""How a network is made small, and what it must hold to be written."""

from __future__ import annotations

from pydantic import Field

from trainer.config.base import Section, Share


class Quantise(Section):
    videos: int = Field(64, ge=1, description="training videos whose clips calibrate the ranges")
    float_convolutions: int = Field(3, ge=0, description="convolutions from the input on that stay FP32")


class Gate(Section):
    """An artifact that does not hold these is not written."""

    parity: float = Field(
        1e-3, gt=0, description="largest difference of logits between torch and ONNX Runtime"
    )
    int8_probability: float = Field(0.05, gt=0, description="mean difference of probability, INT8 to FP32")
    int8_agreement: Share = Field(0.95, description="share of clips on the same side of the threshold")
