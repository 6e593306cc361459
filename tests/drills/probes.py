"""What a worker says of itself on its port, as the kubelet and Prometheus ask it."""

from __future__ import annotations

import urllib.error
import urllib.request

from worker.child import WorkerProcess
from worker.standalone import HOST

TIMEOUT_S = 1.0
PARTITIONS = "sluice_partitions_assigned"
POLLS = "sluice_poll_interval_seconds"


def is_live(worker: WorkerProcess) -> bool:
    return _asked(worker, "/livez") is not None


def is_ready(worker: WorkerProcess) -> bool:
    return _asked(worker, "/readyz") is not None


def partitions(worker: WorkerProcess) -> int:
    """How many it reads; 0 when it does not answer."""
    return int(_metrics(worker).get(PARTITIONS, 0))


def polls_over(worker: WorkerProcess, limit_s: str) -> int:
    """How many were so long after the one before; ``limit_s``: a bound of the histogram, as it is written."""
    found = _metrics(worker)
    return int(found[f"{POLLS}_count"] - found[f'{POLLS}_bucket{{le="{limit_s}"}}'])


def _metrics(worker: WorkerProcess) -> dict[str, float]:
    """Each sample by its name and labels, as they are written; none when it does not answer."""
    lines = (_asked(worker, "/metrics") or "").splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in samples}


def _asked(worker: WorkerProcess, path: str) -> str | None:
    """None: no answer, or one that says no."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{worker.health_port}{path}", timeout=TIMEOUT_S) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return None
