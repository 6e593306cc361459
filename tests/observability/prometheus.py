"""A Prometheus that reads one worker, with alerts that need no patience."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests import parts
from worker.standalone import HOST, free_port, stop_process

RULES = parts.CHECKOUT / "helm" / "rules" / "alerts.yaml"
WINDOW = "15s"  # in place of minutes and hours
RESTARTS_WINDOW = "2m"  # in place of half an hour: two restarts need half a minute
UP_S = 2  # in place of two minutes
START_TIMEOUT_S = 30.0


class Prometheus:
    def __init__(self, port: int) -> None:
        self.url = f"http://{HOST}:{port}"

    def firing(self) -> dict[str, str]:
        """Name of each alert that fires -> its summary."""
        alerts = self._get("/api/v1/alerts")["alerts"]
        return {
            each["labels"]["alertname"]: each["annotations"]["summary"]
            for each in alerts
            if each["state"] == "firing"
        }

    def wait_for(self, alert: str, timeout_s: float, again: Callable[[], object]) -> str:
        """Its summary, as soon as it fires. ``again`` is called until then, once a second."""
        give_up_s = time.monotonic() + timeout_s
        while alert not in (firing := self.firing()):
            if time.monotonic() > give_up_s:
                raise AssertionError(f"{alert} does not fire within {timeout_s} s, only {sorted(firing)}")
            again()
            time.sleep(1.0)
        return firing[alert]

    def range(self, query: str, start_s: float, end_s: float, step_s: float) -> list[Any]:
        """Series, each with ``metric`` and ``values``. Moments are seconds since 1970."""
        asked = {"query": query, "start": start_s, "end": end_s, "step": step_s}
        found: list[Any] = self._get(f"/api/v1/query_range?{urllib.parse.urlencode(asked)}")["result"]
        return found

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)["data"]


@contextmanager
def reading(folder: Path, *targets: str) -> Iterator[Prometheus]:
    """``targets``: host:port of workers, read every second."""
    program, port = parts.prometheus(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "alerts.yaml").write_text(hasty(RULES.read_text()))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [{"job_name": "sluice", "static_configs": [{"targets": list(targets)}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={HOST}:{port}",
        "--log.level=warn",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        server = Prometheus(port)
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not server.is_ready():
            if process.poll() is not None or time.monotonic() > give_up_s:
                raise AssertionError(f"Prometheus did not start: {(folder / 'log').read_text()}")
            time.sleep(0.1)
        yield server
    finally:
        stop_process(process, 5.0)


def hasty(rules: str) -> str:
    """The rules as they are, but for how long they look back, how long they wait, and how long a worker must
    have been up."""
    rules = rules.replace("[30m]", f"[{RESTARTS_WINDOW}]").replace("> 120)", f"> {UP_S})")
    return re.sub(r"\n +for: \w+", "", re.sub(r"\[(?:\d|10|15)m\]|\[1h\]", f"[{WINDOW}]", rules))
