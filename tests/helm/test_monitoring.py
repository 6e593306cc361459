"""Alerts and monitors speak of metrics and ports that exist."""

from __future__ import annotations

import json
import re

import pytest

from tests.helm.chart import BROKER, Resource, below, ci_values, render
from worker.telemetry.metrics import Metrics

SUFFIXES = ("", "_total", "_bucket", "_sum", "_count", "_info")
KNOWN = {family.name + suffix for family in Metrics().registry.collect() for suffix in SUFFIXES}


def alerts() -> list[Resource]:
    (group,) = render(ci_values("gpu")).one("PrometheusRule")["spec"]["groups"]
    rules: list[Resource] = group["rules"]
    return rules


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_asks_for_metrics_that_exist_and_says_what_to_do(alert: Resource) -> None:
    names = re.findall(r"\bsluice_[a-z_]+", alert["expr"])
    assert names
    assert set(names) <= KNOWN
    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]


def test_alerts_are_about_this_release_only() -> None:
    for alert in alerts():
        for selector in re.findall(r"sluice_[a-z_]+\{([^}]*)\}", alert["expr"]):
            assert selector.startswith('namespace="moderation",pod=~"r-sluice-.*"')


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
