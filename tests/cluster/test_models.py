"""Models from an object store and from a claim, checked before a worker starts; other versions in place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.spec import SPEC_FILE, file_sha256, read_spec
from tests.cluster.conftest import RELEASE, Drills, broken
from tests.cluster.kube import Kube, until
from tests.cluster.load import Load
from tests.cluster.servers import OwnCluster
from tests.object_store import KEYS, ObjectStore, object_store
from tests.parts import CHECKOUT

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(420)]

CLAIM = SECRET = "sluice-models"
ARTIFACTS = CHECKOUT / "models" / "artifacts"
FILTER, ESCALATION = "violence-filter", "violence-escalation"
CURRENT, BESIDE = (max(path.name for path in (ARTIFACTS / name).iterdir()) for name in (FILTER, ESCALATION))
NEXT, LATER = "99.0.0", "99.1.0"
PINNED = f"settings.inference.filter={FILTER}@{CURRENT}"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models that ship, and the filter again under two more versions."""
    folder = tmp_path_factory.mktemp("published")
    only_needed = shutil.ignore_patterns("report", "*.md", "held_out.json", "elsewhere.json", "metrics.json")
    for name in (FILTER, ESCALATION):
        shutil.copytree(ARTIFACTS / name, folder / name, ignore=only_needed)
    for version in (NEXT, LATER):
        shutil.copytree(folder / FILTER / CURRENT, folder / FILTER / version)
        spec = read_spec(folder / FILTER / version).model_copy(update={"version": version})
        (folder / FILTER / version / SPEC_FILE).write_text(spec.model_dump_json())
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def claim(release: Kube, own_cluster: OwnCluster, published: Path) -> Iterator[Path]:
    """A claim on that folder of the node."""
    release.apply(*volume(published, release.namespace))
    yield published
    release.kubectl("delete", "persistentvolume", CLAIM, "--wait=false")


@pytest.fixture(scope="module")
def store(release: Kube, host: str, published: Path) -> Iterator[ObjectStore]:
    """A bucket with the escalation model, and the filter in one more version than the image has."""
    release.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": release.namespace},
            "stringData": KEYS,
        }
    )
    with object_store("models", host) as found:
        for name, version in ((FILTER, NEXT), (ESCALATION, BESIDE)):
            found.upload(published / name / version, f"{name}/{version}")
        yield found


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


def models(**values: Any) -> tuple[str, str]:
    return ("--set-json", f"models={json.dumps(values)}")


def from_claim(folder: Path, *versions: str) -> tuple[str, str]:
    """Pinned by the digests of their specs."""
    digests = {each: file_sha256(folder / each / SPEC_FILE) for each in versions}
    uris = [f"file:///source/{each}#sha256={digest}" for each, digest in digests.items()]
    return models(existingClaim=CLAIM, pull=uris)


def filters_of(load: Load, uploads: int) -> set[str]:
    """The versions of the filter that judged so many uploads."""
    names = [load.publish() for _ in range(uploads)]
    used = (model for name in names for model in load.answer(name).versions.models)
    return {model.version for model in used if model.name == FILTER}


def test_a_wrong_checksum_takes_nothing_away(release: Kube, drills: Drills, claim: Path) -> None:
    wrong = f"file:///source/{FILTER}/{CURRENT}#sha256={'0' * 64}"
    with drills("helm upgrade to a model with a wrong sha256"):
        broken(release, "Error", PINNED, more=models(existingClaim=CLAIM, pull=[wrong]))


def test_workers_serve_another_version_from_an_object_store(
    release: Kube, drills: Drills, load: Load, store: ObjectStore
) -> None:
    assert filters_of(load, 2) == {CURRENT}
    pull = [f"s3://models/{FILTER}#newest", f"s3://models/{ESCALATION}/{BESIDE}"]
    fetch = {"s3_endpoint_url": store.endpoint}
    followed = models(pull=pull, fetch=fetch, existingSecret=SECRET, everySeconds=2)
    with drills("helm upgrade to another model, from an object store"):
        release.upgrade(RELEASE, "settings.inference.watch_s=2", more=followed)
    assert filters_of(load, 4) == {NEXT}
    (pod, *_) = release.ready()
    assert f"s3://models/{FILTER}/{NEXT}#sha256=" in release.kubectl("logs", pod, "-c", "models")


def test_workers_change_to_what_is_put_into_the_object_store(
    release: Kube, drills: Drills, load: Load, store: ObjectStore, published: Path
) -> None:
    before = release.pods()
    with drills("a newer model put into the object store, no helm"):
        store.upload(published / FILTER / LATER, f"{FILTER}/{LATER}")
        until(lambda: filters_of(load, 4) == {LATER}, "verdicts of the newer version alone", 60)
    assert release.pods() == before, "no pod was replaced or restarted"


def test_a_canary_pool_tries_a_version_on_some_partitions(
    release: Kube, drills: Drills, load: Load, claim: Path
) -> None:
    canary = {"replicas": 1, "settings": {"inference": {"filter": f"{FILTER}@{NEXT}"}}}
    pools = ("--set-json", f"pools={json.dumps({'worker': {}, 'canary': canary})}")
    versions = (f"{FILTER}/{CURRENT}", f"{FILTER}/{NEXT}", f"{ESCALATION}/{BESIDE}")
    with drills("helm upgrade that adds a canary pool, models from a claim"):
        release.upgrade(RELEASE, PINNED, more=(*from_claim(claim, *versions), *pools))
        until(lambda: filters_of(load, 4) == {CURRENT, NEXT}, "verdicts of both versions", 60)
