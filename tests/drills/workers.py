"""Worker processes of one group. What ends without being told to is started again, as orchestrators do."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.child import READY_TIMEOUT_S, STOP_TIMEOUT_S, WorkerProcess
from worker.settings import KafkaSettings

READY_WITHIN_S = 3 * READY_TIMEOUT_S  # on a busy machine
LOOK_EVERY_S = 0.1


class Workers:
    def __init__(self, kafka: KafkaSettings, folder: Path, environment: Mapping[str, str]) -> None:
        self._kafka = kafka
        self._folder = folder
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._running: list[WorkerProcess] = []
        self._started = 0
        self._stack = ExitStack()
        self._over = threading.Event()
        self.restarts: list[str] = []  # of workers that ended by themselves: how their logs end

    def __enter__(self) -> Self:
        pool = ThreadPoolExecutor(1, thread_name_prefix="supervisor")
        self._supervisor: Future[None] = pool.submit(self._supervise)
        pool.shutdown(wait=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with self._stack:
            self._supervisor.result()
            for worker in self.running:
                worker.process.send_signal(signal.SIGKILL if kind else signal.SIGTERM)

    @property
    def running(self) -> list[WorkerProcess]:
        with self._lock:
            return list(self._running)

    def start(
        self, environment: Mapping[str, str] | None = None, *, supervised: bool = True
    ) -> WorkerProcess:
        """Does not wait until it is ready. ``environment``: beside the group's."""
        with self._lock:
            self._started += 1
            log = self._folder / f"{self._kafka.group_id}-{self._started}.log"
            settings = self._environment | dict(environment or {})
            worker = self._stack.enter_context(WorkerProcess(self._kafka, log, settings))
            if supervised:
                self._running.append(worker)
        return worker

    def start_ready(self, environment: Mapping[str, str] | None = None) -> WorkerProcess:
        worker = self.start(environment)
        worker.wait_until_ready(READY_WITHIN_S)
        return worker

    def wait_until_ready(self) -> None:
        for worker in self.running:
            worker.wait_until_ready(READY_WITHIN_S)

    def kill(self, worker: WorkerProcess) -> None:
        """SIGKILL. Nobody starts it again."""
        self._forget(worker)
        worker.process.kill()
        worker.process.wait()

    def stop(self, worker: WorkerProcess) -> int:
        """SIGTERM. Returns the exit code."""
        self._forget(worker)
        worker.process.terminate()
        return worker.process.wait(STOP_TIMEOUT_S)

    def stop_all(self) -> list[str]:
        """In order, when all of them serve. Returns how the logs end of those that did not end well."""
        self.wait_until_ready()
        workers = self.running
        for worker in workers:
            self._forget(worker)
            worker.process.terminate()
        codes = [worker.process.wait(STOP_TIMEOUT_S) for worker in workers]
        return [
            f"a worker that was stopped in order ended with code {code}; {worker.log_tail()}"
            for worker, code in zip(workers, codes, strict=True)
            if code
        ]

    def _forget(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._running.remove(worker)

    def _supervise(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            for worker in self.running:
                code = worker.process.poll()
                if code is not None and worker in self.running:
                    self._forget(worker)
                    self.restarts.append(f"code {code}: {worker.log_tail()[-400:]}")
                    self.start()
