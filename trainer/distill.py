"""Distillation: a small network learns what larger ones say, beside the labels.

Soft labels after Hinton et al. 2015 (arXiv 1503.02531), features after Romero et al. 2015 (arXiv 1412.6550).
Teachers are trained where the student is, on the same training videos: scores that were made elsewhere, even
held-out ones, come from networks that saw the fold that is reported. A teacher may take another input than
the student, so what it says is kept for each video: the mean over the clips that serving would take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.architectures.motion import LinearHead
from trainer.config import Distil, Fit, TrainConfig, read_config
from trainer.data.dataset import Batch, VideoSet
from trainer.data.split import grouped_folds
from trainer.fit.objective import binary, categorical, over_exits

Train = Callable[[VideoSet, Sequence[int], str], nn.Module]  # on these examples; a name for what is kept
Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Lessons:
    """What the teachers say of each example; rows of examples that were not taught are nan."""

    logits: Rows  # (examples, L), of teachers averaged
    features: Rows  # (examples, F), standardised, of teachers side by side; F is 0 where not asked for


def teachers_of(videos: VideoSet) -> list[VideoSet]:
    """The same examples as each teacher takes them. Raises ValueError for a teacher of something else."""
    return [_pupil_of(read_config(path), path, videos) for path in videos.config.distil.teachers]


def _pupil_of(teacher: TrainConfig, path: Path, videos: VideoSet) -> VideoSet:
    config = videos.config
    if teacher.labels != config.labels or teacher.data.manifest != config.data.manifest:
        raise ValueError(f"distil.teachers: {path} has other labels or another manifest than {config.name}")
    data = teacher.data.model_copy(update={"root": config.data.root})
    read = VideoSet.read(teacher.model_copy(update={"data": data}), videos.cache)
    if read.examples != videos.examples:
        raise ValueError(f"distil.teachers: {path} learns from other sets than {config.name}")
    return read


def lessons(videos: VideoSet, chosen: Sequence[int], train: Train) -> Lessons:
    """Train the teachers on the chosen examples and let them say what these are; they see nothing else."""
    distil = videos.config.distil
    said = [
        _said(teacher, f"teacher-{at}", chosen, distil, train)
        for at, teacher in enumerate(teachers_of(videos))
    ]
    logits = np.mean([each.logits for each in said], axis=0)
    return Lessons(logits, np.concatenate([each.features for each in said], axis=1))


def taught_by_others(
    videos: VideoSet, chosen: Sequence[int], folds: int
) -> Iterator[tuple[list[int], list[int]]]:
    """(what a teacher learns from, whom it teaches), by groups; with 0 folds one teacher of all."""
    if not folds:
        yield list(chosen), list(chosen)
        return
    examples = [replace(videos.examples[index], fold="") for index in chosen]  # the manifest's are of the run
    for split in grouped_folds(examples, folds):
        yield [chosen[i] for i in split.train], [chosen[i] for i in split.test]


def _said(teacher: VideoSet, name: str, chosen: Sequence[int], distil: Distil, train: Train) -> Lessons:
    logits: dict[int, Rows] = {}
    features: dict[int, Rows] = {}
    for part, (learnt, taught) in enumerate(taught_by_others(teacher, chosen, distil.inner_folds)):
        network = train(teacher, learnt, f"{name}-{part}")
        for index in taught:
            logits[index], features[index] = _of_video(network, teacher.video(index), distil.features > 0)
    return Lessons(
        _rows(logits, len(teacher.examples)), _standardised(_rows(features, len(teacher.examples)))
    )


@torch.inference_mode()
def _of_video(network: nn.Module, video: Batch, with_features: bool) -> tuple[Rows, Rows]:
    network.eval()
    if not with_features:
        answer, seen = network(*video.inputs.values()), torch.zeros(len(video), 0)
    else:
        answer, seen = with_head_input(network, video)
    logits = answer if answer.ndim == 2 else answer[:, -1]
    return logits.mean(0).numpy(), seen.mean(0).numpy()


def with_head_input(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """The network's logits, and (N, features) that its head was given. ValueError if it has no such head."""
    head = getattr(network, "head", None)
    if not isinstance(head, LinearHead):
        raise ValueError("distil.features needs networks that end in a linear head")
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        logits: Tensor = network(*batch.inputs.values())
    finally:
        hook.remove()
    return logits, seen[0]


class Distilled(nn.Module):
    """An ``Objective``: the configured loss, and the distance to what the teachers say."""

    logits: Tensor
    features: Tensor

    def __init__(self, fit: Fit, distil: Distil, lessons: Lessons, features: int) -> None:
        super().__init__()
        self.fit, self.distil = fit, distil
        self.register_buffer("logits", torch.from_numpy(lessons.logits), persistent=False)
        self.register_buffer("features", torch.from_numpy(lessons.features), persistent=False)
        taught = lessons.features.shape[1]
        # Widths differ, so a linear layer that is thrown away afterwards looks for the teacher's features.
        self.guess = nn.Linear(features, taught) if distil.features and taught else None

    def forward(self, network: nn.Module, batch: Batch) -> Tensor:
        seen: Tensor | None = None
        if self.guess is None:
            logits = network(*batch.inputs.values())
        else:
            logits, seen = with_head_input(network, batch)
        members = torch.from_numpy(batch.members).to(logits.device)
        loss = (1.0 - self.distil.soft) * self._hard(logits, batch) + self.distil.soft * self._soft(
            logits, members
        )
        if self.guess is not None and seen is not None:
            distance = (self.guess(seen) - self.features[members]).square().mean()
            loss = loss + self.distil.features * distance
        return loss

    def _hard(self, logits: Tensor, batch: Batch) -> Tensor:
        loss = categorical if self.fit.loss == "categorical" else binary
        return over_exits(loss, logits, batch.targets, self.fit.smoothing)

    def _soft(self, logits: Tensor, members: Tensor) -> Tensor:
        """Gradients shrink with the square of the temperature, which is made good."""
        warmth = self.distil.temperature
        taught = self.logits[members] / warmth
        if self.fit.loss == "categorical":
            loss = over_exits(categorical, logits / warmth, taught.softmax(1), 0.0)
        else:
            loss = over_exits(binary, logits / warmth, taught.sigmoid(), 0.0)
        return loss * warmth**2


def soft_targets(videos: VideoSet, lessons: Lessons) -> VideoSet:
    """The examples with targets between labels and teachers' answers, for what fits in closed form.

    Where the label is not known, the answer stands alone.
    """
    soft = videos.config.distil.soft
    answers = 1.0 / (1.0 + np.exp(-np.clip(np.nan_to_num(lessons.logits), -30.0, 30.0)))
    mixed = (1.0 - soft) * videos.targets + soft * answers
    return replace(videos, targets=np.where(np.isnan(mixed), answers, mixed).astype(np.float32))


def _rows(by_index: dict[int, Rows], count: int) -> Rows:
    width = len(next(iter(by_index.values())))
    rows = np.full((count, width), np.nan, np.float32)
    for index, row in by_index.items():
        rows[index] = row
    return rows


def _standardised(rows: Rows) -> Rows:
    if not rows.shape[1]:
        return rows
    standard: Rows = (rows - np.nanmean(rows, 0)) / np.maximum(np.nanstd(rows, 0), 1e-3)
    return standard
