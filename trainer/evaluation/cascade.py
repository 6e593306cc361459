"""Filter and escalation as one system, by serving's own rule over held-out scores. Pure.

Which clips go up, what the video's probability becomes and what is decided is asked of ``worker.cascade``
with the policy that serving builds from the two specifications; nothing of that rule is repeated here.
Costs are milliseconds of inference, as a share of running the escalation model on every clip.

One label at a time: where several labels share a budget of escalated clips, serving escalates no more
than is said here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.spec import ModelSpec
from trainer.calibrate import Calibration
from trainer.evaluation.held_out import HeldOut, HeldOutError, Logits, matched
from trainer.evaluation.judge import cross_fitted, video_scores
from trainer.metrics import Vector
from worker.cascade.decide import Outcome, decide, uncertain
from worker.cascade.policy import Policy, load_policies
from worker.cascade.types import Clip, ContentScores, Look, StageScores
from worker.media.types import MediaInfo

Band = tuple[float, float]
Flags = npt.NDArray[np.bool_]

NOWHERE = MediaInfo("", "", 0, 0, 0.0, duration_s=0.0, has_audio=False)


@dataclass(frozen=True)
class Stage:
    """One model: its specification, what a clip costs, and each clip's calibrated probability."""

    spec: ModelSpec
    ms_per_clip: float
    probabilities: tuple[Vector, ...] = field(repr=False)  # for each video (N,)

    def videos(self) -> Vector:
        return video_scores(self.probabilities, self.spec.aggregation)


@dataclass(frozen=True)
class Run:
    """What a cascade made of each video under one band; arrays are (videos,)."""

    band: Band
    probabilities: Vector = field(repr=False)
    held: Flags = field(repr=False)  # reviewed or blocked
    reviewed: Flags = field(repr=False)
    escalated_clips: npt.NDArray[np.int64] = field(repr=False)


class Cascade:
    """Two models over the same videos, one label."""

    def __init__(self, filter_stage: Stage, escalation: Stage, label: str) -> None:
        """Raises HeldOutError where the two did not look at the same clips."""
        for first, second in zip(filter_stage.probabilities, escalation.probabilities, strict=True):
            if len(first) != len(second):
                raise HeldOutError(
                    f"the filter scored {len(first)} clips of a video and the escalation {len(second)}: "
                    "train both with the same `data.clips` and length of clip"
                )
        self.filter, self.escalation, self.label = filter_stage, escalation, label
        self.clips = np.array([len(each) for each in filter_stage.probabilities])
        self._outcomes: dict[tuple[int, tuple[Clip, ...]], Outcome] = {}
        self._looks = [self._look(index) for index in range(len(self.clips))]

    def run(self, band: Band) -> Run:
        """Every video under ``band``, [low, high) around the filter's threshold."""
        policy = self._policy(band)
        going_up = [uncertain(policy, scores).clips for scores in self._looks]
        outcomes = [self._decided(policy, index, clips) for index, clips in enumerate(going_up)]
        return Run(
            band,
            np.array([outcome.labels[0].probability for outcome in outcomes]),
            np.array([outcome.decision != "allow" for outcome in outcomes]),
            np.array([outcome.decision == "review" for outcome in outcomes]),
            np.array([len(clips) for clips in going_up]),
        )

    def always_light(self) -> Run:
        """The filter alone: a band without width escalates nothing."""
        threshold = self.filter.spec.labels[0].threshold
        return self.run((threshold, threshold))

    def always_heavy(self) -> Run:
        """Every clip goes up."""
        return self.run((0.0, 1.0))

    def cost(self, run: Run, rows: npt.NDArray[np.int64] | None = None) -> float:
        """Milliseconds as a share of what judging every clip as always-heavy takes, over these videos.

        That is the escalation model's time, and the filter's where its word counts beside it.
        """
        rows = np.arange(len(self.clips)) if rows is None else rows
        clips, light_ms, heavy_ms = (
            self.clips[rows].sum(),
            self.filter.ms_per_clip,
            self.escalation.ms_per_clip,
        )
        needed_ms = heavy_ms + (light_ms if self.escalation.spec.fusion_weight < 1.0 else 0.0)
        return float((light_ms * clips + heavy_ms * run.escalated_clips[rows].sum()) / (needed_ms * clips))

    def _policy(self, band: Band) -> Policy:
        label = self.filter.spec.labels[0].model_copy(update={"band": band})
        spec = self.filter.spec.model_copy(update={"labels": (label,)})
        return load_policies(None, (spec,), self.escalation.spec).get("default")

    def _decided(self, policy: Policy, index: int, clips: tuple[Clip, ...]) -> Outcome:
        """With the escalation's scores of these clips. They and nothing else of the band matter to it."""
        if (index, clips) not in self._outcomes:
            scores = self._looks[index]
            if clips:
                rows = [clip.row for clip in clips]
                second = self._scores(self.escalation, index, rows)
                scores = ContentScores(NOWHERE, (Look(scores.filter, second),))
            self._outcomes[index, clips] = decide(policy, scores)
        return self._outcomes[index, clips]

    def _look(self, index: int) -> ContentScores:
        return ContentScores(NOWHERE, (Look(self._scores(self.filter, index, range(self.clips[index]))),))

    def _scores(self, stage: Stage, index: int, rows: Sequence[int]) -> StageScores:
        return StageScores(
            labels=(self.label,),
            starts_s=tuple(float(row) for row in rows),  # only which clip is which matters
            clip_s=self.filter.spec.video.clip_s,
            probabilities=stage.probabilities[index][list(rows), None].astype(np.float32),
        )


def cascade_of(
    filter_spec: ModelSpec,
    filter_scores: HeldOut,
    escalation_spec: ModelSpec,
    escalation_scores: HeldOut,
    ms_per_clip: tuple[float, float],
    label: str,
) -> Cascade:
    """From the INT8 networks' logits, which is what a CPU serves, read by a calibration as it ships.

    ``ms_per_clip``: of filter and escalation. Raises HeldOutError unless both scored the same clips.
    """
    same = matched(filter_scores, escalation_scores)
    stages = [
        Stage(only(spec, label), ms, calibrated(scores, scores.int8_scores, label))
        for spec, scores, ms in zip(
            (filter_spec, escalation_spec), (filter_scores, same), ms_per_clip, strict=True
        )
    ]
    return Cascade(stages[0], stages[1], label)


def calibrated(held_out: HeldOut, logits: Sequence[Logits], label: str) -> tuple[Vector, ...]:
    """For each video its clips' probabilities, calibrated on the folds that the video is not in.

    An artifact has one calibration for all of its forms, fitted to the FP32 scores; so have these ``logits``.
    """
    column = held_out.labels.index(label)
    reference = [np.asarray(clips[:, column], np.float64) for clips in held_out.scores]
    truth = np.asarray(held_out.targets[:, column], np.float64)
    calibrations: list[Calibration] = cross_fitted(np.asarray(held_out.folds), truth, reference)
    return tuple(each(clips[:, column]) for each, clips in zip(calibrations, logits, strict=True))


def only(spec: ModelSpec, label: str) -> ModelSpec:
    """As if the model knew one label."""
    return spec.model_copy(update={"labels": tuple(each for each in spec.labels if each.name == label)})
