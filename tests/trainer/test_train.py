"""One command from a manifest to an artifact, on videos made here; and what it says when it cannot."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from models.spec import read_spec
from tests.synthesis import Pixels, Video, moving_square
from trainer.cli import train
from trainer.config import ConfigError, TrainConfig, read_config
from trainer.evaluation.held_out import read_held_out
from trainer.fit.schedule import learning_rate_factor

CONFIGS = Path(__file__).resolve().parents[2] / "trainer" / "configs"


def standing_square(index: int, width: int, height: int) -> Pixels:
    return moving_square(3, width, height)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve videos of six sources: in half of them a square moves. Four of another set: none does."""
    root = tmp_path_factory.mktemp("data")
    with (root / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for index in range(12):
            moves = index % 2 == 0
            size = (64 + 16 * (index % 3), 64)
            video = Video(duration_s=1.0, size=size, picture=moving_square if moves else standing_square)
            video.write(root / f"{index}.mp4")
            writer.writerow([f"{index}.mp4", "moving" if moves else "standing", f"source{index // 2}"])
    with (root / "further.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for index in range(4):
            Video(duration_s=1.0, size=(48, 64), picture=standing_square).write(root / f"further{index}.mp4")
            writer.writerow([f"further{index}.mp4", "standing", f"elsewhere{index}"])
    return root


def tiny(data: Path, **changes: object) -> dict[str, object]:
    return {
        "name": "tiny-filter",
        "version": "0.0.1",
        "role": "filter",
        "data": {"root": str(data), "manifest": "manifest.csv", "note": "squares", "folds": 2},
        "labels": [{"name": "motion", "positives": ["moving"]}],
        "video": {"frames": 4, "frame_rate_hz": 8, "height": 32, "width": 32},
        "architecture": {"name": "r2plus1d", "arguments": {"depth": 10, "width": 4}},
        "fit": {"epochs": 2, "batch": 4},
        "quantise": {"videos": 4},
        # A network that has hardly learnt says the same to everything, so agreement is no news here.
        "gate": {"int8_probability": 1.0, "int8_agreement": 0.0, "int8_auc": 1.0},
        **changes,
    }


def run(folder: Path, config: dict[str, object], *options: str) -> tuple[int, str]:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    places = ["--cache", str(folder / "cache"), "--artifacts", str(folder / "artifacts")]
    result = CliRunner().invoke(train, ["--config", str(file), "--jobs", "1", *places, *options])
    return result.exit_code, result.output


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_one_command_makes_an_artifact(data: Path, tmp_path: Path) -> None:
    further = {"manifest": "further.csv", "weight": 0.5}
    config = tiny(data)
    code, output = run(tmp_path, {**config, "data": {**config["data"], "also": [further]}})  # type: ignore[dict-item]
    assert code == 0, output
    folder = tmp_path / "artifacts" / "tiny-filter" / "0.0.1"
    assert output.endswith(f"installed {folder}\nwrote {folder / 'report' / 'report.html'}\n")
    spec = read_spec(folder)
    assert spec.label_names == ("motion",)
    assert spec.labels[0].training_prevalence == 0.5
    assert {variant.name for variant in spec.variants} >= {"fp32", "fp16", "int8-symmetric"}
    assert {p for variant in spec.variants for p in variant.providers} >= {"cpu", "cuda", "tensorrt"}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["labels"][0]["figures"]["videos"] == 12
    (elsewhere,) = metrics["elsewhere"]
    assert (elsewhere["set"], elsewhere["negatives"], elsewhere["positives"]) == ("further.csv", 4, 0)
    assert TrainConfig.model_validate(metrics["config"]).name == "tiny-filter"
    card = (folder / "README.md").read_text()
    assert "are not scored on them" in card
    assert "| chance | 50.0% |" in card
    assert sorted(file.name for file in folder.parent.iterdir()) == ["0.0.1"]
    assert set(read_held_out(folder / "elsewhere.json").sets) == {"further.csv"}
    assert "further.csv (weight 0.5)" in spec.trained_on


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_configuration_for_a_folder_of_ones_own_trains_on_one(data: Path, tmp_path: Path) -> None:
    own = tmp_path / "videos"
    own.mkdir()
    for video in data.glob("[0-9]*.mp4"):
        (own / video.name).symlink_to(video)
    rows = (data / "manifest.csv").read_text()
    (own / "manifest.csv").write_text(rows.replace("moving", "unwanted").replace("standing", "fine"))
    config = yaml.safe_load((CONFIGS / "own.yaml").read_text())
    few = {"data": {**config["data"], "folds": 2, "clips": 2}, "quantise": {"videos": 2}}
    code, output = run(tmp_path, {**config, **few, "gate": tiny(data)["gate"]}, "--data", str(own))
    assert code == 0, output
    spec = read_spec(tmp_path / "artifacts" / "own-filter" / "0.1.0")
    assert (spec.label_names, spec.trained_on.split(";")[0]) == (("unwanted",), "our own videos")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_closed_gate_writes_nothing(data: Path, tmp_path: Path) -> None:
    code, output = run(tmp_path, tiny(data, gate={"parity": 1e-12}))
    assert code == 1
    assert "logits differ from torch by" in output
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_run_that_was_cut_off_does_not_train_its_finished_folds_again(data: Path, tmp_path: Path) -> None:
    closed = tiny(data, gate={"parity": 1e-12})  # ends the run after the first fold
    run(tmp_path, closed, "--run-dir", str(tmp_path / "run"))
    fold = tmp_path / "run" / "1" / "trained"
    assert sorted(file.name for file in fold.iterdir()) == ["log.jsonl", "network.safetensors"]
    (fold / "log.jsonl").unlink()
    code, output = run(tmp_path, closed, "--run-dir", str(tmp_path / "run"))
    assert (code, "logits differ from torch by" in output) == (1, True)
    assert not (fold / "log.jsonl").exists()
    code, output = run(tmp_path, {**closed, "augment": {"flip": 0.1}}, "--run-dir", str(tmp_path / "run"))
    assert (code, "of another configuration or other data" in output) == (1, True)


def test_an_embedding_of_a_network_that_cannot_have_one_is_refused_at_once(
    data: Path, tmp_path: Path
) -> None:
    code, output = run(tmp_path, tiny(data, embedding=True))
    assert code == 1
    assert "R2Plus1D has no embedding" in output
    assert not (tmp_path / "cache").exists()


def test_a_version_that_is_installed_is_refused_at_once(data: Path, tmp_path: Path) -> None:
    place = tmp_path / "artifacts" / "tiny-filter" / "0.0.1"
    place.mkdir(parents=True)
    code, output = run(tmp_path, tiny(data))
    assert code == 1
    assert f"tiny-filter 0.0.1 is installed already, in {place}: raise `version` in the" in output
    assert not (tmp_path / "cache").exists()
    code, output = run(tmp_path, tiny(tmp_path / "nowhere"), "--force")
    assert (code, "nowhere/manifest.csv" in output) == (1, True)  # it goes on to the data


def test_training_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, output = run(tmp_path, tiny(tmp_path / "nowhere"))
    assert code == 1
    assert "nowhere/manifest.csv" in output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"role": "judge"}, "role: Input should be 'filter' or 'escalation'"),
        ({"fit": {"batch": 1}}, "fit.batch: Input should be greater than or equal to 2"),
        ({"fit": {"epochs": 0}}, "fit: Value error, epochs and probe_views are both 0: nothing would learn"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"audio": {"frames": 10}}, "audio lasts 0.1 s but a clip 0.5 s"),
    ],
)
def test_configuration_errors_name_the_field(tmp_path: Path, change: dict[str, object], message: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(tiny(tmp_path, **change)))
    with pytest.raises(ConfigError) as caught:
        read_config(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(("name", "role"), [("filter",) * 2, ("escalation",) * 2, ("own", "filter")])
def test_shipped_configurations_are_valid(name: str, role: str) -> None:
    assert read_config(CONFIGS / f"{name}.yaml").role == role


def test_filter_and_escalation_look_at_the_same_stretch_of_time() -> None:
    lengths = {read_config(CONFIGS / f"{name}.yaml").video.clip_s for name in ("filter", "escalation")}
    assert len(lengths) == 1


@pytest.mark.parametrize(
    ("share", "factor"), [(0.0, 0.01), (0.05, 0.5), (0.1, 1.0), (0.55, 0.5), (1.0, 0.0), (1.5, 0.0)]
)
def test_learning_rate(share: float, factor: float) -> None:
    assert learning_rate_factor(share, warmup=0.1) == pytest.approx(factor)


def test_learning_rate_without_warm_up() -> None:
    assert np.isclose(learning_rate_factor(0.0, warmup=0.0), 1.0)
