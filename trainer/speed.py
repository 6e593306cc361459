"""How long a clip takes on this machine, through the session that serving uses."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from models.spec import ModelSpec
from trainer.export import session

PROVIDERS = {"openvino": "OpenVINOExecutionProvider", "cpu": "CPUExecutionProvider"}
RUNS = 30


@dataclass(frozen=True, slots=True)
class Speed:
    """One clip at a time; the least is the figure that other work on the machine disturbs least."""

    variant: str
    provider: str
    threads: int
    median_ms_per_clip: float
    least_ms_per_clip: float


def measure(spec: ModelSpec, folder: Path, threads: int = 2) -> tuple[Speed, ...]:
    """Every variant on every CPU provider that is installed."""
    installed = set(ort.get_available_providers())
    return tuple(
        _measured(spec, folder / variant.file, variant.name, provider, threads)
        for provider, name in PROVIDERS.items()
        if name in installed
        for variant in spec.variants
    )


def _measured(spec: ModelSpec, file: Path, variant: str, provider: str, threads: int) -> Speed:
    runner = session(file, PROVIDERS[provider], threads)
    random = np.random.default_rng(0)
    inputs = {"clips": random.integers(0, 256, (1, *spec.video.clip_shape), dtype=np.uint8)}
    if spec.audio is not None:
        log_mel = random.uniform(-1.0, 1.0, (1, spec.audio.frames, spec.audio.mels))
        inputs |= {"log_mel": log_mel.astype(np.float32), "has_audio": np.ones(1, np.float32)}
    times_ms = []
    for _ in range(RUNS + 3):
        begun_s = time.perf_counter()
        runner.run(None, inputs)
        times_ms.append((time.perf_counter() - begun_s) * 1000)
    measured = np.asarray(times_ms[3:])  # the first runs compile and warm up
    return Speed(
        variant, provider, threads, round(float(np.median(measured)), 2), round(float(measured.min()), 2)
    )
