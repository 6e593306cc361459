"""Alerts and monitors speak of metrics and ports that exist."""

from __future__ import annotations

import json
import re

import pytest

from tests.helm.chart import BROKER, Rendered, Resource, below, ci_values, render
from worker.telemetry.metrics import Metrics

SUFFIXES = ("", "_total", "_bucket", "_sum", "_count", "_info")
KNOWN = {family.name + suffix for family in Metrics().registry.collect() for suffix in SUFFIXES}


def alerts(rendered: Rendered | None = None) -> list[Resource]:
    (group,) = (rendered or render(ci_values("gpu"))).one("PrometheusRule")["spec"]["groups"]
    rules: list[Resource] = group["rules"]
    return rules


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_asks_for_metrics_that_exist_and_says_what_to_do(alert: Resource) -> None:
    names = re.findall(r"\bsluice_(?!pool\b)[a-z_]+", alert["expr"])
    assert names
    assert set(names) <= KNOWN
    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]


def test_alerts_are_about_this_release_only() -> None:
    for alert in alerts():
        for selector in re.findall(r"sluice_[a-z_]+\{([^}]*)\}", alert["expr"]):
            assert selector.startswith('namespace="moderation",pod=~"r-sluice-')


def absent_pools(*layers: Resource) -> dict[str, re.Pattern[str]]:
    """Pool that is told when it has no worker -> the pods that are taken for its workers."""
    rendered = render(*layers, below("monitoring.prometheusRule.enabled", True))
    rules = [rule for rule in alerts(rendered) if rule["alert"] == "SluiceNoWorkers"]
    for rule in rules:
        assert rule["labels"] == {
            "severity": "critical",
            "namespace": "moderation",
            "sluice_pool": rule["labels"]["sluice_pool"],
        }
        assert rule["for"] == "5m"
        assert rule["annotations"]["runbook"]
    return {
        rule["labels"]["sluice_pool"]: re.compile(re.findall('pod=~"([^"]*)"', rule["expr"])[0])
        for rule in rules
    }


def test_each_pool_is_missed_by_itself() -> None:
    one = absent_pools(BROKER, {"pools": {"live": {}, "live-eu": {}}})
    assert set(one) == {"live", "live-eu"}
    for name, pool in (
        ("r-sluice-live-5d8f7c9b6d-x2x4z", "live"),
        ("r-sluice-live-eu-5d8f7c9b6d-x2x4z", "live-eu"),
    ):
        assert {found for found, pods in one.items() if pods.fullmatch(name)} == {pool}


def test_a_long_name_is_cut_off_as_kubernetes_does() -> None:
    pool, deployment = "p" * 20, f"{'r' * 40}-{'p' * 20}"
    (pods,) = absent_pools(BROKER, {"fullnameOverride": "r" * 40, "pools": {pool: {}}}).values()
    assert pods.fullmatch(f"{deployment}-5d8f7c9b6d-"[:58] + "x2x4z")


@pytest.mark.parametrize(
    "pool",
    [{"replicas": 0}, {"autoscaling": {"type": "keda", "minReplicas": 0}}],
    ids=["no replicas", "scaled to nothing"],
)
def test_a_pool_that_may_be_empty_is_not_missed(pool: Resource) -> None:
    """Where an autoscaler says how many, `replicas` counts for nothing."""
    assert set(absent_pools(BROKER, {"pools": {"live": {}, "batch": pool}})) == {"live"}
    scaled = {"replicas": 0, "autoscaling": {"type": "keda", "minReplicas": 1}}
    assert set(absent_pools(BROKER, {"pools": {"batch": scaled}})) == {"batch"}


def test_monitors_find_the_workers_port() -> None:
    for name in ("gpu", "hpa"):
        rendered = render(ci_values(name))
        ports = {port["name"] for port in rendered.worker()["containers"][0]["ports"]}
        for monitor in rendered.all("PodMonitor"):
            (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
            assert endpoint["port"] in ports
        for service in rendered.all("Service"):
            (port,) = service["spec"]["ports"]
            assert port["targetPort"] in ports


def test_the_service_monitor_selects_the_service() -> None:
    rendered = render(ci_values("hpa"))
    wanted = rendered.one("ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= rendered.one("Service")["metadata"]["labels"].items()


def test_nothing_is_monitored_unless_asked() -> None:
    kinds = {each["kind"] for each in render(BROKER).resources}
    assert not kinds & {"PodMonitor", "ServiceMonitor", "PrometheusRule", "ScaledObject", "Service"}


def test_thresholds_are_the_values() -> None:
    given = {"errorShare": 0.31, "degradedShare": 0.32, "latencySeconds": 33, "verdictSeconds": 34}
    values = below("monitoring.prometheusRule", {"enabled": True, "backlogSeconds": 350000, **given})
    (group,) = render(BROKER, values).one("PrometheusRule")["spec"]["groups"]
    asked = "\n".join(rule["expr"] for rule in group["rules"])
    for value in (*given.values(), 350000):
        assert len(re.findall(rf"> {value}\s*$", asked, re.MULTILINE)) == 1
    assert "# " not in asked


def test_dashboards_are_mounted_for_grafanas_sidecar() -> None:
    values = below("monitoring.dashboards", {"enabled": True, "labels": {"grafana_dashboard": "yes"}})
    boards = [
        each
        for each in render(BROKER, values).all("ConfigMap")
        if "grafana_dashboard" in each["metadata"]["labels"]
    ]
    assert {key for board in boards for key in board["data"]} == {
        "operations.json",
        "quality.json",
        "cost.json",
    }
    for board in boards:
        (text,) = board["data"].values()
        assert json.loads(text)["uid"].startswith("sluice-")
        assert board["metadata"]["labels"]["grafana_dashboard"] == "yes"
