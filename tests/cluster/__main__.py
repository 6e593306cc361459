"""`make test-cluster`: a Kubernetes, the image in it, then the tests marked `cluster`.

With KUBECONFIG set, that cluster is used. It needs two more variables: KUBE_HOST, an address of this
machine that pods reach, and SLUICE_CLUSTER_IMAGE, an image that its nodes have or can pull. What kills a
node, or needs KEDA set up, is skipped there.

Else the folder that tests/parts.py names may have scripts that start a cluster and build images; as root,
the Debian packages that they need are installed first. Without either nothing is run, visibly, and with
CI=true that fails.

    python -m tests.cluster [--results FILE] [pytest's arguments]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import debian, parts

TOOLS = {  # program -> Debian package
    "buildah": "buildah",
    "crun": "crun",
    "mmdebstrap": "mmdebstrap",
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "openssl": "openssl",
    "redis-server": "redis-server",
    "java": "openjdk-17-jre-headless",
}
BASE = "localhost/python:3.11-slim-bookworm"
IMAGE = "localhost/sluice:test-cluster"


def main() -> int:
    arguments = sys.argv[1:]
    environment = dict(os.environ)
    if "--results" in arguments:
        place = arguments.index("--results")
        environment["SLUICE_CLUSTER_RESULTS"] = str(Path(arguments[place + 1]).resolve())
        del arguments[place : place + 2]
    command = [sys.executable, "-m", "pytest", "-v", "-m", "cluster", "-p", "no:randomly", "tests/cluster"]
    # kafka-python leaves sockets open where it could not connect, as to a broker that was killed.
    command += ["-W", "ignore::pytest.PytestUnraisableExceptionWarning", *arguments]
    if os.environ.get("KUBECONFIG"):
        missing = [name for name in ("KUBE_HOST", "SLUICE_CLUSTER_IMAGE") if not os.environ.get(name)]
        if missing:
            return skipped(f"KUBECONFIG is set and {', '.join(missing)} is not")
        return subprocess.run(command, env=environment, check=False).returncode
    cluster_script, scripts = parts.find_cluster_script(), parts.find_container_scripts()
    if cluster_script is None or scripts is None:
        return skipped("no KUBECONFIG, and no scripts that start a cluster (SLUICE_PARTS)")
    if os.geteuid() != 0:
        return skipped("starting a cluster needs root")
    debian.install(TOOLS, say)
    with (
        tempfile.TemporaryDirectory(prefix="sluice-cluster-") as folder,
        ready(cluster_script, scripts, Path(folder)) as inside,
    ):
        environment |= {"SLUICE_CLUSTER_IMAGE": IMAGE, "SLUICE_CLUSTER_DIR": f"{folder}/kube"}
        return subprocess.run([*inside, *command], env=environment, check=False).returncode


def skipped(why: str) -> int:
    print(f"test-cluster: not run: {why}", file=sys.stderr)
    return 1 if parts.in_ci() else 0


@contextmanager
def ready(script: Path, container_scripts: Path, folder: Path) -> Iterator[list[str]]:
    """A cluster that has the image; yields the beginning of commands that run where pods are reached."""
    archive = build(container_scripts / "images.sh", folder)
    kube = [sys.executable, str(script)]
    place = str(folder / "kube")
    with timed("the cluster"):
        subprocess.run([*kube, "up", place], check=True, stdout=subprocess.DEVNULL)
    try:
        with timed("the image into the cluster"):
            subprocess.run([*kube, "load", place, str(archive)], check=True, capture_output=True)
        archive.unlink()
        yield [*kube, "exec", place, "--"]
    finally:
        subprocess.run([*kube, "down", place], check=False)


def build(script: Path, folder: Path) -> Path:
    """The worker's image from this checkout, as an archive. Layers of earlier builds are used again."""
    images = ["bash", str(script)]
    log = folder / "build.log"
    with timed("the image"), log.open("wb") as output:
        if subprocess.run(["buildah", "inspect", BASE], check=False, capture_output=True).returncode != 0:
            subprocess.run([*images, "python"], check=True, stdout=output, stderr=output)
        arguments = ["--target", "worker-cpu", "--build-arg", f"PYTHON_IMAGE={BASE}", "--layers"]
        command = [*images, "build", "Dockerfile", IMAGE, str(parts.CHECKOUT), *arguments]
        if subprocess.run(command, check=False, stdout=output, stderr=output, cwd=parts.CHECKOUT).returncode:
            sys.exit(f"test-cluster: the image cannot be built:\n{log.read_text()[-3000:]}")
        archive = folder / "worker.tar"
        subprocess.run([*images, "save", IMAGE, str(archive)], check=True, stdout=output, stderr=output)
    return archive


@contextmanager
def timed(what: str) -> Iterator[None]:
    started_s = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - started_s:.0f} s")


def say(what: str) -> None:
    print(f"test-cluster: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
