"""What the cascade works on. Arrays and names only: no model, no clock, no vendor library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from worker.media.types import MediaInfo

Action = Literal["allow", "review", "block"]


@dataclass(frozen=True, slots=True)
class StageScores:
    """Calibrated probabilities that one model gave to some clips, at its training prevalence."""

    labels: tuple[str, ...]  # L
    starts_s: tuple[float, ...]  # N, presentation time, ascending
    clip_s: float
    probabilities: npt.NDArray[np.float32] = field(repr=False)  # (N, L), in [0, 1]

    def __post_init__(self) -> None:
        expected = (len(self.starts_s), len(self.labels))
        if self.probabilities.shape != expected:
            raise ValueError(f"probabilities {self.probabilities.shape}, expected {expected}")
        if not np.isfinite(self.probabilities).all():
            raise ValueError("probabilities must be finite")


@dataclass(frozen=True, slots=True)
class Look:
    """What one of the models that look at every upload said, and what the escalation model made of it."""

    first: StageScores
    escalation: StageScores | None = None  # only of the clips that went up, under their starts in ``first``


@dataclass(frozen=True, slots=True)
class ContentScores:
    """All that the models said of one content. This, and never a decision, is what is cached."""

    info: MediaInfo
    looks: tuple[Look, ...]  # the filter's, then those of the additional models in the settings' order
    embedding: npt.NDArray[np.float32] | None = field(
        default=None, repr=False
    )  # (E,), the filter's; length 1
    is_partial: bool = False  # clips that the plan asks for could not be decoded; never cached then

    @property
    def filter(self) -> StageScores:
        return self.looks[0].first

    @property
    def escalated_clips(self) -> int:
        return sum(len(look.escalation.starts_s) for look in self.looks if look.escalation)


class Clip(NamedTuple):
    """Names a clip that a model looked at."""

    look: int  # index into ContentScores.looks
    row: int  # index into that look's clips


@dataclass(frozen=True, slots=True)
class LabelVerdict:
    name: str
    parent: str
    probability: float  # calibrated, corrected to the policy's prevalence
    threshold: float  # of the action taken, or the lowest one when none was reached
    action: Action


@dataclass(frozen=True, slots=True)
class Segment:
    """A half-open interval [start_s, end_s) on presentation time in which a label was seen."""

    label: str
    start_s: float
    end_s: float
    probability: float
