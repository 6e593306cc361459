"""Models from a claim, checked by their digests before a worker starts; another version by one value."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.spec import SPEC_FILE, read_spec
from tests.cluster.conftest import RELEASE, Drills, broken
from tests.cluster.kube import Kube, until
from tests.cluster.load import Load
from tests.cluster.servers import OwnCluster
from tests.parts import CHECKOUT

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(420)]

CLAIM = "sluice-models"
ARTIFACTS = CHECKOUT / "models" / "artifacts"
FILTER, ESCALATION = "violence-filter", "violence-escalation"
CURRENT = max(path.name for path in (ARTIFACTS / FILTER).iterdir())
NEXT = "99.0.0"
PINNED = f"settings.inference.filter={FILTER}@{CURRENT}"


@pytest.fixture(scope="module")
def digests(
    release: Kube, own_cluster: OwnCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """A claim on a folder of the node: the models that ship, and the filter again under another version.

    Path -> sha256 of its files.
    """
    folder = tmp_path_factory.mktemp("claim")
    only_needed = shutil.ignore_patterns("report", "*.md", "held_out.json", "elsewhere.json", "metrics.json")
    for name in (FILTER, ESCALATION):
        shutil.copytree(ARTIFACTS / name, folder / name, ignore=only_needed)
    shutil.copytree(folder / FILTER / CURRENT, folder / FILTER / NEXT)
    spec = read_spec(folder / FILTER / NEXT).model_copy(update={"version": NEXT})
    (folder / FILTER / NEXT / SPEC_FILE).write_text(spec.model_dump_json())
    folder.chmod(0o755)
    release.apply(*volume(folder, release.namespace))
    yield {str(path.relative_to(folder)): _sha256(path) for path in folder.rglob("*") if path.is_file()}
    release.kubectl("delete", "persistentvolume", CLAIM, "--wait=false")


def volume(folder: Path, namespace: str) -> tuple[dict[str, Any], dict[str, Any]]:
    size = {"storage": "1Gi"}
    common = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    return (
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": CLAIM},
            "spec": {**common, "capacity": size, "hostPath": {"path": str(folder)}},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM, "namespace": namespace},
            "spec": {**common, "resources": {"requests": size}, "volumeName": CLAIM},
        },
    )


def from_claim(files: dict[str, str]) -> tuple[str, str]:
    return ("--set-json", f"models={json.dumps({'existingClaim': CLAIM, 'files': files})}")


def filters_of(load: Load, uploads: int) -> set[str]:
    """The versions of the filter that judged so many uploads."""
    names = [load.publish() for _ in range(uploads)]
    used = (model for name in names for model in load.answer(name).versions.models)
    return {model.version for model in used if model.name == FILTER}


def test_a_wrong_checksum_takes_nothing_away(release: Kube, drills: Drills, digests: dict[str, str]) -> None:
    wrong = dict.fromkeys(digests, "0" * 64)
    with drills("helm upgrade to a model with a wrong sha256"):
        broken(release, "Error", PINNED, more=from_claim(wrong))


def test_workers_serve_another_version_from_a_claim(
    release: Kube, drills: Drills, load: Load, digests: dict[str, str]
) -> None:
    assert filters_of(load, 2) == {CURRENT}
    with drills("helm upgrade to another model, from a claim"):
        release.upgrade(RELEASE, f"settings.inference.filter={FILTER}@{NEXT}", more=from_claim(digests))
    assert filters_of(load, 4) == {NEXT}
    (pod, *_) = release.ready()
    assert release.kubectl("logs", pod, "-c", "models").count(": OK") == len(digests)


def test_a_canary_pool_tries_a_version_on_some_partitions(
    release: Kube, drills: Drills, load: Load, digests: dict[str, str]
) -> None:
    canary = {"replicas": 1, "settings": {"inference": {"filter": f"{FILTER}@{NEXT}"}}}
    pools = ("--set-json", f"pools={json.dumps({'worker': {}, 'canary': canary})}")
    with drills("helm upgrade that adds a canary pool"):
        release.upgrade(RELEASE, PINNED, more=(*from_claim(digests), *pools))
        until(lambda: filters_of(load, 4) == {CURRENT, NEXT}, "verdicts of both versions", 60)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
