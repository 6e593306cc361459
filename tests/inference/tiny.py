"""Networks of a few nodes, whose answers can be told beforehand, as real artifacts on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from models.spec import (
    AudioInput,
    Embedding,
    Label,
    ModelSpec,
    Role,
    Variant,
    VideoInput,
    file_sha256,
    write_spec,
)
from worker.inference.types import Inputs, Output

FRAMES, SIZE, MELS = 2, 16, 8
AUDIO_FRAMES = 4
VIDEO = VideoInput(frames=FRAMES, frame_rate_hz=4, height=SIZE, width=SIZE)
AUDIO = AudioInput(frames=AUDIO_FRAMES, mels=MELS)
EMBEDDING = Embedding(size=3)

Graph = tuple[list[Any], list[Any], list[Any], list[Any]]  # nodes, inputs, outputs, initializers


def clips(*brightness: int) -> npt.NDArray[np.uint8]:
    """Clips of one grey each; the tiny networks answer (grey / 255, -grey / 255)."""
    grey = np.array(brightness, np.uint8).reshape(-1, 1, 1, 1, 1)
    return np.broadcast_to(grey, (len(brightness), *VIDEO.clip_shape)).copy()


def logits_of(*brightness: int) -> npt.NDArray[np.float32]:
    grey = np.array(brightness, np.float32)[:, None] / 255
    return np.hstack([grey, -grey])


def embeddings_of(*brightness: int) -> npt.NDArray[np.float32]:
    """What ``embedding_graph`` says of clips of one grey: (grey / 255, -grey / 255, 1), of length 1."""
    vectors = np.hstack([logits_of(*brightness), np.ones((len(brightness), 1), np.float32)])
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def spec(
    role: Role = "filter",
    *,
    audio: bool = False,
    embedding: Embedding | None = None,
    variants: Sequence[Variant] = (),
    labels: tuple[str, str] = ("bright", "dark"),
    video: VideoInput = VIDEO,
) -> ModelSpec:
    nothing = Variant(
        name="fp32", file="m.onnx", sha256="0" * 64, size_bytes=1, precision="fp32", providers=()
    )
    return ModelSpec(
        name=f"tiny-{role}",
        version="1",
        role=role,
        architecture="mean",
        labels=tuple(
            Label(name=name, threshold=0.5, band=(0.3, 0.7), training_prevalence=0.5) for name in labels
        ),
        video=video,
        audio=AUDIO if audio else None,
        embedding=embedding,
        variants=tuple(variants) or (nothing,),
        trained_on="nothing",
    )


def video_graph(*, batch: str | int = "N", size: int = SIZE, gain: float = 1.0) -> Graph:
    """clips -> a 1x1 convolution with the mean over all -> (gain x mean, -gain x mean)."""
    clip = helper.make_tensor_value_info("clips", TensorProto.UINT8, [batch, FRAMES, size, size, 3])
    weight = np.full((2, 3, 1, 1, 1), gain / 3 / 255, np.float32)
    weight[1] *= -1
    nodes = [
        helper.make_node("Cast", ["clips"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 4, 1, 2, 3]),
        helper.make_node("Conv", ["planes", "weight"], ["maps"]),
        helper.make_node("ReduceMean", ["maps"], ["logits"], axes=[2, 3, 4], keepdims=0),
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 2])
    return nodes, [clip], [output], [_constant("weight", weight)]


def audio_graph() -> Graph:
    """The video's answer plus 10 x has_audio plus the mean of log_mel."""
    nodes, inputs, outputs, constants = video_graph()
    nodes[-1].output[0] = "seen"
    nodes += [
        helper.make_node("ReduceMean", ["log_mel"], ["heard"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["has_audio", "ten"], ["flag"]),
        helper.make_node("Add", ["heard", "flag"], ["sound"]),
        helper.make_node("Unsqueeze", ["sound", "last"], ["column"]),
        helper.make_node("Add", ["seen", "column"], ["logits"]),
    ]
    inputs += [
        helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, ["N", AUDIO_FRAMES, MELS]),
        helper.make_tensor_value_info("has_audio", TensorProto.FLOAT, ["N"]),
    ]
    constants += [_constant("ten", np.float32(10)), _constant("last", np.array([1], np.int64))]
    return nodes, inputs, outputs, constants


def embedding_graph() -> Graph:
    """With an embedding beside the logits; see ``embeddings_of``."""
    nodes, inputs, outputs, constants = video_graph()
    nodes += [
        helper.make_node("Abs", ["logits"], ["sizes"]),
        helper.make_node("ReduceSum", ["sizes", "columns"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "nought"], ["noughts"]),
        helper.make_node("Add", ["noughts", "one"], ["ones"]),
        helper.make_node("Concat", ["logits", "ones"], ["vectors"], axis=1),
        helper.make_node("LpNormalization", ["vectors"], ["embedding"], axis=1, p=2),
    ]
    outputs.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", EMBEDDING.size]))
    constants += [
        _constant("columns", np.array([1], np.int64)),
        _constant("nought", np.float32(0)),
        _constant("one", np.float32(1)),
    ]
    return nodes, inputs, outputs, constants


def unsupported_graph() -> Graph:
    """With a node that only the CPU provider has."""
    nodes, inputs, outputs, constants = video_graph()
    nodes[-1].output[0] = "seen"
    nodes.append(helper.make_node("Inverse", ["square"], ["inverted"], domain="com.microsoft"))
    nodes.append(helper.make_node("MatMul", ["seen", "inverted"], ["logits"]))
    nodes.insert(0, helper.make_node("Mul", ["eye", "one"], ["square"]))
    scale = helper.make_node("Cast", ["scale_in"], ["one"], to=TensorProto.FLOAT)
    nodes.insert(0, scale)
    nodes.insert(0, helper.make_node("ReduceMax", ["floats_of"], ["scale_in"], keepdims=0))
    nodes.insert(0, helper.make_node("Shape", ["clips"], ["floats_of"]))
    constants.append(_constant("eye", np.eye(2, dtype=np.float32)))
    return nodes, inputs, outputs, constants


def write(folder: Path, graph: Graph | None = None, **overrides: Any) -> Path:
    """Write ``<folder>/<name>/<version>/`` and return that folder. ``overrides``: of the spec."""
    base = spec(**{key: overrides.pop(key) for key in ("role", "audio", "embedding") if key in overrides})
    base = base.model_copy(update=overrides)
    target = folder / base.name / base.version
    target.mkdir(parents=True)
    default = audio_graph if base.audio else embedding_graph if base.embedding else video_graph
    path = target / "m.onnx"
    path.write_bytes(_model(graph if graph is not None else default()))
    variant = Variant(
        name="fp32",
        file=path.name,
        sha256=file_sha256(path),
        size_bytes=path.stat().st_size,
        precision="fp32",
        providers=("cpu", "openvino"),
    )
    write_spec(target, base.model_copy(update={"variants": (variant,)}))
    return target


@dataclass
class Scripted:
    """A Runner that answers like the tiny network, after whatever the test does first."""

    spec: ModelSpec
    before: Callable[[Inputs], None]

    def run(self, inputs: Inputs) -> Output:
        self.before(inputs)
        greys = inputs.clips[:, 0, 0, 0, 0].tolist()
        return Output(logits_of(*greys), embeddings_of(*greys) if self.spec.embedding else None)


def _constant(name: str, value: npt.NDArray[Any] | np.generic) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(value), name)


def _model(graph: Graph) -> bytes:
    nodes, inputs, outputs, constants = graph
    built = helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
        ir_version=8,
    )
    return bytes(built.SerializeToString())
