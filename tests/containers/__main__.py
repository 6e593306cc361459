"""`make test-containers`: find or start a Docker engine, then run the tests marked `containers`.

Where an engine answers, it is used with the official images. Where none does, but the folder that
tests/parts.py names has scripts that build images and start an engine, these are used; as root, the
Debian packages that they need are installed first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests import debian, parts

TOOLS = {  # program -> Debian package
    "buildah": "buildah",
    "crun": "crun",
    "mmdebstrap": "mmdebstrap",
    "dockerd": "docker.io",
    "iptables": "iptables",
}
IMAGES = {"kafka": parts.BUILT_KAFKA_IMAGE, "redis": parts.BUILT_REDIS_IMAGE}


def main() -> int:
    arguments = sys.argv[1:]
    if parts.docker_runs():
        return run_tests(arguments)
    scripts = parts.find_container_scripts()
    if scripts is None:
        print("No Docker engine answers: start one, or set DOCKER_HOST.", file=sys.stderr)
        return 1
    debian.install(TOOLS, say)
    with engine(scripts) as environment:
        load_images(scripts, environment)
        return run_tests(arguments, environment)


def run_tests(arguments: list[str], environment: dict[str, str] | None = None) -> int:
    command = [sys.executable, "-m", "pytest", "-m", "containers", *arguments]
    return subprocess.run(command, env=environment, check=False).returncode


@contextmanager
def engine(scripts: Path) -> Iterator[dict[str, str]]:
    """A Docker engine of our own; yields the environment that points to it."""
    folder = tempfile.mkdtemp(prefix="sluice-docker-")
    script = str(scripts / "engine.sh")
    say("starting a Docker engine")
    started = subprocess.run(["bash", script, "start", folder], check=True, capture_output=True, text=True)
    exports = dict(word.split("=", 1) for word in started.stdout.split() if "=" in word)
    try:
        yield {**os.environ, **exports}
    finally:
        subprocess.run(["bash", script, "stop", folder], check=False, capture_output=True)


def load_images(scripts: Path, environment: dict[str, str]) -> None:
    with ThreadPoolExecutor() as pool:
        for loaded in [pool.submit(load_image, scripts, *image, environment) for image in IMAGES.items()]:
            loaded.result()


def load_image(scripts: Path, name: str, tag: str, environment: dict[str, str]) -> None:
    """Build it unless an earlier run has, and hand it to the engine."""
    script = str(scripts / "images.sh")
    with tempfile.TemporaryDirectory() as folder:
        archive = f"{folder}/{name}.tar"
        save = ["bash", script, "save", tag, archive]
        if subprocess.run(save, check=False, capture_output=True).returncode != 0:
            say(f"building {tag}")
            subprocess.run(["bash", script, name], check=True, stdout=subprocess.DEVNULL)
            subprocess.run(save, check=True)
        subprocess.run(["docker", "load", "-q", "-i", archive], check=True, env=environment)


def say(what: str) -> None:
    print(f"test-containers: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
