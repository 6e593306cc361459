"""The least time that a network can take on a machine, layer by layer.

The roofline of Williams, Waterman and Patterson (2009): a layer cannot be faster than its operations at the
machine's rate, nor than the bytes that it must move at the machine's bandwidth; the larger of both counts.
Layers are what reads a whole tensor and writes another: convolutions, products, pooling, reductions. What
lies between (activations, sums, casts, changes of layout) is taken as part of them and free, which makes the
bound lower and the share that a runtime attains smaller, never the other way.

Shapes are inferred from the FP32 file, or seen by running it where they cannot be; other variants of an
artifact have the same layers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, shape_inference

PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})
# fmt: off
PASSES = frozenset({
    "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "GridSample", "MaxPool", "ReduceL2", "ReduceMax",
    "ReduceMean", "ReduceSum", "Resize",
})
# fmt: on
BYTES = {"fp32": 4, "fp16": 2, "int8": 1}  # of one value, by the precision of a variant
CHAINED = 4  # nodes of the graphs that are measured, so that starting one counts for little

Shape = tuple[int, ...]
Providers = Sequence[tuple[str, dict[str, str]]]


@dataclass(frozen=True, slots=True)
class Layer:
    name: str
    op: str
    operations: int  # a multiply-add counts as two
    values: int  # read and written, weights included


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a machine was measured to reach."""

    operations_per_s: float
    bytes_per_s: float


def layers(file: Path, clips: int) -> tuple[Layer, ...]:
    """Of a network with so many clips in a batch."""
    model = onnx.load(file)
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = clips
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {value.name: _shape(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    shapes |= {constant.name: tuple(constant.dims) for constant in graph.initializer}
    counted = [node for node in graph.node if node.op_type in PRODUCTS | PASSES]
    unknown = {
        name for node in counted for name in (*node.input, node.output[0]) if name and not shapes.get(name)
    }
    if unknown:  # behind a choice that depends on the pixels
        shapes |= {name: (clips * first, *rest) for name, (first, *rest) in _seen(file, unknown).items()}
    return tuple(_layer(node, shapes) for node in counted)


def least_s(found: Sequence[Layer], peaks: Peaks, bytes_per_value: int) -> float:
    """The roofline: seconds for all layers, one after the other."""
    return sum(
        max(layer.operations / peaks.operations_per_s, layer.values * bytes_per_value / peaks.bytes_per_s)
        for layer in found
    )


def measured_peaks(
    providers: Providers, device: str, *, half: bool, side: int, copied_bytes: int, budget_s: float = 2.0
) -> Peaks:
    """The rate of products of square matrices, and the bandwidth of a copy that changes the sign.

    ``side``: of the matrices. Bytes read and bytes written both count.
    """
    dtype = np.float16 if half else np.float32
    random = np.random.default_rng(0)
    square = (random.standard_normal((side, side)) / math.sqrt(side)).astype(dtype)
    product_s = _least_s(_bound("MatMul", [square, square], providers, device), budget_s)
    values = copied_bytes // dtype().itemsize
    copy_s = _least_s(_bound("Neg", [np.ones(values, dtype)], providers, device), budget_s)
    return Peaks(
        operations_per_s=CHAINED * 2 * side**3 / product_s,
        bytes_per_s=CHAINED * 2 * values * dtype().itemsize / copy_s,
    )


def _seen(file: Path, names: Collection[str]) -> dict[str, Shape]:
    """The shapes that tensors have when the network runs on one clip."""
    model = onnx.load(file)
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in sorted(names))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    blank = {
        each.name: np.zeros((1, *each.shape[1:]), np.uint8 if each.type == "tensor(uint8)" else np.float32)
        for each in session.get_inputs()
    }
    return {name: found.shape for name, found in zip(sorted(names), session.run(None, blank), strict=True)}


def _shape(value: Any) -> Shape:
    """Empty where it is unknown, or where one of the dimensions is."""
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value for dim in dims) if all(dim.HasField("dim_value") for dim in dims) else ()


def _layer(node: Any, shapes: dict[str, Shape]) -> Layer:
    read = [name for name in node.input if name]
    moved = [*read, node.output[0]] if node.op_type in PRODUCTS else [read[0], node.output[0]]
    return Layer(
        node.name,
        node.op_type,
        _operations(node, shapes) if node.op_type in PRODUCTS else 0,
        sum(math.prod(shapes[name]) for name in moved),
    )


def _operations(node: Any, shapes: dict[str, Shape]) -> int:
    """Two for each value that is written and each product that goes into it."""
    first, second = shapes[node.input[0]], shapes[node.input[1]]
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type == "Conv":
        summed = math.prod(second[1:])  # channels of a group, and the kernel
    else:
        summed = first[0] if node.op_type == "Gemm" and attributes.get("transA") else first[-1]
    return 2 * math.prod(shapes[node.output[0]]) * summed


def _bound(op: str, arrays: list[Any], providers: Providers, device: str) -> Callable[[], None]:
    """A chain of one operator on arrays that lie on the device; its first input is the chain's."""
    names = ["x0", "other"][: len(arrays)]
    nodes = [helper.make_node(op, [f"x{i}", *names[1:]], [f"x{i + 1}"]) for i in range(CHAINED)]
    kind = helper.np_dtype_to_tensor_dtype(arrays[0].dtype)
    graph = helper.make_graph(
        nodes,
        op,
        [helper.make_tensor_value_info(n, kind, a.shape) for n, a in zip(names, arrays, strict=True)],
        [helper.make_tensor_value_info(f"x{CHAINED}", kind, arrays[0].shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if device == "cuda":
        ort.preload_dlls()
    session = ort.InferenceSession(model.SerializeToString(), providers=list(providers), enable_fallback=0)
    binding = session.io_binding()
    for name, array in zip(names, arrays, strict=True):
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, device))
    binding.bind_output(f"x{CHAINED}", device)
    return lambda: session.run_with_iobinding(binding)


def _least_s(run: Callable[[], None], budget_s: float) -> float:
    run()  # allocates
    times_s: list[float] = []
    while sum(times_s) < budget_s:
        begun_s = time.perf_counter()
        run()
        times_s.append(time.perf_counter() - begun_s)
    return min(times_s)
