from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx.external_data_helper import set_external_data

from models.spec import SPEC_FILE, file_sha256
from tests.inference.tiny import write
from worker.errors import ArtifactInvalid
from worker.inference.registry import find_artifact, list_artifacts, verify, version_order
from worker.inference.session import open_session


@pytest.mark.parametrize(
    "oldest_first",
    [
        ["1.2", "1.9", "1.10"],
        ["0.9.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0"],
        ["1.0.0-rc2", "1.0.0-rc10", "1.0.0", "1.0.1-rc1", "1.0.1"],
        ["2026-09-30", "2026-11-02", "2026-11-24"],
        ["v1", "v2-rc1", "v2", "v10"],
    ],
)
def test_versions_by_age(oldest_first: list[str]) -> None:
    assert sorted(oldest_first, key=version_order, reverse=True) == oldest_first[::-1]


def test_a_release_is_newer_than_its_candidates(tmp_path: Path) -> None:
    for version in ("1.0.0", "1.0.0-rc1"):
        write(tmp_path, version=version)
    assert find_artifact("tiny-filter", tmp_path).reference == "tiny-filter@1.0.0"


def test_a_hidden_folder_is_no_version(tmp_path: Path) -> None:
    write(tmp_path, version="1")
    (tmp_path / "tiny-filter" / ".2").mkdir()
    (tmp_path / "tiny-filter" / ".2" / SPEC_FILE).write_text("half")
    assert [a.spec.version for a in list_artifacts(tmp_path)[:1]] == ["1"]


def test_the_newest_version_by_number(tmp_path: Path) -> None:
    for version in ("1.9", "1.10", "1.2"):
        write(tmp_path, version=version)
    assert find_artifact("tiny-filter", tmp_path).reference == "tiny-filter@1.10"
    assert find_artifact("tiny-filter@1.2", tmp_path).reference == "tiny-filter@1.2"
    assert [a.spec.version for a in list_artifacts(tmp_path)[:3]] == ["1.2", "1.9", "1.10"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nope", r"no model 'nope' in .* or .*found: tiny-filter, .*\. Set `inference.models_dir`"),
        ("tiny-filter@9", r"no version '9' of 'tiny-filter' in .*found: 1$"),
        ("../tiny-filter", r"no model '\.\./tiny-filter'"),
        ("", r"no model ''"),
    ],
)
def test_what_does_not_exist(tmp_path: Path, reference: str, message: str) -> None:
    write(tmp_path)
    with pytest.raises(ArtifactInvalid, match=message):
        find_artifact(reference, tmp_path)


def test_models_that_ship_are_found_beside_ones_own(tmp_path: Path) -> None:
    shipped = [artifact.reference for artifact in list_artifacts()]
    write(tmp_path)
    assert [artifact.reference for artifact in list_artifacts(tmp_path)] == ["tiny-filter@1", *shipped]
    assert find_artifact("violence-filter", tmp_path) == find_artifact("violence-filter")


def test_a_name_of_ones_own_hides_the_one_that_ships(tmp_path: Path) -> None:
    write(tmp_path, name="violence-filter", version="0.0.1")
    assert find_artifact("violence-filter", tmp_path).reference == "violence-filter@0.0.1"
    assert [a.reference for a in list_artifacts(tmp_path) if a.spec.name == "violence-filter"] == [
        "violence-filter@0.0.1"
    ]


def test_a_folder_without_models(tmp_path: Path) -> None:
    assert list_artifacts(tmp_path / "none") == list_artifacts()
    with pytest.raises(ArtifactInvalid, match=r"no model 'tiny-filter' in .*/none or "):
        find_artifact("tiny-filter", tmp_path / "none")


def test_a_spec_that_is_wrong_names_the_field(tmp_path: Path) -> None:
    path = write(tmp_path) / SPEC_FILE
    data = json.loads(path.read_text())
    data["video"]["frames"] = 0
    path.write_text(json.dumps(data))
    with pytest.raises(ArtifactInvalid, match=r"spec.json: video.frames: .*greater than.*found 0"):
        find_artifact("tiny-filter", tmp_path)


def test_a_spec_in_the_wrong_folder(tmp_path: Path) -> None:
    write(tmp_path).rename(tmp_path / "tiny-filter" / "2")
    with pytest.raises(ArtifactInvalid, match="expected in a folder tiny-filter/1, found tiny-filter/2"):
        find_artifact("tiny-filter", tmp_path)


def test_weights_are_what_the_spec_says(tmp_path: Path) -> None:
    folder = write(tmp_path)
    artifact = find_artifact("tiny-filter", tmp_path)
    variant = artifact.variant("", "cpu")
    verify(artifact, variant)
    weights = folder / variant.file
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ArtifactInvalid, match=rf"m.onnx: expected sha256 {variant.sha256}, found [0-9a-f]+"):
        verify(artifact, variant)
    weights.write_bytes(good[:-1])
    with pytest.raises(ArtifactInvalid, match=rf"expected {len(good)} bytes, found {len(good) - 1}"):
        verify(artifact, variant)
    weights.unlink()
    with pytest.raises(ArtifactInvalid, match=r"m.onnx: cannot be read: No such file"):
        verify(artifact, variant)


@pytest.mark.parametrize("place", ["weights.bin", "../weights.bin", "/etc/passwd"])
def test_weights_in_a_second_file_are_refused(place: str, tmp_path: Path) -> None:
    """Inside the folder and outside: no digest covers it."""
    folder = write(tmp_path)
    path = folder / SPEC_FILE
    data = json.loads(path.read_text())
    weights = folder / data["variants"][0]["file"]
    model = onnx.load(str(weights))
    (folder / "weights.bin").write_bytes(model.graph.initializer[0].raw_data)
    set_external_data(model.graph.initializer[0], place)
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    weights.write_bytes(model.SerializeToString())
    changed = {"sha256": file_sha256(weights), "size_bytes": weights.stat().st_size}
    path.write_text(json.dumps(data | {"variants": [data["variants"][0] | changed]}))
    with pytest.raises(ArtifactInvalid, match="some weights are in another file"):
        open_session(find_artifact("tiny-filter", tmp_path), provider="cpu")


def test_a_provider_that_nobody_thought_of_gets_the_reference(tmp_path: Path) -> None:
    path = write(tmp_path) / SPEC_FILE
    data = json.loads(path.read_text())
    (reference,) = data["variants"]
    fast = [
        {**reference, "name": name, "precision": precision, "providers": providers}
        for name, precision, providers in (
            ("int8", "int8", ["cpu", "openvino"]),
            ("int8-symmetric", "int8", ["tensorrt"]),
            ("fp16", "fp16", ["cuda"]),
        )
    ]
    data["variants"] = [*fast, reference]
    path.write_text(json.dumps(data))
    artifact = find_artifact("tiny-filter", tmp_path)
    providers = ("openvino", "cpu", "cuda", "tensorrt", "rocm")
    chosen = [artifact.variant("", provider).name for provider in providers]
    assert chosen == ["int8", "int8", "fp16", "int8-symmetric", "fp32"]


def test_an_unknown_variant_names_those_that_exist(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ArtifactInvalid, match="no variant 'int4'; accepted: fp32, or empty"):
        find_artifact("tiny-filter", tmp_path).variant("int4", "cpu")
