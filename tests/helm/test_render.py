"""Every shape of the chart renders, and an API server of several versions would take what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helm import process, schemas
from tests.helm.chart import BROKER, CHART, CI_FILES, Rendered, below, ci_values, merged, read, render

OPTIONS: dict[str, dict[str, Any]] = {
    "nothing else": {},
    "names": {"fullnameOverride": "moderation", "commonLabels": {"team": "t"}},
    "no users of our own": {"securityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}},
    "platform users": {"securityContext": {"runAsUser": 1000680000, "fsGroup": 1000680000}},
    "service account elsewhere": {"serviceAccount": {"create": False, "name": "workers"}},
    "recreate": below("worker.strategy", {"type": "Recreate", "rollingUpdate": None}),
    "memory scratch": below("worker.scratch", {"medium": "Memory", "sizeLimit": "1Gi"}),
    "private registry": {"imagePullSecrets": [{"name": "registry"}]},
    "from nothing": below("worker.autoscaling", {"type": "keda", "minReplicas": 0}),
    "own metrics": below(
        "worker.autoscaling",
        {
            "type": "hpa",
            "hpa": {
                "metrics": [
                    {
                        "type": "Pods",
                        "pods": {
                            "metric": {"name": "sluice_records_pending"},
                            "target": {"type": "AverageValue", "averageValue": "12"},
                        },
                    }
                ]
            },
        },
    ),
    "no network policy": below("networkPolicy.enabled", False),
    "policy elsewhere": below("policyFile.existingConfigMap", "policies"),
    "all alerts": below("monitoring.prometheusRule", {"enabled": True, "labels": {"release": "prom"}}),
    "a GPU and its own tolerations": below(
        "worker", {"gpu": {"enabled": True}, "tolerations": [{"key": "spot", "operator": "Exists"}]}
    ),
    "no spread": below("worker.topologySpread", []),
    "somewhere": below("worker.affinity.nodeAffinity", {}),
}


@pytest.fixture(params=CI_FILES, ids=lambda file: file.name.removesuffix("-values.yaml"))
def shape(request: pytest.FixtureRequest) -> Path:
    file: Path = request.param
    return file


def test_lint_finds_nothing(shape: Path) -> None:
    report = process.lint(CHART, read(shape), "moderation")
    found = [each for each in report["messages"] if each["severity"] > 1 or "templates" in each["path"]]
    assert not found
    assert not report["errors"]


def test_every_shape_is_valid(shape: Path) -> None:
    _check(render(read(shape)))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_every_option_is_valid(options: dict[str, Any]) -> None:
    _check(render(BROKER, options))


def test_custom_resources_fit_their_definitions() -> None:
    everything = merged(
        ci_values("gpu"),
        below("monitoring", {"podMonitor": {"enabled": False}, "serviceMonitor": {"enabled": True}}),
    )
    shapes = (
        ci_values("gpu"),
        ci_values("certificates"),
        everything,
        merged(BROKER, OPTIONS["from nothing"]),
    )
    rendered = [render(values) for values in shapes]
    kinds = set()
    for resource in (each for some in rendered for each in some.resources):
        if resource["apiVersion"] not in schemas.OF_KUBERNETES:
            kinds.add(resource["kind"])
            schemas.check_custom(resource)
    assert kinds == {
        "ScaledObject",
        "TriggerAuthentication",
        "PodMonitor",
        "ServiceMonitor",
        "PrometheusRule",
    }


def test_names_are_unique(shape: Path) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in render(read(shape)).resources]
    assert len(names) == len(set(names))


def test_the_same_values_give_the_same_manifests() -> None:
    assert render(ci_values("pools")) == render(ci_values("pools"))


def test_the_chart_is_of_the_code_s_version() -> None:
    from worker import __version__

    assert read(CHART / "Chart.yaml")["appVersion"] == __version__


def _check(rendered: Rendered) -> None:
    for resource in rendered.resources:
        if resource["apiVersion"] in schemas.OF_KUBERNETES:
            for version in schemas.VERSIONS:
                schemas.check(resource, version)
        assert resource["metadata"]["labels"]["app.kubernetes.io/instance"] == "r"
