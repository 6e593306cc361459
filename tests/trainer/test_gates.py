"""Export proves parity and quantisation proves agreement, or there is no artifact."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.trainer.small import batch, network
from trainer.calibrate import Calibration
from trainer.config import Gate, Quantise
from trainer.export import (
    Feed,
    GateClosed,
    check_parity,
    export_onnx,
    feed,
    installed_providers,
    onnx_logits,
)
from trainer.half import check_half, to_half
from trainer.quantize import check_agreement, quantise


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "fp32.onnx"
    export_onnx(network(0), batch(0), path)
    return path


def test_parity_holds_for_the_network_itself(exported: Path) -> None:
    assert check_parity(network(0), exported, [batch(1)], 1e-3) <= 1e-3


def test_parity_refuses_another_network(exported: Path) -> None:
    with pytest.raises(GateClosed, match=r"fp32.onnx: logits differ from torch by .*, allowed is 1e-03"):
        check_parity(network(1), exported, [batch(1)], 1e-3)


def test_half_precision_keeps_the_interface_and_a_strict_tolerance_refuses_it(
    exported: Path, tmp_path: Path
) -> None:
    fp16 = tmp_path / "fp16.onnx"
    assert to_half(exported, fp16)
    assert fp16.stat().st_size < 0.6 * exported.stat().st_size
    feeds = [feed(batch(seed)) for seed in range(2)]
    assert 0 < check_half(exported, fp16, feeds, 1e-2) <= 1e-2
    with pytest.raises(GateClosed, match=r"fp16.onnx: logits differ from FP32 by .*, allowed is 1e-12"):
        check_half(exported, fp16, feeds, 1e-12)


@pytest.mark.parametrize(("scale", "refused"), [(100.0, False), (1000.0, True)])
def test_half_precision_is_refused_where_a_value_would_be_infinite(
    scale: float, refused: bool, tmp_path: Path
) -> None:
    """Pixels, times ``scale`` and back again. The CPU's answer is right even where FP16 ends."""
    clips = helper.make_tensor_value_info("clips", onnx.TensorProto.UINT8, ["n", 4])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 4])
    nodes = [
        helper.make_node("Cast", ["clips"], ["pixels"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "up"], ["large"]),
        helper.make_node("Mul", ["large", "down"], ["logits"]),
    ]
    factors = [
        helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [value])
        for name, value in (("up", scale), ("down", 0.01 / scale))
    ]
    graph = helper.make_graph(nodes, "scaled", [clips], [logits], factors)
    file, fp16 = tmp_path / "fp32.onnx", tmp_path / "fp16.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(file))
    assert to_half(file, fp16)
    feeds = [{"clips": np.array([[0, 50, 100, 255]], np.uint8)}]
    if refused:
        with pytest.raises(GateClosed, match=r"fp16.onnx: values inside the network reach 255000, and FP16"):
            check_half(file, fp16, feeds, 0.1)
    else:
        check_half(file, fp16, feeds, 0.1)


def test_a_recurrent_network_has_no_half_precision(tmp_path: Path) -> None:
    lstm = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=1)
    onnx.save(helper.make_model(helper.make_graph([lstm], "recurrent", [], [])), str(tmp_path / "fp32.onnx"))
    assert not to_half(tmp_path / "fp32.onnx", tmp_path / "fp16.onnx")
    assert not (tmp_path / "fp16.onnx").exists()


@pytest.mark.parametrize(
    "how",
    [
        Quantise(),
        Quantise(symmetric=True),
        Quantise(calibration="percentile", percentile=99.9),
        Quantise(calibration="entropy", float_convolutions=0),
    ],
    ids=["minmax", "symmetric", "percentile", "entropy"],
)
def test_quantised_network_agrees_and_a_coarse_one_is_refused(
    exported: Path, tmp_path: Path, how: Quantise
) -> None:
    int8 = tmp_path / "int8.onnx"
    feeds = [feed(batch(seed)) for seed in range(4)]
    quantise(exported, int8, feeds, how)
    assert int8.stat().st_size < exported.stat().st_size
    lenient = Gate(int8_probability=0.1, int8_agreement=0.5)
    agreement = check_agreement(exported, int8, feeds, [Calibration()], lenient)
    assert agreement.clips == 16
    assert agreement.mean_probability_difference <= agreement.worst_probability_difference < 0.1
    with pytest.raises(GateClosed, match=r"int8.onnx on \w+: INT8 differs from FP32 by 0\.\d+ in the mean"):
        check_agreement(exported, int8, feeds, [Calibration()], Gate(int8_probability=1e-9))


@pytest.mark.parametrize("provider", installed_providers())
def test_int8_must_agree_on_every_provider_that_is_installed(
    exported: Path, tmp_path: Path, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that gets one file wrong is made up: it gives that file's answers the other sign."""
    int8 = Path(shutil.copy(exported, tmp_path / "int8.onnx"))

    def answers(file: Path, feeds: list[Feed], by: str) -> list[np.ndarray]:
        wrong = (file, by) == (int8, provider)
        return [-logits if wrong else logits for logits in onnx_logits(file, feeds, by)]

    feeds, gate = [feed(batch(0))], Gate(int8_probability=1e-3)
    check_agreement(exported, int8, feeds, [Calibration()], gate)
    monkeypatch.setattr("trainer.quantize.onnx_logits", answers)
    with pytest.raises(GateClosed, match=f"int8.onnx on {provider}: INT8 differs"):
        check_agreement(exported, int8, feeds, [Calibration()], gate)
