"""The planner: literal tables, its queue against a simulation, its constants against the benchmark."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from worker.capacity import (
    PACKAGED,
    Constants,
    Demand,
    GpuRates,
    Terms,
    p99_wait_s,
    plan,
    read_constants,
    upload_cost,
    workers_for,
)
from worker.cli import cli
from worker.errors import SettingsError

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "service.json"

# Round figures: 10 s cost 1 CPU second at 360 lines, of which the filter has 0.4 and Python 0.1.
ROUND = Constants.model_validate(
    {
        "machine": {"cpu": "round", "cores": 4, "python": "3"},
        "worker_cores": 4,
        "cores_used": 3.6,
        "memory_mb": 500,
        "duration_height": 360,
        "by_duration": [
            {"duration_s": 1, "clips": 1, "decoder_cpu_s": 0.05, "main_cpu_s": 0.15},
            {"duration_s": 10, "clips": 8, "decoder_cpu_s": 0.5, "main_cpu_s": 0.5},
            {"duration_s": 100, "clips": 32, "decoder_cpu_s": 1.5, "main_cpu_s": 1.8},
        ],
        "by_height": [
            {"height": 360, "decoder_cpu_s": 0.4},
            {"height": 720, "decoder_cpu_s": 1.2},
        ],
        "filter_cpu_s_per_clip": 0.05,
        "escalation": {"clips": 6, "decoder_cpu_s": 0.5, "model_cpu_s": 1.5},
        "cached_cpu_s": 0.01,
    }
)
SMALL = Demand(
    uploads_per_day=864_000, mean_duration_s=10, height=360, escalated_share=0.0, peak_factor=1.0
)  # 10 uploads a second
TIGHT = Terms(headroom=0.0, p99_wait_s=10.0)


@pytest.mark.parametrize(
    ("changes", "decoder", "python", "models"),
    [
        ({}, 0.5, 0.1, 0.4),
        ({"mean_duration_s": 55}, 1.0, 0.15, 1.0),  # half way between two measured lengths
        ({"height": 720}, 1.5, 0.1, 0.4),  # three times the decoding
        ({"height": 509}, 0.833, 0.1, 0.4),  # twice the pixels of 360: a third of the way up
        ({"escalated_share": 0.5}, 0.75, 0.1, 1.15),
        ({"cached_share": 1.0}, 0.0, 0.01, 0.0),
        ({"cached_share": 0.5, "escalated_share": 1.0}, 0.5, 0.055, 0.95),
    ],
)
def test_the_cost_of_an_upload(
    changes: dict[str, float], decoder: float, python: float, models: float
) -> None:
    cost = upload_cost(ROUND, replace(SMALL, **changes))  # type: ignore[arg-type]
    found = (cost.decoder_cpu_s, cost.python_cpu_s, cost.model_cpu_s)
    assert found == pytest.approx((decoder, python, models), rel=1e-3)


def test_a_gpu_takes_the_models_off_the_cores() -> None:
    demand = replace(SMALL, escalated_share=0.5)
    cost = upload_cost(ROUND, demand, GpuRates(filter_clips_per_s=1000, escalation_clips_per_s=100))
    assert cost.cpu_s == pytest.approx(0.85)
    assert cost.gpu_s == pytest.approx(8 / 1000 + 0.5 * 6 / 100)


@pytest.mark.parametrize(
    ("terms", "worker_per_s", "cores", "workers"),
    [
        (Terms(headroom=0.0, p99_wait_s=1e9), 3.6, 4, 3),
        (Terms(headroom=0.5, p99_wait_s=1e9), 3.6, 4, 6),
        (Terms(cores_per_worker=8, headroom=0.0, p99_wait_s=1e9), 7.2, 8, 2),
        (Terms(cores_per_worker=100, headroom=0.0, p99_wait_s=1e9), 10.0, 100, 2),  # Python is used up
        (TIGHT, 3.6, 4, 4),  # three workers would do, and let one upload in a hundred wait for longer
    ],
)
def test_the_smallest_fleet(terms: Terms, worker_per_s: float, cores: int, workers: int) -> None:
    found = plan(ROUND, replace(SMALL, uploads_per_day=899_000), terms)
    assert (found.worker_per_s, found.cores_per_worker) == pytest.approx((worker_per_s, cores))
    assert (found.workers, found.cores, found.gpus) == (workers, workers * cores, 0)


def test_a_gpu_gets_as_many_cores_as_keep_it_busy() -> None:
    gpu = GpuRates(filter_clips_per_s=40, escalation_clips_per_s=40)  # 0.2 s an upload
    demand = replace(SMALL, uploads_per_day=850_000)
    found = plan(ROUND, demand, Terms(headroom=0.0, p99_wait_s=1e9, gpu=gpu))
    assert (found.worker_per_s, found.workers, found.gpus) == (5.0, 2, 2)
    assert found.cores_per_worker == 4  # 5 uploads a second at 0.6 s, of cores that are used to 90 %


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mean_duration_s": 0.5}, "mean duration 0.5 s: measured from 1 to 100 s"),
        ({"height": 1080}, "height 1080 pixels: measured from 360 to 720"),
    ],
)
def test_nothing_is_made_up_beyond_what_was_measured(changes: dict[str, float], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        plan(ROUND, replace(SMALL, **changes), TIGHT)  # type: ignore[arg-type]


# The queue


def simulated_p99_s(arrivals_per_s: float, served_per_s: float, cv: float, uploads: int = 400_000) -> float:
    """One worker's queue on a virtual clock (Lindley's recursion): Poisson arrivals, gamma service."""
    random = np.random.default_rng(1)
    shape = 1 / cv**2
    service_s = random.gamma(shape, 1 / served_per_s / shape, uploads)
    gaps_s = random.exponential(1 / arrivals_per_s, uploads)
    steps = np.cumsum(service_s[:-1] - gaps_s[1:])
    waits_s = steps - np.minimum(0.0, np.minimum.accumulate(steps))
    return float(np.percentile(waits_s, 99))


@pytest.mark.parametrize("load", [0.5, 0.8, 0.9])
@pytest.mark.parametrize(("cv", "tolerance"), [(0.5, 0.15), (1.0, 0.12), (1.5, 0.15)])
def test_the_formula_says_what_the_simulation_finds(load: float, cv: float, tolerance: float) -> None:
    served_per_s = 4.0
    expected_s = p99_wait_s(load * served_per_s, served_per_s, cv)
    assert simulated_p99_s(load * served_per_s, served_per_s, cv) == pytest.approx(expected_s, rel=tolerance)


@pytest.mark.parametrize(
    ("load", "served_per_s", "wait_s"),
    [(0.5, 1.0, 2 * math.log(50)), (0.8, 4.0, 1.25 * math.log(80)), (0.01, 1.0, 0.0), (1.0, 1.0, math.inf)],
)
def test_the_wait_for_exponential_service_times(load: float, served_per_s: float, wait_s: float) -> None:
    assert p99_wait_s(load * served_per_s, served_per_s, 1.0) == pytest.approx(wait_s)


@pytest.mark.parametrize("peak_per_s", [3.0, 20.0, 200.0])
@pytest.mark.parametrize("cv", [0.7, 1.0])
def test_the_planned_workers_keep_the_wait_and_one_fewer_do_not(peak_per_s: float, cv: float) -> None:
    """By simulation. Of many workers one more or less changes little: there, one fewer is at the limit."""
    served_per_s, terms = 1.5, Terms(headroom=0.0, p99_wait_s=10.0, service_cv=cv)
    workers = workers_for(peak_per_s, served_per_s, terms)
    assert simulated_p99_s(peak_per_s / workers, served_per_s, cv) < 1.1 * terms.p99_wait_s
    fewer = workers - 1
    overloaded = peak_per_s / fewer >= served_per_s
    assert overloaded or simulated_p99_s(peak_per_s / fewer, served_per_s, cv) > 0.9 * terms.p99_wait_s


# The measured constants


def test_the_package_has_the_constants_of_the_committed_results() -> None:
    assert json.loads(PACKAGED.read_text()) == json.loads(RESULTS.read_text())["constants"]


@pytest.mark.parametrize("load", ["filtered", "mixed", "escalated"])
def test_the_planned_rate_is_the_one_that_the_benchmark_reached(load: str) -> None:
    """Put together from the costs of its parts, within what the benchmark's runs differ by."""
    found = json.loads(RESULTS.read_text())
    share = {"filtered": 0.0, "mixed": found["escalated_share"], "escalated": 1.0}[load]
    demand = Demand(1.0, 10.0, height=720, escalated_share=share)
    planned_per_s = plan(read_constants(), demand, Terms()).worker_per_s
    assert planned_per_s == pytest.approx(found["saturated"][load]["uploads_per_s"], rel=0.2)


# The command


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["capacity", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_names_workers_and_cores_and_no_cost_without_a_price() -> None:
    shown = run("--uploads-per-day", "1000000", "--mean-duration", "10")
    found = plan(read_constants(), Demand(1_000_000, 10), Terms())
    assert f"workers            {found.workers:,} " in shown
    assert f"CPU cores          {found.cores:,}\n" in shown
    assert "no GPU was measured yet" in shown
    assert "cost" not in shown


def test_the_command_counts_with_your_prices() -> None:
    asked = ("--uploads-per-day", "1000000", "--mean-duration", "10")
    found = plan(read_constants(), Demand(1_000_000, 10), Terms())
    assert f"cost               {found.cores * 24 * 0.05:,.2f} a day" in run(*asked, "--core-price", "0.05")
    on_gpus = run(*asked, "--gpu-rates", "2000", "500", "--core-price", "0.05")
    assert "GPUs               0" not in on_gpus
    assert "cost" not in on_gpus  # a GPU's price is missing
    assert "cost" in run(*asked, "--gpu-rates", "2000", "500", "--core-price", "0.05", "--gpu-price", "2")


def test_what_is_not_measured_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no measured constants"):
        read_constants(tmp_path / "missing.json")
