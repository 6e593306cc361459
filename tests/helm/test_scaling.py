"""Autoscaling, disruption and the network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm import process
from tests.helm.chart import BROKER, CHART, below, ci_values, merged, render

KEDA = below("worker.autoscaling.type", "keda")


def owner(manager: str, *fields: str) -> dict[str, Any]:
    """An entry of `managedFields`."""
    return {"manager": manager, "fieldsV1": {"f:spec": {field: {} for field in fields}}}


def deployment(replicas: int, *owners: dict[str, Any]) -> dict[str, Any]:
    """As the cluster has it."""
    return {"metadata": {"managedFields": list(owners)}, "spec": {"replicas": replicas}}


def test_replicas_are_left_to_the_autoscaler() -> None:
    assert "replicas" in render(BROKER).one("Deployment")["spec"]
    for kind in ("keda", "hpa"):
        assert (
            "replicas" not in render(BROKER, below("worker.autoscaling.type", kind)).one("Deployment")["spec"]
        )


SCALE = {"subresource": "scale"}


@pytest.mark.parametrize(
    ("live", "replicas"),
    [
        ({}, None),  # not installed yet, or rendered without a cluster
        (deployment(8, owner("helm", "f:replicas", "f:template")), 8),
        (deployment(8, owner("helm", "f:template")), None),
        (deployment(8, owner("helm", "f:template"), owner("kubectl", "f:replicas") | SCALE), None),
        (deployment(8, owner("kube-controller-manager", "f:replicas") | SCALE), None),
        (deployment(8, owner("helm", "f:replicas"), owner("keda", "f:replicas") | SCALE), 8),
        (deployment(0, owner("helm", "f:replicas")), 2),  # an HPA does not begin at 0
    ],
)
def test_turning_autoscaling_on_takes_no_worker_away(
    live: dict[str, Any], replicas: int | None, tmp_path: Path
) -> None:
    """What Helm applied once and leaves out becomes 1, unless somebody else owns it by then."""
    chart = Path(shutil.copytree(CHART, tmp_path / "helm"))
    (chart / "templates" / "probe.yaml").write_text(
        '{{ dict "live" .Values.global "least" 2 | include "sluice.keptReplicas" | default "null" }}'
    )
    texts = process.render(chart, merged(BROKER, {"global": live}), "r", "moderation")
    (found,) = [yaml.safe_load(text) for name, text in texts.items() if name.endswith("probe.yaml")]
    assert found == replicas


def test_keda_asks_for_the_lag_of_the_pool_s_group() -> None:
    rendered = render(ci_values("pools"))
    spec = rendered.one("ScaledObject", "-live")["spec"]
    (trigger,) = spec["triggers"]
    variables = rendered.variables("live")
    assert spec["scaleTargetRef"]["name"] == rendered.one("Deployment", "-live")["metadata"]["name"]
    assert trigger["metadata"]["consumerGroup"] == variables["SLUICE_KAFKA__GROUP_ID"]
    assert trigger["metadata"]["topic"] == variables["SLUICE_KAFKA__UPLOADS_TOPIC"]
    assert trigger["metadata"]["bootstrapServers"] == variables["SLUICE_KAFKA__BOOTSTRAP_SERVERS"]


def test_keda_does_not_fall_into_its_traps() -> None:
    spec = render(BROKER, KEDA).one("ScaledObject")["spec"]
    metadata = spec["triggers"][0]["metadata"]
    assert metadata["allowIdleConsumers"] == "false", "no more workers than partitions"
    assert metadata["scaleToZeroOnInvalidOffset"] == "false", "one worker until the group has committed"
    assert metadata["offsetResetPolicy"] == "earliest", "as the workers read"
    assert spec["minReplicaCount"] == 1
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher", "a broken trigger takes no worker away"


@pytest.mark.parametrize(("upload_timeout_s", "quiet_s"), [(120, 300), (600, 630)])
def test_scaling_down_waits_for_the_longest_upload(upload_timeout_s: int, quiet_s: int) -> None:
    values = below("settings.worker.upload_timeout_s", upload_timeout_s)
    spec = render(BROKER, KEDA, values).one("ScaledObject")["spec"]
    behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behaviour["scaleDown"]["stabilizationWindowSeconds"] == quiet_s
    assert spec["cooldownPeriod"] == quiet_s
    hpa = render(BROKER, below("worker.autoscaling.type", "hpa"), values).one("HorizontalPodAutoscaler")[
        "spec"
    ]
    assert hpa["behavior"] == behaviour


def test_keda_takes_user_and_password_from_the_worker() -> None:
    rendered = render(ci_values("gpu"))
    authentication = rendered.one("TriggerAuthentication")
    (trigger,) = rendered.one("ScaledObject")["spec"]["triggers"]
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert (trigger["metadata"]["sasl"], trigger["metadata"]["tls"]) == ("scram_sha512", "enable")
    container = rendered.worker()["containers"][0]
    known = {each["name"] for each in container["env"]} | set(rendered.variables())
    for each in authentication["spec"]["env"]:
        assert each["name"] in known
        assert each["containerName"] == container["name"]


def test_keda_takes_certificates_from_their_secret_and_the_key_s_password_from_the_worker() -> None:
    rendered = render(ci_values("certificates"))
    spec = rendered.one("TriggerAuthentication")["spec"]
    assert {each["parameter"]: each["key"] for each in spec["secretTargetRef"]} == {
        "ca": "ca.crt",
        "cert": "tls.crt",
        "key": "tls.key",
    }
    (password,) = spec["env"]
    assert password["parameter"] == "keyPassword"
    assert password["name"] in {each["name"] for each in rendered.worker()["containers"][0]["env"]}


@pytest.mark.parametrize(
    "values",
    [
        {},
        below("settings.kafka.security_protocol", "SSL"),
        {
            "settings": {"kafka": {"security_protocol": "SSL"}},
            "kafkaTls": {"existingSecret": "certificates", "caKey": ""},
        },
    ],
    ids=["nothing", "authorities of the system", "a Secret of which nothing is used"],
)
def test_keda_gets_no_authentication_where_there_is_none(values: dict[str, Any]) -> None:
    rendered = render(BROKER, KEDA, values)
    (trigger,) = rendered.one("ScaledObject")["spec"]["triggers"]
    assert "authenticationRef" not in trigger
    assert not rendered.all("TriggerAuthentication")
    assert (trigger["metadata"].get("tls") == "enable") == bool(values)


def test_a_drain_takes_one_worker_at_a_time() -> None:
    rendered = render(BROKER)
    budget = rendered.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    labels = rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        ({}, [53, 443, 9092, 9464]),
        (below("settings.kafka.bootstrap_servers", "a:9093,b:9094"), [53, 443, 9093, 9094, 9464]),
        (below("settings.telemetry.port", 9000), [53, 443, 9000, 9092]),
        (below("networkPolicy.kafka.ports", [19092]), [53, 443, 9464, 19092]),
        (below("settings.fetch.s3_endpoint_url", "http://minio:9000"), [53, 443, 9000, 9092, 9464]),
        (below("settings.fetch.allow_http", True), [53, 80, 443, 9092, 9464]),
        (below("secrets.cache.url.existingSecret", "cache"), [53, 443, 6379, 9092, 9464]),
    ],
)
def test_workers_reach_only_what_they_need(values: dict[str, Any], ports: list[int]) -> None:
    policy = render(BROKER, values).one("NetworkPolicy", "-sluice")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    found = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert sorted(found) == ports


@pytest.mark.parametrize("name", ["cpu", "hpa"])
def test_a_worker_reads_the_metrics_of_all_and_of_nobody_else(name: str) -> None:
    """`sluice top` inside of one."""
    rendered = render(ci_values(name))
    policy = rendered.one("NetworkPolicy", "-sluice")["spec"]
    workers = {"podSelector": policy["podSelector"]}
    (egress,) = [rule for rule in policy["egress"] if {"protocol": "TCP", "port": 9464} in rule["ports"]]
    assert egress["to"] == [workers]
    (ingress,) = policy["ingress"]
    assert workers in ingress["from"] or {"namespaceSelector": {}} in ingress["from"]


def test_the_pod_of_helm_test_is_no_worker_to_budgets_and_deployments() -> None:
    rendered = render(BROKER)
    labels = rendered.one("Pod")["metadata"]["labels"]
    assert not rendered.one("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert (
        not rendered.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    )
    assert (
        rendered.one("NetworkPolicy", "-sluice")["spec"]["podSelector"]["matchLabels"].items()
        <= labels.items()
    )
