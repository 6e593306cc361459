"""`sluice models add`, then `sluice moderate`: labels of several models in one verdict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.adopt.description import read_description
from models.adopt.install import install
from tests import parts
from tests.models.adopt.networks import description, network, saved
from tests.synthesis import Pixels, Video
from worker.messages import Verdict


def white(index: int, width: int, height: int) -> Pixels:
    return np.full((height, width, 3), 255, np.uint8)


def sluice(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *map(str, arguments)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def verdict_on(file: Path, models_dir: Path, additional: str, **settings: str) -> Verdict:
    done = sluice(
        "moderate",
        file,
        SLUICE_INFERENCE__MODELS_DIR=str(models_dir),
        SLUICE_INFERENCE__ADDITIONAL=additional,
        **settings,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Verdict.model_validate(json.loads(done.stdout))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    file = tmp_path / "white.mp4"
    file.write_bytes(Video(duration_s=3.0, picture=white).make())
    return file


def test_a_network_of_ones_own_beside_the_filter(tmp_path: Path, video: Path) -> None:
    install(saved(network(), tmp_path), description(), tmp_path / "models")
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "version: 1\nrevision: r\npolicies: {default: {labels: {first: {review: 0.6, block: 0.7}}}}\n"
    )
    verdict = verdict_on(video, tmp_path / "models", "foreign@1", SLUICE_POLICY__FILE=str(policy))
    labels = {label.name: label for label in verdict.labels}
    assert list(labels) == ["violence", "first"]
    assert labels["first"].probability == pytest.approx(1 / (1 + np.exp(-1)), abs=0.01)  # white is 1.0
    assert (labels["first"].threshold, labels["first"].action, verdict.decision) == (0.7, "block", "block")
    assert [(s.start_s, s.end_s) for s in verdict.segments if s.label == "first"] == [(0.0, 3.0)]
    assert [model.name for model in verdict.versions.models][:2] == ["violence-filter", "foreign"]


@pytest.mark.parametrize(
    ("additional", "message"),
    [
        ("nope", "no model 'nope'"),
        ("foreign:foreign", "label 'first' is known to foreign and to foreign: take one of them out"),
    ],
)
def test_models_that_cannot_be_served_together_do_not_start(
    additional: str, message: str, tmp_path: Path, video: Path
) -> None:
    install(saved(network(), tmp_path), description(), tmp_path / "models")
    done = sluice(
        "moderate",
        video,
        SLUICE_INFERENCE__MODELS_DIR=str(tmp_path / "models"),
        SLUICE_INFERENCE__ADDITIONAL=additional,
    )
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_nudity_add_on(tmp_path: Path, video: Path) -> None:
    installed = install(parts.open_nsfw(), read_description("open-nsfw"), tmp_path / "models")
    verdict = verdict_on(video, tmp_path / "models", "open-nsfw")
    labels = {label.name: label for label in verdict.labels}
    assert list(labels) == ["violence", "nudity"]
    assert labels["nudity"].action == "allow"
    assert labels["nudity"].threshold == 0.8
    versions = {model.name: model for model in verdict.versions.models}
    assert versions["open-nsfw"].sha256 == installed.artifact.spec.variants[0].sha256
    listed = sluice(
        "models",
        SLUICE_INFERENCE__MODELS_DIR=str(tmp_path / "models"),
        SLUICE_INFERENCE__ADDITIONAL="open-nsfw",
    )
    assert "open-nsfw@1  (additional)" in listed.stdout
