"""Killed in the middle of an epoch and started again: the same run as one that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.trainer.fit.conftest import MakeSet
from tests.trainer.fit.small import SEED, VIDEOS
from trainer.data.dataset import VideoSet
from trainer.fit import fit, fresh_network
from trainer.fit.checkpoint import CheckpointError

REPOSITORY = Path(__file__).resolve().parents[3]
FIT: dict[str, Any] = {"epochs": 4, "batch": 4, "checkpoint_steps": 3, "validation": 0.2, "balanced": True}


def curve(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "clips_per_s"} for line in lines]


def train(videos: VideoSet, folder: Path | None = None) -> dict[str, torch.Tensor]:
    return fit(videos, range(VIDEOS), SEED, lambda *_: None, folder=folder).state_dict()


def command(videos: VideoSet, folder: Path, seconds_a_step: float) -> list[str]:
    config = folder.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(videos.config.model_dump(mode="json")))
    program = [sys.executable, "-m", "tests.trainer.fit.small"]
    return [*program, str(config), str(videos.cache.folder), str(folder), str(seconds_a_step)]


def killed_after(steps: int, videos: VideoSet, folder: Path) -> None:
    process = subprocess.Popen(command(videos, folder, 0.2), cwd=REPOSITORY)
    deadline_s = time.monotonic() + 60
    log = folder / "log.jsonl"
    while not log.exists() or sum('"loss"' in line for line in log.read_text().splitlines()) < steps:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_kill_in_the_middle_of_an_epoch(make_set: MakeSet, tmp_path: Path) -> None:
    videos = make_set(**FIT)
    alone = train(videos, tmp_path / "alone")
    killed_after(5, videos, tmp_path / "killed")  # four steps an epoch; the latest checkpoint is of step 3
    before = curve(tmp_path / "killed")
    assert 5 <= before[-1]["step"] < 8
    resumed = train(videos, tmp_path / "killed")
    assert curve(tmp_path / "killed") == curve(tmp_path / "alone")
    assert all(torch.equal(value, resumed[name]) for name, value in alone.items())


def test_a_finished_run_is_not_trained_again(make_set: MakeSet, tmp_path: Path) -> None:
    videos = make_set(epochs=1)
    first = train(videos, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.jsonl", "network.safetensors"]
    (tmp_path / "log.jsonl").unlink()
    second = train(videos, tmp_path)
    assert not (tmp_path / "log.jsonl").exists()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert all(torch.equal(v, first[name]) for name, v in load_file(tmp_path / "network.safetensors").items())


def test_another_run_does_not_go_on_from_here(make_set: MakeSet, tmp_path: Path) -> None:
    train(make_set(epochs=1), tmp_path)
    with pytest.raises(CheckpointError, match=r"network.safetensors is of another configuration"):
        train(make_set(epochs=2), tmp_path)


def test_other_weights_to_start_from_are_another_run(make_set: MakeSet, tmp_path: Path) -> None:
    """Whatever they are called; the same ones under another name are the same."""
    inits = [tmp_path / name / "start.pth" for name in ("first", "second", "copy")]
    for init, seed in zip(inits, (1, 2, 1), strict=True):
        init.parent.mkdir()
        torch.manual_seed(seed)
        torch.save(fresh_network(make_set().config).state_dict(), init)
    first, second, copy = (make_set({"init": str(init)}, epochs=1) for init in inits)
    trained = train(first, tmp_path / "run")
    with pytest.raises(CheckpointError, match="of another configuration or other data"):
        train(second, tmp_path / "run")
    again = train(copy, tmp_path / "run")
    assert all(torch.equal(value, again[name]) for name, value in trained.items())


def test_other_weights_of_examples_are_another_run(make_set: MakeSet, tmp_path: Path) -> None:
    videos = make_set(epochs=1)
    train(videos, tmp_path)
    weights = videos.weights.copy()
    weights[3] = 2.0
    with pytest.raises(CheckpointError, match="of another configuration or other data"):
        train(replace(videos, weights=weights), tmp_path)


def test_without_a_folder_nothing_changes(make_set: MakeSet, tmp_path: Path) -> None:
    kept, bare = train(make_set(epochs=1), tmp_path), train(make_set(epochs=1))
    assert all(torch.equal(value, bare[name]) for name, value in kept.items())
