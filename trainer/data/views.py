"""Which clips of a video are looked at, in training and when it is scored. Pure.

The plans are those of serving (``worker.media.sampling``).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from trainer.config import Data
from trainer.config.data import Starts
from worker.media.sampling import Dense, Plan, Sliding, Uniform

TRAINING_CLIPS = 64  # of which one is drawn, at most


def training_start_s(way: Starts, length_s: float, clip_s: float, random: np.random.Generator) -> float:
    """Anywhere; or one of the clips that lie back to back; or the first, middle or last that fits."""
    if way == "random":
        return float(random.uniform(0.0, max(0.0, length_s - clip_s)))
    plan = Dense(TRAINING_CLIPS) if way == "dense" else Uniform(3)
    return float(random.choice(plan.starts_s(length_s, clip_s)))


def scoring_plan(data: Data) -> Plan:
    """At most ``data.clips``."""
    if data.views.plan == "sliding":
        return Sliding(data.views.hop_s, data.clips)
    return Uniform(data.clips)


def crops(picture: Tensor, width: int, count: int) -> list[Tensor]:
    """``count`` parts of (T, H, W, C), ``width`` wide, evenly spaced from the left to the right."""
    spare = picture.shape[2] - width
    places = [spare // 2] if count == 1 else [spare * index // (count - 1) for index in range(count)]
    return [picture[:, :, place : place + width] for place in places]
