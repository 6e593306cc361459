"""The way of one small network, from its teacher to its rounded and narrower form."""

import csv
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from models.architectures.narrow import widths_of
from tests.synthesis import Video
from trainer.config import TrainConfig, read_config
from trainer.data.dataset import VideoSet
from trainer.data.rolls import ClipCache
from trainer.data.split import Split
from trainer.learn import Learner
from trainer.prune import pruned_arguments


def write_config(root: Path, name: str, **sections: object) -> TrainConfig:
    file = root / f"{name}.yaml"
    common = {
        "name": name,
        "version": "1",
        "role": "filter",
        "data": {"root": str(root), "manifest": "manifest.csv"},
        "labels": [{"name": "motion", "positives": ["moving"]}],
        "architecture": {"name": "r2plus1d", "arguments": {"depth": 10, "width": 8}},
    }
    file.write_text(yaml.safe_dump({**common, **sections}))
    return read_config(file)


@pytest.mark.timeout(120)
def test_taught_cut_and_rounded_and_the_same_when_it_goes_on(tmp_path: Path) -> None:
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        rows = [(f"{i}.mp4", ("moving", "standing")[i % 2], f"source{i}") for i in range(6)]
        csv.writer(file).writerows([("path", "label", "group"), *rows])
    for name, _, _ in rows:
        Video(duration_s=1.0, size=(48, 48)).write(tmp_path / name)
    # The teacher sees more frames and a larger picture.
    video = {"frames": 4, "frame_rate_hz": 8, "height": 32, "width": 32}
    larger = {"frames": 6, "frame_rate_hz": 12, "height": 40, "width": 40}
    write_config(tmp_path, "teacher", video=larger, fit={"epochs": 1, "batch": 2})
    config = write_config(
        tmp_path,
        "student",
        video=video,
        fit={"epochs": 1, "batch": 2},
        distil={"teachers": [str(tmp_path / "teacher.yaml")]},
        prune={"share": 0.5, "epochs": 1},
        quantise={"aware_epochs": 1},
    )
    videos, said = VideoSet.read(config, ClipCache(tmp_path / "cache")), list[float]()
    split = Split("1", (0, 1, 2, 3), (4, 5))
    learner = Learner(videos, split, 0, lambda epoch, loss: said.append(loss), tmp_path / "run")
    network = learner.network()
    assert len(said) == 4  # teacher, student, after the cut, with rounding: an epoch each
    assert widths_of(network) == pruned_arguments(config)["widths"]
    assert {place.name for place in (tmp_path / "run").iterdir()} == {
        "teacher-0-0",
        "trained",
        "pruned",
        "rounded",
    }
    again = learner.network()
    assert len(said) == 4  # nothing was trained a second time
    for name in ("trained", "pruned", "rounded"):  # cut off when its teacher had just finished
        shutil.rmtree(tmp_path / "run" / name)
    later = learner.network()
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
        assert torch.equal(later.state_dict()[name], value), name
