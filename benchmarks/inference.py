"""Clips a second, beside other ways to run the same weights on this CPU.

    python -m benchmarks.inference [--networks served|all] [--match NAME]

All ways take turns in several rounds; a way's figure is its least time at its best batch size, which other
work on the machine disturbs least. Shares are of the machine's peaks, measured before (``benchmarks.peaks``).
The file also tells how processes, threads and batches are best laid out (``benchmarks.layouts``). Only time
is measured: that the answers agree is proved where a model is exported.
"""

from __future__ import annotations

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
import torch

from benchmarks.layouts import study
from benchmarks.networks import Feed, Network, Run, onnx_runtime, paper, served
from benchmarks.peaks import Peaks, measure_peaks
from benchmarks.report import show, write

SLUICE = "Sluice"
BATCHES = (1, 4, 8)
THREADS = os.cpu_count() or 1
SERVED = ("violence-filter", "violence-escalation")
BUDGET_S = 0.25  # of each way and batch size in each round
PATIENCE_S = 2.0  # a batch that would take longer is not tried


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


def ways(network: Network) -> dict[str, Callable[[], Run]]:
    """Each way to run it, as a function that prepares it."""
    found: dict[str, Callable[[], Run]] = {
        SLUICE: lambda: network.sluice,
        "torch, eager, channels last": lambda: _torch(network.torch),
        "torch.compile": lambda: _torch(torch.compile(network.torch)),
    }
    for variant in ("fp32", "int8", "int8-lowered"):
        if variant in network.files:
            file = network.files[variant]
            found[f"ONNX Runtime, {variant}"] = partial(onnx_runtime, file, "CPUExecutionProvider", THREADS)
            found[f"native OpenVINO, {variant}"] = partial(_openvino, file, "f32")
    if "int8" in network.files:
        found["native OpenVINO, int8 and bfloat16"] = partial(_openvino, network.files["int8"], "bf16")
    return found


def _torch(network: Any) -> Run:
    def run(feed: Feed) -> object:
        with torch.inference_mode():
            return network(*(torch.from_numpy(array) for array in feed.values()))

    return run


def _openvino(file: Path, precision: str) -> Run:
    """What is not INT8 is computed in ``precision``. Sluice's is float32: its answers are those that were
    calibrated. OpenVINO's own default is bfloat16 where the CPU has it."""
    import openvino

    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": THREADS,
        "INFERENCE_PRECISION_HINT": precision,
    }
    compiled = openvino.Core().compile_model(str(file), "CPU", options)
    request = compiled.create_infer_request()
    return lambda feed: request.infer(feed)


def measure(network: Network, rounds: int, peaks: Peaks) -> dict[str, Any]:
    timings = {name: Timing() for name in ways(network)}
    prepared = {name: run for name, how in ways(network).items() if (run := _prepared(timings[name], how))}
    batches = {name: _warmed_up(timings[name], network, run) for name, run in prepared.items()}
    for _ in range(rounds):
        for name, run in prepared.items():
            for count in batches[name]:
                timings[name].ms.setdefault(count, []).extend(_milliseconds(run, network.feed(count)))
    gflop = network.gflop_per_clip
    rows = {name: timing.row() for name, timing in timings.items()}
    for name, row in rows.items():
        if "failed" not in row:
            peak_gops = peaks.int8_gops if "int8" in name or name == SLUICE else peaks.fp32_gflops
            row["share_of_peak"] = round(gflop * 1000 / row["least_ms_per_clip"] / peak_gops, 3)
    ours_ms = rows[SLUICE]["least_ms_per_clip"]
    for row in rows.values():
        if "failed" not in row:
            row["sluice_is_times_as_fast"] = round(row["least_ms_per_clip"] / ours_ms, 2)
    return {"network": network.name, "gflop_per_clip": round(gflop, 2), "ways": rows}


def _prepared(timing: Timing, how: Callable[[], Run]) -> Run | None:
    """What a way cannot do stands in the table in its own words."""
    try:
        return how()
    except Exception as error:
        timing.failed = _words(error)
        return None


def _warmed_up(timing: Timing, network: Network, run: Run) -> tuple[int, ...]:
    """The batch sizes to try, each compiled and run once."""
    sizes: list[int] = []
    clip_s = 0.0
    try:
        for count in BATCHES:
            if sizes and clip_s * count > PATIENCE_S:
                break
            run(network.feed(count))
            sizes.append(count)
            begun_s = time.perf_counter()
            run(network.feed(count))
            clip_s = (time.perf_counter() - begun_s) / count
    except Exception as error:
        timing.failed = _words(error)
        return ()
    return tuple(sizes)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:120]}"


def _milliseconds(run: Run, feed: Feed) -> list[float]:
    times: list[float] = []
    while sum(times) < BUDGET_S * 1000:
        begun_s = time.perf_counter()
        run(feed)
        times.append((time.perf_counter() - begun_s) * 1000)
    return times


@click.command()
@click.option("--networks", type=click.Choice(["served", "all"]), default="all", show_default=True)
@click.option("--match", default="", help="Only networks whose name holds this.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder; default: benchmarks/results.")
def main(networks: str, match: str, rounds: int, out: Path | None) -> None:
    torch.set_num_threads(THREADS)
    peaks = measure_peaks(THREADS)
    click.echo(peaks)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        makers = [partial(served, name, THREADS) for name in SERVED if match in name]
        if networks == "all" and match in "r2plus1d":
            makers.append(partial(paper, Path(folder), THREADS))
        for make in makers:
            results.append(measure(make(), rounds, peaks))
            _show(results[-1])
    found = {"threads": THREADS, "peaks": peaks.row(), "networks": results, "layouts": study(SERVED[0])}
    click.echo(f"wrote {write('inference', found, *([out] if out else []))}")


def _show(result: Mapping[str, Any]) -> None:
    columns = ("clips_per_s", "batch", "least_ms_per_clip", "single_clip_p50_ms", "single_clip_p99_ms")
    shares = ("share_of_peak", "sluice_is_times_as_fast")
    show(
        f"{result['network']}: {result['gflop_per_clip']} GFLOP a clip",
        ["way", *(name.replace("_", " ") for name in (*columns, *shares))],
        [
            [name, *(row.get(column, row.get("failed", "")) for column in (*columns, *shares))]
            for name, row in result["ways"].items()
        ],
    )


if __name__ == "__main__":
    main()
