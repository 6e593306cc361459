"""Settings: their sources, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.configuration import fields, load_settings, masked, variable_name
from worker.errors import SettingsError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for path, _ in fields():
        monkeypatch.delenv(variable_name(path), raising=False)
    monkeypatch.delenv("SLUICE_CONFIG", raising=False)


def test_environment_is_stronger_than_dotenv_and_yaml(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "sluice.yaml"
    config.write_text("kafka: {group_id: yaml, uploads_topic: yaml, verdicts_topic: yaml}")
    (tmp_path / ".env").write_text(
        "SLUICE_KAFKA__UPLOADS_TOPIC=from-dotenv\nSLUICE_KAFKA__GROUP_ID=from-dotenv\n"
    )
    monkeypatch.setenv("SLUICE_CONFIG", str(config))
    monkeypatch.setenv("SLUICE_KAFKA__GROUP_ID", "from-environment")
    kafka = load_settings().kafka
    assert (kafka.group_id, kafka.uploads_topic, kafka.verdicts_topic) == (
        "from-environment",
        "from-dotenv",
        "yaml",
    )


def test_file_roots_are_given_like_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_FETCH__FILE_ROOTS", "/srv/a:/srv/b")
    assert load_settings().fetch.file_roots == (Path("/srv/a"), Path("/srv/b"))


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "SLUICE_KAFKA__SECURITY_PROTOCOL",
            "TLS",
            r"SLUICE_KAFKA__SECURITY_PROTOCOL was given 'TLS': Input should be 'PLAINTEXT', .*'SASL_SSL'",
        ),
        (
            "SLUICE_FETCH__MAX_BYTES",
            "1 GB",
            r"SLUICE_FETCH__MAX_BYTES was given '1 GB': .*valid integer.* \(largest upload\)",
        ),
        (
            "SLUICE_FETCH__MAX_BYTE",
            "1",
            r"SLUICE_FETCH__MAX_BYTE is not a setting: did you mean .*__MAX_BYTES\?",
        ),
        (
            "SLUICE_KAFKA_GROUP_ID",
            "g",
            r"SLUICE_KAFKA_GROUP_ID is not a setting: did you mean SLUICE_KAFKA__GROUP_ID",
        ),
        ("SLUICE_CONFG", "x.yaml", "SLUICE_CONFG is not a setting: did you mean SLUICE_CONFIG"),
        ("SLUICE_CONFIG", "/nowhere.yaml", r"SLUICE_CONFIG is '/nowhere.yaml', and there is no such file"),
    ],
)
def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_a_wrong_key_in_the_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sluice.yaml").write_text("kafka: {broker: x}\n")
    monkeypatch.setenv("SLUICE_CONFIG", "sluice.yaml")
    with pytest.raises(SettingsError, match="SLUICE_KAFKA__BROKER is not a setting"):
        load_settings()


def test_a_file_that_is_not_yaml_is_named_without_quoting_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sluice.yaml").write_text("kafka: {sasl_password: hunter2\nx")
    monkeypatch.setenv("SLUICE_CONFIG", "sluice.yaml")
    with pytest.raises(SettingsError, match=r"sluice.yaml is not YAML") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_the_dotenv_file_may_be_shared_with_others(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=x\nSLUICE_KAFKA__GROUP_ID=mine\n")
    assert load_settings().kafka.group_id == "mine"


def test_a_misspelt_variable_in_the_dotenv_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SLUICE_KAFKA__GROUP=mine\n")
    with pytest.raises(SettingsError, match="did you mean SLUICE_KAFKA__GROUP_ID"):
        load_settings()


def test_an_empty_variable_takes_back_what_a_file_has_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("SLUICE_CACHE__URL=redis://cache:6379/0\n")
    monkeypatch.setenv("SLUICE_CACHE__URL", "")
    monkeypatch.setenv("SLUICE_INFERENCE__ESCALATION", "")
    settings = load_settings()
    assert settings.cache.url is None
    assert settings.inference.escalation == ""


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_KAFKA__SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("SLUICE_CACHE__URL", "redis://user:hunter2@cache:6379/0")
    settings = load_settings()
    assert "hunter2" not in str(masked(settings)) + repr(settings)
    assert settings.kafka.sasl_password.get_secret_value() == "hunter2"
