"""A set that is learnt in seconds; also a program that trains on it, to be killed or started by torchrun.

python -m tests.trainer.fit.small CONFIG.yaml CACHE FOLDER [SECONDS_A_STEP]
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.synthesis import Video, corners, moving_square
from trainer.config import TrainConfig, read_config
from trainer.data.dataset import Batch, VideoSet
from trainer.data.rolls import ClipCache
from trainer.fit import Objective, fit, objective_of

VIDEOS = 20
SEED = 3


def write_set(root: Path) -> None:
    """Twenty videos of ten sources: in half of them a square moves, others show coloured corners."""
    with (root / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for index in range(VIDEOS):
            moves = index % 2 == 0
            picture = moving_square if moves else corners
            Video(duration_s=1.0, fps=8.0, size=(32 + 16 * (index % 3), 32), picture=picture).write(
                root / f"{index}.mp4"
            )
            writer.writerow([f"{index}.mp4", "moving" if moves else "standing", f"source{index // 2}"])


def config_of(root: Path, fit: Mapping[str, Any], **changes: Any) -> TrainConfig:
    """A transformer without batch norms, unless ``changes`` says otherwise."""
    size = {"patch": 16, "dimension": 8, "depth": 2, "heads": 2, "dropout": 0.3}
    return TrainConfig.model_validate(
        {
            "name": "tiny",
            "version": "0",
            "role": "filter",
            "data": {"root": str(root), "manifest": "manifest.csv", "folds": 2},
            "labels": [{"name": "motion", "positives": ["moving"]}],
            "video": {"frames": 4, "frame_rate_hz": 8, "height": 32, "width": 32},
            "architecture": {"name": "videomae", "arguments": size},
            "fit": {"epochs": 3, "batch": 6, "warmup": 0.0, "learning_rate": 3e-3, **fit},
            **changes,
        }
    )


class Slowed:
    """An objective that takes its time, so that a test can kill its process where it wants; counts clips."""

    def __init__(self, objective: Objective, seconds_a_step: float) -> None:
        self._objective, self._seconds = objective, seconds_a_step
        self.learnt_from = 0

    def __call__(self, network: nn.Module, batch: Batch) -> Tensor:
        time.sleep(self._seconds)
        self.learnt_from += len(batch) * network.training
        return self._objective(network, batch)


def main(config_file: str, cache: str, folder: str, seconds_a_step: str = "0") -> None:
    torch.set_num_threads(1)
    config = read_config(Path(config_file))
    videos = VideoSet.read(config, ClipCache(Path(cache)))
    objective = Slowed(objective_of(config.fit), float(seconds_a_step))
    fit(videos, range(VIDEOS), SEED, lambda *_: None, objective=objective, folder=Path(folder))
    print(f"learnt from {objective.learnt_from} clips")


if __name__ == "__main__":
    main(*sys.argv[1:])
