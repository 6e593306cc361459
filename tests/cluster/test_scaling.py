"""KEDA takes workers up and down on the lag; the Prometheus operator's resources are taken."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.cluster.conftest import RELEASE
from tests.cluster.kube import Kube, until
from tests.cluster.load import Load
from tests.cluster.servers import OwnCluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(420)]

BURST = 120
MOST = 3
# The shortest that the chart allows: as long as an upload may take.
KEDA = (
    "worker.autoscaling.type=keda",
    f"worker.autoscaling.maxReplicas={MOST}",
    "worker.autoscaling.scaleDownSeconds=30",
    "worker.autoscaling.keda.lagThreshold=10",
    "worker.autoscaling.keda.pollingIntervalSeconds=2",
    "settings.worker.upload_timeout_s=30",
    "settings.worker.drain_timeout_s=20",
    "settings.worker.concurrency=2",  # the burst waits in Kafka, where it counts as lag
    "settings.worker.max_pending=4",
)
MONITORS = ("monitoring.podMonitor.enabled=true", "monitoring.prometheusRule.enabled=true")


@pytest.fixture(scope="module")
def scaled(release: Kube, own_cluster: OwnCluster) -> Kube:
    """One worker, and KEDA that watches the lag of its group."""
    own_cluster.keda(release)
    release.scale(1)
    release.upgrade(RELEASE, *KEDA, *MONITORS)
    name = f"{RELEASE}-worker"

    def ready() -> bool:
        conditions = release.get("scaledobject", name).get("status", {}).get("conditions", ())
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    until(ready, "ready ScaledObject", 60, lambda: release.kubectl("describe", "scaledobject", name))
    release.settled(1)
    return release


def test_keda_adds_workers_for_a_burst_and_takes_them_away(
    scaled: Kube, load: Load, results: dict[str, Any]
) -> None:
    begin_s = time.monotonic()
    load.burst(BURST)
    until(lambda: len(scaled.pods()) == MOST, f"{MOST} workers", 90, lambda: str(scaled.pods()))
    up_s = time.monotonic() - begin_s
    answered = load.settle(begin_s, timeout_s=240)
    drained_s = time.monotonic() - begin_s
    scaled.settled(1, timeout_s=300)
    down_s = time.monotonic() - begin_s
    after = load.settle(begin_s)
    assert after.written_twice <= answered.written_twice + MOST, "taking workers away does no work twice"
    results["scaling"] = {
        "to_three_workers_s": round(up_s, 1),
        "drained_s": round(drained_s, 1),
        "to_one_worker_s": round(down_s, 1),
        "uploads": after.uploads,
        "written_twice": after.written_twice,
    }


def test_monitors_and_rules_are_taken(scaled: Kube) -> None:
    assert scaled.get("podmonitor", RELEASE)["spec"]["podMetricsEndpoints"]
    assert scaled.get("prometheusrule", RELEASE)["spec"]["groups"]
