"""``sluice baselines``: what any model has to beat, as held-out scores of the same videos and folds.

``frozen-differences``: how much the features of a frozen ImageNet network change from frame to frame.
``metadata``: size, frame rate, duration, bit rate and presence of sound, without a look at any picture. What
it finds is a short-cut of the set: a figure counts where it is clearly above this one.

Both end in a logistic regression whose penalty is chosen on inner folds of the training sources: of the
features themselves, and of how near a video's metadata are to those of each training video, since what they
tell has no straight border.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from onnxruntime import InferenceSession
from torch import Tensor, nn

from models.architectures.efficientnet_lite import EfficientNetLite0
from models.spec import VideoInput
from trainer.data.dataset import Batch
from trainer.data.manifest import Example, ManifestError, read_manifest
from trainer.data.split import Split, grouped_folds
from trainer.evaluation.held_out import HeldOut, Logits
from trainer.export import OUTPUT, export_onnx, fastest_provider, session
from trainer.metrics import Vector
from trainer.probe import best_penalty, logistic_regression
from trainer.weights import packaged
from worker.errors import MediaError
from worker.media.decode import decode_file
from worker.media.sampling import At
from worker.media.types import Decoded, DecodeRequest, MediaInfo

Matrix = npt.NDArray[np.float64]

LOOK = VideoInput(frames=8, frame_rate_hz=5, height=224, width=224)  # of the start of the video
GLANCE = VideoInput(frames=1, frame_rate_hz=1, height=32, width=32)  # metadata are asked for, not pictures
FOLDS = 5  # where the manifest fixes none
LEAST_DEVIATION = 1e-3
NEARNESS = 0.125  # nearness is exp(-NEARNESS * squared distance) of standardised metadata


class FrameFeatures(nn.Module):
    """(N, T, H, W, 3) uint8 to (N, T * 1280): ImageNet features of each frame."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = EfficientNetLite0()
        self.trunk.load_imagenet(packaged("efficientnet-lite0"))

    def forward(self, clips: Tensor) -> Tensor:
        return self.trunk.frame_features(clips).flatten(1)


@contextmanager
def frozen_network() -> Iterator[InferenceSession]:
    """By the provider that serves: many times faster than eager torch."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frames.onnx"
        clips = torch.zeros((2, *LOOK.clip_shape), dtype=torch.uint8)
        export_onnx(FrameFeatures(), Batch({"clips": clips}, torch.zeros(2, 1), np.zeros(2, np.int64)), file)
        yield session(file, fastest_provider(), torch.get_num_threads())


def differences(network: InferenceSession, path: Path) -> Vector:
    """(1280,): mean absolute difference of successive frames' features."""
    clips = _decoded(path, LOOK).clips
    features = np.asarray(network.run([OUTPUT], {"clips": clips})[0], np.float64)
    return np.asarray(np.abs(np.diff(features.reshape(LOOK.frames, -1), axis=0)).mean(axis=0))


def metadata(path: Path) -> Vector:
    """Of the file, never of its pictures."""
    return described(_decoded(path, GLANCE).info, path.stat().st_size)


def described(info: MediaInfo, size_bytes: int) -> Vector:
    """Logarithms of width, height, shape, frame rate, duration and bit rate; whether there is sound."""
    bytes_per_s = size_bytes / max(info.duration_s, 0.1)
    amounts = (info.width, info.height, info.width / info.height, info.fps, info.duration_s, bytes_per_s)
    return np.array([*np.log(np.maximum(amounts, 0.1)), float(info.has_audio)])


def held_out_scores(
    examples: Sequence[Example],
    root: Path,
    label: str,
    positives: Sequence[str],
    features: Matrix,
    *,
    by_nearness: bool = False,
) -> HeldOut:
    """Logits of (videos, features), each by the regression that never saw the video's fold."""
    truth = np.array([bool(example.labels & {*positives}) for example in examples], np.float64)
    groups = np.array([example.group for example in examples])
    logits, folds = np.zeros(len(examples)), [""] * len(examples)
    for split in grouped_folds(examples, FOLDS):
        rows = _prepared(features, list(split.train), by_nearness=by_nearness)
        logits[list(split.test)] = _of_fold(rows, truth, groups, split)
        for index in split.test:
            folds[index] = split.name
    scores: tuple[Logits, ...] = tuple(np.array([[logit]], np.float32) for logit in logits)
    return HeldOut(
        (label,),
        tuple(example.name(root) for example in examples),
        tuple(example.group for example in examples),
        tuple(folds),
        truth[:, None].astype(np.float32),
        scores,
        scores,  # there is nothing to round
    )


def _prepared(features: Matrix, train: list[int], *, by_nearness: bool) -> Matrix:
    """Standardised, or how near each row is to each training row; then turned to what training rows span.

    The penalty does not see the turn, and fewer columns are solved many times faster.
    """
    rows = _standardised(features, train)
    if by_nearness:
        squared = ((rows[:, None] - rows[train][None]) ** 2).sum(axis=2)
        rows = _standardised(np.exp(-NEARNESS * squared), train)
    basis: Matrix = np.linalg.svd(rows[train], full_matrices=False)[2].T
    return rows @ basis


def _standardised(rows: Matrix, train: list[int]) -> Matrix:
    mean, deviation = rows[train].mean(0), rows[train].std(0)
    return np.asarray((rows - mean) / np.maximum(deviation, LEAST_DEVIATION))


def _of_fold(rows: Matrix, truth: Vector, groups: npt.NDArray[np.str_], split: Split) -> Vector:
    train, test = list(split.train), list(split.test)
    penalty, _ = best_penalty(rows[train], truth[train], groups[train], 1.0)
    weights, bias = logistic_regression(rows[train], truth[train], penalty, 1.0)
    return np.asarray(rows[test] @ weights + bias)


def _decoded(path: Path, video: VideoInput) -> Decoded:
    try:
        return decode_file(path, DecodeRequest(At((0.0,)), video))
    except MediaError as error:
        raise ManifestError(f"{path}: {error}") from error


def write_baselines(
    root: Path, manifest: Path, label: str, positives: Sequence[str], folder: Path
) -> tuple[Path, ...]:
    """``metadata.json`` and ``frozen-differences.json``. Raises ManifestError; ValueError without folds."""
    examples = read_manifest(root / manifest, root)
    folder.mkdir(parents=True, exist_ok=True)
    facts = np.stack([metadata(example.path) for example in examples])
    with frozen_network() as network:
        changes = np.stack([differences(network, example.path) for example in examples])
    found = {
        "metadata": held_out_scores(examples, root, label, positives, facts, by_nearness=True),
        "frozen-differences": held_out_scores(examples, root, label, positives, changes),
    }
    for name, scores in found.items():
        scores.write(folder / f"{name}.json")
    return tuple(folder / f"{name}.json" for name in found)
