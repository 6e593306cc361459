"""How long a clip takes on this machine, for every variant on every CPU provider that is installed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from trainer.evaluation.speeds import Speed
from trainer.export import CPU_PROVIDERS, Feed, session

RUNS = 30
WARM_UP = 3  # the first runs compile


def measure(files: Mapping[str, Path], threads: int = 2) -> tuple[Speed, ...]:
    """Every named file on every provider; the files take turns, so that what disturbs one disturbs all."""
    return tuple(speed for provider in installed() for speed in measure_on(provider, files, threads))


def installed() -> tuple[str, ...]:
    available = set(ort.get_available_providers())
    return tuple(provider for provider, name in CPU_PROVIDERS.items() if name in available)


def measure_on(provider: str, files: Mapping[str, Path], threads: int, runs: int = RUNS) -> tuple[Speed, ...]:
    runners = {name: session(file, CPU_PROVIDERS[provider], threads) for name, file in files.items()}
    times_ms: dict[str, list[float]] = {name: [] for name in files}
    for run in range(WARM_UP + runs):
        for name, runner in runners.items():
            inputs = one_clip(runner)
            begun_s = time.perf_counter()
            runner.run(None, dict(inputs))
            if run >= WARM_UP:
                times_ms[name].append((time.perf_counter() - begun_s) * 1000)
    return tuple(
        Speed(name, provider, threads, round(float(np.median(each)), 2), round(min(each), 2))
        for name, each in times_ms.items()
    )


def one_clip(runner: ort.InferenceSession) -> Feed:
    """One clip for every input that the file names: noise, of the type and the size that it says."""
    random = np.random.default_rng(0)
    made = {}
    for node in runner.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in node.shape]
        if node.type == "tensor(uint8)":
            made[node.name] = random.integers(0, 256, shape, dtype=np.uint8)
        else:
            made[node.name] = random.uniform(0.0, 1.0, shape).astype(np.float32)
    return made
