"""A student learns from teachers that saw what it sees, and nothing else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from models.architectures.motion import LinearHead
from tests.trainer.small import VIDEO
from trainer.config import ConfigError, Distil, Fit, TrainConfig
from trainer.data.dataset import Batch, VideoSet
from trainer.data.manifest import Example
from trainer.data.rolls import ClipCache
from trainer.distill import Distilled, Lessons, lessons, soft_targets, taught_by_others, teachers_of

COUNT = 8


class Brightness(nn.Module):
    """One linear head on the mean colour; answers differ by video."""

    def __init__(self) -> None:
        super().__init__()
        self.head = LinearHead(3, 1, 0.0)

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.head(clips.float().mean((1, 2, 3)) / 255)
        return logits


class Synthetic(VideoSet):
    """Videos of one grey each, two clips long, without files."""

    def video(self, index: int) -> Batch:
        clips = torch.full((2, *VIDEO.clip_shape), 20 * index, dtype=torch.uint8)
        return Batch({"clips": clips}, torch.zeros(2, 1), np.full(2, index))


def config(**distil: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "name": "tiny",
            "version": "1",
            "role": "filter",
            "data": {"manifest": "m.csv"},
            "labels": [{"name": "motion", "positives": ["moving"]}],
            "video": VIDEO,
            "architecture": {"name": "r2plus1d"},
            "distil": distil,
        }
    )


def videos(tmp_path: Path, **distil: object) -> Synthetic:
    examples = tuple(Example(Path(f"{i}.mp4"), "moving", f"source{i // 2}", str(i % 4)) for i in range(COUNT))
    targets = np.arange(COUNT, dtype=np.float32)[:, None] % 2
    weights, sets = np.ones(COUNT), np.zeros(COUNT, np.int64)
    return Synthetic(config(**distil), ClipCache(tmp_path), examples, targets, weights, sets)


@pytest.fixture
def taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Synthetic:
    """A set with two teachers that take the same input."""
    given = videos(tmp_path, teachers=["a", "b"], features=1.0)
    monkeypatch.setattr("trainer.distill.teachers_of", lambda of: [given, given])
    return given


def test_teachers_learn_from_the_chosen_alone_and_speak_of_them_alone(taught: Synthetic) -> None:
    seen: list[list[int]] = []

    def train(of: VideoSet, chosen: Sequence[int], name: str) -> nn.Module:
        seen.append(list(chosen))
        torch.manual_seed(len(seen))
        return Brightness().eval()

    fold, chosen = [0, 1], [2, 3, 4, 5, 6, 7]
    said = lessons(taught, chosen, train)
    assert seen == [chosen, chosen]
    assert np.isnan(said.logits[fold]).all()
    assert np.isnan(said.features[fold]).all()
    assert said.features.shape == (COUNT, 2 * 3)
    np.testing.assert_allclose(said.features[chosen].mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(said.features[chosen].std(0), 1.0, atol=1e-4)


def test_inner_folds_keep_a_source_from_its_own_teacher(tmp_path: Path) -> None:
    given = videos(tmp_path)
    parts = list(taught_by_others(given, [2, 3, 4, 5, 6, 7], 3))
    assert sorted(index for _, taught in parts for index in taught) == [2, 3, 4, 5, 6, 7]
    for learnt, taught in parts:
        groups = [{given.examples[index].group for index in side} for side in (learnt, taught)]
        assert not groups[0] & groups[1]
        assert not {0, 1} & {*learnt, *taught}


def distilled(soft: float, features: float = 0.0, temperature: float = 2.0) -> Distilled:
    said = Lessons(np.full((COUNT, 1), 1.5, np.float32), np.ones((COUNT, 2), np.float32))
    distil = Distil(soft=soft, features=features, temperature=temperature)
    return Distilled(Fit(smoothing=0.0), distil, said, 3)


def batch() -> Batch:
    clips = torch.randint(0, 256, (4, *VIDEO.clip_shape), dtype=torch.uint8)
    return Batch({"clips": clips}, torch.ones(4, 1), np.arange(4))


def test_a_student_that_says_what_its_teacher_says_has_nothing_to_learn() -> None:
    class Says(Brightness):
        def forward(self, clips: Tensor) -> Tensor:
            return self.head.fc.bias.expand(len(clips), 1)

    student = Says()
    for value, sign in ((1.5, 0.0), (0.5, -1.0), (2.5, 1.0)):
        student.head.fc.bias.data[:] = value
        student.zero_grad()
        distilled(soft=1.0)(student, batch()).backward()
        assert student.head.fc.bias.grad is not None
        assert np.sign(round(student.head.fc.bias.grad.item(), 6)) == sign


def test_without_weight_the_teacher_is_not_heard() -> None:
    student, given = Brightness().eval(), batch()
    expected = nn.functional.binary_cross_entropy_with_logits(student(*given.inputs.values()), given.targets)
    torch.testing.assert_close(distilled(soft=0.0)(student, given), expected)


def test_features_bring_a_layer_of_their_own_that_learns_with_the_student() -> None:
    objective = distilled(soft=0.5, features=1.0)
    assert objective.guess is not None
    objective(Brightness().train(), batch()).backward()
    assert objective.guess.weight.grad is not None
    assert list(objective.state_dict()) == ["guess.weight", "guess.bias"]


def test_targets_between_label_and_teacher(tmp_path: Path) -> None:
    said = Lessons(np.zeros((COUNT, 1), np.float32), np.zeros((COUNT, 0), np.float32))
    given = videos(tmp_path, soft=0.5)
    given.targets[2] = np.nan  # not known
    assert soft_targets(given, said).targets[:3, 0].tolist() == [0.25, 0.75, 0.5]


def test_a_teacher_of_something_else_is_named(tmp_path: Path) -> None:
    other = config().model_dump(mode="json", exclude_defaults=True)
    other["labels"] = [{"name": "other", "positives": ["moving"]}]
    file = tmp_path / "teacher.yaml"
    file.write_text(yaml.safe_dump(other))
    with pytest.raises(ValueError, match=r"teacher\.yaml has other labels or another manifest than tiny"):
        teachers_of(videos(tmp_path, teachers=[str(file)]))
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        teachers_of(videos(tmp_path, teachers=[str(tmp_path / "nowhere.yaml")]))


def test_features_of_different_networks_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="set inner_folds or features to 0"):
        Distil(features=0.1, inner_folds=3)
