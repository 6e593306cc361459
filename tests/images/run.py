"""One command in a container of an image, with as few rights as in production."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

CONFINED = (
    *("--read-only", "--tmpfs", "/tmp:size=1g,uid=10001,gid=10001"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--network", "none"),
)


def run(
    image: str,
    *command: str,
    entrypoint: str | None = None,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 300.0,
) -> tuple[int, str]:
    """Its exit code, and what it printed. ``environment``: of the Docker client; None: this process' own."""
    entry = ("--entrypoint", entrypoint) if entrypoint else ()
    done = subprocess.run(
        ["docker", "run", "--rm", *CONFINED, *entry, *options, image, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        timeout=timeout_s,
        check=False,
    )
    return done.returncode, done.stdout
