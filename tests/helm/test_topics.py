"""The job that looks at the topics: a hook on brokers of yours, an ordinary job on those of tryout."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from tests.helm.chart import BROKER, Rendered, Resource, below, ci_values, containers, render, settings_of
from tests.helm.conftest import Start
from worker.cli import cli
from worker.configuration import fields, variable_name

STREAM = {variable_name(path) for path, _ in fields() if path[0] in {"kafka", "shadow"}}


def job(rendered: Rendered, pool: str = "worker") -> Resource:
    return rendered.one("Job", f"-{pool}-topics")


def pod_of(found: Resource) -> Resource:
    pod: Resource = found["spec"]["template"]["spec"]
    return pod


def arguments(found: Resource) -> list[str]:
    (container,) = containers(pod_of(found))
    texts: list[str] = container["args"]
    return texts


def test_a_hook_looks_before_anything_is_changed() -> None:
    found = job(render(BROKER))
    assert found["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert arguments(found) == ["topics", "check", "--partitions=4", "--retention-hours=168"]


def test_a_hook_needs_nothing_that_the_release_brings() -> None:
    pod = pod_of(job(render(ci_values("gpu"))))
    assert "serviceAccountName" not in pod
    (container,) = containers(pod)
    assert "envFrom" not in container
    assert not [volume for volume in pod["volumes"] if "configMap" in volume]


def test_a_hook_does_not_wait_for_a_node_with_a_gpu() -> None:
    rendered = render(ci_values("gpu"), below("worker.tolerations", [{"key": "spot", "operator": "Exists"}]))
    pod = pod_of(job(rendered))
    assert "nvidia.com/gpu" in str(rendered.worker()["nodeSelector"])
    assert "nvidia.com/gpu" not in str(pod)
    assert pod["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    chosen = below("worker.nodeSelector", {"pool": "small"})
    assert pod_of(job(render(BROKER, chosen)))["nodeSelector"] == {"pool": "small"}


def test_a_hook_has_time_to_be_scheduled_and_to_pull_its_image() -> None:
    assert job(render(BROKER))["spec"]["activeDeadlineSeconds"] == 600
    assert job(render(BROKER, below("topics.hook.timeoutSeconds", 60)))["spec"]["activeDeadlineSeconds"] == 60


@pytest.mark.parametrize("name", ["cpu", "tryout"])
def test_its_own_policy_lets_it_reach_the_brokers_and_the_release_s_does_not_hold_it(name: str) -> None:
    rendered = render(ci_values(name))
    found = rendered.one("Job")
    own, release = rendered.one("NetworkPolicy", "-topics"), rendered.one("NetworkPolicy", "-sluice")
    labels = found["spec"]["template"]["metadata"]["labels"].items()
    assert own["spec"]["podSelector"]["matchLabels"].items() <= labels
    assert not release["spec"]["podSelector"]["matchLabels"].items() <= labels
    assert {port["port"] for rule in own["spec"]["egress"] for port in rule["ports"]} == {53, 9092}
    hook, before = (each["metadata"].get("annotations", {}) for each in (found, own))
    assert before.get("helm.sh/hook") == hook.get("helm.sh/hook")
    assert name == "tryout" or int(before["helm.sh/hook-weight"]) < int(hook.get("helm.sh/hook-weight", 0))


def test_there_is_no_policy_for_a_job_that_is_left_out() -> None:
    assert len(render(BROKER, below("topics.hook.enabled", False)).all("NetworkPolicy")) == 1
    assert not render(BROKER, below("networkPolicy.enabled", False)).all("NetworkPolicy")


def test_it_sees_the_brokers_as_the_workers_do() -> None:
    rendered = render(ci_values("pools"))
    for pool in ("live", "batch"):
        (container,) = containers(pod_of(job(rendered, pool)))
        expected = {name: value for name, value in rendered.variables(pool).items() if name in STREAM}
        assert settings_of(container) == expected


@pytest.mark.parametrize("trial", ["", "violence-filter@0.3.0"])
def test_it_looks_for_the_topics_that_the_workers_need(trial: str, start: Start) -> None:
    """A model on trial has a topic of its own."""
    rendered = render(BROKER, below("settings.shadow.filter", trial))
    (container,) = containers(pod_of(job(rendered)))
    looked_for = start(settings_of(container)).topics
    assert looked_for == start(rendered.variables()).topics
    assert ("verdicts.shadow" in looked_for) == bool(trial)


def test_secrets_and_certificates_come_as_to_the_workers() -> None:
    rendered = render(ci_values("gpu"))
    (container,) = containers(pod_of(job(rendered)))
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


OTHER_JOBS: list[dict[str, Any]] = [
    below("topics.partitions", 8),
    below("worker.image.tag", "0.2.0-cpu"),
    below("commonLabels", {"team": "t"}),
    below("securityContext.runAsUser", 1000680000),
    below("imagePullSecrets", [{"name": "registry"}]),
    below("topics.hook.timeoutSeconds", 60),
]


@pytest.mark.parametrize("values", OTHER_JOBS, ids=[next(iter(values)) for values in OTHER_JOBS])
def test_an_ordinary_job_of_other_contents_has_another_name(values: dict[str, Any]) -> None:
    """A job cannot be changed."""
    found, other = (render(ci_values("tryout"), layer).one("Job") for layer in ({}, values))
    assert found["spec"] != other["spec"]
    assert found["metadata"]["name"] != other["metadata"]["name"]


def test_it_can_be_left_out() -> None:
    assert not render(BROKER, below("topics.hook.enabled", False)).all("Job")
