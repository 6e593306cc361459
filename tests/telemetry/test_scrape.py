from __future__ import annotations

import math
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from worker.telemetry.health import HealthServer
from worker.telemetry.metrics import Metrics
from worker.telemetry.scrape import Reading, Summed, Window, parse, quantile, read_worker

INF = math.inf


def reading(at_s: float, *lines: str) -> Reading:
    declared = {line.partition("{")[0].removesuffix("_total") for line in lines}
    return Reading(at_s, parse("\n".join([*(f"# TYPE {name} counter" for name in declared), *lines, ""])))


FIRST = reading(10.0, 'a_total{x="1"} 5', 'a_total{x="2"} 7')
SECOND = reading(14.0, 'a_total{x="1"} 9', 'a_total{x="2"} 7', 'a_total{x="3"} 2')
RESTARTED = reading(14.0, 'a_total{x="1"} 3')


@pytest.mark.parametrize(
    ("window", "increase", "rate"),
    [
        (Window(FIRST, SECOND), {"1": 4.0, "2": 0.0, "3": 2.0}, 1.5),
        (Window(FIRST, RESTARTED), {"1": 3.0}, 0.75),  # began again at 0
        (Window(None, SECOND), {"1": 9.0, "2": 7.0, "3": 2.0}, 0.0),  # since the start, which nobody saw
    ],
)
def test_what_happened_between_two_readings(window: Window, increase: dict[str, float], rate: float) -> None:
    assert Summed([window]).increase_by("a_total", "x") == increase
    assert Summed([window]).increase("a_total", x="1") == increase["1"]
    assert Summed([window]).rate("a_total") == rate


def test_workers_are_added_up_each_over_its_own_time() -> None:
    both = Summed([Window(FIRST, SECOND), Window(reading(12.0), reading(14.0, 'a_total{x="1"} 8'))])
    assert both.increase("a_total") == 14.0
    assert both.rate("a_total") == 1.5 + 4.0
    assert both.gauge("a_total", x="1") == 17.0
    assert both.share("a_total", "a_total", x="1") == 12.0 / 14.0
    assert both.share("a_total", "b_total") is None


@pytest.mark.parametrize(
    ("buckets", "q", "expected"),
    [
        ({}, 0.5, None),
        ({1.0: 0, INF: 0}, 0.5, None),
        ({1.0: 10, 2.0: 20, INF: 20}, 0.5, 1.0),
        ({1.0: 10, 2.0: 20, INF: 20}, 0.75, 1.5),
        ({1.0: 10, 2.0: 20, INF: 20}, 0.05, 0.1),
        ({1.0: 0, 2.0: 0, INF: 5}, 0.5, 2.0),  # above all edges: the highest is all that is known
    ],
)
def test_quantiles_are_prometheus_own(buckets: dict[float, float], q: float, expected: float | None) -> None:
    assert quantile(buckets, q) == expected


@pytest.fixture
def worker() -> Iterator[tuple[str, Metrics, dict[str, str | None]]]:
    metrics = Metrics()
    state: dict[str, str | None] = {"models": None}
    server = HealthServer(
        "127.0.0.1", 0, metrics=metrics.exposition, live={}, ready={"models": lambda: state["models"]}
    )
    server.start()
    yield f"127.0.0.1:{server.port}", metrics, state
    server.close()


def test_a_worker_is_read_from_its_own_port(worker: tuple[str, Metrics, dict[str, str | None]]) -> None:
    address, metrics, state = worker
    for seconds in (0.2, 0.2, 0.7, 40.0):
        metrics.upload_to_verdict("live", seconds)
    metrics.upload_answered("review", "error", "undecodable")
    found = read_worker(address, 2.0)
    assert found.failing == ""
    seen = Summed([Window(None, found)])
    assert seen.increase_by("sluice_uploads_total", "decided_by", reason="undecodable") == {"error": 1.0}
    assert seen.quantile_s("sluice_upload_to_verdict_seconds", 0.5) == pytest.approx(0.25)
    assert seen.quantile_s("sluice_upload_to_verdict_seconds", 0.5, priority="batch") is None
    state["models"] = "the filter is broken"
    assert read_worker(address, 2.0).failing == "models: the filter is broken"


def test_what_is_no_worker_is_an_error() -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello {world} 1 2 3</html>\n")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(OSError, match="no metrics"):
            read_worker(f"127.0.0.1:{server.server_port}", 2.0)
        thread.join()
    with pytest.raises(OSError, match="refused"):
        read_worker(f"127.0.0.1:{server.server_port}", 2.0)
