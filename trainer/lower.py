"""Convolutions over time and space as convolutions over pictures, for runtimes whose 3-D kernels are weak.

Three rewrites of the graph, each of which computes what the 3-D convolution computes:

- 1xkxk, in space only: frames join the clips, (N, C, T, H, W) to (N * T, C, H, W).
- kx1x1, in time only: pixels join, (N, C, T, H, W) to (N, C, T, H * W), and the kernel is (k, 1).
- kxkxk, whole: the frames that a kernel sees join the channels, (N, C * k, T, H, W), and then as in space.

An activation behind the convolution moves in, so that runtimes still fuse the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

ACTIVATIONS = ("Relu", "Clip")

Shape = tuple[int, int, int, int]  # C, T, H, W


class CannotLower(ValueError):
    """A convolution that is none of the three kinds; the message names it."""


def lower(source: Path, target: Path) -> bool:
    """Write ``source`` without 3-D convolutions. False, and nothing written, where it has none.

    Raises CannotLower for a convolution with dilation, or whose input has an unknown size.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(str(source)))
    graph = _Graph(model)
    if not any(graph.is_3d(node) for node in model.graph.node):
        return False
    graph.rewrite()
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
    return True


@dataclass(frozen=True)
class _Conv:
    """A 3-D convolution; each triple is over time, height, width."""

    kernel: tuple[int, int, int]
    strides: tuple[int, int, int]
    before: tuple[int, int, int]  # padding
    after: tuple[int, int, int]
    group: int

    @staticmethod
    def of(node: onnx.NodeProto, weight: onnx.TensorProto) -> _Conv:
        given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if (
            any(step != 1 for step in given.get("dilations", ()))
            or given.get("auto_pad", b"NOTSET") != b"NOTSET"
        ):
            raise CannotLower(f"{node.name}: dilation and automatic padding have no 2-D form here")
        pads = list(given.get("pads", (0,) * 6))
        kernel = weight.dims[2], weight.dims[3], weight.dims[4]
        strides = tuple(given.get("strides", (1, 1, 1)))
        return _Conv(kernel, strides, tuple(pads[:3]), tuple(pads[3:]), given.get("group", 1))

    @property
    def in_time_only(self) -> bool:
        return self.kernel[0] > 1 and (*self.kernel[1:], *self.strides[1:]) == (1,) * 4

    def spatial(self) -> dict[str, Any]:
        pads = (*self.before[1:], *self.after[1:])
        return {"strides": self.strides[1:], "pads": pads, "group": self.group}

    def temporal(self) -> dict[str, Any]:
        pads = (self.before[0], 0, self.after[0], 0)
        return {"strides": (self.strides[0], 1), "pads": pads, "group": self.group}


@dataclass
class _Graph:
    """The graph that is rewritten, and what is known of its values."""

    model: onnx.ModelProto
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.weights = {each.name: each for each in graph.initializer}
        self.shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*graph.value_info, *graph.input, *graph.output)
        }
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def is_3d(self, node: onnx.NodeProto) -> bool:
        return node.op_type == "Conv" and len(self.weights[node.input[1]].dims) == 5

    def rewrite(self) -> None:
        graph = self.model.graph
        moved: set[str] = set()  # outputs of activations that went in with their convolution
        for node in list(graph.node):
            if self.is_3d(node):
                activation = self._activation(node)
                moved |= {activation.output[0]} if activation else set()
                self._lowered(node, activation)
            elif node.output[0] not in moved:
                self.nodes.append(node)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        kept = [each for each in self.weights.values() if each.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)

    def _activation(self, conv: onnx.NodeProto) -> onnx.NodeProto | None:
        readers = self.readers.get(conv.output[0], [])
        return readers[0] if len(readers) == 1 and readers[0].op_type in ACTIVATIONS else None

    def _lowered(self, node: onnx.NodeProto, activation: onnx.NodeProto | None) -> None:
        weight = self.weights[node.input[1]]
        conv = _Conv.of(node, weight)
        shape_in, shape_out = self._shape(node.input[0]), self._shape(node.output[0])
        result = activation.output[0] if activation else node.output[0]
        kernel = numpy_helper.to_array(weight)  # (C', C / group, k, k, k)
        if conv.in_time_only:
            channels, frames, height, width = shape_in
            folded = self._reshape(node.input[0], (-1, channels, frames, height * width))
            convolved = self._conv(node, conv, folded, kernel[..., 0], conv.temporal(), activation)
            self._reshape(convolved, (-1, *shape_out), result)
            return
        hidden, channels = self._frames(node.input[0], conv, shape_in, shape_out[1])
        hidden = self._swap(hidden)  # (N, C, T, H, W) to (N, T, C, H, W)
        pictures = self._reshape(hidden, (-1, channels, *shape_in[2:]))  # (N * T, C, H, W)
        flat = kernel.reshape(kernel.shape[0], -1, *kernel.shape[3:])  # channels of a kernel, then its frames
        convolved = self._conv(node, conv, pictures, flat, conv.spatial(), activation)
        channels, frames, height, width = shape_out
        self._swap(self._reshape(convolved, (-1, frames, channels, height, width)), result)

    def _frames(self, clips: str, conv: _Conv, shape: Shape, frames_out: int) -> tuple[str, int]:
        """What each output frame sees, in the channels: (N, C * k, T', H, W), and C * k."""
        channels, frames, height, width = shape
        taps, stride = conv.kernel[0], conv.strides[0]
        padding = (conv.before[0], conv.after[0])
        if taps == 1 and padding == (0, 0):
            return (clips if stride == 1 else self._every(clips, 0, frames, stride)), channels
        pads = self._constant(np.array([0, 0, padding[0], 0, 0, 0, 0, padding[1], 0, 0]))
        padded = self._add("Pad", [clips, pads])
        last = (frames_out - 1) * stride + 1
        seen = [self._every(padded, tap, tap + last, stride) for tap in range(taps)]
        split = [self._reshape(each, (-1, channels, 1, frames_out, height, width)) for each in seen]
        joined = self._add("Concat", split, axis=2)  # (N, C, k, T', H, W)
        return self._reshape(joined, (-1, channels * taps, frames_out, height, width)), channels * taps

    def _conv(
        self,
        node: onnx.NodeProto,
        conv: _Conv,
        hidden: str,
        kernel: np.ndarray[Any, Any],
        attributes: dict[str, Any],
        activation: onnx.NodeProto | None,
    ) -> str:
        inputs = [hidden, self._constant(np.ascontiguousarray(kernel)), *node.input[2:]]
        result = self._add("Conv", inputs, **attributes)
        if activation is None:
            return result
        return self._add(activation.op_type, [result, *activation.input[1:]])

    def _every(self, clips: str, start: int, end: int, step: int) -> str:
        bounds = [self._constant(np.array([value])) for value in (start, end, 2, step)]
        return self._add("Slice", [clips, *bounds])

    def _swap(self, clips: str, result: str = "") -> str:
        return self._add("Transpose", [clips], result, perm=(0, 2, 1, 3, 4))

    def _reshape(self, clips: str, shape: Sequence[int], result: str = "") -> str:
        return self._add("Reshape", [clips, self._constant(np.array(shape))], result)

    def _add(self, kind: str, inputs: Sequence[str], result: str = "", **attributes: Any) -> str:
        name = f"lowered_{len(self.nodes)}"
        output = result or f"{name}_out"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name, **attributes))
        return output

    def _constant(self, value: np.ndarray[Any, Any]) -> str:
        name = f"lowered_constant_{len(self.weights)}"
        self.weights[name] = numpy_helper.from_array(value, name)
        return name

    def _shape(self, name: str) -> Shape:
        _, *sizes = self.shapes.get(name) or (0, 0)
        if len(sizes) != 4 or not all(sizes):
            raise CannotLower(f"{name}: its size must be known, found {sizes}")
        channels, frames, height, width = sizes
        return channels, frames, height, width
