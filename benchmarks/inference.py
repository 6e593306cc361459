"""Clips a second, beside other ways to run the same weights on this CPU.

    python -m benchmarks.inference [--networks served|all]

Two networks: the filter that is served, and R(2+1)D-18 as its paper has it (random weights: time does not
depend on them). All take turns in several rounds; a way's figure is its best batch size. The peak is what
one large INT8 convolution reaches, which is what nobody can beat. Random pixels: only time is measured here,
that the answers agree is proved where a model is exported.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import show, write
from models.architectures import registry
from models.spec import VideoInput
from trainer.config import Quantise
from trainer.data.dataset import Batch
from trainer.export import export_onnx
from trainer.fit.start import channels_last
from trainer.variants import export_variants
from worker.inference.registry import find_artifact
from worker.inference.session import open_session
from worker.inference.types import Inputs

SLUICE = "Sluice"
BATCHES = (1, 4, 8)
THREADS = os.cpu_count() or 1
PAPER = VideoInput(frames=16, frame_rate_hz=10, height=112, width=112)

Run = Callable[[Any], object]  # uint8 clips (N, T, H, W, 3)


@dataclass(frozen=True)
class Network:
    name: str
    video: VideoInput
    torch: torch.nn.Module
    files: Mapping[str, Path]  # variant -> ONNX
    sluice: Run

    def clips(self, count: int) -> Any:
        shape = (count, *self.video.clip_shape)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    @property
    def gflop_per_clip(self) -> float:
        """Multiply-adds counted as two operations."""
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            self.torch(torch.from_numpy(self.clips(1)))
        return counter.get_total_flops() / 1e9


@dataclass
class Timing:
    ms: dict[int, list[float]] = field(default_factory=dict)  # batch size -> milliseconds of a batch
    failed: str = ""

    @property
    def best_batch(self) -> int:
        return min(self.ms, key=lambda count: min(self.ms[count]) / count)

    def row(self) -> dict[str, Any]:
        if self.failed:
            return {"failed": self.failed}
        count = self.best_batch
        times = np.asarray(self.ms[count])
        return {
            "batch": count,
            "clips_per_s": round(count * 1000 / float(np.median(times)), 1),
            "least_ms_per_clip": round(float(times.min()) / count, 2),
            "single_clip_p50_ms": round(float(np.median(self.ms[1])), 2),
            "single_clip_p99_ms": round(float(np.percentile(self.ms[1], 99)), 2),
        }


def served_filter() -> Network:
    artifact = find_artifact("violence-filter")
    metrics = json.loads((artifact.folder / "metrics.json").read_text())
    architecture = metrics["config"]["architecture"]
    spec = artifact.spec
    network = registry.build(architecture["name"], architecture["arguments"], spec.video, len(spec.labels))
    session = open_session(artifact, provider="openvino", threads=THREADS)
    files = {variant.name: artifact.path(variant) for variant in spec.variants}
    return Network(
        f"the served filter, {spec.name} {spec.version}",
        spec.video,
        channels_last(network.eval()),
        files,
        lambda clips: session.run(Inputs(clips)).logits,
    )


def paper_network(folder: Path) -> Network:
    torch.manual_seed(0)
    network = registry.build("r2plus1d", {"depth": 18}, PAPER, 1).eval()
    fp32 = folder / "r2plus1d.onnx"
    random = np.random.default_rng(1)
    batches = [random.integers(0, 256, (2, *PAPER.clip_shape), dtype=np.uint8) for _ in range(2)]
    inputs = {"clips": torch.from_numpy(batches[0])}
    export_onnx(network, Batch(inputs, torch.zeros(2, 1), np.zeros(2, np.int64)), fp32)
    files = export_variants(fp32, folder, [{"clips": clips} for clips in batches], Quantise())
    session = _ort(files["int8"], "OpenVINOExecutionProvider")
    return Network("R(2+1)D-18, 16x112x112", PAPER, channels_last(network), files, session)


def ways(network: Network) -> dict[str, Callable[[], Run]]:
    """Each way to run it, as a function that prepares it."""
    found: dict[str, Callable[[], Run]] = {
        SLUICE: lambda: network.sluice,
        "torch, eager, channels last": lambda: _torch(network.torch),
        "torch.compile": lambda: _torch(torch.compile(network.torch)),
        "ONNX Runtime, FP32": lambda: _ort(network.files["fp32"], "CPUExecutionProvider"),
        "native OpenVINO, FP32": lambda: _openvino(network.files["fp32"]),
    }
    for variant in ("int8", "int8-lowered"):
        if variant in network.files:
            file = network.files[variant]
            found[f"ONNX Runtime, {variant}"] = partial(_ort, file, "CPUExecutionProvider")
            found[f"native OpenVINO, {variant}"] = partial(_openvino, file)
    return found


def _torch(network: Any) -> Run:
    def run(clips: Any) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(clips))

    return run


def _ort(file: Path, provider: str) -> Run:
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = ort.InferenceSession(str(file), options, providers=[provider])
    return lambda clips: session.run(None, {"clips": clips})


def _openvino(file: Path) -> Run:
    import openvino

    compiled = openvino.Core().compile_model(
        str(file), "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": THREADS}
    )
    request = compiled.create_infer_request()
    return lambda clips: request.infer({"clips": clips})


def measure(network: Network, rounds: int) -> dict[str, Any]:
    timings = {name: Timing() for name in ways(network)}
    prepared: dict[str, Run] = {}
    for name, prepare in ways(network).items():
        try:
            prepared[name] = prepare()
            for count in BATCHES:
                prepared[name](network.clips(count))  # compiles, and warms up
        except Exception as error:
            timings[name].failed = f"{type(error).__name__}: {str(error)[:120]}"
    for _ in range(rounds):
        for name, run in prepared.items():
            for count in BATCHES if not timings[name].failed else ():
                timings[name].ms.setdefault(count, []).extend(_milliseconds(run, network.clips(count)))
    rows = {name: timing.row() for name, timing in timings.items()}
    ours = rows[SLUICE]["clips_per_s"]
    return {
        "network": network.name,
        "gflop_per_clip": round(network.gflop_per_clip, 2),
        "ways": rows,
        "times_as_fast_as": {
            name: round(ours / row["clips_per_s"], 2)
            for name, row in rows.items()
            if name != SLUICE and "failed" not in row
        },
    }


def _milliseconds(run: Run, clips: Any, budget_s: float = 0.6) -> list[float]:
    times: list[float] = []
    while sum(times) < budget_s * 1000:
        begun_s = time.perf_counter()
        run(clips)
        times.append((time.perf_counter() - begun_s) * 1000)
    return times


def int8_peak_gops() -> float:
    """Operations a second, in 10^9, of one INT8 convolution with 256 channels, the best of many runs."""
    channels, size, count = 256, 28, 8
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 127, (channels, channels, 3, 3)).astype(np.int8)
    constants = {
        "scale": np.float32(0.02),
        "zero": np.uint8(128),
        "weight": weights,
        "weight_scale": np.full(channels, 0.01, np.float32),
        "weight_zero": np.zeros(channels, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["wd"], axis=0),
    ]
    previous = "xd"
    for layer in range(8):  # so that converting the input does not count
        nodes += [
            helper.make_node("Conv", [previous, "wd"], [f"y{layer}"], pads=[1, 1, 1, 1]),
            helper.make_node("QuantizeLinear", [f"y{layer}", "scale", "zero"], [f"q{layer}"]),
            helper.make_node("DequantizeLinear", [f"q{layer}", "scale", "zero"], [f"d{layer}"]),
        ]
        previous = f"d{layer}"
    shape = [count, channels, size, size]
    graph = helper.make_graph(
        nodes,
        "peak",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(previous, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = ort.InferenceSession(
        onnx.ModelProto.SerializeToString(model), options, providers=["OpenVINOExecutionProvider"]
    )
    inputs = {"x": rng.standard_normal(shape).astype(np.float32)}
    session.run(None, inputs)
    least_ms = min(_milliseconds(lambda _: session.run(None, inputs), None, budget_s=3.0))
    return 8 * 2 * 9 * channels * channels * size * size * count / least_ms / 1e6


@click.command()
@click.option("--networks", type=click.Choice(["served", "all"]), default="all", show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for inference.json.")
def main(networks: str, rounds: int, out: Path | None) -> None:
    torch.set_num_threads(THREADS)
    peak_gops = int8_peak_gops()
    with tempfile.TemporaryDirectory() as folder:
        chosen = [served_filter()] + ([paper_network(Path(folder))] if networks == "all" else [])
        results = [measure(network, rounds) for network in chosen]
    for result in results:
        ours = result["ways"][SLUICE]
        result["share_of_int8_peak"] = round(
            result["gflop_per_clip"] * 1000 / ours["least_ms_per_clip"] / peak_gops, 3
        )
        show(
            f"{result['network']}: {result['gflop_per_clip']} GFLOP a clip, "
            f"{result['share_of_int8_peak']:.0%} of the INT8 peak",
            ["way", "clips/s", "batch", "one clip p50 ms", "p99 ms", "Sluice is times as fast"],
            [
                [
                    name,
                    row["clips_per_s"],
                    row["batch"],
                    row["single_clip_p50_ms"],
                    row["single_clip_p99_ms"],
                    result["times_as_fast_as"].get(name, ""),
                ]
                if "failed" not in row
                else [name, row["failed"], "", "", "", ""]
                for name, row in result["ways"].items()
            ],
        )
    found = {"threads": THREADS, "int8_peak_gops": round(peak_gops), "networks": results}
    click.echo(f"wrote {write('inference', found, *([out] if out else []))}")


if __name__ == "__main__":
    main()
