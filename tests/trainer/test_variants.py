"""Which files an artifact carries, and which of them each provider takes."""

from pathlib import Path

import onnxruntime
import pytest

from tests.inference.tiny import spec
from tests.trainer.small import batch, network
from trainer.config import Quantise
from trainer.evaluation.speeds import Speed
from trainer.export import export_onnx, feed
from trainer.speed import measure, measure_on, one_clip
from trainer.variants import Files, described, export_variants, with_providers


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("variants")
    export_onnx(network(0), batch(0), folder / "net.onnx")
    return export_variants(folder / "net.onnx", folder, [feed(batch(0))], Quantise())


def speed(variant: str, provider: str, ms: float) -> Speed:
    return Speed(variant, provider, 2, ms, ms)


def test_every_form_of_a_3d_network(files: Files) -> None:
    assert set(files) == {"fp32", "int8", "int8-lowered", "int8-symmetric", "fp16"}
    assert all(file.is_file() for file in files.values())


def test_a_network_without_3d_convolutions_is_not_lowered_again(files: Files, tmp_path: Path) -> None:
    lowered = files["fp32"].with_name("net-lowered.onnx")
    again = export_variants(lowered, tmp_path, [feed(batch(0))], Quantise())
    assert set(again) == {"fp32", "int8", "int8-symmetric", "fp16"}


def test_each_provider_gets_its_variant_and_what_none_wants_does_not_ship(files: Files) -> None:
    speeds = [
        speed("fp32", "openvino", 9.0),
        speed("int8", "openvino", 5.0),
        speed("int8-lowered", "openvino", 7.0),
        speed("fp32", "cpu", 10.0),
        speed("int8", "cpu", 8.0),
        speed("int8-lowered", "cpu", 8.5),
    ]
    made = with_providers(spec().model_copy(update={"variants": described(files)}), speeds)
    assert {variant.name: variant.providers for variant in made.variants} == {
        "fp32": (),
        "int8": ("cpu", "openvino"),
        "int8-symmetric": ("tensorrt",),
        "fp16": ("cuda",),
    }
    chosen = {name: made.variant_for(name).name for name in ("openvino", "cuda", "tensorrt", "rocm")}
    assert chosen == {"openvino": "int8", "cuda": "fp16", "tensorrt": "int8-symmetric", "rocm": "fp32"}


def test_where_a_variant_was_left_out_the_reference_serves(files: Files) -> None:
    few = {"fp32": files["fp32"], "int8": files["int8"]}
    made = with_providers(spec().model_copy(update={"variants": described(few)}), [speed("int8", "cpu", 1.0)])
    assert [made.variant_for(name).name for name in ("cuda", "tensorrt", "cpu")] == ["fp32", "fp32", "int8"]


def test_every_file_is_measured_on_every_provider(files: Files) -> None:
    few = {name: files[name] for name in ("fp32", "int8")}
    found = measure_on("cpu", few, threads=1, runs=2)
    assert [each.variant for each in found] == ["fp32", "int8"]
    assert all(0 < each.least_ms_per_clip <= each.median_ms_per_clip for each in found)
    assert {each.provider for each in measure({"int8": files["int8"]}, threads=1)} >= {"cpu"}


def test_one_clip_fits_what_the_file_takes(files: Files) -> None:
    clip = one_clip(onnxruntime.InferenceSession(files["fp32"], providers=["CPUExecutionProvider"]))
    assert {name: (value.shape, str(value.dtype)) for name, value in clip.items()} == {
        "clips": ((1, 4, 32, 32, 3), "uint8")
    }
