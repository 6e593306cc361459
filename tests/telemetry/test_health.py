from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests import parts
from worker.errors import SettingsError
from worker.telemetry.health import Check, HealthServer
from worker.telemetry.metrics import Metrics

State = dict[str, str | None]


@pytest.fixture
def state() -> State:
    """What each check answers; tests change it."""
    return {"poll": None, "models": None, "group": None}


@pytest.fixture
def server(state: State) -> Iterator[HealthServer]:
    def check(name: str) -> Check:
        return lambda: state[name]

    metrics = Metrics()
    metrics.cache_event("hit")
    server = HealthServer(
        "127.0.0.1",
        0,
        metrics=metrics.exposition,
        live={"poll": check("poll")},
        ready={"models": check("models"), "group": check("group")},
    )
    server.start()
    yield server
    server.close()


def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def body(server: HealthServer, path: str) -> tuple[int, object]:
    status, content_type, data = get(server, path)
    assert content_type == "application/json"
    return status, json.loads(data)


def test_all_is_well(server: HealthServer) -> None:
    assert body(server, "/livez") == (200, {"status": "ok", "checks": {"poll": "ok"}})
    assert body(server, "/readyz?verbose") == (
        200,
        {"status": "ok", "checks": {"models": "ok", "group": "ok"}},
    )


def test_readiness_says_why_not_and_leaves_liveness_alone(server: HealthServer, state: State) -> None:
    state["group"] = "the group is not joined yet"
    assert body(server, "/readyz") == (
        503,
        {"status": "failing", "checks": {"models": "ok", "group": "the group is not joined yet"}},
    )
    assert body(server, "/livez")[0] == 200
    state["group"] = None
    assert body(server, "/readyz")[0] == 200


def test_a_check_that_raises_has_failed(server: HealthServer, state: State) -> None:
    del state["poll"]
    assert body(server, "/livez") == (
        503,
        {"status": "failing", "checks": {"poll": "check failed: KeyError('poll')"}},
    )


def test_metrics(server: HealthServer) -> None:
    status, content_type, data = get(server, "/metrics")
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'sluice_cache_events_total{event="hit"} 1.0' in data


def test_head_and_unknown_paths(server: HealthServer) -> None:
    assert get(server, "/livez", "HEAD")[::2] == (200, b"")
    status, answer = body(server, "/")
    assert status == 404
    assert answer == {"error": "not here; accepted: /metrics, /livez, /readyz"}
    assert get(server, "/livez", "POST")[0] == 501


def test_a_silent_client_neither_blocks_the_others_nor_the_shutdown(server: HealthServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server, "/livez")[0] == 200
        started_s = time.monotonic()
        server.close()
        assert time.monotonic() - started_s < 2.0


def test_a_port_that_is_taken_is_an_error_at_start(server: HealthServer) -> None:
    with pytest.raises(SettingsError, match=f"telemetry.port {server.port}: cannot .*in use; set .*PORT"):
        HealthServer("127.0.0.1", server.port, metrics=lambda: b"", live={}, ready={})


def require_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        parts.miss("IPv6", f"nobody can listen at ::1 here: {error.strerror}")


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("localhost", ["localhost"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("::", ["::1", "127.0.0.1"]),
    ],
)
def test_addresses_of_both_kinds(host: str, asked: list[str]) -> None:
    if ":" in host:
        require_ipv6()
    server = HealthServer(host, 0, metrics=lambda: b"", live={}, ready={})
    server.start()
    try:
        for address in asked:
            with socket.create_connection((address, server.port), timeout=5.0) as client:
                client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.0 200")
    finally:
        server.close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_here_is_not_blamed_on_the_port(host: str) -> None:
    with pytest.raises(SettingsError, match=f"telemetry.host '{host}'.*: cannot listen there: ") as raised:
        HealthServer(host, 0, metrics=lambda: b"", live={}, ready={})
    assert "free port" not in str(raised.value)


def test_a_server_that_never_started_can_be_closed() -> None:
    before = threading.active_count()
    HealthServer("127.0.0.1", 0, metrics=lambda: b"", live={}, ready={}).close()
    assert threading.active_count() == before
