"""What a head at rest is given: as torch computes it, and only once."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.synthesis import Video, moving_square
from trainer.config import TrainConfig
from trainer.data.dataset import VideoSet
from trainer.data.rolls import ClipCache
from trainer.fit import start_of
from trainer.frozen import head_inputs

CONFIG = {
    "name": "tiny",
    "version": "0.0.1",
    "role": "filter",
    "data": {"manifest": "manifest.csv"},
    "labels": [{"name": "motion", "positives": ["a"]}],
    "video": {"frames": 4, "frame_rate_hz": 8, "height": 64, "width": 64},
    "architecture": {"name": "r2plus1d_lite", "arguments": {"views": [1.0, 0.5], "stages": [0, 1]}},
    "fit": {"probe_views": 2, "epochs": 0},
}


@pytest.fixture
def videos(tmp_path: Path) -> VideoSet:
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for index in range(3):
            Video(duration_s=1.0, size=(64 + 16 * index, 64), picture=moving_square).write(
                tmp_path / f"{index}.mp4"
            )
            writer.writerow([f"{index}.mp4", "ab"[index % 2], f"source{index}"])
    config = TrainConfig.model_validate({**CONFIG, "data": {"root": tmp_path, "manifest": "manifest.csv"}})
    return VideoSet.read(config, ClipCache(tmp_path / "cache"))


def network(videos: VideoSet, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return start_of(videos.config).network


@pytest.mark.slow
def test_it_is_what_torch_computes(videos: VideoSet) -> None:
    found = head_inputs(network(videos), videos, [0, 2], views=2, seed=5)
    trunk = network(videos).eval()
    trunk.head = nn.Identity()
    randoms = [np.random.default_rng([5, 2, view]) for view in range(2)]
    clips = videos.training_batch(np.array([2, 2]), randoms).inputs["clips"].round().to(torch.uint8)
    with torch.inference_mode():
        expected = trunk(clips).numpy()
    assert found.shape == (2, 2, 120)
    np.testing.assert_allclose(found[:, 1], expected, atol=0.02)


@pytest.mark.slow
def test_it_is_computed_once_and_again_for_other_weights(
    videos: VideoSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = head_inputs(network(videos), videos, [0, 1, 2], views=1, seed=0)
    other = head_inputs(network(videos, seed=1), videos, [1], views=1, seed=0)
    assert not np.allclose(first[:, 1], other[:, 0])
    monkeypatch.delattr(VideoSet, "training_batch")  # nothing is left to compute with
    np.testing.assert_array_equal(
        head_inputs(network(videos), videos, [2, 0], views=1, seed=0), first[:, [2, 0]]
    )
    with pytest.raises(AttributeError):
        head_inputs(network(videos), videos, [0], views=1, seed=1)
