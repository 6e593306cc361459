from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from benchmarks.full_size import SMALL, write_artifact
from benchmarks.roofline import Layer, Peaks, layers, least_s, measured_peaks
from models.architectures import registry
from models.spec import VideoInput
from trainer.costs import cost_of
from trainer.data.batch import Batch
from trainer.export import export_onnx


def write_network(path: Path, *, kernel: int = 3) -> Path:
    """(N, 3, 8, 8): a convolution to 4 channels, an activation, the mean, a product to 5 values."""
    tensors = {"kernel": [4, 3, kernel, kernel], "weights": [4, 5]}
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, dims, [0.0] * torch.Size(dims).numel())
        for name, dims in tensors.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["maps"], "conv", pads=[kernel // 2] * 4),
        helper.make_node("Relu", ["maps"], ["active"], "relu"),
        helper.make_node("ReduceMean", ["active"], ["means"], "mean", axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["y"], "product"),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_operations_and_values_of_each_layer(tmp_path: Path) -> None:
    assert layers(write_network(tmp_path / "n.onnx"), 2) == (
        Layer("conv", "Conv", 2 * (2 * 4 * 8 * 8) * (3 * 3 * 3), 2 * 3 * 64 + 4 * 3 * 9 + 2 * 4 * 64),
        Layer("mean", "ReduceMean", 0, 2 * 4 * 64 + 2 * 4),
        Layer("product", "MatMul", 2 * (2 * 5) * 4, 2 * 4 + 4 * 5 + 2 * 5),
    )


@pytest.mark.parametrize(
    ("operations", "values", "bytes_per_value", "seconds"),
    [
        (1000, 10, 4, 10.0),  # bound by operations: 1000 / 100
        (100, 50, 4, 20.0),  # bound by bytes: 200 / 10
        (100, 50, 2, 10.0),
        (0, 0, 4, 0.0),
    ],
)
def test_the_slower_of_both_counts(
    operations: int, values: int, bytes_per_value: int, seconds: float
) -> None:
    layer = Layer("any", "Conv", operations, values)
    peaks = Peaks(operations_per_s=100.0, bytes_per_s=10.0)
    assert least_s([layer], peaks, bytes_per_value) == seconds
    assert least_s([layer, layer], peaks, bytes_per_value) == 2 * seconds


def test_shapes_behind_a_window_that_follows_the_motion_are_seen(tmp_path: Path) -> None:
    video = VideoInput(frames=2, frame_rate_hz=8, height=64, width=64)
    network = registry.build("r2plus1d_lite", {"views": [0.5], "size": 32, "stages": [0]}, video, 1)
    clips = torch.zeros((2, *video.clip_shape), dtype=torch.uint8)
    export_onnx(
        network, Batch({"clips": clips}, torch.zeros(2, 1), np.zeros(2, np.int64)), tmp_path / "n.onnx"
    )
    one, three = (layers(tmp_path / "n.onnx", clips) for clips in (1, 3))
    assert [3 * layer.operations for layer in one] == [layer.operations for layer in three]
    assert sum(layer.operations for layer in one) == cost_of(network, {"clips": clips[:1]}).operations


@pytest.mark.slow
def test_products_are_those_that_torch_counts(tmp_path: Path) -> None:
    (small,) = SMALL
    artifact = write_artifact(small, tmp_path)
    found = layers(artifact.folder / "fp32.onnx", 1)
    network = registry.build(small.family, small.arguments, small.video, 1)
    clip = torch.zeros((1, *small.video.clip_shape), dtype=torch.uint8)
    assert sum(layer.operations for layer in found) == cost_of(network, {"clips": clip}).operations


def test_peaks_are_measured() -> None:
    peaks = measured_peaks(
        [("CPUExecutionProvider", {})], "cpu", half=False, side=32, copied_bytes=4096, budget_s=0.01
    )
    assert peaks.operations_per_s > 0
    assert peaks.bytes_per_s > 0
