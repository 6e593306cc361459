"""What `sluice top` draws. Pure: a frame in, something that rich prints out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.commands.show import DECISION_STYLES
from worker.stream.client.lag import PartitionLag
from worker.telemetry.scrape import Summed

BAR_CELLS = 20
MAX_DETAIL = 80  # characters
NOTHING = "-"
DECIDERS = ("cache", "filter", "escalation", "error")
LATENCY = "sluice_upload_to_verdict_seconds"


@dataclass(frozen=True, slots=True)
class WorkerRow:
    address: str
    wrong: str  # what it complains about, or why it does not answer; empty: ready
    rates: Summed  # over no window when it does not answer
    shares: Summed


@dataclass(frozen=True, slots=True)
class Trouble:
    """A verdict that is an error or degraded."""

    at: datetime
    upload_id: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Frame:
    at: datetime
    group: str
    broker: str
    broker_trouble: str  # empty: it answers
    span: str  # what shares and latencies are of
    workers: tuple[WorkerRow, ...]
    rates: Summed  # of all workers
    shares: Summed
    partitions: Mapping[int, PartitionLag]
    troubles: tuple[Trouble, ...]


def frame_view(frame: Frame) -> RenderableType:
    parts: list[RenderableType] = [_title(frame), _summary(frame), _workers(frame)]
    if wrong := [f"{row.address}: {row.wrong}" for row in frame.workers if row.wrong]:
        parts.append(Text("\n".join(wrong), style="bold red"))
    parts += [_partitions(frame), _decisions(frame)]
    if frame.troubles:
        parts.append(_troubles(frame))
    spaced = [each for part in parts for each in (part, Text(""))]
    return Group(*spaced[:-1])


def _title(frame: Frame) -> Text:
    ready = sum(not row.wrong for row in frame.workers)
    style = "green" if ready == len(frame.workers) else "bold red"
    return Text.assemble(
        (f"{frame.at:%H:%M:%S} UTC  ", "bold"),
        (f"{ready} of {len(frame.workers)} workers ready", style),
        f", group {frame.group} at {frame.broker}",
    )


def _summary(frame: Frame) -> Table:
    rates, shares = frame.rates, frame.shares
    behind = sum(partition.behind for partition in frame.partitions.values())
    failed = shares.share("sluice_uploads_total", "sluice_uploads_total", decided_by="error")
    table = _table()
    for name in (
        "verdicts/s",
        "video s/s",
        "behind",
        "pending",
        "p50",
        "p95",
        "escalated",
        "errors",
        "cores",
    ):
        table.add_column(name, justify="right")
    table.add_row(
        f"{rates.rate('sluice_uploads_total'):.2f}",
        f"{rates.rate('sluice_video_seconds_total'):.1f}",
        f"{behind:,}" if frame.partitions else NOTHING,
        f"{shares.gauge('sluice_records_pending'):.0f}",
        _seconds(shares.quantile_s(LATENCY, 0.5)),
        _seconds(shares.quantile_s(LATENCY, 0.95)),
        _percent(shares.share("sluice_escalated_uploads_total", "sluice_uploads_total")),
        _percent(failed, bad=lambda share: share > 0),
        f"{rates.rate('sluice_cpu_seconds_total'):.2f}",
    )
    return table


def _workers(frame: Frame) -> Table:
    table = _table(f"workers (latencies and shares {frame.span})")
    table.add_column("address", no_wrap=True, min_width=20)
    table.add_column("", no_wrap=True)
    for name in ("partitions", "per s", "pending", "p95", "slowest", "cores"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in frame.workers:
        if not row.rates.windows:
            table.add_row(row.address, Text("silent", style="bold red"))
            continue
        full = row.shares.gauge("sluice_consumer_paused") > 0
        table.add_row(
            row.address,
            Text("not ready", style="bold red") if row.wrong else Text("ready", style="green"),
            f"{row.shares.gauge('sluice_partitions_assigned'):.0f}",
            f"{row.rates.rate('sluice_uploads_total'):.2f}",
            Text(f"{row.shares.gauge('sluice_records_pending'):.0f}{' full' if full else ''}"),
            _seconds(row.shares.quantile_s(LATENCY, 0.95)),
            _slowest(row.shares),
            f"{row.rates.rate('sluice_cpu_seconds_total'):.2f}",
        )
    return table


def _partitions(frame: Frame) -> Table:
    table = _table("partitions")
    if frame.broker_trouble:
        table.add_column("")
        table.add_row(Text(frame.broker_trouble, style="bold red"))
        return table
    for name in ("partition", "committed", "end", "behind"):
        table.add_column(name, justify="right")
    table.add_column("", no_wrap=True)
    most = max((lag.behind for lag in frame.partitions.values()), default=0)
    for number, lag in sorted(frame.partitions.items()):
        committed = NOTHING if lag.committed is None else f"{lag.committed:,}"
        cells = round(BAR_CELLS * lag.behind / most) if most else 0
        bar = Text("█" * cells, style="yellow")
        table.add_row(f"{number}", committed, f"{lag.end:,}", f"{lag.behind:,}", bar)
    return table


def _decisions(frame: Frame) -> Table:
    table = _table(f"decisions ({frame.span})")
    table.add_column("")
    for decider in DECIDERS:
        table.add_column(decider, justify="right")
    for decision, style in DECISION_STYLES.items():
        counts = frame.shares.increase_by("sluice_uploads_total", "decided_by", decision=decision)
        table.add_row(
            Text(decision, style=style), *(f"{counts.get(decider, 0.0):.0f}" for decider in DECIDERS)
        )
    return table


def _troubles(frame: Frame) -> Table:
    table = _table("last errors")
    table.add_column("at", no_wrap=True, min_width=8)
    table.add_column("upload", overflow="ellipsis", no_wrap=True, max_width=24)
    table.add_column("reason", no_wrap=True, min_width=18)
    table.add_column("detail")  # the only one that gives way
    for trouble in frame.troubles:
        table.add_row(
            f"{trouble.at:%H:%M:%S}",
            Text(trouble.upload_id),
            trouble.reason,
            Text(trouble.detail[:MAX_DETAIL] or NOTHING),
        )
    return table


def _slowest(shares: Summed) -> str:
    """The stage with most of the time, `total` aside."""
    spent = shares.increase_by("sluice_stage_seconds_sum", "stage")
    spent.pop("total", None)
    return max(spent, key=lambda stage: spent[stage]) if any(spent.values()) else NOTHING


def _table(title: str | None = None) -> Table:
    return Table(
        title=title, title_justify="left", header_style="bold", box=None, padding=(0, 1, 0, 0), pad_edge=False
    )


def _seconds(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{seconds:.1f} s"


def _percent(share: float | None, bad: Callable[[float], bool] = lambda share: False) -> Text:
    if share is None:
        return Text(NOTHING)
    return Text(f"{share:.1%}", style="bold red" if bad(share) else "")
