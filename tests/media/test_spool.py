"""The file that takes in an upload: nobody else can open it, and nothing of it outlives the process."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from worker.clock import Deadline, SystemClock
from worker.media.spool import Spool

SPOOLING = """
import time
from worker.clock import Deadline, SystemClock
from worker.media.spool import Spool
spool = Spool(1_000_000, 60, Deadline.after(SystemClock(), 60))
spool.write(b"media" * 100_000)
media = spool.finish(None)
print("written", flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.mark.parametrize("has_unnamed_files", [True, False])
def test_it_has_no_name_and_is_private(
    has_unnamed_files: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system has no unnamed files, the name is gone before the first byte is written."""
    if not has_unnamed_files:
        monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", False)
    with Spool(1000, 60, Deadline.after(SystemClock(), 60)) as spool:
        spool.write(b"media")
        assert list(folder.iterdir()) == []
        media = spool.finish(None)
        status = os.fstat(media.file.fileno())
        assert stat.S_IMODE(status.st_mode) & 0o077 == 0
        assert status.st_nlink == 0
        media.close()


def test_nothing_is_left_of_a_worker_that_was_killed(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SPOOLING], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert list(folder.iterdir()) == []
