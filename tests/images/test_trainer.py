"""The trainer's image trains, without rights and without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from models.spec import read_spec
from tests.containers.images import TAGS, TRAINER
from tests.images.run import run
from tests.trainer.test_train import data, tiny

__all__ = ["data"]  # the fixture

pytestmark = [pytest.mark.containers, pytest.mark.slow, pytest.mark.timeout(420)]

IMAGE = TAGS[TRAINER]


def test_it_says_what_it_takes() -> None:
    code, output = run(IMAGE)
    assert (code, "--config" in output) == (0, True), output


def test_it_makes_an_artifact(data: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tiny(Path("/data"))))
    tmp_path.chmod(0o777)  # the image's user is nobody here
    data.chmod(0o755)
    mounts = ("-v", f"{data}:/data:ro", "-v", f"{tmp_path}:/out", "--shm-size", "1g")
    places = ("--cache", "/out/cache", "--artifacts", "/out/artifacts", "--jobs", "1")
    code, output = run(
        IMAGE, "train", "--config", "/out/config.yaml", *places, options=mounts, timeout_s=400.0
    )
    assert code == 0, output
    assert read_spec(tmp_path / "artifacts" / "tiny-filter" / "0.0.1").label_names == ("motion",)
