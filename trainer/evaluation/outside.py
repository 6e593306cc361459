"""Served artifacts on a labelled set that they were not made with: serving's own decoding, sampling and rule.

Nothing is calibrated or chosen here: temperatures, thresholds and the band are those of ``spec.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.spec import file_sha256
from trainer.data.manifest import Example
from trainer.evaluation.cascade import Cascade, Stage, only
from trainer.evaluation.held_out import HeldOutError
from trainer.evaluation.summary import Served, Summary, compared, named_runs, row, served_at
from trainer.metrics import Vector, chance
from worker.errors import SluiceError
from worker.inference.registry import Artifact
from worker.inference.session import Session, open_session
from worker.inference.types import Inputs, joined
from worker.media.decode import decode_file
from worker.media.sampling import plan_from_settings
from worker.media.types import DecodeRequest
from worker.settings import SamplingSettings

WORST = 12  # mistakes that are shown


@dataclass(frozen=True)
class Mistake:
    """A video on the wrong side of one half."""

    path: Path
    positive: bool
    probability: float


@dataclass(frozen=True)
class Outside:
    summary: Summary
    mistakes: tuple[Mistake, ...] = field(repr=False)  # the worst first


def evaluate_outside(
    folders: Sequence[Path], examples: Sequence[Example], positives: Sequence[str]
) -> Outside:
    """``folders``: of the filter and, where there is one, the escalation model.

    Raises HeldOutError where the set has one class only, or a file or an artifact cannot be used.
    """
    truth = np.array([bool(example.labels & {*positives}) for example in examples], np.float64)
    if not 0 < truth.sum() < len(truth):
        raise HeldOutError(
            f"{truth.sum():.0f} of {len(truth)} videos are labelled {', '.join(positives)}: "
            "both kinds are needed"
        )
    served = [served_at(folder) for folder in folders]
    label = served[0].spec.labels[0].name
    stages = [_stage(folder, each, examples, label) for folder, each in zip(folders, served, strict=True)]
    groups = [example.group for example in examples]
    if len(stages) == 1:
        scores, runs, cascade = {served[0].spec.name: stages[0].videos()}, {}, None
    else:
        cascade = Cascade(stages[0], stages[1], label)
        runs = named_runs(cascade, cascade.run(stages[0].spec.labels[0].band))
        scores = {name: run.probabilities for name, run in runs.items()}
    summary = Summary(
        label,
        len(truth),
        len(set(groups)),
        int(truth.sum()),
        chance(truth),
        (),
        tuple(row(name, truth, each, groups, runs.get(name), cascade) for name, each in scores.items()),
        tuple(compared(truth, scores, (), groups)),
        None,
        truth,
        scores,
        {},
    )
    return Outside(summary, _worst(examples, truth, scores.get("cascade", stages[0].videos())))


def _stage(folder: Path, served: Served, examples: Sequence[Example], label: str) -> Stage:
    try:
        runner = open_session(Artifact(folder, served.spec), threads=2)
        column = served.spec.label_names.index(label)
        clips = tuple(_probabilities(runner, example)[:, column].astype(np.float64) for example in examples)
    except (SluiceError, ValueError) as error:
        raise HeldOutError(f"{folder}: {error}") from error
    return Stage(only(served.spec, label), served.ms_per_clip, clips)


def _probabilities(runner: Session, example: Example) -> Vector:
    """(N, L), calibrated."""
    spec = runner.spec
    if not example.stretch.whole:
        raise HeldOutError(f"{example.path}: start_s or end_s is set, but serving looks at whole files")
    plan = plan_from_settings(SamplingSettings(), file_sha256(example.path))
    try:
        decoded = decode_file(example.path, DecodeRequest(plan, spec.video, spec.audio))
    except SluiceError as error:
        raise HeldOutError(f"{example.path}: {error}") from error
    output = runner.run(joined([Inputs(decoded.clips, decoded.log_mel)], spec))
    return np.asarray(spec.calibrated(output.logits), np.float64)


def _worst(examples: Sequence[Example], truth: Vector, scores: Vector) -> tuple[Mistake, ...]:
    """Most wrong first: the furthest from one half on the wrong side."""
    wrong = np.flatnonzero((scores >= 0.5) != (truth == 1))
    order = sorted(wrong.tolist(), key=lambda i: -abs(scores[i] - truth[i]))
    return tuple(Mistake(examples[i].path, bool(truth[i]), float(scores[i])) for i in order[:WORST])
