"""What a worker says of itself on its port, as the kubelet and Prometheus ask it."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from worker.child import WorkerProcess
from worker.standalone import HOST

TIMEOUT_S = 1.0
PARTITIONS = "sluice_partitions_assigned"


def is_live(worker: WorkerProcess) -> bool:
    return _asked(worker, "/livez") is not None


def is_ready(worker: WorkerProcess) -> bool:
    return _asked(worker, "/readyz") is not None


@contextmanager
def always_live(workers: Sequence[WorkerProcess], problems: list[str]) -> Iterator[None]:
    """Ask all of them once a second while the block lasts; who is not, is a problem."""
    over = threading.Event()

    def ask() -> None:
        while not over.wait(1.0):
            dead = [place for place, each in enumerate(workers) if not is_live(each)]
            problems.extend(f"/livez of worker {place} failed" for place in dead)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()


def partitions(worker: WorkerProcess) -> int:
    """How many it reads; 0 when it does not answer."""
    for line in (_asked(worker, "/metrics") or "").splitlines():
        if line.startswith(f"{PARTITIONS} "):
            return int(float(line.split()[1]))
    return 0


def _asked(worker: WorkerProcess, path: str) -> str | None:
    """None: no answer, or one that says no."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{worker.health_port}{path}", timeout=TIMEOUT_S) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return None
