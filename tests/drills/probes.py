"""What a worker says of itself on its port, as the kubelet and Prometheus ask it."""

from __future__ import annotations

import urllib.error
import urllib.request

from worker.child import WorkerProcess
from worker.standalone import HOST

TIMEOUT_S = 1.0
PARTITIONS = "sluice_partitions_assigned"


def is_live(worker: WorkerProcess) -> bool:
    return _asked(worker, "/livez") is not None


def is_ready(worker: WorkerProcess) -> bool:
    return _asked(worker, "/readyz") is not None


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
