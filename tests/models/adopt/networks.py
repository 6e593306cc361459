"""Foreign networks of a few nodes, whose answers can be told beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.adopt.description import Description

SIZE = 16
FRAMES = 2


def description(**changes: Any) -> Description:
    """Of ``network(layout="NCHW")``: its score of class k is the mean of its channel k, from 0 to 1."""
    tree: dict[str, Any] = {
        "name": "foreign",
        "labels": [
            {
                "name": "first",
                "outputs": changes.pop("outputs", [0]),
                "threshold": 0.5,
                "band": [0.3, 0.7],
                "training_prevalence": 0.5,
            }
        ],
        "video": {
            "frames": FRAMES,
            "frame_rate_hz": 2,
            "height": changes.pop("height", SIZE),
            "width": changes.pop("width", SIZE),
        },
        "input": {"layout": "NCHW", "scale": 1 / 255} | changes.pop("input", {}),
        "output": {"scores": "logits"} | changes.pop("output", {}),
        "source": "made by a test",
        "licence": "none",
    }
    return Description.model_validate(tree | changes)


def network(
    layout: str = "NCHW",
    scores: str = "logits",
    *,
    opset: int = 13,
    batch: int | str = "batch",
    frames: int | str = FRAMES,
    size: int | str = SIZE,
    dtype: int = TensorProto.FLOAT,
    fixed_inside: bool = False,
) -> onnx.ModelProto:
    """Means of the three channels, and what the scores ask for after them."""
    sizes = {"N": batch, "T": frames, "C": 3, "H": size, "W": size}
    taken = helper.make_tensor_value_info("clips", dtype, [sizes[axis] for axis in layout])
    given = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])
    planes = "NCTHW" if "T" in layout else "NCHW"
    nodes = [
        helper.make_node("Cast", ["clips"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[layout.index(axis) for axis in planes]),
        helper.make_node("GlobalAveragePool", ["planes"], ["means"]),
        helper.make_node("Reshape", ["means", "shape"], ["rows"]),
    ]
    last = {"sigmoid": "Sigmoid", "softmax": "Softmax"}.get(scores, "Identity")
    nodes.append(helper.make_node(last, ["rows"], ["logits"]))
    shape = numpy_helper.from_array(np.array([1 if fixed_inside else -1, 3]), "shape")
    graph = helper.make_graph(nodes, "foreign", [taken], [given], [shape])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def saved(model: onnx.ModelProto, folder: Path, name: str = "network.onnx") -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def colour(*frames: tuple[int, int, int], size: int = SIZE) -> npt.NDArray[np.uint8]:
    """One clip of flat frames, RGB: (1, T, size, size, 3)."""
    flat = np.array(frames, np.uint8)[None, :, None, None, :]
    return np.broadcast_to(flat, (1, len(frames), size, size, 3)).copy()
