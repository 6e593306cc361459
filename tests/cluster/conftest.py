"""What all tests here share: servers where pods reach them, one release, one load, one file of results.

The tests run in the order in which they stand, over one cluster. `make test-cluster` provides it.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import machine
from tests import parts
from tests.cluster import servers
from tests.cluster.kube import GPU_TAINT, CommandFailed, Kube, Pod, until
from tests.cluster.load import Load
from tests.kafka_node import KafkaNode
from worker.settings import KafkaSettings

KUBERNETES = "Kubernetes"
NAMESPACE = "moderation"
RELEASE = "sluice"
SESSION_TIMEOUT_S = 6.0
BROKEN_FOR_S = 15  # how long a release that cannot work is waited for


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--burst",
        type=int,
        help="uploads that the autoscaling is to bear at once; the same then without autoscaling",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """They belong to `make test-cluster`."""
    if "KUBE_HOST" in os.environ:
        return
    apart = [item for item in items if item.get_closest_marker("cluster")]
    if apart:
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if not item.get_closest_marker("cluster")]
        parts.absent[KUBERNETES] = "`make test-cluster` runs these"


@pytest.fixture(scope="session")
def host() -> str:
    return os.environ["KUBE_HOST"]


@pytest.fixture(scope="session")
def own_cluster() -> servers.OwnCluster:
    """The cluster that `make test-cluster` started: it may be killed."""
    folder = os.environ.get("SLUICE_CLUSTER_DIR")
    script = parts.find_cluster_script()
    if folder is None or script is None:
        pytest.skip("the cluster is somebody else's")
    return servers.OwnCluster(script, Path(folder))


@pytest.fixture(scope="session")
def node(host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    parts.used["Apache Kafka"] += 1
    with KafkaNode(parts.kafka_home(), tmp_path_factory.mktemp("kafka"), host=host) as started:
        yield started


@pytest.fixture(scope="session")
def kafka(node: KafkaNode) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=node.bootstrap, session_timeout_s=SESSION_TIMEOUT_S)


@pytest.fixture(scope="session")
def clips() -> list[Path]:
    """Real clips that the filter decides by itself, mostly."""
    root = parts.data_dir()
    with (root / "scfd" / "manifest.csv").open(newline="") as file:
        return [root / row["path"] for row in csv.DictReader(file) if row["label"] == "noFight"]


@pytest.fixture(scope="session")
def kube(host: str, node: KafkaNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """A namespace that enforces Pod Security `restricted`, a cache, and the values of all installations."""
    parts.used[KUBERNETES] += 1
    folder = tmp_path_factory.mktemp("kube")
    repository, _, tag = os.environ["SLUICE_CLUSTER_IMAGE"].rpartition(":")
    with servers.cache(host, folder) as cache_url:
        values = folder / "values.json"
        values.write_text(json.dumps(common_values(repository, tag, node.bootstrap)))
        found = Kube(NAMESPACE, values)
        enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
        found.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": enforced}},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "sluice-cache", "namespace": NAMESPACE},
                "stringData": {"url": cache_url},
            },
        )
        yield found
        subprocess.run(["kubectl", "delete", "namespace", NAMESPACE, "--timeout=90s"], check=False)


def common_values(repository: str, tag: str, bootstrap: str) -> dict[str, Any]:
    """Small workers, for a node with few cores; KEDA and the tests wait for shorter times."""
    return {
        "worker": {
            "replicas": 2,
            "image": {"repository": repository, "tag": tag},
            "resources": {
                "requests": {"cpu": "300m", "memory": "256Mi"},
                "limits": {"memory": "4Gi"},
            },
            "tolerations": [GPU_TAINT],
            "minReadySeconds": 2,
            "probes": {"periodSeconds": 5},
        },
        "topics": {"hook": {"mode": "create"}},
        "secrets": {"cache": {"url": {"existingSecret": "sluice-cache"}}},
        "settings": {
            "kafka": {"bootstrap_servers": bootstrap, "session_timeout_s": SESSION_TIMEOUT_S},
            "worker": {"upload_timeout_s": 60, "drain_timeout_s": 20},
            "decode": {"processes": 1, "sandbox": "require"},
        },
    }


@pytest.fixture(scope="session")
def results() -> Iterator[dict[str, Any]]:
    """What was measured; written where `python -m tests.cluster --results` says."""
    found: dict[str, Any] = {"machine": machine(), "drills": {}}
    yield found
    file = os.environ.get("SLUICE_CLUSTER_RESULTS")
    if file:
        Path(file).write_text(json.dumps(found, indent=1) + "\n")


@pytest.fixture(scope="session")
def release(kube: Kube, results: dict[str, Any]) -> Kube:
    """The chart, installed and ready."""
    started_s = time.monotonic()
    kube.install(RELEASE)
    results["install_s"] = round(time.monotonic() - started_s, 1)
    return kube


@pytest.fixture(scope="session")
def load(
    release: Kube, kafka: KafkaSettings, clips: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Load]:
    with Load(kafka, clips, tmp_path_factory.mktemp("load")) as running:
        running.answer(running.publish())
        yield running


class Drills:
    """`with drills("kubectl drain"): ...`: something is done under load; afterwards all is as before."""

    def __init__(self, release: Kube, load: Load, results: dict[str, Any]) -> None:
        self._release, self._load, self._results = release, load, results

    @contextmanager
    def __call__(self, name: str, workers: int = 2) -> Iterator[None]:
        started_s = time.monotonic()
        yield
        self._release.settled(workers)
        took_s = time.monotonic() - started_s
        told = {key: round(value, 1) for key, value in asdict(self._load.settle(started_s)).items()}
        self._results["drills"][name] = {"took_s": round(took_s, 1), **told}


@pytest.fixture(scope="session")
def drills(release: Kube, load: Load, results: dict[str, Any]) -> Drills:
    return Drills(release, load, results)


def broken(
    release: Kube,
    reason: str,
    *sets: str,
    more: Sequence[str] = (),
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Upgrade to what cannot work for ``reason``: the workers before it stay. ``meanwhile``, then go back."""
    before = set(release.ready())
    good = release.revision(RELEASE)
    try:
        with pytest.raises(CommandFailed):
            release.upgrade(RELEASE, *sets, give_up_s=BROKEN_FOR_S, more=("--no-hooks", *more))

        def new() -> list[Pod]:
            return [pod for pod in release.pods() if pod.name not in before]

        until(lambda: any(reason in pod.reason for pod in new()), reason, 60, lambda: str(new()))
        assert before <= set(release.ready()), "the workers before it are still ready"
        meanwhile()
    finally:
        release.helm("rollback", RELEASE, good, "--no-hooks", "--wait")
    assert before == set(release.ready())
