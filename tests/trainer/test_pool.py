"""Work side by side comes back in order and ends with the process that wanted it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.brokers import wait_for
from tests.parts import CHECKOUT
from trainer.pool import in_processes


def square(number: int) -> int:
    return number * number


def touch_and_sleep(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order(jobs: int) -> None:
    assert list(in_processes(square, [3, 1, 2], jobs)) == [9, 1, 4]


def test_a_killed_parent_takes_its_processes_along(tmp_path: Path) -> None:
    program = (
        "from tests.trainer.test_pool import touch_and_sleep\n"
        "from trainer.pool import in_processes\n"
        f"list(in_processes(touch_and_sleep, [{str(tmp_path)!r}] * 2, 2))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=CHECKOUT)
    try:
        wait_for(lambda: len(list(tmp_path.iterdir())) == 2, 60, "both processes at work")
    finally:
        parent.kill()
        parent.wait()
    children = [int(file.name) for file in tmp_path.iterdir()]
    wait_for(lambda: not any(_alive(pid) for pid in children), 10, "both processes gone")


def _alive(pid: int) -> bool:
    """Zombies whose new parent has not looked yet do not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
