"""A worker as a child process: for the demo and for tests that kill it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from worker.configuration import variable_name
from worker.errors import SluiceError
from worker.settings import KafkaSettings
from worker.standalone import HOST, free_port, stop_process

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0  # longer than `worker.drain_timeout_s`
LOG_TAIL_CHARACTERS = 3000


class WorkerProcess:
    """`with WorkerProcess(kafka, log, {"SLUICE_CACHE__URL": ...}) as worker: worker.wait_until_ready()`"""

    def __init__(self, kafka: KafkaSettings, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self.health_port = free_port()
        self._environment = {**os.environ, **self._settings(kafka), **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "use it as a context manager"
        return self._process

    def __enter__(self) -> Self:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", "worker"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C at the terminal is the parent's to handle
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop_process(self.process, STOP_TIMEOUT_S)

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Raises SluiceError with the end of the log when the worker ends, or is not ready in time."""
        give_up_s = time.monotonic() + timeout_s
        while not self._is_ready():
            self.check_alive()
            if time.monotonic() > give_up_s:
                raise SluiceError(f"the worker is not ready after {timeout_s:.0f} s; {self.log_tail()}")
            time.sleep(0.1)

    def check_alive(self) -> None:
        code = self.process.poll()
        if code is not None:
            raise SluiceError(f"the worker ended with code {code}; {self.log_tail()}")

    def log_tail(self) -> str:
        return f"its log ends with:\n{self.log.read_text(errors='replace')[-LOG_TAIL_CHARACTERS:]}"

    def _settings(self, kafka: KafkaSettings) -> dict[str, str]:
        given = kafka.model_dump(exclude_none=True)  # all: the parent's environment must not shine through
        return {variable_name(("kafka", name)): _text(value) for name, value in given.items()} | {
            "SLUICE_TELEMETRY__HOST": HOST,
            "SLUICE_TELEMETRY__PORT": str(self.health_port),
            "SLUICE_TELEMETRY__LOG_FORMAT": "json",
        }

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.health_port}/readyz", timeout=1.0):
                return True
        except (urllib.error.URLError, OSError):
            return False


def _text(value: object) -> str:
    """As an environment variable; dumped as JSON, a secret would be a row of stars."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
