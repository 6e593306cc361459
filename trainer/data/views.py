"""Which clips of a video are looked at, in training and when it is scored. Pure.

The plans are those of serving (``worker.media.sampling``).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from trainer.config import Data
from trainer.config.data import Starts
from worker.media.sampling import Dense, Plan, Sliding, Uniform, plan_from_settings
from worker.settings import SamplingSettings

TRAINING_CLIPS = 64  # of which one is drawn, at most


def training_start_s(way: Starts, length_s: float, clip_s: float, random: np.random.Generator) -> float:
    """Anywhere; or one of the clips that lie back to back; or the first, middle or last that fits."""
    if way == "random":
        return float(random.uniform(0.0, max(0.0, length_s - clip_s)))
    plan = Dense(TRAINING_CLIPS) if way == "dense" else Uniform(3)
    return float(random.choice(plan.starts_s(length_s, clip_s)))


def scoring_plan(data: Data) -> Plan:
    """At most ``data.clips``; without a number, what a worker takes by its default settings."""
    if data.views.plan == "sliding":
        return Sliding(data.views.hop_s, data.clips or SamplingSettings().clip_budget)
    return serving_plan() if data.clips is None else Uniform(data.clips)


def serving_plan() -> Plan:
    """By a worker's default settings, which draw nothing: the same for every video."""
    return plan_from_settings(SamplingSettings(), sha256="")


def unlike_serving(data: Data, lengths_s: Iterable[float], clip_s: float) -> str:
    """What to say where these videos are scored on other clips than serving takes of them; else nothing."""
    scored, served = scoring_plan(data), serving_plan()
    pairs = [(scored.starts_s(each, clip_s), served.starts_s(each, clip_s)) for each in lengths_s]
    other = [len(theirs) for ours, theirs in pairs if ours != theirs]
    if not other:
        return ""
    return (
        f"data.clips is {data.clips}: of {len(other)} of {len(pairs)} videos a worker takes other clips by "
        f"its default settings, up to {max(other)}; so figures and thresholds are not of what it does. Leave "
        "data.clips out, unless your workers' sampling is set so"
    )


def crops(picture: Tensor, width: int, count: int) -> list[Tensor]:
    """``count`` parts of (T, H, W, C), ``width`` wide, evenly spaced from the left to the right."""
    spare = picture.shape[2] - width
    places = [spare // 2] if count == 1 else [spare * index // (count - 1) for index in range(count)]
    return [picture[:, :, place : place + width] for place in places]
