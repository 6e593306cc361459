"""What one machine does, from publishing an upload to reading its verdict.

    python -m benchmarks.service [--quick] [--media FOLDER] [--out FOLDER]

On a one-node Apache Kafka where KAFKA_HOME (or the folder of real parts) has one, else on the embedded
broker. Uploads are 10 s of 720p H.264 with keyframes 10 s apart, read from files, each with a digest of its
own; one in ten is escalated where nothing else is said. The rate is that of the verdicts, the two ends of
a run left out; CPU time is that of the worker and its decoder processes. `--quick` leaves rows out and takes
under 3 minutes.

`constants` in the results is what `sluice capacity` plans with; its copy inside of the package is written
with them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.decoders.media import Clip
from benchmarks.report import RESULTS, write
from benchmarks.service import cached, cost, load
from benchmarks.service.constants import constants_of
from benchmarks.service.page import PAGE, page
from benchmarks.service.stage import Bench, Workers, all_cores, opened
from benchmarks.service.tables import print_tables
from worker.capacity import PACKAGED
from worker.settings import InferenceSettings

BASE = Clip()
ESCALATED_SHARE = 0.1
SHARES_OF_CAPACITY = (0.5, 0.8, 1.0)
MIN_PACED = 20  # uploads, of which two are escalated


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    uploads: int  # of a saturated run
    costly: int  # of a run in which all are escalated
    paced_s: float
    partitions: tuple[int, ...]
    workers: tuple[int, ...]
    durations_s: tuple[int, ...]
    heights: tuple[int, ...]
    backlogs: tuple[int, ...]
    cached: int
    in_process_s: float
    starts: int


QUICK = Size(
    uploads=24,
    costly=6,
    paced_s=8.0,
    partitions=(4,),
    workers=(1,),
    durations_s=(1, 10, 60, 600),
    heights=(360, 720),
    backlogs=(100, 1000),
    cached=1000,
    in_process_s=1.0,
    starts=1,
)
FULL = Size(
    uploads=120,
    costly=30,
    paced_s=60.0,
    partitions=(1, 2, 4, 8),
    workers=(1, 2),
    durations_s=(1, 10, 60, 600, 3600),
    heights=(360, 720, 1080),
    backlogs=(100, 1000, 10_000),
    cached=5000,
    in_process_s=5.0,
    starts=3,
)


def measure(bench: Bench, size: Size, tell: Callable[[str], object]) -> dict[str, Any]:
    found: dict[str, Any] = {"broker": bench.broker.name, "escalated_share": ESCALATED_SHARE}
    tell("starting and resting")
    found["start"] = cost.starts(bench, size.starts)
    with bench.workers() as workers:
        found |= _loads(bench, workers, size, tell)
        tell("by length and by resolution")
        lengths = [Clip(height=360, duration_s=seconds) for seconds in size.durations_s]
        found["by_duration"] = cost.by_clip(bench, workers, lengths, size.costly)
        found["by_height"] = cost.by_clip(bench, workers, [Clip(height=h) for h in size.heights], size.costly)
    tell("partitions and workers")
    found["layouts"] = [
        _layout(bench, workers, partitions, size)
        for workers in size.workers
        for partitions in size.partitions
    ]
    tell("known content")
    found["inference"] = cost.inference(InferenceSettings())
    found["cached"] = [
        *cached.in_process(BASE, bench.media, size.in_process_s),
        *cached.through_broker(bench, BASE, size.cached),
    ]
    found["by_backlog"] = cached.by_backlog(bench, BASE, size.backlogs)
    return found | {"constants": constants_of(found, len(all_cores()))}


def _loads(bench: Bench, workers: Workers, size: Size, tell: Callable[[str], object]) -> dict[str, Any]:
    """The capacity of one worker with all cores, and how long uploads take below it."""
    tell("capacity")
    load.saturated(workers, bench.fresh(BASE, size.costly), ESCALATED_SHARE)  # warms up
    filtered = load.saturated(workers, bench.fresh(BASE, size.uploads))
    escalated = load.saturated(workers, bench.fresh(BASE, size.costly), 1.0)
    mixed = load.saturated(workers, bench.fresh(BASE, size.uploads), ESCALATED_SHARE)
    paced = []
    for share in SHARES_OF_CAPACITY:
        tell(f"at {share:.0%} of the capacity")
        per_s = share * mixed["uploads_per_s"]
        files = bench.fresh(BASE, max(MIN_PACED, round(per_s * size.paced_s)))
        paced.append({"share_of_capacity": share, **load.paced(workers, files, per_s, ESCALATED_SHARE)})
    saturated = {"filtered": filtered, "escalated": escalated, "mixed": mixed}
    return {"saturated": saturated, "paced": paced}


def _layout(bench: Bench, workers: int, partitions: int, size: Size) -> dict[str, Any]:
    """One worker has all cores, two have half of them each."""
    cores = all_cores()
    shares = [None] if workers == 1 else [set(cores[place::workers]) for place in range(workers)]
    with bench.workers(partitions=partitions, cores=shares) as ready:
        found = load.saturated(ready, bench.fresh(BASE, size.uploads), ESCALATED_SHARE)
    return {"workers": workers, "partitions": partitions, **found}


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rows: under 3 minutes.")
@click.option(
    "--media", type=click.Path(path_type=Path), default=Path("~/.cache/sluice/bench"), show_default=True
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for service.json; default: benchmarks/results, with the planner's constants and its page.",
)
def main(quick: bool, media: Path, out: Path | None) -> None:
    with opened(media.expanduser()) as bench:
        found = {"quick": quick, **measure(bench, QUICK if quick else FULL, click.echo)}
    print_tables(found)
    click.echo(f"wrote {write('service', found, out or RESULTS)}")
    if out is None:
        PACKAGED.write_text(json.dumps(found["constants"], indent=1) + "\n")
        PAGE.write_text(page())
        click.echo(f"wrote {PACKAGED} and {PAGE}")


if __name__ == "__main__":
    main()
