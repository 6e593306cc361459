"""Only what lies between convolutions is rounded."""

from pathlib import Path

import onnx
import torch

from models.architectures import registry
from models.spec import VideoInput
from tests.trainer.small import batch
from trainer.config import Quantise
from trainer.export import export_onnx, feed
from trainer.quantize import quantise

VIDEO = VideoInput(frames=4, frame_rate_hz=8, height=64, width=64)


def test_finding_windows_and_measuring_change_stay_in_float(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = registry.build("r2plus1d_lite", {"views": [0.5], "size": 32, "stages": [0, 1]}, VIDEO, 1)
    export_onnx(network, batch(0, VIDEO), tmp_path / "fp32.onnx")
    quantise(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", [feed(batch(0, VIDEO))], Quantise(videos=1))
    graph = onnx.load(tmp_path / "int8.onnx").graph
    rounded = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    fed = [{*node.input} & rounded for node in graph.node]
    kinds = [node.op_type for node in graph.node]
    assert not any(fed[: kinds.index("ArgMax") + 1])
    assert not any(each for each, kind in zip(fed, kinds, strict=True) if kind in {"Abs", "Log", "Sub"})
    convolutions = [bool(each) for each, kind in zip(fed, kinds, strict=True) if kind == "Conv"]
    assert convolutions.count(True) == len(convolutions) - 3  # the first three stay as they are
