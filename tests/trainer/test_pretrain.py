"""Pre-training without labels, and fine-tuning that starts from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.architectures import registry
from tests.trainer.fit.small import config_of, write_set
from trainer.config import ConfigError
from trainer.config.pretrain import Pretrain, read_pretrain
from trainer.data.rolls import ClipCache
from trainer.fit import start_of
from trainer.pretrain import pretrain
from trainer.weights import adopt

SIZE = {"patch": 8, "dimension": 16, "depth": 1, "heads": 2}

STILL = {"speed": [1, 1], "area": [1, 1], "stretch": 1, "flip": 0, "light": 0, "grey": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unlabelled")
    write_set(folder)
    return folder


def config(root: Path, **changes: object) -> Pretrain:
    return Pretrain.model_validate(
        {
            "root": root,
            "manifests": ["manifest.csv"],
            "folds": 2,
            "video": {"frames": 4, "frame_rate_hz": 8, "height": 32, "width": 32},
            "arguments": SIZE,
            "decoder": {"dimension": 16, "depth": 1, "heads": 2},
            "fit": {"epochs": 40, "batch": 10, "learning_rate": 5e-3, "warmup": 0.0},
            **changes,
        }
    )


def test_the_loss_falls_and_a_classifier_starts_from_the_encoder(root: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    (path,) = pretrain(config(root, augment=STILL), ClipCache(root / "cache"), tmp_path, lines.append)
    losses = [float(found[1]) for line in lines if (found := re.search(r"loss (\S+)", line))]
    assert path == tmp_path / "everything.safetensors"
    assert len(losses) == 40
    assert losses[-1] < 0.85 * losses[0], losses

    made = config_of(root, {}, architecture={"name": "videomae", "arguments": SIZE}, init=str(path))
    start = start_of(made)
    weights = load_file(path)
    assert start.pretrained == weights.keys()
    assert {name for name, _ in start.network.named_parameters()} - start.pretrained == {
        "head.weight",
        "head.bias",
    }
    assert all(torch.equal(start.network.state_dict()[name], value) for name, value in weights.items())


def test_each_fold_of_the_reported_set_has_weights_that_never_saw_it(root: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    brief = config(root, reported="manifest.csv", fit={"epochs": 1, "batch": 10})
    paths = pretrain(brief, ClipCache(root / "cache"), tmp_path, lines.append)
    assert [path.name for path in paths] == ["1.safetensors", "2.safetensors", "everything.safetensors"]
    assert [line for line in lines if "videos" in line] == [
        "fold 1: 10 of 20 videos",
        "fold 2: 10 of 20 videos",
        "fold everything: 20 of 20 videos",
    ]
    with pytest.raises(ValueError, match="no fold '7', there are: 1, 2, everything"):
        pretrain(brief, ClipCache(root / "cache"), tmp_path, lines.append, fold="7")


def test_a_picture_too_small_for_the_mask_is_told_before_anything_runs(root: Path, tmp_path: Path) -> None:
    coarse = config(root, arguments={**SIZE, "patch": 16})
    with pytest.raises(ValueError, match="hides 4 of 4 positions: take smaller patches or larger pictures"):
        pretrain(coarse, ClipCache(root / "cache"), tmp_path, lambda line: None)


def test_weights_that_do_not_fit_are_named(root: Path, tmp_path: Path) -> None:
    video = config(root).video
    network = registry.build("videomae", SIZE, video, 1)
    wrong = tmp_path / "wrong.safetensors"
    save_file({"elsewhere": torch.zeros(1)}, wrong)
    with pytest.raises(ValueError, match="fits no part of this network: it has elsewhere"):
        adopt(network, str(wrong))
    with pytest.raises(ValueError, match=r"none\.safetensors cannot be read"):
        adopt(network, str(tmp_path / "none.safetensors"))


def test_the_shipped_configuration_is_read() -> None:
    path = Path(__file__).resolve().parents[2] / "trainer" / "configs" / "pretrain.yaml"
    assert read_pretrain(path).reported == Path("scfd/manifest.csv")


def test_a_wrong_field_is_named(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("manifests: []\n")
    with pytest.raises(ConfigError, match="manifests: "):
        read_pretrain(file)
