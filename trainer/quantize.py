"""Static INT8 quantisation (QDQ), and the check that the answers survive it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.shape_inference import quant_pre_process

from trainer.calibrate import Calibration
from trainer.config import Gate, Quantise
from trainer.export import (
    REFERENCE_PROVIDER,
    Feed,
    GateClosed,
    embedding_size,
    installed_providers,
    onnx_embeddings,
    onnx_logits,
)

# Convolutions hold nearly all the arithmetic; what lies between is quantised too, since a differing
# rounding of two operands would look like motion where there is none.
QUANTISED = ["Conv", "Add", "Clip", "Relu", "MaxPool", "Reshape", "Transpose", "Slice"]
Logits = npt.NDArray[np.float32]  # (N, L)
METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """INT8 on one provider against the same network in FP32, over clips."""

    clips: int
    mean_probability_difference: float
    worst_probability_difference: float
    same_side: float  # share of clips on the same side of the threshold
    embedding_cosine: float | None  # the mean over clips; None for a network without embeddings


class _Feeds(CalibrationDataReader):  # type: ignore[misc]
    """Given out one at a time, so that the calibrator holds the activations of one feed only."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = feeds
        self._rest: Iterator[Feed] = iter(feeds)

    def __len__(self) -> int:
        return len(self._feeds)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._rest = iter(self._feeds[start_index:end_index])

    def get_next(self) -> Feed | None:
        return next(self._rest, None)


def quantise(fp32: Path, int8: Path, feeds: Sequence[Feed], how: Quantise) -> None:
    """Write ``int8``; activation ranges come from ``feeds``, which must not hold what is reported on.

    Weights get a scale for each channel, activations one for each tensor. The first convolutions stay as they
    are, and so does the last layer: rounding of pixels looks like motion, and the last layer costs nothing.
    """
    activations = QuantType.QInt8 if how.symmetric else QuantType.QUInt8
    options: dict[str, bool | float] = {"ActivationSymmetric": how.symmetric, "CalibStridedMinMax": 1}
    if how.calibration == "percentile":
        options["CalibPercentile"] = how.percentile
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(int8),
            _Feeds(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTISED,
            per_channel=True,
            activation_type=activations,
            weight_type=QuantType.QInt8,
            calibrate_method=METHODS[how.calibration],
            nodes_to_exclude=_kept_in_float(prepared, how.float_convolutions),
            extra_options=options,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser logs to the root logger, and prints as it computes histograms."""
    before = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.getLogger().setLevel(before)


def _kept_in_float(prepared: Path, convolutions: int) -> list[str]:
    """The first convolutions, and what does not lie between two: finding windows, and measuring change."""
    nodes = onnx.load(str(prepared), load_external_data=False).graph.node
    first = [node.name for node in nodes if node.op_type == "Conv"][:convolutions]
    after = _reached(nodes, forwards=True)
    before = _reached(nodes, forwards=False)
    return first + [node.name for node in nodes if node.name not in after or node.name not in before]


def _reached(nodes: Sequence[onnx.NodeProto], forwards: bool) -> set[str]:
    """Names of the convolutions, and of all nodes that come after (before) one of them."""
    tensors: set[str] = set()
    names: set[str] = set()
    for node in nodes if forwards else reversed(nodes):  # the graph is in topological order
        taken, given = (node.input, node.output) if forwards else (node.output, node.input)
        if node.op_type == "Conv" or tensors & set(taken):
            tensors |= set(given)
            names.add(node.name)
    return names


def check_agreement(
    fp32: Path, int8: Path, feeds: Sequence[Feed], calibrations: Sequence[Calibration], gate: Gate
) -> Agreement:
    """The worst over the installed providers, each of which rounds in its own way.

    Raises GateClosed when INT8 says something else than FP32 does on the reference provider.
    """
    expected = np.concatenate(onnx_logits(fp32, feeds, REFERENCE_PROVIDER))
    vectors = None
    if embedding_size(fp32) is not None:
        vectors = np.concatenate(onnx_embeddings(fp32, feeds, REFERENCE_PROVIDER))
    found = []
    for provider in installed_providers():
        logits = np.concatenate(onnx_logits(int8, feeds, provider))
        cosine = None
        if vectors is not None:
            own = np.concatenate(onnx_embeddings(int8, feeds, provider))
            cosine = float((vectors * own).sum(axis=1).mean())
        found.append(_agreement(expected, logits, cosine, calibrations))
        _refuse(found[-1], f"{int8.name} on {provider}", gate)
    return min(found, key=lambda each: each.same_side)


def _agreement(
    expected: Logits, logits: Logits, cosine: float | None, calibrations: Sequence[Calibration]
) -> Agreement:
    probabilities = [
        np.stack([calibration(each[:, index]) for index, calibration in enumerate(calibrations)], 1)
        for each in (expected, logits)
    ]
    difference = np.abs(probabilities[0] - probabilities[1])
    return Agreement(
        clips=len(expected),
        mean_probability_difference=float(difference.mean()),
        worst_probability_difference=float(difference.max()),
        same_side=float(np.mean((probabilities[0] >= 0.5) == (probabilities[1] >= 0.5))),
        embedding_cosine=cosine,
    )


def _refuse(agreement: Agreement, file: str, gate: Gate) -> None:
    if not (
        agreement.mean_probability_difference <= gate.int8_probability
        and agreement.same_side >= gate.int8_agreement
    ):
        raise GateClosed(
            f"{file}: INT8 differs from FP32 by {agreement.mean_probability_difference:.3f} in the mean "
            f"(allowed {gate.int8_probability}) and agrees on {agreement.same_side:.1%} of clips "
            f"(wanted {gate.int8_agreement:.0%})"
        )
    if agreement.embedding_cosine is not None and not agreement.embedding_cosine >= gate.int8_embedding:
        raise GateClosed(
            f"{file}: embeddings of INT8 and FP32 have a cosine of {agreement.embedding_cosine:.3f} "
            f"in the mean (wanted {gate.int8_embedding})"
        )


def largest_value(fp32: Path, feeds: Sequence[Feed]) -> float:
    """By magnitude, of all that lies between the inputs and the outputs of a network."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        found = create_calibrator(fp32, augmented_model_path=str(Path(folder) / "ranges.onnx"))
        found.collect_data(_Feeds(feeds))
        ranges = [each.range_value for each in found.compute_data().data.values()]
    return float(np.abs(ranges).max())
