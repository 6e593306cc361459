"""What the head of a network at rest is given, computed once and kept beside the decoded clips.

All folds ask for the same: a random clip depends on the seed, the example and the view, not on the fold. It
is computed by ONNX Runtime, where a network of small convolutions is many times faster than in eager torch.
"""

from __future__ import annotations

import copy
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainer.data.dataset import Batch, VideoSet
from trainer.data.manifest import Example
from trainer.export import OUTPUT, export_onnx, fastest_provider, feed, session

Features = npt.NDArray[np.float32]

CLIPS = 4  # at a time


def head_inputs(
    network: nn.Module, videos: VideoSet, chosen: Sequence[int], views: int, seed: int
) -> Features:
    """(views, chosen, features): what ``network.head`` is given for random clips of each chosen example."""
    trunk = copy.deepcopy(network).eval()
    trunk.head = nn.Identity()
    folder = videos.cache.folder / "features" / _identity(trunk, videos, seed)[:24]
    folder.mkdir(parents=True, exist_ok=True)
    files = {index: folder / f"{_name(videos.examples[index], index)}-{views}.npy" for index in chosen}
    missing = [index for index in chosen if not files[index].exists()]
    if missing:
        for index, features in _computed(trunk, videos, missing, views, seed):
            _write(files[index], features)
    return np.stack([np.load(files[index]) for index in chosen], axis=1)


def _computed(
    trunk: nn.Module, videos: VideoSet, chosen: Sequence[int], views: int, seed: int
) -> Iterator[tuple[int, Features]]:
    """(views, features) of each."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trunk.onnx"
        export_onnx(trunk, _random_clips(videos, chosen[0], 2, seed), file)
        runner = session(file, fastest_provider(), torch.get_num_threads())
        for index in chosen:
            given = feed(_random_clips(videos, index, views, seed))
            parts = [
                runner.run([OUTPUT], {name: array[first : first + CLIPS] for name, array in given.items()})[0]
                for first in range(0, views, CLIPS)
            ]
            yield index, np.concatenate(parts).astype(np.float32)


def _random_clips(videos: VideoSet, index: int, views: int, seed: int) -> Batch:
    randoms = [np.random.default_rng([seed, index, view]) for view in range(views)]
    batch = videos.training_batch(np.full(views, index), randoms, mix=False)
    return Batch(
        {name: _as_served(value) for name, value in batch.inputs.items()}, batch.targets, batch.members
    )


def _as_served(value: Tensor) -> Tensor:
    """Augmented clips are float32, 0..255."""
    is_clips = value.ndim == 5 and value.dtype == torch.float32
    return value.round().to(torch.uint8) if is_clips else value


def _identity(trunk: nn.Module, videos: VideoSet, seed: int) -> str:
    """Of all that the features depend on, but the example."""
    config = videos.config
    digest = hashlib.sha256()
    for name, value in trunk.state_dict().items():
        digest.update(name.encode() + np.ascontiguousarray(value.numpy()).tobytes())
    data = (config.data.roll_seconds, config.data.oversampling, config.data.margin)
    settings = (config.architecture, config.video, config.audio, config.augment, data, seed)
    digest.update(repr(settings).encode())
    return digest.hexdigest()


def _name(example: Example, index: int) -> str:
    stat = example.path.stat()
    text = f"{example.path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    if not example.stretch.whole:
        text += f" {example.stretch}"
    return f"{index}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _write(file: Path, features: Features) -> None:
    """Whole or not at all: several processes may compute the same."""
    unfinished = file.with_suffix(f".{os.getpid()}.tmp")
    with unfinished.open("wb") as target:
        np.save(target, features)
    unfinished.rename(file)
