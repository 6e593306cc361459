"""Puts a foreign graph between two small ones, so that it takes and gives what the worker expects.

    clips uint8 (N,T,H,W,3), RGB -> crop, channels, scale, axes -> the foreign graph
        -> log-odds of each label -> pooled over the frames -> logits (N,L)

A network of frames sees N * T frames at once. Only operators that mean the same from opset 8 to today
are added, because the result has the foreign graph's opset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from models.adopt.description import Description, Refused

OLDEST_OPSET = 8
IR_VERSION = 8  # at least: since 4, weights need not be inputs as well
LEAST_PROBABILITY = 1e-12  # odds beyond are all the same; keeps logarithms finite
FOREIGN = "foreign/"

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Interface:
    """The one input and the one output of a foreign graph that are used."""

    input_name: str
    input_type: int  # TensorProto.DataType
    input_shape: tuple[int | None, ...]  # None: free
    output_name: str

    @property
    def input_dtype(self) -> np.dtype[Any]:
        return np.dtype(helper.tensor_dtype_to_np_dtype(self.input_type))


def interface_of(model: onnx.ModelProto, description: Description) -> Interface:
    """Find input and output, and hold the input's shape against the description."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    taken = _pick("input", inputs, description.input.name)
    given = _pick("output", list(model.graph.output), description.output.name)
    others = [value.name for value in inputs if value.name != taken.name]
    if others:
        raise Refused(f"the graph also wants the inputs {', '.join(others)}; only one can be given")
    found = Interface(taken.name, taken.type.tensor_type.elem_type, shape_of(taken), given.name)
    expected = wanted_shape(description)
    if len(found.input_shape) != len(expected) or any(
        have not in (None, want) for have, want in zip(found.input_shape[1:], expected[1:], strict=True)
    ):
        raise Refused(
            f"input {taken.name!r} has shape {_show(found.input_shape)}, the description says "
            f"{description.input.layout} = {_show(expected)}; correct layout, size, crop or frames"
        )
    return found


def wrapped(
    model: onnx.ModelProto, description: Description, interface: Interface, classes: int
) -> onnx.ModelProto:
    """The graph that the worker loads. ``classes``: how many scores the network gives."""
    opset = _opset(model)
    foreign = compose.add_prefix(_with_free_batch(model, interface), FOREIGN)
    foreign.ir_version = max(IR_VERSION, model.ir_version)

    def complete(graph: onnx.GraphProto) -> onnx.ModelProto:
        version = helper.make_opsetid("", opset)
        return helper.make_model(graph, opset_imports=[version], ir_version=foreign.ir_version)

    before, after = complete(_before(description, interface)), complete(_after(description, classes))
    inner, outer = FOREIGN + interface.input_name, FOREIGN + interface.output_name
    joined = compose.merge_models(before, foreign, io_map=[("pixels", inner)], outputs=[outer])
    joined = compose.merge_models(joined, after, io_map=[(outer, "scores")], outputs=["logits"])
    joined.producer_name = "sluice"
    onnx.checker.check_model(joined)
    return joined


def wanted_shape(description: Description) -> tuple[int | None, ...]:
    height, width = description.input_size
    sizes = {"N": None, "T": description.video.frames, "C": 3, "H": height, "W": width}
    return tuple(sizes[axis] for axis in description.input.layout)


def shape_of(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    dimensions = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dimensions)


def precision_of(model: onnx.ModelProto) -> str:
    """fp32, fp16 or int8, by what the graph computes with."""
    if any("Quant" in node.op_type or node.op_type.endswith("Integer") for node in model.graph.node):
        return "int8"
    types = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1}
    return "fp16" if TensorProto.FLOAT16 in types else "fp32"


class _Nodes:
    """A graph under construction: a call adds a node and gives the name of its result."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def __call__(self, op: str, *inputs: str | Array, result: str = "", **attributes: Any) -> str:
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        result = result or f"{self._name}/{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, names, [result], name=f"{result}:{op}", **attributes))
        return result

    def graph(self, takes: onnx.ValueInfoProto, gives: onnx.ValueInfoProto) -> onnx.GraphProto:
        return helper.make_graph(self._nodes, self._name, [takes], [gives], self._constants)

    def _constant(self, value: Array) -> str:
        name = f"{self._name}/constant-{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def _before(description: Description, interface: Interface) -> onnx.GraphProto:
    """clips -> pixels as the network wants them."""
    node = _Nodes("before")
    video, wants = description.video, description.input
    height, width = description.input_size
    value = "clips"
    for axis, size, kept in ((2, video.height, height), (3, video.width, width)):
        if size != kept:  # Gather, because Slice changed its form
            first = (size - kept) // 2
            value = node("Gather", value, np.arange(first, first + kept), axis=axis)
    if wants.channels == "BGR":
        value = node("Gather", value, np.array([2, 1, 0]), axis=4)
    value = node("Cast", value, to=TensorProto.FLOAT)
    value = node("Mul", value, (wants.scale / np.array(wants.std)).astype(np.float32))
    value = node("Sub", value, (np.array(wants.mean) / np.array(wants.std)).astype(np.float32))
    if not description.takes_clips:
        value = node("Reshape", value, np.array([-1, height, width, 3]))
    axes = "NTHWC" if description.takes_clips else "NHWC"
    if wants.layout != axes:
        value = node("Transpose", value, perm=[axes.index(axis) for axis in wants.layout])
    node("Cast", value, result="pixels", to=interface.input_type)
    shape = [None if size is None else size for size in wanted_shape(description)]
    return node.graph(
        helper.make_tensor_value_info("clips", TensorProto.UINT8, ["N", *video.clip_shape]),
        helper.make_tensor_value_info("pixels", interface.input_type, ["M", *shape[1:]]),
    )


def _after(description: Description, classes: int) -> onnx.GraphProto:
    """scores -> logits (N,L), by the clip."""
    node = _Nodes("after")
    value = node("Cast", "scores", to=TensorProto.FLOAT)
    value = _log_odds(node, node("Flatten", value, axis=1), description, classes)
    if not description.takes_clips:
        value = _pooled(node, value, description)
    node("Identity", value, result="logits")
    return node.graph(
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["M", classes]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(description.labels)]),
    )


def _log_odds(node: _Nodes, value: str, description: Description, classes: int) -> str:
    """(M, classes) to (M, L)."""
    scores = description.output.scores
    if scores in ("logits", "sigmoid"):
        picked = node("Gather", value, np.array([label.outputs[0] for label in description.labels]), axis=1)
        if scores == "logits":
            return picked
        return _log_ratio(node, picked, node("Sub", np.array([1.0], np.float32), picked))
    if scores == "softmax_logits":
        value = node("Softmax", value, axis=1)
    chosen = np.zeros((classes, len(description.labels)), np.float32)
    for column, label in enumerate(description.labels):
        chosen[list(label.outputs), column] = 1.0
    # The other classes are summed and not taken from 1, which would lose all digits near 1.
    return _log_ratio(node, node("MatMul", value, chosen), node("MatMul", value, 1.0 - chosen))


def _pooled(node: _Nodes, value: str, description: Description) -> str:
    """Log-odds of frames (N * T, L) to those of clips (N, L)."""
    value = node("Reshape", value, np.array([-1, description.video.frames, len(description.labels)]))
    value = node("Transpose", value, perm=[0, 2, 1])
    if description.pool == "max":
        return node("Flatten", node("GlobalMaxPool", value), axis=1)
    means = [
        node("Flatten", node("GlobalAveragePool", node("Sigmoid", odds)), axis=1)
        for odds in (value, node("Neg", value))
    ]
    return _log_ratio(node, *means)


def _log_ratio(node: _Nodes, above: str, below: str) -> str:
    least = np.array([LEAST_PROBABILITY], np.float32)
    above, below = (node("Log", node("Max", value, least)) for value in (above, below))
    return node("Sub", above, below)


def _opset(model: onnx.ModelProto) -> int:
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise Refused(f"the graph has opset {opset}; export it with {OLDEST_OPSET} or newer")
    return int(opset)


def _with_free_batch(model: onnx.ModelProto, interface: Interface) -> onnx.ModelProto:
    """A copy whose batch is not fixed, whose weights are no inputs, and that names no shapes inside."""
    free = onnx.ModelProto()
    free.CopyFrom(model)
    weights = {tensor.name for tensor in free.graph.initializer}
    taken = [value for value in free.graph.input if value.name not in weights]
    del free.graph.input[:]
    free.graph.input.extend(taken)
    del free.graph.value_info[:]
    given = [value for value in free.graph.output if value.name == interface.output_name]
    for value in (*free.graph.input, *given):
        for dimension in value.type.tensor_type.shape.dim[:1]:
            dimension.dim_param = "M"
    return free


def _pick(kind: str, values: list[onnx.ValueInfoProto], name: str) -> onnx.ValueInfoProto:
    names = [value.name for value in values]
    wanted = name or (names[0] if len(names) == 1 else "")
    for value in values:
        if value.name == wanted:
            return value
    said = f"no {kind} {name!r}" if name else f"more than one {kind}: say which by {kind}.name"
    raise Refused(f"the graph has {said}; found: {', '.join(names) or 'none'}")


def _show(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"
