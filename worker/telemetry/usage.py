"""What a process and those below it have used of the CPU, read from /proc. Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class CpuUsage(NamedTuple):
    """Seconds since the start. Between two readings, a process that ends may be missed for a moment."""

    worker: float  # of the process itself, all of its threads
    decoders: float  # of the processes below it, those that have ended as well


def cpu_usage(pid: int | None = None) -> CpuUsage:
    """Of this process, or of another one."""
    pid = os.getpid() if pid is None else pid
    return CpuUsage(
        worker=_cpu_s(pid, ended_children=False),
        decoders=sum(_cpu_s(each, ended_children=True) for each in descendants(pid)),
    )


def descendants(pid: int) -> Iterator[int]:
    """The pids of its children, theirs, and so on."""
    parents = {int(path.name): _parent(path) for path in PROC.iterdir() if path.name.isdigit()}
    found = {pid}
    while grown := {child for child, parent in parents.items() if parent in found} - found:
        found |= grown
        yield from grown


def _parent(process: Path) -> int:
    fields = _stat(process)
    return int(fields[1]) if fields else 0


def _cpu_s(pid: int, *, ended_children: bool) -> float:
    fields = _stat(PROC / str(pid))
    counted = fields[11:15] if ended_children else fields[11:13]  # utime, stime, cutime, cstime
    return sum(map(int, counted)) / TICKS_PER_S


def _stat(process: Path) -> list[str]:
    """The fields after the name, which may hold anything; empty when the process has gone."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
