"""Held-out scores on disk, and two models' beside each other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.evaluation.examples import held_out
from trainer.evaluation.held_out import HeldOutError, matched, read_held_out


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = held_out(1.0)
    file = tmp_path / "held_out.json"
    made.write(file)
    found = read_held_out(file)
    assert (found.labels, found.paths, found.groups, found.folds) == (
        made.labels,
        made.paths,
        made.groups,
        made.folds,
    )
    assert np.array_equal(found.targets, made.targets)
    for a, b in zip(found.scores, made.scores, strict=True):
        assert np.allclose(a, b, atol=5e-5)
    assert len(file.read_text().splitlines()) == len(made.paths) + 2  # a line a video


def test_the_file_does_not_depend_on_the_order(tmp_path: Path) -> None:
    made = held_out(1.0)
    made.write(tmp_path / "a")
    made.only(range(len(made.paths) - 1, -1, -1)).write(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_models_are_matched_by_path() -> None:
    made = held_out(1.0)
    turned = made.only(range(len(made.paths) - 1, -1, -1))
    assert matched(made, turned).paths == made.paths


def test_what_cannot_be_compared_is_refused() -> None:
    made = held_out(1.0)
    with pytest.raises(HeldOutError, match=r"1 videos .* such as 059\.mp4"):
        matched(made, made.only(range(59)))
    with pytest.raises(HeldOutError, match=r"000\.mp4 is in fold '0' of one model and 'x'"):
        matched(made, replace(made, folds=("x", *made.folds[1:])))
    with pytest.raises(HeldOutError, match="different truths"):
        matched(made, replace(made, targets=1 - made.targets))
    with pytest.raises(HeldOutError, match="no scores of 'violence', only of 'gun', 'knife'"):
        matched(made, replace(made, labels=("gun", "knife"), targets=np.hstack([made.targets] * 2)))


def test_a_file_that_is_missing_or_something_else(tmp_path: Path) -> None:
    with pytest.raises(HeldOutError, match=r"there is no .*held_out\.json; .*sluice train"):
        read_held_out(tmp_path / "held_out.json")
    (tmp_path / "other.json").write_text('{"labels": []}')
    with pytest.raises(HeldOutError, match="not held-out scores: KeyError"):
        read_held_out(tmp_path / "other.json")
