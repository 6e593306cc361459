"""What this machine can do at best: INT8 and FP32 arithmetic, and copying memory.

    python -m benchmarks.peaks

INT8 is what OpenVINO reaches in a chain of large convolutions of one size, 1x1 (plain matrix products) or
3x3, whichever is faster; FP32 a matrix product of torch (oneDNN); bandwidth is copying between arrays that no
cache holds, bytes read and written. Nobody beats these on this machine, so they are what shares are of.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import click
import numpy as np
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

CHANNELS, SIZE, COUNT, LAYERS = 256, 28, 8, 8
MATRIX = 1536
COPIED_BYTES = 256 * 1024 * 1024
BUDGET_S = 2.0


@dataclass(frozen=True, slots=True)
class Peaks:
    int8_gops: float  # 10^9 operations a second, multiply-adds counted as two
    fp32_gflops: float
    copy_gb_per_s: float

    def row(self) -> dict[str, int | float]:
        return {name: round(value, 1) for name, value in asdict(self).items()}


def measure_peaks(threads: int) -> Peaks:
    return Peaks(
        max(int8_gops(kernel, threads) for kernel in (1, 3)), fp32_gflops(threads), copy_gb_per_s(threads)
    )


def int8_gops(kernel: int, threads: int) -> float:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    providers = [("OpenVINOExecutionProvider", {"num_of_threads": str(threads)})]
    session = ort.InferenceSession(_convolutions(kernel), options, providers=providers)
    shape = (COUNT, CHANNELS, SIZE, SIZE)
    inputs = {"x": np.random.default_rng(0).standard_normal(shape, dtype=np.float32)}
    least_s = _least_s(lambda: session.run(None, inputs))
    return LAYERS * 2 * kernel**2 * CHANNELS**2 * SIZE**2 * COUNT / least_s / 1e9


def _convolutions(kernel: int) -> bytes:
    """A chain, so that quantising its input does not count."""
    random = np.random.default_rng(0)
    constants = {
        "scale": np.float32(0.02),
        "zero": np.uint8(128),
        "weight": random.integers(-127, 127, (CHANNELS, CHANNELS, kernel, kernel)).astype(np.int8),
        "weight_scale": np.full(CHANNELS, 0.01, np.float32),
        "weight_zero": np.zeros(CHANNELS, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["wd"], axis=0),
    ]
    previous = "d"
    for layer in range(LAYERS):
        nodes += [
            helper.make_node("Conv", [previous, "wd"], [f"y{layer}"], pads=[kernel // 2] * 4),
            helper.make_node("QuantizeLinear", [f"y{layer}", "scale", "zero"], [f"q{layer}"]),
            helper.make_node("DequantizeLinear", [f"q{layer}", "scale", "zero"], [f"d{layer}"]),
        ]
        previous = f"d{layer}"
    shape = [COUNT, CHANNELS, SIZE, SIZE]
    graph = helper.make_graph(
        nodes,
        "peak",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(previous, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def fp32_gflops(threads: int) -> float:
    torch.set_num_threads(threads)
    one, other, product = (torch.rand(MATRIX, MATRIX) for _ in range(3))
    return 2 * MATRIX**3 / _least_s(lambda: torch.mm(one, other, out=product)) / 1e9


def copy_gb_per_s(threads: int) -> float:
    """Each thread copies its share; numpy lets go of the interpreter's lock meanwhile."""
    source, target = (np.ones(COPIED_BYTES, np.uint8) for _ in range(2))
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        least_s = _least_s(lambda: list(pool.map(lambda part: np.copyto(*part), parts)))
    return 2 * COPIED_BYTES / least_s / 1e9


def _least_s(work: Callable[[], Any]) -> float:
    work()
    least_s, end_s = float("inf"), time.perf_counter() + BUDGET_S
    while time.perf_counter() < end_s:
        begun_s = time.perf_counter()
        work()
        least_s = min(least_s, time.perf_counter() - begun_s)
    return least_s


@click.command()
@click.option("--threads", type=int, help="Default: all cores.")
def main(threads: int | None) -> None:
    click.echo(measure_peaks(threads or os.cpu_count() or 1).row())


if __name__ == "__main__":
    main()
