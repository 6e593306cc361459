"""What held-out scores are used for."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from trainer.config.base import Section, Share


class Calibrate(Section):
    """Band: [low, high) such that outside of it these shares of held-out videos are judged wrongly.

    Where the escalation model is there, `sluice evaluate --write-bands` chooses it anew for the recall and
    the cost of the two together.
    """

    missed: Share = Field(0.05, description="share of positive videos below the band")
    false_alarms: Share = Field(0.05, description="share of negative videos above the band")
    recall_lost: Share = Field(0.01, description="of the cascade, to the escalation model on every clip")
    cost: Share = Field(0.35, description="of the cascade, as a share of that model's")


class Baseline(Section):
    """What stands beside the model in its card, on the same videos and folds: held-out scores, or figures."""

    name: str
    held_out: Path | None = Field(None, description="scores that `sluice baselines` or `train` has written")
    accuracy: Share | None = None
    auc: Share | None = None
