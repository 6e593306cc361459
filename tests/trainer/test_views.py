"""What of a video is looked at when it is scored."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.architectures.registry import FAMILIES
from models.spec import VideoInput
from tests.synthesis import Video, corners
from trainer.config import Data, TrainConfig
from trainer.data.dataset import VideoSet
from trainer.data.rolls import ClipCache
from trainer.data.views import crops, scoring_plan, unlike_serving
from worker.media.sampling import Uniform, plan_from_settings
from worker.settings import SamplingSettings


@pytest.mark.parametrize(
    ("clips", "views", "duration_s", "starts_s"),
    [
        (8, {}, 2.0, (0.0, 1.0)),  # what serving takes: as many as cover it
        (2, {}, 5.0, (0.0, 4.0)),
        (8, {"plan": "sliding", "hop_s": 0.5}, 2.0, (0.0, 0.5, 1.0)),
        (8, {"plan": "sliding", "hop_s": 0.4}, 2.0, (0.0, 1 / 3, 2 / 3, 1.0)),
        (3, {"plan": "sliding", "hop_s": 0.1}, 2.0, (0.0, 0.5, 1.0)),
        (3, {"plan": "sliding", "hop_s": 0.1}, 0.7, (0.0,)),
        (None, {}, 2.0, (0.0, 1.0)),
        (None, {}, 9.0, tuple(8 / 7 * i for i in range(8))),
        (None, {}, 31.0, (0.0, 3.75, 7.5, 11.25, 15.0, 18.75, 22.5, 26.25, 30.0)),
        (None, {"plan": "sliding", "hop_s": 0.5}, 101.0, tuple(100 / 31 * i for i in range(32))),
    ],
)
def test_clips(clips: int | None, views: Any, duration_s: float, starts_s: tuple[float, ...]) -> None:
    plan = scoring_plan(Data(manifest=Path(), clips=clips, views=views))
    assert plan.starts_s(duration_s, 1.0) == pytest.approx(starts_s)


def test_the_default_is_servings() -> None:
    assert scoring_plan(Data(manifest=Path())) == plan_from_settings(SamplingSettings(), "00")
    assert scoring_plan(Data(manifest=Path(), clips=5)) == Uniform(5)


@pytest.mark.parametrize(
    ("clips", "lengths_s", "said"),
    [
        (None, (1.0, 20.0, 300.0), ""),
        (8, (1.0, 20.0, 30.0), ""),
        (2, (1.0, 2.0), ""),
        (2, (2.0, 2.5, 20.0), "data.clips is 2: of 2 of 3 videos a worker takes other clips .*, up to 8;"),
        (32, (2.0, 300.0), ""),  # as many as it takes of a long one
        (8, (300.0,), "data.clips is 8: of 1 of 1 videos .*, up to 32; .* Leave data.clips out"),
        (9, (31.0, 40.0), "of 1 of 2 videos"),
    ],
)
def test_scoring_other_clips_than_serving_is_said(
    clips: int | None, lengths_s: tuple[float, ...], said: str
) -> None:
    found = unlike_serving(Data(manifest=Path(), clips=clips), lengths_s, 1.0)
    assert re.search(said, found) if said else not found


@pytest.mark.parametrize(
    ("width", "count", "firsts"), [(10, 1, [0]), (6, 1, [2]), (6, 3, [0, 2, 4]), (7, 3, [0, 1, 3])]
)
def test_crops_reach_from_side_to_side(width: int, count: int, firsts: list[int]) -> None:
    picture = torch.arange(10).reshape(1, 1, 10, 1).expand(2, 4, -1, 3)
    found = crops(picture, width, count)
    assert [int(crop[0, 0, 0, 0]) for crop in found] == firsts
    assert {tuple(crop.shape) for crop in found} == {(2, 4, width, 3)}


def test_three_crops_of_each_clip_are_scored(tmp_path: Path) -> None:
    Video(duration_s=2.0, fps=10, size=(96, 64), picture=corners, tone_hz=300).write(tmp_path / "a.mp4")
    Video(duration_s=1.0, fps=10, size=(96, 64), picture=corners).write(tmp_path / "b.mp4")
    (tmp_path / "m.csv").write_text("path,label,group\na.mp4,x,a\nb.mp4,y,b\n")
    for name in ("two_stream", "frames_resnet_av"):
        config = TrainConfig.model_validate(
            {
                "name": "tiny",
                "version": "0",
                "role": "filter",
                "data": {"root": tmp_path, "manifest": "m.csv", "margin": 0.25, "views": {"crops": 3}},
                "labels": [{"name": "x", "positives": ["x"]}],
                "video": VideoInput(frames=4, frame_rate_hz=4, height=32, width=32),
                "audio": {"frames": 100} if FAMILIES[name].hears else None,
                "architecture": {"name": name},
            }
        )
        batch = VideoSet.read(config, ClipCache(tmp_path / "cache")).video(0)
        assert len(batch) == 6  # two clips
        assert batch.targets.tolist() == [[1.0]] * 6
        assert {len(value) for value in batch.inputs.values()} == {6}
        clips = batch.inputs["clips"]
        assert clips.shape[1:] == (4, 32, 32, 3)
        assert not np.array_equal(clips[0], clips[2])
        assert clips[0][:, :, 8:].equal(clips[2][:, :, : 32 - 8])  # 40 pixels: 0 to 32, 4 to 36, 8 to 40
