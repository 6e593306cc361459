"""What a wrapped network answers, against arithmetic done by hand."""

from __future__ import annotations

from math import e, exp
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from models.adopt.description import Description, Refused
from models.adopt.prove import Foreign, examples
from models.adopt.wrap import interface_of, precision_of, wrapped
from tests.models.adopt.networks import SIZE, colour, description, network, saved

ORANGE = (255, 51, 0)  # 1.0, 0.2, 0.0 of full scale
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
LAYOUTS = ("NCHW", "NHWC", "NTHWC", "NCTHW", "NTCHW")


def sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value))


def answer(
    model: onnx.ModelProto, said: Description, clips: npt.NDArray[np.uint8]
) -> npt.NDArray[np.floating]:
    """Probabilities (N, L) that the wrapped network gives."""
    complete = wrapped(model, said, interface_of(model, said), classes=3)
    session = ort.InferenceSession(complete.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"clips": clips})
    return np.asarray(1 / (1 + np.exp(-np.asarray(logits, np.float64))))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_every_layout_gives_the_same(layout: str, channels: str) -> None:
    said = description(input={"layout": layout, "channels": channels})
    found = answer(network(layout), said, colour(ORANGE, ORANGE))
    assert found == pytest.approx(sigmoid(1.0 if channels == "RGB" else 0.0), abs=1e-6)


@pytest.mark.parametrize(
    ("wants", "value"),
    [
        ({"scale": 1 / 255}, 1.0),
        ({"scale": 1.0}, 255.0),
        ({"scale": 1 / 255, "mean": [0.5, 0, 0]}, 0.5),
        ({"scale": 1 / 255, "mean": [0.5, 0, 0], "std": [0.25, 1, 1]}, 2.0),
        ({"scale": 1.0, "mean": [253, 0, 0]}, 2.0),
        # mean and std stand in the network's order of channels: blue first
        ({"scale": 1 / 255, "channels": "BGR", "mean": [0.5, 0, 0]}, -0.5),
        ({"scale": 1 / 255, "channels": "BGR", "mean": [0, 0, 0.5]}, 0.0),
    ],
)
def test_pixels_are_scaled_as_described(wants: dict[str, Any], value: float) -> None:
    found = answer(network(), description(input=wants), colour(ORANGE, ORANGE))
    assert found == pytest.approx(sigmoid(value), abs=1e-6)


@pytest.mark.parametrize(
    ("scores", "outputs", "probability"),
    [
        ("logits", [0], e / (1 + e)),
        ("logits", [2], 0.5),
        ("sigmoid", [0], e / (1 + e)),
        ("softmax", [0], e / (e + e**0.2 + 1)),
        ("softmax", [0, 2], (e + 1) / (e + e**0.2 + 1)),
        ("softmax_logits", [0], e / (e + e**0.2 + 1)),
        ("softmax_logits", [1, 2], (e**0.2 + 1) / (e + e**0.2 + 1)),
        ("softmax", [0, 1, 2], 1.0),
    ],
)
def test_scores_become_the_labels_probability(scores: str, outputs: list[int], probability: float) -> None:
    said = description(outputs=outputs, output={"scores": scores})
    assert answer(network(scores=scores), said, colour(ORANGE, ORANGE)) == pytest.approx(
        probability, abs=1e-6
    )


def test_a_probability_of_one_keeps_its_digits_and_stays_finite() -> None:
    said = description(input={"scale": 1.0}, output={"scores": "softmax"})
    complete = wrapped(network(scores="softmax"), said, interface_of(network(), said), classes=3)
    session = ort.InferenceSession(complete.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(
        ["logits"], {"clips": np.concatenate([colour((20, 0, 0)), colour(ORANGE)]).repeat(2, 1)}
    )
    assert logits[0, 0] == pytest.approx(20 - np.log(2), abs=1e-4)  # p = 1 - 4e-9, which float32 rounds to 1
    assert 25 < logits[1, 0] < 30


@pytest.mark.parametrize(
    ("pool", "probability"),
    [("max", sigmoid(1.0)), ("mean", (sigmoid(1.0) + sigmoid(0.0)) / 2)],
)
def test_frame_scores_are_pooled_over_the_clip(pool: str, probability: float) -> None:
    clips = np.concatenate([colour(BLACK, WHITE), colour(BLACK, BLACK)])
    found = answer(network(), description(pool=pool), clips)
    assert found[:, 0].tolist() == pytest.approx([probability, 0.5], abs=1e-6)  # clips do not mix


def test_a_crop_is_cut_from_the_middle() -> None:
    clips = colour(BLACK, BLACK, size=SIZE + 8)
    clips[:, :, 4:-4, 4:-4] = 255
    said = description(height=SIZE + 8, width=SIZE + 8, input={"crop": [SIZE, SIZE]})
    assert answer(network(), said, clips) == pytest.approx(sigmoid(1.0), abs=1e-6)


@pytest.mark.parametrize("opset", [8, 9, 11, 13, 17, 18, 21])
@pytest.mark.parametrize("scores", ["sigmoid", "softmax"])
@pytest.mark.parametrize("pool", ["max", "mean"])
def test_any_opset_from_8(opset: int, scores: str, pool: str, tmp_path: Path) -> None:
    said = description(output={"scores": scores}, pool=pool, input={"channels": "BGR"})
    model = network(scores=scores, opset=opset)
    foreign = Foreign(saved(model, tmp_path), said, interface_of(model, said))
    clips = examples(said)
    assert answer(model, said, clips) == pytest.approx(foreign.probabilities(clips), abs=1e-6)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.UINT8, TensorProto.DOUBLE])
def test_the_input_may_have_another_type(dtype: int) -> None:
    said = description(input={"scale": 1.0, "mean": [254, 0, 0]})
    assert answer(network(dtype=dtype), said, colour(ORANGE, ORANGE)) == pytest.approx(sigmoid(1.0), abs=1e-3)


def test_a_batch_that_is_fixed_outside_only_is_freed() -> None:
    clips = np.concatenate([colour(WHITE, WHITE), colour(BLACK, BLACK)])
    found = answer(network(batch=1), description(), clips)
    assert found[:, 0].tolist() == pytest.approx([sigmoid(1.0), 0.5], abs=1e-6)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (network("NHWC"), {}, r"shape \(any, 16, 16, 3\), the description says NCHW = \(any, 3, 16, 16\)"),
        (network(size=32), {}, r"shape \(any, 3, 32, 32\)"),
        (
            network("NTHWC", frames=8),
            {"input": {"layout": "NTHWC"}},
            r"any, 8, 16, 16, 3.*layout, size, crop or",
        ),
        (network("NTHWC"), {}, "the description says NCHW"),
        (network(), {"input": {"name": "images"}}, "no input 'images'; found: clips"),
        (network(), {"output": {"name": "scores"}}, "no output 'scores'; found: logits"),
        (network(opset=7), {}, "opset 7; export it with 8 or newer"),
    ],
)
def test_what_does_not_fit_is_refused(model: onnx.ModelProto, changes: dict[str, Any], message: str) -> None:
    said = description(**changes)
    with pytest.raises(Refused, match=message):
        wrapped(model, said, interface_of(model, said), classes=3)


def test_a_second_input_cannot_be_given() -> None:
    model = network()
    model.graph.input.append(onnx.helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch"]))
    with pytest.raises(Refused, match=r"more than one input: say which by input.name; found: clips, mask"):
        interface_of(model, description())
    with pytest.raises(Refused, match="also wants the inputs mask"):
        interface_of(model, description(input={"name": "clips"}))


def test_precision_is_read_from_the_graph() -> None:
    assert precision_of(network()) == "fp32"
    quantized = network()
    quantized.graph.node.append(onnx.helper.make_node("QuantizeLinear", ["a", "b"], ["c"]))
    assert precision_of(quantized) == "int8"
    half = network()
    half.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((2, 2), np.float16), "half"))
    assert precision_of(half) == "fp16"
