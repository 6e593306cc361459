"""Debian packages that a test run needs and that are not there yet."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping


def install(tools: Mapping[str, str], say: Callable[[str], object]) -> None:
    """``tools``: program -> the package that brings it. As root."""
    missing = sorted(package for program, package in tools.items() if shutil.which(program) is None)
    if not missing:
        return
    say(f"installing {', '.join(missing)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "-qq", "update"], check=True, env=quiet)
    command = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *missing]
    subprocess.run(command, check=True, env=quiet, stdout=subprocess.DEVNULL)
