"""compose.yaml as far as tests can run it: broker, topics, cache and worker, in a network without a way out.

Where the engine has images that were built in place of the official ones, they are started as they need.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests import parts
from tests.containers.images import TAGS, WORKER_CPU
from tests.containers.services import start_node

COMPOSE = parts.CHECKOUT / "compose.yaml"
PROJECT = "sluice-test"
SERVICES = ("kafka", "topics", "redis", "worker")


@dataclass(frozen=True, slots=True)
class Compose:
    file: Path
    program: tuple[str, ...]

    def __call__(
        self, *arguments: str, given: bytes | None = None, timeout_s: float = 180.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Raises AssertionError with what the command said if it fails."""
        done = subprocess.run(
            self.command(*arguments), input=given, capture_output=True, timeout=timeout_s, check=False
        )
        assert done.returncode == 0, f"{arguments}: {(done.stdout + done.stderr).decode()[-3000:]}"
        return done

    def command(self, *arguments: str) -> list[str]:
        return [*self.program, "-p", PROJECT, "-f", str(self.file), *arguments]


def reduced(environment: dict[str, str]) -> dict[str, Any]:
    """The part of compose.yaml that the test starts; ``environment``: further settings of the worker."""
    whole = yaml.safe_load(COMPOSE.read_text())
    services = {name: dict(whole["services"][name]) for name in SERVICES}
    for name in ("topics", "worker"):
        services[name]["image"] = TAGS[WORKER_CPU]
        services[name].pop("build", None)
        services[name].pop("pull_policy", None)
    services["worker"]["environment"] |= environment
    if (kafka := parts.kafka_image()) == parts.BUILT_KAFKA_IMAGE:
        services["kafka"] |= {"image": kafka, "command": ["sh", "-c", start_node("kafka:9092")]}
    if (redis := parts.redis_image()) == parts.BUILT_REDIS_IMAGE:  # whose entry point names the server
        services["redis"] |= {"image": redis, "command": services["redis"]["command"][1:]}
    return {
        "services": services,
        "networks": {"default": {"internal": True}},
        "volumes": whole["volumes"],
    }


def find_compose() -> tuple[str, ...]:
    """The plugin of Docker's command line, or the program of its own that came before it."""
    for program in (("docker", "compose"), ("docker-compose",)):
        if _answers(*program, "version"):
            break
    else:
        parts.miss("Docker Compose", "neither `docker compose` nor docker-compose is there")
    return program


def _answers(*command: str) -> bool:
    found = shutil.which(command[0]) is not None
    return found and subprocess.run(command, check=False, capture_output=True).returncode == 0
