"""`make test-containers`: find or start a Docker engine, then run the tests marked `containers`.

Where an engine answers, it is used with the official images. Where none does, but the folder that
tests/parts.py names has scripts that build images and start an engine, these are used; as root, the
Debian packages that they need are installed first. The worker's image is built in both cases.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import parts
from tests.containers import images
from tests.containers.engine import engine

COMPOSE = {"docker-compose": "docker-compose"}  # program -> Debian package
SERVERS = {"kafka": parts.BUILT_KAFKA_IMAGE, "redis": parts.BUILT_REDIS_IMAGE}


def main() -> int:
    command = [sys.executable, "-m", "pytest", "-m", "containers", *sys.argv[1:]]
    with engine(say, COMPOSE) as (environment, scripts):
        try:
            prepare(scripts, environment)
        except images.BuildFailed as error:
            sys.exit(f"test-containers: {error}")
        return subprocess.run(command, env=environment, check=False).returncode


def prepare(scripts: Path | None, environment: Mapping[str, str]) -> None:
    """What the tests start. Official images are pulled by the engine when it is asked for them."""
    say(f"building {images.TAGS[images.WORKER_CPU]}")
    if scripts is None:
        images.build(images.WORKER_CPU, None)
        return
    with ThreadPoolExecutor() as pool:
        servers = [pool.submit(load_server, name, tag, scripts, environment) for name, tag in SERVERS.items()]
        images.load(images.build(images.WORKER_CPU, scripts), scripts, environment)
        for server in servers:
            server.result()


def load_server(name: str, tag: str, scripts: Path, environment: Mapping[str, str]) -> None:
    """Build it unless an earlier run has, and hand it to the engine."""
    if not images.load(tag, scripts, environment):
        say(f"building {tag}")
        images.build_base(name, scripts)
        images.load(tag, scripts, environment)


def say(what: str) -> None:
    print(f"test-containers: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
