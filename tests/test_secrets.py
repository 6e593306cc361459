"""Every secret setting is planted, and looked for in everything that people see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.routes import judge
from worker.app import service
from worker.configuration import fields, is_secret, load_settings, variable_name
from worker.errors import SettingsError

SECRET = "pl4nted"
PATHS = [path for path, field in fields() if is_secret(field)]
VALUES = {path: f"{SECRET}{number}" for number, path in enumerate(PATHS)}
VALUES["cache", "url"] = f"redis://user:{SECRET}@127.0.0.1:1/0"
PLANTED = {variable_name(path): value for path, value in VALUES.items()}


def sluice(*arguments: str, **environment: str) -> str:
    """Both outputs of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", *arguments],
        env={**os.environ, **PLANTED, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)


def test_there_are_secrets() -> None:
    assert {("kafka", "sasl_password"), ("fetch", "s3_secret_key"), ("cache", "url")} <= set(PATHS)


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_not_in_the_settings_that_are_printed(output: str) -> None:
    printed = sluice("config", "--format", output)
    assert "sasl_password" in printed
    assert SECRET not in printed


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_not_in_errors(path: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable_name(path) + "X", SECRET)  # misspelt
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert SECRET not in str(caught.value)
    monkeypatch.delenv(variable_name(path) + "X")
    with pytest.raises(SettingsError) as caught:
        load_settings(**{path[0]: {path[1]: {"nested": SECRET}}})
    assert SECRET not in str(caught.value)


@pytest.mark.usefixtures("planted")
def test_not_in_metrics_and_verdicts(tmp_path: Path) -> None:
    settings = load_settings(inference={"escalation": "", "max_batch_clips": 1})
    assert SECRET not in repr(settings)
    with service(settings) as built:
        verdict = judge(built.moderator, b"no media", tenant=SECRET[::-1])
        metrics = built.metrics.exposition()
    assert SECRET not in verdict.model_dump_json()
    assert SECRET.encode() not in metrics


@pytest.mark.timeout(240)  # a busy machine loads models slowly
def test_not_in_the_log_of_a_worker_that_finds_nothing() -> None:
    """No broker, no cache, and a key file that the secret does not open."""
    said = sluice(
        "worker",
        SLUICE_KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1",
        SLUICE_KAFKA__SECURITY_PROTOCOL="SASL_SSL",
        SLUICE_KAFKA__SASL_USERNAME="me",
        SLUICE_KAFKA__REQUEST_TIMEOUT_S="1",
        SLUICE_INFERENCE__ESCALATION="",
        SLUICE_INFERENCE__MAX_BATCH_CLIPS="1",
        SLUICE_TELEMETRY__PORT="0",
        SLUICE_TELEMETRY__LOG_LEVEL="debug",
        SLUICE_TELEMETRY__LOG_FORMAT="json",
    )
    assert any(
        json.loads(line)["message"] == "worker_stopped" for line in said.splitlines() if line[:1] == "{"
    )
    assert SECRET not in said
