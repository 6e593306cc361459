"""How a network learns."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from trainer.config.base import Section, Share


class Architecture(Section):
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Fit(Section):
    loss: Literal["binary", "categorical"] = Field(
        "binary", description="binary: each label by itself; categorical: exactly one label is right"
    )
    probe_views: int = Field(
        0, ge=0, description="random clips of each video that fit the head first; 0: none"
    )
    epochs: int = Field(12, ge=0)
    head_epochs: int = Field(2, ge=0, description="epochs at the start in which pretrained weights rest")
    frozen_blocks: int = Field(
        5, ge=0, description="pretrained EfficientNet blocks that never learn, from the input on"
    )
    frozen_norms: bool = Field(True, description="statistics of pretrained norms stay as they are")
    batch: int = Field(16, ge=2, description="clips in one step, over all processes")
    accumulate: int = Field(1, ge=1, description="parts in which a process computes its share of a batch")
    learning_rate: float = Field(1e-3, gt=0)
    pretrained_scale: float = Field(0.1, ge=0, description="learning rate of pretrained weights, as a factor")
    weight_decay: float = Field(0.05, ge=0)
    warmup: Share = Field(0.1, description="share of all steps")
    clip_norm: float = Field(5.0, gt=0, description="longest gradient")
    average: float = Field(0.98, ge=0, lt=1, description="decay of the moving average of weights; 0: none")
    smoothing: float = Field(0.05, ge=0, lt=0.5, description="of the targets")
    balanced: bool = Field(False, description="draw rare labels more often, so that all are seen alike")
    validation: Share = Field(
        0.0, description="share of the training examples, by whole groups, that says when to stop; 0: none"
    )
    patience: int = Field(5, ge=1, description="epochs without a lower validation loss before it stops")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    recompute: bool = Field(False, description="gradient checkpointing: less memory, a third more time")
    checkpoint_steps: int = Field(200, ge=1, description="steps between checkpoints, where they are kept")
    checkpoints: int = Field(2, ge=1, description="how many of the latest are kept")
    tensorboard: bool = Field(False, description="write TensorBoard's files beside the log")
    seed: int = 0

    @model_validator(mode="after")
    def _something_learns(self) -> Self:
        if not self.epochs and not self.probe_views:
            raise ValueError("epochs and probe_views are both 0: nothing would learn")
        return self
