"""What is done to processes and disks. Each fault is undone where its block ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.drills.tracer import STOPPED
from worker.telemetry.usage import descendants


@contextmanager
def frozen(pids: Iterable[int]) -> Iterator[None]:
    """SIGSTOP: connections stay open and are accepted, and nothing answers."""
    stopped = list(pids)
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def main_thread_stopped(pid: int) -> Iterator[None]:
    """Its other threads go on. Raises AssertionError where tracing is not allowed."""
    command = [sys.executable, "-m", "tests.drills.tracer", str(pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tracer:
        assert tracer.stdin is not None
        assert tracer.stdout is not None
        assert tracer.stdout.readline().strip() == STOPPED, "the main thread cannot be stopped"
        try:
            yield
        finally:
            tracer.stdin.close()


def kill_children(pid: int) -> int:
    """SIGKILL everything below a process. Returns how many there were."""
    below = list(descendants(pid))
    for child in below:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return len(below)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[None]:
    """A file system of its own with room for ``size_bytes``. Needs root."""
    folder.mkdir()
    options = f"size={size_bytes},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Not a byte is left on the file system of ``folder``."""
    ballast = folder / "ballast"
    try:
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        yield
    finally:
        ballast.unlink()


def damage(file: Path) -> None:
    """Turn one byte in the middle, in place: whoever has the file open or mapped sees it too."""
    with file.open("r+b") as opened:
        middle = file.stat().st_size // 2
        opened.seek(middle)
        byte = opened.read(1)[0]
        opened.seek(middle)
        opened.write(bytes([byte ^ 0xFF]))


def memory_bytes(pid: int) -> int:
    """What the process itself holds (resident)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def is_root() -> bool:
    return os.geteuid() == 0
