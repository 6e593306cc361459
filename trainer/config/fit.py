"""How a network learns."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from trainer.config.base import Section, Share


class Architecture(Section):
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Fit(Section):
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
