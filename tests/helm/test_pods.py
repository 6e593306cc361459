"""What the pods may do, and how they start and end."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from tests.helm.chart import BROKER, CI_FILES, Resource, below, ci_values, containers, read, render
from worker.settings import Settings
from worker.telemetry.health import HealthServer

SHAPES = pytest.mark.parametrize("file", CI_FILES, ids=lambda file: file.stem)
GiB = 1024**3


@SHAPES
def test_every_pod_is_restricted(file: Path) -> None:
    """Pod Security `restricted`, and more: no writable root, no token."""
    for name, pod in render(read(file)).pods():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["securityContext"].get("runAsUser", 1) > 0, name
        assert pod["automountServiceAccountToken"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume], name
        for container in containers(pod):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name


@SHAPES
def test_every_container_has_limits_and_a_pinned_image(file: Path) -> None:
    for name, pod in render(read(file)).pods():
        for container in containers(pod):
            assert "memory" in container["resources"]["limits"], name
            assert "cpu" in container["resources"]["requests"] or "nvidia" in str(container["resources"]), (
                name
            )
            assert ":" in container["image"] or "@sha256:" in container["image"], name
            assert not container["image"].endswith(":latest"), name


@SHAPES
def test_every_volume_is_bounded_and_every_mount_has_one(file: Path) -> None:
    for name, pod in render(read(file)).pods():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for volume in volumes.values():
            assert "emptyDir" not in volume or volume["emptyDir"].get("sizeLimit"), name
        for container in containers(pod):
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= set(volumes), name
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]} or (
                container["name"].startswith("models")
            ), name


def test_probes_ask_for_what_the_worker_serves() -> None:
    container = render(BROKER).worker()["containers"][0]
    (port,) = container["ports"]
    assert port["containerPort"] == Settings.model_construct().telemetry.port
    server = HealthServer("127.0.0.1", 0, metrics=bytes, live={}, ready={})
    server.start()
    try:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[probe]["httpGet"]
            assert asked["port"] == port["name"]
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{asked['path']}") as answer:
                assert answer.status == 200
    finally:
        server.close()


def test_the_port_follows_the_setting() -> None:
    rendered = render(BROKER, below("settings.telemetry.port", 9000))
    assert rendered.worker()["containers"][0]["ports"][0]["containerPort"] == 9000
    (ingress,) = rendered.one("NetworkPolicy", "-sluice")["spec"]["ingress"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": 9000}]


@pytest.mark.parametrize(
    ("drain_timeout_s", "extra_s", "grace_s"), [(30, 30, 60), (90.5, 30, 121), (300, 15, 315)]
)
def test_the_grace_period_outlasts_draining(drain_timeout_s: float, extra_s: int, grace_s: int) -> None:
    values = below("settings.worker.drain_timeout_s", drain_timeout_s)
    pod = render(BROKER, values, below("worker.terminationGraceExtraSeconds", extra_s)).worker()
    assert pod["terminationGracePeriodSeconds"] == grace_s > drain_timeout_s


@SHAPES
def test_the_grace_period_outlasts_draining_in_every_shape(file: Path) -> None:
    rendered = render(read(file))
    for pool in rendered.pools():
        drain_s = float(rendered.variables(pool)["SLUICE_WORKER__DRAIN_TIMEOUT_S"])
        assert rendered.worker(pool)["terminationGracePeriodSeconds"] >= drain_s + 15


def test_a_start_may_take_as_long_as_the_values_say() -> None:
    probe = render(BROKER, below("worker.probes.startupSeconds", 61)).worker()["containers"][0][
        "startupProbe"
    ]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 61


def test_room_follows_from_the_settings() -> None:
    settings = below("settings", {"worker": {"concurrency": 4}, "fetch": {"max_bytes": GiB}})
    volumes = {each["name"]: each.get("emptyDir") for each in render(BROKER, settings).worker()["volumes"]}
    assert volumes == {"scratch": {"sizeLimit": "4160Mi"}}


@pytest.mark.parametrize(
    ("limit", "processes", "is_told"),
    [
        ("4Gi", 2, False),
        ("3Gi", 2, True),
        ("2.2Gi", 1, True),
        ("2300Mi", 1, True),
        ("2500Mi", 1, False),
        ("2700M", 1, False),
        ("4.0G", 2, True),
        (4200000000, 2, False),
        ("4100000000", 2, True),
        ("12Gi", 8, True),
        ("1Ti", 8, False),
        ("4200000000000m", 2, False),
        ("4100000000000m", 2, True),
    ],
)
def test_a_memory_limit_that_the_decoders_may_exceed_is_told(
    limit: object, processes: int, is_told: bool
) -> None:
    """900 MB, and twice as many decoders as processes, of 805306368 bytes each."""
    values = below("worker.resources.limits.memory", limit)
    notes = render(BROKER, values, below("settings.decode.processes", processes)).notes
    assert ("ends the worker and not just a decoder" in notes) == is_told
    assert (f"is below the {0.9 + 2 * processes * 0.805306368:.1f} GB" in notes) == is_told


@SHAPES
def test_no_example_has_too_little_memory(file: Path) -> None:
    assert "memory limit" not in render(read(file)).notes


def test_pods_are_replaced_when_what_they_read_changes() -> None:
    def template(*layers: dict[str, object]) -> object:
        return render(ci_values("models"), *layers).one("Deployment")["spec"]["template"]

    before = template()
    assert template(below("settings.worker.retries", 5)) != before
    assert template(below("policyFile.content", "version: 1")) != before
    assert template(below("monitoring.podMonitor.enabled", True)) == before


@SHAPES
def test_workers_read_nothing_that_an_upgrade_would_change_under_them(file: Path) -> None:
    """When it fails, the workers from before go on, and may have to start again."""
    rendered = render(read(file))
    changed = {each["metadata"]["name"] for kind in ("ConfigMap", "Secret") for each in rendered.all(kind)}
    for pool in rendered.pools():
        pod = rendered.worker(pool)
        sources = [volume.get("configMap", volume.get("secret", {})) for volume in pod["volumes"]]
        named = {source.get("name", source.get("secretName")) for source in sources}
        assert not named & changed
        assert not [container["name"] for container in containers(pod) if "envFrom" in container]


def test_the_policy_file_is_an_annotation_that_the_pod_mounts() -> None:
    rendered = render(ci_values("models"))
    pod = rendered.worker()
    (volume,) = [each for each in pod["volumes"] if each["name"] == "policy"]
    (item,) = volume["downwardAPI"]["items"]
    (mount,) = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "policy"]
    assert f"{mount['mountPath']}/{item['path']}" == rendered.variables()["SLUICE_POLICY__FILE"]
    ((name, text),) = rendered.one("Deployment")["spec"]["template"]["metadata"]["annotations"].items()
    assert item["fieldRef"]["fieldPath"] == f"metadata.annotations['{name}']"
    assert text == ci_values("models")["policyFile"]["content"], "to the byte: verdicts name its digest"


def test_a_policy_file_of_somebody_else_is_mounted_from_its_config_map() -> None:
    pod = render(BROKER, below("policyFile.existingConfigMap", "policies")).worker()
    (volume,) = [each for each in pod["volumes"] if each["name"] == "policy"]
    assert volume["configMap"] == {
        "name": "policies",
        "items": [{"key": "policies.yaml", "path": "policies.yaml"}],
    }


def test_a_gpu_is_a_limit_with_a_toleration() -> None:
    pod = render(ci_values("mig")).worker()
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == 1
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
    assert pod["containers"][0]["image"].endswith("-gpu")


def test_without_a_gpu_there_is_no_toleration() -> None:
    pod = render(BROKER).worker()
    assert "tolerations" not in pod
    assert pod["containers"][0]["image"].endswith("-cpu")


def trainers(*layers: dict[str, object]) -> list[Resource]:
    return [each for each in render(*layers).all("Job") if "-train-" in each["metadata"]["name"]]


def run_dir(job: Resource) -> str:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (found,) = [each for each in container["args"] if each.startswith("--run-dir=")]
    return str(found)


def test_the_trainer_is_off_unless_asked_for() -> None:
    assert not trainers(BROKER)
    (job,) = trainers(ci_values("trainer"))
    assert job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


@pytest.mark.parametrize(
    ("values", "another_run"),
    [
        (below("trainer.extraArgs", ["--force"]), True),
        (below("trainer.config", "name: another"), True),
        (below("trainer.dataClaim", "others"), True),
        (below("trainer.resources.limits.memory", "32Gi"), False),
        (below("trainer.image.tag", "0.2.0"), False),
        (below("securityContext.runAsUser", 1000680000), False),
        (below("commonLabels", {"team": "t"}), False),
    ],
)
def test_other_pods_are_another_job_and_find_the_checkpoints_of_the_same_run(
    values: dict[str, object], another_run: bool
) -> None:
    """A job cannot be changed."""
    (before,), (after,) = trainers(ci_values("trainer")), trainers(ci_values("trainer"), values)
    assert before["spec"]["template"] != after["spec"]["template"]
    assert before["metadata"]["name"] != after["metadata"]["name"]
    assert (run_dir(before) != run_dir(after)) == another_run


def test_a_job_that_trains_may_get_more_time() -> None:
    (before,) = trainers(ci_values("trainer"))
    (after,) = trainers(ci_values("trainer"), below("trainer.activeDeadlineSeconds", 400000))
    assert before["metadata"]["name"] == after["metadata"]["name"]
    assert before["spec"]["template"] == after["spec"]["template"]
