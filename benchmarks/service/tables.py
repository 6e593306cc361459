"""The results as tables: on the console, and in Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.report import show
from trainer.pages import RIGHT, markdown

Json = Mapping[str, Any]
COSTS = {
    "uploads/s": "uploads_per_s",
    "video s/s": "video_s_per_s",
    "CPU s an upload": "cpu_s_per_upload",
    "CPU s a video-hour": "cpu_s_per_video_hour",
    "cores used": "cores_used",
    "memory MB": "memory_mb",
}
STAGES = ("queue", "fetch", "decode", "filter", "escalation_decode", "escalation", "service", "end to end")


@dataclass(frozen=True)
class Table:
    name: str  # of its marker in a page
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]

    def in_markdown(self) -> str:
        rows = [[_cell(value) for value in row] for row in self.rows]
        return f"{self.title}.\n\n{markdown(self.columns, ['---', *[RIGHT] * (len(self.columns) - 1)], rows)}"


def print_tables(found: Json) -> None:
    for table in tables(found):
        show(table.title, table.columns, table.rows)


def tables(found: Json) -> list[Table]:
    share = f"{found['escalated_share']:.0%}"
    saturated = found["saturated"]
    return [
        _costs(
            "service-capacity",
            f"One worker as fast as it can; {_where(found)}",
            {
                "none escalated": saturated["filtered"],
                f"{share} escalated": saturated["mixed"],
                "all escalated": saturated["escalated"],
            },
        ),
        Table(
            "service-latency",
            "Milliseconds of each stage below the capacity: p50 / p95 / p99",
            ["stage", *(f"at {row['share_of_capacity']:.0%}" for row in found["paced"])],
            [[stage, *(_triple(row["stages_ms"].get(stage)) for row in found["paced"])] for stage in STAGES],
        ),
        _costs(
            "service-layouts",
            "By workers and partitions, the cores shared out between the workers",
            {f"{row['workers']} x {row['partitions']} partitions": row for row in found["layouts"]},
        ),
        _costs(
            "service-durations",
            f"By length, at {found['by_duration'][0]['height']} lines",
            {f"{row['duration_s']} s": row for row in found["by_duration"]},
        ),
        _costs(
            "service-heights",
            "By resolution, 10 s",
            {f"{row['height']} lines": row for row in found["by_height"]},
        ),
        Table(
            "service-cached",
            "Known content: verdicts of one core",
            ["way", "verdicts/s", "verdicts a CPU second"],
            [_cached(row) for row in found["cached"]],
        ),
        _costs(
            "service-backlog",
            "Known content, by how many uploads wait",
            {f"{row['backlog']}": row for row in found["by_backlog"]},
        ),
        Table(
            "service-start",
            "A worker with nothing to do",
            ["start to ready s", "CPU s of the start", "memory MB"],
            [[found["start"][name] for name in ("ready_s", "cpu_s", "idle_memory_mb")]],
        ),
    ]


def _where(found: Json) -> str:
    machine = found["constants"]["machine"]
    length = ", a short run" if found["quick"] else ""
    return f"{machine['cpu']}, {machine['cores']} cores, {found['broker']}{length}"


def _costs(name: str, title: str, rows: Mapping[str, Json]) -> Table:
    return Table(
        name,
        title,
        ["", *COSTS],
        [[what, *(row[key] for key in COSTS.values())] for what, row in rows.items()],
    )


def _cached(row: Json) -> list[object]:
    if "verdicts_per_cpu_s" in row:
        return [row["way"], "", row["verdicts_per_cpu_s"]]
    return [row["way"], row["uploads_per_s"], round(1 / row["cpu_s_per_upload"])]


def _triple(found: Mapping[str, float] | None) -> str:
    return " / ".join(f"{value:.0f}" for value in found.values()) if found else ""


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
