"""What a run refuses to start from, or only remarks on, is told first, of its teachers too."""

from __future__ import annotations

import weakref
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.trainer.fit.small import config_of, write_set
from trainer.artifact import Installation
from trainer.config import TrainConfig
from trainer.data.batch import Batch
from trainer.data.dataset import VideoSet
from trainer.data.rolls import ClipCache
from trainer.export import export_onnx
from trainer.fit import fresh_network
from trainer.fit.checkpoint import save_weights
from trainer.learn import Learner
from trainer.run import scored, train
from trainer.weights import note_of


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    write_set(folder)
    return folder


def refused(config: TrainConfig, place: Path, message: str) -> None:
    cache = ClipCache(place / "cache")
    with pytest.raises(ValueError, match=message):
        train(config, cache, Installation(place / "artifacts"), 1, lambda line: None)
    assert not cache.folder.exists()


def weights(config: TrainConfig, file: Path, *groups: str) -> Path:
    save_weights(fresh_network(config).state_dict(), file, note_of(groups))
    return file


def taught_by(root: Path, place: Path, init: str) -> TrainConfig:
    teacher = config_of(root, {}).model_dump(mode="json") | {"init": init}
    (place / "teacher.yaml").write_text(yaml.safe_dump(teacher))
    return config_of(root, {}, distil={"teachers": [str(place / "teacher.yaml")]})


def test_one_file_that_was_learnt_from_a_source_of_the_set(root: Path, tmp_path: Path) -> None:
    init = weights(config_of(root, {}), tmp_path / "a.safetensors", "source3")
    config = config_of(root, {}, init=str(init))
    refused(config, tmp_path, r"a\.safetensors was learnt from 1 source\(s\) that fold \d holds out")
    refused(taught_by(root, tmp_path, str(init)), tmp_path, "such as source3; give each fold weights")


def test_each_fold_and_what_ships_need_a_file(root: Path, tmp_path: Path) -> None:
    config = config_of(root, {}, init=str(tmp_path / "{fold}.safetensors"))
    for name in ("1", "2", "everything"):
        refused(config, tmp_path, rf"there is no file .*/{name}\.safetensors")
        weights(config_of(root, {}), tmp_path / f"{name}.safetensors")


def test_a_teacher_starts_from_the_folds_own_file(root: Path, tmp_path: Path) -> None:
    videos = VideoSet.read(taught_by(root, tmp_path, str(tmp_path / "{fold}.pth")), ClipCache(tmp_path))
    for split in videos.splits():
        with pytest.raises(ValueError, match=rf"there is no file .*/{split.name}\.pth"):
            Learner(videos, split, 0, lambda *_: None).network()


def test_other_clips_than_servings_are_said_before_training(root: Path, tmp_path: Path) -> None:
    """Of videos of 1 s, which two clips cover."""

    class Said(Exception):
        pass

    def listen(line: str) -> None:
        if line.startswith("data.clips is 1: of 20 of 20 videos a worker takes other clips"):
            raise Said

    data = {"root": root, "manifest": "manifest.csv", "folds": 2, "clips": 1}
    with pytest.raises(Said):
        train(config_of(root, {}, data=data), ClipCache(tmp_path), Installation(tmp_path), 1, listen)


def test_a_fold_is_scored_without_holding_all_of_its_clips(root: Path, tmp_path: Path) -> None:
    held: list[weakref.ref[np.ndarray]] = []
    most = 0

    class Watched(VideoSet):
        def video(self, index: int) -> Batch:
            nonlocal most
            most = max(most, sum(clips() is not None for clips in held))
            batch = super().video(index)
            clips = batch.inputs["clips"].numpy().copy()
            held.append(weakref.ref(clips))
            return Batch({"clips": torch.from_numpy(clips)}, batch.targets, batch.members)

    plain = VideoSet.read(config_of(root, {}), ClipCache(tmp_path / "cache"))
    videos = Watched(**{field.name: getattr(plain, field.name) for field in fields(plain)})
    file = tmp_path / "network.onnx"
    export_onnx(fresh_network(videos.config), plain.video(0), file)
    assert len(scored(file, videos, range(10))) == 10
    assert (len(held), most) == (10, 1)
