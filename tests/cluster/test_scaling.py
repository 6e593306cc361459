"""KEDA takes workers up and down on the lag; the Prometheus operator's resources are taken.

Each worker may use a third of a core, so that four of them find what they would find on four nodes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.conftest import RELEASE
from tests.cluster.kube import Kube, until
from tests.cluster.load import Answered, Load
from tests.cluster.servers import OwnCluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

NAME = f"{RELEASE}-worker"
SHORT_BURST = 60
PARTITIONS = 4
STOPPED = PARTITIONS - 1  # workers, on the way back to one
# The shortest that the chart allows: as long as an upload may take.
KEDA = (
    "worker.autoscaling.type=keda",
    f"worker.autoscaling.maxReplicas={PARTITIONS + 2}",  # which is more than can share the topic
    "worker.autoscaling.scaleDownSeconds=30",
    "worker.autoscaling.keda.lagThreshold=10",
    "worker.autoscaling.keda.pollingIntervalSeconds=2",
    "worker.resources.limits.cpu=330m",
    "settings.worker.upload_timeout_s=30",
    "settings.worker.drain_timeout_s=20",
    "settings.worker.concurrency=2",  # the burst waits in Kafka, where it counts as lag
    "settings.worker.max_pending=4",
)
MONITORS = ("monitoring.podMonitor.enabled=true", "monitoring.prometheusRule.enabled=true")


@pytest.fixture(scope="module")
def scaled(release: Kube, load: Load, own_cluster: OwnCluster) -> Iterator[Kube]:
    """One worker, KEDA that watches the lag of its group, and hardly any load but the bursts."""
    load.period_s = 4.0
    own_cluster.keda(release)
    release.scale(1)
    release.upgrade(RELEASE, *KEDA, *MONITORS, more=("--no-hooks",))

    def ready() -> bool:
        conditions = release.get("scaledobject", NAME).get("status", {}).get("conditions", ())
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    until(ready, "ready ScaledObject", 60, lambda: release.kubectl("describe", "scaledobject", NAME))
    release.settled(1)
    yield release
    load.period_s = 1.0


@dataclass
class Burst:
    """So many uploads at once, and the workers that there are from then on."""

    kube: Kube
    load: Load
    uploads: int

    def __post_init__(self) -> None:
        self.workers: list[tuple[float, int]] = []  # seconds since the beginning, how many were ready
        self.most = 0  # workers that were asked for at the same time
        self._begin_s = time.monotonic()
        self._names = self.load.burst(self.uploads)

    @property
    def elapsed_s(self) -> float:
        return round(time.monotonic() - self._begin_s, 1)

    def until_drained(self) -> Answered:
        def drained() -> bool:
            self._look()
            return not self.load.unanswered(self._names)

        until(drained, "answers to the burst", 300, lambda: f"{self.load.unanswered(self._names)} open")
        return self.answered()

    def until_at_most(self, workers: int) -> None:
        """Both asked for and there: workers may go one by one or together."""
        until(lambda: self._look() <= workers, f"{workers} workers", 300, lambda: str(self.kube.pods()))

    def answered(self) -> Answered:
        return self.load.settle(self._begin_s)

    def first_with(self, workers: int) -> float | None:
        return next((at_s for at_s, ready in self.workers if ready >= workers), None)

    def _look(self) -> int:
        pods = self.kube.pods()
        asked: int = self.kube.get("deployment", NAME)["spec"]["replicas"]
        self.most = max(self.most, asked)
        self.workers.append((self.elapsed_s, sum(pod.ready for pod in pods)))
        return max(asked, len(pods))


def test_one_worker_bears_a_burst_without_keda(
    scaled: Kube, load: Load, results: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """To compare with; it takes minutes."""
    uploads = request.config.getoption("--burst")
    if not uploads:
        pytest.skip("to compare with autoscaling: --burst UPLOADS")
    scaled.kubectl("annotate", "scaledobject", NAME, "autoscaling.keda.sh/paused-replicas=1")
    burst = Burst(scaled, load, uploads)
    burst.until_drained()
    results["scaling"] = {
        "one worker": {"uploads": uploads, "most": burst.most, "drained_s": burst.elapsed_s}
    }
    assert burst.most == 1
    scaled.kubectl("annotate", "scaledobject", NAME, "autoscaling.keda.sh/paused-replicas-")


def test_keda_adds_workers_for_a_burst_and_takes_them_away(
    scaled: Kube, load: Load, results: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    uploads = request.config.getoption("--burst")
    burst = Burst(scaled, load, uploads or SHORT_BURST)
    drained = burst.until_drained()
    drained_s = burst.elapsed_s
    burst.until_at_most(1 if uploads else burst.most - 1)
    after = burst.answered()
    print(burst.workers, drained, after)
    results.setdefault("scaling", {})["KEDA"] = {
        "uploads": burst.uploads,
        "most": burst.most,
        "all_workers_s": burst.first_with(PARTITIONS),
        "drained_s": drained_s,
        "one_worker_again_s": burst.elapsed_s if uploads else None,
        "twice_up": drained.written_twice,
        "twice_down": after.written_twice - drained.written_twice,
    }
    assert 1 < burst.most <= PARTITIONS, "no worker without a partition"
    assert burst.most == PARTITIONS or not uploads, "a long burst is worth all of them"
    assert after.written_twice <= drained.written_twice + STOPPED, (
        "no work is done twice but of who is stopped"
    )


def test_monitors_and_rules_are_taken(scaled: Kube) -> None:
    assert scaled.get("podmonitor", RELEASE)["spec"]["podMetricsEndpoints"]
    assert scaled.get("prometheusrule", RELEASE)["spec"]["groups"]
