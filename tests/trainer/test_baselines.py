"""Baselines: what they see of a file, and that a fold is judged by what never saw it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.synthesis import Video, moving_square
from trainer.baselines import described, differences, frozen_network, held_out_scores, metadata
from trainer.data.manifest import Example
from trainer.evaluation.cli import baselines
from trainer.metrics import roc_auc
from worker.media.types import MediaInfo

INFO = MediaInfo("mp4", "h264", 320, 240, 25.0, duration_s=2.0, has_audio=True)


def examples(count: int) -> list[Example]:
    labels = ("fight", "calm")
    return [
        Example(Path(f"/data/{i}.mp4"), labels[i // 2 % 2], str(i // 2), str(i // 2 % 3))
        for i in range(count)
    ]


def scores_of(features: np.ndarray, *, by_nearness: bool = False) -> tuple[np.ndarray, np.ndarray]:
    found = held_out_scores(
        examples(len(features)), Path("/data"), "violence", ["fight"], features, by_nearness=by_nearness
    )
    assert found.paths[3] == "3.mp4"
    return found.targets[:, 0].astype(float), np.array([float(each[0, 0]) for each in found.scores])


def test_what_the_metadata_are() -> None:
    expected = [np.log(320), np.log(240), np.log(4 / 3), np.log(25), np.log(2), np.log(1000), 1.0]
    assert described(INFO, 2000) == pytest.approx(expected)
    assert described(replace(INFO, has_audio=False), 2000)[-1] == 0.0


def test_metadata_of_a_file(tmp_path: Path) -> None:
    path = Video(duration_s=1.0, size=(64, 48), tone_hz=440.0).write(tmp_path / "a.mp4")
    found = metadata(path)
    assert np.exp(found[:2]) == pytest.approx([64, 48])
    assert found[-1] == 1.0


@pytest.mark.parametrize("by_nearness", [False, True])
def test_features_that_tell_are_found_on_folds_that_were_not_seen(by_nearness: bool) -> None:
    truth = np.array([example.label == "fight" for example in examples(48)], float)
    noise = np.random.default_rng(0).normal(size=(48, 3))
    truths, scores = scores_of(noise + 4.0 * truth[:, None], by_nearness=by_nearness)
    assert roc_auc(truths, scores) > 0.95


def test_a_fold_does_not_see_its_own_truth() -> None:
    """Each source has a mark of its own, which tells everything of the sources that were learnt from only."""
    marks = np.repeat(np.eye(24), 2, axis=0)
    truths, scores = scores_of(marks)
    assert roc_auc(truths, scores) == pytest.approx(0.5, abs=0.1)


def test_nearness_bends() -> None:
    """Positives on both sides of the negatives: no straight border parts them."""
    truth = np.array([example.label == "fight" for example in examples(48)], float)
    side = np.where(np.arange(48) // 4 % 2 == 0, 1.0, -1.0)
    features = (side * truth * 2.0)[:, None] + 0.1 * np.random.default_rng(0).normal(size=(48, 1))
    assert roc_auc(*scores_of(features)) < 0.7
    assert roc_auc(*scores_of(features, by_nearness=True)) > 0.95


@pytest.mark.slow
def test_what_stands_still_does_not_differ(tmp_path: Path) -> None:
    still = Video(picture=lambda _index, width, height: moving_square(0, width, height)).write(
        tmp_path / "still.mp4"
    )
    moving = Video(picture=moving_square).write(tmp_path / "moving.mp4")
    with frozen_network() as network:
        calm, lively = differences(network, still), differences(network, moving)
    assert calm.shape == (1280,)
    assert lively.mean() > 2.0 * calm.mean()  # encoding leaves a little


def test_the_label_has_no_default_that_would_fit_one_model_only(tmp_path: Path) -> None:
    given = ["--data", str(tmp_path), "--manifest", "m.csv", "--positives", "gun", "--out", str(tmp_path)]
    result = CliRunner().invoke(baselines, given)
    assert (result.exit_code, "Missing option '--label'" in result.output) == (2, True)
    result = CliRunner().invoke(baselines, [*given, "--label", "gun"])
    assert (result.exit_code, "m.csv" in result.output) == (1, True)
