"""What a process and its children have used of the machine, read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """CPU since their start, of a worker's own process and of its decoder processes; memory now."""

    main_cpu_s: float
    decoder_cpu_s: float  # of those that have ended as well
    memory_bytes: int  # proportional set size: what several of them share counts once

    @property
    def cpu_s(self) -> float:
        return self.main_cpu_s + self.decoder_cpu_s

    @property
    def memory_mb(self) -> float:
        return self.memory_bytes / 1e6

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.main_cpu_s + other.main_cpu_s,
            self.decoder_cpu_s + other.decoder_cpu_s,
            self.memory_bytes + other.memory_bytes,
        )

    def __sub__(self, earlier: Usage) -> Usage:
        """CPU of the time between; the memory is that of the later moment."""
        return Usage(
            self.main_cpu_s - earlier.main_cpu_s,
            self.decoder_cpu_s - earlier.decoder_cpu_s,
            self.memory_bytes,
        )


def usage_of(pids: list[int]) -> Usage:
    """Of these workers together."""
    found = [_of_worker(pid) for pid in pids]
    return sum(found[1:], found[0])


def _of_worker(pid: int) -> Usage:
    below = list(descendants(pid))
    return Usage(
        main_cpu_s=_cpu_s(pid, ended_children=False),
        decoder_cpu_s=sum(_cpu_s(child, ended_children=True) for child in below),
        memory_bytes=sum(_memory_bytes(each) for each in [pid, *below]),
    )


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """What is started inside may run on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


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


def _memory_bytes(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
