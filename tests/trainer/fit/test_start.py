"""No fold starts from weights that were learnt from what it holds out."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.fit.conftest import MakeSet
from tests.trainer.fit.small import SEED
from trainer.config.pretrain import Pretrain
from trainer.data.dataset import VideoSet
from trainer.data.split import Split
from trainer.fit import fit, of_fold, start_of
from trainer.learn import Learner
from trainer.pretrain import pretrain
from trainer.weights import sources_of

WHOLE = "everything"


def train(videos: VideoSet, chosen: tuple[int, ...], folder: Path) -> Path:
    fit(videos, chosen, SEED, lambda *_: None, folder=folder)
    return folder / "network.safetensors"


def groups(videos: VideoSet, chosen: tuple[int, ...]) -> set[str]:
    return {videos.examples[index].group for index in chosen}


def starting_from(videos: VideoSet, init: object) -> VideoSet:
    return replace(videos, config=videos.config.model_copy(update={"init": str(init)}))


def test_each_fold_starts_from_its_own_file(make_set: MakeSet, tmp_path: Path) -> None:
    videos = make_set(epochs=1)
    splits = (*videos.splits(), Split(WHOLE, tuple(range(len(videos.examples))), ()))
    for split in splits:
        train(videos, split.train, tmp_path / split.name)
    given = starting_from(videos, tmp_path / "{fold}" / "network.safetensors")
    for split in splits:
        start = start_of(of_fold(given, split).config)
        learnt = load_file(tmp_path / split.name / "network.safetensors")
        assert all(torch.equal(value, start.network.state_dict()[name]) for name, value in learnt.items())


@pytest.mark.parametrize("wrong", ["2", WHOLE])
def test_a_file_that_was_learnt_from_the_fold_is_refused(
    make_set: MakeSet, tmp_path: Path, wrong: str
) -> None:
    videos = make_set(epochs=1)
    first, second = videos.splits()
    chosen = {"2": second.train, WHOLE: (*first.train, *first.test)}[wrong]
    file = train(videos, chosen, tmp_path / wrong)
    given = starting_from(videos, file)
    told = r"learnt from 5 source\(s\) that fold 1 holds out, such as source\d; .*\{fold\} in init"
    with pytest.raises(ValueError, match=told):
        of_fold(given, first)
    with pytest.raises(ValueError, match="that fold 1 holds out"):
        Learner(given, first, SEED, lambda *_: None).network()
    assert of_fold(given, Split(WHOLE, chosen, ())).config.init == str(file)
    if wrong == "2":
        assert of_fold(given, second).config.init == str(file)


def test_what_is_put_aside_is_held_out_too(make_set: MakeSet, tmp_path: Path) -> None:
    videos = make_set(epochs=1)
    file = train(videos, (0, 1, 2, 3), tmp_path)
    with pytest.raises(ValueError, match=r"learnt from 1 source\(s\) .* such as source1"):
        of_fold(starting_from(videos, file), Split("1", (0, 1, 4, 5), (6, 7), (2, 3)))


def test_a_file_says_what_it_and_its_start_were_learnt_from(make_set: MakeSet, tmp_path: Path) -> None:
    videos = make_set(epochs=1)
    first = train(videos, (0, 1, 2, 3), tmp_path / "first")
    second = train(starting_from(videos, first), (2, 3, 4, 5), tmp_path / "second")
    assert sources_of(str(first)) == {"source0", "source1"}
    assert sources_of(str(second)) == {"source0", "source1", "source2"}


def test_weights_from_elsewhere_may_start_every_fold(make_set: MakeSet, tmp_path: Path) -> None:
    videos = make_set()
    public = tmp_path / "public.safetensors"
    save_file({"a": torch.zeros(1)}, public, {"format": "pt"})
    for init in ("", "efficientnet-lite0", "kinetics.pth", str(public)):
        for split in videos.splits():
            assert of_fold(starting_from(videos, init), split).config.init == init


def test_a_fold_without_a_file_is_told(make_set: MakeSet, tmp_path: Path) -> None:
    videos = starting_from(make_set(), tmp_path / "{fold}.pth")
    with pytest.raises(ValueError, match=r"there is no file .*/1\.pth; every fold needs its own"):
        of_fold(videos, videos.splits()[0])


def test_pretrained_weights_say_what_they_saw(make_set: MakeSet, tmp_path: Path) -> None:
    videos = make_set()
    brief = {
        "root": videos.config.data.root,
        "manifests": ["manifest.csv"],
        "reported": "manifest.csv",
        "folds": 2,
        "video": videos.config.video,
        "arguments": {"patch": 8, "dimension": 16, "depth": 1, "heads": 2},
        "decoder": {"dimension": 16, "depth": 1, "heads": 2},
        "fit": {"epochs": 1, "batch": 10},
    }
    pretrain(Pretrain.model_validate(brief), videos.cache, tmp_path, lambda line: None)
    every = starting_from(videos, tmp_path / "{fold}.safetensors")
    one = starting_from(videos, tmp_path / f"{WHOLE}.safetensors")
    for split in videos.splits():
        init = of_fold(every, split).config.init
        assert sources_of(init) == groups(videos, split.train)
        with pytest.raises(ValueError, match=f"that fold {split.name} holds out"):
            of_fold(one, split)
