"""What held-out scores are used for."""

from __future__ import annotations

from pydantic import Field

from trainer.config.base import Section, Share


class Calibrate(Section):
    """Band: [low, high) such that outside of it these shares of held-out videos are judged wrongly."""

    missed: Share = Field(0.05, description="share of positive videos below the band")
    false_alarms: Share = Field(0.05, description="share of negative videos above the band")


class Baseline(Section):
    """A figure on the same folds to stand beside ours in the card."""

    name: str
    accuracy: Share | None = None
    auc: Share | None = None
