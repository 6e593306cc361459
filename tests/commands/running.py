"""Commands over a broker, in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result
from pydantic import SecretStr

from worker.cli import cli
from worker.configuration import variable_name
from worker.settings import KafkaSettings


def sluice(kafka: KafkaSettings, *arguments: str) -> Result:
    given = kafka.model_dump(exclude_unset=True)
    environment = {variable_name(("kafka", name)): _text(value) for name, value in given.items()}
    result = CliRunner().invoke(cli, arguments, env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
