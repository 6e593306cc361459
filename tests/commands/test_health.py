"""`sluice health` over the server that workers have."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from worker.cli import cli
from worker.standalone import free_port
from worker.telemetry.health import Check, HealthServer

Serve = Callable[[dict[str, Check]], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a worker's server with these checks; returns its port."""
    servers = []

    def started(ready: dict[str, Check]) -> int:
        server = HealthServer("127.0.0.1", 0, metrics=bytes, live={}, ready=ready)
        servers.append(server)
        server.start()
        return server.port

    yield started
    for server in servers:
        server.close()


def health(port: int, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["health", *arguments], env={"SLUICE_TELEMETRY__PORT": str(port)})


def test_a_worker_that_is_ready(serve: Serve) -> None:
    done = health(serve({"group": lambda: None, "poll_loop": lambda: None}))
    assert (done.exit_code, done.stdout) == (0, "group      ok\npoll_loop  ok\n")


def test_a_worker_that_is_not_ready_says_why(serve: Serve) -> None:
    done = health(serve({"group": lambda: "not joined", "models": lambda: None}))
    assert done.exit_code == 1
    assert done.stdout == "group   not joined\nmodels  ok\n"
    assert "is not ready" in done.stderr


def test_another_worker_may_be_named(serve: Serve) -> None:
    port = serve({"group": lambda: None})
    assert health(free_port(), "--worker", f"127.0.0.1:{port}").exit_code == 0


def test_nobody_answers() -> None:
    done = health(free_port())
    assert done.exit_code == 1
    assert "nobody answers" in done.stderr


def test_somebody_else_answers(serve: Serve) -> None:
    port = serve({})
    done = health(port, "--worker", f"127.0.0.1:{port}/metrics?")  # which is no JSON
    assert done.exit_code == 1
    assert "is not a worker" in done.stderr
