from __future__ import annotations

import subprocess
import sys
import time

from worker.telemetry.usage import cpu_usage

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
KEEPS = (
    f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}])\nprint(flush=True)\ninput()"
)


def test_processes_below_are_counted_and_those_that_have_ended_below_them() -> None:
    """As the fork server's decoder processes are."""
    before = cpu_usage().decoders
    command = [sys.executable, "-c", KEEPS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()  # its child has ended
        assert cpu_usage().decoders - before >= 0.28
        server.communicate(b"\n")


def test_ones_own_work_is_counted() -> None:
    before = cpu_usage().worker
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert cpu_usage().worker - before >= 0.08


def test_a_process_that_is_gone_has_used_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert cpu_usage(process.pid) == (0.0, 0.0)
