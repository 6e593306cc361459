"""The chart on a real cluster, with real pods and real video: one release, one thing after the other.

Under a steady load something is done to the release; afterwards every upload has one live verdict, the
workers are as before, and nothing else needed a hand.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cluster.conftest import RELEASE, Drills, broken
from tests.cluster.kube import CommandFailed, Kube, until
from tests.cluster.load import Load
from tests.cluster.servers import OwnCluster
from tests.kafka_node import KafkaNode

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(420)]

DEPLOYMENT = f"deployment/{RELEASE}-worker"


def test_a_first_upload_as_the_notes_say(release: Kube, clips: list[Path], load: Load) -> None:
    notes = release.helm("get", "notes", RELEASE)
    assert f"exec -i deploy/{RELEASE}-worker -c worker -- sh -c 'cat > /tmp/clip.mp4" in notes
    command = ["kubectl", "-n", release.namespace, "exec", "-i", f"deploy/{RELEASE}-worker", "-c", "worker"]
    with clips[0].open("rb") as clip:
        done = subprocess.run(
            [*command, "--", "sh", "-c", "cat > /tmp/clip.mp4 && sluice publish /tmp/clip.mp4"],
            stdin=clip,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    verdict = load.answer(done.stdout.strip())
    assert verdict.decided_by in {"filter", "escalation"}
    assert verdict.coverage is not None


def test_helm_test_does_the_same_from_inside(release: Kube) -> None:
    assert "Succeeded" in release.helm("test", RELEASE)


def test_the_hook_made_the_topics_and_names_what_is_too_little(release: Kube) -> None:
    assert not release.get("jobs")["items"], "a hook that succeeded is gone"
    with pytest.raises(CommandFailed):
        release.upgrade(RELEASE, "topics.partitions=8", give_up_s=60)
    logs = release.kubectl("logs", f"job/{RELEASE}-worker-topics")
    assert "uploads: it has 4 partitions, at least 8 are wanted: kafka-topics.sh --alter" in logs
    assert release.get("job", f"{RELEASE}-worker-topics")["status"]["failed"] == 1, "not tried again"
    release.helm("rollback", RELEASE, "--no-hooks")


def test_pods_with_gpus_go_to_the_gpu_pool_and_one_too_many_waits(release: Kube) -> None:
    """Of a CPU image: that the worker then ends with an error instead of serving is part of the test."""
    gpus = int(release.get("nodes")["items"][0]["status"]["allocatable"].get("nvidia.com/gpu", 0))
    if not gpus:
        pytest.skip("no node offers nvidia.com/gpu")
    topics = ("group_id", "uploads_topic", "verdicts_topic", "dead_letters_topic")
    release.install(
        "gpu",
        "fullnameOverride=gpu",
        "worker.gpu.enabled=true",
        "worker.resources.requests.cpu=10m",  # so that GPUs are what runs out
        f"worker.replicas={gpus + 1}",
        *(f"settings.kafka.{name}=gpu.{name}" for name in topics),
        wait=False,
        more=("--set-string", "worker.nodeSelector.nvidia\\.com/gpu\\.present=true"),
    )
    try:
        selector = "app.kubernetes.io/instance=gpu,sluice/pool=worker"
        until(
            lambda: len([pod for pod in release.pods(selector) if "Insufficient" in pod.reason]) == 1,
            "pod that waits for a GPU",
            60,
            lambda: str(release.pods(selector)),
        )
        waiting = [pod for pod in release.pods(selector) if pod.phase == "Pending" and "Insuff" in pod.reason]
        assert len(waiting) == 1
        assert "Insufficient nvidia.com/gpu" in waiting[0].reason
        assert "Insufficient nvidia.com/gpu" in release.helm("get", "notes", "gpu"), (
            "the notes say what to do"
        )
        (other, *_) = [pod.name for pod in release.pods(selector) if pod != waiting[0]]
        until(lambda: "cuda" in release.logs(other).lower(), "reason in the log", 60)
        assert not release.ready(selector), "no worker falls back to the CPU"
    finally:
        release.helm("uninstall", "gpu", "--wait")


def test_helm_upgrade_to_a_new_image_and_back(release: Kube, drills: Drills, own_cluster: OwnCluster) -> None:
    image = os.environ["SLUICE_CLUSTER_IMAGE"]
    own_cluster.tag(image, f"{image}-next")
    before = release.ready()
    with drills("helm upgrade to a new image"):
        release.upgrade(RELEASE, f"worker.image.tag={image.rpartition(':')[2]}-next")
    assert not set(before) & set(release.ready())
    with drills("helm rollback"):
        release.helm("rollback", RELEASE, "--wait")
    assert image in str(release.get(DEPLOYMENT)["spec"])
    assert "-next" not in str(release.get(DEPLOYMENT)["spec"]["template"])


def test_kubectl_scale(release: Kube, drills: Drills) -> None:
    with drills("kubectl scale 1 to 3 to 1", workers=1):
        release.scale(1)
        release.scale(3)
        release.scale(1)
    release.scale(2)


def test_a_pod_is_deleted_by_force(release: Kube, drills: Drills) -> None:
    with drills("kubectl delete pod --force"):
        release.kubectl("delete", "pod", release.ready()[0], "--force", "--grace-period=0")


def test_the_node_is_drained(release: Kube, drills: Drills) -> None:
    """The budget holds the last worker: on a single node the drain ends when it is given up."""
    (node,) = [each["metadata"]["name"] for each in release.get("nodes")["items"]]
    with drills("kubectl drain, 20 s, kubectl uncordon"):
        try:
            with pytest.raises(CommandFailed, match="disruption budget"):
                release.kubectl(
                    "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=20s"
                )
            assert len(release.ready()) == 1
        finally:
            release.kubectl("uncordon", node)


def test_the_node_dies(release: Kube, drills: Drills, own_cluster: OwnCluster) -> None:
    with drills("kubelet and all containers killed, kubelet back after 5 s"):
        own_cluster("kill", "kubelet", "containers")
        time.sleep(5)
        own_cluster("revive", "kubelet")
        until(lambda: not release.ready() or _restarted(release), "sign of the restart", 90)


def _restarted(release: Kube) -> bool:
    return any(pod.restarts for pod in release.pods())


def test_the_broker_dies(node: KafkaNode, drills: Drills) -> None:
    with drills("the only broker killed, back after 5 s"):
        node.stop(signal.SIGKILL)
        time.sleep(5)
        node.start()


def test_more_memory_is_needed_than_the_limit(release: Kube, drills: Drills) -> None:
    with drills("helm upgrade to a memory limit that is too low"):
        broken(release, "OOMKilled", "worker.resources.limits.memory=256Mi")


@pytest.mark.parametrize(
    ("name", "sets", "reason"),
    [
        ("an image that is not there", "worker.image.tag=nowhere", "ImagePull"),
        ("a model that is not there", "settings.inference.filter=no-such-model", "Error"),
        ("a policy file that is wrong", "policyFile.content=not a policy", "Error"),
    ],
)
def test_a_release_that_cannot_work_takes_nothing_away(
    release: Kube, drills: Drills, name: str, sets: str, reason: str
) -> None:
    with drills(f"helm upgrade to {name}"):
        broken(release, reason, sets)


def test_a_worker_that_restarts_while_an_upgrade_has_failed_finds_its_own_settings(
    release: Kube, drills: Drills
) -> None:
    def restart() -> None:
        before = next(pod for pod in release.pods() if pod.ready)
        release.kubectl("exec", before.name, "-c", "worker", "--", "sh", "-c", "kill 1")

        def is_back() -> bool:
            pods = {pod.name: pod for pod in release.pods()}
            now = pods.get(before.name, before)
            return now.ready and now.restarts > before.restarts

        until(is_back, "worker that restarted", 90, lambda: str(release.pods()))

    with drills("helm upgrade to a model that is not there, an old worker restarts"):
        broken(release, "Error", "settings.inference.filter=no-such-model", meanwhile=restart)
