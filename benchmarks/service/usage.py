"""What a process and its children have used of the machine, read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from worker.telemetry.usage import PROC, cpu_usage, descendants


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
    cpu = cpu_usage(pid)
    memory_bytes = sum(_memory_bytes(each) for each in [pid, *descendants(pid)])
    return Usage(cpu.worker, cpu.decoders, memory_bytes)


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """What is started inside may run on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _memory_bytes(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
