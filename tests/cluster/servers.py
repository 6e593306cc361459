"""The servers beside the cluster, and the cluster's own processes where they are ours to kill."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import parts
from tests.cluster.kube import Kube, run, until
from tests.kafka_node import free_port
from worker.standalone import stop_process

KEDA_EVENT_SOURCES = ("CloudEventSource", "ClusterCloudEventSource")


@dataclass(frozen=True, slots=True)
class OwnCluster:
    """The processes of a cluster that `make test-cluster` started."""

    script: Path
    folder: Path

    def __call__(self, action: str, *what: str) -> None:
        run(sys.executable, str(self.script), action, str(self.folder), *what)

    def tag(self, image: str, new: str) -> None:
        """The node's image under one more name."""
        (sock,) = [path for path in Path("/run").glob("kube-*/containerd.sock") if self._is_ours(path)]
        run("ctr", "-a", str(sock), "-n", "k8s.io", "images", "tag", "--force", image, new)

    def keda(self, kube: Kube) -> None:
        """KEDA, after definitions of two resources that it watches and that the folder does not bring."""
        kube.apply(*(_definition(kind) for kind in KEDA_EVENT_SOURCES))
        self("keda")

    def _is_ours(self, sock: Path) -> bool:
        return f'address = "{sock}"' in (self.folder / "containerd.toml").read_text()


@contextmanager
def cache(host: str, folder: Path) -> Iterator[str]:
    """A redis-server that pods reach; yields its URL."""
    if shutil.which("redis-server") is None:
        parts.miss("redis-server", "not installed")
    port = str(free_port())
    command = ["redis-server", "--bind", host, "--port", port, "--protected-mode", "no", "--save", ""]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        until(lambda: _answers_ping(host, port), "answer of redis-server", 10.0)
        yield f"redis://{host}:{port}/0"
    finally:
        stop_process(process, 5.0)


def _answers_ping(host: str, port: str) -> bool:
    import redis

    try:
        with redis.Redis(host=host, port=int(port)) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def _definition(kind: str) -> dict[str, object]:
    """A custom resource of any content."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.eventing.keda.sh"},
        "spec": {
            "group": "eventing.keda.sh",
            "scope": "Cluster" if kind.startswith("Cluster") else "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }
