"""/metrics, /livez and /readyz on a small server of their own.

Checks are callables that say what is wrong, or None. They run in the server's thread on every request,
so they must return at once and only look.
"""

from __future__ import annotations

import errno
import json
import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from worker.errors import SettingsError

Check = Callable[[], str | None]
METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SILENT_CLIENT_S = 5.0


class HealthServer:
    """Serves until ``close()``. ``port`` is the one really bound, also when 0 was asked for."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        metrics: Callable[[], bytes],
        live: Mapping[str, Check],
        ready: Mapping[str, Check],
    ) -> None:
        handler = type("Handler", (_Handler,), {"metrics": staticmethod(metrics)})
        handler.checks = {"/livez": dict(live), "/readyz": dict(ready)}  # type: ignore[attr-defined]
        try:
            self._server = _Server(host, port, handler)
        except OSError as error:
            why = f"telemetry.host {host!r}, telemetry.port {port}: cannot listen there: {error.strerror}"
            if error.errno == errno.EADDRINUSE:
                why += "; set SLUICE_TELEMETRY__PORT to a free port, or to 0 for any"
            raise SettingsError(why) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        if self._thread.ident is not None:
            self._server.shutdown()  # would wait for ever for a loop that never began
            self._thread.join()
        self._server.server_close()


def report(checks: Mapping[str, Check]) -> tuple[bool, dict[str, str]]:
    """Whether all pass, and what each says. A check that raises has failed."""
    said = {name: _ask(check) for name, check in checks.items()}
    return all(answer is None for answer in said.values()), {
        name: "ok" if answer is None else answer for name, answer in said.items()
    }


def _ask(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:  # whatever it is, the probe must be answered
        return f"check failed: {error!r}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a silent client must not hold up the shutdown

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        """``host``: an address of IPv4 or IPv6, or a name, whose IPv4 address is preferred.

        `::` takes IPv4 as well, unless the system says otherwise.
        """
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        families = [family for family, *_ in found]
        self.address_family = socket.AF_INET if socket.AF_INET in families else families[0]
        super().__init__((host, port), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    timeout = SILENT_CLIENT_S
    server_version = "sluice"
    sys_version = ""
    metrics: ClassVar[Callable[[], bytes]]
    checks: ClassVar[dict[str, dict[str, Check]]]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, METRICS_CONTENT_TYPE, type(self).metrics())
        elif path in self.checks:
            self._answer_checks(self.checks[path])
        else:
            found = ["/metrics", *self.checks]
            self._answer_json(HTTPStatus.NOT_FOUND, {"error": f"not here; accepted: {', '.join(found)}"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer_checks(self, checks: dict[str, Check]) -> None:
        is_ok, said = report(checks)
        status = HTTPStatus.OK if is_ok else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer_json(status, {"status": "ok" if is_ok else "failing", "checks": said})

    def _answer_json(self, status: HTTPStatus, body: object) -> None:
        self._answer(status, "application/json", json.dumps(body).encode() + b"\n")

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Probes come every few seconds: not logged."""
