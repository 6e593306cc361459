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

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import debian, parts
from tests.containers import images

TOOLS = {  # program -> Debian package
    **images.BUILDERS,
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
IMAGE = images.TAGS[images.WORKER_CPU]


def main() -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--results", type=Path)
    own, arguments = parser.parse_known_args()
    environment = dict(os.environ)
    if own.results is not None:
        environment["SLUICE_CLUSTER_RESULTS"] = str(own.results.resolve())
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
    archive = folder / "worker.tar"
    with timed("the image"):
        try:
            tag = images.build(images.WORKER_CPU, container_scripts)
        except images.BuildFailed as error:
            sys.exit(f"test-cluster: {error}")
        if not images.save(tag, archive, container_scripts):
            sys.exit(f"test-cluster: {tag} was built and cannot be written to {archive}")
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


@contextmanager
def timed(what: str) -> Iterator[None]:
    started_s = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - started_s:.0f} s")


def say(what: str) -> None:
    print(f"test-cluster: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
