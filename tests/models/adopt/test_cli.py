"""`sluice models add`: options, questions, and what it says."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from onnx import ModelProto

from models.adopt import cli as adopt_cli
from models.adopt.cli import add
from models.adopt.description import Refused
from models.adopt.questions import answered, described, guesses
from models.spec import read_spec
from tests.models.adopt.networks import network, saved
from worker import cli
from worker.inference.registry import list_artifacts

ANSWERS = {
    "name": "mine",
    "labels": "bright=0 dull=1+2",
    "layout": "NCHW",
    "size": "16x16",
    "scores": "softmax",
    "source": "here",
    "licence": "none",
}


def run(*arguments: str | Path, keys: str | None = None) -> Result:
    return CliRunner().invoke(add, [str(argument) for argument in arguments], input=keys)


def as_options(answers: dict[str, str]) -> list[str]:
    return [part for name, value in answers.items() for part in (f"--{name}", value)]


def test_options_say_it_all(tmp_path: Path) -> None:
    file = saved(network(scores="softmax", frames=4), tmp_path)
    done = run(file, "--into", tmp_path / "models", "--threshold", "0.6", *as_options(ANSWERS))
    assert done.exit_code == 0, done.output
    assert "installed mine@1" in done.output
    assert "serve it with SLUICE_INFERENCE__ADDITIONAL=mine" in done.output
    assert f"and SLUICE_INFERENCE__MODELS_DIR={tmp_path / 'models'}" in done.output
    spec = read_spec(tmp_path / "models/mine/1")
    assert [(label.name, label.threshold, label.band) for label in spec.labels] == [
        ("bright", 0.6, (0.3, 0.7)),
        ("dull", 0.6, (0.3, 0.7)),
    ]
    assert (spec.video.frames, spec.video.frame_rate_hz) == (4, 2)


@pytest.mark.parametrize("missing", sorted(ANSWERS.keys() - {"size"}))
def test_without_a_terminal_what_is_missing_is_named(missing: str, tmp_path: Path) -> None:
    given = {name: value for name, value in ANSWERS.items() if name != missing}
    done = run(saved(network(scores="softmax"), tmp_path), "--into", tmp_path / "models", *as_options(given))
    assert done.exit_code == 1
    assert f"--{missing} is missing" in done.output
    assert not (tmp_path / "models").exists()


def test_on_a_terminal_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopt_cli, "_is_terminal", lambda: True)
    file = saved(network("NTHWC", "sigmoid"), tmp_path)
    given = {"name": "mine", "labels": "red=0", "frame-rate": "2", "source": "here", "licence": "none"}
    # version, role, threshold, band, prevalence, layout, size, crop, fit, frames, channels, scale, mean, std
    # (NTHWC 16x16, 2 frames and sigmoid are read from the graph), scores, pool
    done = run(file, "--into", tmp_path / "models", *as_options(given), keys="\n" * 16)
    assert done.exit_code == 0, done.output
    spec = read_spec(tmp_path / "models/mine/1")
    assert spec.architecture == "foreign(nthwc, sigmoid)"
    assert (spec.video.frames, spec.video.height, spec.video.width) == (2, 16, 16)


@pytest.mark.parametrize(
    ("model", "layout", "size", "frames", "scores"),
    [
        (network("NCHW"), "NCHW", "16x16", None, "softmax_logits"),
        (network("NHWC", "softmax"), "NHWC", "16x16", None, "softmax"),
        (network("NTCHW", "sigmoid"), "NTCHW", "16x16", "2", "sigmoid"),
        (network("NCTHW", frames=3), "NCTHW", "16x16", "3", "softmax_logits"),
        (network("NHWC", size="any"), "NHWC", None, None, "softmax_logits"),
    ],
)
def test_what_a_graph_suggests(
    model: ModelProto, layout: str, size: str | None, frames: str | None, scores: str
) -> None:
    found = {"layout": layout, "size": size, "frames": frames, "scores": scores}
    assert guesses(model) == {name: value for name, value in found.items() if value}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": "bright"}, "--labels 'bright': expected NAME=OUTPUT"),
        ({"labels": "bright=a"}, "expected NAME=OUTPUT"),
        ({"size": "224"}, "--size '224': expected HEIGHTxWIDTH"),
        ({"scale": "1/0"}, "--scale '1/0': expected a number or a fraction"),
        ({"mean": "1,2"}, "--mean '1,2': expected 1 or 3 numbers"),
        ({"band": "0.5"}, "--band '0.5': expected 2 numbers"),
        ({"band": "0.7:0.3"}, "low must not be above high"),
        ({"labels": "Bright=0"}, "labels.0.name: String should match"),
        ({"frames": "many"}, "video.frames: Input should be a valid integer"),
    ],
)
def test_answers_that_cannot_be_understood(change: dict[str, str], message: str) -> None:
    with pytest.raises(Refused, match=message):
        described(answered({**ANSWERS, **change}, network(), ask=False))


def test_numbers_may_be_fractions_and_stand_for_three() -> None:
    said = described(answered({**ANSWERS, "mean": "1/2", "std": "0.1,0.2,0.3"}, network(), ask=False))
    assert said.input.scale == pytest.approx(1 / 255)
    assert (said.input.mean, said.input.std) == ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))


def test_a_spec_stands_alone(tmp_path: Path) -> None:
    done = run(saved(network(), tmp_path), "--spec", "open-nsfw", "--name", "other")
    assert done.exit_code == 2
    assert "--spec says it all; leave out --name" in done.output


def test_a_refusal_is_one_line(tmp_path: Path) -> None:
    done = run(saved(network(), tmp_path), "--spec", "open-nsfw", "--into", tmp_path / "models")
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert done.output.startswith("Error: ")


# The group that it is part of.


def test_models_lists_with_and_without_saying_so() -> None:
    plain, said = (CliRunner().invoke(cli.cli, arguments) for arguments in (["models"], ["models", "list"]))
    assert plain.exit_code == said.exit_code == 0
    assert plain.output == said.output
    assert all(artifact.reference in plain.output for artifact in list_artifacts())


def test_the_project_brings_the_command() -> None:
    project = tomllib.loads((Path(cli.__file__).parents[1] / "pyproject.toml").read_text())
    groups = project["project"]["entry-points"]
    brought = EntryPoint("add", groups["sluice.models.commands"]["add"], "sluice.models.commands")
    assert brought.load() is add


def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = EntryPoint("add", "a_package_that_is_not_installed:add", "sluice.models.commands")
    monkeypatch.setattr(cli, "entry_points", lambda group: [gone] if group == gone.group else [])
    done = CliRunner().invoke(cli.cli, ["models", "add", "network.onnx", "--spec", "open-nsfw"])
    assert done.exit_code == 1
    assert "`add` needs a_package_that_is_not_installed: pip install 'sluice[models]'" in done.output
