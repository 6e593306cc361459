"""The job that looks at the topics: a hook on brokers of yours, an ordinary job on those of tryout."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from tests.helm.chart import BROKER, Rendered, Resource, below, ci_values, containers, render
from worker.cli import cli
from worker.configuration import fields, variable_name

KAFKA = {variable_name(path) for path, _ in fields() if path[0] == "kafka"}


def job(rendered: Rendered, pool: str = "worker") -> Resource:
    return rendered.one("Job", f"-{pool}-topics")


def arguments(found: Resource) -> list[str]:
    (container,) = containers(found["spec"]["template"]["spec"])
    texts: list[str] = container["args"]
    return texts


def test_a_hook_looks_before_anything_is_changed() -> None:
    found = job(render(BROKER))
    assert found["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert arguments(found) == ["topics", "check", "--partitions=4", "--retention-hours=168"]


def test_a_hook_needs_nothing_that_the_release_brings() -> None:
    pod = job(render(ci_values("gpu")))["spec"]["template"]["spec"]
    assert "serviceAccountName" not in pod
    (container,) = containers(pod)
    assert "envFrom" not in container
    assert not [volume for volume in pod["volumes"] if "configMap" in volume]
    assert "nvidia.com/gpu" not in str(container["resources"])


def test_it_sees_the_brokers_as_the_workers_do() -> None:
    rendered = render(ci_values("pools"))
    for pool in ("live", "batch"):
        (container,) = containers(job(rendered, pool)["spec"]["template"]["spec"])
        given = {each["name"]: each["value"] for each in container["env"]}
        expected = {name: value for name, value in rendered.variables(pool).items() if name in KAFKA}
        assert given == expected


def test_secrets_and_certificates_come_as_to_the_workers() -> None:
    rendered = render(ci_values("gpu"))
    (container,) = containers(job(rendered)["spec"]["template"]["spec"])
    (worker,) = containers(rendered.worker())
    secrets = [each for each in worker["env"] if "valueFrom" in each]
    assert secrets
    assert [each for each in container["env"] if "valueFrom" in each] == secrets
    assert "/etc/sluice/tls" in {mount["mountPath"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize(
    ("values", "partitions"),
    [
        ({}, 4),
        (below("topics.partitions", 12), 12),
        (below("worker.replicas", 6), 6),
        (below("worker.autoscaling", {"type": "keda", "maxReplicas": 16}), 16),
        (below("worker.autoscaling", {"type": "none", "maxReplicas": 16}), 4),
    ],
)
def test_no_worker_is_without_a_partition(values: dict[str, Any], partitions: int) -> None:
    assert f"--partitions={partitions}" in arguments(job(render(BROKER, values)))


def test_a_mismatch_is_not_tried_again() -> None:
    spec = job(render(BROKER))["spec"]
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [1])
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_the_arguments_are_those_of_the_command() -> None:
    values = below("topics", {"replicas": 3, "retentionHours": 24, "hook": {"mode": "create"}})
    command = arguments(job(render(BROKER, values)))
    assert command[:2] == ["topics", "create"]
    shown = CliRunner().invoke(cli, [*command[:2], "--help"]).output
    for option in command[2:]:
        assert option.partition("=")[0] in shown


def test_tryout_creates_its_own_once_its_broker_answers() -> None:
    found = render(ci_values("tryout")).one("Job")
    assert "annotations" not in found["metadata"]
    assert arguments(found)[:2] == ["topics", "create"]
    other = render(ci_values("tryout"), below("topics.partitions", 8)).one("Job")
    assert found["metadata"]["name"] != other["metadata"]["name"]


def test_it_can_be_left_out() -> None:
    assert not render(BROKER, below("topics.hook.enabled", False)).all("Job")
