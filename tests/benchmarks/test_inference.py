"""How inference is timed, and that what is served stays ahead of the plain way to run the same weights."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.inference import Timing
from benchmarks.layouts import Layout, layouts
from benchmarks.networks import onnx_runtime
from worker.inference.registry import find_artifact
from worker.inference.session import installed_providers, open_session
from worker.inference.types import blank_inputs

ROUNDS = 8


def test_the_best_batch_is_the_one_with_the_least_time_for_a_clip() -> None:
    timing = Timing({1: [10.0, 12.0, 30.0], 4: [20.0, 24.0], 8: [80.0, 80.0]})
    assert timing.row() == {
        "batch": 4,
        "clips_per_s": round(4 * 1000 / 22, 1),
        "least_ms_per_clip": 5.0,
        "single_clip_p50_ms": 12.0,
        "single_clip_p99_ms": pytest.approx(29.64),
    }


def test_a_way_that_failed_has_no_times() -> None:
    assert Timing(failed="RuntimeError: no").row() == {"failed": "RuntimeError: no"}


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (1, [Layout(1, 1)]),
        (2, [Layout(1, 1), Layout(1, 2), Layout(2, 1), Layout(2, 2)]),
    ],
)
def test_layouts(cores: int, expected: list[Layout]) -> None:
    assert layouts(cores) == expected


@pytest.mark.skipif(
    "openvino" not in installed_providers(), reason="the wheel with OpenVINO is not installed"
)
def test_the_served_filter_beats_plain_onnx_runtime_in_fp32() -> None:
    """Measured: more than twice as fast. One thread each, CPU time, in turns."""
    artifact = find_artifact("violence-filter")
    session = open_session(artifact, provider="openvino", threads=1)
    plain = onnx_runtime(artifact.path(artifact.variant("fp32", "cpu")), "CPUExecutionProvider", 1)
    inputs = blank_inputs(session.spec, 1)
    feed = {"clips": np.ascontiguousarray(inputs.clips)}
    times_s: dict[str, list[float]] = {"ours": [], "plain": []}
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: session.run(inputs),
        "plain": lambda: plain(feed),
    }
    for _ in range(ROUNDS):
        for name, work in ways.items():
            begun_s = time.process_time()
            work()
            times_s[name].append(time.process_time() - begun_s)
    assert min(times_s["plain"]) > 1.2 * min(times_s["ours"])
