"""The log that a killed run leaves, and what stands beside it."""

import json
from pathlib import Path

import pytest

from tests.trainer.fit.conftest import MakeSet
from tests.trainer.fit.small import SEED, VIDEOS
from trainer.fit import fit
from trainer.fit.logs import Bar, EpochRecord, JsonLines, StepRecord


def step(number: int, loss: float = 1.0) -> StepRecord:
    return StepRecord(number, 1, loss, 1e-3, 2.0, 10.0)


def written(file: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in map(json.loads, file.read_text().splitlines())]


def test_lines_after_the_checkpoint_are_written_again(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    first = JsonLines(file, 0)
    for number in (1, 2, 3):
        first.write(step(number))
    first.close()
    with file.open("a") as cut_off:
        cut_off.write('{"step": 2, "lo')  # as kill -9 leaves it
    second = JsonLines(file, 2)
    second.write(step(3, 0.5))
    second.close()
    assert written(file) == [(1, 1.0), (2, 1.0), (3, 0.5)]


def test_a_run_logs_steps_and_epochs(make_set: MakeSet, tmp_path: Path) -> None:
    fit(make_set(epochs=2, batch=10), range(VIDEOS), SEED, lambda *_: None, folder=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["epoch"]) for line in lines] == [
        (1, 1),
        (2, 1),
        (2, 1),
        (3, 2),
        (4, 2),
        (4, 2),
    ]
    assert lines[2]["mean_loss"] == pytest.approx((lines[0]["loss"] + lines[1]["loss"]) / 2)
    assert lines[2]["validation_loss"] is None
    assert lines[0]["learning_rate"] > lines[4]["learning_rate"] > 0
    assert all(line["gradient_norm"] > 0 and line["clips_per_s"] > 0 for line in lines if "loss" in line)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in TensorBoard's imports
def test_tensorboard(make_set: MakeSet, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    videos = make_set(epochs=1, batch=10, validation=0.2, tensorboard=True)
    fit(videos, range(VIDEOS), SEED, lambda *_: None, folder=tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"loss", "learning_rate", "mean_loss", "validation_loss"} <= {*events.Tags()["scalars"]}
    assert [event.step for event in events.Scalars("loss")] == [1, 2]


def test_the_bar_takes_every_record() -> None:
    bar = Bar(total=3, done=1)
    bar.write(step(2))
    bar.write(EpochRecord(2, 1, 1.0, None))
    bar.close()
