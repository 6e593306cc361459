"""From clips to a video: one probability for each label, and the seconds it was seen in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from models.spec import Aggregation
from worker.cascade.prior import shifted
from worker.cascade.types import Segment, StageScores

SAME_START_S = 1e-3  # the stages' plans name the same moment; the tolerance is for rounding on the way
LEAST = 1e-9  # probabilities nearer to 0 or 1 would have the last word in a mean of log-odds
TOUCHING_S = 0.05  # clips nearer than a frame of a 20 fps video leave nothing unseen between them


@dataclass(frozen=True, slots=True)
class Timeline:
    """One label over one video: each clip is the half-open interval [start, end)."""

    label: str
    starts_s: tuple[float, ...]  # N, ascending
    ends_s: tuple[float, ...]  # N
    probabilities: npt.NDArray[np.float64] = field(repr=False)  # (N,), corrected to the policy's prevalence

    def __post_init__(self) -> None:
        if not len(self.starts_s) == len(self.ends_s) == len(self.probabilities):
            raise ValueError(
                f"{len(self.starts_s)} starts, {len(self.ends_s)} ends and "
                f"{len(self.probabilities)} probabilities do not belong together"
            )
        if any(later < earlier for earlier, later in pairwise(self.starts_s)):
            raise ValueError("starts must ascend")


def video_probabilities(
    probabilities: npt.NDArray[np.floating], aggregation: Aggregation
) -> npt.NDArray[np.float64]:
    """Clips (N, L) to the video (L,). With fewer than k clips, top_k_mean takes all there are."""
    clips = np.asarray(probabilities, np.float64)
    if clips.ndim != 2 or len(clips) == 0:
        raise ValueError(f"at least one clip is needed, as (N, L), got {clips.shape}")
    if aggregation.method == "max":
        return np.asarray(clips.max(axis=0))
    if aggregation.method == "mean":
        return np.asarray(clips.mean(axis=0))
    return np.asarray(np.sort(clips, axis=0)[-aggregation.k :].mean(axis=0))


def video_probability(timeline: Timeline, aggregation: Aggregation) -> float:
    """One label's probability for the video; never outside the range of its clips."""
    clips = timeline.probabilities
    value = float(video_probabilities(clips[:, None], aggregation)[0])
    return min(max(value, float(clips.min())), float(clips.max()))  # a mean may round past its terms


def video_embedding(clips: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Clips (N, E) to the video (E,), of length 1: the mean direction."""
    mean = np.asarray(clips, np.float64).mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)


def timeline(scores: StageScores, label: str, shift: float, duration_s: float) -> Timeline:
    """What one stage said of one label, corrected by ``shift``.

    A label that is missing is an error and not silence: scores of another model must not read as `allow`.
    """
    if label not in scores.labels:
        raise ValueError(f"no scores of {label!r}, only of {', '.join(scores.labels)}")
    column = scores.probabilities[:, scores.labels.index(label)]
    return Timeline(
        label=label,
        starts_s=scores.starts_s,
        ends_s=tuple(_end_s(start_s, scores.clip_s, duration_s) for start_s in scores.starts_s),
        probabilities=shifted(column, shift),
    )


def replaced(base: Timeline, better: Timeline) -> Timeline:
    """``base`` with every clip that ``better`` also looked at taken from ``better``."""
    kept = [i for i, start_s in enumerate(base.starts_s) if find_start(better.starts_s, start_s) is None]
    rows = [(base.starts_s[i], base.ends_s[i], float(base.probabilities[i])) for i in kept]
    rows += zip(better.starts_s, better.ends_s, better.probabilities.tolist(), strict=True)
    rows.sort()
    return Timeline(
        label=base.label,
        starts_s=tuple(row[0] for row in rows),
        ends_s=tuple(row[1] for row in rows),
        probabilities=np.array([row[2] for row in rows], np.float64),
    )


def fused(base: Timeline, better: Timeline, weight: float) -> Timeline:
    """``better``, where both looked with the weighted mean of their log-odds: ``weight`` is its own share.

    Late fusion by a logarithmic opinion pool (Genest and Zidek 1986): two looks err less than one.
    """
    if weight == 1.0:
        return better
    pooled = better.probabilities.copy()
    for row, start_s in enumerate(better.starts_s):
        place = find_start(base.starts_s, start_s)
        if place is not None:
            odds = weight * _log_odds(pooled[row]) + (1.0 - weight) * _log_odds(base.probabilities[place])
            pooled[row] = 1.0 / (1.0 + math.exp(-odds))
    return replace(better, probabilities=pooled)


def _log_odds(probability: float) -> float:
    inside = min(max(float(probability), LEAST), 1.0 - LEAST)
    return math.log(inside / (1.0 - inside))


def find_start(starts_s: tuple[float, ...], start_s: float) -> int | None:
    """Index of the clip that starts at ``start_s``."""
    for index, candidate_s in enumerate(starts_s):
        if abs(candidate_s - start_s) <= SAME_START_S:
            return index
    return None


def segments(timeline: Timeline, threshold: float) -> tuple[Segment, ...]:
    """Clips at or above ``threshold``, those that touch or overlap merged.

    Seconds that no clip looked at belong to no segment: coverage is reported, never assumed.
    """
    merged: list[Segment] = []
    for start_s, end_s, probability in zip(
        timeline.starts_s, timeline.ends_s, timeline.probabilities.tolist(), strict=True
    ):
        if probability < threshold:
            continue
        if merged and start_s <= merged[-1].end_s + TOUCHING_S:
            last = merged.pop()
            start_s, end_s = last.start_s, max(last.end_s, end_s)
            probability = max(last.probability, probability)
        merged.append(Segment(timeline.label, start_s, end_s, probability))
    return tuple(merged)


def _end_s(start_s: float, clip_s: float, duration_s: float) -> float:
    """End of a clip; a clip padded past the end of a short video ends where the video does."""
    end_s = start_s + clip_s
    return min(end_s, duration_s) if duration_s > start_s else end_s
