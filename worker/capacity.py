"""How many workers a stream of uploads needs, from what one worker was measured to do. Pure.

    cost of an upload (CPU seconds) -> rate of a worker -> workers, so that no upload waits long

Every worker reads partitions of its own, so each has a queue of its own: uploads arrive at random (Poisson)
and are served one after the other at the worker's full rate. The mean wait of such a queue is exact
(Pollaczek and Khinchine); that its tail falls exponentially is exact for exponential service times and the
usual approximation for others (Kingman 1962). `tests/test_capacity.py` holds it against a simulation.

What is assumed: a worker's rate grows with its cores, until Python's one thread at a time is used up; and
keys spread uploads evenly, so partitions are a multiple of the workers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.errors import SettingsError

PACKAGED = Path(__file__).parent / "measured.json"
DAY_S = 86_400.0
TAIL = 0.01  # one upload in a hundred may wait longer

CpuSeconds = Annotated[float, Field(ge=0)]


class _Measured(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Machine(_Measured):
    cpu: str
    cores: int
    python: str


class DurationCost(_Measured):
    """Of one upload of this length, not escalated."""

    duration_s: float = Field(gt=0)
    clips: float = Field(gt=0)
    decoder_cpu_s: CpuSeconds
    main_cpu_s: CpuSeconds = Field(description="fetch, filter and Python")


class HeightCost(_Measured):
    """Of one upload of this picture height, 16:9, of one length."""

    height: int = Field(gt=0)
    decoder_cpu_s: float = Field(gt=0)


class EscalationCost(_Measured):
    """What an escalated upload costs more."""

    clips: float = Field(ge=0)
    decoder_cpu_s: CpuSeconds
    model_cpu_s: CpuSeconds


class Constants(_Measured):
    """What `python -m benchmarks.service` measured of one worker."""

    machine: Machine
    worker_cores: int = Field(gt=0, description="that the worker could use")
    cores_used: float = Field(gt=0, description="of them, on average, when it had as much as it could do")
    memory_mb: float = Field(gt=0, description="of the worker at the end of that")
    duration_height: int = Field(gt=0, description="height of the pictures of `by_duration`")
    by_duration: tuple[DurationCost, ...] = Field(min_length=2, description="ascending")
    by_height: tuple[HeightCost, ...] = Field(min_length=2, description="ascending")
    filter_cpu_s_per_clip: CpuSeconds
    escalation: EscalationCost
    cached_cpu_s: CpuSeconds = Field(description="of an upload whose content is known, bytes fetched")


@dataclass(frozen=True, slots=True)
class Demand:
    """What is uploaded."""

    uploads_per_day: float
    mean_duration_s: float
    height: int = 720
    escalated_share: float = 0.1  # of what is not cached
    cached_share: float = 0.0
    peak_factor: float = 2.0  # rate of the busiest hour over that of the day

    @property
    def peak_per_s(self) -> float:
        return self.uploads_per_day / DAY_S * self.peak_factor


@dataclass(frozen=True, slots=True)
class GpuRates:
    """Clips that one GPU scores in a second."""

    filter_clips_per_s: float
    escalation_clips_per_s: float


@dataclass(frozen=True, slots=True)
class Terms:
    """What the fleet is to be made of, and how well it is to serve."""

    cores_per_worker: int | None = None  # None: as measured; with a GPU: as many as keep it busy
    headroom: float = 0.3  # share of a worker that stays free at the peak
    p99_wait_s: float = 10.0
    service_cv: float = 1.0  # standard deviation of service times over their mean
    gpu: GpuRates | None = None  # one in each worker; None: the models run on the CPU


@dataclass(frozen=True, slots=True)
class UploadCost:
    """Of the mean upload."""

    decoder_cpu_s: float
    python_cpu_s: float  # one thread at a time in each worker
    model_cpu_s: float
    gpu_s: float = 0.0

    @property
    def cpu_s(self) -> float:
        return self.decoder_cpu_s + self.python_cpu_s + self.model_cpu_s


@dataclass(frozen=True, slots=True)
class Plan:
    cost: UploadCost
    peak_per_s: float
    worker_per_s: float  # uploads that one worker takes at most
    cores_per_worker: int
    workers: int
    gpus: int
    p99_wait_s: float  # expected, at the peak

    @property
    def cores(self) -> int:
        return self.workers * self.cores_per_worker

    @property
    def load(self) -> float:
        """Share of its rate that a worker has to do at the peak."""
        return self.peak_per_s / (self.workers * self.worker_per_s)


def read_constants(path: Path = PACKAGED) -> Constants:
    """Raises SettingsError for a file that is not what the benchmark writes."""
    try:
        return Constants.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise SettingsError(f"{path} has no measured constants: {error}") from error


def plan(constants: Constants, demand: Demand, terms: Terms) -> Plan:
    """The smallest fleet that serves this demand on these terms."""
    cost = upload_cost(constants, demand, terms.gpu)
    cores, per_s = _worker(constants, cost, terms)
    workers = workers_for(demand.peak_per_s, per_s, terms)
    return Plan(
        cost=cost,
        peak_per_s=demand.peak_per_s,
        worker_per_s=per_s,
        cores_per_worker=cores,
        workers=workers,
        gpus=workers if terms.gpu else 0,
        p99_wait_s=p99_wait_s(demand.peak_per_s / workers, per_s, terms.service_cv),
    )


def upload_cost(constants: Constants, demand: Demand, gpu: GpuRates | None = None) -> UploadCost:
    """Of the mean upload; what lies between measured points is interpolated."""
    by_duration = constants.by_duration
    durations_s = [row.duration_s for row in by_duration]
    length_s = _within("mean duration", demand.mean_duration_s, durations_s, "s")

    def at_length(values: Sequence[float]) -> float:
        return float(np.interp(length_s, durations_s, values))

    clips = at_length([row.clips for row in by_duration])
    factor = _decoding(constants, demand.height) / _decoding(constants, constants.duration_height)
    filter_cpu_s = clips * constants.filter_cpu_s_per_clip
    main_cpu_s = at_length([row.main_cpu_s for row in by_duration])
    up, fresh = constants.escalation, 1.0 - demand.cached_share
    share = demand.escalated_share
    return UploadCost(
        decoder_cpu_s=fresh
        * (at_length([row.decoder_cpu_s for row in by_duration]) * factor + share * up.decoder_cpu_s),
        python_cpu_s=fresh * max(0.0, main_cpu_s - filter_cpu_s)
        + demand.cached_share * constants.cached_cpu_s,
        model_cpu_s=0.0 if gpu else fresh * (min(filter_cpu_s, main_cpu_s) + share * up.model_cpu_s),
        gpu_s=fresh * (clips / gpu.filter_clips_per_s + share * up.clips / gpu.escalation_clips_per_s)
        if gpu
        else 0.0,
    )


def workers_for(peak_per_s: float, worker_per_s: float, terms: Terms) -> int:
    """The fewest that keep their headroom and the wait of one upload in a hundred."""
    most_per_s = worker_per_s * (1.0 - terms.headroom)
    workers = max(1, math.ceil(peak_per_s / most_per_s - 1e-9))
    while p99_wait_s(peak_per_s / workers, worker_per_s, terms.service_cv) > terms.p99_wait_s:
        workers += 1
    return workers


def p99_wait_s(arrivals_per_s: float, served_per_s: float, service_cv: float) -> float:
    """How long one upload in a hundred waits at least for its turn at one worker; infinite if overloaded."""
    load = arrivals_per_s / served_per_s
    if load >= 1.0:
        return math.inf
    if load <= TAIL:
        return 0.0
    mean_wait_of_those_that_wait_s = (1.0 + service_cv**2) / 2.0 / served_per_s / (1.0 - load)
    return mean_wait_of_those_that_wait_s * math.log(load / TAIL)


def _worker(constants: Constants, cost: UploadCost, terms: Terms) -> tuple[int, float]:
    """(cores, uploads a second) of one worker."""
    use = constants.cores_used / constants.worker_cores
    python_per_s = 1.0 / cost.python_cpu_s if cost.python_cpu_s > 0 else math.inf
    if terms.gpu is None:
        cores = terms.cores_per_worker or constants.worker_cores
        return cores, min(cores * use / cost.cpu_s, python_per_s)
    gpu_per_s = min(1.0 / cost.gpu_s if cost.gpu_s > 0 else math.inf, python_per_s)
    cores = terms.cores_per_worker or math.ceil(gpu_per_s * cost.cpu_s / use)
    return cores, min(gpu_per_s, cores * use / cost.cpu_s)


def _decoding(constants: Constants, height: int) -> float:
    """CPU seconds at this height; between measured ones it grows with the number of pixels."""
    heights = [row.height for row in constants.by_height]
    _within("height", height, heights, "pixels")
    pixels = [each**2 for each in heights]
    return float(np.interp(height**2, pixels, [row.decoder_cpu_s for row in constants.by_height]))


def _within(what: str, value: float, measured: Sequence[float], unit: str) -> float:
    """Outside of what was measured there is no figure, and none is made up."""
    if not measured[0] <= value <= measured[-1]:
        raise SettingsError(
            f"{what} {value:g} {unit}: measured from {measured[0]:g} to {measured[-1]:g} {unit}; "
            "plan with a value in between, or measure with `python -m benchmarks.service`"
        )
    return value
