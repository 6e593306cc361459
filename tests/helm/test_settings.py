"""Values, environment and settings model are one and the same tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helm import generate
from tests.helm.chart import BROKER, CHART, CI_FILES, below, ci_values, containers, read, render
from tests.helm.conftest import Start
from worker.configuration import fields, is_secret, variable_name
from worker.settings import Settings

OPEN = {variable_name(path) for path, field in fields() if not is_secret(field)}
SECRET = {variable_name(path) for path, field in fields() if is_secret(field)}


def test_what_is_generated_is_up_to_date() -> None:
    stale = [path.name for path, text in generate.files().items() if path.read_text() != text]
    assert not stale, "run `make schemas`"


def test_every_setting_is_in_the_environment_and_nothing_else() -> None:
    assert set(render(BROKER).variables()) == OPEN


def test_every_secret_can_come_from_a_secret_and_nothing_else() -> None:
    named = {
        variable_name((group, name))
        for group, names in read(CHART / "values.yaml")["secrets"].items()
        for name in names
    }
    assert named == SECRET | {variable_name(path) for path in generate.MAY_BE_SECRET}


def test_the_chart_s_defaults_are_the_worker_s(start: Start) -> None:
    expected = Settings.model_construct().model_dump()
    expected["kafka"]["bootstrap_servers"] = "kafka:9092"
    expected["worker"]["state_dir"] = Path("/tmp/state")
    expected["inference"]["threads"] = 2
    assert start(render(BROKER).variables()).model_dump() == expected


@pytest.mark.parametrize("file", CI_FILES, ids=lambda file: file.stem)
def test_a_worker_takes_the_variables_of_every_shape(file: Path, start: Start) -> None:
    rendered = render(read(file))
    for pool in rendered.pools():
        assert start(rendered.variables(pool))


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("kafka.max_message_bytes", 104857600, "104857600"),
        ("decode.max_duration_s", 0.5, "0.5"),
        ("fetch.allow_http", True, "true"),
        ("fetch.file_roots", ["/a", "/b"], "/a:/b"),
        ("inference.escalation", "", ""),
        ("kafka.group_id", "0123", "0123"),
        ("kafka.group_id", "a$(HOME)$$b", "a$(HOME)$$b"),
    ],
)
def test_values_become_texts(path: str, value: Any, text: str) -> None:
    group, name = path.split(".")
    assert render(BROKER, below(f"settings.{path}", value)).variables()[variable_name((group, name))] == text


@pytest.mark.parametrize(
    ("cpus", "threads", "expected"),
    [("500m", 0, "1"), ("2500m", 0, "3"), (4, 0, "4"), ("1.5", 0, "2"), (4, 3, "3")],
)
def test_threads_follow_from_the_cpus_that_are_requested(cpus: Any, threads: int, expected: str) -> None:
    values = below("worker", {"resources": {"requests": {"cpu": cpus}}})
    rendered = render(BROKER, values, below("settings.inference.threads", threads))
    assert rendered.variables()["SLUICE_INFERENCE__THREADS"] == expected


def test_a_pool_differs_where_it_says_so() -> None:
    rendered = render(ci_values("pools"))
    live, batch, canary = (rendered.variables(pool) for pool in ("live", "batch", "canary"))
    assert (live["SLUICE_KAFKA__UPLOADS_TOPIC"], live["SLUICE_KAFKA__GROUP_ID"]) == (
        "uploads.live",
        "sluice-live",
    )
    assert batch["SLUICE_WORKER__UPLOAD_TIMEOUT_S"] == "600"
    differing = {name for name in live if live[name] != canary[name]}
    assert differing == {"SLUICE_INFERENCE__FILTER"}


def test_zero_and_false_of_a_pool_count() -> None:
    rendered = render(ci_values("pools"))
    assert rendered.one("Deployment", "-batch")["spec"]["replicas"] == 0
    assert not [
        each for each in rendered.all("PodDisruptionBudget") if each["metadata"]["name"].endswith("batch")
    ]


def test_secrets_come_by_reference_only() -> None:
    pod = render(ci_values("gpu")).worker()
    variables = {each["name"]: each for each in pod["containers"][0]["env"]}
    assert variables["SLUICE_KAFKA__SASL_PASSWORD"]["valueFrom"] == {
        "secretKeyRef": {"name": "sluice-kafka", "key": "password"}
    }
    assert {name for name, each in variables.items() if "valueFrom" in each} == {
        "SLUICE_KAFKA__SASL_USERNAME",
        "SLUICE_KAFKA__SASL_PASSWORD",
        "SLUICE_SAMPLING__JITTER_SECRET",
    }


@pytest.mark.parametrize("file", CI_FILES, ids=lambda file: file.stem)
def test_no_secret_is_in_a_manifest(file: Path) -> None:
    rendered = render(read(file))
    assert not rendered.all("Secret")
    told = {
        each["name"]: each["value"]
        for _, pod in rendered.pods()
        for container in containers(pod)
        for each in container.get("env", ())
        if each["name"] in SECRET and "value" in each
    }
    assert told in (
        {},
        {"SLUICE_CACHE__URL": "redis://r-sluice-redis:6379/0"},
    )  # that of tryout, without a password


@pytest.mark.parametrize("file", CI_FILES, ids=lambda file: file.stem)
def test_each_variable_is_given_once(file: Path) -> None:
    for name, pod in render(read(file)).pods():
        for container in containers(pod):
            names = [each["name"] for each in container.get("env", ())]
            assert len(names) == len(set(names)), name


def test_a_user_name_from_a_secret_is_not_given_as_text() -> None:
    assert "SLUICE_KAFKA__SASL_USERNAME" not in render(ci_values("gpu")).variables()


def test_what_follows_from_other_values() -> None:
    models, gpu, tls, tryout = (
        render(ci_values(name)).variables() for name in ("models", "gpu", "hpa", "tryout")
    )
    assert models["SLUICE_INFERENCE__MODELS_DIR"] == "/models"
    assert models["SLUICE_POLICY__FILE"] == "/etc/sluice/policy/policies.yaml"
    assert gpu["SLUICE_INFERENCE__PROVIDER"] == "cuda", "a GPU worker must not fall back to the CPU"
    assert tls["SLUICE_KAFKA__SSL_CERT_FILE"] == "/etc/sluice/tls/tls.crt"
    assert tryout["SLUICE_KAFKA__BOOTSTRAP_SERVERS"] == "r-sluice-kafka:9092"


def test_services_put_nothing_into_the_environment() -> None:
    """With service links a Service r-sluice-kafka of a release `sluice` would be taken for a setting."""
    for _, pod in render(ci_values("tryout")).pods():
        assert pod["enableServiceLinks"] is False
