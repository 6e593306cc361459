"""The worker's handle on the fork server and on the decoder processes that it makes.

Not ``multiprocessing``: its fork server imports the main module of the program again in every
child (Kafka client and all), and hands the environment, secrets included, to each of them.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

from worker.media.decoder_process import READY, DecoderConfig
from worker.media.handover import MESSAGE_BYTES

_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME")
_PROGRAM = "from worker.media.decoder_process import main; main()"
_ANSWER_S = 20.0  # the fork server only forks and waits: it answers at once, after its imports
_EXIT_S = 2.0


@dataclass(slots=True)
class DecoderProcess:
    """One decoder process. Used by one thread at a time."""

    pid: int
    pidfd: int
    jobs: socket.socket
    jobs_done: int = 0
    worn_out: bool = False
    is_beside: bool = False  # its place is another's: it ends with its job

    @property
    def has_ended(self) -> bool:
        return self._ended_within(0)

    def kill(self) -> None:
        """End it, whatever state it is in, and wait for that."""
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._ended_within(_EXIT_S)

    def close(self) -> None:
        self.jobs.close()
        os.close(self.pidfd)

    def _ended_within(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))


class ForkServer:
    """Starts on first use and again when it has died. Thread-safe."""

    def __init__(self, config: DecoderConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._closed = False

    def fork(self) -> DecoderProcess:
        """A new decoder process. Raises OSError when there can be none."""
        with self._lock:
            try:
                return self._fork()
            except OSError:  # it was killed: once more with a new one
                self._stop()
                return self._fork()

    def exit_status(self, decoder: DecoderProcess) -> int | None:
        """Of a process that has ended, as in subprocess; None: unknown. Asking also buries it."""
        with self._lock:
            if self._control is None:
                return None
            try:
                answer, _ = self._ask({"do": "bury", "pid": decoder.pid})
            except OSError:
                return None
            status = answer["status"]
            return status if isinstance(status, int) else None

    def close(self) -> None:
        """End it and every decoder process; there will be no other."""
        with self._lock:
            self._closed = True
            self._stop()

    def _fork(self) -> DecoderProcess:
        answer, fds = self._ask({"do": "fork"}, fds=2)
        if len(fds) != 2:
            raise ConnectionError("the fork server ended while it was asked for a process")
        decoder = DecoderProcess(answer["pid"], fds[1], socket.socket(fileno=fds[0]))
        decoder.jobs.settimeout(_ANSWER_S)
        try:
            ready = decoder.jobs.recv(MESSAGE_BYTES) == READY
        except OSError:
            ready = False
        if not ready:
            decoder.kill()
            decoder.close()
            raise ConnectionError("a new decoder process ended at once")
        return decoder

    def _ask(self, command: dict[str, Any], fds: int = 0) -> tuple[dict[str, Any], list[int]]:
        control = self._control or self._start()
        control.send(json.dumps(command).encode())
        answer, received, _, _ = socket.recv_fds(control, MESSAGE_BYTES, fds, socket.MSG_CMSG_CLOEXEC)
        if not answer:
            raise ConnectionError("the fork server has ended")
        return json.loads(answer), received

    def _start(self) -> socket.socket:
        if self._closed:
            raise ConnectionError("the fork server is closed")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_ANSWER_S)
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        environment |= {
            "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path),
            "OPENBLAS_NUM_THREADS": "1",  # a process with threads must not fork
            "OMP_NUM_THREADS": "1",
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), self._config.to_json()],
                pass_fds=[theirs.fileno()],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal is for the worker
            )
        self._control = ours
        return ours

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            try:
                self._process.wait(_EXIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
