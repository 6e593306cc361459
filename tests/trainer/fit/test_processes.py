"""Processes that torchrun starts, on gloo: together they do what one does with the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.trainer.fit.conftest import MakeSet
from tests.trainer.fit.small import SEED, VIDEOS
from trainer.data.dataset import VideoSet
from trainer.fit import fit

REPOSITORY = Path(__file__).resolve().parents[3]


def with_processes(count: int, videos: VideoSet, folder: Path) -> str:
    config = folder.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(videos.config.model_dump(mode="json")))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    program = ["-m", "tests.trainer.fit.small", str(config), str(videos.cache.folder), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, *program], cwd=REPOSITORY, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout.decode()


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] if "loss" in line else line["validation_loss"] for line in lines]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_whole_batch(make_set: MakeSet, tmp_path: Path) -> None:
    """Sixteen clips an epoch: three and three, three and three, two and two. Dropout, which differs between
    processes, is left out."""
    arguments = {"patch": 16, "dimension": 8, "depth": 2, "heads": 2, "dropout": 0.0}
    changes = {"architecture": {"name": "videomae", "arguments": arguments}}
    videos = make_set(changes, batch=6, epochs=2, validation=0.2, head_epochs=0)
    alone = fit(videos, range(VIDEOS), SEED, lambda *_: None, folder=tmp_path / "one")
    output = with_processes(2, videos, tmp_path / "two")
    assert output.count("learnt from 16 clips") == 2  # of 32 in two epochs
    together = load_file(tmp_path / "two" / "network.safetensors")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(together[name], value, atol=1e-4, rtol=1e-3)
