"""The first thing that a stranger runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time


def test_demo_answers_every_sample_and_exits_0() -> None:
    begun_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", "demo"],
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {line.split("  ")[0].strip(): line for line in done.stdout.splitlines()}
    assert "cache" in rows["bigbuckbunny.mp4 again"]
    assert "undecodable" in rows["broken.mp4"]
    assert "review" in rows["broken.mp4"]
    assert all(name in rows for name in ("bikes.mp4", "carphone_pristine.mp4", "synthetic-tone.mp4"))
    assert "9 uploads, 9 verdicts" in done.stdout
    assert time.monotonic() - begun_s < 110
