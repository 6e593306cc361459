"""The tables of docs/capacity.md, out of the committed results and the planner.

python -m benchmarks.service.page
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.report import RESULTS
from benchmarks.service.tables import Table, tables
from trainer.pages import filled
from worker.capacity import DAY_S, Constants, Demand, Terms, plan, upload_cost

PAGE = Path(__file__).parents[2] / "docs" / "capacity.md"
HOUR_S = 3600.0
HOURS_A_MINUTE = 500.0
MILLION = Demand(uploads_per_day=1_000_000, mean_duration_s=10)


def page() -> str:
    """docs/capacity.md as the committed results have it."""
    found = json.loads((RESULTS / "service.json").read_text())
    constants = Constants.model_validate(found["constants"])
    made = [*tables(found), _parts(constants), _million(constants), _flood(constants)]
    return filled(PAGE.read_text(), {table.name: table.in_markdown() for table in made})


def _parts(constants: Constants) -> Table:
    """Of an upload of the capacity's table that is not escalated."""
    cost = upload_cost(constants, replace(MILLION, escalated_share=0.0))
    parts = {
        "decoding": cost.decoder_cpu_s,
        "the filter": cost.model_cpu_s,
        "the rest: fetch, digest, Kafka, Python": cost.python_cpu_s,
    }
    rows = [[name, f"{cpu_s:.4f}", f"{cpu_s / cost.cpu_s:.0%}"] for name, cpu_s in parts.items()]
    return Table("service-parts", "CPU seconds of an upload, by part", ["", "CPU s", "share"], rows)


def _million(constants: Constants) -> Table:
    demands = {
        "as it is": MILLION,
        "a fifth seen before": replace(MILLION, cached_share=0.2),
        "nothing escalated": replace(MILLION, escalated_share=0.0),
        "a third escalated": replace(MILLION, escalated_share=1 / 3),
        "360 lines": replace(MILLION, height=360),
        "60 s each": replace(MILLION, mean_duration_s=60),
    }
    title = "A million uploads a day of 10 s at 720 lines, one in ten escalated, twice as many at the peak"
    return _plans("capacity-million", title, constants, demands)


def _flood(constants: Constants) -> Table:
    """The same hours of video, as uploads of different lengths."""
    video_s_per_day = HOURS_A_MINUTE * HOUR_S * DAY_S / 60
    lengths_s = [row.duration_s for row in constants.by_duration if row.duration_s >= 10]
    demands = {
        f"{length_s:g} s": Demand(video_s_per_day / length_s, length_s, peak_factor=1.0)
        for length_s in lengths_s
    }
    title = f"{HOURS_A_MINUTE:g} hours of video a minute, by the length of an upload, at 720 lines"
    return _plans("capacity-flood", title, constants, demands)


def _plans(name: str, title: str, constants: Constants, demands: dict[str, Demand]) -> Table:
    columns = [
        "",
        "uploads/s",
        "CPU s an upload",
        "uploads/s of a worker",
        "workers",
        "CPU cores",
        "p99 wait s",
    ]
    return Table(name, title, columns, [_row(what, constants, each) for what, each in demands.items()])


def _row(what: str, constants: Constants, demand: Demand) -> Sequence[str]:
    found = plan(constants, demand, Terms())
    return (
        what,
        f"{found.peak_per_s:,.1f}",
        f"{found.cost.cpu_s:.3f}",
        f"{found.worker_per_s:.2f}",
        f"{found.workers:,}",
        f"{found.cores:,}",
        f"{found.p99_wait_s:.1f}",
    )


if __name__ == "__main__":
    PAGE.write_text(page())
