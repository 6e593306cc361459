"""Verdicts for people: the table of `sluice demo` and `sluice watch`."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from worker.messages import LabelSegment, Verdict

DECISION_STYLES = {"allow": "green", "review": "yellow", "block": "bold red"}


def verdict_table(title: str, rows: Iterable[tuple[str, Verdict]]) -> Table:
    """One line for each (name of the upload, verdict)."""
    # Without borders a row fits into 80 columns.
    table = Table(
        title=title, title_justify="left", header_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False
    )
    table.add_column("upload", overflow="ellipsis", no_wrap=True, max_width=22)
    table.add_column("decision", no_wrap=True)
    table.add_column("labels", min_width=13)
    table.add_column("seen at", max_width=10)
    table.add_column("decided by", no_wrap=True)
    table.add_column("latency", justify="right", no_wrap=True)
    for name, verdict in rows:
        table.add_row(*verdict_cells(name, verdict))
    return table


def verdict_cells(name: str, verdict: Verdict) -> tuple[Text | str, ...]:
    return (
        Text(name),
        Text(verdict.decision, style=DECISION_STYLES[verdict.decision]),
        Text(labels_text(verdict)),
        Text(segments_text(verdict.segments)),
        Text(verdict.decided_by + (" (degraded)" if verdict.degraded else "")),
        Text(latency_text(verdict)),
    )


def labels_text(verdict: Verdict) -> str:
    """`violence 0.97`, one label a line; without labels, why there are none."""
    if verdict.labels:
        return "\n".join(f"{label.name} {label.probability:.2f}" for label in verdict.labels)
    return verdict.reason


def segments_text(segments: Iterable[LabelSegment]) -> str:
    """`0:02-0:05, 0:11-0:13`, outward to whole seconds; the label is named when there are several."""
    segments = tuple(segments)
    several = len({segment.label for segment in segments}) > 1
    return ", ".join(
        (f"{segment.label} " if several else "")
        + f"{clock(math.floor(segment.start_s))}-{clock(math.ceil(segment.end_s))}"
        for segment in segments
    )


def clock(seconds: int) -> str:
    """75 -> 1:15"""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}:{rest:02}"


def latency_text(verdict: Verdict) -> str:
    """Time from the event's creation to the decision where the event says it, else the worker's own."""
    if verdict.created_at is not None:
        seconds = (verdict.decided_at - verdict.created_at).total_seconds()
    else:
        seconds = verdict.timings_ms.get("total", 0.0) / 1000.0
    return f"{seconds:.2f} s"
