"""A Docker engine: one that answers, or one that we start."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests import debian, parts
from tests.containers.images import BUILDERS

TOOLS = {**BUILDERS, "dockerd": "docker.io", "iptables": "iptables"}  # program -> Debian package


@contextmanager
def engine(
    say: Callable[[str], object], further_tools: Mapping[str, str] | None = None
) -> Iterator[tuple[dict[str, str], Path | None]]:
    """Yields the environment that points to an engine, and the scripts that started it.

    None instead of scripts where an engine answered already: it pulls and builds by itself. Ends the
    program where there is neither.
    """
    if parts.docker_runs():
        yield dict(os.environ), None
        return
    scripts = parts.find_container_scripts()
    if scripts is None:
        sys.exit("No Docker engine answers: start one, or set DOCKER_HOST.")
    debian.install({**TOOLS, **(further_tools or {})}, say)
    folder = tempfile.mkdtemp(prefix="sluice-docker-")
    script = str(scripts / "engine.sh")
    say("starting a Docker engine")
    started = subprocess.run(["bash", script, "start", folder], check=True, capture_output=True, text=True)
    exports = dict(word.split("=", 1) for word in started.stdout.split() if "=" in word)
    try:
        yield {**os.environ, **exports}, scripts
    finally:
        subprocess.run(["bash", script, "stop", folder], check=False, capture_output=True)
