"""Vectors of videos: of a network at rest, by ONNX Runtime, or those that an artifact gives."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.architectures.r2plus1d_lite import R2Plus1DLite
from models.spec import VideoInput
from trainer.config import TrainConfig
from trainer.data.dataset import Batch
from trainer.data.rolls import ClipCache, Wanted
from trainer.export import OUTPUT, export_onnx, fastest_provider, session
from trainer.fit import start_of
from worker.cascade.aggregate import video_embedding
from worker.inference.registry import find_artifact
from worker.inference.session import open_session
from worker.inference.types import Inputs, joined
from worker.media.sampling import Uniform

Values = npt.NDArray[np.float32]
Extract = Callable[[npt.NDArray[np.uint8]], Mapping[str, Values]]

CLIPS = 4  # of a video
MOTION, APPEARANCE, BOTH, EMBEDDING = "motion", "appearance", "motion and appearance", "embedding"


@dataclass(frozen=True)
class Source:
    """``extract``: clips (N, T, H, W, 3) of one video to a vector (E,) by name."""

    video: VideoInput
    described: str
    extract: Extract


class _MotionAndAppearance(nn.Module):
    """Clips to (N, motion + appearance): what changes, and beside it what is there."""

    def __init__(self, network: R2Plus1DLite) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        return torch.cat(self.network.motion_and_appearance(clips), 1)


def of_network(config: TrainConfig, folder: Path) -> Source:
    """Of the network that the configuration starts from; ``folder`` takes its file.

    Raises ValueError for another family than r2plus1d_lite.
    """
    torch.manual_seed(config.fit.seed)
    network = start_of(config).network
    if not isinstance(network, R2Plus1DLite):
        raise ValueError(
            f"architecture {config.architecture.name}: only r2plus1d_lite has motion beside appearance"
        )
    motion = network.head.norm.num_features
    file = folder / "features.onnx"
    example = torch.zeros((2, *config.video.clip_shape), dtype=torch.uint8)
    batch = Batch({"clips": example}, torch.zeros(2, 1), np.zeros(2, np.int64))
    export_onnx(_MotionAndAppearance(network).eval(), batch, file)
    runner = session(file, fastest_provider(), torch.get_num_threads())

    def extract(clips: npt.NDArray[np.uint8]) -> Mapping[str, Values]:
        mean = np.asarray(runner.run([OUTPUT], {"clips": clips})[0], np.float32).mean(axis=0)
        return {MOTION: mean[:motion], APPEARANCE: mean[motion:]}

    return Source(config.video, f"{config.architecture.name} from {config.init or 'random weights'}", extract)


def of_artifact(reference: str, models_dir: Path | None = None) -> Source:
    """Raises ValueError for a model that has no embedding."""
    artifact = find_artifact(reference, models_dir)
    if artifact.spec.embedding is None:
        raise ValueError(
            f"model {artifact.reference} has no embedding; train it with `embedding: true`, or leave --model "
            "out"
        )
    runner = open_session(artifact, threads=torch.get_num_threads())

    def extract(clips: npt.NDArray[np.uint8]) -> Mapping[str, Values]:
        found = runner.run(joined([Inputs(clips)], artifact.spec)).embeddings
        assert found is not None
        return {EMBEDDING: video_embedding(found)}

    return Source(artifact.spec.video, f"{artifact.reference}, {runner.variant.name}", extract)


def vectors_of(files: Sequence[Path], source: Source) -> dict[str, Values]:
    """Name -> (files, E). Decoded into a folder that goes: copies are looked at once."""
    wanted = Wanted(source.video, None)
    rows: dict[str, list[Values]] = {}
    for file in files:
        with tempfile.TemporaryDirectory() as folder:
            clips = ClipCache(Path(folder)).clips(file, wanted, Uniform(CLIPS))
            found = source.extract(np.ascontiguousarray(clips.frames))
        for name, vector in found.items():
            rows.setdefault(name, []).append(vector)
    return {name: np.stack(each) for name, each in rows.items()}
