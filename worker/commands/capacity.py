"""`sluice capacity`: the fleet that a stream of uploads needs, in words and figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from worker.capacity import DAY_S, Constants, Demand, Plan, Terms, plan, read_constants

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Prices:
    """Of an hour, in a currency of yours; None: not given."""

    core_hour: float | None = None
    gpu_hour: float | None = None


def describe(demand: Demand, terms: Terms, prices: Prices) -> Iterator[str]:
    """Lines of text. Raises SettingsError for a demand outside of what was measured."""
    constants = read_constants()
    found = plan(constants, demand, terms)
    yield from _measured(constants)
    yield from _demand(demand, found)
    yield from _fleet(found, terms, constants)
    yield from _costs(found, demand, prices)


def _measured(constants: Constants) -> Iterator[str]:
    machine = constants.machine
    yield f"measured on        {machine.cpu}, a worker with {constants.worker_cores} cores"


def _demand(demand: Demand, found: Plan) -> Iterator[str]:
    cost = found.cost
    yield (
        f"peak               {found.peak_per_s:,.1f} uploads/s, "
        f"{found.peak_per_s * demand.mean_duration_s / HOUR_S * 60:,.1f} hours of video a minute"
    )
    yield (
        f"CPU of an upload   {cost.cpu_s:.3f} s: decoding {cost.decoder_cpu_s:.3f}, "
        f"models {cost.model_cpu_s:.3f}, the rest {cost.python_cpu_s:.3f}"
    )


def _fleet(found: Plan, terms: Terms, constants: Constants) -> Iterator[str]:
    yield f"a worker           {found.worker_per_s:.2f} uploads/s with {found.cores_per_worker} cores"
    yield f"workers            {found.workers:,} ({found.load:.0%} of their rate at the peak)"
    yield f"CPU cores          {found.cores:,}"
    if terms.gpu is None:
        yield "GPUs               0; models run on the CPU, no GPU was measured yet"
        yield f"memory             {found.workers * constants.memory_mb / 1000:,.0f} GB"
    else:
        each = f"{found.cores_per_worker} CPU cores for each"
        yield f"GPUs               {found.gpus:,} at the rates given, {each}"
    yield f"partitions         a multiple of {found.workers:,}"
    yield f"p99 wait           {found.p99_wait_s:.1f} s before an upload's turn comes"


def _costs(found: Plan, demand: Demand, prices: Prices) -> Iterator[str]:
    """Nothing without a price of everything that is needed."""
    if prices.core_hour is None or (found.gpus and prices.gpu_hour is None):
        return
    hour = found.cores * prices.core_hour + found.gpus * (prices.gpu_hour or 0.0)
    day = hour * DAY_S / HOUR_S
    uploads, video_hours = demand.uploads_per_day, demand.uploads_per_day * demand.mean_duration_s / HOUR_S
    yield f"cost               {day:,.2f} a day with all workers always on"
    yield f"                   {day / uploads * 1000:,.4f} for 1,000 uploads"
    yield f"                   {day / video_hours:,.4f} for an hour of video"
